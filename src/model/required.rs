//! Transitive prerequisites of features, computed once for the whole catalog.

use std::collections::BTreeMap;

use super::bounds::MAX_REQUIRED;
use super::document::gather;
use super::{Feature, Key};

/// All prerequisites of one feature, direct and transitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Required {
    /// The prerequisites, as sorted positions among the keys.
    These(Vec<u32>),
    /// More than [`MAX_REQUIRED`] prerequisites.
    TooMany,
    /// The direct prerequisite at this index leads back to the feature.
    Cycle(usize),
}

/// Computes the prerequisites of each feature, in the order of their keys. Unknown names are
/// ignored.
///
/// The function is a depth-first search with its own stack, so that a long chain of prerequisites
/// cannot overflow the call stack. It visits each feature once.
pub(crate) fn required(features: &BTreeMap<Key, Feature>) -> Vec<Required> {
    let places: BTreeMap<&Key, usize> = gather(features.keys().zip(0..));
    let direct: Vec<Vec<Option<usize>>> = features
        .values()
        .map(|feature| feature.requires.iter().map(|key| places.get(key).copied()).collect())
        .collect();
    let mut found: Vec<Option<Required>> = vec![None; direct.len()];
    let mut on_path = vec![false; direct.len()];
    for start in 0..direct.len() {
        // The path from `start`: each feature, and the number of its prerequisites visited so far.
        let mut path = vec![(start, 0)];
        while let Some((feature, visited)) = path.last().copied() {
            if found.get(feature).is_none_or(Option::is_some) {
                path.pop();
                continue;
            }
            set(&mut on_path, feature, true);
            let own = direct.get(feature).map(Vec::as_slice).unwrap_or_default();
            let Some(next) = own.get(visited) else {
                let all = union(own, &found);
                set(&mut found, feature, Some(all));
                set(&mut on_path, feature, false);
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 = visited.saturating_add(1);
            }
            match *next {
                Some(next) if on_path.get(next) == Some(&true) => {
                    set(&mut found, feature, Some(Required::Cycle(visited)));
                    set(&mut on_path, feature, false);
                }
                Some(next) => path.push((next, 0)),
                None => {}
            }
        }
    }
    found.into_iter().map(|found| found.unwrap_or(Required::These(Vec::new()))).collect()
}

/// The direct prerequisites and everything that they require.
fn union(own: &[Option<usize>], found: &[Option<Required>]) -> Required {
    if own.len() > MAX_REQUIRED {
        return Required::TooMany;
    }
    let mut all = Vec::new();
    for place in own.iter().flatten() {
        all.extend(u32::try_from(*place));
        match found.get(*place) {
            Some(Some(Required::These(more))) => all.extend(more),
            Some(Some(Required::TooMany)) => return Required::TooMany,
            // A cycle is reported at the feature that closes it.
            _ => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    if all.len() > MAX_REQUIRED { Required::TooMany } else { Required::These(all) }
}

fn set<T>(list: &mut [T], place: usize, value: T) {
    if let Some(slot) = list.get_mut(place) {
        *slot = value;
    }
}

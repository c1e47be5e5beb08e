//! What features require, directly or by way of others: found once for all of them.

use std::collections::BTreeMap;

use super::bounds::MAX_REQUIRED;
use super::{Feature, Key};

/// What one feature requires in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Required {
    /// These, by their places among the keys, sorted.
    These(Vec<u32>),
    /// More than may be.
    TooMany,
    /// What it requires at this place leads back to it.
    Circle(usize),
}

/// Finds what each feature requires, in the order of their keys. Names that nobody has are left out.
pub(crate) fn required(features: &BTreeMap<Key, Feature>) -> Vec<Required> {
    let places: BTreeMap<&Key, usize> = features.keys().zip(0..).collect();
    let direct: Vec<Vec<Option<usize>>> = features
        .values()
        .map(|feature| feature.requires.iter().map(|key| places.get(key).copied()).collect())
        .collect();
    let mut found: Vec<Option<Required>> = vec![None; direct.len()];
    let mut under_way = vec![false; direct.len()];
    for start in 0..direct.len() {
        // A path through the features, each with how many of its own it has looked at.
        let mut path = vec![(start, 0)];
        while let Some((feature, looked)) = path.last().copied() {
            if found.get(feature).is_none_or(Option::is_some) {
                path.pop();
                continue;
            }
            set(&mut under_way, feature, true);
            let own = direct.get(feature).map(Vec::as_slice).unwrap_or_default();
            let Some(next) = own.get(looked) else {
                let all = union(own, &found);
                set(&mut found, feature, Some(all));
                set(&mut under_way, feature, false);
                path.pop();
                continue;
            };
            if let Some(last) = path.last_mut() {
                last.1 = looked.saturating_add(1);
            }
            match *next {
                Some(next) if under_way.get(next) == Some(&true) => {
                    set(&mut found, feature, Some(Required::Circle(looked)));
                    set(&mut under_way, feature, false);
                }
                Some(next) => path.push((next, 0)),
                None => {}
            }
        }
    }
    found.into_iter().map(|found| found.unwrap_or(Required::These(Vec::new()))).collect()
}

/// Everything that is required by way of these, and they themselves.
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
            // Said where it closes.
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

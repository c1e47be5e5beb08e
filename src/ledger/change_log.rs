//! The log of snapshot changes, which a ledger passes on between the isolates of a family.
//!
//! An isolate that has read a newer catalog or record reports its epoch with its next ledger
//! request. Every other isolate learns the epoch from its next response, whatever the request was
//! about, and then fetches the snapshot again. A suspension therefore spreads within the lifetime
//! of a lease, long before cached snapshots expire.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::bounds::MAX_NEWS;

/// The latest epoch of each snapshot, ordered by the time at which the ledger learned it.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    known: FxHashMap<Arc<str>, (u64, u64)>,
    /// The snapshot's name by the number of its latest change.
    log: BTreeMap<u64, Arc<str>>,
    last: u64,
}

impl ChangeLog {
    /// Records an epoch. Returns the snapshot's name if the epoch is newer than the known one.
    pub(super) fn record(&mut self, name: &str, epoch: u64) -> Option<Arc<str>> {
        if self.known.get(name).is_some_and(|(known, _)| *known >= epoch) {
            return None;
        }
        Some(self.put(name, epoch, self.last.saturating_add(1)))
    }

    /// Restores a stored epoch and the number of its change. Numbering continues from there.
    pub(super) fn put(&mut self, name: &str, epoch: u64, change: u64) -> Arc<str> {
        let known = self.known.get_key_value(name).map(|(name, (_, change))| (Arc::clone(name), *change));
        let name = known.map_or_else(
            || name.into(),
            |(name, change)| {
                self.log.remove(&change);
                name
            },
        );
        self.last = self.last.max(change);
        self.log.insert(change, Arc::clone(&name));
        self.known.insert(Arc::clone(&name), (epoch, change));
        name
    }

    /// Returns the changes after `cursor`, at most `MAX_NEWS` of them, and the new cursor. A cursor
    /// beyond the end of the log is invalid and counts as 0.
    pub(super) fn since(&self, cursor: u64) -> (Vec<(String, u64)>, u64) {
        let cursor = if cursor > self.last { 0 } else { cursor };
        if cursor == self.last {
            return (Vec::new(), cursor);
        }
        let changes = self.log.range(cursor.saturating_add(1)..).take(MAX_NEWS);
        let published: Vec<_> =
            changes.filter_map(|(change, name)| Some((*change, name.to_string(), self.known.get(name)?.0))).collect();
        let up_to = published.last().map_or(self.last, |(change, _, _)| *change);
        (published.into_iter().map(|(_, name, epoch)| (name, epoch)).collect(), up_to)
    }

    /// Returns the latest known epoch of a snapshot and the number of that change.
    pub(super) fn get(&self, name: &str) -> Option<(u64, u64)> {
        self.known.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_reported_once() {
        let mut log = ChangeLog::default();
        assert!(log.record("t_a", 3).is_some() && log.record("t_b", 1).is_some());
        assert!(log.record("t_a", 2).is_none() && log.record("t_a", 3).is_none());
        let (first, published) = log.since(0);
        assert_eq!(first, [("t_a".to_owned(), 3), ("t_b".to_owned(), 1)]);
        assert_eq!(log.since(published), (Vec::new(), published));
        log.record("t_a", 4);
        assert_eq!(log.since(published), (vec![("t_a".to_owned(), 4)], published + 1));
    }

    #[test]
    fn many_changes_are_split_over_several_responses() {
        let mut log = ChangeLog::default();
        for index in 0..MAX_NEWS + 10 {
            log.record(&format!("t_{index}"), 1);
        }
        let (first, published) = log.since(0);
        let (second, published) = log.since(published);
        assert_eq!((first.len(), second.len()), (MAX_NEWS, 10));
        assert_eq!(log.since(published).0.len(), 0);
        // A restored log continues its numbering and reports what came after.
        let mut anew = ChangeLog::default();
        for index in (0..MAX_NEWS + 10).rev() {
            let (epoch, change) = log.get(&format!("t_{index}")).unwrap();
            anew.put(&format!("t_{index}"), epoch, change);
        }
        anew.record("t_0", 2);
        assert_eq!(anew.since(published).0, [("t_0".to_owned(), 2)]);
    }
}

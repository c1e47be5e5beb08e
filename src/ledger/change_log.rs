//! News of snapshots: who has seen which epoch, passed on by the ledger that all isolates of a family speak to.
//!
//! An isolate that has read a new catalog or record says so with its next order. Every other one hears of it with the next
//! answer it gets, whatever that is about, and fetches again what it holds: a suspension spreads within the life of a
//! lease, long before snapshots grow old.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{LedgerRequest, LedgerState};
use crate::model::bounds::MAX_NEWS;

/// The latest epochs of snapshots, in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    known: FxHashMap<Arc<str>, (u64, u64)>,
    /// Names by the number of their last change.
    log: BTreeMap<u64, Arc<str>>,
    last: u64,
}

impl ChangeLog {
    /// Learns of an epoch; the snapshot's name, if it is a later one than was known.
    pub(super) fn record(&mut self, name: &str, epoch: u64) -> Option<Arc<str>> {
        if self.known.get(name).is_some_and(|(known, _)| *known >= epoch) {
            return None;
        }
        Some(self.put(name, epoch, self.last.saturating_add(1)))
    }

    /// Writes an epoch and the number of its change as they were stored: numbers go on where they were.
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

    /// What has changed since, and up to which change that is. A number that was never told is not believed.
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

    /// The latest epoch of a snapshot that is known, and the number of that change.
    pub(super) fn get(&self, name: &str) -> Option<(u64, u64)> {
        self.known.get(name).copied()
    }
}

impl LedgerState {
    /// Notes what an order says of snapshots.
    pub(super) fn learn_epochs(&mut self, order: &LedgerRequest<'_>) {
        for (name, epoch) in &order.epochs {
            if let (Some(name), Some(changes)) = (self.change_log.record(name, *epoch), &mut self.changes) {
                changes.epochs.insert(name);
            }
        }
    }

    /// The latest epoch of a snapshot that is known, and the number of that change.
    pub fn epoch(&self, name: &str) -> Option<(u64, u64)> {
        self.change_log.get(name)
    }

    /// Writes an epoch as it was stored.
    pub fn put_epoch(&mut self, name: &str, (epoch, change): (u64, u64)) {
        self.change_log.put(name, epoch, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_hears_of_every_change_once() {
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
    fn many_changes_are_told_one_answer_after_the_other() {
        let mut log = ChangeLog::default();
        for index in 0..MAX_NEWS + 10 {
            log.record(&format!("t_{index}"), 1);
        }
        let (first, published) = log.since(0);
        let (second, published) = log.since(published);
        assert_eq!((first.len(), second.len()), (MAX_NEWS, 10));
        assert_eq!(log.since(published).0.len(), 0);
        // A ledger that is built anew goes on where it was, and tells what came after.
        let mut anew = ChangeLog::default();
        for index in (0..MAX_NEWS + 10).rev() {
            let (epoch, change) = log.get(&format!("t_{index}")).unwrap();
            anew.put(&format!("t_{index}"), epoch, change);
        }
        anew.record("t_0", 2);
        assert_eq!(anew.since(published).0, [("t_0".to_owned(), 2)]);
    }
}

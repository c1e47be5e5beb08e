//! The epochs of snapshots that isolates have reported.

use crate::ledger::{LedgerRequest, LedgerState};

impl LedgerState {
    /// Records the epochs that a request reports.
    pub(in crate::ledger) fn learn_epochs(&mut self, request: &LedgerRequest<'_>) {
        for (name, epoch) in &request.epochs {
            if let (Some(name), Some(changes)) = (self.change_log.record(name, *epoch), &mut self.changes) {
                changes.epochs.insert(name);
            }
        }
    }

    /// Returns the latest known epoch of a snapshot and the number of that change.
    pub fn epoch(&self, name: &str) -> Option<(u64, u64)> {
        self.change_log.get(name)
    }

    /// Restores a stored epoch.
    pub fn put_epoch(&mut self, name: &str, (epoch, change): (u64, u64)) {
        self.change_log.put(name, epoch, change);
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

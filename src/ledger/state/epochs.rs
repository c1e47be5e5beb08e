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

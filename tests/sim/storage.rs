//! The disk of one ledger. A crash loses the state in memory. A failed write leaves the ledger as
//! if its message had never arrived.

use std::collections::BTreeMap;

use tenantgate::ledger::{Counter, HeldUnits, Lease, LedgerState, Series, Tally};

/// Everything that one ledger has written.
#[derive(Debug, Default)]
pub struct Storage {
    counters: BTreeMap<String, Counter>,
    leases: BTreeMap<String, Lease>,
    holds: BTreeMap<String, HeldUnits>,
    tallies: BTreeMap<String, Tally>,
    series: BTreeMap<String, Series>,
    epochs: BTreeMap<String, (u64, u64)>,
    idempotency_keys: BTreeMap<String, String>,
}

impl Storage {
    /// Writes the changes in memory since the last write.
    pub fn write(&mut self, state: &mut LedgerState) {
        let changes = state.take_changes();
        for name in &changes.counters {
            self.counters.insert(name.to_string(), state.get(name).unwrap().clone());
        }
        for name in &changes.leases {
            put_or_remove(&mut self.leases, name, state.lease(name));
        }
        for name in &changes.holds {
            put_or_remove(&mut self.holds, name, state.hold(name));
        }
        for name in &changes.tallies {
            self.tallies.insert(name.to_string(), state.tally(name).unwrap().clone());
        }
        for name in &changes.series {
            self.series.insert(name.to_string(), state.series(name).unwrap().clone());
        }
        for name in &changes.epochs {
            self.epochs.insert(name.to_string(), state.epoch(name).unwrap());
        }
    }

    /// Returns the state of a ledger that starts from its disk.
    pub fn read(&self) -> LedgerState {
        let mut state = LedgerState::journaled();
        for (name, lease) in &self.leases {
            state.put_lease(name, lease.clone());
        }
        for (name, held) in &self.holds {
            state.put_hold(name, held.clone());
        }
        for (name, counter) in &self.counters {
            state.put(name, counter.clone());
        }
        for (name, tally) in &self.tallies {
            state.put_tally(name, tally.clone());
        }
        for (name, series) in &self.series {
            state.put_series(name, series.clone());
        }
        for (name, epoch) in &self.epochs {
            state.put_epoch(name, *epoch);
        }
        state
    }

    /// Writes an idempotency key with its fingerprint.
    pub fn write_idempotency_key(&mut self, id: &str, fingerprint: &str) {
        self.idempotency_keys.insert(id.to_owned(), fingerprint.to_owned());
    }

    /// Returns the fingerprint under an idempotency key.
    pub fn fingerprint(&self, id: &str) -> Option<&str> {
        self.idempotency_keys.get(id).map(String::as_str)
    }

    /// Returns the sum of the first bucket of a metric's periods.
    pub fn usage(&self, prefix: &str) -> u64 {
        let is_period = |name: &str| name.starts_with(prefix) && name.matches('/').count() == 2;
        let period = self.tallies.iter().find(|(name, _)| is_period(name));
        period.map_or(0, |(_, tally)| tally.sum)
    }
}

fn put_or_remove<T: Clone>(written: &mut BTreeMap<String, T>, name: &str, value: Option<&T>) {
    match value {
        Some(value) => written.insert(name.to_owned(), value.clone()),
        None => written.remove(name),
    };
}

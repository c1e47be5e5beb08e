//! Circuit breakers of one family.

use crate::ledger::LedgerState;
use crate::ledger::breaker::{BreakerReport, BreakerStatus, CircuitBreaker};
use crate::model::UnixMillis;

impl LedgerState {
    pub(in crate::ledger) fn record_calls(&mut self, report: &BreakerReport<'_>, now: UnixMillis) {
        // Creates no entry for a closed breaker without calls.
        if !self.breakers.contains_key(report.breaker) {
            if report.calls.is_empty() && report.trials.is_empty() {
                return;
            }
            self.put_breaker(report.breaker, CircuitBreaker::default());
        }
        let changed = self.breakers.get_mut(report.breaker).is_some_and(|breaker| breaker.record(report, now));
        if changed {
            self.note_breaker(report.breaker);
        }
    }

    pub(in crate::ledger) fn circuit(&self, report: &BreakerReport<'_>, now: UnixMillis) -> BreakerStatus {
        self.breakers
            .get(report.breaker)
            .map_or_else(|| CircuitBreaker::default().judge(report, now), |known| known.judge(report, now))
    }

    pub(in crate::ledger) fn begin_trial(&mut self, breaker: &str, now: UnixMillis) {
        if let Some(known) = self.breakers.get_mut(breaker) {
            known.begin_trial(now);
            self.note_breaker(breaker);
        }
    }

    pub(in crate::ledger) fn note_breaker(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.breakers.insert(name.into());
        }
    }

    /// Returns a breaker, if any calls were ever reported to it.
    pub fn breaker(&self, name: &str) -> Option<&CircuitBreaker> {
        self.breakers.get(name)
    }

    /// Restores a stored breaker.
    pub fn put_breaker(&mut self, name: &str, breaker: CircuitBreaker) {
        self.breakers.insert(name.into(), breaker);
    }
}

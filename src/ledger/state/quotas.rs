//! Periods of quotas, as they end.

use crate::ledger::closed::{QuotaInquiry, QuotaPeriod};
use crate::ledger::{Counter, LedgerState};
use crate::model::bounds::MAX_MOVED_PERIODS;

impl LedgerState {
    /// Stores the total of a counter's period if `new` begins another one.
    pub(in crate::ledger) fn note_closed(&mut self, name: &str, new: &Counter) {
        if self.changes.is_none() {
            return;
        }
        let (Some(Counter::Quota(old)), Counter::Quota(new)) = (self.get(name), new) else { return };
        if old.period().0 == new.period().0 || old.total() == 0 {
            return;
        }
        let period = QuotaPeriod::from(*old);
        self.write_closed(format!("{name}/{}", period.starts_ms), period);
    }

    /// Stores a period that has ended, by its storage name.
    pub(in crate::ledger) fn write_closed(&mut self, name: String, period: QuotaPeriod) {
        if let Some(changes) = &mut self.changes {
            changes.closed.insert(name.clone(), period);
        }
        self.closed.insert(name, period);
    }

    /// Restores a stored period that has ended, by its storage name.
    pub fn put_closed(&mut self, name: String, period: QuotaPeriod) {
        self.closed.insert(name, period);
    }

    /// Returns the periods of a tenant's quotas by counter, the current one last.
    pub(in crate::ledger) fn quota_periods(&self, inquiry: &QuotaInquiry<'_>) -> Vec<(String, QuotaPeriod)> {
        let of_tenant = |name: &str| name.strip_prefix(inquiry.tenant).is_some_and(|rest| rest.starts_with('/'));
        let over = self.closed.iter().filter_map(|(name, period)| Some((name.rsplit_once('/')?.0, *period)));
        let now = self.names.iter().zip(&self.counters).filter_map(|(name, counter)| match counter {
            Counter::Quota(quota) => Some((&**name, QuotaPeriod::from(*quota))),
            _ => None,
        });
        let found = over.chain(now).filter(|(name, period)| of_tenant(name) && period.is_within(inquiry));
        let mut found: Vec<_> = found.map(|(name, period)| (name.to_owned(), period)).collect();
        found.sort_unstable_by(|(a, one), (b, other)| (a, one.starts_ms).cmp(&(b, other.starts_ms)));
        found
    }

    /// Returns the ended periods of tenants that leave. Only the latest [`MAX_MOVED_PERIODS`]
    /// travel, so that they fit into one message.
    pub(in crate::ledger) fn closed_where(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, QuotaPeriod)> {
        let all = self.closed.iter().filter(|(name, _)| is_wanted(name));
        let mut all: Vec<_> = all.map(|(name, period)| (name.clone(), *period)).collect();
        all.sort_unstable_by_key(|(_, period)| std::cmp::Reverse(period.starts_ms));
        all.truncate(MAX_MOVED_PERIODS);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Charge, CounterOp, LedgerRequest, Meter};
    use crate::model::UnixMillis;

    const DAY: u64 = 86_400_000;

    fn used(ledger: &mut LedgerState, day: u64, units: u64, limit: Option<u64>, over: bool) {
        let meter = Meter::Quota { limit, starts_ms: day * DAY, ends_ms: (day + 1) * DAY, over };
        let charge = Charge { counter: "t_acme/calls", meter, op: CounterOp::Take(units), shadow: false };
        let request = LedgerRequest { charges: [charge].into_iter().collect(), ..LedgerRequest::default() };
        assert!(ledger.answer(&request, UnixMillis::new(day * DAY)).allowed);
    }

    #[test]
    fn the_total_of_an_ended_period_is_recorded() {
        let mut ledger = LedgerState::journaled();
        used(&mut ledger, 1, 3, Some(5), false);
        used(&mut ledger, 1, 4, Some(5), true);
        assert!(ledger.take_changes().closed.is_empty());
        // The plan has changed in the meantime, and a period was skipped.
        used(&mut ledger, 3, 1, None, false);
        used(&mut ledger, 4, 1, None, false);
        let closed = ledger.take_changes().closed;
        let first = QuotaPeriod { starts_ms: DAY, ends_ms: 2 * DAY, used: 7, limit: Some(5), over: true };
        assert_eq!(closed.len(), 2);
        assert_eq!(closed.get(&format!("t_acme/calls/{DAY}")), Some(&first));

        ledger.forget_usage();
        closed.into_iter().for_each(|(name, period)| ledger.put_closed(name, period));
        let mut starts = |tenant, from_ms, to_ms| {
            let quotas = Some(QuotaInquiry { tenant, from_ms, to_ms });
            let outcome =
                ledger.answer(&LedgerRequest { quotas, ..LedgerRequest::default() }, UnixMillis::new(4 * DAY));
            outcome.quotas.iter().map(|(_, period)| period.starts_ms / DAY).collect::<Vec<_>>()
        };
        assert_eq!(starts("t_acme", 0, u64::MAX), [1, 3, 4]);
        assert_eq!(starts("t_acme", 2 * DAY - 1, 2 * DAY - 1), [1]);
        assert_eq!(starts("t_acme", 2 * DAY, 2 * DAY), [0; 0]);
        assert_eq!(starts("t_acm", 0, u64::MAX), [0; 0]);
    }
}

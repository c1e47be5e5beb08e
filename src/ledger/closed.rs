//! Periods of quotas that are over: what each came to, under the allowance that it ended with.
//!
//! A counter remembers one period. When it begins the next one, what the last came to is written down for good, so that what was
//! used beyond the plan can be charged for later, whatever the settings are then.

use serde::{Deserialize, Serialize};

use super::quota::Quota;
use super::{Counter, LedgerState};
use crate::model::bounds::MAX_MOVED_PERIODS;

/// A period of a quota, and what it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaPeriod {
    /// Start of the period, in milliseconds since 1970.
    pub starts_ms: u64,
    /// The end of the period, exclusive.
    pub ends_ms: u64,
    /// Units used. What was leased when the period ended counts as used.
    pub used: u64,
    /// Units that were allowed when it was judged last; `None`: without bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether what is beyond the limit was let through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// A question about the periods of a tenant's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaInquiry<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Only periods that end after this time, in milliseconds since 1970.
    pub from_ms: u64,
    /// Only periods that start at or before this time, in milliseconds since 1970.
    pub to_ms: u64,
}

impl QuotaPeriod {
    fn is_within(&self, inquiry: &QuotaInquiry<'_>) -> bool {
        self.ends_ms > inquiry.from_ms && self.starts_ms <= inquiry.to_ms
    }
}

impl From<Quota> for QuotaPeriod {
    fn from(quota: Quota) -> Self {
        let (starts_ms, ends_ms) = quota.period();
        let (limit, over) = quota.terms();
        Self { starts_ms, ends_ms, used: quota.total(), limit, over }
    }
}

impl LedgerState {
    /// Notes what a counter's period has come to, where `new` begins another one.
    pub(super) fn note_closed(&mut self, name: &str, new: &Counter) {
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

    /// Writes a period that is over, by the name under which it is stored.
    pub(super) fn write_closed(&mut self, name: String, period: QuotaPeriod) {
        if let Some(changes) = &mut self.changes {
            changes.closed.insert(name.clone(), period);
        }
        self.closed.insert(name, period);
    }

    /// Puts in a period that is over, by the name under which it was stored.
    pub fn put_closed(&mut self, name: String, period: QuotaPeriod) {
        self.closed.insert(name, period);
    }

    /// The periods of a tenant's quotas, by counter; the one that is counted now last.
    pub(super) fn quota_periods(&self, inquiry: &QuotaInquiry<'_>) -> Vec<(String, QuotaPeriod)> {
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

    /// The closed periods of tenants that leave. Only the latest [`MAX_MOVED_PERIODS`] travel, so that a message can hold them.
    pub(super) fn closed_where(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, QuotaPeriod)> {
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

    fn used(book: &mut LedgerState, day: u64, units: u64, limit: Option<u64>, over: bool) {
        let meter = Meter::Quota { limit, starts_ms: day * DAY, ends_ms: (day + 1) * DAY, over };
        let charge = Charge { counter: "t_acme/calls", meter, op: CounterOp::Take(units), shadow: false };
        let order = LedgerRequest { charges: [charge].into_iter().collect(), ..LedgerRequest::default() };
        assert!(book.answer(&order, UnixMillis::new(day * DAY)).allowed);
    }

    #[test]
    fn what_a_period_came_to_stays_known() {
        let mut book = LedgerState::journaled();
        used(&mut book, 1, 3, Some(5), false);
        used(&mut book, 1, 4, Some(5), true);
        assert!(book.take_changes().closed.is_empty());
        // The plan has changed since, and nothing was used in between.
        used(&mut book, 3, 1, None, false);
        used(&mut book, 4, 1, None, false);
        let closed = book.take_changes().closed;
        let first = QuotaPeriod { starts_ms: DAY, ends_ms: 2 * DAY, used: 7, limit: Some(5), over: true };
        assert_eq!(closed.len(), 2);
        assert_eq!(closed.get(&format!("t_acme/calls/{DAY}")), Some(&first));

        book.forget_usage();
        closed.into_iter().for_each(|(name, period)| book.put_closed(name, period));
        let mut starts = |tenant, from_ms, to_ms| {
            let quotas = Some(QuotaInquiry { tenant, from_ms, to_ms });
            let outcome = book.answer(&LedgerRequest { quotas, ..LedgerRequest::default() }, UnixMillis::new(4 * DAY));
            outcome.quotas.iter().map(|(_, period)| period.starts_ms / DAY).collect::<Vec<_>>()
        };
        assert_eq!(starts("t_acme", 0, u64::MAX), [1, 3, 4]);
        assert_eq!(starts("t_acme", 2 * DAY - 1, 2 * DAY - 1), [1]);
        assert_eq!(starts("t_acme", 2 * DAY, 2 * DAY), [0; 0]);
        assert_eq!(starts("t_acm", 0, u64::MAX), [0; 0]);
    }
}

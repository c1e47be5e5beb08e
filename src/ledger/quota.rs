//! Quotas: a number of units per billing period, whatever happens to the period while it is
//! counted.
//!
//! A request names the period that results from its settings. The counter keeps its current period
//! and starts another one only for a request whose period starts at or after the end of the current
//! one. A billing anchor may move, a period may become longer or shorter, and a clock may be
//! behind: used units stay used until the period in which they were used ends. Changing settings
//! back and forth gains nothing, and every unit is counted.
//!
//! A period lasts at least as long as any period that it was counted under, so the units of a month
//! are not forgotten at the end of a day.

use serde::{Deserialize, Serialize};

use super::verdict::{LeaseStep, is_zero};

/// The units used in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Start of the period, in milliseconds since 1970.
    starts_ms: u64,
    /// End of the period, exclusive.
    #[serde(default)]
    ends_ms: u64,
    /// Units used.
    used: u64,
    /// Units leased or held, which `used` does not include.
    #[serde(default, skip_serializing_if = "is_zero")]
    leased: u64,
    /// Units returned, of those used, leased or held.
    #[serde(default, skip_serializing_if = "is_zero")]
    given: u64,
    /// The limit when the quota was last judged. `None` if unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Whether units beyond the limit were allowed then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    over: bool,
}

impl Quota {
    /// Creates a period in which `used` units were used.
    pub(super) const fn new(starts_ms: u64, ends_ms: u64, used: u64) -> Self {
        Self { starts_ms, ends_ms, used, leased: 0, given: 0, limit: None, over: false }
    }

    /// Returns the period that counts for a request whose settings name the one from `starts_ms` to
    /// `ends_ms`.
    pub(super) const fn at(self, starts_ms: u64, ends_ms: u64) -> Self {
        if starts_ms >= self.ends_ms && starts_ms > self.starts_ms {
            return Self::new(starts_ms, ends_ms, 0);
        }
        let (own, asked) = (self.ends_ms.saturating_sub(self.starts_ms), ends_ms.saturating_sub(starts_ms));
        // Tells another kind of period from a longer month: months differ by a tenth in length, and
        // a longer kind of period is at least four times as long as a shorter one.
        if asked / 2 >= own {
            Self { ends_ms: if ends_ms > self.ends_ms { ends_ms } else { self.ends_ms }, ..self }
        } else {
            self
        }
    }

    /// Returns the quota with the allowance that judges it.
    pub(super) const fn under(self, limit: Option<u64>, over: bool) -> Self {
        Self { limit, over, ..self }
    }

    /// Returns the limit that last judged the quota, and whether units beyond it were allowed.
    pub(super) const fn terms(self) -> (Option<u64>, bool) {
        (self.limit, self.over)
    }

    /// Returns the units that count, including leased and held ones.
    pub const fn total(self) -> u64 {
        self.used.saturating_add(self.leased).saturating_sub(self.given)
    }

    /// Returns the quota after a refund of `units`. Leased units can be refunded too, so that a
    /// refund need not wait for leases to end.
    pub(super) const fn refunded(self, units: u64) -> Self {
        Self { given: self.given.saturating_add(units), ..self }
    }

    /// Returns the units that are leased or held.
    pub(super) const fn leased(self) -> u64 {
        self.leased
    }

    /// Returns the start and the end of the period.
    pub(super) const fn period(self) -> (u64, u64) {
        (self.starts_ms, self.ends_ms)
    }

    /// Returns the quota with `units` more used.
    pub(super) const fn plus(self, units: u64) -> Self {
        Self { used: self.used.saturating_add(units), ..self }
    }

    /// Returns the quota as if `units` had not been used.
    pub(super) const fn without(self, units: u64) -> Self {
        Self { used: self.used.saturating_sub(units), ..self }
    }

    /// Returns the quota after a step on leased or held units.
    pub(super) const fn moved(self, leased: LeaseStep) -> Self {
        match leased {
            LeaseStep::Granted(units) => Self { leased: self.leased.saturating_add(units), ..self },
            LeaseStep::Returned(units) => {
                let leased = self.leased.saturating_sub(units);
                let all = self.used.saturating_add(leased);
                // Returned units were not used, so they cannot be refunded as well.
                Self { leased, given: if self.given > all { all } else { self.given }, ..self }
            }
            LeaseStep::Spent(units) => Self { leased: self.leased.saturating_sub(units), ..self }.plus(units),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    /// Returns what remains of one unit used in the period from day `from` to day `to`, after
    /// requests for other periods.
    fn used(from: u64, to: u64, asked: &[(u64, u64)]) -> u64 {
        let mut quota = Quota::new(from * DAY, to * DAY, 1);
        for (starts, ends) in asked {
            quota = quota.at(starts * DAY, ends * DAY);
        }
        quota.total()
    }

    #[test]
    fn a_period_continues_until_one_that_starts_after_its_end_is_requested() {
        // The anchor moves back, forward, and back again.
        assert_eq!(used(20, 50, &[(1, 31)]), 1);
        assert_eq!(used(1, 31, &[(10, 40), (20, 50), (30, 60)]), 1);
        assert_eq!(used(1, 31, &[(20, 50), (1, 31)]), 1);
        // A clock is behind.
        assert_eq!(used(31, 61, &[(1, 31)]), 1);
        assert_eq!(used(1, 31, &[(31, 61)]), 0);
        assert_eq!(used(1, 31, &[(33, 63)]), 0);
        // An anchor moved by mistake and moved back changes nothing.
        assert_eq!(used(1, 31, &[(20, 50), (1, 31), (31, 61)]), 0);
    }

    #[test]
    fn a_refund_counts_once_however_its_leases_end() {
        let leased = Quota::new(0, DAY, 10).moved(LeaseStep::Granted(5));
        assert_eq!(leased.refunded(12).total(), 3);
        // Whether spent or returned, no unit is refunded twice.
        assert_eq!(leased.refunded(12).moved(LeaseStep::Spent(5)).total(), 3);
        assert_eq!(leased.refunded(12).moved(LeaseStep::Returned(5)).total(), 0);
        assert_eq!(leased.refunded(12).moved(LeaseStep::Returned(5)).plus(4).total(), 4);
        assert_eq!(leased.refunded(4).moved(LeaseStep::Returned(5)).total(), 6);
    }

    #[test]
    fn units_of_a_long_period_are_not_forgotten_at_the_end_of_a_short_one() {
        assert_eq!(used(5, 6, &[(1, 31)]), 1);
        assert_eq!(used(5, 6, &[(1, 31), (7, 8)]), 1);
        assert_eq!(used(5, 6, &[(1, 31), (31, 32)]), 0);
        assert_eq!(used(1, 31, &[(7, 8), (30, 31)]), 1);
        assert_eq!(used(1, 31, &[(7, 8), (31, 32)]), 0);
    }
}

//! Sliding windows: at most `limit` units in any stretch of `window_ms` milliseconds.
//!
//! The window is divided into 32 parts. A unit counts until its whole part has left the window, so
//! no unit is admitted that an exact log would refuse. In return a unit counts for up to 1/32 of
//! the window (3.2 %) too long, so that a steady stream gets at least 32/33 (97 %) of the limit.

use serde::{Deserialize, Serialize};

use super::verdict::{LeaseStep, Verdict, is_zero};
use crate::model::UnixMillis;

/// The number of parts in a window.
const PARTS: u64 = 32;
/// The number of parts that a window can overlap: the oldest one only in part.
const KEPT: usize = 33;

/// The units of a window, by part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Length of a part in milliseconds.
    part_ms: u64,
    /// The number of the latest part: its start divided by its length.
    latest: u64,
    /// Units by part, the latest first. Trailing zeros are omitted.
    units: Vec<u64>,
    /// Units leased or held. They count until their use is reported.
    #[serde(default, skip_serializing_if = "is_zero")]
    leased: u64,
}

impl Window {
    /// Creates an empty window.
    pub(super) fn new(window_ms: u64, now: UnixMillis) -> Self {
        let part_ms = window_ms.div_ceil(PARTS).max(1);
        Self { part_ms, latest: part(now, part_ms), units: Vec::new(), leased: 0 }
    }

    /// Returns the window at `now`, without the parts that have left it. If time runs backwards,
    /// the parts stay.
    pub(super) fn at(&self, window_ms: u64, now: UnixMillis) -> Self {
        let fresh = Self::new(window_ms, now);
        if fresh.part_ms != self.part_ms {
            // The length has changed: all units count as if they had just come.
            let used = self.units.iter().fold(0, |sum: u64, units| sum.saturating_add(*units));
            let units = if used == 0 { Vec::new() } else { vec![used] };
            return Self { units, leased: self.leased, ..fresh };
        }
        let passed = fresh.latest.saturating_sub(self.latest);
        let mut units = Vec::new();
        if !self.units.is_empty() && passed < KEPT as u64 {
            units.resize(usize::try_from(passed).unwrap_or(KEPT), 0);
            units.extend_from_slice(&self.units);
            units.truncate(KEPT);
            while units.last() == Some(&0) {
                units.pop();
            }
        }
        Self { latest: fresh.latest.max(self.latest), units, ..*self }
    }

    /// Returns the window with `units` more that have just come.
    pub(super) fn plus(mut self, units: u64) -> Self {
        self.count(units);
        self
    }

    /// Returns the units that count, including leased ones.
    pub(super) fn used(&self) -> u64 {
        self.units.iter().fold(self.leased, |sum, units| sum.saturating_add(*units))
    }

    /// Judges `cost` units in a window that is as of `now`, and counts them if they fit.
    pub(super) fn step(mut self, limit: Option<u64>, cost: u64, now: UnixMillis) -> (Verdict, Self) {
        let used = self.used();
        let allowed = limit.is_none_or(|limit| limit > 0 && used.saturating_add(cost) <= limit);
        // The units that must leave before the cost fits.
        let excess = limit.map_or(0, |limit| used.saturating_add(cost).saturating_sub(limit));
        let retry_after_ms =
            (!allowed && limit.is_some_and(|limit| limit > 0 && cost <= limit)).then(|| self.leaves_ms(excess, now));
        if allowed {
            self.count(cost);
        }
        let used = self.used();
        let reset_ms = if used == 0 { 0 } else { self.leaves_ms(used, now) };
        let remaining = limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        (Verdict { allowed, limit, used, remaining, reset_ms, retry_after_ms }, self)
    }

    /// Returns the milliseconds until `units` units have left, oldest first. Leased units leave
    /// last, as if they were spent now.
    fn leaves_ms(&self, units: u64, now: UnixMillis) -> u64 {
        let mut left = 0_u64;
        let mut leaves = self.latest;
        for (age, count) in self.units.iter().enumerate().rev() {
            left = left.saturating_add(*count);
            leaves = self.latest.saturating_sub(age as u64);
            if left >= units {
                break;
            }
        }
        if left < units {
            leaves = self.latest;
        }
        leaves.saturating_add(KEPT as u64).saturating_mul(self.part_ms).saturating_sub(now.get())
    }

    fn count(&mut self, units: u64) {
        if units == 0 {
            return;
        }
        match self.units.first_mut() {
            Some(latest) => *latest = latest.saturating_add(units),
            None => self.units.push(units),
        }
    }

    /// Returns the window after a step on leased or held units.
    pub(super) fn moved(mut self, units: LeaseStep) -> Self {
        match units {
            LeaseStep::Granted(units) => self.leased = self.leased.saturating_add(units),
            LeaseStep::Returned(units) => self.leased = self.leased.saturating_sub(units),
            LeaseStep::Spent(units) => {
                self.leased = self.leased.saturating_sub(units);
                self.count(units);
            }
        }
        self
    }

    /// Returns the units that are leased or held.
    pub(super) const fn leased(&self) -> u64 {
        self.leased
    }

    /// Returns the window as if `units` had not come.
    pub(super) fn without(mut self, mut units: u64) -> Self {
        for count in &mut self.units {
            let taken = units.min(*count);
            *count = count.saturating_sub(taken);
            units = units.saturating_sub(taken);
        }
        self
    }
}

fn part(now: UnixMillis, part_ms: u64) -> u64 {
    now.get().checked_div(part_ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<u64> = Some(10);

    fn take(window: &Window, cost: u64, now: u64) -> (Verdict, Window) {
        let now = UnixMillis::new(now);
        window.at(3_200, now).step(LIMIT, cost, now)
    }

    #[test]
    fn a_charge_passes_after_its_retry_time() {
        let empty = Window::new(3_200, UnixMillis::new(50));
        let (verdict, full) = take(&empty, 10, 50);
        assert!(verdict.allowed && verdict.remaining == 0);
        let (refused, same) = take(&full, 1, 700);
        // The part from 0 to 100 has left the window completely at 3,300.
        assert_eq!((refused.allowed, refused.retry_after_ms), (false, Some(2_600)));
        assert!(!take(&same, 1, 3_299).0.allowed);
        assert!(take(&same, 10, 3_300).0.allowed);
    }

    #[test]
    fn no_units_return_when_time_runs_backwards() {
        let (_, full) = take(&Window::new(3_200, UnixMillis::new(90_000)), 10, 90_000);
        assert!(!take(&full, 1, 10).0.allowed);
        assert!(!take(&take(&full, 0, 10).1, 1, 91_000).0.allowed);
    }

    #[test]
    fn a_cost_above_the_limit_has_no_retry_time() {
        let empty = Window::new(3_200, UnixMillis::new(0));
        assert_eq!(take(&empty, 11, 0).0.retry_after_ms, None);
    }
}

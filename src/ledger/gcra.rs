//! Rates: the generic cell rate algorithm in its leaky-bucket form (ITU-T I.371, annex A), in exact integers.
//!
//! The bucket holds work in units of one cell times one millisecond of window: a cell adds `window_ms`, every
//! millisecond drains `limit`. Nothing is divided on the way, so exactly `limit` cells pass per window, for every limit.

use serde::{Deserialize, Serialize};

use super::Verdict;
use super::counter::{LeaseStep, is_zero};
use crate::model::UnixMillis;

/// A rate: `limit` cells per `window_ms`, of which `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Cells per window; 0 blocks.
    pub limit: u64,
    /// Cells that may come at once; 0 blocks.
    pub burst: u64,
    /// Length of the window in milliseconds, at least 1.
    pub window_ms: u64,
}

/// How full the bucket was, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Work in the bucket: cells × `window_ms`.
    fill: u64,
    /// The window in which `fill` is measured.
    window_ms: u64,
    /// When the fill was measured, in milliseconds since 1970.
    at_ms: u64,
    /// Cells that are leased: each keeps its room, undrained, until it is said when it was spent. So what isolates let
    /// through on leases conforms to the rate exactly, whenever they do it.
    #[serde(default, skip_serializing_if = "is_zero")]
    leased: u64,
}

impl Bucket {
    /// A bucket in which so many cells have just come, as far as there is room.
    pub(super) fn holding(cells: u64, rate: Rate, now: UnixMillis) -> Self {
        let window = rate.window_ms.max(1);
        Self { fill: times(cells.min(rate.burst), window), window_ms: window, at_ms: now.get(), leased: 0 }
    }

    /// Cells that were in it when it was measured last, leased ones included.
    pub(super) const fn cells(self) -> u64 {
        let window = if self.window_ms == 0 { 1 } else { self.window_ms };
        self.fill.div_ceil(window).saturating_add(self.leased)
    }

    /// Decides `cost` cells at `now`: the verdict, and the bucket if they are taken.
    ///
    /// Time that runs backwards drains nothing and is otherwise ignored.
    pub fn step(self, rate: Rate, cost: u64, now: UnixMillis) -> (Verdict, Self) {
        let window = rate.window_ms.max(1);
        let fill = self.drained(rate, now);
        // INVARIANT (no overflow): MAX_RATE × MAX_WINDOW_MS fits; whatever saturates is beyond every room.
        let room = times(rate.burst.saturating_sub(self.leased), window);
        let wanted = fill.saturating_add(times(cost, window));

        let allowed = rate.limit > 0 && wanted <= room;
        let after = if allowed { wanted } else { fill };
        let used = after.div_ceil(window).saturating_add(self.leased);
        let verdict = Verdict {
            allowed,
            limit: Some(rate.limit),
            used,
            // ⌊(burst × window − after) ÷ window⌋, without another division.
            remaining: if rate.limit == 0 { 0 } else { rate.burst.saturating_sub(used) },
            // What is leased may be spent any time: at best now.
            reset_ms: drain_ms(after.saturating_add(times(self.leased, window)), rate.limit),
            // A cost above the burst never passes: there is no time to come back at.
            retry_after_ms: (!allowed && rate.limit > 0 && cost <= rate.burst)
                .then(|| drain_ms(wanted.saturating_sub(room), rate.limit)),
        };
        (verdict, Self { fill: after, window_ms: window, at_ms: now.get().max(self.at_ms), leased: self.leased })
    }

    /// What is left of the fill at `now`.
    fn drained(self, rate: Rate, now: UnixMillis) -> u64 {
        let drained = times(now.get().saturating_sub(self.at_ms), rate.limit);
        self.measured_in(rate.window_ms.max(1)).saturating_sub(drained)
    }

    /// The bucket after something has happened to leased cells.
    pub(super) fn moved(self, rate: Rate, leased: LeaseStep, now: UnixMillis) -> Self {
        match leased {
            LeaseStep::Granted(cells) => Self { leased: self.leased.saturating_add(cells), ..self },
            LeaseStep::Returned(cells) => Self { leased: self.leased.saturating_sub(cells), ..self },
            LeaseStep::Spent(cells) => {
                let window = rate.window_ms.max(1);
                Self {
                    fill: self.drained(rate, now).saturating_add(times(cells, window)),
                    window_ms: window,
                    at_ms: now.get().max(self.at_ms),
                    leased: self.leased.saturating_sub(cells),
                }
            }
        }
    }

    /// Cells that are leased.
    pub(super) const fn leased(self) -> u64 {
        self.leased
    }

    /// The bucket as if `cells` had not come.
    #[must_use]
    pub fn without(self, cells: u64) -> Self {
        Self { fill: self.fill.saturating_sub(cells.saturating_mul(self.window_ms)), ..self }
    }

    /// The fill for a window of another length: the same number of cells, rounded up.
    fn measured_in(self, window: u64) -> u64 {
        let own = self.window_ms.max(1);
        if own == window {
            return self.fill;
        }
        let scaled = u128::from(self.fill).saturating_mul(window.into()).div_ceil(own.into());
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// A product that saturates. Factors of 32 bits, the usual case, need no 128-bit arithmetic, which WebAssembly lacks.
fn times(a: u64, b: u64) -> u64 {
    if (a | b) >> 32 == 0 { a.wrapping_mul(b) } else { a.saturating_mul(b) }
}

fn drain_ms(fill: u64, limit: u64) -> u64 {
    if limit == 0 { 0 } else { fill.div_ceil(limit) }
}

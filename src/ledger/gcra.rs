//! Rates: the generic cell rate algorithm in its leaky-bucket form (ITU-T I.371, annex A), in exact
//! integer arithmetic. A cell is one unit.
//!
//! The bucket measures its fill in cells × milliseconds of the window: a cell adds `window_ms`, and
//! every millisecond drains `limit`. No intermediate step divides, so exactly `limit` cells pass
//! per window, for every limit.

use serde::{Deserialize, Serialize};

use super::verdict::{LeaseStep, Verdict, is_zero};
use crate::model::UnixMillis;

/// A rate: `limit` cells per `window_ms`, at most `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Cells per window; 0 blocks.
    pub limit: u64,
    /// Cells that may come at once; 0 blocks.
    pub burst: u64,
    /// Length of the window in milliseconds, at least 1.
    pub window_ms: u64,
}

/// The fill of the bucket at a point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The fill, in cells × `window_ms`.
    fill: u64,
    /// The window in which `fill` is measured.
    window_ms: u64,
    /// When the fill was measured, in milliseconds since 1970.
    at_ms: u64,
    /// Leased cells. Each occupies its room, undrained, until it is reported as spent. Leased cells
    /// therefore conform to the rate exactly, whenever isolates spend them.
    #[serde(default, skip_serializing_if = "is_zero")]
    leased: u64,
}

impl Bucket {
    /// Creates a bucket into which `cells` cells have just come, as far as there is room.
    pub(super) fn holding(cells: u64, rate: Rate, now: UnixMillis) -> Self {
        let window = rate.window_ms.max(1);
        Self { fill: times(cells.min(rate.burst), window), window_ms: window, at_ms: now.get(), leased: 0 }
    }

    /// Returns the cells in the bucket at the last measurement, including leased ones.
    pub(super) const fn cells(self) -> u64 {
        let window = if self.window_ms == 0 { 1 } else { self.window_ms };
        self.fill.div_ceil(window).saturating_add(self.leased)
    }

    /// Judges `cost` cells at `now`. Returns the verdict, and the bucket if they are taken.
    ///
    /// If time runs backwards, nothing drains; it has no other effect.
    pub fn step(self, rate: Rate, cost: u64, now: UnixMillis) -> (Verdict, Self) {
        let window = rate.window_ms.max(1);
        let fill = self.drained(rate, now);
        // INVARIANT (no overflow): MAX_RATE × MAX_WINDOW_MS fits into 64 bits. A saturated product
        // exceeds every possible room.
        let room = times(rate.burst.saturating_sub(self.leased), window);
        let wanted = fill.saturating_add(times(cost, window));

        let allowed = rate.limit > 0 && wanted <= room;
        let after = if allowed { wanted } else { fill };
        let used = after.div_ceil(window).saturating_add(self.leased);
        let verdict = Verdict {
            allowed,
            limit: Some(rate.limit),
            used,
            // Equals ⌊(burst × window − after) ÷ window⌋, without another division.
            remaining: if rate.limit == 0 { 0 } else { rate.burst.saturating_sub(used) },
            // Leased cells may be spent at any time; now is the earliest.
            reset_ms: drain_ms(after.saturating_add(times(self.leased, window)), rate.limit),
            // A cost above the burst never passes, so there is no time at which to retry.
            retry_after_ms: (!allowed && rate.limit > 0 && cost <= rate.burst)
                .then(|| drain_ms(wanted.saturating_sub(room), rate.limit)),
        };
        (verdict, Self { fill: after, window_ms: window, at_ms: now.get().max(self.at_ms), leased: self.leased })
    }

    /// Returns the fill that remains at `now`.
    fn drained(self, rate: Rate, now: UnixMillis) -> u64 {
        let drained = times(now.get().saturating_sub(self.at_ms), rate.limit);
        self.measured_in(rate.window_ms.max(1)).saturating_sub(drained)
    }

    /// Returns the bucket after a step on leased cells.
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

    /// Returns the leased cells.
    pub(super) const fn leased(self) -> u64 {
        self.leased
    }

    /// Returns the bucket as if `cells` had not come.
    #[must_use]
    pub fn without(self, cells: u64) -> Self {
        Self { fill: self.fill.saturating_sub(cells.saturating_mul(self.window_ms)), ..self }
    }

    /// Returns the fill for a window of another length: the same number of cells, rounded up.
    fn measured_in(self, window: u64) -> u64 {
        let own = self.window_ms.max(1);
        if own == window {
            return self.fill;
        }
        let scaled = u128::from(self.fill).saturating_mul(window.into()).div_ceil(own.into());
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// A saturating product. Factors of at most 32 bits, the usual case, avoid 128-bit arithmetic,
/// which WebAssembly lacks.
fn times(a: u64, b: u64) -> u64 {
    if (a | b) >> 32 == 0 { a.wrapping_mul(b) } else { a.saturating_mul(b) }
}

fn drain_ms(fill: u64, limit: u64) -> u64 {
    if limit == 0 { 0 } else { fill.div_ceil(limit) }
}

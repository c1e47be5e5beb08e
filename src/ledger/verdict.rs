//! The verdict of a charge, and the steps of a lease that every kind of counter takes.

use serde::{Deserialize, Serialize};

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for; 32-bit platforms are not warned")]
pub(super) const fn is_zero(units: &u64) -> bool {
    *units == 0
}

/// What happens to units that are leased or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseStep {
    /// Units are set aside.
    Granted(u64),
    /// Units that were set aside have been used.
    Spent(u64),
    /// Units that were set aside are free again.
    Returned(u64),
}

/// The result of one charge. On a denial nothing was taken, and the numbers state the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether this charge alone would pass.
    pub allowed: bool,
    /// The limit. `None` is unlimited.
    pub limit: Option<u64>,
    /// Units used after the decision.
    pub used: u64,
    /// Units left after the decision; `u64::MAX` if unlimited.
    pub remaining: u64,
    /// Milliseconds until the limit is fully available again; 0 if it is, or if time does not
    /// restore it.
    pub reset_ms: u64,
    /// Milliseconds until the same charge can pass if no other charge takes units. `None` if
    /// waiting does not help.
    pub retry_after_ms: Option<u64>,
}

impl Verdict {
    /// Returns a denial with the whole limit used, for a counter whose state is unknown.
    pub fn exhausted(limit: Option<u64>) -> Self {
        Self::of_level(false, limit, limit.unwrap_or(0), 0)
    }

    pub(super) fn of_level(allowed: bool, limit: Option<u64>, used: u64, reset_ms: u64) -> Self {
        let remaining = limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        Self { allowed, limit, used, remaining, reset_ms, retry_after_ms: None }
    }
}

//! Checks of the dates between which terms are in force.

use super::bounds::MAX_GRACE_MS;
use super::{Quantity, Reader, UnixMillis};

/// The end must come after the start.
pub(super) fn check_dates(starts_at: Option<UnixMillis>, ends_at: Option<UnixMillis>, r: &mut Reader) {
    if let (Some(start), Some(end)) = (starts_at, ends_at)
        && end <= start
    {
        r.at("ends_at", |r| r.problem(end.to_string(), format!("a time after {start}")));
    }
}

/// A grace period needs an end, and is at most [`MAX_GRACE_MS`] milliseconds long.
pub(super) fn check_grace(Quantity(grace_ms): Quantity, ends_at: Option<UnixMillis>, r: &mut Reader) {
    if grace_ms > MAX_GRACE_MS || grace_ms > 0 && ends_at.is_none() {
        r.at("grace_ms", |r| r.problem(grace_ms.to_string(), format!("0 to {MAX_GRACE_MS}, after an `ends_at`")));
    }
}

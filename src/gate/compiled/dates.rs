//! Which dated terms are in force, and for how long that answer holds.

use crate::model::{Contract, Override, Trial, UnixMillis};

/// Judges dates at one time, and narrows the period for which the judgements hold.
pub(super) struct Dates {
    pub(super) now: UnixMillis,
    /// From when until when the judgements hold.
    pub(super) valid: (UnixMillis, UnixMillis),
    /// The end of the first grace period among them.
    pub(super) grace_ends_at: Option<UnixMillis>,
}

/// Whether a dated term is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Before its start, or after its end and its grace period.
    None,
    /// In the grace period after its end.
    Grace,
    /// Between its dates.
    Active,
}

/// A term with a start, an end, and the milliseconds of its grace period.
pub(super) trait Dated {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64);
}

impl Dated for Override {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64) {
        (self.starts_at, self.ends_at, self.grace_ms.0)
    }
}

impl Dated for Contract {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64) {
        (self.starts_at, self.ends_at, self.grace_ms.0)
    }
}

impl Dated for Trial {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64) {
        (self.starts_at, Some(self.ends_at), 0)
    }
}

impl Dates {
    pub(super) fn at(now: UnixMillis) -> Self {
        Self { now, valid: (UnixMillis::default(), UnixMillis::MAX), grace_ends_at: None }
    }

    pub(super) fn standing(&mut self, dated: &impl Dated) -> Standing {
        let (starts_at, ends_at, grace_ms) = dated.dates();
        if self.is_within(starts_at, ends_at) {
            return Standing::Active;
        }
        match ends_at.filter(|_| grace_ms > 0) {
            Some(ends_at) if self.is_within(Some(ends_at), Some(ends_at.plus(grace_ms))) => {
                let until = ends_at.plus(grace_ms);
                self.grace_ends_at = Some(self.grace_ends_at.map_or(until, |first| first.min(until)));
                Standing::Grace
            }
            _ => Standing::None,
        }
    }

    fn is_within(&mut self, starts_at: Option<UnixMillis>, ends_at: Option<UnixMillis>) -> bool {
        let starts = starts_at.unwrap_or_default();
        let ends = ends_at.unwrap_or(UnixMillis::MAX);
        for date in [starts, ends] {
            if date <= self.now {
                self.narrow(date, UnixMillis::MAX);
            } else {
                self.narrow(UnixMillis::default(), date);
            }
        }
        starts <= self.now && self.now < ends
    }

    pub(super) fn narrow(&mut self, from: UnixMillis, until: UnixMillis) {
        self.valid = (self.valid.0.max(from), self.valid.1.min(until));
    }
}

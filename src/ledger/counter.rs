//! One counter and what can happen to it.

use serde::{Deserialize, Serialize};

use super::gcra::{Bucket, Rate, is_zero};
use crate::model::UnixMillis;

/// The rule by which a counter is judged: the tenant's allowance as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Meter {
    /// Speed.
    Rate(Rate),
    /// So much from `starts_ms` to `ends_ms` (exclusive); `None` counts without bound.
    Quota {
        /// Units allowed in the period.
        limit: Option<u64>,
        /// Start of the period in milliseconds since 1970.
        starts_ms: u64,
        /// End of the period, exclusive.
        ends_ms: u64,
    },
    /// A level of at most `limit`; `None` counts without bound.
    Gauge {
        /// The highest level allowed.
        limit: Option<u64>,
    },
}

impl Meter {
    /// A rate.
    pub const fn rate(limit: u64, burst: u64, window_ms: u64) -> Self {
        Self::Rate(Rate { limit, burst, window_ms })
    }

    /// The end of the period that is counted, in milliseconds since 1970, where there is one.
    pub const fn ends_ms(self) -> Option<u64> {
        match self {
            Self::Quota { ends_ms, .. } => Some(ends_ms),
            Self::Rate(_) | Self::Gauge { .. } => None,
        }
    }

    /// The same meter without a bound; a rate, which has no meaning without one, stays.
    #[must_use]
    pub const fn unlimited(self) -> Self {
        match self {
            Self::Rate(_) => self,
            Self::Quota { starts_ms, ends_ms, .. } => Self::Quota { limit: None, starts_ms, ends_ms },
            Self::Gauge { .. } => Self::Gauge { limit: None },
        }
    }
}

/// What a request does to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Takes units; 0 looks without taking.
    Take(u64),
    /// Gives units of a gauge back; never below 0. Other meters refuse it.
    Release(u64),
    /// Sets the level of a gauge. Refused above the limit unless it lowers the level. Other meters refuse it.
    Set(u64),
}

/// What a counter remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Of a rate.
    Rate(Bucket),
    /// Of a quota: units used in the period that began at `starts_ms`.
    Quota {
        /// Start of the period.
        starts_ms: u64,
        /// Units used.
        used: u64,
        /// Units that are leased, besides.
        #[serde(default, skip_serializing_if = "is_zero")]
        leased: u64,
    },
    /// Of a gauge.
    Gauge {
        /// The level.
        level: u64,
    },
}

/// What happens to units that are leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leased {
    /// Units are set aside.
    Granted(u64),
    /// Units that were set aside have been used.
    Spent(u64),
    /// Units that were set aside are free again.
    Returned(u64),
}

/// The answer for one charge. On a denial nothing was taken, and the numbers say what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether this charge alone would pass.
    pub allowed: bool,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// Units used after the decision.
    pub used: u64,
    /// Units left after the decision; `u64::MAX` where unlimited.
    pub remaining: u64,
    /// Milliseconds until the limit is whole again; 0 if it is, or if time does not restore it.
    pub reset_ms: u64,
    /// Milliseconds until the same charge can pass, if nobody else takes anything. `None` if waiting does not help.
    pub retry_after_ms: Option<u64>,
}

impl Counter {
    /// Decides `op` at `now`: the verdict, and the counter as it is if the charge is committed.
    pub fn step(current: Option<Self>, meter: Meter, op: Op, now: UnixMillis) -> (Verdict, Self) {
        match meter {
            Meter::Rate(rate) => {
                let bucket = if let Some(Self::Rate(bucket)) = current { bucket } else { Bucket::default() };
                let (mut verdict, after) = bucket.step(rate, op.cost(), now);
                if !matches!(op, Op::Take(_)) {
                    verdict.allowed = false;
                }
                (verdict, Self::Rate(after))
            }
            Meter::Quota { limit, starts_ms, ends_ms } => {
                // A counter of a later period stays: a clock that steps back revives nothing.
                let (starts_ms, used, leased) = match current {
                    Some(Self::Quota { starts_ms: start, used, leased }) if start >= starts_ms => (start, used, leased),
                    _ => (starts_ms, 0, 0),
                };
                let wanted = used.saturating_add(leased).saturating_add(op.cost());
                let allowed = matches!(op, Op::Take(_)) && limit.is_none_or(|limit| wanted <= limit && limit > 0);
                let after = if allowed { wanted } else { used.saturating_add(leased) };
                let reset_ms = ends_ms.saturating_sub(now.get());
                let fits = limit.is_some_and(|limit| op.cost() <= limit && limit > 0);
                let verdict = Verdict {
                    retry_after_ms: (!allowed && fits).then_some(reset_ms),
                    ..Verdict::of_level(allowed, limit, after, reset_ms)
                };
                (verdict, Self::Quota { starts_ms, used: after.saturating_sub(leased), leased })
            }
            Meter::Gauge { limit } => {
                let level = if let Some(Self::Gauge { level }) = current { level } else { 0 };
                let wanted = match op {
                    Op::Take(units) => level.saturating_add(units),
                    Op::Release(units) => level.saturating_sub(units),
                    Op::Set(units) => units,
                };
                // After a downgrade the level stays; only growth is refused.
                let allowed = op == Op::Take(0) && limit.is_none_or(|limit| limit > 0 && level <= limit)
                    || op != Op::Take(0) && (wanted <= level || limit.is_none_or(|limit| wanted <= limit));
                let after = if allowed { wanted } else { level };
                (Verdict::of_level(allowed, limit, after, 0), Self::Gauge { level: after })
            }
        }
    }
}

impl Counter {
    /// The counter after something has happened to units that were leased under `meter`. A quota of another period, and a
    /// gauge, have none.
    pub(super) fn moved(self, meter: Meter, units: Leased, now: UnixMillis) -> Self {
        match (self, meter) {
            (Self::Rate(bucket), Meter::Rate(rate)) => Self::Rate(bucket.moved(rate, units, now)),
            (Self::Quota { starts_ms, used, leased }, Meter::Quota { starts_ms: start, .. }) if start == starts_ms => {
                let (used, leased) = match units {
                    Leased::Granted(units) => (used, leased.saturating_add(units)),
                    Leased::Spent(units) => (used.saturating_add(units), leased.saturating_sub(units)),
                    Leased::Returned(units) => (used, leased.saturating_sub(units)),
                };
                Self::Quota { starts_ms, used, leased }
            }
            _ => self,
        }
    }

    /// Units that are leased now.
    pub const fn leased(self) -> u64 {
        match self {
            Self::Rate(bucket) => bucket.leased(),
            Self::Quota { leased, .. } => leased,
            Self::Gauge { .. } => 0,
        }
    }

    /// The counter as if `units` had not been taken.
    pub(super) fn without(self, units: u64) -> Self {
        match self {
            Self::Rate(bucket) => Self::Rate(bucket.without(units)),
            Self::Quota { starts_ms, used, leased } => {
                Self::Quota { starts_ms, used: used.saturating_sub(units), leased }
            }
            Self::Gauge { level } => Self::Gauge { level: level.saturating_sub(units) },
        }
    }
}

impl Op {
    /// Units that it would take.
    pub const fn cost(self) -> u64 {
        match self {
            Self::Take(units) => units,
            Self::Release(_) | Self::Set(_) => 0,
        }
    }
}

impl Verdict {
    fn of_level(allowed: bool, limit: Option<u64>, used: u64, reset_ms: u64) -> Self {
        let remaining = limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        Self { allowed, limit, used, remaining, reset_ms, retry_after_ms: None }
    }
}

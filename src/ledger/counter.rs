//! One counter and what can happen to it.

use serde::{Deserialize, Serialize};

use super::gcra::{Bucket, Rate};
use super::quota::Quota;
use super::window::Window;
use crate::model::UnixMillis;
use crate::model::bounds::CONCURRENCY_RETRY_MS;

/// The rule by which a counter is judged: the tenant's allowance as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Meter {
    /// Speed.
    Rate(Rate),
    /// So much in any stretch of `window_ms`; `None` counts without bound.
    Window {
        /// Units allowed in the window.
        limit: Option<u64>,
        /// The window's length in milliseconds.
        window_ms: u64,
    },
    /// So much from `starts_ms` to `ends_ms` (exclusive); `None` counts without bound.
    Quota {
        /// Units allowed in the period.
        limit: Option<u64>,
        /// Start of the period in milliseconds since 1970.
        starts_ms: u64,
        /// End of the period, exclusive.
        ends_ms: u64,
        /// Beyond the limit it counts, and lets through.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// A level of at most `limit`; `None` counts without bound.
    Gauge {
        /// The highest level allowed.
        limit: Option<u64>,
        /// Beyond the limit it counts, and lets through.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// At most `limit` held at the same time; `None` counts without bound.
    Concurrency {
        /// Units that may be held.
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
            _ => None,
        }
    }

    /// Whether another meter counts the same: units are of one kind, and of one period.
    pub(super) fn counts_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Quota { starts_ms, .. }, Self::Quota { starts_ms: start, .. }) => starts_ms == start,
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }

    /// Units allowed; `None`: without bound.
    pub const fn limit(self) -> Option<u64> {
        match self {
            Self::Rate(rate) => Some(rate.limit),
            Self::Window { limit, .. }
            | Self::Quota { limit, .. }
            | Self::Gauge { limit, .. }
            | Self::Concurrency { limit } => limit,
        }
    }

    /// Whether it lets through what is beyond its limit.
    pub const fn lets_over(self) -> bool {
        matches!(self, Self::Quota { over: true, .. } | Self::Gauge { over: true, .. })
    }

    /// The same meter without a bound; a rate, which has no meaning without one, stays.
    #[must_use]
    pub const fn unlimited(self) -> Self {
        match self {
            Self::Rate(_) => self,
            Self::Window { window_ms, .. } => Self::Window { limit: None, window_ms },
            Self::Quota { starts_ms, ends_ms, over, .. } => Self::Quota { limit: None, starts_ms, ends_ms, over },
            Self::Gauge { over, .. } => Self::Gauge { limit: None, over },
            Self::Concurrency { .. } => Self::Concurrency { limit: None },
        }
    }
}

/// What a request does to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterOp {
    /// Takes units; 0 looks without taking. Of a concurrency limit nothing can be taken for good.
    Take(u64),
    /// Gives units of a gauge back, never below 0; or of a quota, which refuses more than were used. Other meters refuse it.
    Release(u64),
    /// Sets the level of a gauge. Refused above the limit unless it lowers the level. Other meters refuse it.
    Set(u64),
    /// Moves a level by as much as the preceding charge moved its own, but not below 0: ancestors follow.
    Follow,
    /// Sets units aside, under the hold that the order names.
    Hold(u64),
    /// Says how many units were used in the end, of the hold that the order settles.
    Settle(u64),
}

impl CounterOp {
    /// Units that it would take.
    pub const fn cost(self) -> u64 {
        match self {
            Self::Take(units) | Self::Hold(units) => units,
            Self::Release(_) | Self::Set(_) | Self::Follow | Self::Settle(_) => 0,
        }
    }

    /// Units that it names.
    pub const fn units(self) -> u64 {
        match self {
            Self::Take(units)
            | Self::Hold(units)
            | Self::Release(units)
            | Self::Set(units)
            | Self::Settle(units) => units,
            Self::Follow => 0,
        }
    }

    /// What it is, after a charge that moved its level from `before` to `after`, for a counter at `level`.
    pub(super) fn after(self, before: u64, after: u64, level: u64) -> Self {
        match self {
            Self::Follow if after >= before => Self::Take(after.saturating_sub(before)),
            Self::Follow => Self::Release(before.saturating_sub(after).min(level)),
            op => op,
        }
    }

    /// Units that were used, if it says so.
    pub(super) const fn settled(self) -> u64 {
        if let Self::Settle(units) = self { units } else { 0 }
    }
}

/// What a counter remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Of a rate.
    Rate(Bucket),
    /// Of a sliding window.
    Window(Box<Window>),
    /// Of a quota.
    Quota(Quota),
    /// Of a gauge.
    Gauge {
        /// The level.
        level: u64,
        /// Units that are held, besides.
        #[serde(default, skip_serializing_if = "is_zero")]
        leased: u64,
    },
    /// Of a concurrency limit.
    Concurrency {
        /// Units that are held.
        leased: u64,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for; 32-bit platforms are not warned")]
pub(super) const fn is_zero(units: &u64) -> bool {
    *units == 0
}

/// What happens to units that are set aside: leased, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseStep {
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
    ///
    /// A hold is judged like a taking. What was settled is not judged here: it has happened.
    pub fn step(current: Option<&Self>, meter: Meter, op: CounterOp, now: UnixMillis) -> (Verdict, Self) {
        if let CounterOp::Hold(units) = op
            && !matches!(meter, Meter::Concurrency { .. })
        {
            let (verdict, _) = Self::step(current, meter, CounterOp::Take(units), now);
            let before = Self::step(current, meter, CounterOp::Take(0), now).1;
            let units = if verdict.allowed { units } else { 0 };
            let meter = before.dated(meter);
            return (verdict, before.moved(meter, LeaseStep::Granted(units), now));
        }
        let takes = matches!(op, CounterOp::Take(_));
        match meter {
            Meter::Rate(rate) => {
                let bucket = match current {
                    Some(Self::Rate(bucket)) => *bucket,
                    other => Bucket::holding(other.map_or(0, Self::consumed), rate, now),
                };
                let (mut verdict, after) = bucket.step(rate, op.cost(), now);
                verdict.allowed &= takes;
                (verdict, Self::Rate(after))
            }
            Meter::Window { limit, window_ms } => {
                let window = match current {
                    Some(Self::Window(window)) => window.at(window_ms, now),
                    other => Window::new(window_ms, now).plus(other.map_or(0, Self::consumed)),
                };
                let (mut verdict, after) = window.step(limit, op.cost(), now);
                verdict.allowed &= takes;
                (verdict, Self::Window(Box::new(after)))
            }
            Meter::Quota { limit, starts_ms, ends_ms, over } => {
                let quota = match current {
                    Some(Self::Quota(quota)) => quota.at(starts_ms, ends_ms),
                    other => Quota::new(starts_ms, ends_ms, other.map_or(0, Self::consumed)),
                }
                .under(limit, over);
                if let CounterOp::Release(units) = op {
                    let allowed = units <= quota.total();
                    let after = if allowed { quota.refunded(units) } else { quota };
                    let reset_ms = quota.period().1.saturating_sub(now.get());
                    let verdict = Verdict::of_level(allowed, limit, after.total(), reset_ms);
                    return (verdict, Self::Quota(after));
                }
                let wanted = quota.total().saturating_add(op.cost());
                let allowed = takes && (over || limit.is_none_or(|limit| wanted <= limit && limit > 0));
                let after = if allowed { quota.plus(op.cost()) } else { quota };
                // The next period that is asked for may start before the one that counts is over: then this is the earliest.
                let reset_ms = ends_ms.max(quota.period().1).saturating_sub(now.get());
                let fits = limit.is_some_and(|limit| op.cost() <= limit && limit > 0);
                let verdict = Verdict {
                    retry_after_ms: (!allowed && fits).then_some(reset_ms),
                    ..Verdict::of_level(allowed, limit, after.total(), reset_ms)
                };
                (verdict, Self::Quota(after))
            }
            Meter::Gauge { limit, over } => {
                let (level, leased) =
                    if let Some(Self::Gauge { level, leased }) = current { (*level, *leased) } else { (0, 0) };
                let wanted = match op {
                    CounterOp::Take(units) => level.saturating_add(units),
                    CounterOp::Release(units) => level.saturating_sub(units),
                    CounterOp::Set(units) => units,
                    CounterOp::Follow | CounterOp::Hold(_) | CounterOp::Settle(_) => level,
                };
                let total = wanted.saturating_add(leased);
                let fits = over || limit.is_none_or(|limit| total <= limit);
                // After a downgrade the level stays; only growth is refused.
                let allowed = match op {
                    CounterOp::Take(0) => fits && (over || limit != Some(0)),
                    _ => fits || wanted <= level,
                };
                let after = if allowed { wanted } else { level };
                (
                    Verdict::of_level(allowed, limit, after.saturating_add(leased), 0),
                    Self::Gauge { level: after, leased },
                )
            }
            Meter::Concurrency { limit } => {
                let held = current.map_or(0, Self::leased);
                let wanted = held.saturating_add(op.cost());
                // To look is to ask whether one more would pass.
                let fits = limit.is_none_or(|limit| wanted.max(held.saturating_add(1)) <= limit);
                let allowed = fits && matches!(op, CounterOp::Hold(_) | CounterOp::Take(0));
                let after = if allowed { wanted } else { held };
                let verdict = Verdict {
                    retry_after_ms: (!allowed && limit.is_some_and(|limit| op.cost() <= limit && limit > 0))
                        .then_some(CONCURRENCY_RETRY_MS),
                    ..Verdict::of_level(allowed, limit, after, 0)
                };
                (verdict, Self::Concurrency { leased: after })
            }
        }
    }

    /// Units that count as used for another kind of meter, as if they had just been: a limit whose kind changes is not whole again.
    /// Levels are something else.
    fn consumed(&self) -> u64 {
        match self {
            Self::Rate(bucket) => bucket.cells(),
            Self::Window(window) => window.used(),
            Self::Quota(quota) => quota.total(),
            Self::Gauge { .. } | Self::Concurrency { .. } => 0,
        }
    }

    /// Whether the period that is counted began after a time.
    pub(super) const fn began_after(&self, at_ms: u64) -> bool {
        matches!(self, Self::Quota(quota) if quota.period().0 > at_ms)
    }

    /// The meter, for the period that is counted: what is set aside now belongs to that one, whichever was asked for.
    pub(super) const fn dated(&self, meter: Meter) -> Meter {
        match (self, meter) {
            (Self::Quota(quota), Meter::Quota { limit, over, .. }) => {
                let (starts_ms, ends_ms) = quota.period();
                Meter::Quota { limit, starts_ms, ends_ms, over }
            }
            _ => meter,
        }
    }

    /// The counter after something has happened to units that were set aside under `meter`, which is [dated](Self::dated). A quota of
    /// another period has none; whatever was held of a concurrency limit is free again, used or not.
    pub(super) fn moved(self, meter: Meter, units: LeaseStep, now: UnixMillis) -> Self {
        let change = |used: u64, leased: u64| match units {
            LeaseStep::Granted(units) => (used, leased.saturating_add(units)),
            LeaseStep::Spent(units) => (used.saturating_add(units), leased.saturating_sub(units)),
            LeaseStep::Returned(units) => (used, leased.saturating_sub(units)),
        };
        match (self, meter) {
            (Self::Rate(bucket), Meter::Rate(rate)) => Self::Rate(bucket.moved(rate, units, now)),
            (Self::Window(window), Meter::Window { window_ms, .. }) => {
                Self::Window(Box::new(window.at(window_ms, now).moved(units)))
            }
            (Self::Quota(quota), Meter::Quota { starts_ms, .. }) if starts_ms == quota.period().0 => {
                Self::Quota(quota.moved(units))
            }
            (Self::Gauge { level, leased }, Meter::Gauge { .. }) => {
                let (level, leased) = change(level, leased);
                Self::Gauge { level, leased }
            }
            (Self::Concurrency { leased }, Meter::Concurrency { .. }) => {
                Self::Concurrency { leased: change(0, leased).1 }
            }
            (other, _) => other,
        }
    }

    /// The level of a gauge, or what counts of a quota: what those above follow.
    pub(super) const fn level(&self) -> u64 {
        match self {
            Self::Gauge { level, .. } => *level,
            Self::Quota(quota) => quota.total(),
            _ => 0,
        }
    }

    /// Units that are leased or held now.
    pub const fn leased(&self) -> u64 {
        match self {
            Self::Rate(bucket) => bucket.leased(),
            Self::Window(window) => window.leased(),
            Self::Quota(quota) => quota.leased(),
            Self::Gauge { leased, .. } | Self::Concurrency { leased } => *leased,
        }
    }

    /// The counter as if `units` had not been taken.
    pub(super) fn without(self, units: u64) -> Self {
        match self {
            Self::Rate(bucket) => Self::Rate(bucket.without(units)),
            Self::Window(window) => Self::Window(Box::new(window.without(units))),
            Self::Quota(quota) => Self::Quota(quota.without(units)),
            Self::Gauge { level, leased } => Self::Gauge { level: level.saturating_sub(units), leased },
            Self::Concurrency { leased } => Self::Concurrency { leased: leased.saturating_sub(units) },
        }
    }
}

impl Verdict {
    /// A refusal where all is used, as far as is known.
    pub fn exhausted(limit: Option<u64>) -> Self {
        Self::of_level(false, limit, limit.unwrap_or(0), 0)
    }

    fn of_level(allowed: bool, limit: Option<u64>, used: u64, reset_ms: u64) -> Self {
        let remaining = limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
        Self { allowed, limit, used, remaining, reset_ms, retry_after_ms: None }
    }
}

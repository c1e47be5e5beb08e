//! Counters and their meters: [`Counter::step`] judges one operation on one counter.

use serde::{Deserialize, Serialize};

use super::gcra::{Bucket, Rate};
use super::quota::Quota;
use super::verdict::{LeaseStep, Verdict, is_zero};
use super::window::Window;
use crate::model::UnixMillis;
use crate::model::bounds::CONCURRENCY_RETRY_MS;

/// The rule by which a counter is judged: kind and allowance, as they stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Meter {
    /// A rate.
    Rate(Rate),
    /// At most `limit` units in any stretch of `window_ms` milliseconds. `None` counts without a
    /// limit.
    Window {
        /// Units allowed in the window.
        limit: Option<u64>,
        /// Length of the window in milliseconds.
        window_ms: u64,
    },
    /// At most `limit` units from `starts_ms` to `ends_ms` (exclusive). `None` counts without a
    /// limit.
    Quota {
        /// Units allowed in the period.
        limit: Option<u64>,
        /// Start of the period, in milliseconds since 1970.
        starts_ms: u64,
        /// End of the period, exclusive.
        ends_ms: u64,
        /// Whether units beyond the limit are counted and allowed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// A level of at most `limit`. `None` counts without a limit.
    Gauge {
        /// The highest level allowed.
        limit: Option<u64>,
        /// Whether a level beyond the limit is counted and allowed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// At most `limit` units held at the same time. `None` counts without a limit.
    Concurrency {
        /// Units that may be held.
        limit: Option<u64>,
    },
}

impl Meter {
    /// Creates a rate meter.
    pub const fn rate(limit: u64, burst: u64, window_ms: u64) -> Self {
        Self::Rate(Rate { limit, burst, window_ms })
    }

    /// Returns the end of the period, in milliseconds since 1970, if the meter has one.
    pub const fn ends_ms(self) -> Option<u64> {
        match self {
            Self::Quota { ends_ms, .. } => Some(ends_ms),
            _ => None,
        }
    }

    /// Whether another meter has the same kind and the same period.
    pub(super) fn counts_as(self, other: Self) -> bool {
        match (self, other) {
            (Self::Quota { starts_ms, .. }, Self::Quota { starts_ms: start, .. }) => starts_ms == start,
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }

    /// Returns the limit. `None` is unlimited.
    pub const fn limit(self) -> Option<u64> {
        match self {
            Self::Rate(rate) => Some(rate.limit),
            Self::Window { limit, .. }
            | Self::Quota { limit, .. }
            | Self::Gauge { limit, .. }
            | Self::Concurrency { limit } => limit,
        }
    }

    /// Whether units beyond the limit are allowed.
    pub const fn lets_over(self) -> bool {
        matches!(self, Self::Quota { over: true, .. } | Self::Gauge { over: true, .. })
    }

    /// Returns the same meter without a limit. A rate is returned unchanged, because it has no
    /// meaning without one.
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

/// What a charge does to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterOp {
    /// Takes units; 0 only reads. A concurrency limit refuses it, because its units are only ever
    /// held.
    Take(u64),
    /// Returns units: of a gauge, down to 0; of a quota, which refuses to return more than were
    /// used. Other meters refuse it.
    Release(u64),
    /// Sets the level of a gauge. It is refused above the limit unless it lowers the level. Other
    /// meters refuse it.
    Set(u64),
    /// Moves the level of an ancestor by as much as the preceding charge moved the tenant's, but
    /// not below 0.
    Follow,
    /// Sets units aside in the hold that the request names.
    Hold(u64),
    /// Reports the units that were used of the hold that the request settles.
    Settle(u64),
}

impl CounterOp {
    /// Returns the units that the operation would take.
    pub const fn cost(self) -> u64 {
        match self {
            Self::Take(units) | Self::Hold(units) => units,
            Self::Release(_) | Self::Set(_) | Self::Follow | Self::Settle(_) => 0,
        }
    }

    /// Returns the units that the operation names.
    pub const fn units(self) -> u64 {
        match self {
            Self::Take(units) | Self::Hold(units) | Self::Release(units) | Self::Set(units) | Self::Settle(units) => {
                units
            }
            Self::Follow => 0,
        }
    }

    /// Resolves [`Self::Follow`] for a counter at `level`, after a charge that moved its level from
    /// `before` to `after`.
    pub(super) fn after(self, before: u64, after: u64, level: u64) -> Self {
        match self {
            Self::Follow if after >= before => Self::Take(after.saturating_sub(before)),
            Self::Follow => Self::Release(before.saturating_sub(after).min(level)),
            op => op,
        }
    }

    /// Returns the units that [`Self::Settle`] reports, or 0.
    pub(super) const fn settled(self) -> u64 {
        if let Self::Settle(units) = self { units } else { 0 }
    }
}

/// The state of a counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// For a rate.
    Rate(Bucket),
    /// For a sliding window.
    Window(Box<Window>),
    /// For a quota.
    Quota(Quota),
    /// For a gauge.
    Gauge {
        /// The level, without held units.
        level: u64,
        /// Units held.
        #[serde(default, skip_serializing_if = "is_zero")]
        leased: u64,
    },
    /// For a concurrency limit.
    Concurrency {
        /// Units held.
        leased: u64,
    },
}

impl Counter {
    /// Judges `op` at `now`. Returns the verdict, and the counter as it is once the charge is
    /// committed.
    ///
    /// A hold is judged like a charge for the same units. [`CounterOp::Settle`] is not judged here,
    /// because it reports what has already happened.
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
                // The next requested period may start before the counted one ends, so this is the
                // earliest reset.
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
                // After a downgrade the level stays. Only growth is refused.
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
                // Reading a concurrency limit asks whether one more unit would pass.
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

    /// Returns the units that carry over to a meter of another kind, as if they had just been used:
    /// changing the kind of a limit does not restore it. Levels do not carry over.
    fn consumed(&self) -> u64 {
        match self {
            Self::Rate(bucket) => bucket.cells(),
            Self::Window(window) => window.used(),
            Self::Quota(quota) => quota.total(),
            Self::Gauge { .. } | Self::Concurrency { .. } => 0,
        }
    }

    /// Whether the counted period began after a time.
    pub(super) const fn began_after(&self, at_ms: u64) -> bool {
        matches!(self, Self::Quota(quota) if quota.period().0 > at_ms)
    }

    /// Returns the meter with the counted period. Units set aside now belong to that period,
    /// whichever one was requested.
    pub(super) const fn dated(&self, meter: Meter) -> Meter {
        match (self, meter) {
            (Self::Quota(quota), Meter::Quota { limit, over, .. }) => {
                let (starts_ms, ends_ms) = quota.period();
                Meter::Quota { limit, starts_ms, ends_ms, over }
            }
            _ => meter,
        }
    }

    /// Returns the counter after a step on units that were set aside under `meter`, which must be
    /// [dated](Self::dated). A quota of another period has no such units. Units held of a
    /// concurrency limit are free again afterwards, used or not.
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

    /// Returns the level of a gauge or the total of a quota, which ancestors follow.
    pub(super) const fn level(&self) -> u64 {
        match self {
            Self::Gauge { level, .. } => *level,
            Self::Quota(quota) => quota.total(),
            _ => 0,
        }
    }

    /// Returns the units that are leased or held.
    pub const fn leased(&self) -> u64 {
        match self {
            Self::Rate(bucket) => bucket.leased(),
            Self::Window(window) => window.leased(),
            Self::Quota(quota) => quota.leased(),
            Self::Gauge { leased, .. } | Self::Concurrency { leased } => *leased,
        }
    }

    /// Returns the counter as if `units` had not been taken.
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

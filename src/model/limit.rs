//! Limits: what is counted and over which period. Plans say how much is allowed.
//!
//! A [`Limit`] defines the kind, the mode and the period. An [`Allowance`] is the amount that a
//! plan, add-on, contract or override allows. [`crate::ledger`] does the counting.

use serde_json::Value;

use super::bounds::{DEFAULT_HOLD_MS, MAX_HOLD_MS, MAX_QUANTITY, MAX_RATE, MAX_UNIT_BYTES, MAX_WINDOW_MS};
use super::period::Period;
use super::{Read, Reader, choice, document};

choice! {
    /// The kind of a limit.
    pub enum Kind {
        /// A number of units per window, with a burst.
        Rate = "rate",
        /// A number of units in any period of the window's length, wherever it starts, without a
        /// burst. The limit is never exceeded. Usage is counted in 32 parts of the window, and a
        /// unit can count for up to 3.2 % of the window too long.
        Window = "window",
        /// A number of units per billing period.
        Quota = "quota",
        /// A level that rises and falls, such as seats or bytes.
        Gauge = "gauge",
        /// A number of requests or jobs in flight at the same time.
        Concurrency = "concurrency",
    }
}

choice! {
    /// What happens when a limit is exceeded.
    pub enum Overage {
        /// The request is denied.
        Hard = "hard",
        /// The request is allowed and counted, and the decision reports it.
        Soft = "soft",
        /// Like `soft`, but the units beyond the limit are charged as the plan's overage.
        Paid = "paid",
    }
}

choice! {
    /// Where a limit is counted.
    pub enum Mode {
        /// In the ledger, on every request. Exactly the limit is allowed.
        Strict = "strict",
        /// In the isolate, with leased units from the ledger. The limit is never exceeded, but
        /// slightly less than the limit may be allowed; see [`crate::ledger`]. Gauges, concurrency
        /// and shadow limits are counted in the ledger on every request.
        Leased = "leased",
        /// In each isolate by itself. The limit applies per isolate, which suits pre-filtering.
        Local = "local",
    }
}

choice! {
    /// What happens to a request if its ledger is unreachable.
    pub enum OnError {
        /// The request is allowed, and the decision reports it.
        Open = "open",
        /// The request is denied with `LEDGER_UNAVAILABLE`.
        Closed = "closed",
    }
}

document! {
    /// A limit: what is counted, and how. Plans hold the allowances.
    pub struct Limit {
        /// The kind: `rate`, `window`, `quota`, `gauge` or `concurrency`.
        kind: Kind,
        /// Length of the window in milliseconds, 1 to 86400000. Only for rates and windows, where
        /// it is required.
        window_ms: Option<Quantity> = None,
        /// Length of the period. Only for quotas, where it is required.
        period: Option<Period> = None,
        /// Maximum number of milliseconds for which a request in flight holds its slot, 1 to
        /// 86400000. Only for concurrency. Default 60000.
        max_duration_ms: Option<Quantity> = None,
        /// Name of the unit for readers, such as `cpu_ms`, `rows` or `bytes`. Route costs and usage
        /// quantities are given in this unit.
        unit: Option<String> = None,
        /// What happens beyond the limit, unless the plan's allowance says otherwise. Only for
        /// quotas and gauges. Default `hard`.
        overage: Overage = Overage::Hard,
        /// Where the limit is counted. Default `leased`.
        mode: Mode = Mode::Leased,
        /// What happens if the ledger is unreachable. Default `open`.
        on_error: OnError = OnError::Open,
        /// Whether the limit only counts and reports, and never denies. Default false.
        shadow: bool = false,
        /// The allowance of plans that do not name the limit. Without it, every plan must name the
        /// limit.
        default: Option<Allowance> = None,
        /// Description for readers. Not interpreted.
        description: Option<String> = None,
    } => Limit::check
}

impl Limit {
    fn check(&self, r: &mut Reader) {
        let windowed = matches!(self.kind, Kind::Rate | Kind::Window);
        match self.window_ms {
            None if windowed => {
                r.at("window_ms", |r| r.problem("nothing", "milliseconds, because rates and windows need a window"))
            }
            Some(Quantity(window)) if windowed && (window == 0 || window > MAX_WINDOW_MS) => {
                r.at("window_ms", |r| r.problem(window.to_string(), format!("1 to {MAX_WINDOW_MS}")));
            }
            Some(_) if !windowed => {
                r.at("window_ms", |r| r.problem("a window", "no `window_ms`: only rates and windows have one"));
            }
            _ => {}
        }
        match self.max_duration_ms {
            Some(_) if self.kind != Kind::Concurrency => {
                r.at("max_duration_ms", |r| r.problem("a duration", "no `max_duration_ms`: only concurrency has one"));
            }
            Some(Quantity(duration)) if duration == 0 || duration > MAX_HOLD_MS => {
                r.at("max_duration_ms", |r| r.problem(duration.to_string(), format!("1 to {MAX_HOLD_MS}")));
            }
            _ => {}
        }
        if self.unit.as_ref().is_some_and(|unit| unit.is_empty() || unit.len() > MAX_UNIT_BYTES) {
            r.at("unit", |r| r.problem("text that is empty or too long", format!("1 to {MAX_UNIT_BYTES} bytes")));
        }
        check_overage(self.overage, self.kind, r);
        match (self.kind, self.period) {
            (Kind::Quota, None) => r.at("period", |r| r.problem("nothing", "a period, because quotas need one")),
            (Kind::Quota, Some(_)) => {}
            (_, Some(_)) => r.at("period", |r| r.problem("a period", "no `period`: only quotas have one")),
            _ => {}
        }
        if matches!(self.kind, Kind::Gauge | Kind::Concurrency) && self.mode == Mode::Local {
            r.at("mode", |r| r.problem("`local`", "`strict` or `leased`, because all isolates share one level"));
        }
        if let Some(allowance) = &self.default {
            r.at("default", |r| allowance.check(self.kind, r));
        }
    }

    /// Maximum number of milliseconds for which a request in flight holds its slot.
    pub fn max_duration_ms(&self) -> u64 {
        self.max_duration_ms.map_or(DEFAULT_HOLD_MS, |duration| duration.0)
    }
}

fn check_overage(overage: Overage, kind: Kind, r: &mut Reader) {
    if overage != Overage::Hard && !matches!(kind, Kind::Quota | Kind::Gauge) {
        r.at("overage", |r| {
            r.problem(format!("`{}`", overage.as_str()), "`hard`: only quotas and gauges may be exceeded")
        });
    }
}

/// How much of a limit a tenant may use: a number, `{"limit": 100, "burst": 20}`,
/// `{"limit": 1000, "overage": "paid"}`, or `"unlimited"`. `0` blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Counted, never denied. It must be explicit: an absent allowance is never unlimited.
    Unlimited,
    /// At most `limit` units.
    Limited {
        /// Units per window, per period, or at once.
        limit: u64,
        /// Units of a rate that may be used at once. Default: `limit`.
        burst: Option<u64>,
        /// What happens beyond the limit. Default: the limit's `overage`.
        overage: Option<Overage>,
    },
}

impl Allowance {
    pub(super) fn check(self, kind: Kind, r: &mut Reader) {
        if let Self::Limited { burst: Some(burst), .. } = self
            && kind != Kind::Rate
        {
            r.at("burst", |r| r.problem(burst.to_string(), "no `burst`: only rates have one"));
        }
        if let Self::Limited { overage: Some(overage), .. } = self {
            check_overage(overage, kind, r);
        }
        if let Self::Limited { limit, burst, .. } = self
            && kind == Kind::Rate
            && limit.max(burst.unwrap_or(0)) > MAX_RATE
        {
            r.problem(limit.max(burst.unwrap_or(0)).to_string(), format!("at most {MAX_RATE} for a rate"));
        }
    }

    /// The sum of two allowances, for an add-on that adds to a plan.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        match (self, more) {
            (
                Self::Limited { limit: own, burst: own_burst, overage },
                Self::Limited { limit: added, burst: added_burst, overage: other },
            ) => {
                let bursts = own_burst.unwrap_or(own).saturating_add(added_burst.unwrap_or(added));
                Self::Limited {
                    limit: own.saturating_add(added).min(MAX_QUANTITY),
                    burst: own_burst.or(added_burst).map(|_| bursts.min(MAX_QUANTITY)),
                    overage: overage.or(other),
                }
            }
            _ => Self::Unlimited,
        }
    }
}

impl Read for Allowance {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        match value {
            Value::String(text) if text == "unlimited" => Some(Self::Unlimited),
            Value::Number(_) => quantity(value, r).map(|limit| Self::Limited { limit, burst: None, overage: None }),
            Value::Object(_) => {
                let pair = FullAllowance::read(value, r)?;
                Some(Self::Limited {
                    limit: pair.limit.0,
                    burst: pair.burst.map(|burst| burst.0),
                    overage: pair.overage,
                })
            }
            _ => r.unexpected(value, "a whole number, {limit, burst, overage}, or \"unlimited\""),
        }
    }
}

document! {
    /// The long form of an allowance.
    struct FullAllowance {
        /// Units per window, per period, or at once.
        limit: Quantity,
        /// Units of a rate that may be used at once. Default: the limit.
        burst: Option<Quantity> = None,
        /// What happens beyond the limit. Only for quotas and gauges. Default: the limit's
        /// `overage`.
        overage: Option<Overage> = None,
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Allowance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Allowance".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "How much of a limit is allowed. 0 blocks.",
            "anyOf": [
                generator.subschema_for::<Quantity>(),
                generator.subschema_for::<FullAllowance>(),
                { "const": "unlimited" },
            ],
        })
    }
}

/// A whole number from 0 to [`MAX_QUANTITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub u64);

impl Read for Quantity {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        quantity(value, reader).map(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": MAX_QUANTITY })
    }
}

/// Parses a whole number. `3.0` is a whole number; `-1`, `0.1` and `1e308` are not.
pub(super) fn quantity(value: &Value, reader: &mut Reader) -> Option<u64> {
    parse_quantity(value).or_else(|| reader.unexpected(value, format!("a whole number from 0 to {MAX_QUANTITY}")))
}

/// Parses a whole number from 0 to [`MAX_QUANTITY`]. Returns `None` for anything else.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the range and the fraction are checked first, and MAX_QUANTITY is exact in an f64"
)]
pub(crate) fn parse_quantity(value: &Value) -> Option<u64> {
    let number = value.as_u64().or_else(|| {
        value.as_f64().filter(|x| *x >= 0.0 && *x <= MAX_QUANTITY as f64 && x.fract() == 0.0).map(|x| x as u64)
    })?;
    (number <= MAX_QUANTITY).then_some(number)
}

//! Limits: what is counted, over which span, and how much each plan allows.

use serde_json::Value;

use super::bounds::{DEFAULT_HOLD_MS, MAX_HOLD_MS, MAX_QUANTITY, MAX_RATE, MAX_UNIT_BYTES, MAX_WINDOW_MS};
use super::period::Period;
use super::{Read, Reader, choice, document};

choice! {
    /// What a limit bounds.
    pub enum Kind {
        /// Speed: so many units per window, with a burst.
        Rate = "rate",
        /// Speed, without a burst: so many units in any stretch of the window's length, wherever it begins. Never more is
        /// let through; a unit counts for up to 3.2 % of the window too long, which is the price of counting in 32 parts.
        Window = "window",
        /// A billing period: so many units from its start to its end.
        Quota = "quota",
        /// A level that goes up and down: seats, bytes.
        Gauge = "gauge",
        /// What is in flight at the same time: requests, jobs.
        Concurrency = "concurrency",
    }
}

choice! {
    /// What happens beyond a limit.
    pub enum Overage {
        /// It is refused.
        Hard = "hard",
        /// It is let through and counted, and decisions say so.
        Soft = "soft",
        /// As `soft`, and to be paid for: what is beyond the limit is the plan's overage.
        Paid = "paid",
    }
}

choice! {
    /// Where a limit is counted.
    pub enum Mode {
        /// The ledger is asked each time: exactly the limit is admitted.
        Strict = "strict",
        /// Isolates spend leases that the ledger has set aside for them: never more than the limit is admitted, and nearly
        /// all of it; see [`crate::ledger`]. Gauges, concurrency and limits in shadow ask the ledger each time.
        Leased = "leased",
        /// Each isolate counts alone: for pre-filtering, the limit holds per isolate.
        Local = "local",
    }
}

choice! {
    /// What happens to a request when its ledger cannot be reached.
    pub enum OnError {
        /// It is let through, and the decision says so.
        Open = "open",
        /// It is refused with `LEDGER_UNAVAILABLE`.
        Closed = "closed",
    }
}

document! {
    /// A limit: what is counted. How much is allowed stands in the plans.
    pub struct Limit {
        /// What it bounds: `rate`, `window`, `quota`, `gauge` or `concurrency`.
        kind: Kind,
        /// Length of the window in milliseconds, 1 to 86400000. Rates and windows only, required there.
        window_ms: Option<Quantity> = None,
        /// Length of a quota's period. Quotas only, required there.
        period: Option<Period> = None,
        /// Milliseconds for which something in flight holds its slot at most, 1 to 86400000. Concurrency only. Default 60000.
        max_duration_ms: Option<Quantity> = None,
        /// What one unit is, for people: `cpu_ms`, `rows`, `bytes`. Costs of routes and quantities of usage are in it.
        unit: Option<String> = None,
        /// What happens beyond the limit, where the plan's allowance does not say. Quotas and gauges only. Default `hard`.
        overage: Overage = Overage::Hard,
        /// Where it is counted. Default `leased`.
        mode: Mode = Mode::Leased,
        /// What happens when the ledger cannot be reached. Default `open`.
        on_error: OnError = OnError::Open,
        /// Counts and reports, never denies. Default false.
        shadow: bool = false,
        /// What plans that do not name the limit allow. Without it every plan must name the limit.
        default: Option<Allowance> = None,
        /// For people.
        description: Option<String> = None,
    } => Limit::check
}

impl Limit {
    fn check(&self, r: &mut Reader) {
        let windowed = matches!(self.kind, Kind::Rate | Kind::Window);
        match self.window_ms {
            None if windowed => {
                r.at("window_ms", |r| r.problem("nothing", "milliseconds: rates and windows have a window"))
            }
            Some(Quantity(window)) if windowed && (window == 0 || window > MAX_WINDOW_MS) => {
                r.at("window_ms", |r| r.problem(window.to_string(), format!("1 to {MAX_WINDOW_MS}")));
            }
            Some(_) if !windowed => {
                r.at("window_ms", |r| r.problem("a window", "none: only rates and windows have one"));
            }
            _ => {}
        }
        match self.max_duration_ms {
            Some(_) if self.kind != Kind::Concurrency => {
                r.at("max_duration_ms", |r| r.problem("a duration", "none: only concurrency has one"));
            }
            Some(Quantity(duration)) if duration == 0 || duration > MAX_HOLD_MS => {
                r.at("max_duration_ms", |r| r.problem(duration.to_string(), format!("1 to {MAX_HOLD_MS}")));
            }
            _ => {}
        }
        if self.unit.as_ref().is_some_and(|unit| unit.is_empty() || unit.len() > MAX_UNIT_BYTES) {
            r.at("unit", |r| r.problem("a text of another length", format!("1 to {MAX_UNIT_BYTES} bytes")));
        }
        check_overage(self.overage, self.kind, r);
        match (self.kind, self.period) {
            (Kind::Quota, None) => r.at("period", |r| r.problem("nothing", "a period: quotas have one")),
            (Kind::Quota, Some(_)) => {}
            (_, Some(_)) => r.at("period", |r| r.problem("a period", "none: only quotas have one")),
            _ => {}
        }
        if matches!(self.kind, Kind::Gauge | Kind::Concurrency) && self.mode == Mode::Local {
            r.at("mode", |r| r.problem("`local`", "`strict` or `leased`: a level is one, wherever it is changed"));
        }
        if let Some(allowance) = &self.default {
            r.at("default", |r| allowance.check(self.kind, r));
        }
    }

    /// Milliseconds for which something in flight holds its slot at most.
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

/// How much of a limit is allowed: a number, `{"limit": 100, "burst": 20}`,
/// `{"limit": 1000, "overage": "paid"}`, or `"unlimited"`. `0` blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Counted, never denied. Said in so many words; an absent allowance is never unlimited.
    Unlimited,
    /// At most `limit` units.
    Limited {
        /// Units per window, per period, or at once.
        limit: u64,
        /// Units of a rate that may come at once; default is `limit`.
        burst: Option<u64>,
        /// What happens beyond the limit; default is what the limit says.
        overage: Option<Overage>,
    },
}

impl Allowance {
    pub(super) fn check(self, kind: Kind, r: &mut Reader) {
        if let Self::Limited { burst: Some(burst), .. } = self
            && kind != Kind::Rate
        {
            r.at("burst", |r| r.problem(burst.to_string(), "none: only rates have a burst"));
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

    /// Both together: what an add-on adds to a plan.
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
    /// An allowance with all that can be said of it.
    struct FullAllowance {
        /// Units per window, per period, or at once.
        limit: Quantity,
        /// Units of a rate that may come at once. Default: the limit.
        burst: Option<Quantity> = None,
        /// What happens beyond the limit, of quotas and gauges. Default: what the limit says.
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

/// Reads a whole number; `3.0` is one, `-1`, `0.1` and `1e308` are not.
pub(super) fn quantity(value: &Value, reader: &mut Reader) -> Option<u64> {
    parse_quantity(value).or_else(|| reader.unexpected(value, format!("a whole number from 0 to {MAX_QUANTITY}")))
}

/// A whole number from 0 to [`MAX_QUANTITY`], or nothing.
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

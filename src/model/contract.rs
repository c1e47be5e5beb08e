//! Contracts: terms that were agreed with one tenant and take precedence over its plan.
//!
//! Features and limits are enforced. Prices and service levels are stored for the billing system.

use std::collections::BTreeMap;

use serde_json::Value;

use super::bounds::{MAX_CONTRACT_TERMS, MAX_KEY_BYTES, MAX_NET_DAYS};
use super::dates::{check_dates, check_grace};
use super::{Allowance, Grants, Key, Quantity, Read, Reader, UnixMillis, choice, document, json_bytes};

document! {
    /// A contract with one tenant.
    pub struct Contract {
        /// The granted features.
        features: Grants = Grants::default(),
        /// Allowances that replace the plan's.
        limits: BTreeMap<Key, Allowance> = BTreeMap::new(),
        /// The price. Stored, but not enforced.
        price: Option<Price> = None,
        /// The promised service level. Stored, but not enforced.
        sla: Option<Sla> = None,
        /// When the contract takes effect. Default: no start time.
        starts_at: Option<UnixMillis> = None,
        /// When the contract ends, exclusive. Default: never.
        ends_at: Option<UnixMillis> = None,
        /// Milliseconds after `ends_at` for which the contract still applies, at most 7776000000
        /// (90 days). Decisions report it. Default 0.
        grace_ms: Quantity = Quantity(0),
    } => Contract::check
}

choice! {
    /// How often a price is due.
    pub enum Interval {
        /// Every month.
        Month = "month",
        /// Every year.
        Year = "year",
    }
}

document! {
    /// The price of a contract.
    pub struct Price {
        /// The currency (ISO 4217), such as `EUR`.
        currency: Currency,
        /// The price of one interval, in the currency's minor unit (cents).
        amount: Quantity,
        /// How often the price is due. Default `year`.
        interval: Interval = Interval::Year,
        /// Days within which an invoice must be paid, at most 365. Default 30.
        net_days: Quantity = Quantity(30),
        /// Volume discounts.
        discounts: Vec<Discount> = Vec::new(),
    } => Price::check
}

document! {
    /// A volume discount.
    pub struct Discount {
        /// The number of units of the limit from which the discount applies.
        from: Quantity,
        /// The limit whose units are counted.
        limit: Key,
        /// The discount in percent, 1 to 100.
        percent: Quantity,
    } => Discount::check
}

document! {
    /// The promised service level, and the credits if it is missed.
    pub struct Sla {
        /// The promised availability, in hundredths of a percent: 9995 is 99.95 %.
        uptime_basis_points: Quantity,
        /// The credits, from the least to the most severe.
        credits: Vec<Credit> = Vec::new(),
    } => Sla::check
}

document! {
    /// The credit below a certain availability.
    pub struct Credit {
        /// The availability below which the credit applies, in hundredths of a percent.
        below_basis_points: Quantity,
        /// The credit in percent of the price, 1 to 100.
        percent: Quantity,
    } => Credit::check
}

/// A currency code (ISO 4217): three capital letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency(String);

impl Read for Currency {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        let code = value.as_str().filter(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()));
        code.map(|code| Self(code.to_owned())).or_else(|| r.unexpected(value, "a currency code such as `EUR`"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" })
    }
}

impl Contract {
    /// The approximate number of bytes that the contract occupies in memory.
    pub(crate) fn bytes(&self) -> usize {
        let values = self.features.0.values().map(json_bytes).fold(0_usize, usize::saturating_add);
        let places = self.features.0.len().saturating_add(self.limits.len()).saturating_mul(MAX_KEY_BYTES);
        let prices = self.price.as_ref().map_or(0, |price| price.discounts.len()).saturating_mul(MAX_KEY_BYTES);
        size_of::<Self>().saturating_add(values).saturating_add(places).saturating_add(prices)
    }

    fn check(&self, r: &mut Reader) {
        check_dates(self.starts_at, self.ends_at, r);
        check_grace(self.grace_ms, self.ends_at, r);
    }
}

impl Price {
    fn check(&self, r: &mut Reader) {
        within("net_days", self.net_days, 0, MAX_NET_DAYS, r);
        r.at("discounts", |r| r.at_most(self.discounts.len(), MAX_CONTRACT_TERMS));
    }
}

impl Discount {
    fn check(&self, r: &mut Reader) {
        within("percent", self.percent, 1, 100, r);
    }
}

impl Sla {
    fn check(&self, r: &mut Reader) {
        within("uptime_basis_points", self.uptime_basis_points, 1, 10_000, r);
        r.at("credits", |r| r.at_most(self.credits.len(), MAX_CONTRACT_TERMS));
    }
}

impl Credit {
    fn check(&self, r: &mut Reader) {
        within("below_basis_points", self.below_basis_points, 1, 10_000, r);
        within("percent", self.percent, 1, 100, r);
    }
}

fn within(name: &str, Quantity(value): Quantity, low: u64, high: u64, r: &mut Reader) {
    if value < low || value > high {
        r.at(name, |r| r.problem(value.to_string(), format!("{low} to {high}")));
    }
}

//! What a feature is worth to a tenant, and why.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::set::AnswerId;
use crate::model::Key;

/// What a feature is worth to a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The feature, as the catalog or, where that does not know it, the caller calls it.
    pub key: Arc<str>,
    /// The feature's number, unless the catalog does not know it.
    pub id: Option<u32>,
    /// Its value.
    pub value: Arc<Value>,
    /// Whether the tenant has it: the value is not `false`, `0`, `""` or `null`, and the feature is not killed.
    pub enabled: bool,
    /// The tier that decided.
    pub tier: Tier,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<Key>,
    /// The variant that was served, if it has a name.
    pub variant: Option<Key>,
    /// The prerequisite that is off, if that decided.
    pub requires: Option<Key>,
    /// Which of the answers it is that the catalog and the tenant's grants have for this feature.
    pub outcome: AnswerId,
}

/// A feature's value by the grant of a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The value.
    pub value: Arc<Value>,
    /// The tier that grants it.
    pub tier: Tier,
    /// Whether the value counts as having the feature.
    pub on: bool,
}

impl Grant {
    /// What a tier grants.
    pub fn new(value: &Value, tier: Tier) -> Self {
        Self { value: Arc::new(value.clone()), tier, on: is_on(value) }
    }
}

/// Whether a value counts as "has the feature": everything but `false`, `0`, `""` and `null`.
pub fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Where a feature's value comes from, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The kill switch.
    Kill,
    /// An override of the tenant or its nearest ancestor that has one.
    Override,
    /// An add-on.
    Addon,
    /// A contract.
    Contract,
    /// The plan at its pinned version.
    Plan,
    /// The global default, refined by rules.
    Default,
    /// No such feature.
    Unknown,
}

/// Why a feature has its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// It is killed.
    Killed,
    /// A prerequisite is off.
    Prerequisite,
    /// An override says so.
    Override,
    /// An add-on grants it.
    Addon,
    /// The contract grants it.
    Contract,
    /// The plan grants it.
    Plan,
    /// A rule matched.
    Rule,
    /// A rule's rollout chose.
    Rollout,
    /// Nothing else said anything.
    Default,
    /// The catalog does not know it.
    FeatureUnknown,
}

impl Tier {
    /// The name as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Override => "override",
            Self::Addon => "addon",
            Self::Contract => "contract",
            Self::Plan => "plan",
            Self::Default => "default",
            Self::Unknown => "unknown",
        }
    }
}

impl Reason {
    pub(super) const fn of(tier: Tier) -> Self {
        match tier {
            Tier::Kill => Self::Killed,
            Tier::Override => Self::Override,
            Tier::Addon => Self::Addon,
            Tier::Contract => Self::Contract,
            Tier::Plan => Self::Plan,
            Tier::Default => Self::Default,
            Tier::Unknown => Self::FeatureUnknown,
        }
    }
}

//! Answers: the value of a feature for a tenant, and the reason for it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::model::Key;

/// The number of one of a feature's possible answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerId(pub(super) u32);

impl AnswerId {
    /// The value that a tier grants: the only answer that comes from the tenant and not from the
    /// catalog.
    pub const GRANTED: Self = Self(0);
    pub(super) const DEFAULT: Self = Self(1);
    pub(super) const KILLED: Self = Self(2);
    /// The first number of the prerequisites, in order. The values of the rules follow.
    pub(super) const OTHERS: u32 = 3;

    pub(super) fn other(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(Self::OTHERS))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for AnswerId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// The value of a feature for a tenant, and the reason for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The feature's key.
    pub key: Arc<str>,
    /// The feature's number. `None` if the catalog does not contain the feature.
    pub id: Option<u32>,
    /// The value.
    pub value: Arc<Value>,
    /// Whether the tenant has the feature: the value is not `false`, `0`, `""` or `null`, and the
    /// feature is not killed.
    pub enabled: bool,
    /// The tier that decided.
    pub tier: Tier,
    /// The reason.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<Key>,
    /// The variant that was served, if it has a name.
    pub variant: Option<Key>,
    /// The prerequisite that is off, if it decided.
    pub requires: Option<Key>,
    /// The id of this answer among the feature's possible answers.
    pub outcome: AnswerId,
}

/// A feature's value as a tier grants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The value.
    pub value: Arc<Value>,
    /// The tier that grants it.
    pub tier: Tier,
    /// Whether the tenant has the feature with this value.
    pub on: bool,
}

impl Grant {
    /// The grant of `value` by `tier`.
    pub fn new(value: &Value, tier: Tier) -> Self {
        Self { value: Arc::new(value.clone()), tier, on: is_on(value) }
    }
}

/// Whether a tenant with this value has the feature: any value except `false`, `0`, `""` and
/// `null`.
pub fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// The tiers, strongest first. A feature's value comes from the strongest tier that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The kill switch.
    Kill,
    /// An override of the tenant, or of its nearest ancestor with one.
    Override,
    /// An add-on.
    Addon,
    /// A contract.
    Contract,
    /// The plan version.
    Plan,
    /// The global default, refined by rules.
    Default,
    /// The catalog does not contain the feature.
    Unknown,
}

/// Why a feature has its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The feature is killed.
    Killed,
    /// A prerequisite is off.
    Prerequisite,
    /// An override sets the value.
    Override,
    /// An add-on grants the value.
    Addon,
    /// The contract grants the value.
    Contract,
    /// The plan grants the value.
    Plan,
    /// A rule matched.
    Rule,
    /// A rule with a rollout matched.
    Rollout,
    /// Nothing else applied.
    Default,
    /// The catalog does not contain the feature.
    FeatureUnknown,
}

impl Tier {
    /// The name in responses.
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

//! Features: typed values that tiers grant, and rules that refine the global default.
//!
//! This module checks features by themselves. [`Catalog`](super::Catalog) checks references between
//! features, plans and routes, and [`crate::flags`] evaluates features.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::Serialize;
use serde_json::Value;

use super::bounds::{MAX_CONDITION_VALUES, MAX_CONDITIONS, MAX_JSON_DEPTH, MAX_PREREQUISITES, MAX_RULES, MAX_VARIANTS};
use super::document::quoted;
use super::limit::Quantity;
use super::{Key, Read, Reader, UnixMillis, choice, document};

/// A feature's value. `null` is a value of features of type `json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct FeatureValue(pub Value);

impl Read for FeatureValue {
    const HAS_NULL: bool = true;

    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        Value::read(value, r).map(Self)
    }
}

impl Deref for FeatureValue {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for FeatureValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FeatureValue".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

choice! {
    /// The type of a feature's values.
    pub enum FeatureType {
        /// `true` or `false`.
        Boolean = "boolean",
        /// A finite number.
        Number = "number",
        /// Text.
        String = "string",
        /// Any JSON.
        Json = "json",
    }
}

impl FeatureType {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Json => true,
        }
    }

    /// Records a problem for a value of another type, and for JSON that is nested too deeply.
    pub(super) fn check(self, value: &Value, r: &mut Reader) {
        if !self.holds(value) {
            r.unexpected::<()>(value, format!("a value of type `{}`", self.as_str()));
        } else if depth(value) > MAX_JSON_DEPTH {
            r.problem("a deeply nested value", format!("at most {MAX_JSON_DEPTH} levels"));
        }
    }
}

fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(entries) => entries.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        _ => return 0,
    };
    deepest.saturating_add(1)
}

document! {
    /// A feature. Its value comes from the strongest tier that has one: kill, override, add-on,
    /// contract, plan, and finally the default below, which rules refine.
    pub struct Feature {
        /// The type of all values of the feature. Default `boolean`.
        type_: FeatureType = FeatureType::Boolean,
        /// The global default. Default: false for booleans; required for other types.
        default: Option<FeatureValue> = None,
        /// Turns the feature off for all tenants, whatever their tiers grant. For incidents.
        /// Default false.
        kill: bool = false,
        /// Prerequisites: features that must be on for this one to be on.
        requires: Vec<Key> = Vec::new(),
        /// Named values that rules and rollouts can serve.
        variants: BTreeMap<Key, Value> = BTreeMap::new(),
        /// Rules that refine the default. The first rule that matches serves its value.
        rules: Vec<Rule> = Vec::new(),
        /// Whether the feature is sent to browsers of the tenant, together with those of its rules
        /// that can apply to the tenant. Its prerequisites must be `client` features too. Default
        /// false.
        client: bool = false,
        /// Description for readers. Not interpreted.
        description: Option<String> = None,
    } => Feature::check
}

document! {
    /// A rule. It matches if all its conditions hold, and serves exactly one of `value`, `variant`
    /// and `rollout`.
    pub struct Rule {
        /// The rule's name. Answers report it.
        name: Key,
        /// Conditions on the request's context. All must hold. Default: no conditions; the rule
        /// always matches.
        when: Vec<Condition> = Vec::new(),
        /// When the rule starts to match. Default: no start time.
        starts_at: Option<UnixMillis> = None,
        /// When the rule stops matching, exclusive. Default: never.
        ends_at: Option<UnixMillis> = None,
        /// Serves this value.
        value: Option<FeatureValue> = None,
        /// Serves this variant's value.
        variant: Option<Key> = None,
        /// Serves one of several values, each to a stable share of subjects.
        rollout: Option<Rollout> = None,
    }
}

choice! {
    /// How a condition compares the attribute with its value.
    pub enum Op {
        /// Equal, and of the same type.
        Eq = "eq",
        /// Equal to an entry of a list.
        In = "in",
        /// Less than. Numbers only.
        Lt = "lt",
        /// Less than or equal to. Numbers only.
        Lte = "lte",
        /// Greater than. Numbers only.
        Gt = "gt",
        /// Greater than or equal to. Numbers only.
        Gte = "gte",
        /// Text that starts with the value.
        StartsWith = "starts_with",
        /// Text that ends with the value.
        EndsWith = "ends_with",
        /// Text that contains the value.
        Contains = "contains",
        /// A version that satisfies a requirement such as `>=1.2, <2`. Versions are compared by
        /// precedence (Semantic Versioning §11), including pre-releases. `^` and `~` have the same
        /// meaning as in npm. `v1.2.3`, `1.2` and `1` are valid versions.
        Semver = "semver",
        /// The attribute is present.
        Exists = "exists",
    }
}

document! {
    /// A condition on one attribute. If the attribute is absent or of another type, the condition
    /// does not hold, not even negated. Only `exists` can test for absence.
    pub struct Condition {
        /// An attribute of the context or of the tenant: `tenant.id`, `tenant.slug`, `tenant.plan`,
        /// `tenant.region`.
        attribute: String,
        /// The comparison.
        op: Op,
        /// The value to compare with. A list for `in`, absent for `exists`.
        value: Option<Value> = None,
        /// Negates the condition. Default false.
        not: bool = false,
    } => Condition::check
}

document! {
    /// A rollout. The same subject always falls into the same bucket (murmur3, as in flagd's
    /// fractional evaluation).
    pub struct Rollout {
        /// The attribute that is hashed; numbers are hashed as text. Default `targeting_key`.
        /// `tenant.id` rolls out by tenant. If the attribute is absent, the rule does not match.
        by: String = String::from("targeting_key"),
        /// Text that is hashed before the attribute, so that features roll out independently.
        /// Default: the feature's key.
        salt: Option<String> = None,
        /// The buckets in order, with relative weights.
        split: Vec<Weighted> = Vec::new(),
    }
}

document! {
    /// One bucket of a rollout. It serves exactly one of `value` and `variant`.
    pub struct Weighted {
        /// The bucket's share of the sum of all weights, 0 to 2147483647.
        weight: Quantity,
        /// Serves this value.
        value: Option<FeatureValue> = None,
        /// Serves this variant's value.
        variant: Option<Key> = None,
    }
}

impl Feature {
    /// The value if no tier grants one and no rule matches.
    pub fn default_value(&self) -> Value {
        self.given_default().cloned().unwrap_or(Value::Bool(false))
    }

    /// The default, if one is given.
    fn given_default(&self) -> Option<&Value> {
        let is_nothing = |value: &Value| value.is_null() && self.type_ != FeatureType::Json;
        self.default.as_deref().filter(|value| !is_nothing(value))
    }

    fn check(&self, r: &mut Reader) {
        match self.given_default() {
            Some(value) => r.at("default", |r| self.type_.check(value, r)),
            None if self.type_ != FeatureType::Boolean => {
                r.at("default", |r| r.problem("nothing", "a value: only booleans default to false"));
            }
            None => {}
        }
        r.at("requires", |r| r.at_most(self.requires.len(), MAX_PREREQUISITES));
        r.at("variants", |r| {
            r.at_most(self.variants.len(), MAX_VARIANTS);
            for (key, value) in &self.variants {
                r.at(key.as_str(), |r| self.type_.check(value, r));
            }
        });
        r.at("rules", |r| {
            r.at_most(self.rules.len(), MAX_RULES);
            for (index, rule) in self.rules.iter().enumerate() {
                r.at_index(index, |r| self.check_rule(rule, r));
            }
        });
    }

    fn check_rule(&self, rule: &Rule, r: &mut Reader) {
        let serves = [
            ("value", rule.value().is_some()),
            ("variant", rule.variant.is_some()),
            ("rollout", rule.rollout.is_some()),
        ];
        exactly_one(&serves, r);
        self.check_served(rule.value(), rule.variant.as_ref(), r);
        if let Some(rollout) = &rule.rollout {
            r.at("rollout", |r| self.check_rollout(rollout, r));
        }
        r.at("when", |r| r.at_most(rule.when.len(), MAX_CONDITIONS));
    }

    fn check_rollout(&self, rollout: &Rollout, r: &mut Reader) {
        r.at("split", |r| {
            r.at_most(rollout.split.len(), MAX_VARIANTS);
            let total = rollout.split.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.weight.0));
            if total == 0 || total > MAX_TOTAL_WEIGHT {
                r.problem(format!("weights that sum to {total}"), format!("a sum from 1 to {MAX_TOTAL_WEIGHT}"));
            }
            for (index, entry) in rollout.split.iter().enumerate() {
                r.at_index(index, |r| {
                    exactly_one(&[("value", entry.value().is_some()), ("variant", entry.variant.is_some())], r);
                    self.check_served(entry.value(), entry.variant.as_ref(), r);
                });
            }
        });
    }

    fn check_served(&self, value: Option<&Value>, variant: Option<&Key>, r: &mut Reader) {
        if let Some(value) = value {
            r.at("value", |r| self.type_.check(value, r));
        }
        if let Some(variant) = variant.filter(|variant| !self.variants.contains_key(*variant)) {
            r.at("variant", |r| r.problem(format!("`{variant}`"), "a key of `variants`"));
        }
    }
}

impl Rule {
    /// The value that the rule serves. A `null` beside `variant` or `rollout` means absent.
    pub fn value(&self) -> Option<&Value> {
        let serves_more = self.variant.is_some() || self.rollout.is_some();
        self.value.as_deref().filter(|value| !(value.is_null() && serves_more))
    }
}

impl Weighted {
    /// The value that the bucket serves. A `null` beside `variant` means absent.
    pub fn value(&self) -> Option<&Value> {
        self.value.as_deref().filter(|value| !(value.is_null() && self.variant.is_some()))
    }
}

/// Records a problem unless exactly one of the members is given.
fn exactly_one(members: &[(&str, bool)], r: &mut Reader) {
    let names =
        |all: bool| members.iter().filter(|(_, given)| all || *given).map(|(name, _)| *name).collect::<Vec<_>>();
    let found = names(false);
    if found.len() != 1 {
        let found = if found.is_empty() { String::from("none of them") } else { quoted(&found) };
        r.problem(found, format!("exactly one of {}", quoted(&names(true))));
    }
}

/// The largest sum of weights in flagd's fractional evaluation: a positive 32-bit integer.
const MAX_TOTAL_WEIGHT: u64 = 0x7FFF_FFFF;

impl Condition {
    fn check(&self, r: &mut Reader) {
        let expected = match (self.op, &self.value) {
            (Op::Exists, None) | (Op::Eq, Some(Value::Bool(_) | Value::Number(_) | Value::String(_))) => return,
            (Op::Lt | Op::Lte | Op::Gt | Op::Gte, Some(Value::Number(_))) => return,
            (Op::StartsWith | Op::EndsWith | Op::Contains, Some(Value::String(_))) => return,
            (Op::In, Some(Value::Array(values))) => {
                if values.len() > MAX_CONDITION_VALUES {
                    r.at("value", |r| r.at_most(values.len(), MAX_CONDITION_VALUES));
                }
                if !values.iter().any(|value| value.is_array() || value.is_object() || value.is_null()) {
                    return;
                }
                "a list of text, numbers and booleans"
            }
            (Op::Semver, Some(Value::String(text))) if semver::VersionReq::parse(text).is_ok() => return,
            (Op::Semver, _) => "a version requirement such as `>=1.2, <2`",
            (Op::Exists, Some(_)) => "no value with `exists`",
            (Op::Eq, _) => "text, a number or a boolean",
            (Op::In, _) => "a list",
            (Op::Lt | Op::Lte | Op::Gt | Op::Gte, _) => "a number",
            (Op::StartsWith | Op::EndsWith | Op::Contains, _) => "text",
        };
        let found = self.value.clone().unwrap_or_default();
        r.at("value", |r| r.unexpected::<()>(&found, expected));
    }
}

/// The features that a plan, add-on or contract grants. `["webhooks"]` means `{"webhooks": true}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants(pub BTreeMap<Key, Value>);

impl Read for Grants {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Array(_) => {
                let keys: Vec<Key> = Read::read(value, reader)?;
                let mut granted = BTreeMap::new();
                for key in keys {
                    granted.insert(key, Value::Bool(true));
                }
                Some(Self(granted))
            }
            Value::Object(_) => Read::read(value, reader).map(Self),
            _ => reader.unexpected(value, "a list of feature keys, or an object of values by feature key"),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Grants {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Grants".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The granted features: a list of keys, or an object of values by key.",
            "anyOf": [generator.subschema_for::<Vec<Key>>(), { "type": "object" }],
        })
    }
}

//! Compiled rules: conditions on attributes, and rollouts.
//!
//! Attributes are read by position, not by name: [`Slots`] holds the attributes that any rule
//! reads, in the order of their sorted names.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use semver::VersionReq;
use serde_json::Value;
use smallvec::SmallVec;

use super::answer::{Grant, is_on};
use super::murmur::{Murmur3, bucket};
use super::version;
use crate::model::{Condition, Feature, Key, Op, Rollout, Rule, UnixMillis};
use crate::resolve::Attribute;

/// A value that a rule serves, and its variant if it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Served {
    pub(super) value: Arc<Value>,
    pub(super) variant: Option<Key>,
    /// Whether the tenant has the feature with this value.
    pub(super) on: bool,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: Key,
    starts_at: UnixMillis,
    ends_at: UnixMillis,
    /// Indexes of the rule's conditions among the conditions of all rules.
    conditions: Vec<usize>,
    /// How the rollout chooses among `served`. `None` if the rule serves a single value.
    split: Option<Split>,
    served: Vec<Served>,
    /// The number of the rule's first value among the values of all rules of the feature.
    first: usize,
}

#[derive(Debug)]
struct Split {
    by: Source,
    salt: Murmur3,
    total: u32,
    weights: Vec<u32>,
}

/// The source of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    TenantId,
    TenantSlug,
    TenantPlan,
    TenantRegion,
    /// An index into [`Slots`].
    Context(usize),
}

/// Names of attributes that come from the tenant, not from the context.
pub const TENANT_ATTRIBUTES: [&str; 4] = ["tenant.id", "tenant.slug", "tenant.plan", "tenant.region"];

#[derive(Debug)]
pub(super) struct Test {
    source: Source,
    negated: bool,
    test: Comparison,
}

#[derive(Debug)]
enum Comparison {
    Exists,
    Text(String),
    Number(f64),
    Bool(bool),
    OneOf { texts: FxHashSet<String>, numbers: Vec<f64>, bools: Vec<bool> },
    Inequality(Op, f64),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Semver(VersionReq),
}

/// The attributes of the tenant that rules can read.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tenant's id.
    pub id: &'a str,
    /// The tenant's slug.
    pub slug: &'a str,
    /// The plan that is in force.
    pub plan: Option<&'a str>,
    /// The tenant's region.
    pub region: Option<&'a str>,
}

/// The context attributes that rules read, by position: see [`super::FeatureSet::slots`].
pub type Slots<'a> = SmallVec<[Option<Attribute<'a>>; 8]>;

/// The facts by which features are evaluated.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The tenant.
    pub subject: Subject<'a>,
    /// The grants of the tenant's tiers, by feature number.
    pub grants: &'a [Option<Grant>],
    /// The context attributes, in the order of [`Slots`].
    pub context: &'a [Option<Attribute<'a>>],
    /// The current time.
    pub now: UnixMillis,
}

impl<'a> Facts<'a> {
    pub(super) fn grant(&self, feature: u32) -> Option<&'a Grant> {
        self.grants.get(usize::try_from(feature).ok()?)?.as_ref()
    }
}

/// Whether a condition on a tenant attribute holds. `None` if the condition is on a context
/// attribute.
pub fn holds_for(subject: Subject<'_>, condition: &Condition) -> Option<bool> {
    let test = TENANT_ATTRIBUTES.contains(&condition.attribute.as_str()).then(|| Test::new(condition, &[]))?;
    Some(test.holds(&Facts { subject, grants: &[], context: &[], now: UnixMillis::default() }))
}

impl CompiledRule {
    /// Compiles a rule of a checked feature. `attributes` holds the sorted names of all attributes
    /// that rules read, `conditions` the indexes of the rule's conditions, and `first` the number
    /// of the rule's first value.
    pub(super) fn new(
        rule: &Rule,
        key: &Key,
        feature: &Feature,
        attributes: &[String],
        conditions: Vec<usize>,
        first: usize,
    ) -> Self {
        let served = |value: Option<&Value>, variant: Option<&Key>| {
            let named = variant.and_then(|variant| feature.variants.get(variant));
            let value = value.or(named).cloned().unwrap_or_default();
            Served { on: is_on(&value), value: Arc::new(value), variant: variant.cloned() }
        };
        Self {
            name: rule.name.clone(),
            starts_at: rule.starts_at.unwrap_or_default(),
            ends_at: rule.ends_at.unwrap_or(UnixMillis::MAX),
            conditions,
            split: rule.rollout.as_ref().map(|rollout| Split::new(rollout, key, attributes)),
            served: match &rule.rollout {
                Some(rollout) => {
                    let split = rollout.split.iter();
                    split.map(|entry| served(entry.value(), entry.variant.as_ref())).collect()
                }
                None => vec![served(rule.value(), rule.variant.as_ref())],
            },
            first,
        }
    }

    /// The names of the context attributes that a rule reads.
    pub(super) fn attributes(rule: &Rule) -> impl Iterator<Item = String> {
        let by = rule.rollout.as_ref().map(|rollout| &rollout.by);
        let names = rule.when.iter().map(|condition| &condition.attribute).chain(by);
        names.filter(|name| !TENANT_ATTRIBUTES.contains(&name.as_str())).cloned()
    }

    /// The number of values that the rule can serve.
    pub(super) fn count(&self) -> usize {
        self.served.len()
    }

    pub(super) fn is_rollout(&self) -> bool {
        self.split.is_some()
    }

    /// The value with this number among the values of all rules of the feature, if it is this
    /// rule's.
    pub(super) fn served(&self, number: usize) -> Option<&Served> {
        self.served.get(number.checked_sub(self.first)?)
    }

    /// The value that the rule serves, and its number. `None` if the rule does not match.
    pub(super) fn serve(&self, facts: &Facts<'_>, holds: &impl Fn(usize) -> bool) -> Option<(usize, &Served)> {
        let now = facts.now;
        if now < self.starts_at || now >= self.ends_at || !self.conditions.iter().all(|test| holds(*test)) {
            return None;
        }
        let index = match &self.split {
            None => 0,
            Some(split) => split.choose(facts)?,
        };
        Some((self.first.saturating_add(index), self.served.get(index)?))
    }
}

impl Split {
    fn new(rollout: &Rollout, key: &Key, attributes: &[String]) -> Self {
        // INVARIANT (weights): the parser keeps the sum of weights within 1 to 2^31 - 1.
        let weight = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        Self {
            by: Source::new(&rollout.by, attributes),
            salt: Murmur3::default().and(rollout.salt.as_deref().unwrap_or(key.as_str()).as_bytes()),
            total: weight(rollout.split.iter().map(|entry| entry.weight.0).fold(0, u64::saturating_add)),
            weights: rollout.split.iter().map(|entry| weight(entry.weight.0)).collect(),
        }
    }

    /// The index of the bucket into which the subject falls. `None` if the attribute is absent.
    fn choose(&self, facts: &Facts<'_>) -> Option<usize> {
        // Numbers and booleans are hashed as text.
        let text: Cow<'_, str> = match self.by.read(facts)? {
            Attribute::Text(text) => text.into(),
            Attribute::Number(number) => number.to_string().into(),
            Attribute::Bool(value) => value.to_string().into(),
        };
        let mut left = bucket(self.salt.and(text.as_bytes()).finish(), self.total);
        self.weights.iter().position(|weight| match left.checked_sub(*weight) {
            None => true,
            Some(rest) => {
                left = rest;
                false
            }
        })
    }
}

impl Source {
    fn new(name: &str, attributes: &[String]) -> Self {
        match name {
            "tenant.id" => Self::TenantId,
            "tenant.slug" => Self::TenantSlug,
            "tenant.plan" => Self::TenantPlan,
            "tenant.region" => Self::TenantRegion,
            // A name that no rule reads has no position and counts as absent.
            other => {
                Self::Context(attributes.binary_search_by(|known| known.as_str().cmp(other)).unwrap_or(usize::MAX))
            }
        }
    }

    fn read<'a>(self, facts: &Facts<'a>) -> Option<Attribute<'a>> {
        let Subject { id, slug, plan, region } = facts.subject;
        match self {
            Self::Context(place) => return facts.context.get(place).copied().flatten(),
            Self::TenantId => Some(Attribute::Text(id)),
            Self::TenantSlug => Some(Attribute::Text(slug)),
            Self::TenantPlan => plan.map(Attribute::Text),
            Self::TenantRegion => region.map(Attribute::Text),
        }
        .and_then(Attribute::comparable)
    }
}

impl Test {
    pub(super) fn new(condition: &Condition, attributes: &[String]) -> Self {
        let value = condition.value.clone().unwrap_or_default();
        let text = || value.as_str().unwrap_or_default().to_owned();
        let number = || value.as_f64().unwrap_or(f64::NAN);
        let test = match (condition.op, &value) {
            (Op::Exists, _) => Comparison::Exists,
            (Op::Eq, Value::Bool(value)) => Comparison::Bool(*value),
            (Op::Eq, Value::Number(_)) => Comparison::Number(number()),
            (Op::Eq, _) => Comparison::Text(text()),
            (Op::In, _) => {
                let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
                Comparison::OneOf {
                    texts: values.iter().filter_map(Value::as_str).map(String::from).collect(),
                    numbers: values.iter().filter_map(Value::as_f64).collect(),
                    bools: values.iter().filter_map(Value::as_bool).collect(),
                }
            }
            (Op::StartsWith, _) => Comparison::StartsWith(text()),
            (Op::EndsWith, _) => Comparison::EndsWith(text()),
            (Op::Contains, _) => Comparison::Contains(text()),
            // The parser has checked the requirement. One that cannot be parsed matches nothing.
            (Op::Semver, _) => VersionReq::parse(&text()).map_or(Comparison::Number(f64::NAN), Comparison::Semver),
            (op @ (Op::Lt | Op::Lte | Op::Gt | Op::Gte), _) => Comparison::Inequality(op, number()),
        };
        Self { source: Source::new(&condition.attribute, attributes), negated: condition.not, test }
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let attribute = self.source.read(facts);
        if matches!(self.test, Comparison::Exists) {
            return attribute.is_some() != self.negated;
        }
        attribute.and_then(|value| self.test.compare(value)).is_some_and(|holds| holds != self.negated)
    }
}

impl Comparison {
    /// Compares an attribute. Returns `None` if its type does not fit: the condition then does not
    /// hold, not even negated.
    #[expect(clippy::float_cmp, reason = "equality is what the catalog's author asked for")]
    fn compare(&self, value: Attribute<'_>) -> Option<bool> {
        Some(match (self, value) {
            (Self::Text(wanted), Attribute::Text(text)) => wanted == text,
            (Self::Number(wanted), Attribute::Number(number)) => *wanted == number,
            (Self::Bool(wanted), Attribute::Bool(value)) => *wanted == value,
            (Self::OneOf { texts, .. }, Attribute::Text(text)) => texts.contains(text),
            (Self::OneOf { numbers, .. }, Attribute::Number(number)) => numbers.contains(&number),
            (Self::OneOf { bools, .. }, Attribute::Bool(value)) => bools.contains(&value),
            (Self::Inequality(op, bound), Attribute::Number(number)) => match op {
                Op::Lt => number < *bound,
                Op::Lte => number <= *bound,
                Op::Gt => number > *bound,
                _ => number >= *bound,
            },
            (Self::StartsWith(wanted), Attribute::Text(text)) => text.starts_with(wanted.as_str()),
            (Self::EndsWith(wanted), Attribute::Text(text)) => text.ends_with(wanted.as_str()),
            (Self::Contains(wanted), Attribute::Text(text)) => text.contains(wanted.as_str()),
            (Self::Semver(wanted), Attribute::Text(text)) => version::meets(wanted, &version::read(text)?),
            _ => return None,
        })
    }
}

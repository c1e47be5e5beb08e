//! Rules, compiled: conditions on attributes, and rollouts by a frozen hash.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use semver::{Version, VersionReq};
use serde_json::Value;

use super::entitlements::Entitlements;
use crate::model::bounds::MAX_ATTRIBUTE_BYTES;
use crate::model::{Condition, Feature, Key, Op, Rollout, Rule, UnixMillis};
use crate::resolve::Attribute;

/// A value that a rule serves, and its variant if it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Served {
    pub(super) value: Arc<Value>,
    pub(super) variant: Option<Key>,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: Key,
    starts_at: UnixMillis,
    ends_at: UnixMillis,
    conditions: Vec<Test>,
    serve: Serve,
}

#[derive(Debug)]
enum Serve {
    One(Served),
    Split { by: Source, salt: Murmur3, total: u32, buckets: Vec<(u32, Served)> },
}

/// Where an attribute comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    TenantId,
    TenantSlug,
    TenantPlan,
    TenantRegion,
    Context(String),
}

#[derive(Debug)]
struct Test {
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
    Order(Op, f64),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Semver(VersionReq),
}

/// The request's side of a rule.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) tenant: &'a Entitlements,
    pub(super) context: &'a [(&'a str, Attribute<'a>)],
    pub(super) now: UnixMillis,
}

impl CompiledRule {
    /// Compiles the rule of a checked feature.
    pub(super) fn new(rule: &Rule, key: &Key, feature: &Feature) -> Self {
        let serve = match &rule.rollout {
            Some(rollout) => Serve::split(rollout, key, feature),
            None => Serve::One(served(rule.value.as_ref(), rule.variant.as_ref(), feature)),
        };
        Self {
            name: rule.name.clone(),
            starts_at: rule.starts_at.unwrap_or_default(),
            ends_at: rule.ends_at.unwrap_or(UnixMillis::MAX),
            conditions: rule.when.iter().map(Test::new).collect(),
            serve,
        }
    }

    /// Names of the context attributes that it reads.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &str> {
        let by = if let Serve::Split { by, .. } = &self.serve { Some(by) } else { None };
        let sources = self.conditions.iter().map(|test| &test.source).chain(by);
        sources.filter_map(|source| if let Source::Context(name) = source { Some(name.as_str()) } else { None })
    }

    /// What the rule serves, and whether it was a rollout; `None` if it does not match.
    pub(super) fn serve(&self, facts: Facts<'_>) -> Option<(&Served, bool)> {
        if facts.now < self.starts_at
            || facts.now >= self.ends_at
            || !self.conditions.iter().all(|test| test.holds(facts))
        {
            return None;
        }
        match &self.serve {
            Serve::One(served) => Some((served, false)),
            Serve::Split { by, salt, total, buckets } => {
                let Attribute::Text(text) = by.read(facts)? else { return None };
                let mut left = bucket(salt.and(text.as_bytes()).finish(), *total);
                buckets.iter().find_map(|(weight, served)| match left.checked_sub(*weight) {
                    None => Some((served, true)),
                    Some(rest) => {
                        left = rest;
                        None
                    }
                })
            }
        }
    }
}

impl Serve {
    fn split(rollout: &Rollout, key: &Key, feature: &Feature) -> Self {
        // INVARIANT (weights): the reader keeps their sum within 1 to 2^31 - 1.
        let weight = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        Self::Split {
            by: Source::new(&rollout.by),
            salt: Murmur3::default().and(rollout.salt.as_deref().unwrap_or(key.as_str()).as_bytes()),
            total: weight(rollout.split.iter().map(|entry| entry.weight.0).fold(0, u64::saturating_add)),
            buckets: rollout
                .split
                .iter()
                .map(|entry| (weight(entry.weight.0), served(entry.value.as_ref(), entry.variant.as_ref(), feature)))
                .collect(),
        }
    }
}

fn served(value: Option<&Value>, variant: Option<&Key>, feature: &Feature) -> Served {
    let named = variant.and_then(|variant| feature.variants.get(variant));
    Served { value: Arc::new(value.or(named).cloned().unwrap_or_default()), variant: variant.cloned() }
}

impl Source {
    fn new(name: &str) -> Self {
        match name {
            "tenant.id" => Self::TenantId,
            "tenant.slug" => Self::TenantSlug,
            "tenant.plan" => Self::TenantPlan,
            "tenant.region" => Self::TenantRegion,
            other => Self::Context(other.to_owned()),
        }
    }

    fn read<'a>(&'a self, facts: Facts<'a>) -> Option<Attribute<'a>> {
        let tenant = facts.tenant.tenant();
        match self {
            Self::TenantId => Some(Attribute::Text(tenant.id.as_str())),
            Self::TenantSlug => Some(Attribute::Text(tenant.slug.as_str())),
            Self::TenantPlan => facts.tenant.plan().map(|plan| Attribute::Text(plan.as_str())),
            Self::TenantRegion => tenant.region.as_deref().map(Attribute::Text),
            Self::Context(name) => facts.context.iter().find(|(key, _)| key == name).map(|(_, value)| *value),
        }
        // Too long to be compared in bounded time: as good as absent.
        .filter(|value| !matches!(value, Attribute::Text(text) if text.len() > MAX_ATTRIBUTE_BYTES))
    }
}

impl Test {
    fn new(condition: &Condition) -> Self {
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
            // Checked when the catalog was read; a requirement that cannot be parsed matches nothing.
            (Op::Semver, _) => VersionReq::parse(&text()).map_or(Comparison::Number(f64::NAN), Comparison::Semver),
            (op @ (Op::Lt | Op::Lte | Op::Gt | Op::Gte), _) => Comparison::Order(op, number()),
        };
        Self { source: Source::new(&condition.attribute), negated: condition.not, test }
    }

    fn holds(&self, facts: Facts<'_>) -> bool {
        let attribute = self.source.read(facts);
        if matches!(self.test, Comparison::Exists) {
            return attribute.is_some() != self.negated;
        }
        attribute.and_then(|value| self.test.compare(value)).is_some_and(|holds| holds != self.negated)
    }
}

impl Comparison {
    /// `None` where the attribute's type does not fit: such a condition never holds, not even negated.
    #[expect(clippy::float_cmp, reason = "equality is what the catalog's author asked for")]
    fn compare(&self, value: Attribute<'_>) -> Option<bool> {
        Some(match (self, value) {
            (Self::Text(wanted), Attribute::Text(text)) => wanted == text,
            (Self::Number(wanted), Attribute::Number(number)) => *wanted == number,
            (Self::Bool(wanted), Attribute::Bool(value)) => *wanted == value,
            (Self::OneOf { texts, .. }, Attribute::Text(text)) => texts.contains(text),
            (Self::OneOf { numbers, .. }, Attribute::Number(number)) => numbers.contains(&number),
            (Self::OneOf { bools, .. }, Attribute::Bool(value)) => bools.contains(&value),
            (Self::Order(op, bound), Attribute::Number(number)) => match op {
                Op::Lt => number < *bound,
                Op::Lte => number <= *bound,
                Op::Gt => number > *bound,
                _ => number >= *bound,
            },
            (Self::StartsWith(wanted), Attribute::Text(text)) => text.starts_with(wanted.as_str()),
            (Self::EndsWith(wanted), Attribute::Text(text)) => text.ends_with(wanted.as_str()),
            (Self::Contains(wanted), Attribute::Text(text)) => text.contains(wanted.as_str()),
            (Self::Semver(wanted), Attribute::Text(text)) => wanted.matches(&Version::parse(text).ok()?),
            _ => return None,
        })
    }
}

/// The bucket of a hash, from 0 to `total - 1`, in proportion: flagd's fractional evaluation, version 2. Frozen: golden
/// vectors hold it.
pub fn bucket(hash: u32, total: u32) -> u32 {
    (u64::from(hash).wrapping_mul(u64::from(total)) >> 32) as u32
}

/// `MurmurHash3_x86_32` with seed 0 (Appleby, public domain), of text that comes in parts.
///
/// # Examples
/// ```
/// use tenantgate::gate::Murmur3;
/// assert_eq!(Murmur3::default().and(b"hello, ").and(b"world").finish(), Murmur3::default().and(b"hello, world").finish());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Murmur3 {
    hash: u32,
    /// The bytes of the word begun, and how many bytes came in all.
    word: u32,
    length: u32,
}

impl Murmur3 {
    /// With more bytes.
    #[must_use]
    pub fn and(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.word |= u32::from(*byte) << ((self.length & 3) << 3);
            self.length = self.length.wrapping_add(1);
            if self.length.is_multiple_of(4) {
                self.hash = (self.hash ^ mix(self.word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64);
                self.word = 0;
            }
        }
        self
    }

    /// The hash of all bytes so far.
    pub fn finish(self) -> u32 {
        let hash = self.hash ^ mix(self.word) ^ self.length;
        let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
        let hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
        hash ^ (hash >> 16)
    }
}

fn mix(word: u32) -> u32 {
    word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593)
}

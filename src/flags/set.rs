//! The features of a catalog, compiled. Kill comes first, then prerequisites, then the strongest tier that says anything.
//!
//! A feature has few answers, and they are known beforehand: by a grant, its default, killed, one for each prerequisite that
//! may be off, one for each value that a rule serves. Evaluating finds out which ([`AnswerId`], a number); whoever needs more
//! than that asks for the [`Answer`] that it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;
use smallvec::SmallVec;

use super::answer::{Answer, Reason, Tier, is_on};
use super::rules::{CompiledRule, Facts, Served, Slots, Test};
use crate::model::{Condition, Feature, Key, Required, required};
use crate::resolve::Attribute;

/// Which of a feature's answers holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerId(u32);

impl AnswerId {
    /// What the tenant's tiers grant: the one answer that is not the catalog's.
    pub const GRANTED: Self = Self(0);
    const DEFAULT: Self = Self(1);
    const KILLED: Self = Self(2);
    /// Prerequisites, in their order; then what rules serve.
    const OTHERS: u32 = 3;

    fn other(index: usize) -> Self {
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

/// The features of a catalog. Immutable.
#[derive(Debug)]
pub struct FeatureSet {
    features: Vec<CompiledFeature>,
    ids: FxHashMap<Key, u32>,
    /// Every condition of every rule, once: features of one segment ask the same.
    tests: Vec<Test>,
    /// Names of the context attributes that rules read, sorted.
    attributes: Vec<String>,
}

#[derive(Debug)]
struct CompiledFeature {
    id: u32,
    key: Key,
    kill: bool,
    default: Arc<Value>,
    /// What it is worth when it is off: false for booleans, the default for others.
    off: Arc<Value>,
    default_is_on: bool,
    /// Everything it requires, directly or by way of others.
    requires: Vec<u32>,
    rules: Vec<CompiledRule>,
}

impl FeatureSet {
    /// Compiles checked features.
    pub fn new(features: &BTreeMap<Key, Feature>) -> Self {
        let ids: FxHashMap<Key, u32> = features.keys().cloned().zip(0..).collect();
        let mut attributes: Vec<String> =
            features.values().flat_map(|feature| &feature.rules).flat_map(CompiledRule::attributes).collect();
        attributes.sort_unstable();
        attributes.dedup();
        let (mut tests, mut places) = (Vec::new(), FxHashMap::default());
        let mut place = |condition: &Condition| {
            let Condition { attribute, op, value, not } = condition;
            *places.entry(format!("{attribute} {} {not} {value:?}", op.as_str())).or_insert_with(|| {
                tests.push(Test::new(condition, &attributes));
                tests.len().saturating_sub(1)
            })
        };
        let mut compile = |(((key, feature), required), id): (((&Key, &Feature), Required), u32)| {
            let default = Arc::new(feature.default_value());
            let requires = match required {
                Required::These(places) => places,
                // Refused when the catalog was read.
                Required::TooMany | Required::Circle(_) => Vec::new(),
            };
            let mut first = requires.len();
            let rules = feature.rules.iter().map(|rule| {
                let conditions = rule.when.iter().map(&mut place).collect();
                let rule = CompiledRule::new(rule, key, feature, &attributes, conditions, first);
                first = first.saturating_add(rule.count());
                rule
            });
            CompiledFeature {
                id,
                key: key.clone(),
                kill: feature.kill,
                off: if default.is_boolean() { Arc::new(Value::Bool(false)) } else { Arc::clone(&default) },
                default_is_on: is_on(&default),
                default,
                rules: rules.collect(),
                requires,
            }
        };
        let features = features.iter().zip(required(features)).zip(0..).map(&mut compile).collect();
        Self { features, ids, tests, attributes }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.key.as_str())
    }

    /// The number of a feature: its place among the keys, in order.
    pub fn id(&self, key: &str) -> Option<u32> {
        self.ids.get(key).copied()
    }

    /// Names of the context attributes that rules read, in the order of [`Slots`]; others change nothing.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The attributes that rules read, each in its place. Of two with one name the first counts.
    pub fn slots<'a>(&self, context: &[(&str, Attribute<'a>)]) -> Slots<'a> {
        let mut slots = Slots::from_elem(None, self.attributes.len());
        for (name, value) in context {
            let place = self.attributes.binary_search_by(|known| known.as_str().cmp(name)).ok();
            if let Some(slot) = place.and_then(|place| slots.get_mut(place))
                && slot.is_none()
            {
                *slot = value.comparable();
            }
        }
        slots
    }

    /// Which answer the feature with this number has; `None` if there is no such feature.
    pub fn outcome(&self, id: u32, facts: Facts<'_>) -> Option<AnswerId> {
        let holds = |test: usize| self.tests.get(test).is_some_and(|test| test.holds(&facts));
        self.feature(id).map(|feature| self.judge(feature, &facts, &holds))
    }

    /// Which answer each feature has, in the order of their keys.
    pub fn outcomes(&self, facts: Facts<'_>) -> impl Iterator<Item = AnswerId> {
        let held: SmallVec<[bool; 64]> = self.tests.iter().map(|test| test.holds(&facts)).collect();
        let holds = move |test: usize| held.get(test).copied().unwrap_or(false);
        self.features.iter().map(move |feature| self.judge(feature, &facts, &holds))
    }

    /// The answer that an outcome stands for.
    pub fn answer(&self, id: u32, outcome: AnswerId, facts: Facts<'_>) -> Option<Answer> {
        let feature = self.feature(id)?;
        let plain = |value: &Arc<Value>, enabled, tier, reason| Answer {
            key: feature.key.shared(),
            id: Some(id),
            value: Arc::clone(value),
            enabled,
            tier,
            reason,
            rule: None,
            variant: None,
            requires: None,
            outcome,
        };
        Some(match outcome {
            AnswerId::GRANTED => {
                let grant = facts.grant(id)?;
                plain(&grant.value, grant.on, grant.tier, Reason::of(grant.tier))
            }
            AnswerId::DEFAULT => plain(&feature.default, feature.default_is_on, Tier::Default, Reason::Default),
            AnswerId::KILLED => plain(&feature.off, false, Tier::Kill, Reason::Killed),
            AnswerId(other) => {
                let index = usize::try_from(other.checked_sub(AnswerId::OTHERS)?).ok()?;
                if let Some(required) = feature.requires.get(index) {
                    let requires = self.feature(*required).map(|feature| feature.key.clone());
                    Answer { requires, ..plain(&feature.off, false, Tier::Default, Reason::Prerequisite) }
                } else {
                    let (rule, Served { value, variant, on }) =
                        feature.rules.iter().find_map(|rule| Some((rule, rule.served(index)?)))?;
                    let reason = if rule.is_rollout() { Reason::Rollout } else { Reason::Rule };
                    Answer {
                        rule: Some(rule.name.clone()),
                        variant: variant.clone(),
                        ..plain(value, *on, Tier::Default, reason)
                    }
                }
            }
        })
    }

    /// The answer for the feature with this number.
    pub fn evaluate(&self, id: u32, facts: Facts<'_>) -> Option<Answer> {
        self.answer(id, self.outcome(id, facts)?, facts)
    }

    /// Whether the feature with this number is on by itself, whatever it requires.
    pub fn is_on_by_itself(&self, id: u32, facts: Facts<'_>) -> bool {
        let holds = |test: usize| self.tests.get(test).is_some_and(|test| test.holds(&facts));
        self.feature(id).is_some_and(|feature| !feature.kill && feature.own(&facts, &holds).1)
    }

    /// What the feature with this number requires, directly or by way of others.
    pub fn requires(&self, id: u32) -> impl Iterator<Item = (u32, &Key)> {
        let requires = self.feature(id).map(|feature| feature.requires.as_slice()).unwrap_or_default();
        requires.iter().filter_map(|id| Some((*id, &self.feature(*id)?.key)))
    }

    /// What a tier grants of the feature with this number, whether or not what it requires is on.
    pub fn granted(&self, id: u32, facts: Facts<'_>) -> Option<Answer> {
        self.answer(id, AnswerId::GRANTED, facts)
    }

    /// The answer for a feature by name, which the catalog may not know.
    pub fn evaluate_named(&self, key: &str, facts: Facts<'_>) -> Answer {
        self.id(key).and_then(|id| self.evaluate(id, facts)).unwrap_or_else(|| Answer::unknown(key))
    }

    /// The answers for all features, in the order of their keys.
    pub fn evaluate_all(&self, facts: Facts<'_>) -> Vec<Answer> {
        (0..).map_while(|id| self.evaluate(id, facts)).collect()
    }

    /// The answers for some features, in the order of their keys: the others are not evaluated.
    pub fn evaluate_those(&self, facts: Facts<'_>, wanted: impl Fn(&str) -> bool) -> Vec<Answer> {
        let known = self.features.iter().zip(0..).filter(|(feature, _)| wanted(feature.key.as_str()));
        known.filter_map(|(_, id)| self.evaluate(id, facts)).collect()
    }

    fn feature(&self, id: u32) -> Option<&CompiledFeature> {
        self.features.get(usize::try_from(id).ok()?)
    }

    /// `holds`: whether the condition in this place does.
    fn judge(&self, feature: &CompiledFeature, facts: &Facts<'_>, holds: &impl Fn(usize) -> bool) -> AnswerId {
        if feature.kill {
            return AnswerId::KILLED;
        }
        let missing = |required: &u32| {
            self.feature(*required).is_none_or(|required| required.kill || !required.own(facts, holds).1)
        };
        match feature.requires.iter().position(missing) {
            Some(index) => AnswerId::other(index),
            None => feature.own(facts, holds).0,
        }
    }
}

impl CompiledFeature {
    /// Which answer holds without regard to kill and prerequisites, and whether the feature is on by it.
    fn own(&self, facts: &Facts<'_>, holds: &impl Fn(usize) -> bool) -> (AnswerId, bool) {
        if let Some(grant) = facts.grant(self.id) {
            return (AnswerId::GRANTED, grant.on);
        }
        match self.rules.iter().find_map(|rule| rule.serve(facts, holds)) {
            Some((index, served)) => (AnswerId::other(index), served.on),
            None => (AnswerId::DEFAULT, self.default_is_on),
        }
    }
}

impl Answer {
    fn unknown(key: &str) -> Self {
        Self {
            key: key.into(),
            id: None,
            value: Arc::new(Value::Bool(false)),
            enabled: false,
            tier: Tier::Unknown,
            reason: Reason::FeatureUnknown,
            rule: None,
            variant: None,
            requires: None,
            outcome: AnswerId::DEFAULT,
        }
    }
}

//! The compiled features of a catalog. Kill is checked first, then prerequisites, then the
//! strongest tier that grants a value, then rules and the default.
//!
//! A feature has few possible answers, and all are known in advance: granted, default, killed, one
//! for each prerequisite that may be off, and one for each value that a rule serves. Evaluation
//! yields only the number of the answer ([`AnswerId`]). [`FeatureSet::answer`] turns it into an
//! [`Answer`].

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;
use smallvec::SmallVec;

use super::answer::{Answer, AnswerId, Reason, Tier, is_on};
use super::rules::{CompiledRule, Facts, Served, Slots, Test};
use crate::model::{Condition, Feature, Key, Required, required};
use crate::resolve::Attribute;

/// The compiled features of a catalog. Immutable.
#[derive(Debug)]
pub struct FeatureSet {
    features: Vec<CompiledFeature>,
    ids: FxHashMap<Key, u32>,
    /// The distinct conditions of all rules. Features for the same segment share them.
    tests: Vec<Test>,
    /// The sorted names of the context attributes that rules read.
    attributes: Vec<String>,
}

#[derive(Debug)]
struct CompiledFeature {
    id: u32,
    key: Key,
    kill: bool,
    default: Arc<Value>,
    /// The value when the feature is off: false for booleans, the default for other types.
    off: Arc<Value>,
    default_is_on: bool,
    /// All prerequisites, direct and indirect.
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
                // The parser has already rejected such catalogs.
                Required::TooMany | Required::Cycle(_) => Vec::new(),
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

    /// The number of features.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are no features.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.key.as_str())
    }

    /// The number of a feature: its index among the sorted keys.
    pub fn id(&self, key: &str) -> Option<u32> {
        self.ids.get(key).copied()
    }

    /// The names of the context attributes that rules read, in the order of [`Slots`]. Other
    /// attributes have no effect.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The attributes that rules read, by position. If a name occurs twice, the first one counts.
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

    /// The answer id of the feature with this number. `None` if there is no such feature.
    pub fn outcome(&self, id: u32, facts: Facts<'_>) -> Option<AnswerId> {
        let holds = |test: usize| self.tests.get(test).is_some_and(|test| test.holds(&facts));
        self.feature(id).map(|feature| self.judge(feature, &facts, &holds))
    }

    /// The answer ids of all features, in the order of their keys.
    pub fn outcomes(&self, facts: Facts<'_>) -> impl Iterator<Item = AnswerId> {
        let held: SmallVec<[bool; 64]> = self.tests.iter().map(|test| test.holds(&facts)).collect();
        let holds = move |test: usize| held.get(test).copied().unwrap_or(false);
        self.features.iter().map(move |feature| self.judge(feature, &facts, &holds))
    }

    /// The answer with the given id.
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

    /// The answer of the feature with this number.
    pub fn evaluate(&self, id: u32, facts: Facts<'_>) -> Option<Answer> {
        self.answer(id, self.outcome(id, facts)?, facts)
    }

    /// Whether the feature with this number is on, regardless of its prerequisites.
    pub fn is_on_by_itself(&self, id: u32, facts: Facts<'_>) -> bool {
        let holds = |test: usize| self.tests.get(test).is_some_and(|test| test.holds(&facts));
        self.feature(id).is_some_and(|feature| !feature.kill && feature.own(&facts, &holds).1)
    }

    /// The prerequisites of the feature with this number, direct and indirect.
    pub fn requires(&self, id: u32) -> impl Iterator<Item = (u32, &Key)> {
        let requires = self.feature(id).map(|feature| feature.requires.as_slice()).unwrap_or_default();
        requires.iter().filter_map(|id| Some((*id, &self.feature(*id)?.key)))
    }

    /// The value that a tier grants for the feature with this number, regardless of its
    /// prerequisites.
    pub fn granted(&self, id: u32, facts: Facts<'_>) -> Option<Answer> {
        self.answer(id, AnswerId::GRANTED, facts)
    }

    /// The answer of a feature by key. The catalog need not contain the feature.
    pub fn evaluate_named(&self, key: &str, facts: Facts<'_>) -> Answer {
        self.id(key).and_then(|id| self.evaluate(id, facts)).unwrap_or_else(|| Answer::unknown(key))
    }

    /// The answers of all features, in the order of their keys.
    pub fn evaluate_all(&self, facts: Facts<'_>) -> Vec<Answer> {
        (0..).map_while(|id| self.evaluate(id, facts)).collect()
    }

    /// The answers of the features that `wanted` accepts, in the order of their keys. Other
    /// features are not evaluated.
    pub fn evaluate_those(&self, facts: Facts<'_>, wanted: impl Fn(&str) -> bool) -> Vec<Answer> {
        let known = self.features.iter().zip(0..).filter(|(feature, _)| wanted(feature.key.as_str()));
        known.filter_map(|(_, id)| self.evaluate(id, facts)).collect()
    }

    fn feature(&self, id: u32) -> Option<&CompiledFeature> {
        self.features.get(usize::try_from(id).ok()?)
    }

    /// The answer id of a feature. `holds` says whether the condition at an index holds.
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
    /// The answer id regardless of kill and prerequisites, and whether the feature is on with it.
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

//! One feature for one tenant: kill, then prerequisites, then the strongest tier that says anything.

use std::sync::Arc;

use serde_json::Value;

use super::decision::{Answer, Reason, Tier};
use super::plans::{CompiledFeature, Plans};
use super::rules::{Facts, Served};

impl Plans {
    /// The answer for a feature by name, which the catalog may not know.
    pub(super) fn answer_named(&self, key: &str, facts: Facts<'_>) -> Answer {
        self.feature_id(key).and_then(|id| self.answer(id, facts)).unwrap_or_else(|| Answer::unknown(key))
    }

    /// The answers for every feature of the catalog.
    pub(super) fn answers(&self, facts: Facts<'_>) -> Vec<Answer> {
        (0..).map_while(|id| self.answer(id, facts)).collect()
    }

    /// The answer for the feature with this number; `None` if there is none.
    pub(super) fn answer(&self, id: u32, facts: Facts<'_>) -> Option<Answer> {
        let feature = self.feature(id)?;
        if feature.kill {
            return Some(Answer::new(feature, &feature.off, Tier::Kill, Reason::Killed));
        }
        let missing = feature.requires.iter().find(|required| {
            self.feature(**required).is_none_or(|feature| feature.kill || !own(feature, **required, facts).enabled)
        });
        Some(match missing {
            Some(required) => Answer {
                requires: self.feature(*required).map(|feature| feature.key.clone()),
                enabled: false,
                ..Answer::new(feature, &feature.off, Tier::Default, Reason::Prerequisite)
            },
            None => own(feature, id, facts),
        })
    }
}

/// The answer without regard to kill and prerequisites.
fn own(feature: &CompiledFeature, id: u32, facts: Facts<'_>) -> Answer {
    if let Some(grant) = facts.tenant.grant(id) {
        return Answer::new(feature, &grant.value, grant.tier, Reason::of(grant.tier));
    }
    let matched = feature.rules.iter().find_map(|rule| rule.serve(facts).map(|served| (rule, served)));
    match matched {
        Some((rule, (Served { value, variant }, split))) => Answer {
            rule: Some(rule.name.clone()),
            variant: variant.clone(),
            ..Answer::new(feature, value, Tier::Default, if split { Reason::Rollout } else { Reason::Rule })
        },
        None => Answer::new(feature, &feature.default, Tier::Default, Reason::Default),
    }
}

impl Answer {
    fn new(feature: &CompiledFeature, value: &Arc<Value>, tier: Tier, reason: Reason) -> Self {
        Self {
            key: feature.key.shared(),
            id: Some(feature.id),
            enabled: tier != Tier::Kill && is_on(value),
            value: Arc::clone(value),
            tier,
            reason,
            rule: None,
            variant: None,
            requires: None,
        }
    }

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
        }
    }
}

/// Whether a value counts as "has the feature": everything but `false`, `0`, `""` and `null`.
pub(super) fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

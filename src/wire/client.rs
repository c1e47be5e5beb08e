//! The client snapshot: a tenant's features for use in a page, as JSON.
//! [`crate::model::ClientSnapshot`] reads it.

use serde_json::{Value, json};

use super::view::AnswerView;
use crate::gate::ClientView;
use crate::model::{Condition, Feature, PlanRef, Rollout, Rule, Weighted, gather};

/// Returns the client snapshot as JSON text.
pub fn client_snapshot(visible: &ClientView<'_>, by_credential: bool) -> String {
    let tenant = visible.tenant.tenant();
    let settled = visible.constant.iter().map(|answer| (answer.key.to_string(), json!(AnswerView::from(answer))));
    let features = visible.features.iter().map(|(key, feature)| (key.to_string(), feature_json(feature)));
    let identity = object([
        ("id", Some(json!(tenant.id))),
        ("slug", Some(json!(tenant.slug))),
        ("plan", visible.tenant.plan().map(PlanRef::as_str).map(Value::from)),
        ("region", tenant.region.as_deref().map(Value::from)),
    ]);
    object([
        ("tenant", Some(identity)),
        ("catalog", Some(json!(visible.catalog))),
        ("epoch", Some(json!(tenant.epoch))),
        ("by_credential", by_credential.then_some(Value::Bool(true))),
        ("valid_until", visible.valid_until.map(|until| until.to_string().into())),
        ("settled", Some(Value::Object(gather(settled)))),
        ("features", Some(Value::Object(gather(features)))),
    ])
    .to_string()
}

/// Builds an object of the members that are present.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(gather(members))
}

/// Returns a list, or `None` if it is empty.
fn list<T>(entries: &[T], read: impl Fn(&T) -> Value) -> Option<Value> {
    (!entries.is_empty()).then(|| entries.iter().map(read).collect())
}

fn feature_json(feature: &Feature) -> Value {
    object([
        ("type", Some(json!(feature.type_))),
        ("default", feature.default.as_deref().cloned()),
        ("requires", list(&feature.requires, |key| json!(key))),
        ("variants", (!feature.variants.is_empty()).then(|| json!(feature.variants))),
        ("rules", list(&feature.rules, rule_json)),
    ])
}

fn rule_json(rule: &Rule) -> Value {
    object([
        ("name", Some(json!(rule.name))),
        ("when", list(&rule.when, condition_json)),
        ("starts_at", rule.starts_at.map(|at| at.to_string().into())),
        ("ends_at", rule.ends_at.map(|at| at.to_string().into())),
        ("value", rule.value.as_deref().cloned()),
        ("variant", rule.variant.as_ref().map(|variant| json!(variant))),
        ("rollout", rule.rollout.as_ref().map(rollout_json)),
    ])
}

fn condition_json(Condition { attribute, op, value, not }: &Condition) -> Value {
    object([
        ("attribute", Some(json!(attribute))),
        ("op", Some(json!(op))),
        ("value", value.clone()),
        ("not", not.then_some(Value::Bool(true))),
    ])
}

fn rollout_json(Rollout { by, salt, split }: &Rollout) -> Value {
    let weighted = |Weighted { weight, value, variant }: &Weighted| {
        object([
            ("weight", Some(json!(weight.0))),
            ("value", value.as_deref().cloned()),
            ("variant", variant.as_ref().map(|variant| json!(variant))),
        ])
    };
    object([
        ("by", Some(json!(by))),
        ("salt", salt.as_deref().map(Value::from)),
        ("split", Some(split.iter().map(weighted).collect())),
    ])
}

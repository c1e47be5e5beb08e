//! The OpenFeature Remote Evaluation Protocol (OFREP 0.2): any OpenFeature SDK with its OFREP provider is a client.

use serde_json::{Map, Value, json};

use super::body::attribute;
use crate::flags::{Answer, Reason};
use crate::model::bounds::{MAX_ATTRIBUTES, MAX_BODY_BYTES};
use crate::resolve::Attribute;

/// The context of an evaluation.
#[derive(Debug, Default)]
pub struct OfrepContext {
    /// The tenant that an operator asks about: the attribute `tenant`.
    pub tenant: Option<String>,
    attributes: Vec<(String, Value)>,
}

/// Why an evaluation failed: a code of the protocol, and a sentence.
pub type OfrepFailure = (&'static str, &'static str);

impl OfrepContext {
    /// Reads the body of a request. Attributes that no rule can read, such as objects, are left out, as OpenFeature allows.
    ///
    /// # Errors
    /// A code of the protocol, and a sentence.
    pub fn parse(text: &str) -> Result<Self, OfrepFailure> {
        if text.len() > MAX_BODY_BYTES {
            return Err(("PARSE_ERROR", "the body is too large"));
        }
        let Ok(Value::Object(mut body)) = serde_json::from_str(if text.is_empty() { "{}" } else { text }) else {
            return Err(("PARSE_ERROR", "the body is no JSON object"));
        };
        let context = match body.remove("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(("INVALID_CONTEXT", "`context` is no object")),
        };
        let mut read = Self::default();
        for (name, value) in context {
            match (name.as_str(), value) {
                ("targetingKey", Value::String(key)) => {
                    read.attributes.push((String::from("targeting_key"), Value::String(key)));
                }
                ("targetingKey", _) => return Err(("INVALID_CONTEXT", "`targetingKey` is no text")),
                ("tenant", Value::String(id)) => read.tenant = Some(id),
                ("tenant", _) => return Err(("INVALID_CONTEXT", "`tenant` is no text")),
                (_, value) if attribute(&value).is_some() => read.attributes.push((name, value)),
                _ => {}
            }
        }
        if read.attributes.len() > MAX_ATTRIBUTES {
            return Err(("INVALID_CONTEXT", "the context has too many attributes"));
        }
        Ok(read)
    }

    /// The attributes, for rules.
    pub fn attributes(&self) -> Vec<(&str, Attribute<'_>)> {
        self.attributes.iter().filter_map(|(name, value)| Some((name.as_str(), attribute(value)?))).collect()
    }
}

/// A successful evaluation.
pub fn ofrep_answer(answer: &Answer) -> Value {
    // Clients that check answers know no other reasons; ours stands in the metadata.
    let reason = match answer.reason {
        Reason::Killed | Reason::Prerequisite => "DISABLED",
        Reason::Rollout => "SPLIT",
        Reason::Default => "STATIC",
        Reason::FeatureUnknown => "UNKNOWN",
        Reason::Override | Reason::Addon | Reason::Contract | Reason::Plan | Reason::Rule => "TARGETING_MATCH",
    };
    let mut metadata = json!({ "tier": answer.tier, "reason": answer.reason });
    if let (Some(rule), Value::Object(members)) = (&answer.rule, &mut metadata) {
        members.insert(String::from("rule"), json!(rule));
    }
    let mut said = json!({ "key": &*answer.key, "value": &*answer.value, "reason": reason, "metadata": metadata });
    if let (Some(variant), Value::Object(members)) = (&answer.variant, &mut said) {
        members.insert(String::from("variant"), json!(variant));
    }
    said
}

/// A failed evaluation; `key`: of the flag, where one was asked for.
pub fn ofrep_failure(key: Option<&str>, (code, details): (&str, &str)) -> Value {
    match key {
        Some(key) => json!({ "key": key, "errorCode": code, "errorDetails": details }),
        None => json!({ "errorCode": code, "errorDetails": details }),
    }
}

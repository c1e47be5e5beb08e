//! The OpenFeature Remote Evaluation Protocol (OFREP 0.2), which any OpenFeature SDK with an OFREP
//! provider speaks.

use serde_json::{Map, Value, json};

use super::body::attribute;
use crate::flags::{Answer, Reason};
use crate::model::bounds::{MAX_ATTRIBUTES, MAX_BODY_BYTES};
use crate::resolve::Attribute;

/// The context of an evaluation.
#[derive(Debug, Default)]
pub struct OfrepContext {
    /// The tenant that an operator asks about, from the attribute `tenant`.
    pub tenant: Option<String>,
    attributes: Vec<(String, Value)>,
}

/// Why an evaluation failed: an OFREP error code and a sentence.
pub type OfrepFailure = (&'static str, &'static str);

impl OfrepContext {
    /// Reads the body of a request. Attributes that rules cannot read, such as objects, are
    /// omitted, which OpenFeature permits.
    ///
    /// # Errors
    /// An OFREP error code and a sentence.
    pub fn parse(text: &str) -> Result<Self, OfrepFailure> {
        if text.len() > MAX_BODY_BYTES {
            return Err(("PARSE_ERROR", "the body is too large"));
        }
        let Ok(Value::Object(mut body)) = serde_json::from_str(if text.is_empty() { "{}" } else { text }) else {
            return Err(("PARSE_ERROR", "the body is not a JSON object"));
        };
        let context = match body.remove("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(("INVALID_CONTEXT", "`context` is not an object")),
        };
        let mut read = Self::default();
        for (name, value) in context {
            match (name.as_str(), value) {
                ("targetingKey", Value::String(key)) => {
                    read.attributes.push((String::from("targeting_key"), Value::String(key)));
                }
                ("targetingKey", _) => return Err(("INVALID_CONTEXT", "`targetingKey` is not text")),
                ("tenant", Value::String(id)) => read.tenant = Some(id),
                ("tenant", _) => return Err(("INVALID_CONTEXT", "`tenant` is not text")),
                (_, value) if attribute(&value).is_some() => read.attributes.push((name, value)),
                _ => {}
            }
        }
        if read.attributes.len() > MAX_ATTRIBUTES {
            return Err(("INVALID_CONTEXT", "the context has too many attributes"));
        }
        Ok(read)
    }

    /// Returns the attributes, for rules.
    pub fn attributes(&self) -> Vec<(&str, Attribute<'_>)> {
        self.attributes.iter().filter_map(|(name, value)| Some((name.as_str(), attribute(value)?))).collect()
    }
}

/// Returns the body for a successful evaluation.
pub fn ofrep_answer(answer: &Answer) -> Value {
    // Clients that validate responses accept only the standard reasons. The metadata contains the
    // actual reason.
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
    let mut body = json!({ "key": &*answer.key, "value": &*answer.value, "reason": reason, "metadata": metadata });
    if let (Some(variant), Value::Object(members)) = (&answer.variant, &mut body) {
        members.insert(String::from("variant"), json!(variant));
    }
    body
}

/// Returns the body for a failed evaluation of the flag `key`, or of all flags.
pub fn ofrep_failure(key: Option<&str>, (code, details): (&str, &str)) -> Value {
    match key {
        Some(key) => json!({ "key": key, "errorCode": code, "errorDetails": details }),
        None => json!({ "errorCode": code, "errorDetails": details }),
    }
}

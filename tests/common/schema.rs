//! Limits of strings in JSON Schemas.

use serde_json::Value;

/// Whether a schema accepts strings and does not limit their length.
pub fn is_unbounded_text(schema: &Value) -> bool {
    let text = match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    text && !["maxLength", "enum", "const", "format"].iter().any(|bound| schema.get(*bound).is_some())
}

/// Adds the reader's general limit to every string in the schema that has no limit of its own.
pub fn bound_texts(schema: &mut Value, max_bytes: usize) {
    if is_unbounded_text(schema) {
        schema["maxLength"] = max_bytes.into();
    }
    match schema {
        Value::Object(members) => {
            members.iter_mut().filter(|(name, _)| *name != "examples").for_each(|(_, one)| bound_texts(one, max_bytes))
        }
        Value::Array(items) => items.iter_mut().for_each(|one| bound_texts(one, max_bytes)),
        _ => {}
    }
}

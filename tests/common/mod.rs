//! What several test files use.

#![allow(dead_code, reason = "each test file uses a part of it")]

use serde_json::Value;

/// Where `found` differs from `expected`: members that `expected` does not name do not matter.
pub fn difference(path: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(key, value)| {
            difference(&format!("{path}.{key}"), value, found.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).enumerate().find_map(|(i, (e, f))| difference(&format!("{path}[{i}]"), e, f))
        }
        _ if expected == found || expected.as_f64().is_some_and(|number| found.as_f64() == Some(number)) => None,
        _ => Some(format!("{path} is {found}, expected {expected}")),
    }
}

/// Whether a schema takes texts, and says nothing of how long they may be.
pub fn is_unbounded_text(schema: &Value) -> bool {
    let text = match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    text && !["maxLength", "enum", "const", "format"].iter().any(|bound| schema.get(*bound).is_some())
}

/// Writes into a schema of a document what its reader holds texts to, where their types say no less.
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

/// Compares a document with the one that is committed; with `UPDATE` set, writes it anew.
#[cfg(not(target_family = "wasm"))]
#[allow(dead_code, reason = "not every test has documents")]
pub fn committed(path: &str, document: &serde_json::Value) {
    let full = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = format!("{document:#}\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, &text).unwrap();
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    assert!(found == text, "{path} is not what the types say: run its test with `UPDATE=1`");
}

//! Comparison of JSON values.

use serde_json::Value;

/// Returns the first difference between `expected` and `found`. Members that only `found` has are
/// ignored.
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

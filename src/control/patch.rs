//! Changes of documents: JSON Merge Patch (RFC 7396), and the members that changed.

use serde_json::{Map, Value, json};

/// Applies a merge patch: null removes a member, objects are merged, any other value replaces the
/// member.
///
/// # Examples
/// ```
/// use serde_json::json;
/// let mut document = json!({"name": "Acme", "metadata": {"a": 1, "b": 2}});
/// tenantgate::control::merge(&mut document, &json!({"name": null, "metadata": {"b": 3}}));
/// assert_eq!(document, json!({"metadata": {"a": 1, "b": 3}}));
/// ```
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// Returns the changed members except `epoch`, each as `{"before": …, "after": …}` without an
/// absent side.
pub fn changes(before: &Value, after: &Value) -> Value {
    let none = Map::new();
    let (old, new) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let mut changed = Map::new();
    for name in old.keys().chain(new.keys()) {
        let (was, is) = (old.get(name), new.get(name));
        if was != is && name != "epoch" {
            let mut change = json!({});
            for (side, value) in [("before", was), ("after", is)] {
                if let (Some(value), Value::Object(change)) = (value, &mut change) {
                    change.insert(side.to_owned(), value.clone());
                }
            }
            changed.insert(name.clone(), change);
        }
    }
    changed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merge_follows_the_examples_of_rfc_7396() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut document: Value = serde_json::from_str(target).unwrap();
            merge(&mut document, &serde_json::from_str(patch).unwrap());
            assert_eq!(document, serde_json::from_str::<Value>(expected).unwrap(), "{target} {patch}");
        }
    }

    #[test]
    fn changes_leave_the_epoch_out() {
        let reported = changes(&json!({"a": 1, "b": 2, "epoch": 1}), &json!({"a": 1, "c": 3, "epoch": 2}));
        assert_eq!(reported, json!({"b": {"before": 2}, "c": {"after": 3}}));
    }
}

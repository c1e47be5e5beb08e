//! During a deployment, isolates and ledgers of two versions exchange messages. Each release leaves
//! its messages in `tests/released`: today's code reads them, and its answers have every member
//! that an isolate of that release reads.

#![cfg(not(target_family = "wasm"))]

use serde_json::{Value, json};
use tenantgate::ledger::{LedgerRequest, LedgerResponse, LedgerState};
use tenantgate::model::UnixMillis;

const START: u64 = 1_780_000_000_000;

fn released() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
    files.filter(|path| path.extension().is_some_and(|end| end == "json")).map(read).collect()
}

/// The first member of `expected` that `found` lacks, or has with another value.
fn lack(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(members), Value::Object(_)) => {
            members.iter().find_map(|(name, value)| lack(value, &found[name], &format!("{path}.{name}")))
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => items
            .iter()
            .zip(others)
            .enumerate()
            .find_map(|(i, (item, other))| lack(item, other, &format!("{path}[{i}]"))),
        _ => (expected != found).then(|| format!("{path} is {found}, expected {expected}")),
    }
}

/// The same value as a later version might write it: with one more member in each object. One with a
/// single member can be a variant of an enum, which has no others.
fn later(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.len() > 1 => {
            let members = members.iter().map(|(name, value)| (name.clone(), later(value)));
            Value::Object(members.chain([(String::from("later"), json!({ "more": [1] }))]).collect())
        }
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), later(value))).collect(),
        Value::Array(items) => items.iter().map(later).collect(),
        other => other.clone(),
    }
}

#[test]
fn ledgers_answer_the_requests_of_every_release() {
    let files = released();
    assert!(!files.is_empty());
    for (file, text) in files {
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut state = LedgerState::default();
        for (i, exchange) in document["exchanges"].as_array().unwrap().iter().enumerate() {
            let at = format!("{file}: {}", exchange["name"]);
            let text = exchange["request"].to_string();
            let request: LedgerRequest<'_> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(
                lack(&exchange["request"], &serde_json::to_value(&request).unwrap(), "$"),
                None,
                "{at}: the request"
            );
            let now = UnixMillis::new(START + 1_000 * i as u64);
            let response = serde_json::to_value(state.answer(&request, now)).unwrap();
            assert_eq!(lack(&exchange["response"], &response, "$"), None, "{at}: the response");
        }
    }
}

#[test]
fn messages_of_a_later_version_are_read_without_what_is_new_in_them() {
    for (file, text) in released() {
        let document: Value = serde_json::from_str(&text).unwrap();
        for exchange in document["exchanges"].as_array().unwrap() {
            let at = format!("{file}: {}", exchange["name"]);
            let (own, newer) = (exchange["request"].to_string(), later(&exchange["request"]).to_string());
            let read =
                |text| serde_json::from_str::<LedgerRequest<'_>>(text).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(read(&own), read(&newer), "{at}");
            let answer = |value: &Value| {
                serde_json::from_value::<LedgerResponse>(value.clone()).unwrap_or_else(|error| panic!("{at}: {error}"))
            };
            assert_eq!(answer(&exchange["response"]), answer(&later(&exchange["response"])), "{at}");
        }
    }
}

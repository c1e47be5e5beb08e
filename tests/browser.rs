//! The shared vectors in a real browser, through the wasm-bindgen adapter: `npm test` runs them in headless Chromium.

#![cfg(target_family = "wasm")]

mod common;

use serde_json::Value;
use tenantgate::npm::{Client, Gate};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn millis(time: Option<&str>) -> f64 {
    time.map_or(1_780_000_000_000.0, js_sys::Date::parse)
}

fn run(name: &str, text: &str) {
    let file: Value = serde_json::from_str(text).unwrap();
    let mut count = 0;
    for case in file["cases"].as_array().unwrap() {
        let mut gate = Gate::new(&file["catalog"].to_string()).unwrap();
        for tenant in file["tenants"].as_array().unwrap() {
            gate.put_tenant(&tenant.to_string()).unwrap();
        }
        for (name, value) in file["secrets"].as_object().into_iter().flatten() {
            gate.put_secret(name, value.as_str().unwrap());
        }
        for (url, keys) in file["keys"].as_object().into_iter().flatten() {
            gate.put_issuer_keys(url, &keys.to_string()).unwrap();
        }
        for record in file["api_keys"].as_array().into_iter().flatten() {
            gate.put_api_key(&record.to_string()).unwrap();
        }
        let one = [case.clone()];
        for step in case["steps"].as_array().map_or(one.as_slice(), Vec::as_slice) {
            let answer = gate.ask(&step["ask"].to_string(), millis(step["at"].as_str())).unwrap();
            let found: Value = serde_json::from_str(&answer).unwrap();
            if let Some(difference) = common::difference("$", &step["expect"], &found) {
                panic!("{name}: `{}`: {difference}", case["name"]);
            }
            count += 1;
        }
    }
    assert!(count > 0, "{name}: no cases");
}

#[wasm_bindgen_test]
fn resolution() {
    run("resolution", include_str!("vectors/resolution.json"));
}

#[wasm_bindgen_test]
fn features() {
    run("features", include_str!("vectors/features.json"));
}

#[wasm_bindgen_test]
fn status() {
    run("status", include_str!("vectors/status.json"));
}

#[wasm_bindgen_test]
fn limits() {
    run("limits", include_str!("vectors/limits.json"));
}

#[wasm_bindgen_test]
fn dates() {
    run("dates", include_str!("vectors/dates.json"));
}

#[wasm_bindgen_test]
fn pages() {
    run("pages", include_str!("vectors/pages.json"));
}

#[wasm_bindgen_test]
fn kinds() {
    run("kinds", include_str!("vectors/kinds.json"));
}

#[wasm_bindgen_test]
fn identity() {
    run("identity", include_str!("vectors/identity.json"));
}

#[wasm_bindgen_test]
fn a_bad_catalog_throws_all_its_problems() {
    let Err(problems) = Gate::new(r#"{"version": -1, "resolution": {"strategies": []}, "plan": {}}"#) else {
        panic!("accepted");
    };
    assert_eq!(js_sys::Array::from(&problems).length(), 3);
}

#[wasm_bindgen_test]
fn a_page_evaluates_what_it_is_told() {
    let snapshot = r#"{"tenant": {"id": "t", "slug": "t", "plan": "pro@1"}, "catalog": 1, "epoch": 1,
        "settled": {"webhooks": {"value": true, "enabled": true, "tier": "plan", "reason": "PLAN"}},
        "features": {"beta": {"rules": [{"name": "pro", "when": [{"attribute": "tenant.plan", "op": "eq", "value": "pro@1"}], "value": true}]},
                     "late": {"requires": ["beta"], "rules": [{"name": "from", "starts_at": "2026-06-01T00:00:00Z", "value": true}]}}}"#;
    let mut client = Client::new(snapshot).unwrap();
    assert_eq!(client.keys(), r#"{"features":["beta","late"],"attributes":[]}"#);
    let answers = |client: &mut Client, now: &str| {
        client.evaluate(0, js_sys::Date::parse(now));
        let buffer = client.buffer();
        // As JavaScript does: the memory is the same.
        let outcomes = unsafe { std::slice::from_raw_parts(buffer[4] as *const u32, 2) };
        (0..2).map(|id| client.outcome(id, outcomes[id as usize])).collect::<Vec<_>>()
    };
    let on = answers(&mut client, "2026-07-01T00:00:00Z");
    assert!(on.iter().all(|answer| answer.contains(r#""enabled":true"#)), "{on:?}");
    let early = answers(&mut client, "2026-05-01T00:00:00Z");
    assert!(early[1].contains(r#""reason":"DEFAULT""#), "{early:?}");
    let problems = Client::new(r#"{"tenant": 5}"#).map(drop).unwrap_err().as_string().unwrap();
    assert!(problems.contains("$.tenant"), "{problems}");
}

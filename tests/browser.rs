//! The shared vectors in a real browser, through the wasm-bindgen adapter. `npm test` runs them in
//! headless Chromium.

#![cfg(target_family = "wasm")]

mod common;

use common::vectors::{DEFAULT_TIME_MS, VectorGate, vector_tests};
use serde_json::Value;
use tenantgate::npm::{Client, JsGate};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

impl VectorGate for JsGate {
    fn new(catalog: &str) -> Self {
        Self::new(catalog).unwrap()
    }

    fn put_tenant(&mut self, record: &str) {
        self.put_tenant(record).unwrap();
    }

    fn put_secret(&mut self, name: &str, value: &str) {
        self.put_secret(name, value);
    }

    fn put_keys(&mut self, url: &str, jwks: &str) {
        self.put_keys(url, jwks).unwrap();
    }

    fn put_api_key(&mut self, record: &str) {
        self.put_api_key(record).unwrap();
    }

    fn decide(&mut self, ask: &str, at: Option<&str>) -> Value {
        let at_ms = at.map_or(DEFAULT_TIME_MS as f64, js_sys::Date::parse);
        serde_json::from_str(&self.ask(ask, at_ms).unwrap()).unwrap()
    }
}

vector_tests!(wasm_bindgen_test, JsGate);

#[wasm_bindgen_test]
fn an_invalid_catalog_throws_all_its_problems() {
    let Err(problems) = JsGate::new(r#"{"version": -1, "resolution": {"strategies": []}, "plan": {}}"#) else {
        panic!("accepted");
    };
    assert_eq!(js_sys::Array::from(&problems).length(), 3);
}

#[wasm_bindgen_test]
fn a_page_evaluates_features_from_its_snapshot() {
    let snapshot = r#"{"tenant": {"id": "t", "slug": "t", "plan": "pro@1"}, "catalog": 1, "epoch": 1,
        "settled": {"webhooks": {"value": true, "enabled": true, "tier": "plan", "reason": "PLAN"}},
        "features": {"beta": {"rules": [{"name": "pro", "when": [{"attribute": "tenant.plan", "op": "eq", "value": "pro@1"}], "value": true}]},
                     "late": {"requires": ["beta"], "rules": [{"name": "from", "starts_at": "2026-06-01T00:00:00Z", "value": true}]}}}"#;
    let mut client = Client::new(snapshot).unwrap();
    assert_eq!(client.keys(), r#"{"features":["beta","late"],"attributes":[]}"#);
    let answers = |client: &mut Client, now: &str| {
        client.evaluate(0, js_sys::Date::parse(now));
        let buffer = client.buffer();
        // JavaScript reads the outcomes in the same way, from the memory of the module.
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

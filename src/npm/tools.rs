//! Functions that need no gate: they prepare KV entries, issue API keys and verify assertions.

use serde_json::Value;
use wasm_bindgen::prelude::*;

use super::{comfortable, environment, problems};
use crate::identity::Assertion;
use crate::model::{ApiKey, KeySet, TenantId, UnixMillis};
use crate::wire::{api_key_record, publication};

/// Checks `{"catalog": …, "tenants": […]}` and returns the KV entries `[[key, value], …]`. Throws
/// the list of problems.
#[wasm_bindgen]
pub fn publish(seed: &str) -> Result<JsValue, JsValue> {
    comfortable(&publication(seed).map_err(problems)?)
}

/// Issues an API key from 96 random bytes. Returns `{text, record}`. `options` is an object with
/// `tenant` and any other members of the record. Throws the list of problems or a sentence.
#[wasm_bindgen(js_name = issueApiKey)]
pub fn issue_api_key(options: &str, entropy: &[u8], now_ms: f64) -> Result<JsValue, JsValue> {
    let Ok(Value::Object(mut record)) = serde_json::from_str(options) else {
        return Err("the options are not an object".into());
    };
    let option = |name: &str| record.get(name).map(|value| value.as_str().unwrap_or_default());
    let tenant = option("tenant").and_then(TenantId::parse).ok_or("the tenant is not a tenant id")?;
    let environment = environment(option("environment").unwrap_or("live"))?;
    let entropy = entropy.try_into().map_err(|_| "the random bytes have the wrong length")?;
    let issued = ApiKey::issue(tenant, environment, entropy, UnixMillis::from_js(now_ms));
    let issued = issued.ok_or("the random bytes are not random")?;
    let own = ["id", "tenant", "hash", "environment", "created_at", "epoch"];
    if let Value::Object(members) = api_key_record(&issued.record) {
        record.extend(members.into_iter().filter(|(name, _)| own.contains(&name.as_str())));
    }
    let record = ApiKey::parse(&Value::Object(record).to_string()).map_err(problems)?;
    comfortable(&serde_json::json!({ "text": issued.text, "record": api_key_record(&record) }))
}

/// Verifies an assertion of the gateway. Returns its claims. Throws a sentence.
#[wasm_bindgen(js_name = verifyAssertion)]
pub fn verify_assertion(token: &str, jwks: &str, audience: &str, now_ms: f64) -> Result<JsValue, JsValue> {
    let keys = KeySet::parse(jwks).map_err(problems)?;
    let verified = Assertion::verify(token, &keys, audience, UnixMillis::from_js(now_ms));
    comfortable(&verified?.claims)
}

//! The wasm-bindgen adapter behind the npm package.
//!
//! A decision crosses the boundary as bytes in one shared buffer and as integers; strings that JavaScript would have to
//! build are asked for once per tenant and caller, and kept there. Loading and explaining may be comfortable, and use JSON.
//!
//! The buffer: `u32` words that say how long each text is, then the texts. `decide` reads them in this order:
//! flags, method, host, path, query, then the headers and the context that [`Gate::keys`] names, then features.

#![expect(clippy::needless_pass_by_value, reason = "wasm-bindgen hands over what it was given")]

mod buffer;
mod callers;

use serde::Serialize;
use serde_json::Value;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use crate::gate::{Ask, Code, Decision, LocalGate, Plans, Rejected};
use crate::identity::Assertion;
use crate::model::{ApiKey, Environment, Key, KeySet, Problems, Tenant, TenantId, UnixMillis};
use crate::wire::{CredentialView, DecideBody, api_key_record, publication, transcript};
use buffer::{Buffer, Names};
use callers::Callers;

/// A gate with its ledger in memory.
#[wasm_bindgen]
pub struct Gate {
    local: LocalGate,
    buffer: Buffer,
    names: Names,
    callers: Callers,
    last: Option<Box<Decision>>,
}

#[wasm_bindgen]
impl Gate {
    /// A gate for a catalog as JSON text. Throws the list of problems.
    #[wasm_bindgen(constructor)]
    pub fn new(catalog: &str) -> Result<Gate, JsValue> {
        console_error_panic_hook::set_once();
        let mut gate = Self {
            local: LocalGate::default(),
            buffer: Buffer::default(),
            names: Names::default(),
            callers: Callers::default(),
            last: None,
        };
        gate.put_catalog(catalog)?;
        Ok(gate)
    }

    /// Replaces the catalog. Throws the list of problems, or a sentence; the one held then stays.
    #[wasm_bindgen(js_name = putCatalog)]
    pub fn put_catalog(&mut self, catalog: &str) -> Result<(), JsValue> {
        let plans = Plans::parse(catalog).map_err(problems)?;
        self.local.put_plans(plans).map_err(|rejected| rejected.to_string())?;
        if let Some(plans) = self.local.plans() {
            let attributes = plans.attributes().into_iter().map(String::from).collect();
            self.names = Names { headers: plans.resolver().headers().to_vec(), attributes };
        }
        Ok(())
    }

    /// Adds or replaces a tenant, as JSON text. Throws the list of problems, or a sentence; the one held then stays.
    #[wasm_bindgen(js_name = putTenant)]
    pub fn put_tenant(&mut self, tenant: &str) -> Result<(), JsValue> {
        let tenant = Tenant::parse(tenant).map_err(problems)?;
        self.local.put(tenant).map_err(|rejected| rejected.to_string().into())
    }

    /// Forgets a tenant.
    #[wasm_bindgen(js_name = removeTenant)]
    pub fn remove_tenant(&mut self, id: &str) {
        if let Some(id) = TenantId::parse(id) {
            self.local.remove(&id);
        }
    }

    /// Takes the keys that issuers publish at `url`, as JSON text. Throws the list of problems; what is held then stays.
    #[wasm_bindgen(js_name = putKeys)]
    pub fn put_keys(&mut self, url: &str, jwks: &str) -> Result<(), JsValue> {
        self.local.put_keys(url, jwks).map_err(rejected)
    }

    /// Takes the value of a secret that issuers refer to.
    #[wasm_bindgen(js_name = putSecret)]
    pub fn put_secret(&mut self, name: &str, value: &str) {
        self.local.put_secret(name, value);
    }

    /// Adds or replaces an API key, as JSON text. Throws the list of problems, or a sentence; the one held then stays.
    #[wasm_bindgen(js_name = putApiKey)]
    pub fn put_api_key(&mut self, record: &str) -> Result<(), JsValue> {
        self.local.put_api_key(ApiKey::parse(record).map_err(problems)?).map_err(rejected)
    }

    /// Says where the gate runs: `live` or `test`. Throws a sentence.
    pub fn serve(&mut self, environment: &str) -> Result<(), JsValue> {
        self.local.serve(environment_of(environment)?);
        Ok(())
    }

    /// Names as `{features, limits, codes, headers, attributes}`: their places are the numbers that decisions speak in.
    pub fn keys(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Keys<'a> {
            features: Vec<&'a str>,
            limits: Vec<&'a str>,
            codes: Vec<&'a str>,
            headers: &'a [String],
            attributes: &'a [String],
        }
        let plans = self.local.plans().ok_or("no catalog")?;
        let keys = Keys {
            features: plans.catalog().features.keys().map(Key::as_str).collect(),
            limits: plans.catalog().limits.keys().map(Key::as_str).collect(),
            codes: Code::ALL.map(Code::as_str).to_vec(),
            headers: &self.names.headers,
            attributes: &self.names.attributes,
        };
        comfortable(&keys)
    }

    /// Where the buffer is: addresses and lengths of its words, its text, and its results.
    pub fn buffer(&self) -> Vec<usize> {
        let buffer = &self.buffer;
        vec![
            buffer.words() as usize,
            buffer::WORDS,
            buffer.text() as usize,
            buffer::BYTES,
            buffer.results() as usize,
            buffer::RESULTS,
        ]
    }

    /// Decides on what stands in the buffer, with `length` bytes of text, and takes what the decision takes.
    ///
    /// Returns the code in bits 0 to 7, the number of features in bits 8 to 19, that of limits in bits 20 to 31.
    pub fn decide(&mut self, length: usize, now_ms: f64) -> u32 {
        let now = UnixMillis::from_js(now_ms);
        if let Some(done) = self.last.take() {
            self.local.recycle(done);
        }
        let decision = self.buffer.decide(length, &mut self.local, &self.names, now);
        let caller = decision.credential.as_ref().map_or(0.0, |bearer| self.callers.number(bearer));
        let packed = self.buffer.answer(&decision, caller);
        self.last = Some(decision);
        packed
    }

    /// The tenant of the last decision, as `{id, slug, plan}` in JSON text.
    pub fn tenant(&self) -> String {
        let tenant = self.last.as_ref().and_then(|decision| decision.tenant.as_ref());
        let view = tenant.map(|entitled| {
            serde_json::json!({ "id": entitled.tenant().id, "slug": entitled.tenant().slug, "plan": entitled.plan() })
        });
        view.map_or_else(|| String::from("null"), |view| view.to_string())
    }

    /// The credential of the last decision, as JSON text.
    pub fn credential(&self) -> String {
        let bearer = self.last.as_ref().and_then(|decision| decision.credential.as_ref());
        serde_json::to_string(&bearer.map(CredentialView::from)).unwrap_or_else(|_| String::from("null"))
    }

    /// The value of a feature of the last decision, as JSON text.
    pub fn value(&self, index: usize) -> String {
        let answer = self.last.as_ref().and_then(|decision| decision.features.get(index));
        answer.map_or_else(|| String::from("null"), |answer| answer.value.to_string())
    }

    /// Decides a question given as the JSON text of a `DecideBody`: `{status, headers, path, decision}`.
    /// Throws the list of problems.
    pub fn ask(&mut self, question: &str, now_ms: f64) -> Result<JsValue, JsValue> {
        let body = DecideBody::parse(question).map_err(problems)?;
        let parts = body.borrow();
        let ask: Ask<'_> = body.ask(&parts);
        let decision = self.local.decide(&body.request(&parts, None), &ask, UnixMillis::from_js(now_ms));
        comfortable(&transcript(&decision))
    }
}

/// Checks `{"catalog": …, "tenants": […]}` and lays it out as KV entries `[[key, value], …]`. Throws the problems.
#[wasm_bindgen]
pub fn publish(seed: &str) -> Result<JsValue, JsValue> {
    comfortable(&publication(seed).map_err(problems)?)
}

/// Makes an API key out of 96 bytes of randomness: `{text, record}`. `options`: an object with `tenant`, and what else a
/// record may say. Throws the list of problems, or a sentence.
#[wasm_bindgen(js_name = issueApiKey)]
pub fn issue_api_key(options: &str, entropy: &[u8], now_ms: f64) -> Result<JsValue, JsValue> {
    let Ok(Value::Object(mut record)) = serde_json::from_str(options) else {
        return Err("the options are no object".into());
    };
    let option = |name: &str| record.get(name).map(|value| value.as_str().unwrap_or_default());
    let tenant = option("tenant").and_then(TenantId::parse).ok_or("the tenant is not a tenant id")?;
    let environment = environment_of(option("environment").unwrap_or("live"))?;
    let entropy = entropy.try_into().map_err(|_| "the randomness is of another length")?;
    let issued = ApiKey::issue(tenant, environment, entropy, UnixMillis::from_js(now_ms));
    let issued = issued.ok_or("the randomness is none")?;
    let own = ["id", "tenant", "hash", "environment", "created_at", "epoch"];
    if let Value::Object(members) = api_key_record(&issued.record) {
        record.extend(members.into_iter().filter(|(name, _)| own.contains(&name.as_str())));
    }
    let record = ApiKey::parse(&Value::Object(record).to_string()).map_err(problems)?;
    comfortable(&serde_json::json!({ "text": issued.text, "record": api_key_record(&record) }))
}

/// Verifies an assertion of the gate: its claims. Throws a sentence.
#[wasm_bindgen(js_name = verifyAssertion)]
pub fn verify_assertion(token: &str, jwks: &str, audience: &str, now_ms: f64) -> Result<JsValue, JsValue> {
    let keys = KeySet::parse(jwks).map_err(problems)?;
    let verified = Assertion::verify(token, &keys, audience, UnixMillis::from_js(now_ms));
    comfortable(&verified?.claims)
}

fn environment_of(name: &str) -> Result<Environment, JsValue> {
    match name {
        "live" => Ok(Environment::Live),
        "test" => Ok(Environment::Test),
        _ => Err("the environment is neither `live` nor `test`".into()),
    }
}

fn rejected(rejected: Rejected) -> JsValue {
    match rejected {
        Rejected::Problems(list) => problems(list),
        other => other.to_string().into(),
    }
}

fn problems(problems: Problems) -> JsValue {
    comfortable(&problems).unwrap_or_else(|error| error)
}

fn comfortable(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&Serializer::json_compatible())?)
}

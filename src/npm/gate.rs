//! The gate for JavaScript.
//!
//! The input of [`JsGate::decide`] consists of `u32` words, which contain the length of each text,
//! and of the texts. They are read in this order: flags, method, host, path, query, custom, then
//! the headers and the context in the order of [`JsGate::keys`], then features.
//! [`JsGate::features`] reads a tenant's id and a context.

use std::sync::Arc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::buffer::{self, Input, Names, Outcomes, Results};
use super::callers::Callers;
use super::{comfortable, json, problems};
use crate::flags::AnswerId;
use crate::gate::{Ask, Code, CompiledCatalog, Decision, Entitlements, LocalGate, Rejected};
use crate::model::{ApiKey, Key, Tenant, TenantId, UnixMillis};
use crate::wire::{AnswerView, CredentialView, DecideBody, HoldView, transcript};

/// A gate with its ledger in memory.
#[wasm_bindgen(js_name = Gate)]
pub struct JsGate {
    local: LocalGate,
    input: Input,
    results: Results,
    outcomes: Outcomes,
    names: Names,
    callers: Callers,
    last: Option<Box<Decision>>,
    /// The tenant and the catalog of the last call to [`Self::features`].
    asked: Option<(Arc<CompiledCatalog>, Arc<Entitlements>)>,
}

#[wasm_bindgen(js_class = Gate)]
impl JsGate {
    /// Creates a gate for a catalog as JSON text. Throws the list of problems.
    #[wasm_bindgen(constructor)]
    pub fn new(catalog: &str) -> Result<JsGate, JsValue> {
        console_error_panic_hook::set_once();
        let mut gate = Self {
            local: LocalGate::default(),
            input: Input::default(),
            results: Results::default(),
            outcomes: Outcomes::default(),
            names: Names::default(),
            callers: Callers::default(),
            last: None,
            asked: None,
        };
        gate.put_catalog(catalog)?;
        Ok(gate)
    }

    /// Replaces the catalog. Throws the list of problems or a sentence, and then keeps the current
    /// catalog.
    #[wasm_bindgen(js_name = putCatalog)]
    pub fn put_catalog(&mut self, catalog: &str) -> Result<(), JsValue> {
        let catalog = CompiledCatalog::parse(catalog).map_err(problems)?;
        self.local.put_catalog(catalog).map_err(|rejected| rejected.to_string())?;
        if let Some(catalog) = self.local.catalog() {
            self.names = Names {
                headers: catalog.resolver().headers().to_vec(),
                attributes: catalog.features().attributes().len(),
            };
        }
        Ok(())
    }

    /// Adds or replaces a tenant, as JSON text. Returns its id. Throws the list of problems or a
    /// sentence, and then keeps the current record.
    #[wasm_bindgen(js_name = putTenant)]
    pub fn put_tenant(&mut self, tenant: &str) -> Result<String, JsValue> {
        let tenant = Tenant::parse(tenant).map_err(problems)?;
        let id = tenant.id.to_string();
        self.local.put(tenant).map_err(|rejected| rejected.to_string())?;
        Ok(id)
    }

    /// Removes a tenant.
    #[wasm_bindgen(js_name = removeTenant)]
    pub fn remove_tenant(&mut self, id: &str) {
        if let Some(id) = TenantId::parse(id) {
            self.local.remove(&id);
        }
    }

    /// Sets the issuer keys that are published at `url`, as JSON text. Throws the list of problems,
    /// and then keeps the current keys.
    #[wasm_bindgen(js_name = putKeys)]
    pub fn put_keys(&mut self, url: &str, jwks: &str) -> Result<(), JsValue> {
        self.local.put_issuer_keys(url, jwks).map_err(rejected)
    }

    /// Sets the value of a secret that issuers refer to.
    #[wasm_bindgen(js_name = putSecret)]
    pub fn put_secret(&mut self, name: &str, value: &str) {
        self.local.put_secret(name, value);
    }

    /// Adds or replaces an API key, as JSON text. Returns its id. Throws the list of problems or a
    /// sentence, and then keeps the current record.
    #[wasm_bindgen(js_name = putApiKey)]
    pub fn put_api_key(&mut self, record: &str) -> Result<String, JsValue> {
        let record = ApiKey::parse(record).map_err(problems)?;
        let id = record.id.to_string();
        self.local.put_api_key(record).map_err(rejected)?;
        Ok(id)
    }

    /// Sets the environment of the gate: `live` or `test`. Throws a sentence.
    pub fn serve(&mut self, environment: &str) -> Result<(), JsValue> {
        self.local.set_environment(super::environment(environment)?);
        Ok(())
    }

    /// Returns the names as `{features, limits, codes, headers, attributes}`. The index of a name
    /// is its number in calls and results.
    pub fn keys(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Keys<'a> {
            features: Vec<&'a str>,
            limits: Vec<&'a str>,
            codes: Vec<&'a str>,
            headers: &'a [String],
            attributes: &'a [String],
        }
        let plans = self.local.catalog().ok_or("there is no catalog")?;
        let keys = Keys {
            features: plans.document().features.keys().map(Key::as_str).collect(),
            limits: plans.document().limits.keys().map(Key::as_str).collect(),
            codes: Code::ALL.map(Code::as_str).to_vec(),
            headers: &self.names.headers,
            attributes: plans.features().attributes(),
        };
        comfortable(&keys)
    }

    /// Returns the addresses and lengths of the words, the text, the results and the outcomes.
    pub fn buffer(&self) -> Vec<usize> {
        vec![
            self.input.words() as usize,
            buffer::WORDS,
            self.input.text() as usize,
            buffer::BYTES,
            self.results.as_ptr() as usize,
            buffer::RESULTS,
            self.outcomes.as_ptr() as usize,
            buffer::OUTCOMES,
        ]
    }

    /// Decides the request in the buffer, with `length` bytes of text, and takes what it consumes.
    ///
    /// Returns the code in bits 0 to 7, the number of features in bits 8 to 19 and the number of
    /// limits in bits 20 to 31.
    pub fn decide(&mut self, length: usize, now_ms: f64) -> u32 {
        let now = UnixMillis::from_js(now_ms);
        if let Some(done) = self.last.take() {
            self.local.reuse(done);
        }
        let decision = self.input.decide(length, &mut self.local, &self.names, now);
        let caller = decision.extras().credential.as_ref().map_or(0.0, |bearer| self.callers.number(bearer));
        let packed = self.results.write(&decision, caller);
        self.last = Some(decision);
        packed
    }

    /// Returns the tenant of the last decision, as `{id, slug, plan}` in JSON text.
    pub fn tenant(&self) -> String {
        let tenant = self.last.as_ref().and_then(|decision| decision.tenant.as_ref());
        let view = tenant.map(|entitled| {
            serde_json::json!({ "id": entitled.tenant().id, "slug": entitled.tenant().slug, "plan": entitled.plan() })
        });
        json(&view)
    }

    /// Returns the credential of the last decision, as JSON text.
    pub fn credential(&self) -> String {
        let bearer = self.last.as_ref().and_then(|decision| decision.extras().credential.as_ref());
        json(&bearer.map(CredentialView::from))
    }

    /// Returns the hold of the last decision, as `{id, ends_at}` in JSON text.
    pub fn hold(&self) -> String {
        json(&self.last.as_ref().and_then(|decision| decision.extras().hold.as_ref()).map(HoldView::from))
    }

    /// Returns a feature of the last decision, as JSON text.
    pub fn answer(&self, index: usize) -> String {
        let answer = self.last.as_ref().and_then(|decision| decision.features.get(index));
        json(&answer.map(AnswerView::from))
    }

    /// Evaluates every feature for a tenant. The buffer contains the tenant's id and the context,
    /// with `length` bytes of text. Writes one outcome for each feature, in the order of
    /// [`Self::keys`], and the number of the compiled tenant as the first result.
    ///
    /// JavaScript can cache answers by outcome: equal outcomes denote the same answer within a
    /// catalog, and outcome 0 the same answer within one compiled tenant.
    ///
    /// Returns the code. If it is not that of success, no outcomes are written.
    pub fn features(&mut self, length: usize, now_ms: f64) -> u32 {
        let now = UnixMillis::from_js(now_ms);
        let Some(plans) = self.local.catalog().map(Arc::clone) else { return Code::SnapshotUnavailable.index() };
        let (id, context) = self.input.name_and_context(length, plans.features());
        let found = TenantId::parse(id).ok_or(Code::BadRequest).and_then(|id| self.local.tenant(&id, now));
        match found {
            Ok(tenant) => {
                self.outcomes.write(plans.features().outcomes(tenant.facts(&context, now)));
                self.results.write_tenant(tenant.serial());
                self.asked = Some((plans, tenant));
                Code::Allowed.index()
            }
            Err(code) => code.index(),
        }
    }

    /// Returns the answer that an outcome of the last call to [`Self::features`] denotes, as JSON
    /// text.
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        let answer = self.asked.as_ref().and_then(|(plans, tenant)| {
            plans.features().answer(feature, AnswerId::from(outcome), tenant.facts(&[], UnixMillis::default()))
        });
        json(&answer.as_ref().map(AnswerView::from))
    }

    /// Decides a request given as the JSON text of a [`DecideBody`]. Returns `{status, headers,
    /// path, decision}` as JSON text, in which JavaScript finds every member under its name on the
    /// wire. Throws the list of problems.
    pub fn ask(&mut self, body: &str, now_ms: f64) -> Result<String, JsValue> {
        let body = DecideBody::parse(body).map_err(problems)?;
        let parts = body.borrow();
        let ask: Ask<'_> = body.ask(&parts);
        let decision = self.local.decide(&body.request(&parts, None), &ask, UnixMillis::from_js(now_ms));
        Ok(transcript(&decision).to_string())
    }
}

fn rejected(rejected: Rejected) -> JsValue {
    match rejected {
        Rejected::Problems(list) => problems(list),
        other => other.to_string().into(),
    }
}

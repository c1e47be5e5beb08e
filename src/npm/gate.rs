//! The gate for JavaScript.
//!
//! [`Binding`] describes what crosses the boundary.

use std::convert::Infallible;
use std::sync::Arc;

use wasm_bindgen::prelude::*;

use super::problems;
use crate::gate::{Ask, Code, CompiledCatalog, LocalGate, Rejected};
use crate::model::{ApiKey, Tenant, TenantId, UnixMillis};
use crate::wire::{Binding, DecideBody, transcript};

/// A gate with its ledger in memory.
#[wasm_bindgen(js_name = Gate)]
pub struct JsGate {
    local: LocalGate,
    binding: Binding,
}

#[wasm_bindgen(js_class = Gate)]
impl JsGate {
    /// Creates a gate for a catalog as JSON text. Throws the list of problems.
    #[wasm_bindgen(constructor)]
    pub fn new(catalog: &str) -> Result<JsGate, JsValue> {
        console_error_panic_hook::set_once();
        let mut gate = Self { local: LocalGate::default(), binding: Binding::default() };
        gate.put_catalog(catalog)?;
        Ok(gate)
    }

    /// Replaces the catalog. Throws the list of problems or a sentence, and then keeps the current
    /// catalog.
    #[wasm_bindgen(js_name = putCatalog)]
    pub fn put_catalog(&mut self, catalog: &str) -> Result<(), JsValue> {
        let catalog = CompiledCatalog::parse(catalog).map_err(problems)?;
        self.local.put_catalog(catalog).map_err(|rejected| rejected.to_string())?;
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

    /// Returns the names as `{features, limits, codes, headers, attributes}` in JSON text. The
    /// index of a name is its number in calls and results. Questions are read by these names.
    pub fn keys(&mut self) -> Result<String, JsValue> {
        let catalog = self.local.catalog().ok_or("there is no catalog")?;
        Ok(self.binding.learn(catalog))
    }

    /// See [`Binding::addresses`].
    pub fn buffer(&self) -> Vec<usize> {
        self.binding.addresses()
    }

    /// Decides the request in the buffer, with `length` bytes of text, and takes what it consumes.
    /// Returns the packed word of [`Binding::answer`].
    pub fn decide(&mut self, length: usize, now_ms: f64) -> u32 {
        let Self { local, binding } = self;
        let now = UnixMillis::from_js(now_ms);
        if let Some(done) = binding.take_last() {
            local.reuse(done);
        }
        let decision = binding.with_request(length, |request, ask| local.decide(request, ask, now));
        binding.answer(decision)
    }

    /// See [`Binding::transcript`].
    pub fn transcript(&self) -> String {
        self.binding.transcript()
    }

    /// See [`Binding::rate_limit_headers`].
    #[wasm_bindgen(js_name = rateLimitHeaders)]
    pub fn rate_limit_headers(&self) -> String {
        self.binding.rate_limit_headers()
    }

    /// See [`Binding::tenant`].
    pub fn tenant(&self) -> String {
        self.binding.tenant()
    }

    /// See [`Binding::credential`].
    pub fn credential(&self) -> String {
        self.binding.credential()
    }

    /// See [`Binding::hold`].
    pub fn hold(&self) -> String {
        self.binding.hold()
    }

    /// See [`Binding::feature`].
    pub fn feature(&self, index: usize) -> String {
        self.binding.feature(index)
    }

    /// See [`Binding::features`]. Returns the code.
    pub fn features(&mut self, length: usize, now_ms: f64) -> u32 {
        let Self { local, binding } = self;
        let now = UnixMillis::from_js(now_ms);
        let Some(catalog) = local.catalog().map(Arc::clone) else { return Code::SnapshotUnavailable.index() };
        let Ok(code) = binding.features(length, catalog, now, |id| Ok::<_, Infallible>(local.tenant(id, now)));
        code.index()
    }

    /// See [`Binding::outcome`].
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        self.binding.outcome(feature, outcome)
    }

    /// Decides a request given as the JSON text of a [`DecideBody`]. Returns `{status, headers,
    /// path, decision}` as JSON text, in which JavaScript finds every member under its name on the
    /// wire. Throws the list of problems.
    pub fn ask(&mut self, body: &str, now_ms: f64) -> Result<String, JsValue> {
        let body = DecideBody::parse(body).map_err(problems)?;
        let parts = body.borrow();
        let ask: Ask<'_> = body.ask(&parts);
        let decision = self.local.decide(&body.request(&parts, None), &ask, UnixMillis::from_js(now_ms));
        Ok(transcript(&decision))
    }
}

fn rejected(rejected: Rejected) -> JsValue {
    match rejected {
        Rejected::Problems(list) => problems(list),
        other => other.to_string().into(),
    }
}

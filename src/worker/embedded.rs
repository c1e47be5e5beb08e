//! The gate for code in the same isolate: what `tenantgate/workers` calls.
//!
//! [`EdgeBinding::decide`] and [`EdgeBinding::features`] answer from what the isolate holds,
//! without waiting: snapshots, and leases of the family's ledger. Whatever has to be fetched goes
//! through [`EdgeBinding::ask`], which is the decision API without HTTP. Both are the same gate as
//! the gateway's, with the same caches, leases and ledger.

use std::rc::Rc;
use std::sync::Arc;

use js_sys::Promise;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::gate::{Ask, Code, CompiledCatalog, Gate, Progress, Step, Waiting};
use crate::resolve::Request;
use crate::wire::{Binding, DecideBody, transcript};
use crate::worker::api::decide;
use crate::worker::config::Config;
use crate::worker::gateway::behind::{self, Asker};
use crate::worker::http::call::About;
use crate::worker::isolate;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge::ExecutionContext;
use crate::worker::runtime::task;
use crate::worker::sources::feed;

/// In place of a code: the answer has to be waited for, by [`EdgeBinding::ask`].
const WAIT: u32 = 255;
/// In place of a code: there is another catalog. Read [`EdgeBinding::keys`] and ask again.
const RENAMED: u32 = 254;

/// The exchange of this isolate's gate with JavaScript.
#[wasm_bindgen]
pub struct EdgeBinding {
    config: Rc<Config>,
    binding: Binding,
    /// The catalog whose names JavaScript knows.
    catalog: Option<Arc<CompiledCatalog>>,
}

#[wasm_bindgen]
impl EdgeBinding {
    /// Reads the configuration from the bindings of the Worker.
    #[wasm_bindgen(constructor)]
    pub fn new(env: &JsValue) -> EdgeBinding {
        Self { config: isolate::load(env), binding: Binding::default(), catalog: None }
    }

    /// The names of the catalog as JSON text; see [`Binding::learn`]. `None`: no catalog is held.
    pub fn keys(&mut self) -> Option<String> {
        self.catalog = with_gate(|gate| gate.current_catalog().map(Arc::clone));
        self.catalog.as_deref().map(|catalog| self.binding.learn(catalog))
    }

    /// See [`Binding::addresses`].
    pub fn buffer(&self) -> Vec<usize> {
        self.binding.addresses()
    }

    /// Decides the request in the buffer, with `length` bytes of text, and takes what it consumes.
    /// Returns the packed word of [`Binding::answer`], [`WAIT`] or [`RENAMED`]. In the last two
    /// cases nothing is taken.
    pub fn decide(&mut self, length: usize, request: &JsValue, context: &ExecutionContext) -> u32 {
        let Self { config, binding, catalog } = self;
        let now = clock::now();
        if feed::is_due(config, context, now) {
            return WAIT;
        }
        if let Some(done) = binding.take_last() {
            with_gate(|gate| gate.reuse(done));
        }
        if with_gate(|gate| known(gate, catalog.as_ref()).is_none()) {
            return RENAMED;
        }
        let decided = binding.with_request(length, |facts, ask| {
            let facts = Request { place: config.region.as_deref(), ..*facts };
            let ask = Ask { waiting: Waiting::Never, ..*ask };
            match with_gate(|gate| gate.decide(&facts, &ask, now)) {
                Progress::Ready(step) if step.is_unknown_tenant() && feed::may_know_more(config, now) => None,
                Progress::Ready(Step::Decided(mut decision)) => {
                    let asker = Asker { request: Some(request), context, explain: false };
                    behind::after_question(asker, &About::from(&facts), config, &mut decision);
                    Some(decision)
                }
                Progress::Ready(Step::Charge(_)) | Progress::Need(_) => None,
            }
        });
        decided.map_or(WAIT, |decision| binding.answer(decision))
    }

    /// See [`Binding::features`]. Returns the code, [`WAIT`] or [`RENAMED`].
    pub fn features(&mut self, length: usize, context: &ExecutionContext) -> u32 {
        let Self { config, binding, catalog } = self;
        let now = clock::now();
        if feed::is_due(config, context, now) {
            return WAIT;
        }
        let (code, background) = with_gate(|gate| {
            let Some(catalog) = known(gate, catalog.as_ref()) else { return (RENAMED, Vec::new()) };
            let found = binding.features(length, catalog, now, |id| match gate.tenant(id, now) {
                Progress::Need(_) => Err(()),
                Progress::Ready(Ok(tenant)) if !tenant.may_be_served_from(config.region.as_deref()) => {
                    Ok(Err(Code::ResidencyViolation))
                }
                Progress::Ready(found) => Ok(found),
            });
            let code = match found {
                Ok(Code::TenantNotFound) if feed::may_know_more(config, now) => WAIT,
                Ok(code) => code.index(),
                Err(()) => WAIT,
            };
            (code, gate.take_background())
        });
        behind::carry_out(background, config, context);
        code
    }

    /// Answers the question of a [`DecideBody`], given as JSON text. Resolves to JSON text:
    /// `{status, headers, path, decision}`, or `{problems}` if the question is invalid.
    pub fn ask(&self, body: String, request: JsValue, context: ExecutionContext) -> Promise {
        let config = Rc::clone(&self.config);
        task::promise(async move {
            let answer = match DecideBody::parse(&body) {
                Ok(body) => {
                    let asker = Asker { request: Some(&request), context: &context, explain: false };
                    transcript(&decide::decide(&body, asker, &config).await)
                }
                Err(problems) => json!({ "problems": problems }).to_string(),
            };
            answer.into()
        })
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

    /// See [`Binding::outcome`].
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        self.binding.outcome(feature, outcome)
    }
}

/// The gate's catalog, if it is the one whose names JavaScript knows.
fn known(gate: &Gate, catalog: Option<&Arc<CompiledCatalog>>) -> Option<Arc<CompiledCatalog>> {
    gate.current_catalog()
        .zip(catalog)
        .filter(|(held, known)| Arc::ptr_eq(held, known))
        .map(|(held, _)| Arc::clone(held))
}

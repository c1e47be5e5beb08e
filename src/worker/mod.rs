//! The Cloudflare adapter: requests, KV, D1, the Durable Object, the origin.
//!
//! `fetch` answers without a Promise wherever nothing has to be waited for: a request crosses into
//! WebAssembly once, with its facts in one string, and its answer crosses back once. Only snapshots
//! that are not held yet, limits that the ledger counts, and an origin make it wait.
//!
//! Floors, lowest first; each may use those below it:
//!
//! | floor | what it does |
//! |---|---|
//! | `runtime` | the gate of the isolate, futures, the clock, JavaScript |
//! | `config` | bindings and variables |
//! | `http` | one request, and responses to it |
//! | `sources` | answers what the gate needs; [`sources::drive`] is the loop |
//! | `ledger` | the Durable Object, and how an isolate talks to it |
//! | `gateway` | requests to the operator's hosts |
//! | `api`, `admin` | the gate's own endpoints; neither knows the other |
//! | `router` | which endpoint a request is for |

mod admin;
mod api;
mod assertion;
mod config;
mod gateway;
mod http;
mod ledger;
mod router;
mod runtime;
mod sources;

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

use config::Config;
use http::call::Call;
use http::reply;
pub use ledger::TenantLedger;
use runtime::cell::with_gate;
use runtime::fault::fault;
use runtime::{edge, header_names, task};

/// The configuration, and on the first request of an isolate what the gate needs of it.
fn load(env: &JsValue) -> Rc<Config> {
    let (config, is_first) = config::load(env);
    if is_first {
        header_names::read_own(&config.header_names());
        with_gate(|gate| {
            if let Some(seals) = config.seals.clone() {
                gate.trust(seals);
            }
            gate.set_environment(config.environment);
            gate.delegate_signatures();
            // Randomness exists only while a request is served.
            gate.lease_as(edge::unique());
        });
    }
    config
}

/// Reports a panic with file and line before it traps.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// The scheduled event; see `triggers` in `wrangler.toml`.
#[wasm_bindgen]
pub fn scheduled(env: &JsValue, context: JsValue) -> Promise {
    let config = load(env);
    let context: edge::ExecutionContext = context.unchecked_into();
    task::promise(async move {
        admin::scheduled(&config, &context).await;
        JsValue::UNDEFINED
    })
}

/// The Worker's entry point. Returns a `Response`, or a Promise of one.
#[wasm_bindgen]
pub fn fetch(request: JsValue, env: &JsValue, context: JsValue) -> JsValue {
    let config = load(env);
    let Some(call) = Call::read(request, context, &config) else {
        return reply::unreadable().into();
    };
    // An origin that answers TRACE repeats the headers that the gate has added, such as a signed
    // assertion (RFC 9110 §9.3.8).
    if matches!(call.method(), "TRACE" | "TRACK" | "CONNECT") {
        return reply::Failure::TRACE.respond(&call).into();
    }
    fault(call.fault().as_deref(), "trap");
    if call.is_own() {
        return match router::answer_now(&call, &config) {
            Some(response) => response.into(),
            None => task::promise(async move { router::answer(call, &config).await.into() }).into(),
        };
    }
    match gateway::decide_now(&call, &config) {
        gateway::Now::Answered(response) => response,
        gateway::Now::Waits(progress) => {
            task::promise(async move { gateway::decide(call, progress, &config).await }).into()
        }
    }
}

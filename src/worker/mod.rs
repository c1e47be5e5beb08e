//! The Cloudflare adapter: requests, KV, the Durable Object, the upstream.
//!
//! `fetch` answers without a Promise wherever nothing has to be waited for: a request crosses into WebAssembly once,
//! with its facts in one string, and its answer crosses back once. Only snapshots that are not held yet, limits that
//! the ledger counts, and an upstream make it wait.

mod api;
mod assertion;
mod call;
mod charge;
mod clock;
mod config;
mod control;
mod denials;
mod doors;
mod edge;
mod feed;
mod flags;
mod isolate;
mod keys;
mod ledger;
mod reply;
mod task;
mod usage;

use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

use call::Call;
pub use ledger::TenantLedger;

/// Panics where a test asks for it, which traps: never in a release.
fn fault(asked: Option<&str>, here: &str) {
    assert!(!cfg!(feature = "faults") || asked != Some(here), "a fault was asked for: {here}");
}

/// Panics are reported with file and line before they trap.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// The clock's turn: see `triggers` in `wrangler.toml`.
#[wasm_bindgen]
pub fn scheduled(env: &JsValue, context: JsValue) -> Promise {
    let config = config::load(env);
    let context: edge::ExecutionContext = context.unchecked_into();
    task::promise(async move {
        control::scheduled(&config, &context).await;
        JsValue::UNDEFINED
    })
}

/// The Worker's entry point. Returns a `Response`, or a Promise of one.
#[wasm_bindgen]
pub fn fetch(request: JsValue, env: &JsValue, context: JsValue) -> JsValue {
    let config = config::load(env);
    isolate::with_gate(|gate| gate.serve(config.environment));
    let Some(call) = Call::read(request, context, &config) else {
        return reply::unreadable().into();
    };
    // An origin that answers TRACE repeats what the gate has added, such as a signed assertion (RFC 9110 §9.3.8).
    if matches!(call.method(), "TRACE" | "TRACK" | "CONNECT") {
        return reply::Failure::TRACE.respond(&call).into();
    }
    fault(call.fault(), "trap");
    let context = call.context.clone();
    let promise = if call.is_own() {
        match api::answer_now(&call, &config) {
            Some(response) => return response.into(),
            None => task::promise(async move { api::answer(call, &config).await.into() }),
        }
    } else {
        match isolate::decide_now(&call, &config) {
            isolate::Now::Answered(response) => return response.into(),
            isolate::Now::Waits(step) => task::promise(async move { isolate::decide(call, *step, &config).await }),
        }
    };
    // What was begun comes to its end, also if the client goes away: others may wait for it.
    context.wait_until(&promise);
    promise.into()
}

//! The handlers of the complete Worker: requests, and the clock.

use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

use crate::worker::http::call::Call;
use crate::worker::http::reply;
use crate::worker::runtime::fault::fault;
use crate::worker::runtime::{edge, task};
use crate::worker::{admin, gateway, isolate, router};

/// The scheduled event; see `triggers` in `wrangler.toml`.
#[wasm_bindgen]
pub fn scheduled(env: &JsValue, context: JsValue) -> Promise {
    let config = isolate::load(env);
    let context: edge::ExecutionContext = context.unchecked_into();
    task::promise(async move {
        admin::scheduled(&config, &context).await;
        JsValue::UNDEFINED
    })
}

/// The Worker's entry point. Returns a `Response`, or a Promise of one.
#[wasm_bindgen]
pub fn fetch(request: JsValue, env: &JsValue, context: JsValue) -> JsValue {
    let config = isolate::load(env);
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
        gateway::Attempt::Answered(response) => response,
        gateway::Attempt::Waits(progress) => {
            task::promise(async move { gateway::decide(call, progress, &config).await }).into()
        }
    }
}

//! Requests to the operator's hosts: the gate decides them, and the Worker answers them or forwards
//! them to the origin.
//!
//! [`decide_now`] answers without a Promise if nothing has to be waited for. Otherwise [`decide`]
//! continues with its progress: it fetches what the gate lacks, asks the ledger if necessary, and
//! forwards the request if it is allowed.

pub(crate) mod behind;
pub(crate) mod denials;
mod forward;
mod questions;

use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use self::questions::CallQuestion;
use crate::gate::{Ask, CallEnd, Code, Decision, Intent, Progress, Step};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply;
use crate::worker::ledger::{client, keeper};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::edge;
use crate::worker::runtime::fault::fault;
use crate::worker::sources::drive::{drive, drive_on};
use crate::worker::sources::feed;

/// How far [`decide_now`] came.
pub(crate) enum Attempt {
    /// The response, or a Promise of the origin's response.
    Answered(JsValue),
    /// The request has to wait. `None` if the gate has not been asked yet.
    Waits(Option<Box<Progress<Step>>>),
}

/// Decides a request, and answers it if nothing has to be waited for.
pub(crate) fn decide_now(call: &Call, config: &Rc<Config>) -> Attempt {
    let now = clock::now();
    if feed::is_due(config, &call.context, now) {
        return Attempt::Waits(None);
    }
    let progress = with_gate(|gate| questions::ask(call, config, &questions::to_serve(call), gate, now));
    match progress {
        Progress::Ready(step) if step.is_unknown_tenant() && feed::may_know_more(config, now) => {
            Attempt::Waits(Some(Box::new(Progress::Ready(step))))
        }
        Progress::Ready(Step::Decided(mut decision)) if !is_observed(call, config, &decision) => {
            behind::after(call, config, &mut decision);
            let response = respond(call, config, &decision);
            with_gate(|gate| gate.reuse(decision));
            Attempt::Answered(response)
        }
        progress => Attempt::Waits(Some(Box::new(progress))),
    }
}

/// Decides a request that has to wait, and answers it.
pub(crate) async fn decide(mut call: Call, progress: Option<Box<Progress<Step>>>, config: &Rc<Config>) -> JsValue {
    fault(call.fault().as_deref(), "trap-late");
    let patience = Patience::new();
    let context = call.context.clone();
    let ask = questions::to_serve(&call);
    let question = CallQuestion { call: &mut call, config, ask };
    let decision = match drive_on(question, progress.map(|progress| *progress), config, patience).await {
        Ok(step) => keeper::conclude(step, config, &context, patience).await,
        Err(_) => unavailable_to(&call, config),
    };
    conclude(&call, config, decision).await
}

/// Identifies the tenant of a request, and whether the request may pass. Debits nothing.
pub(crate) async fn identify(call: &mut Call, config: &Rc<Config>, ask: &Ask<'_>) -> Decision {
    let context = call.context.clone();
    let ask = Ask { intent: Intent::Identify, ..*ask };
    let question = CallQuestion { call: &mut *call, config, ask };
    match drive(question, config, &context, Patience::new()).await {
        Ok(Step::Decided(mut decision)) => {
            behind::after(call, config, &mut decision);
            *decision
        }
        Ok(Step::Charge(_)) | Err(_) => unavailable(),
    }
}

/// Decides a request to one of the gate's own endpoints by its route, and debits what that costs.
pub(crate) async fn decide_own(call: &mut Call, config: &Rc<Config>) -> Decision {
    let (context, patience) = (call.context.clone(), Patience::new());
    let ask = Ask { dry_run: call.explain, ..Ask::default() };
    let mut decision = match drive(CallQuestion { call: &mut *call, config, ask }, config, &context, patience).await {
        Ok(step) => keeper::conclude(step, config, &context, patience).await,
        Err(_) => unavailable_to(call, config),
    };
    // No origin is called.
    keeper::ended(&decision, CallEnd::Unknown, config, &context);
    behind::after(call, config, &mut decision);
    decision
}

/// The denial for a snapshot that is needed but not available.
pub(crate) fn unavailable() -> Decision {
    Decision::refused(Code::SnapshotUnavailable, "a snapshot could not be fetched", clock::now())
}

/// Like [`unavailable`], for a request. If the catalog is known, the CORS policy of the route
/// applies, so that pages of other origins can read the denial.
fn unavailable_to(call: &Call, config: &Config) -> Decision {
    let mut decision = unavailable();
    let headers = call.headers();
    with_gate(|gate| {
        if let Some(catalog) = gate.current_catalog() {
            decision.route = catalog.cors_route(&call.request(&headers, config), call.method());
            decision.catalog = Some(Arc::clone(catalog));
        }
    });
    decision
}

/// Answers a decided request, or forwards it and reports how the call to the origin ended.
async fn conclude(call: &Call, config: &Rc<Config>, mut decision: Decision) -> JsValue {
    behind::after(call, config, &mut decision);
    if is_observed(call, config, &decision) {
        return observe(call, config, &decision).await;
    }
    if !is_forwarded(call, config, &decision) {
        keeper::ended(&decision, CallEnd::Unknown, config, &call.context);
    }
    respond(call, config, &decision)
}

/// The response, or a Promise of the origin's.
fn respond(call: &Call, config: &Config, decision: &Decision) -> JsValue {
    if is_forwarded(call, config, decision) {
        forward::forward(call, config, decision, None).into()
    } else {
        reply::decision(call, decision).into()
    }
}

/// Whether the request is forwarded and the end of the call to the origin matters: the request
/// holds slots, or its route has a circuit breaker.
fn is_observed(call: &Call, config: &Config, decision: &Decision) -> bool {
    let ends = decision.extras().hold.is_some() || decision.extras().breaker.is_some();
    ends && is_forwarded(call, config, decision)
}

/// Forwards a request, and reports how the call to the origin ended.
async fn observe(call: &Call, config: &Rc<Config>, decision: &Decision) -> JsValue {
    let slow_ms = decision.extras().breaker.as_ref().and_then(|used| used.breaker.slow_ms()).unwrap_or(0);
    let flight = edge::flight(decision.extras().breaker.is_some(), u32::try_from(slow_ms).unwrap_or(u32::MAX));
    if decision.extras().hold.is_some() {
        client::release(decision, Some(flight.ended()), config, &call.context);
    }
    let forwarded = forward::forward(call, config, decision, Some(&flight));
    // INVARIANT (a call that hangs counts): a slow call is reported as soon as it is slow, whether
    // or not it ever ends.
    if slow_ms > 0 {
        let _ = JsFuture::from(Promise::race(&Array::of2(&forwarded, &flight.slow()))).await;
        if flight.is_slow() {
            let end = CallEnd::Answered { failed: false, elapsed_ms: slow_ms };
            keeper::ended(decision, end, config, &call.context);
        }
    }
    let forwarded = JsFuture::from(forwarded).await;
    match end_of(&forwarded, &flight) {
        CallEnd::Answered { failed: true, .. } if flight.is_slow() => {
            keeper::ended(decision, CallEnd::FailedSince, config, &call.context);
        }
        _ if flight.is_slow() => {}
        end => keeper::ended(decision, end, config, &call.context),
    }
    forwarded.unwrap_or_else(|error| {
        let cors = reply::cors(call, decision);
        let lines = cors.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        forward::failure(&call.request, &error, lines).into()
    })
}

/// What the end of a call shows about the origin. A client that disconnects or is slow shows
/// nothing about it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to 0 or more, and the cast saturates"
)]
fn end_of(forwarded: &Result<JsValue, JsValue>, flight: &edge::Flight) -> CallEnd {
    let response = forwarded.as_ref().ok().and_then(|response| response.dyn_ref::<Response>());
    match response.map(Response::status) {
        None if flight.broken() => CallEnd::Unknown,
        status => CallEnd::Answered {
            failed: status.is_none_or(|status| status >= 500) && !flight.broken(),
            elapsed_ms: flight.origin_ms().max(0.0) as u64,
        },
    }
}

/// Whether a request is forwarded to the origin. The gate answers preflights itself.
fn is_forwarded(call: &Call, config: &Config, decision: &Decision) -> bool {
    decision.allowed() && config.has_upstream() && !decision.extras().is_preflight && !call.explain
}

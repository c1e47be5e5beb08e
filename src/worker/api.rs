//! The gate's own endpoints, under `/_gate/`.

use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use super::call::{About, Call};
use super::charge;
use super::clock::{self, Patience};
use super::config::Config;
use super::control::{self, ADMIN};
use super::doors::{self, Door};
use super::flags::{self, FEATURES, OFREP};
use super::isolate::Had;
use super::reply::{self, Failure};
use super::{edge, feed, isolate, usage};
use crate::gate::{Ask, CallEnd, Decision, Need, Step};
use crate::model::Mode;
use crate::model::bounds::MAX_BODY_BYTES;
use crate::wire::DecideBody;

/// The description of all endpoints, generated from the types and checked by a test.
const OPENAPI: &str = include_str!("openapi.json");

/// Answers what needs no waiting.
pub(super) fn answer_now(call: &Call, config: &Config) -> Option<Response> {
    let reads = matches!(call.method(), "GET" | "HEAD");
    match call.path() {
        "/_gate/openapi.json" if reads => Some(reply::document(200, OPENAPI)),
        KEYS if reads => Some(reply::document(200, &json!({ "keys": config.public_keys() }).to_string())),
        "/_gate/healthz" if reads => None,
        UI if reads && config.serves_ui_on(call.host()) => None,
        KEYS | "/_gate/openapi.json" | "/_gate/healthz" => Some(Failure::GET_ONLY.respond(call)),
        DECIDE if call.method() != "POST" => Some(Failure::POST_ONLY.respond(call)),
        USAGE if !matches!(call.method(), "GET" | "POST") => Some(Failure::GET_AND_POST.respond(call)),
        DECIDE | USAGE if !config.is_operator(call.bearer()) => Some(Failure::UNAUTHENTICATED.respond(call)),
        DECIDE | USAGE => None,
        TICKETS | VALIDATE | DEACTIVATE if call.method() != "POST" => Some(Failure::POST_ONLY.respond(call)),
        TICKETS | VALIDATE | DEACTIVATE => None,
        // A page asks first whether it may.
        path if (path == FEATURES || is_ofrep(path)) && call.method() == "OPTIONS" => None,
        FEATURES if reads => None,
        FEATURES => Some(Failure::GET_ONLY.respond(call)),
        path if is_ofrep(path) => (call.method() != "POST").then(|| Failure::POST_ONLY.respond(call)),
        path if path.starts_with(ADMIN) => None,
        _ => Some(Failure::NOT_FOUND.respond(call)),
    }
}

/// Answers the rest.
pub(super) async fn answer(call: Call, config: &Rc<Config>) -> Response {
    match call.path() {
        "/_gate/healthz" => health(&call, config).await,
        UI => page(&call, config).await,
        USAGE if call.method() == "GET" => usage::report(&call, config).await,
        USAGE => usage::receive(&call, config).await,
        TICKETS => control::redeem(&call, config).await,
        VALIDATE | DEACTIVATE => control::answer_licence(&call, config).await,
        path if path == FEATURES || is_ofrep(path) => flags::answer(call, config).await,
        path if path.starts_with(ADMIN) => control::answer(&call, config).await,
        _ => decide(&call, config).await,
    }
}

/// All flags, or one of them.
fn is_ofrep(path: &str) -> bool {
    // No key has a slash; one that does is answered like any other that does not exist.
    path.strip_prefix(OFREP).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Questions.
const DECIDE: &str = "/_gate/v1/decide";
/// Events of usage, and reports.
const USAGE: &str = "/_gate/v1/usage";
/// Whether a licence is good; the end of an activation.
const VALIDATE: &str = "/_gate/v1/licences/validate";
const DEACTIVATE: &str = "/_gate/v1/licences/deactivate";
/// Tickets of support, for API keys.
const TICKETS: &str = "/_gate/v1/tickets";
/// The public key of assertions, for origins.
const KEYS: &str = "/_gate/jwks.json";
/// The playground, where there is one.
const UI: &str = "/_gate/ui";

async fn page(call: &Call, config: &Config) -> Response {
    let page = JsFuture::from(edge::page(&config.assets, &format!("{}/", call.origin()))).await;
    page.ok().and_then(|page| page.dyn_into().ok()).unwrap_or_else(|| Failure::NOT_FOUND.respond(call))
}

/// A Worker is healthy if it has a catalog or can get one, and has a ledger if limits need one.
async fn health(call: &Call, config: &Rc<Config>) -> Response {
    let version = || isolate::with_gate(|gate| gate.snapshots.current_plans().map(|plans| plans.catalog().version.0));
    // Without a catalog each health check would read KV.
    if version().is_none() && doors::knock(Door::Health, Some(&call.request)).is_some() {
        // Why it failed stands in the log.
        isolate::fetch(Need::Catalog, config, &call.context, Patience::new()).await;
    }
    // Without a ledger such limits are not enforced, or refuse everything. A monitor should notice first.
    let counts = |mode| matches!(mode, Mode::Leased | Mode::Strict);
    let needs_ledger = isolate::with_gate(|gate| {
        let plans = gate.snapshots.current_plans();
        plans.is_some_and(|plans| plans.catalog().limits.values().any(|limit| counts(limit.mode)))
    });
    match version() {
        Some(version) if needs_ledger && config.ledger.is_undefined() => {
            let reason = "the catalog has limits that a ledger counts, and there is no Durable Object binding `LEDGER`";
            reply::document(503, &json!({ "status": "degraded", "catalog": version, "reason": reason }).to_string())
        }
        Some(version) => reply::document(200, &json!({ "status": "ok", "catalog": version }).to_string()),
        None => reply::document(503, &json!({ "status": "unavailable", "catalog": null }).to_string()),
    }
}

/// `POST /_gate/v1/decide`
async fn decide(call: &Call, config: &Rc<Config>) -> Response {
    let text = match reply::body(call, MAX_BODY_BYTES).await {
        Ok(text) => text,
        Err(failure) => return failure.respond(call),
    };
    let body = match DecideBody::parse(&text) {
        Ok(body) => body,
        Err(problems) => return reply::invalid(call, &problems),
    };
    let patience = Patience::new();
    feed::catch_up_if_due(config, &call.context, patience).await;
    let mut awaited = None;
    loop {
        let (parts, now) = (body.borrow(), clock::now());
        let request = body.request(&parts, config.region.as_deref());
        let step = isolate::with_gate(|gate| {
            let ask = Ask { awaited: awaited.as_ref(), ..body.ask(&parts) };
            gate.decide(&request, &ask, now)
        });
        match feed::missed(step, config, now) {
            Step::Done(decision) => return conclude(call, &About::from(&request), config, *decision),
            Step::Charge(pending) => {
                let decision = charge::charge(pending, config, &call.context, patience).await;
                return conclude(call, &About::from(&request), config, decision);
            }
            Step::Fetch(need) => match isolate::fetch(need, config, &call.context, patience).await {
                Had::Yes => {}
                Had::Awaited(what) => awaited = Some(what),
                Had::No => return reply::answer(&isolate::unavailable()),
            },
        }
    }
}

fn conclude(call: &Call, about: &About<'_>, config: &Rc<Config>, mut decision: Decision) -> Response {
    // What becomes of a request that somebody else forwards, nobody tells.
    charge::ended(&decision, CallEnd::Unknown, config, &call.context);
    let response = reply::answer(&decision);
    isolate::after_question(call, about, config, &mut decision);
    response
}

//! The gate's own endpoints, under `/_gate/`.

use std::pin::Pin;
use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::control::{Caller, EndpointId, endpoint};
use crate::gate::SnapshotKey;
use crate::model::Mode;
use crate::worker::admin;
use crate::worker::api::{decide, features, usage};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::realtime::{connect, messages};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::Patience;
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::edge;
use crate::worker::sources::fetch;

/// The description of all endpoints, generated from the types and checked by a test.
const OPENAPI: &str = include_str!("openapi.json");

/// Answers a request for one of the gate's own endpoints, if nothing has to be waited for.
pub(crate) fn answer_now(call: &Call, config: &Config) -> Option<Response> {
    let endpoint = match endpoint(call.method(), call.path()) {
        Ok(endpoint) => endpoint,
        Err(methods) => return Some(refusal(&methods).respond(call)),
    };
    if endpoint.caller == Caller::Operator && !config.is_operator(call.bearer()) {
        return Some(Failure::UNAUTHENTICATED.respond(call));
    }
    match endpoint.id {
        EndpointId::OpenApi => Some(reply::document(200, OPENAPI)),
        EndpointId::Jwks => Some(reply::document(200, &json!({ "keys": config.public_keys() }).to_string())),
        EndpointId::Playground | EndpointId::Docs
            if !matches!(call.method(), "GET" | "HEAD") || !config.serves_ui_on(call.host()) =>
        {
            Some(Failure::NOT_FOUND.respond(call))
        }
        _ => None,
    }
}

/// Answers the rest.
pub(crate) async fn answer(call: Call, config: &Rc<Config>) -> Response {
    // `answer_now` has refused unknown endpoints.
    let Ok(endpoint) = endpoint(call.method(), call.path()) else { return Failure::NOT_FOUND.respond(&call) };
    // Boxed, so that each endpoint is a future of its own, and a request compiles no other code.
    let work: Pin<Box<dyn Future<Output = Response> + '_>> = match endpoint.id {
        EndpointId::Health => Box::pin(health(&call, config)),
        EndpointId::Playground => Box::pin(page(&call, config, "/")),
        EndpointId::Docs => Box::pin(docs(&call, config)),
        EndpointId::Decide => Box::pin(decide::answer(&call, config)),
        EndpointId::ReportUsage => Box::pin(usage::report(&call, config)),
        EndpointId::ReceiveUsage => Box::pin(usage::receive(&call, config)),
        EndpointId::Connect => Box::pin(connect::answer(call, config)),
        EndpointId::PublishMessages => Box::pin(messages::publish(&call, config)),
        EndpointId::ListConnections => Box::pin(messages::list(&call, config)),
        EndpointId::CloseConnection => Box::pin(messages::close(&call, config)),
        EndpointId::Presence => Box::pin(messages::present(&call, config)),
        EndpointId::RedeemTicket => Box::pin(admin::redeem(&call, config)),
        EndpointId::ValidateLicence | EndpointId::DeactivateLicence => Box::pin(admin::answer_licence(&call, config)),
        EndpointId::Features | EndpointId::Ofrep => Box::pin(features::answer(call, config)),
        EndpointId::Admin => Box::pin(admin::answer(&call, config)),
        EndpointId::OpenApi | EndpointId::Jwks => return Failure::NOT_FOUND.respond(&call),
    };
    work.await
}

/// The answer to a request whose path takes only these methods.
fn refusal(methods: &[&str]) -> Failure {
    match methods {
        [] => Failure::NOT_FOUND,
        ["GET", "POST"] => Failure::GET_AND_POST,
        ["GET", "DELETE"] => Failure::GET_AND_DELETE,
        _ if methods.contains(&"GET") => Failure::GET_ONLY,
        _ => Failure::POST_ONLY,
    }
}

/// A page of the book. Its links are relative to `/_gate/docs/`, so the path needs the slash.
async fn docs(call: &Call, config: &Config) -> Response {
    match call.path().strip_prefix("/_gate") {
        Some("/docs") => reply::redirect("/_gate/docs/"),
        Some(path) => page(call, config, path).await,
        None => Failure::NOT_FOUND.respond(call),
    }
}

async fn page(call: &Call, config: &Config, path: &str) -> Response {
    let page = JsFuture::from(edge::page(&config.assets, &format!("{}{path}", call.origin()))).await;
    page.ok().and_then(|page| page.dyn_into().ok()).unwrap_or_else(|| Failure::NOT_FOUND.respond(call))
}

/// A Worker is healthy if it has a catalog or can get one, and has a ledger if limits need one.
async fn health(call: &Call, config: &Rc<Config>) -> Response {
    let version = || with_gate(|gate| gate.current_catalog().map(|catalog| catalog.document().version.0));
    // Without a catalog each health check would read KV.
    if version().is_none() && doors::knock(Door::Health, Some(&call.request)).is_some() {
        // Why it failed stands in the log.
        fetch::snapshot(SnapshotKey::Catalog, config, Patience::new()).await;
    }
    // Without a ledger such limits are not enforced, or they refuse every request. A monitor should
    // notice that first.
    let counts = |mode| matches!(mode, Mode::Leased | Mode::Strict);
    let needs_ledger = with_gate(|gate| {
        let plans = gate.current_catalog();
        plans.is_some_and(|catalog| catalog.document().limits.values().any(|limit| counts(limit.mode)))
    });
    let needs_hubs =
        with_gate(|gate| gate.current_catalog().is_some_and(|catalog| catalog.document().realtime.is_some()));
    match version() {
        Some(version) if needs_hubs && config.hubs.is_none() => {
            let reason = "the catalog has `realtime`, and there is no Durable Object binding `HUBS`";
            reply::document(503, &json!({ "status": "degraded", "catalog": version, "reason": reason }).to_string())
        }
        Some(version) if needs_ledger && config.ledger.is_none() => {
            let reason = "the catalog has limits that a ledger counts, and there is no Durable Object binding `LEDGER`";
            reply::document(503, &json!({ "status": "degraded", "catalog": version, "reason": reason }).to_string())
        }
        Some(version) => reply::document(200, &json!({ "status": "ok", "catalog": version }).to_string()),
        None => reply::document(503, &json!({ "status": "unavailable", "catalog": null }).to_string()),
    }
}

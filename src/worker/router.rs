//! The gate's own endpoints, under `/_gate/`.

use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::gate::SnapshotKey;
use crate::model::Mode;
use crate::worker::admin::{self, ADMIN};
use crate::worker::api::features::{self, FEATURES, OFREP};
use crate::worker::api::{decide, usage};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::Patience;
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::edge;
use crate::worker::sources::fetch;

/// The description of all endpoints, generated from the types and checked by a test.
const OPENAPI: &str = include_str!("openapi.json");

/// Answers what needs no waiting.
pub(crate) fn answer_now(call: &Call, config: &Config) -> Option<Response> {
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
pub(crate) async fn answer(call: Call, config: &Rc<Config>) -> Response {
    match call.path() {
        "/_gate/healthz" => health(&call, config).await,
        UI => page(&call, config).await,
        USAGE if call.method() == "GET" => usage::report(&call, config).await,
        USAGE => usage::receive(&call, config).await,
        TICKETS => admin::redeem(&call, config).await,
        VALIDATE | DEACTIVATE => admin::answer_licence(&call, config).await,
        path if path == FEATURES || is_ofrep(path) => features::answer(call, config).await,
        path if path.starts_with(ADMIN) => admin::answer(&call, config).await,
        _ => decide::answer(&call, config).await,
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
    let version = || with_gate(|gate| gate.current_catalog().map(|catalog| catalog.document().version.0));
    // Without a catalog each health check would read KV.
    if version().is_none() && doors::knock(Door::Health, Some(&call.request)).is_some() {
        // Why it failed stands in the log.
        fetch::snapshot(SnapshotKey::Catalog, config, Patience::new()).await;
    }
    // Without a ledger such limits are not enforced, or refuse everything. A monitor should notice first.
    let counts = |mode| matches!(mode, Mode::Leased | Mode::Strict);
    let needs_ledger = with_gate(|gate| {
        let plans = gate.current_catalog();
        plans.is_some_and(|catalog| catalog.document().limits.values().any(|limit| counts(limit.mode)))
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

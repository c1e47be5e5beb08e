//! Routes requests to the gate's own endpoints, under `/_gate/`.
//!
//! [`answer_now`] gives the answers that need no waiting: constant documents, and refusals of wrong
//! methods and credentials. [`answer`] gives all others.

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

/// Answers a request that needs no waiting. Returns `None` for the others.
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
        // The preflight of a page is decided by the catalog's CORS policy.
        path if (path == FEATURES || is_ofrep(path)) && call.method() == "OPTIONS" => None,
        FEATURES if reads => None,
        FEATURES => Some(Failure::GET_ONLY.respond(call)),
        path if is_ofrep(path) => (call.method() != "POST").then(|| Failure::POST_ONLY.respond(call)),
        path if path.starts_with(ADMIN) => None,
        _ => Some(Failure::NOT_FOUND.respond(call)),
    }
}

/// Answers a request for which [`answer_now`] returned `None`.
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

/// Whether a path is an OFREP endpoint: of all flags, or of one.
fn is_ofrep(path: &str) -> bool {
    // Keys of features contain no slash, so a deeper path is answered as an unknown flag.
    path.strip_prefix(OFREP).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The decision API.
const DECIDE: &str = "/_gate/v1/decide";
/// Usage events and usage reports.
const USAGE: &str = "/_gate/v1/usage";
/// Validation of a licence, and the end of an activation.
const VALIDATE: &str = "/_gate/v1/licences/validate";
const DEACTIVATE: &str = "/_gate/v1/licences/deactivate";
/// Support tickets, which are exchanged for API keys.
const TICKETS: &str = "/_gate/v1/tickets";
/// The public keys of assertions and licences.
const KEYS: &str = "/_gate/jwks.json";
/// The playground, if it is served.
const UI: &str = "/_gate/ui";

async fn page(call: &Call, config: &Config) -> Response {
    let page = JsFuture::from(edge::page(&config.assets, &format!("{}/", call.origin()))).await;
    page.ok().and_then(|page| page.dyn_into().ok()).unwrap_or_else(|| Failure::NOT_FOUND.respond(call))
}

/// `GET /_gate/healthz`. A Worker is healthy if it holds a catalog or can fetch one, and has a
/// ledger if limits of the catalog need one.
async fn health(call: &Call, config: &Rc<Config>) -> Response {
    let version = || with_gate(|gate| gate.current_catalog().map(|catalog| catalog.document().version.0));
    // While no catalog exists, each health check would read KV, so their rate is limited.
    if version().is_none() && doors::knock(Door::Health, Some(&call.request)).is_some() {
        // The log contains the cause of a failure.
        fetch::snapshot(SnapshotKey::Catalog, config, Patience::new()).await;
    }
    // Without a ledger, such limits are not enforced or deny every request, depending on
    // `on_error`. A monitor should notice that before tenants do.
    let counts = |mode| matches!(mode, Mode::Leased | Mode::Strict);
    let needs_ledger = with_gate(|gate| {
        let plans = gate.current_catalog();
        plans.is_some_and(|catalog| catalog.document().limits.values().any(|limit| counts(limit.mode)))
    });
    match version() {
        Some(version) if needs_ledger && config.ledger.is_undefined() => {
            let reason =
                "the catalog has limits that a ledger counts, but the Durable Object binding `LEDGER` is missing";
            reply::document(503, &json!({ "status": "degraded", "catalog": version, "reason": reason }).to_string())
        }
        Some(version) => reply::document(200, &json!({ "status": "ok", "catalog": version }).to_string()),
        None => reply::document(503, &json!({ "status": "unavailable", "catalog": null }).to_string()),
    }
}

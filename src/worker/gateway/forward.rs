//! Forwards an allowed request to the origin.
//!
//! This module decides which URL and which headers the origin receives; `forward.js` sends the
//! request. The origin must see the tenant only through headers that the gate sets, and must take
//! the route that the gate has judged.

use std::cell::RefCell;
use std::sync::Arc;

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use web_sys::{Response, console};

use crate::gate::{CompiledCatalog, Decision};
use crate::model::{DataRoute, Key};
use crate::resolve::Resolver;
use crate::wire::rate_limit_headers;
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::{clock, edge};

/// The headers by which a client asks something of the gate itself.
const OF_GATE: [&str; 2] = ["x-gate-explain", "x-gate-proxy-secret"];

/// Sends an allowed request to the origin. Adds the headers with the tenant, and removes the
/// signals by which the client has named it. Resolves to the response. If the call fails, resolves
/// to an error response, or rejects if there is a `flight`.
pub(super) fn forward(call: &Call, config: &Config, decision: &Decision, flight: Option<&edge::Flight>) -> Promise {
    let stripped = decision.extras().path.as_ref();
    let path = stripped.map_or_else(|| call.path(), |stripped| stripped.path.as_str());
    let query = query(call, decision.catalog.as_deref());
    // A fragment or an empty query is not judged, so the origin does not receive it.
    let is_own = config.upstream_url.is_none() && path == call.path() && query.is_none() && call.is_plain_url();
    let query = query.as_deref().unwrap_or_else(|| call.query());

    let mut text = String::with_capacity(256);
    if !is_own {
        let mark = if query.is_empty() { "" } else { "?" };
        let base = config.upstream_url.as_deref().unwrap_or_else(|| call.origin());
        for part in [base, path, mark, query] {
            text.push_str(part);
        }
    }
    let (scheme, authority) = call.origin().split_once("://").unwrap_or(("https", call.host()));
    let prefix = stripped.map_or("", |stripped| stripped.prefix.as_str());
    for line in [prefix, call.host(), scheme, authority] {
        text.push('\n');
        text.push_str(line);
    }
    push_tenant(&mut text, call, config, decision);
    let (policy, state) = rate_limit_headers(decision).unwrap_or_default();
    for line in [&policy, &state] {
        text.push('\n');
        text.push_str(line);
    }
    for (name, value) in reply::cors(call, decision) {
        for line in [name, &value] {
            text.push('\n');
            text.push_str(line);
        }
    }
    let timeout_ms = u32::try_from(decision.timeout_ms()).unwrap_or(u32::MAX);
    let flight = flight.map_or(JsValue::UNDEFINED, JsValue::from);
    with_origin(config, decision.catalog.as_ref(), |origin| {
        edge::forward(&call.request, origin, &text, timeout_ms, &flight)
    })
}

/// The five lines with the tenant: id, slug, plan, data route, assertion.
fn push_tenant(text: &mut String, call: &Call, config: &Config, decision: &Decision) {
    let Some(tenant) = &decision.tenant else { return text.push_str("\n\n\n\n\n") };
    for line in [tenant.tenant().id.as_str(), tenant.tenant().slug.as_str()] {
        text.push('\n');
        text.push_str(line);
    }
    text.push('\n');
    if let Some(plan) = tenant.plan() {
        text.push_str(&plan.to_string());
    }
    text.push('\n');
    if let Some(route) = &tenant.tenant().data_route {
        // A read that follows a write may find an older row in a replica: the origin chooses.
        let catalog = decision.catalog.as_ref().filter(|_| matches!(call.method(), "GET" | "HEAD"));
        let shard = catalog.zip(route.shard.as_ref()).and_then(|(catalog, shard)| catalog.document().shards.get(shard));
        text.push_str(&data_route(route, shard.map_or(&[], |shard| &shard.replicas)));
    }
    text.push('\n');
    if let Some(assertions) = &config.assertions {
        text.push_str(&assertions.of(tenant, decision, clock::now()));
    }
}

/// The query that the origin receives, if it is not the request's own: without the parameter that
/// names the tenant, and without one that would override the judged method.
fn query(call: &Call, catalog: Option<&CompiledCatalog>) -> Option<String> {
    let query = call.query();
    if query.is_empty() {
        return None;
    }
    let overrides =
        catalog.and_then(|catalog| catalog.document().origin.as_ref()).is_some_and(|origin| origin.method_override);
    let may_override = !overrides && (query.contains('%') || query.to_ascii_lowercase().contains("_method"));
    let tenant = catalog.and_then(|catalog| catalog.resolver().query_param());
    if tenant.is_none() && !may_override {
        return None;
    }
    let is_left_out = |name: &str| tenant == Some(name) || may_override && name.eq_ignore_ascii_case("_method");
    Some(without(query, is_left_out))
}

thread_local! {
    /// What forwarding needs under the current catalog, as a JavaScript object.
    static ORIGIN: RefCell<Option<(Option<Arc<CompiledCatalog>>, JsValue)>> = const { RefCell::new(None) };
    /// Makes the response to a request without an answer of the origin.
    static FAILED: Closure<dyn Fn(JsValue, JsValue, String) -> Response> = Closure::new(failed);
}

#[expect(clippy::needless_pass_by_value, reason = "a closure for JavaScript takes owned values")]
fn failed(request: JsValue, error: JsValue, cors: String) -> Response {
    failure(&request, &error, cors.split('\n'))
}

/// The response to a request if the origin has not answered. `error` is null after the timeout.
pub(super) fn failure<'h>(request: &JsValue, error: &JsValue, cors: impl Iterator<Item = &'h str>) -> Response {
    let failure = if error.is_null() { Failure::UPSTREAM_TIMEOUT } else { Failure::UPSTREAM };
    console::error_2(&failure.code.into(), error);
    reply::failure(request, &failure, cors)
}

fn with_origin<T>(config: &Config, catalog: Option<&Arc<CompiledCatalog>>, f: impl FnOnce(&JsValue) -> T) -> T {
    ORIGIN.with_borrow_mut(|current| {
        let is_same = current.as_ref().is_some_and(|(known, _)| match (known, catalog) {
            (Some(known), Some(catalog)) => Arc::ptr_eq(known, catalog),
            (None, None) => true,
            _ => false,
        });
        if !is_same {
            *current = None;
        }
        let (_, origin) = current.get_or_insert_with(|| (catalog.cloned(), origin(config, catalog)));
        f(origin)
    })
}

fn origin(config: &Config, catalog: Option<&Arc<CompiledCatalog>>) -> JsValue {
    let resolver = catalog.map(|catalog| catalog.resolver());
    let own = resolver.into_iter().flat_map(Resolver::own_headers);
    let removed: Array = OF_GATE.into_iter().chain(own).map(JsValue::from).collect();
    let passes = edge::filter(catalog.map_or("safe", |catalog| catalog.origin_policy()), &removed);
    let cookie = resolver.and_then(Resolver::hidden_token).map(Option::unwrap_or_default);
    // One URL may have a different response for each tenant. Shared caches must know the headers
    // that it depends on, or store nothing.
    let vary = resolver.map_or(Some(String::new()), |resolver| {
        resolver.varies_by().map(|headers| headers.collect::<Vec<_>>().join(", "))
    });
    let origin = catalog.and_then(|catalog| catalog.document().origin.as_ref());
    FAILED.with(|failed| {
        edge::origin(
            &config.upstream,
            config.upstream_url.as_deref(),
            &passes,
            cookie,
            vary.as_deref(),
            origin.is_some_and(|origin| origin.adds_prefix),
            failed.as_ref().unchecked_ref(),
        )
    })
}

/// A data route as a dictionary of structured fields (RFC 9651 §3.2):
/// `strategy=schema, shard="eu-1", name="tenant_t_acme"`. With replicas:
/// `…, replicas=("eu-1-a" "eu-1-b")`.
fn data_route(route: &DataRoute, replicas: &[Key]) -> String {
    let mut text = format!("strategy={}", route.strategy.as_str());
    for (member, value) in [("shard", &route.shard), ("name", &route.name)] {
        if let Some(value) = value {
            text.push_str(&format!(", {member}=\"{value}\""));
        }
    }
    if !replicas.is_empty() {
        let names: Vec<_> = replicas.iter().map(|name| format!("\"{name}\"")).collect();
        text.push_str(&format!(", replicas=({})", names.join(" ")));
    }
    text
}

/// The query without some parameters. The others keep their exact spelling.
fn without(query: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let named = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| is_left_out(&name));
    query.split('&').filter(|pair| !named(pair)).collect::<Vec<_>>().join("&")
}

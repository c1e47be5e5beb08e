//! Forwards an allowed request to the origin.
//!
//! This module decides which URL and which headers the origin receives; `forward.js` sends the
//! request. The origin must see the tenant only through headers that the gate sets, and must take
//! the route that the gate has judged.

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;

use crate::gate::Decision;
use crate::model::DataRoute;
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply;
use crate::worker::runtime::{clock, edge};

/// Sends an allowed request to the origin. Adds the headers with the tenant, and removes the
/// signals by which the client has named it. Resolves to the response.
pub(super) fn forward(
    call: &Call,
    config: &Config,
    decision: &Decision,
    timeout_ms: u32,
    flight: Option<&edge::Flight>,
) -> Promise {
    let scheme = call.origin().split_once(':').map_or("https", |(scheme, _)| scheme);
    let mut added = format!("x-forwarded-host\n{}\nx-forwarded-proto\n{scheme}", call.host());
    if let Some(tenant) = &decision.tenant {
        added.push_str(&format!("\nx-tenant-id\n{}\nx-tenant-slug\n{}", tenant.tenant().id, tenant.tenant().slug));
        if let Some(plan) = tenant.plan() {
            added.push_str(&format!("\nx-tenant-plan\n{plan}"));
        }
        if let Some(route) = &tenant.tenant().data_route {
            added.push_str(&format!("\nx-tenant-data-route\n{}", data_route(route)));
        }
        if let Some(assertions) = &config.assertions {
            let assertion = assertions.of(tenant, decision.extras().credential.as_ref(), clock::now());
            added.push_str(&format!("\nx-tenant-assertion\n{assertion}"));
        }
    }
    let mut marks = reply::marks(call, decision);
    let mut removed = vec![JsValue::from("x-gate-explain"), JsValue::from("x-gate-proxy-secret")];
    let mut query = call.query().to_owned();
    let (mut cookie, mut private) = (None, false);
    if let Some(catalog) = &decision.catalog {
        let resolver = catalog.resolver();
        removed.extend(resolver.own_headers().map(JsValue::from));
        // One URL may have a different response for each tenant. Shared caches must know the
        // headers that it depends on, or store nothing.
        match resolver.varies_by() {
            Some(headers) => headers.for_each(|header| marks.push_str(&format!("vary\n{header}\n"))),
            None => private = true,
        }
        cookie = resolver.hidden_token().map(Option::unwrap_or_default);
        if let Some(param) = resolver.query_param() {
            query = without(&query, |name| name == param);
        }
    }
    let origin = decision.catalog.as_ref().and_then(|catalog| catalog.document().origin.as_ref());
    let adds_prefix = origin.is_some_and(|origin| origin.adds_prefix);
    // The gate has judged the method of the request, so the origin must not read another one from
    // the query.
    let may_say = query.contains('%') || query.to_ascii_lowercase().contains("_method");
    if may_say && !origin.is_some_and(|origin| origin.method_override) {
        query = without(&query, |name| name.eq_ignore_ascii_case("_method"));
    }
    let stripped = decision.extras().path.as_ref();
    let path = stripped.map_or_else(|| call.path(), |stripped| stripped.path.as_str());
    let prefix = stripped.map_or("", |stripped| stripped.prefix.as_str());
    if !prefix.is_empty() {
        added.push_str(&format!("\nx-forwarded-prefix\n{prefix}"));
    }
    let origin = config.upstream_url.as_deref().unwrap_or_else(|| call.origin());
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{origin}{path}{mark}{query}");
    let removed: Array = removed.into_iter().collect();
    let flight = flight.map_or(JsValue::UNDEFINED, JsValue::from);
    let is_passed = edge::filter(decision.catalog.as_ref().map_or("safe", |catalog| catalog.origin_policy()));
    edge::forward(
        &call.request,
        &config.upstream,
        &url,
        &is_passed,
        &removed,
        cookie,
        &added,
        &marks,
        private,
        if adds_prefix { "" } else { prefix },
        timeout_ms,
        &flight,
    )
}

/// A data route as a dictionary of structured fields (RFC 9651 §3.2):
/// `strategy=schema, shard="eu-1", name="tenant_t_acme"`.
fn data_route(route: &DataRoute) -> String {
    let mut text = format!("strategy={}", route.strategy.as_str());
    for (member, value) in [("shard", &route.shard), ("name", &route.name)] {
        if let Some(value) = value {
            text.push_str(&format!(", {member}=\"{value}\""));
        }
    }
    text
}

/// The query without some parameters. The others keep their exact spelling.
fn without(query: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let named = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| is_left_out(&name));
    query.split('&').filter(|pair| !named(pair)).collect::<Vec<_>>().join("&")
}

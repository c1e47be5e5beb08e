//! An axum server guarded by a `LocalGate`: the gate decides every request before its handler runs.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tenantgate::gate::{Ask, Decision, LocalGate};
use tenantgate::model::{Tenant, UnixMillis};
use tenantgate::resolve;
use tenantgate::wire::{ErrorView, error_body, rate_limit_headers, retry_after_s, www_authenticate};

const CATALOG: &str = include_str!("../catalog.json");
const TENANTS: [&str; 2] = [
    r#"{"id": "t_acme", "slug": "acme", "plan": "free@1"}"#,
    r#"{"id": "t_globex", "slug": "globex", "plan": "pro@1"}"#,
];

/// The tenant's slug, for handlers.
#[derive(Clone)]
struct TenantSlug(String);

#[tokio::main]
async fn main() -> io::Result<()> {
    let gate = Arc::new(Mutex::new(gate()));
    let app = Router::new()
        .route("/", get(async |Extension(TenantSlug(slug))| format!("hello {slug}\n")))
        .route("/webhooks", get(async || "webhooks\n"))
        .layer(from_fn_with_state(gate, guard));
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

/// Panics if the catalog or a record is invalid: both are part of the program.
fn gate() -> LocalGate {
    let mut gate = LocalGate::new(CATALOG).expect("a valid catalog");
    for record in TENANTS {
        let tenant = Tenant::parse(record).expect("a valid tenant record");
        gate.put(tenant).expect("a slug that no other tenant has");
    }
    gate
}

/// Answers denied requests. Passes allowed requests on, with their tenant.
async fn guard(State(gate): State<Arc<Mutex<LocalGate>>>, mut request: Request, next: Next) -> Response {
    let Some(decision) = decide(&gate, &request) else { return StatusCode::BAD_REQUEST.into_response() };
    if !decision.allowed() {
        let status = StatusCode::from_u16(decision.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = error_body(&ErrorView::from(&*decision));
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        add_headers(response.headers_mut(), &decision);
        return response;
    }
    if let Some(tenant) = &decision.tenant {
        request.extensions_mut().insert(TenantSlug(tenant.tenant().slug.to_string()));
    }
    let mut response = next.run(request).await;
    add_headers(response.headers_mut(), &decision);
    response
}

/// Returns `None` if a header is not UTF-8.
fn decide(gate: &Mutex<LocalGate>, request: &Request) -> Option<Box<Decision>> {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| Some((name.as_str(), str::from_utf8(value.as_bytes()).ok()?)))
        .collect::<Option<_>>()?;
    let facts = resolve::Request {
        method: request.method().as_str(),
        host: headers.iter().find(|(name, _)| *name == "host").map_or("", |(_, host)| host),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: &headers,
        ..resolve::Request::default()
    };
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixMillis::new(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    // A decision takes microseconds and never waits, so a lock of the standard library is enough.
    Some(gate.lock().ok()?.decide(&facts, &Ask::default(), now))
}

/// Sets the headers that tell the client how much is left and when to retry.
fn add_headers(headers: &mut HeaderMap, decision: &Decision) {
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    if let Some((policy, state)) = rate_limit_headers(decision) {
        set(HeaderName::from_static("ratelimit-policy"), policy);
        set(HeaderName::from_static("ratelimit"), state);
    }
    if let Some(seconds) = retry_after_s(decision) {
        set(header::RETRY_AFTER, seconds.to_string());
    }
    if let Some(challenge) = www_authenticate(decision) {
        set(header::WWW_AUTHENTICATE, challenge);
    }
}

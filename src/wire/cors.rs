//! CORS headers (Fetch §3.2) of responses and preflight responses.

use crate::model::Cors;
use crate::model::bounds::MAX_CORS_ASKED_BYTES;

/// Headers that the gateway removes from an origin's response on routes with a CORS policy. A
/// browser refuses a response that has one of them twice.
pub const CORS_ANSWERS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Headers of the gateway's own responses that pages may read.
const EXPOSED: &str = "RateLimit-Policy, RateLimit, Retry-After, ETag, WWW-Authenticate";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// Returns the CORS headers for a request with the headers `request`, under the policy of its
/// route.
pub fn cors_headers(policy: &Cors, preflight: bool, request: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let asked = |wanted: &str| request.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let mut all = Vec::new();
    if !policy.allows_all() {
        // The response depends on the page's origin, so caches must not share it.
        all.push(("vary", String::from("Origin")));
    }
    let Some(origin) = asked("origin").filter(|origin| policy.allows(origin)) else { return all };
    all.push(("access-control-allow-origin", if policy.allows_all() { "*" } else { origin }.to_owned()));
    if policy.credentials {
        all.push(("access-control-allow-credentials", String::from("true")));
    }
    if !preflight {
        let exposed = std::iter::once(EXPOSED).chain(policy.expose_headers.iter().map(String::as_str));
        all.push(("access-control-expose-headers", exposed.collect::<Vec<_>>().join(", ")));
        return all;
    }
    let methods = policy.methods.join(", ");
    all.push(("access-control-allow-methods", if methods.is_empty() { METHODS.to_owned() } else { methods }));
    let allowed = match &policy.headers {
        Some(names) => names.join(", "),
        None => asked("access-control-request-headers").filter(|names| is_list(names)).unwrap_or_default().to_owned(),
    };
    if !allowed.is_empty() {
        all.push(("access-control-allow-headers", allowed));
    }
    all.push(("access-control-max-age", policy.max_age_s.0.to_string()));
    all
}

/// Whether a text is a list of header names, short enough to be repeated in a response.
fn is_list(text: &str) -> bool {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(&b);
    text.len() <= MAX_CORS_ASKED_BYTES && text.bytes().all(is_name)
}

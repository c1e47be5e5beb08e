//! HTTP responses of the Worker: decisions, errors of the gate's own endpoints, and documents.
//!
//! Every response is built in JavaScript from one string, so that it crosses the boundary once: see
//! [`respond`]. An error has a JSON body, or `application/problem+json` if the client accepts it.
//! `scripts/docs.mjs` reads the constants of [`Failure`] for the reference of codes.

use serde::Serialize;
use serde_json::{Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::gate::{Code, Decision};
use crate::model::bounds::MAX_BODY_MS;
use crate::model::{Problems, UnixMillis};
use crate::wire::{
    CORS_ANSWERS, DecisionView, ErrorView, PROBLEMS, cors_headers, error_body, problem_body, rate_limit_headers,
    retry_after_s, www_authenticate,
};
use crate::worker::http::call::Call;
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::edge;

/// The response to a request that is not forwarded: the decision if the request is allowed or asks
/// for an explanation, otherwise an error.
pub(crate) fn decision(call: &Call, decision: &Decision) -> Response {
    let mut headers = cors_lines(call, decision);
    if decision.extras().is_preflight && !call.explain {
        // The response to a preflight depends on these request headers.
        for asked in ["Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            headers.push(format!("vary: {asked}"));
        }
        return respond(204, JSON, None, &headers.join("\t"), "");
    }
    if decision.allowed() || call.explain {
        return respond(decision.code.status(), JSON, Some(decision), &headers.join("\t"), &json(decision));
    }
    headers.extend(www_authenticate(decision).map(|challenge| format!("www-authenticate: {challenge}")));
    error(&call.request, &ErrorView::from(decision), decision.code.status(), Some(decision), &headers.join("\t"))
}

/// An error in place of the origin's response. `cors`: names and values of CORS headers in turn;
/// an empty value is left out.
pub(crate) fn failure<'h>(request: &JsValue, failure: &Failure, mut cors: impl Iterator<Item = &'h str>) -> Response {
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (cors.next(), cors.next()) {
        if !value.is_empty() {
            headers.push(format!("{name}: {value}"));
        }
    }
    let view = ErrorView { code: failure.code, message: failure.message, details: json!({}) };
    error(request, &view, failure.status, None, &headers.join("\t"))
}

/// The CORS headers of a response, each as `name: value`.
fn cors_lines(call: &Call, decision: &Decision) -> Vec<String> {
    let headers = decision.cors().map(|policy| cors_headers(policy, decision.extras().is_preflight, &call.headers()));
    headers.iter().flatten().map(|(name, value)| format!("{name}: {value}")).collect()
}

/// The response of the decision API: status 200, also for denials.
pub(crate) fn answer(decision: &Decision) -> Response {
    respond(200, JSON, Some(decision), "", &json(decision))
}

const JSON: &str = "application/json";

/// A body with its content type (`kind`) and further headers: see [`respond`].
pub(crate) fn raw(status: u16, kind: &str, header: &str, body: &str) -> Response {
    respond(status, kind, None, header, body)
}

/// Builds a response from one string: one line for each header, then the body (see `respond` in
/// `edge.js`). `header` holds further headers as `name: value`, separated by tabs.
fn respond(status: u16, kind: &str, decision: Option<&Decision>, header: &str, body: &str) -> Response {
    let (policy, state) = decision.and_then(rate_limit_headers).unwrap_or_default();
    let retry = decision.and_then(retry_after_s).map(|seconds| seconds.to_string()).unwrap_or_default();
    let mut text = String::with_capacity(body.len().saturating_add(256));
    for line in [kind, &policy, &state, &retry, header] {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(body);
    edge::respond(status, &text)
}

/// The CORS headers to set on the origin's response. An empty value removes the header.
pub(crate) fn cors(call: &Call, decision: &Decision) -> Vec<(&'static str, String)> {
    let Some(policy) = decision.cors() else { return Vec::new() };
    let removed = CORS_ANSWERS.iter().map(|name| (*name, String::new()));
    removed.chain(cors_headers(policy, false, &call.headers())).collect()
}

/// An error of the gate's own endpoints.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    /// A header, as `name: value`.
    pub(crate) header: &'static str,
}

impl Failure {
    pub(crate) const NOT_FOUND: Self =
        Self { status: 404, code: "NOT_FOUND", message: "unknown endpoint: see /_gate/openapi.json", header: "" };
    pub(crate) const GET_ONLY: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint supports only GET",
        header: "allow: GET, HEAD",
    };
    pub(crate) const POST_ONLY: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint supports only POST",
        header: "allow: POST",
    };
    pub(crate) const GET_AND_POST: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint supports only GET, HEAD and POST",
        header: "allow: GET, HEAD, POST",
    };
    pub(crate) const UNAUTHENTICATED: Self = Self {
        status: 401,
        code: Code::Unauthenticated.as_str(),
        message: "this endpoint requires the operator token as `Authorization: Bearer`",
        header: "www-authenticate: Bearer realm=\"tenantgate\"",
    };
    pub(crate) const TOO_LARGE: Self =
        Self { status: 413, code: "PAYLOAD_TOO_LARGE", message: "the body is too large", header: "" };

    pub(crate) const TOO_SLOW: Self = Self {
        status: 408,
        code: "REQUEST_TIMEOUT",
        message: "the body did not arrive in time",
        header: "connection: close",
    };
    pub(crate) const BROKEN: Self =
        Self { status: 400, code: Code::BadRequest.as_str(), message: "the body could not be read", header: "" };
    pub(crate) const TRACE: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "the gate does not forward this method: an origin may echo headers that only it should see",
        header: "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    };

    pub(crate) const GET_AND_DELETE: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint supports only GET, HEAD and DELETE",
        header: "allow: GET, HEAD, DELETE",
    };

    pub(crate) const UPGRADE: Self = Self {
        status: 426,
        code: "UPGRADE_REQUIRED",
        message: "this endpoint opens a WebSocket: connect with a WebSocket client",
        header: "upgrade: websocket",
    };
    pub(crate) const CREDENTIAL_IN_URL: Self = Self {
        status: 400,
        code: Code::BadRequest.as_str(),
        message: "a credential must not be in the URL, because URLs are logged: send it in a header, as the subprotocol `bearer.…`, or in the first message",
        header: "",
    };
    pub(crate) const TOO_MANY_DESCENDANTS: Self =
        Self { status: 409, code: "TOO_MANY", message: "more than 1000 tenants are below this one", header: "" };

    pub(crate) const UPSTREAM: Self =
        Self { status: 502, code: "UPSTREAM_UNAVAILABLE", message: "the origin could not be reached", header: "" };

    pub(crate) const UPSTREAM_TIMEOUT: Self =
        Self { status: 504, code: "UPSTREAM_TIMEOUT", message: "the origin did not answer in time", header: "" };

    pub(crate) const EVENT_CONFLICT: Self = Self {
        status: 409,
        code: "EVENT_CONFLICT",
        message: "the events at these positions were sent before with different content; the others are counted",
        header: "",
    };
    pub(crate) const USAGE_UNHEARD: Self = Self {
        status: 503,
        code: Code::LedgerUnavailable.as_str(),
        message: "not all events reached their ledger: send the same events again, each counts once",
        header: "retry-after: 1",
    };
    pub(crate) const USAGE_UNKNOWN: Self =
        Self { status: 404, code: "USAGE_NOT_FOUND", message: "unknown tenant or metric", header: "" };

    pub(crate) fn respond(&self, call: &Call) -> Response {
        self.respond_with(call, json!({}))
    }

    pub(crate) fn respond_with(&self, call: &Call, details: Value) -> Response {
        self.respond_full(call, details, self.header)
    }

    /// Responds with `header` instead of the error's own header.
    pub(crate) fn respond_full(&self, call: &Call, details: Value, header: &str) -> Response {
        let view = ErrorView { code: self.code, message: self.message, details };
        error(&call.request, &view, self.status, None, header)
    }
}

/// Reads the body of a request: at most `max_bytes` bytes, within [`MAX_BODY_MS`] milliseconds.
pub(crate) async fn body(call: &Call, max_bytes: usize) -> Result<String, Failure> {
    let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
    let timeout_ms = u32::try_from(MAX_BODY_MS).unwrap_or(u32::MAX);
    match JsFuture::from(edge::text(&call.request, max_bytes, timeout_ms)).await {
        Ok(text) if text.is_undefined() => Err(Failure::TOO_SLOW),
        Ok(text) => text.as_string().ok_or(Failure::TOO_LARGE),
        Err(_) => Err(Failure::BROKEN),
    }
}

/// The response to an invalid body or document, with all its problems.
pub(crate) fn invalid(call: &Call, problems: &Problems) -> Response {
    let view =
        ErrorView { code: Code::BadRequest.as_str(), message: PROBLEMS, details: json!({ "problems": problems }) };
    error(&call.request, &view, 400, None, "")
}

/// A denial with a given body, and with the rate limit headers of the decision.
pub(crate) fn refusal(decision: &Decision, header: &str, body: &str) -> Response {
    respond(decision.code.status(), JSON, Some(decision), header, body)
}

/// An error of the gate's own endpoints that reports a denial.
pub(crate) fn unavailable(call: &Call, decision: &Decision) -> Response {
    error(&call.request, &ErrorView::from(decision), decision.code.status(), Some(decision), "")
}

/// A view as a JSON document. A view holds only text and numbers, so it always serializes.
pub(crate) fn view(view: &impl Serialize) -> Response {
    document(200, &serde_json::to_string(view).unwrap_or_default())
}

/// A JSON document.
pub(crate) fn document(status: u16, body: &str) -> Response {
    respond(status, JSON, None, "", body)
}

/// A document that another part has made, with the seconds after which to ask again.
pub(crate) fn document_with_retry(status: u16, body: &str, retry_after_ms: Option<u64>) -> Response {
    let header = retry_after_ms.map(|ms| format!("retry-after: {}", ms.div_ceil(1_000))).unwrap_or_default();
    respond(status, JSON, None, &header, body)
}

/// A redirect within the gate's own pages.
pub(crate) fn redirect(location: &str) -> Response {
    raw(308, "text/plain; charset=utf-8", &format!("location: {location}"), "")
}

/// The response to a request whose URL is invalid.
pub(crate) fn unreadable() -> Response {
    let decision = Decision::refused(Code::BadRequest, "invalid URL", UnixMillis::default());
    respond(400, JSON, None, "", &error_body(&ErrorView::from(&decision)))
}

fn error(request: &JsValue, view: &ErrorView, status: u16, decision: Option<&Decision>, header: &str) -> Response {
    let reason = decision.and_then(|decision| decision.extras().reason);
    let id = if status >= 500 { note_failure(request, view.code, status, reason) } else { None };
    let id = id.map(|id| format!("x-request-id: {id}"));
    let headers = [Some(header).filter(|header| !header.is_empty()), id.as_deref()];
    let headers = headers.into_iter().flatten().collect::<Vec<_>>().join("\t");
    if wants_problem(request) {
        respond(status, "application/problem+json", decision, &headers, &problem_body(view, status))
    } else {
        respond(status, JSON, decision, &headers, &error_body(view))
    }
}

/// Logs a failure of the gate under an id, which the response carries. A flood of failures must not
/// flood the log: beyond its rate there is neither line nor id.
fn note_failure(request: &JsValue, code: &str, status: u16, reason: Option<&str>) -> Option<String> {
    doors::knock(Door::Log, Some(request))?;
    Some(edge::note_failure(request, code, status, reason))
}

/// Whether the client accepts `application/problem+json`.
fn wants_problem(request: &JsValue) -> bool {
    edge::header(request, "accept").is_some_and(|accept| accept.contains("application/problem+json"))
}

fn json(decision: &Decision) -> String {
    // A view holds only text, numbers and JSON values, so it always serializes.
    serde_json::to_string(&DecisionView::from(decision)).unwrap_or_default()
}

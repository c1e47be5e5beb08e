//! Decisions and errors as HTTP responses.

use serde::Serialize;
use serde_json::{Value, json};
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
use crate::worker::runtime::edge;

/// The answer to a request that is not forwarded: the decision, or the error.
pub(crate) fn decision(call: &Call, decision: &Decision) -> Response {
    let mut headers = cors_lines(call, decision);
    if decision.extras().is_preflight && !call.explain {
        // What a preflight is answered depends on what it asks for.
        for asked in ["Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            headers.push(format!("vary: {asked}"));
        }
        return respond(204, JSON, None, &headers.join("\t"), "");
    }
    if decision.allowed() || call.explain {
        return respond(decision.code.status(), JSON, Some(decision), &headers.join("\t"), &json(decision));
    }
    headers.extend(www_authenticate(decision).map(|challenge| format!("www-authenticate: {challenge}")));
    error(call, &ErrorView::from(decision), decision.code.status(), Some(decision), &headers.join("\t"))
}

/// An error in place of the origin's answer.
pub(crate) fn failure(call: &Call, decision: &Decision, failure: &Failure) -> Response {
    failure.respond_full(call, json!({}), &cors_lines(call, decision).join("\t"))
}

/// What pages of other origins are told of an answer, one `name: value` each.
fn cors_lines(call: &Call, decision: &Decision) -> Vec<String> {
    let told = decision.cors().map(|policy| cors_headers(policy, decision.extras().is_preflight, &call.headers()));
    told.iter().flatten().map(|(name, value)| format!("{name}: {value}")).collect()
}

/// The decision as the decision API gives it: 200, whatever was decided.
pub(crate) fn answer(decision: &Decision) -> Response {
    respond(200, JSON, Some(decision), "", &json(decision))
}

const JSON: &str = "application/json";

/// A text with its kind and further headers: see [`respond`].
pub(crate) fn raw(status: u16, kind: &str, header: &str, body: &str) -> Response {
    respond(status, kind, None, header, body)
}

/// One line for each header, then the body: see `respond` in `edge.js`. `header`: further ones as `name: value`, with tabs between.
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

/// Headers for a response that comes from elsewhere, names and values in turn, one a line. A header without a value is taken away.
pub(crate) fn marks(call: &Call, decision: &Decision) -> String {
    let mut headers = String::new();
    if let Some(policy) = decision.cors() {
        for name in CORS_ANSWERS {
            headers.push_str(&format!("{name}\n\n"));
        }
        for (name, value) in cors_headers(policy, false, &call.headers()) {
            headers.push_str(&format!("{name}\n{value}\n"));
        }
    }
    if let Some((policy, state)) = rate_limit_headers(decision) {
        headers.push_str(&format!("ratelimit-policy\n{policy}\nratelimit\n{state}\n"));
    }
    headers
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
        Self { status: 404, code: "NOT_FOUND", message: "no such endpoint: see /_gate/openapi.json", header: "" };
    pub(crate) const GET_ONLY: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint takes GET",
        header: "allow: GET, HEAD",
    };
    pub(crate) const POST_ONLY: Self =
        Self { status: 405, code: "METHOD_NOT_ALLOWED", message: "this endpoint takes POST", header: "allow: POST" };
    pub(crate) const GET_AND_POST: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "this endpoint takes GET and POST",
        header: "allow: GET, POST",
    };
    pub(crate) const UNAUTHENTICATED: Self = Self {
        status: 401,
        code: Code::Unauthenticated.as_str(),
        message: "this endpoint needs the operator's token as `Authorization: Bearer`",
        header: "www-authenticate: Bearer realm=\"tenantgate\"",
    };
    pub(crate) const TOO_LARGE: Self =
        Self { status: 413, code: "PAYLOAD_TOO_LARGE", message: "the body is too large", header: "" };

    pub(crate) const TOO_SLOW: Self =
        Self { status: 408, code: "REQUEST_TIMEOUT", message: "the body took too long", header: "connection: close" };
    pub(crate) const BROKEN: Self =
        Self { status: 400, code: Code::BadRequest.as_str(), message: "the body could not be read", header: "" };
    pub(crate) const TRACE: Self = Self {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        message: "the gate does not hand on this method: an origin may repeat what only it should see",
        header: "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    };

    pub(crate) const UPSTREAM: Self =
        Self { status: 502, code: "UPSTREAM_UNAVAILABLE", message: "the origin could not be reached", header: "" };

    pub(crate) const UPSTREAM_TIMEOUT: Self =
        Self { status: 504, code: "UPSTREAM_TIMEOUT", message: "the origin did not answer in time", header: "" };

    pub(crate) const EVENT_CONFLICT: Self = Self {
        status: 409,
        code: "EVENT_CONFLICT",
        message: "events of these places were told before and said something else then; the others are counted",
        header: "",
    };
    pub(crate) const USAGE_UNHEARD: Self = Self {
        status: 503,
        code: Code::LedgerUnavailable.as_str(),
        message: "not all of it reached its ledger: try again with the same events, each counts once",
        header: "retry-after: 1",
    };
    pub(crate) const USAGE_UNKNOWN: Self =
        Self { status: 404, code: "USAGE_NOT_FOUND", message: "no such tenant, or no such metric", header: "" };

    pub(crate) fn respond(&self, call: &Call) -> Response {
        self.respond_with(call, json!({}))
    }

    pub(crate) fn respond_with(&self, call: &Call, details: Value) -> Response {
        self.respond_full(call, details, self.header)
    }

    /// With a header that depends on the request.
    pub(crate) fn respond_full(&self, call: &Call, details: Value, header: &str) -> Response {
        let view = ErrorView { code: self.code, message: self.message, details };
        error(call, &view, self.status, None, header)
    }
}

/// The body of a request, of at most `max_bytes`.
pub(crate) async fn body(call: &Call, max_bytes: usize) -> Result<String, Failure> {
    let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
    let timeout_ms = u32::try_from(MAX_BODY_MS).unwrap_or(u32::MAX);
    match JsFuture::from(edge::text(&call.request, max_bytes, timeout_ms)).await {
        Ok(text) if text.is_undefined() => Err(Failure::TOO_SLOW),
        Ok(text) => text.as_string().ok_or(Failure::TOO_LARGE),
        Err(_) => Err(Failure::BROKEN),
    }
}

/// A body with problems: all of them.
pub(crate) fn invalid(call: &Call, problems: &Problems) -> Response {
    let view =
        ErrorView { code: Code::BadRequest.as_str(), message: PROBLEMS, details: json!({ "problems": problems }) };
    error(call, &view, 400, None, "")
}

/// A denial in a shape of its own, with the headers that belong to it.
pub(crate) fn refusal(decision: &Decision, header: &str, body: &str) -> Response {
    respond(decision.code.status(), JSON, Some(decision), header, body)
}

/// A refusal of the gate's own endpoints that a decision stands for.
pub(crate) fn unavailable(call: &Call, decision: &Decision) -> Response {
    error(call, &ErrorView::from(decision), decision.code.status(), Some(decision), "")
}

/// What serializes without fail: text and numbers.
pub(crate) fn view(view: &impl Serialize) -> Response {
    document(200, &serde_json::to_string(view).unwrap_or_default())
}

/// A JSON document.
pub(crate) fn document(status: u16, body: &str) -> Response {
    respond(status, JSON, None, "", body)
}

/// A redirect within the gate's own pages.
pub(crate) fn redirect(location: &str) -> Response {
    raw(308, "text/plain; charset=utf-8", &format!("location: {location}"), "")
}

/// A request whose URL cannot be taken apart.
pub(crate) fn unreadable() -> Response {
    let decision = Decision::refused(Code::BadRequest, "no URL", UnixMillis::default());
    respond(400, JSON, None, "", &error_body(&ErrorView::from(&decision)))
}

fn error(call: &Call, view: &ErrorView, status: u16, decision: Option<&Decision>, header: &str) -> Response {
    if call.wants_problem() {
        respond(status, "application/problem+json", decision, header, &problem_body(view, status))
    } else {
        respond(status, JSON, decision, header, &error_body(view))
    }
}

fn json(decision: &Decision) -> String {
    // A view holds text, numbers and JSON values: it always has a JSON form.
    serde_json::to_string(&DecisionView::from(decision)).unwrap_or_default()
}

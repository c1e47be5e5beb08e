//! Decisions and errors as HTTP responses.

use std::fmt::Write as _;

use serde_json::json;
use web_sys::Response;

use super::call::Call;
use super::edge;
use crate::gate::{Code, Decision};
use crate::model::{Problems, UnixMillis};
use crate::wire::{DecisionView, ErrorView, error_body, problem_body, rate_limit_headers, retry_after_s};

/// Answers of the gate are about one caller at one moment: no cache may keep them.
const PRIVATE: &str = "cache-control\nprivate, no-store\n";

/// The answer to a request that is not forwarded: the decision, or the error.
pub(super) fn decision(call: &Call, decision: &Decision) -> Response {
    let mut headers = String::from(PRIVATE);
    headers.push_str(&marks(decision));
    if decision.allowed() || call.explain {
        headers.push_str("content-type\napplication/json");
        return edge::respond(decision.code.status(), &json(&DecisionView::from(decision)), &headers);
    }
    error(call, &ErrorView::from(decision), decision.code.status(), headers)
}

/// The decision as the decision API gives it: 200, whatever was decided.
pub(super) fn answer(decision: &Decision) -> Response {
    let headers = format!("{PRIVATE}{}content-type\napplication/json", marks(decision));
    edge::respond(200, &json(&DecisionView::from(decision)), &headers)
}

/// Headers by which allowed and denied answers tell how much is left.
pub(super) fn marks(decision: &Decision) -> String {
    let mut headers = String::new();
    if let Some((policy, state)) = rate_limit_headers(decision) {
        // Writing to a string cannot fail.
        let _ = write!(headers, "ratelimit-policy\n{policy}\nratelimit\n{state}\n");
    }
    if let Some(seconds) = retry_after_s(decision) {
        let _ = write!(headers, "retry-after\n{seconds}\n");
    }
    headers
}

/// An error of the gate's own endpoints.
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// A header, as `name\nvalue`.
    pub(super) header: &'static str,
}

impl Failure {
    pub(super) const NOT_FOUND: Self = Self { status: 404, code: "NOT_FOUND", message: "no such endpoint: see /_gate/openapi.json", header: "" };
    pub(super) const GET_ONLY: Self = Self { status: 405, code: "METHOD_NOT_ALLOWED", message: "this endpoint takes GET", header: "allow\nGET, HEAD\n" };
    pub(super) const POST_ONLY: Self = Self { status: 405, code: "METHOD_NOT_ALLOWED", message: "this endpoint takes POST", header: "allow\nPOST\n" };
    pub(super) const UNAUTHENTICATED: Self = Self {
        status: 401,
        code: "UNAUTHENTICATED",
        message: "this endpoint needs the operator's token as `Authorization: Bearer`",
        header: "www-authenticate\nBearer realm=\"tenantgate\"\n",
    };
    pub(super) const TOO_LARGE: Self = Self { status: 413, code: "PAYLOAD_TOO_LARGE", message: "the body is too large", header: "" };

    pub(super) fn respond(&self, call: &Call) -> Response {
        let view = ErrorView { code: self.code, message: self.message, details: json!({}) };
        error(call, &view, self.status, format!("{PRIVATE}{}", self.header))
    }
}

/// A body with problems: all of them.
pub(super) fn invalid(call: &Call, problems: &Problems) -> Response {
    let view = ErrorView {
        code: Code::BadRequest.as_str(),
        message: "the body has problems: see `details.problems`",
        details: json!({ "problems": problems }),
    };
    error(call, &view, 400, String::from(PRIVATE))
}

/// A JSON document.
pub(super) fn document(status: u16, body: &str) -> Response {
    edge::respond(status, body, "content-type\napplication/json\ncache-control\nno-cache")
}

/// A request whose URL cannot be taken apart.
pub(super) fn unreadable() -> Response {
    let decision = Decision::refused(Code::BadRequest, "no URL", UnixMillis::default());
    edge::respond(400, &error_body(&ErrorView::from(&decision)), "content-type\napplication/json")
}

fn error(call: &Call, view: &ErrorView, status: u16, mut headers: String) -> Response {
    if call.wants_problem() {
        headers.push_str("content-type\napplication/problem+json");
        return edge::respond(status, &problem_body(view, status), &headers);
    }
    headers.push_str("content-type\napplication/json");
    edge::respond(status, &error_body(view), &headers)
}

fn json(view: &DecisionView<'_>) -> String {
    // A view holds text, numbers and JSON values: it always has a JSON form.
    serde_json::to_string(view).unwrap_or_default()
}

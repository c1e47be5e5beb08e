//! Why the admin API refuses: a stable code, a status and a sentence each.

use serde_json::{Value, json};
use web_sys::Response;

use crate::model::Problems;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::sources::d1::StoreError;

/// A refusal.
#[derive(Debug)]
pub(super) enum AdminError {
    /// What was sent has problems.
    Invalid(Problems),
    /// Anything else, with details.
    Failed(Failure, Value),
}

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $NAME:ident $status:literal $code:literal $message:literal;)*) => {
        impl AdminError {
            $(
                $(#[doc = $doc])*
                pub(super) const $NAME: Self = Self::Failed(
                    Failure { status: $status, code: $code, message: $message, header: "" },
                    Value::Null,
                );
            )*
        }
    };
}

refusals! {
    METHOD 405 "METHOD_NOT_ALLOWED" "this path takes other methods: see `details.methods`";
    FORBIDDEN 403 "FORBIDDEN" "this token does not allow that";
    NOT_FOUND 404 "NOT_FOUND" "there is no such thing, or it is not yours";
    SLUG_TAKEN 409 "SLUG_TAKEN" "this slug is in use, or was until lately";
    DOMAIN_TAKEN 409 "DOMAIN_TAKEN" "this domain is another tenant's";
    DATA_ROUTE_TAKEN 409 "DATA_ROUTE_TAKEN" "another tenant's data is there, or was";
    DOMAIN_UNPROVEN 409 "DOMAIN_UNPROVEN" "the TXT record was not found: see `details`, and try again once it is published";
    BUSY 409 "CONFLICT" "somebody else changed it at the same time: read it again, and decide anew";
    WRONG_STATUS 409 "WRONG_STATUS" "the tenant's status does not allow that";
    HAS_CHILDREN 409 "HAS_CHILDREN" "tenants belong to this one: move or delete them first";
    TOO_MANY 409 "TOO_MANY" "there are as many as there may be";
    PLAN_IN_USE 409 "PLAN_IN_USE" "plan versions that tenants have do not change: make a new version";
    CATALOG_IN_USE 409 "CATALOG_IN_USE" "tenants' records name what this catalog does not have: see `details.tenants`, and change those first";
    PROVISIONING_FAILED 409 "PROVISIONING_FAILED" "the tenant could not be set up and was removed: see `details.problem`";
    STALE 412 "PRECONDITION_FAILED" "it has changed since you read it: `If-Match` names another version";
    KEY_REUSED 422 "IDEMPOTENCY_KEY_REUSED" "this idempotency key was used for another request: choose a new one";
    BUDGET 429 "RATE_LIMITED" "the tenant's admins have changed as much as they may for now: see `details`";
    UNAVAILABLE 503 "CONTROL_UNAVAILABLE" "the control plane cannot be reached: try again shortly";
    ABSENT 503 "CONTROL_UNAVAILABLE" "this deployment has no database `CONTROL_DB`";
    NO_CATALOG 409 "NO_CATALOG" "there is no catalog yet: put one first";
}

impl AdminError {
    /// Too many ask from the same place.
    pub(super) const TOO_FAST: Self = Self::Failed(
        Failure {
            status: 429,
            code: "RATE_LIMITED",
            message: "too many requests from the same address: try again shortly",
            header: "retry-after: 1",
        },
        Value::Null,
    );
    pub(super) const UNAUTHENTICATED: Self = Self::Failed(Failure::UNAUTHENTICATED, Value::Null);

    /// The same, with details.
    pub(super) fn with(self, details: Value) -> Self {
        match self {
            Self::Failed(failure, _) => Self::Failed(failure, details),
            invalid @ Self::Invalid(_) => invalid,
        }
    }

    /// What was sent has one problem.
    pub(super) fn problem(path: &str, found: impl Into<String>, expected: &str) -> Self {
        let problem = crate::model::Problem { path: path.into(), found: found.into(), expected: expected.into() };
        Self::Invalid(Problems(vec![problem]))
    }

    /// Whether somebody else's change came first.
    pub(super) fn is_busy(&self) -> bool {
        self.code() == "CONFLICT"
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "BAD_REQUEST",
            Self::Failed(failure, _) => failure.code,
        }
    }

    pub(super) fn respond(self, call: &Call) -> Response {
        // RFC 9110 §15.5.6: who is refused a method is told which there are.
        if let Self::Failed(failure, details) = &self
            && let Some(methods) = details.get("methods").and_then(Value::as_array)
        {
            let methods: Vec<&str> = methods.iter().filter_map(Value::as_str).collect();
            return failure.respond_full(call, details.clone(), &format!("allow: {}", methods.join(", ")));
        }
        match self {
            Self::Invalid(problems) => reply::invalid(call, &problems),
            Self::Failed(failure, details) => {
                // RFC 9110 §10.2.3: when it may pass.
                let wait_ms = details.get("retry_after_ms").and_then(Value::as_u64);
                let header = wait_ms.map(|ms| format!("retry-after: {}", ms.div_ceil(1_000).max(1)));
                let details = if details.is_null() { json!({}) } else { details };
                failure.respond_full(call, details, header.as_deref().unwrap_or(failure.header))
            }
        }
    }
}

impl From<Failure> for AdminError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure, Value::Null)
    }
}

impl From<Problems> for AdminError {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

impl From<StoreError> for AdminError {
    fn from(trouble: StoreError) -> Self {
        match trouble {
            StoreError::Failed => Self::UNAVAILABLE,
            StoreError::Taken(constraint) => match constraint.split('.').next() {
                Some("slugs") => Self::SLUG_TAKEN,
                Some("domains") => Self::DOMAIN_TAKEN,
                Some("data_routes") => Self::DATA_ROUTE_TAKEN,
                _ => Self::BUSY,
            },
        }
    }
}

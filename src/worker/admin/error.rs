//! The errors of the admin API: each has a stable code, an HTTP status and a message.
//!
//! `scripts/docs.mjs` reads the table in `refusals!` for the reference of codes.

use serde_json::{Value, json};
use web_sys::Response;

use crate::model::Problems;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::sources::d1::StoreError;

/// Why an admin request is refused.
#[derive(Debug)]
pub(super) enum AdminError {
    /// The request is invalid: all its problems.
    Invalid(Problems),
    /// Any other error, with its details.
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
    METHOD 405 "METHOD_NOT_ALLOWED" "this path does not support the method: see `details.methods`";
    FORBIDDEN 403 "FORBIDDEN" "the token does not permit this operation";
    NOT_FOUND 404 "NOT_FOUND" "the resource is unknown, or belongs to another tenant";
    SLUG_TAKEN 409 "SLUG_TAKEN" "the slug is in use, or was in use recently";
    DOMAIN_TAKEN 409 "DOMAIN_TAKEN" "the domain belongs to another tenant";
    DATA_ROUTE_TAKEN 409 "DATA_ROUTE_TAKEN" "the data route belongs to another tenant, or belonged to one";
    DOMAIN_UNPROVEN 409 "DOMAIN_UNPROVEN" "the TXT record was not found: publish the record in `details`, then verify again";
    BUSY 409 "CONFLICT" "a concurrent change came first: read the resource again and retry";
    WRONG_STATUS 409 "WRONG_STATUS" "the current status does not allow this operation";
    HAS_CHILDREN 409 "HAS_CHILDREN" "the tenant has sub-tenants: move or delete them first";
    TOO_MANY 409 "TOO_MANY" "the maximum number is reached";
    PLAN_IN_USE 409 "PLAN_IN_USE" "a plan version that tenants have does not change: add a new version";
    CATALOG_IN_USE 409 "CATALOG_IN_USE" "tenants' records conflict with this catalog: change the records in `details.tenants` first";
    PROVISIONING_FAILED 409 "PROVISIONING_FAILED" "the tenant could not be set up and was removed: see `details.problem`";
    STALE 412 "PRECONDITION_FAILED" "the resource has changed since it was read: `If-Match` names another version";
    KEY_REUSED 422 "IDEMPOTENCY_KEY_REUSED" "this idempotency key was used for a different request: use a new key";
    BUDGET 429 "RATE_LIMITED" "the tenant's admins have used up their budget of changes: see `details`";
    UNAVAILABLE 503 "CONTROL_UNAVAILABLE" "the control plane is unavailable: try again shortly";
    ABSENT 503 "CONTROL_UNAVAILABLE" "the database `CONTROL_DB` is missing in this deployment";
    NO_CATALOG 409 "NO_CATALOG" "the control plane has no catalog yet: send one first";
}

impl AdminError {
    /// Too many requests from one address.
    pub(super) const TOO_FAST: Self = Self::Failed(
        Failure {
            status: 429,
            code: "RATE_LIMITED",
            message: "too many requests from this address: try again shortly",
            header: "retry-after: 1",
        },
        Value::Null,
    );
    pub(super) const UNAUTHENTICATED: Self = Self::Failed(Failure::UNAUTHENTICATED, Value::Null);

    /// Replaces the details.
    pub(super) fn with(self, details: Value) -> Self {
        match self {
            Self::Failed(failure, _) => Self::Failed(failure, details),
            invalid @ Self::Invalid(_) => invalid,
        }
    }

    /// An invalid request with one problem.
    pub(super) fn problem(path: &str, found: impl Into<String>, expected: &str) -> Self {
        let problem = crate::model::Problem { path: path.into(), found: found.into(), expected: expected.into() };
        Self::Invalid(Problems(vec![problem]))
    }

    /// Whether a concurrent change came first.
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
        // RFC 9110 §15.5.6: a 405 response lists the supported methods in `Allow`.
        if let Self::Failed(failure, details) = &self
            && let Some(methods) = details.get("methods").and_then(Value::as_array)
        {
            let methods: Vec<&str> = methods.iter().filter_map(Value::as_str).collect();
            return failure.respond_full(call, details.clone(), &format!("allow: {}", methods.join(", ")));
        }
        match self {
            Self::Invalid(problems) => reply::invalid(call, &problems),
            Self::Failed(failure, details) => {
                // RFC 9110 §10.2.3: when a retry may succeed.
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
            StoreError::Schema(message) => {
                Self::Failed(Failure { status: 503, code: "CONTROL_UNAVAILABLE", message, header: "" }, Value::Null)
            }
            StoreError::Taken(constraint) => match constraint.split('.').next() {
                Some("slugs") => Self::SLUG_TAKEN,
                Some("domains") => Self::DOMAIN_TAKEN,
                Some("data_routes") => Self::DATA_ROUTE_TAKEN,
                _ => Self::BUSY,
            },
        }
    }
}

//! The stable codes of decisions, each with its HTTP status and a sentence for the caller.

use serde::Serialize;

/// The code of a decision. Codes are a contract: they are never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The request is allowed.
    Allowed,
    /// The request is malformed.
    BadRequest,
    /// A signal occurs more than once, such as two tenant headers.
    TenantAmbiguous,
    /// A required credential is missing, or a presented credential is invalid.
    Unauthenticated,
    /// No signal names an existing tenant.
    TenantNotFound,
    /// Signals or credentials name different tenants.
    TenantMismatch,
    /// The credential lacks a scope that the route needs.
    InsufficientScope,
    /// The CORS policy of the route does not allow the page's origin.
    OriginNotAllowed,
    /// The tenant or an ancestor is suspended.
    TenantSuspended,
    /// The tenant or an ancestor is inactive.
    TenantInactive,
    /// The tenant or an ancestor is being set up.
    TenantProvisioning,
    /// The tenant or an ancestor is under maintenance.
    TenantMaintenance,
    /// The tenant's residency does not allow this region to serve it.
    ResidencyViolation,
    /// The route needs a feature that the tenant does not have.
    FeatureNotAvailable,
    /// The circuit breaker is open: the origin fails for this tenant.
    TenantCircuitOpen,
    /// A rate or a window is exhausted.
    RateLimited,
    /// The maximum number of requests is in flight.
    ConcurrencyLimited,
    /// A quota or a gauge is exhausted.
    QuotaExceeded,
    /// The idempotency key was used before for a different request.
    IdempotencyKeyReused,
    /// The custom resolver failed.
    ResolverFailed,
    /// The keys of the token's issuer are not available.
    IssuerUnavailable,
    /// A snapshot that the decision needs is not available.
    SnapshotUnavailable,
    /// The ledger is overloaded, or it could not be reached and a limit has `on_error: closed`.
    LedgerUnavailable,
}

impl Code {
    /// All codes, for documentation and tests.
    pub const ALL: [Self; 23] = [
        Self::Allowed,
        Self::BadRequest,
        Self::TenantAmbiguous,
        Self::Unauthenticated,
        Self::TenantNotFound,
        Self::TenantMismatch,
        Self::InsufficientScope,
        Self::OriginNotAllowed,
        Self::TenantSuspended,
        Self::TenantInactive,
        Self::TenantProvisioning,
        Self::TenantMaintenance,
        Self::ResidencyViolation,
        Self::FeatureNotAvailable,
        Self::TenantCircuitOpen,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::QuotaExceeded,
        Self::IdempotencyKeyReused,
        Self::ResolverFailed,
        Self::IssuerUnavailable,
        Self::SnapshotUnavailable,
        Self::LedgerUnavailable,
    ];

    /// The index of the code in [`Self::ALL`].
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The code as text, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::BadRequest => "BAD_REQUEST",
            Self::TenantAmbiguous => "TENANT_AMBIGUOUS",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TenantNotFound => "TENANT_NOT_FOUND",
            Self::TenantMismatch => "TENANT_MISMATCH",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
            Self::OriginNotAllowed => "ORIGIN_NOT_ALLOWED",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::TenantInactive => "TENANT_INACTIVE",
            Self::TenantProvisioning => "TENANT_PROVISIONING",
            Self::TenantMaintenance => "TENANT_MAINTENANCE",
            Self::ResidencyViolation => "RESIDENCY_VIOLATION",
            Self::FeatureNotAvailable => "FEATURE_NOT_AVAILABLE",
            Self::TenantCircuitOpen => "TENANT_CIRCUIT_OPEN",
            Self::RateLimited => "RATE_LIMITED",
            Self::ConcurrencyLimited => "CONCURRENCY_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::ResolverFailed => "RESOLVER_FAILED",
            Self::IssuerUnavailable => "ISSUER_UNAVAILABLE",
            Self::SnapshotUnavailable => "SNAPSHOT_UNAVAILABLE",
            Self::LedgerUnavailable => "LEDGER_UNAVAILABLE",
        }
    }

    /// Whether the condition ends without a change by the caller, so that a retry may succeed.
    pub const fn passes_by_itself(self) -> bool {
        // No other codes have this status.
        self.status() == 503
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Allowed => 200,
            Self::BadRequest | Self::TenantAmbiguous => 400,
            Self::Unauthenticated => 401,
            Self::TenantMismatch
            | Self::InsufficientScope
            | Self::OriginNotAllowed
            | Self::TenantSuspended
            | Self::TenantInactive
            | Self::FeatureNotAvailable => 403,
            Self::TenantNotFound => 404,
            Self::IdempotencyKeyReused => 422,
            Self::RateLimited | Self::ConcurrencyLimited | Self::QuotaExceeded => 429,
            Self::ResidencyViolation => 451,
            Self::TenantProvisioning
            | Self::TenantMaintenance
            | Self::TenantCircuitOpen
            | Self::ResolverFailed
            | Self::IssuerUnavailable
            | Self::SnapshotUnavailable
            | Self::LedgerUnavailable => 503,
        }
    }

    /// One sentence for the caller. It contains nothing of the request or of any tenant.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Allowed => "the request is allowed",
            Self::BadRequest => "the request cannot be read: check host, path, query and tenant header",
            Self::TenantAmbiguous => "the request names its tenant more than once in one place: send it once",
            Self::Unauthenticated => "this request needs a valid token or API key of its tenant",
            Self::TenantNotFound => "no such tenant: check the address or the tenant header",
            Self::TenantMismatch => "the request names different tenants in different places",
            Self::InsufficientScope => "the token or API key does not allow this",
            Self::OriginNotAllowed => "pages of this origin may not call this: its CORS policy does not name it",
            Self::TenantSuspended => "this account is suspended: contact support",
            Self::TenantInactive => "this account is not active",
            Self::TenantProvisioning => "this account is being set up: try again shortly",
            Self::TenantMaintenance => "this account is under maintenance: try again shortly",
            Self::ResidencyViolation => "this account cannot be served from this location",
            Self::FeatureNotAvailable => "this feature is not part of the current plan",
            Self::TenantCircuitOpen => "the service does not work for this account right now: try again shortly",
            Self::RateLimited => "too many requests: slow down and try again later",
            Self::ConcurrencyLimited => "too many requests at the same time: wait until one has ended",
            Self::QuotaExceeded => "the plan's allowance is used up",
            Self::IdempotencyKeyReused => "this idempotency key was used for another request: choose a new one",
            Self::ResolverFailed => "the tenant could not be determined: try again shortly",
            Self::IssuerUnavailable => "the token could not be checked: try again shortly",
            Self::SnapshotUnavailable => "the account's settings could not be loaded: try again shortly",
            Self::LedgerUnavailable => "usage could not be checked: try again shortly",
        }
    }
}

//! Every answer's stable code, with its HTTP status and its sentence.

use serde::Serialize;

/// The code of a decision. Codes are a contract: they are never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Let through.
    Allowed,
    /// The request cannot be read.
    BadRequest,
    /// A signal that names the tenant is there more than once.
    TenantAmbiguous,
    /// A credential is needed and not there, or there and not good.
    Unauthenticated,
    /// No signal names an existing tenant.
    TenantNotFound,
    /// Signals name different tenants.
    TenantMismatch,
    /// The credential does not allow what the route needs.
    InsufficientScope,
    /// A preflight comes from a page of an origin that the route's CORS policy does not name.
    OriginNotAllowed,
    /// The tenant, or one above it, is suspended.
    TenantSuspended,
    /// The tenant, or one above it, is inactive.
    TenantInactive,
    /// The tenant, or one above it, is being set up.
    TenantProvisioning,
    /// The tenant, or one above it, is under maintenance.
    TenantMaintenance,
    /// This place may not serve the tenant.
    ResidencyViolation,
    /// The route needs a feature that the tenant does not have.
    FeatureNotAvailable,
    /// The origin fails the tenant, and is left alone for a while.
    TenantCircuitOpen,
    /// A rate or window is used up.
    RateLimited,
    /// As much is in flight as may be.
    ConcurrencyLimited,
    /// A quota or gauge is used up.
    QuotaExceeded,
    /// An idempotency key was used before, for something else.
    IdempotencyKeyReused,
    /// The adapter's own resolver failed.
    ResolverFailed,
    /// The keys of a token's issuer could not be had.
    IssuerUnavailable,
    /// No trustworthy snapshot could be had.
    SnapshotUnavailable,
    /// The ledger could not be reached, and the limit is configured to refuse then.
    LedgerUnavailable,
}

impl Code {
    /// All codes, for documents and tests.
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

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The code as it travels.
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

    /// Whether the condition passes by itself, so that coming back helps.
    pub const fn passes_by_itself(self) -> bool {
        // Nothing else is answered with this status.
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

    /// One sentence for whoever receives it. It names no tenant and echoes nothing of the request.
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

//! The messages between an isolate and a ledger: one request, one response.
//!
//! These types travel as JSON. Where a Rust name differs from its JSON member, `serde(rename)`
//! keeps the member, because an isolate and a ledger of different versions exchange messages during
//! a deployment.

use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    BreakerReport, BreakerStatus, CounterOp, Hold, Inquiry, LeaseClaim, LeaseGrant, Meter, Migration, QuotaInquiry,
    QuotaPeriod, TransferSnapshot, UsageEntry, UsagePeriod, Verdict,
};

/// What one request does to one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge<'a> {
    /// The name of the counter: tenant and limit. It excludes the allowance, which may change while
    /// the counter lives.
    pub counter: &'a str,
    /// The meter, with the tenant's current allowance.
    pub meter: Meter,
    /// The operation on the counter.
    pub op: CounterOp,
    /// Whether the charge is counted and reported but never denied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// Something that carries a charge and receives its verdict.
pub trait Chargeable {
    /// The charge.
    fn charge(&self) -> Charge<'_>;
    /// Stores the verdict on the charge.
    fn record(&mut self, verdict: Verdict);
    /// A cache for the counter's index in [`super::LedgerState`], which saves the lookup by name.
    fn hint(&self) -> Option<&AtomicUsize> {
        None
    }
}

/// A request to a ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRequest<'a> {
    /// The tenant that the request concerns.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// The charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub charges: SmallVec<[Charge<'a>; 4]>,
    /// Lease claims. A `need` that cannot be granted denies the whole request.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub claims: SmallVec<[LeaseClaim<'a>; 2]>,
    /// Circuit breaker reports. A breaker that refuses a call denies the whole request.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[BreakerReport<'a>; 1]>,
    /// The snapshots that the isolate used for this request, with their epochs.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub epochs: SmallVec<[(Cow<'a, str>, u64); 2]>,
    /// The position of the isolate in the ledger's log of snapshot changes: the last
    /// [`LedgerResponse::cursor`] that it received.
    #[serde(rename = "heard", default, skip_serializing_if = "super::verdict::is_zero")]
    pub cursor: u64,
    /// Whether this is a dry run: the ledger judges the request and takes nothing.
    #[serde(rename = "look", default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The idempotency key. The request counts at most once per key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub once: Option<IdempotencyKey<'a>>,
    /// The hold that charges with [`CounterOp::Hold`] create.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold<'a>>,
    /// The name of the hold to settle. The charges use [`CounterOp::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<&'a str>,
    /// The metric values of a usage event. The charges use [`CounterOp::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<UsageEntry<'a>>,
    /// The usage event itself, which the adapter exports.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// Queries for metric totals.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<Inquiry<'a>>,
    /// A query for quota periods, answered together with [`Self::report`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<QuotaInquiry<'a>>,
    /// Tenants that leave for another family. The request may be repeated until their counts have
    /// arrived there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Migration>,
    /// Tenants that arrive from another family, with their counts. Requires an [`IdempotencyKey`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrive: Option<(Migration, TransferSnapshot)>,
}

impl LedgerRequest<'_> {
    /// Whether the request reports something that has already happened. Such a request is counted
    /// regardless of limits.
    pub const fn has_happened(&self) -> bool {
        self.settle.is_some() || !self.usage.is_empty()
    }
}

/// The name under which a request counts once, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey<'a> {
    /// Tenant and key. The name is never reused.
    pub id: &'a str,
    /// A digest of what the request takes. It tells a repetition from a different request under the
    /// same key.
    #[serde(rename = "print")]
    pub fingerprint: &'a str,
    /// Whether the key is kept for as long as a usage event may be late. Otherwise it is kept for
    /// one day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub event: bool,
}

/// The outcome for an [`IdempotencyKey`] that the ledger already knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The same request was executed before. This time it takes nothing.
    Repeated,
    /// The key belongs to a different request. Nothing is taken.
    Reused,
}

/// Why a ledger request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerFailure {
    /// The ledger, or the connection to it, is overloaded. The request is refused whatever
    /// `on_error` says, so that a flood of requests cannot disable a limit.
    Overloaded,
    /// The exchange failed. `on_error` decides.
    Failed,
}

/// The response to a ledger request.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerResponse {
    /// Whether everything was taken. If not, nothing was.
    pub allowed: bool,
    /// One verdict for each charge, in the order of the charges.
    pub verdicts: SmallVec<[Verdict; 4]>,
    /// One grant for each claim.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub grants: SmallVec<[LeaseGrant; 2]>,
    /// One status for each breaker report.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[BreakerStatus; 1]>,
    /// The snapshots that have changed since [`LedgerRequest::cursor`], each with the latest epoch
    /// that any isolate has reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newer: Vec<(String, u64)>,
    /// The position in the log of snapshot changes up to which `newer` reports.
    #[serde(rename = "told", default, skip_serializing_if = "super::verdict::is_zero")]
    pub cursor: u64,
    /// Set if the ledger already knew the idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// When the hold expires, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<u64>,
    /// Whether the hold does not exist: either the hold to settle has expired or never existed, or
    /// a repeated request's hold has ended since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// Whether the request concerns a tenant that has left for another family.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The counts of the tenants that leave.
    #[serde(rename = "luggage", default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferSnapshot>,
    /// The metric totals that `report` queried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<UsagePeriod>,
    /// The quota periods that `quotas` queried, by counter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<(String, QuotaPeriod)>,
}

impl LedgerResponse {
    /// Whether the request's [`IdempotencyKey`] must be stored, because this response executed the
    /// request.
    pub fn stores_key(&self, request: &LedgerRequest<'_>) -> bool {
        self.allowed && !request.dry_run && self.seen.is_none()
    }
}

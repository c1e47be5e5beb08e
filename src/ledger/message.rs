//! What is asked of a ledger, and what it answers: messages that travel.

use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    BreakerReport, BreakerStatus, CounterOp, Hold, Inquiry, LeaseClaim, LeaseGrant, Meter, Migration, Question,
    QuotaInquiry, QuotaPeriod, TransferSnapshot, UsageEntry, UsagePeriod, Verdict,
};

/// One thing that a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge<'a> {
    /// The counter: tenant and limit. Not the allowance, which may change under it.
    pub counter: &'a str,
    /// The allowance.
    pub meter: Meter,
    /// What happens to the counter.
    pub op: CounterOp,
    /// Counts and reports, never denies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// Something that a book can take: it says what, and is told how it stands.
pub trait Chargeable {
    /// What is taken.
    fn charge(&self) -> Charge<'_>;
    /// How it stands then.
    fn settle(&mut self, verdict: Verdict);
    /// Where the counter was found last: a hint that saves looking it up again.
    fn hint(&self) -> Option<&AtomicUsize> {
        None
    }
}

/// What is asked of a ledger.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRequest<'a> {
    /// The tenant that it is about.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// What to take, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub charges: SmallVec<[Charge<'a>; 4]>,
    /// What is said of leases, and wanted of them: with the charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub claims: SmallVec<[LeaseClaim<'a>; 2]>,
    /// What is said of circuit breakers, and asked of them: with the charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[BreakerReport<'a>; 1]>,
    /// Snapshots that it was made from, with their epochs.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub epochs: SmallVec<[(Cow<'a, str>, u64); 2]>,
    /// Up to which change of a snapshot whoever asks has been told; see [`LedgerResponse::told`].
    #[serde(default, skip_serializing_if = "super::counter::is_zero")]
    pub heard: u64,
    /// Judge only, take nothing.
    #[serde(rename = "look", default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Take it once only.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub once: Option<IdempotencyKey<'a>>,
    /// Under which name charges with [`CounterOp::Hold`] are set aside.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold<'a>>,
    /// The hold that ends with this order; its charges say [`CounterOp::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<&'a str>,
    /// What an event of usage adds up to; its charges say [`CounterOp::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<UsageEntry<'a>>,
    /// The event itself, for whoever is told of all of them.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// Usage that is asked for.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<Inquiry<'a>>,
    /// Periods of quotas that are asked for, beside [`Self::report`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<QuotaInquiry<'a>>,
    /// Tenants that leave for another family; may be said again until what they take along has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Migration>,
    /// Tenants that arrive from another family, with what they bring; with an [`IdempotencyKey`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrive: Option<(Migration, TransferSnapshot)>,
}

impl LedgerRequest<'_> {
    /// Whether it tells of what has happened already, and is to be counted whatever limits say.
    pub const fn has_happened(&self) -> bool {
        self.settle.is_some() || !self.usage.is_empty()
    }
}

/// An event that must count once, however often it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey<'a> {
    /// Its name, for ever: tenant and key.
    pub id: &'a str,
    /// A digest of what it takes, so that another event under the same name is found out.
    #[serde(rename = "print")]
    pub fingerprint: &'a str,
    /// Whether it is remembered as long as an event of usage may be late, instead of a day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub event: bool,
}

/// What became of an [`IdempotencyKey`] that was told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was taken then, and nothing is taken now.
    Repeated,
    /// It was another event; nothing is taken.
    Reused,
}

/// Why an order has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerFailure {
    /// The ledger, or the line to it, has too much to do: refused whatever `on_error` says, so that a flood lifts no limit.
    Overloaded,
    /// The message itself failed: `on_error` decides.
    Failed,
}

/// Why the answer to another request's question does not serve a request that waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitFailure {
    /// The ledger granted all it had for this question, and that is not enough: the request is refused by the limit that was asked for.
    Short(Question),
    /// There is no answer.
    Unanswered(LedgerFailure),
}

/// The answer to an order.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerResponse {
    /// Whether all was taken. If not, nothing was.
    pub allowed: bool,
    /// One verdict for each charge, in their order.
    pub verdicts: SmallVec<[Verdict; 4]>,
    /// One grant for each claim.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub grants: SmallVec<[LeaseGrant; 2]>,
    /// One answer for each word to a breaker.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[BreakerStatus; 1]>,
    /// Snapshots that have changed since [`LedgerRequest::heard`], with the latest epochs that anybody has told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newer: Vec<(String, u64)>,
    /// Up to which change that is.
    #[serde(default, skip_serializing_if = "super::counter::is_zero")]
    pub told: u64,
    /// Whether it was told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// When the hold ends by itself, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<u64>,
    /// Whether the hold is not there: one to settle, which had ended by itself or never was, or one that was asked for before
    /// and has ended since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// Whether it is about a tenant that has left for another family.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// What those that leave take along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub luggage: Option<TransferSnapshot>,
    /// The buckets that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<UsagePeriod>,
    /// The periods of quotas that were asked for, by counter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<(String, QuotaPeriod)>,
}

impl LedgerResponse {
    /// Whether the order's [`IdempotencyKey`] is to be remembered: it was done, just now.
    pub fn is_news(&self, order: &LedgerRequest<'_>) -> bool {
        self.allowed && !order.dry_run && self.seen.is_none()
    }
}

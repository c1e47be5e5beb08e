//! What is asked of a ledger, and what it answers: messages that travel.

use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    Claim, Entry, Grant, Hold, Inquiry, Luggage, Meter, Move, Op, Question, QuotaInquiry, QuotaPeriod, Reply, Stretch,
    Verdict, Word,
};

/// One thing that a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge<'a> {
    /// The counter: tenant and limit. Not the allowance, which may change under it.
    pub counter: &'a str,
    /// The allowance.
    pub meter: Meter,
    /// What happens to the counter.
    pub op: Op,
    /// Counts and reports, never denies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// Something that a book can take: it says what, and is told how it stands.
pub trait Take {
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
pub struct Order<'a> {
    /// The tenant that it is about.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// What to take, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub charges: SmallVec<[Charge<'a>; 4]>,
    /// What is said of leases, and wanted of them: with the charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub claims: SmallVec<[Claim<'a>; 2]>,
    /// What is said of circuit breakers, and asked of them: with the charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[Word<'a>; 1]>,
    /// Snapshots that it was made from, with their epochs.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub epochs: SmallVec<[(Cow<'a, str>, u64); 2]>,
    /// Up to which change of a snapshot whoever asks has been told; see [`Outcome::told`].
    #[serde(default, skip_serializing_if = "super::counter::is_zero")]
    pub heard: u64,
    /// Judge only, take nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look: bool,
    /// Take it once only.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once<'a>>,
    /// Under which name charges with [`Op::Hold`] are set aside.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold<'a>>,
    /// The hold that ends with this order; its charges say [`Op::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<&'a str>,
    /// What an event of usage adds up to; its charges say [`Op::Settle`].
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Entry<'a>>,
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
    pub leave: Option<Move>,
    /// Tenants that arrive from another family, with what they bring; with an [`Once`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrive: Option<(Move, Luggage)>,
}

impl Order<'_> {
    /// Whether it tells of what has happened already, and is to be counted whatever limits say.
    pub const fn has_happened(&self) -> bool {
        self.settle.is_some() || !self.usage.is_empty()
    }
}

/// An event that must count once, however often it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once<'a> {
    /// Its name, for ever: tenant and key.
    pub id: &'a str,
    /// A digest of what it takes, so that another event under the same name is found out.
    pub print: &'a str,
    /// Whether it is remembered as long as an event of usage may be late, instead of a day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub event: bool,
}

/// What became of an [`Once`] that was told before.
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
pub enum Unanswered {
    /// The ledger, or the line to it, has too much to do: refused whatever `on_error` says, so that a flood lifts no limit.
    Overloaded,
    /// The message itself failed: `on_error` decides.
    Failed,
}

/// Why the answer to another request's question does not serve a request that waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The ledger granted all it had for this question, and that is not enough: the request is refused by the limit that was asked for.
    Short(Question),
    /// There is no answer.
    Unanswered(Unanswered),
}

/// The answer to an order.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether all was taken. If not, nothing was.
    pub allowed: bool,
    /// One verdict for each charge, in their order.
    pub verdicts: SmallVec<[Verdict; 4]>,
    /// One grant for each claim.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub grants: SmallVec<[Grant; 2]>,
    /// One answer for each word to a breaker.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub breakers: SmallVec<[Reply; 1]>,
    /// Snapshots that have changed since [`Order::heard`], with the latest epochs that anybody has told of.
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
    pub luggage: Option<Luggage>,
    /// The buckets that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<Stretch>,
    /// The periods of quotas that were asked for, by counter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<(String, QuotaPeriod)>,
}

impl Outcome {
    /// Whether the order's [`Once`] is to be remembered: it was done, just now.
    pub fn is_news(&self, order: &Order<'_>) -> bool {
        self.allowed && !order.look && self.seen.is_none()
    }
}

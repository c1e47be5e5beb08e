//! Leases, as an isolate uses them: what it may spend without asking the ledger. See
//! [`super::Lease`] for the ledger's side.
//!
//! A lease grows and shrinks with demand. It asks for the units that the next second and the round
//! trip to the ledger need, at most four times the units that it asked for last; it returns a
//! surplus; and it asks again before it is empty.
//!
//! The order of calls: [`LeaseCache::spend`] pays a request from the lease or says why it cannot.
//! [`LeaseCache::begin`] starts a question to the ledger, [`LeaseCache::claim`] returns the claim
//! to send, and exactly one of [`LeaseCache::receive`], [`LeaseCache::receive_no_grant`] and
//! [`LeaseCache::receive_failure`] ends the question; it times out after [`LEASE_ANSWER_MS`].
//! Requests that arrive in the meantime wait for the response. A refusal is repeated for as long as
//! the round trip took, so that a flood does not reach the ledger, near or far.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{BudgetRef, LeaseClaim, LeaseGrant, LedgerFailure, Meter, Verdict};
use crate::model::bounds::{
    LEASE_ANSWER_MS, LEASE_DRY_MS, LEASE_GRACE_MS, MAX_HELD_LEASES, MAX_LEASE_DRY_MS, MAX_LEASE_UNITS,
};
use crate::model::{AskedAt, HeardAt, UnixMillis};

/// The outcome of an attempt to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// Spent.
    Done {
        /// Whether little is left for the current demand, so that the caller should refill the
        /// lease without delaying the request.
        low: bool,
    },
    /// The ledger must be asked: see [`LeaseCache::begin`].
    Ask,
    /// A question is already in flight: refuse the request, or [`LeaseCache::wait`].
    Wait,
    /// A moment ago the ledger refused this number of units, or fewer.
    Refused,
}

/// A question to a ledger for more units of one lease. Several requests may wait for its response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The first counter of the lease.
    pub counter: String,
    /// A number that is unique in the isolate.
    pub number: u64,
}

/// Why the response to another request's question does not help a request that waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitFailure {
    /// The ledger granted all the units that it had, and they were not enough. The limit of that
    /// lease refuses the waiting request.
    Short(Question),
    /// The ledger did not respond.
    Unanswered(LedgerFailure),
}

/// The state of a question that another request asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseProgress {
    /// In flight. The response is due at this time, judging by the last round trip.
    Due(UnixMillis),
    /// Ended or timed out: try to spend again.
    Again,
    /// Ended without a response, or without enough units for the requests that waited.
    Over(WaitFailure),
}

/// The leases of one isolate, by the first counter that they debit.
#[derive(Debug)]
pub struct LeaseCache {
    /// The isolate's name, which no other isolate has.
    name: String,
    held: FxHashMap<String, CachedLease>,
    /// Leases that have ended here, until the ledger has confirmed it.
    released: Vec<CachedLease>,
    /// The number of the last lease.
    last_lease: u64,
    /// The number of the last question.
    questions: u64,
    /// The number of leases in `held` by ledger.
    ledgers: FxHashMap<String, u64>,
    /// When `released` was last cleared of expired leases.
    swept_ms: u64,
}

#[derive(Debug)]
struct CachedLease {
    number: u64,
    /// The isolate's name and the number.
    name: String,
    ledger: String,
    budgets: SmallVec<[(String, Meter); 2]>,
    granted: u64,
    spent: u64,
    returned: u64,
    ends_ms: u64,
    /// The last reported verdicts, and when they arrived.
    verdicts: SmallVec<[Verdict; 2]>,
    received_ms: u64,
    /// Units left after the last grant.
    refilled: u64,
    /// When units were last spent.
    used_ms: u64,
    demand: Demand,
    pending: Option<PendingClaim>,
    /// The number of this lease's last question.
    last_question: u64,
    /// The latest question that was answered with fewer units than were waited for.
    short: u64,
    /// The latest question that failed.
    unanswered: Option<(u64, LedgerFailure)>,
    /// The duration of the last exchange with the ledger, in milliseconds.
    round_trip_ms: u64,
    /// Units that waiting requests need.
    waiting: u64,
    /// The part of `spent` that belongs to requests without a decision yet. It is not reported to
    /// the ledger, because such a request may still be denied elsewhere.
    provisional: u64,
    /// The number of units that the ledger refused, and until when the refusal is repeated.
    refusal: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct PendingClaim {
    at: AskedAt,
    need: u64,
    waiting: u64,
    want: u64,
}

/// The spending rate, measured over periods of at least half a second.
#[derive(Debug, Default)]
struct Demand {
    /// The start of the period, and the units spent before it.
    since_ms: u64,
    spent_before: u64,
    /// Milliseconds of the period in which requests waited for the ledger. They do not count for
    /// the rate: a client that sends one request after another would have sent more of them without
    /// the wait.
    waited_ms: u64,
    /// Units per second.
    rate: u64,
    /// The number of units that the last question wanted.
    want: u64,
}

impl Demand {
    const MIN_PERIOD_MS: u64 = 500;

    /// Returns the units that are spent within `ms` milliseconds.
    const fn within(&self, ms: u64) -> u64 {
        self.rate.saturating_mul(ms) / 1_000
    }

    /// Returns the units needed for the next second and one round trip, and whether the rate is
    /// measured well enough to return a surplus.
    fn next(&mut self, spent: u64, need: u64, round_trip_ms: u64, now_ms: u64) -> (u64, bool) {
        let units = spent.saturating_sub(self.spent_before).saturating_add(need);
        let elapsed_ms = now_ms.saturating_sub(self.since_ms).saturating_sub(self.waited_ms);
        let rate = units.saturating_mul(1_000).checked_div(elapsed_ms).unwrap_or(units.saturating_mul(1_000));
        let known = elapsed_ms >= Self::MIN_PERIOD_MS;
        // The first request of a lease does not predict the second.
        let first = self.since_ms == 0;
        self.rate = if first {
            0
        } else if known {
            rate
        } else {
            self.rate.max(rate)
        };
        if known || first {
            (self.since_ms, self.spent_before, self.waited_ms) = (now_ms, spent, 0);
        }
        let ahead = self.rate.saturating_add(self.within(round_trip_ms));
        self.want = ahead.min(self.want.saturating_mul(4)).min(MAX_LEASE_UNITS).max(need);
        (self.want, known && !first)
    }
}

impl CachedLease {
    fn new((number, name): (u64, String), ledger: &str, budgets: &[BudgetRef<'_>]) -> Self {
        Self {
            number,
            name,
            ledger: ledger.to_owned(),
            budgets: budgets.iter().map(|budget| (budget.counter.to_owned(), budget.meter)).collect(),
            granted: 0,
            spent: 0,
            returned: 0,
            ends_ms: 0,
            verdicts: SmallVec::new(),
            received_ms: 0,
            refilled: 0,
            used_ms: 0,
            demand: Demand::default(),
            pending: None,
            last_question: 0,
            short: 0,
            unanswered: None,
            round_trip_ms: 0,
            waiting: 0,
            provisional: 0,
            refusal: None,
        }
    }

    const fn left(&self) -> u64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.returned)
    }

    fn debits(&self, budgets: &[BudgetRef<'_>]) -> bool {
        self.budgets.len() == budgets.len()
            && self.budgets.iter().zip(budgets).all(|(own, budget)| own.1 == budget.meter && own.0 == budget.counter)
    }

    fn claim(&self) -> LeaseClaim<'_> {
        let (need, waiting, want) =
            self.pending.map_or((0, 0, 0), |pending| (pending.need, pending.waiting, pending.want));
        LeaseClaim {
            lease: &self.name,
            budgets: self.budgets.iter().map(|(counter, meter)| BudgetRef { counter, meter: *meter }).collect(),
            spent: self.spent.saturating_sub(self.provisional),
            returned: self.returned,
            // The ledger still counts provisional units as open, so they are asked for on top.
            need: if need > 0 { need.saturating_add(self.provisional) } else { 0 },
            waiting,
            want: if want > 0 { want.saturating_add(self.provisional) } else { 0 },
        }
    }
}

impl LeaseCache {
    /// Creates an empty cache. `name` is the isolate's name, which no other isolate may have.
    pub fn new(name: String) -> Self {
        Self {
            name,
            held: FxHashMap::default(),
            released: Vec::new(),
            last_lease: 0,
            questions: 0,
            ledgers: FxHashMap::default(),
            swept_ms: 0,
        }
    }

    /// Tries to spend `cost` units of `budgets`, which the ledger `ledger` counts.
    pub fn spend(&mut self, ledger: &str, budgets: &[BudgetRef<'_>], cost: u64, now: UnixMillis) -> Spend {
        let Some(first) = budgets.first() else { return Spend::Done { low: false } };
        let Some(held) = self.held.get_mut(first.counter) else {
            if self.held.len() >= MAX_HELD_LEASES {
                // Any idle lease will do: it can be leased again.
                let idle =
                    self.held.iter().find(|(_, held)| held.pending.is_none()).map(|(counter, _)| counter.clone());
                if let Some(counter) = idle {
                    self.release(&counter);
                }
            }
            let name = self.next_name();
            self.held.insert(first.counter.to_owned(), CachedLease::new(name, ledger, budgets));
            let leases = self.ledgers.entry(ledger.to_owned()).or_default();
            *leases = leases.saturating_add(1);
            return Spend::Ask;
        };
        // The plan, the parent or the period has changed, or the lease has expired: its units go
        // back.
        let over = held.granted > 0 && held.ends_ms <= now.get();
        if over || !held.debits(budgets) {
            self.release(first.counter);
            return self.spend(ledger, budgets, cost, now);
        }
        if held.left() >= cost && held.pending.is_none_or(|pending| held.left() >= cost.saturating_add(pending.need)) {
            held.spent = held.spent.saturating_add(cost);
            held.used_ms = now.get();
            // The next units should arrive before the last one is spent, however far away the
            // ledger is.
            let left = held.left();
            let low = left.saturating_mul(4) < held.refilled || left < held.demand.within(held.round_trip_ms);
            let low = low && held.pending.is_none();
            return Spend::Done { low };
        }
        match (held.pending, held.refusal) {
            (Some(pending), _) if !pending.at.is_older(LEASE_ANSWER_MS, now) => Spend::Wait,
            (_, Some((units, until_ms))) if cost >= units && now.get() < until_ms => Spend::Refused,
            _ => Spend::Ask,
        }
    }

    /// Returns a number and a name that no other lease has had.
    fn next_name(&mut self) -> (u64, String) {
        self.last_lease = self.last_lease.saturating_add(1);
        (self.last_lease, format!("{}/{}", self.name, self.last_lease))
    }

    /// Marks `cost` units that [`Self::spend`] has spent as provisional. Returns the number of the
    /// lease, for [`Self::conclude`].
    pub fn reserve(&mut self, counter: &str, cost: u64) -> u64 {
        self.held.get_mut(counter).map_or(0, |held| {
            held.provisional = held.provisional.saturating_add(cost);
            held.number
        })
    }

    /// Ends what [`Self::reserve`] began: the units stay spent, or are taken back because the
    /// request was denied elsewhere.
    pub fn conclude(&mut self, counter: &str, number: u64, cost: u64, spent: bool) {
        let Some(held) = self.held.get_mut(counter).filter(|held| held.number == number) else { return };
        held.provisional = held.provisional.saturating_sub(cost);
        if !spent {
            held.spent = held.spent.saturating_sub(cost);
        }
    }

    /// Adds a request for `cost` units to those that wait for the question in flight.
    /// [`Self::progress`] reports its state.
    pub fn wait(&mut self, counter: &str, cost: u64) -> Option<Question> {
        let held = self.held.get_mut(counter)?;
        held.waiting = held.waiting.saturating_add(cost);
        Some(Question { counter: counter.to_owned(), number: held.last_question })
    }

    /// Starts a question for `need` units of the lease on `counter`, unless one is in flight.
    /// [`Self::claim`] then returns the claim to send.
    pub fn begin(&mut self, counter: &str, need: u64, now: UnixMillis) -> Option<Question> {
        let held = self.held.get_mut(counter)?;
        if held.pending.is_some_and(|pending| !pending.at.is_older(LEASE_ANSWER_MS, now)) {
            return None;
        }
        // The request that asks has usually waited before, so `waiting` already includes its units.
        let waiting = std::mem::take(&mut held.waiting).saturating_sub(need);
        let (want, measured) =
            held.demand.next(held.spent, need.saturating_add(waiting), held.round_trip_ms, now.get());
        if measured {
            // Other isolates have a better use for the surplus.
            let surplus = held.left().saturating_sub(want.saturating_mul(2));
            held.returned = held.returned.saturating_add(surplus);
            if surplus > 0 {
                // The ledger has units again: a request that still waits may be served by them.
                held.short = 0;
            }
        }
        self.questions = self.questions.saturating_add(1);
        held.last_question = self.questions;
        held.pending = Some(PendingClaim { at: AskedAt::now(now), need, waiting, want });
        Some(Question { counter: counter.to_owned(), number: held.last_question })
    }

    /// Returns the state of a question. It costs one lookup by name.
    pub fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        let Some(held) = self.held.get(&question.counter) else { return LeaseProgress::Again };
        match held.pending {
            Some(pending) if held.last_question == question.number && !pending.at.is_older(LEASE_ANSWER_MS, now) => {
                LeaseProgress::Due(pending.at.plus(held.round_trip_ms))
            }
            _ => match held.unanswered {
                Some((of, why)) if of == question.number => LeaseProgress::Over(WaitFailure::Unanswered(why)),
                // If a later question came up short, so would this one.
                _ if question.number <= held.short => LeaseProgress::Over(WaitFailure::Short(question.clone())),
                _ => LeaseProgress::Again,
            },
        }
    }

    /// Returns the claim for the lease on `counter`.
    pub fn claim(&self, counter: &str) -> Option<LeaseClaim<'_>> {
        self.held.get(counter).map(CachedLease::claim)
    }

    /// Returns the final claims of leases that have ended here, for the ledger that counts them.
    pub fn released(&self, ledger: &str) -> impl Iterator<Item = LeaseClaim<'_>> {
        self.released.iter().filter(move |held| held.ledger == ledger).map(CachedLease::claim)
    }

    /// Applies the response to a `question`. `allowed` says whether the ledger allowed the request
    /// as a whole; `grant` is the state of `lease`.
    ///
    /// INVARIANT (answers belong to questions): a response that arrives after its question timed
    /// out updates the lease. It has no effect on requests that wait for a later question.
    pub fn receive(&mut self, question: &Question, lease: &str, grant: &LeaseGrant, allowed: bool, received: HeardAt) {
        if let Some(held) = self.released.iter_mut().find(|held| held.name == lease) {
            // The lease has ended here in the meantime, so new units go back too.
            held.granted = held.granted.max(grant.granted.unwrap_or(0));
            held.returned = held.granted.saturating_sub(held.spent);
            return;
        }
        let Some(held) = self.held.get_mut(&question.counter).filter(|held| held.name == lease) else { return };
        let asked = if held.last_question == question.number { held.pending.take() } else { None };
        let now = received.get();
        held.received_ms = now.get();
        held.round_trip_ms = asked.map_or(held.round_trip_ms, |asked| received.since(asked.at));
        if asked.is_some_and(|asked| asked.need > 0 || held.waiting > 0) {
            held.demand.waited_ms = held.demand.waited_ms.saturating_add(held.round_trip_ms);
        }
        held.verdicts.clone_from(&grant.verdicts);
        if let Some(granted) = grant.granted {
            held.granted = held.granted.max(granted);
            held.ends_ms = grant.ends_ms;
        } else {
            // The ledger does not know the lease, so its units are void. The next lease needs a new
            // name.
            self.last_lease = self.last_lease.saturating_add(1);
            (held.number, held.name) = (self.last_lease, format!("{}/{}", self.name, self.last_lease));
            (held.granted, held.spent, held.returned, held.provisional) = (0, 0, 0, 0);
            held.demand.spent_before = 0;
            held.pending = None;
        }
        held.refilled = held.left();
        // The units that remain after the asking request serve requests that arrived since. Only
        // the unserved ones travel with the next question.
        let served = held.refilled.saturating_sub(asked.map_or(0, |asked| asked.need));
        held.waiting = held.waiting.saturating_sub(served);
        let refused = !allowed && grant.verdicts.iter().any(|verdict| !verdict.allowed);
        let short = |asked: &PendingClaim| {
            let firm = asked.need.saturating_add(asked.waiting);
            asked.waiting > 0 && allowed && held.left() < firm
        };
        let is_short = asked.is_some_and(|asked| asked.need > 0 && refused || short(&asked));
        if is_short {
            held.short = held.last_question;
        }
        let Some(asked) = asked else { return };
        held.refusal = is_short.then(|| {
            let wait = grant.verdicts.iter().filter_map(|verdict| verdict.retry_after_ms).max();
            let dry_ms = held.round_trip_ms.clamp(LEASE_DRY_MS, MAX_LEASE_DRY_MS);
            // If nothing is left, the refusal applies to a single unit too.
            (if refused { asked.need } else { 1 }, now.get().saturating_add(wait.unwrap_or(dry_ms).min(dry_ms)))
        });
    }

    /// Forgets a released lease once the ledger has confirmed that all its units are accounted for.
    pub fn confirm_release(&mut self, lease: &str) {
        self.released.retain(|held| held.name != lease || held.granted > held.spent.saturating_add(held.returned));
    }

    /// Whether units of the lease on `counter` were spent within the last `within_ms` milliseconds.
    pub fn is_busy(&self, counter: &str, within_ms: u64, now: UnixMillis) -> bool {
        self.held.get(counter).is_some_and(|held| now.get().saturating_sub(held.used_ms) < within_ms)
    }

    /// Ends a question whose response contains no grant. The next request asks again.
    pub fn receive_no_grant(&mut self, question: &Question) {
        if let Some(held) = self.asking(question) {
            held.pending = None;
        }
    }

    /// Ends a question without a response, for all requests that waited for it.
    pub fn receive_failure(&mut self, question: &Question, why: LedgerFailure) {
        if let Some(held) = self.asking(question) {
            held.pending = None;
            held.unanswered = Some((question.number, why));
            held.waiting = 0;
        }
    }

    /// Returns the lease that a question is about, unless a later question is in flight for it.
    fn asking(&mut self, question: &Question) -> Option<&mut CachedLease> {
        self.held.get_mut(&question.counter).filter(|held| held.last_question == question.number)
    }

    /// Returns how the counters of the lease on `counter` stand: the last reported verdicts,
    /// updated by the units spent since.
    pub fn verdicts(&self, counter: &str, now: UnixMillis) -> SmallVec<[Verdict; 2]> {
        let Some(held) = self.held.get(counter) else { return SmallVec::new() };
        let (left, passed) = (held.left(), now.get().saturating_sub(held.received_ms));
        let seen = |(verdict, (_, meter)): (&Verdict, &(String, Meter))| Verdict {
            used: verdict.used.saturating_sub(left),
            remaining: match verdict.limit {
                // Units leased beyond the limit do not count as remaining.
                Some(limit) if meter.lets_over() => limit.saturating_sub(verdict.used.saturating_sub(left)),
                _ => verdict.remaining.saturating_add(left),
            },
            reset_ms: verdict.reset_ms.saturating_sub(passed),
            retry_after_ms: verdict.retry_after_ms.map(|wait| wait.saturating_sub(passed)),
            ..*verdict
        };
        held.verdicts.iter().zip(&held.budgets).map(seen).collect()
    }

    /// Returns the counters of leases that end within `within_ms` milliseconds and have units to
    /// account for with `ledger`.
    pub fn ending(&self, ledger: &str, within_ms: u64, now: UnixMillis) -> Vec<String> {
        let soon = |held: &CachedLease| held.ledger == ledger && held.pending.is_none() && held.left() > 0;
        let ends = |held: &CachedLease| held.ends_ms <= now.get().saturating_add(within_ms);
        self.held.iter().filter(|(_, held)| soon(held) && ends(held)).map(|(counter, _)| counter.clone()).collect()
    }

    /// Ends the lease on a counter here. The next request to its ledger reports it.
    pub fn release(&mut self, counter: &str) {
        if let Some(mut held) = self.held.remove(counter) {
            if let Some(leases) = self.ledgers.get_mut(&held.ledger) {
                *leases = leases.saturating_sub(1);
                if *leases == 0 {
                    self.ledgers.remove(&held.ledger);
                }
            }
            held.returned = held.returned.saturating_add(held.left());
            held.pending = None;
            // Beyond this number a release is not reported: the ledger ends the lease by itself.
            if held.granted > 0 && self.released.len() < MAX_HELD_LEASES {
                self.released.push(held);
            }
        }
    }

    /// Forgets released leases that their ledgers have ended by now.
    pub fn forget_expired(&mut self, now: UnixMillis) {
        if now.since(UnixMillis::new(self.swept_ms)) >= LEASE_DRY_MS {
            self.swept_ms = now.get();
            self.released.retain(|held| held.ends_ms.saturating_add(LEASE_GRACE_MS) > now.get());
        }
    }

    /// Returns the earliest end of a lease from `ledger` that has units left, in milliseconds since
    /// 1970.
    pub fn next_end_ms(&self, ledger: &str) -> Option<u64> {
        if !self.ledgers.contains_key(ledger) {
            return None;
        }
        let left = self.held.values().filter(|held| held.ledger == ledger && held.left() > 0);
        left.map(|held| held.ends_ms).min()
    }
}

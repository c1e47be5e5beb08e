//! What one isolate may spend without asking: its side of the leases; see [`super::Lease`].
//!
//! A purse grows with demand and shrinks with it: it asks for what a second and the way to the ledger will need, at most four times
//! what it wanted last; returns what it has too much of; and asks again before it is empty. Requests that
//! arrive while it asks wait for the answer. A refusal is repeated for as long as the question took, so that a flood does not
//! reach the ledger, near or far.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{LeaseClaim, LeaseGrant, LedgerFailure, Level, Meter, Verdict, WaitFailure};
use crate::model::bounds::{
    LEASE_ANSWER_MS, LEASE_DRY_MS, LEASE_GRACE_MS, MAX_HELD_LEASES, MAX_LEASE_DRY_MS, MAX_LEASE_UNITS,
};
use crate::model::{AskedAt, HeardAt, UnixMillis};

/// How an attempt to spend went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// Spent. `low`: more should be fetched behind the request.
    Done {
        /// Whether little is left, as demand goes.
        low: bool,
    },
    /// The ledger has to be asked: [`LeaseCache::begin`].
    Ask,
    /// Another request has asked already: refuse, or [`LeaseCache::wait`].
    Wait,
    /// The ledger has just refused as much.
    Refused,
}

/// A question to a ledger. Other requests than the one that asks may wait for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The first counter of the lease.
    pub counter: String,
    /// No other question of the isolate has it.
    pub number: u64,
}

/// How far a question has come that another request asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseProgress {
    /// It is under way, and should be answered at this time, as past questions went.
    Due(UnixMillis),
    /// It is answered, or was given up: try again.
    Again,
    /// It does not serve the requests that waited for it.
    Over(WaitFailure),
}

/// The leases of one isolate, by the first counter that they debit.
#[derive(Debug)]
pub struct LeaseCache {
    /// The isolate's name: no other one has it.
    name: String,
    held: FxHashMap<String, CachedLease>,
    /// Leases that have ended here, and of which the ledger has not heard yet.
    leaving: Vec<CachedLease>,
    born: u64,
    /// How many questions were asked.
    questions: u64,
    /// How many of those in use each ledger has.
    ledgers: FxHashMap<String, u64>,
    /// When those that have ended were looked through last.
    looked_ms: u64,
}

#[derive(Debug)]
struct CachedLease {
    number: u64,
    /// The isolate's name and the number.
    name: String,
    ledger: String,
    levels: SmallVec<[(String, Meter); 2]>,
    granted: u64,
    spent: u64,
    returned: u64,
    ends_ms: u64,
    /// What was said last, and when.
    verdicts: SmallVec<[Verdict; 2]>,
    heard_ms: u64,
    /// Units that were there to spend then.
    got: u64,
    /// When something was spent last.
    used_ms: u64,
    demand: Demand,
    asks: Option<Asks>,
    /// The number of the last question that was asked.
    question: u64,
    /// The last question that was answered with less than what was waited for.
    short: u64,
    /// The last question that found no answer.
    unanswered: Option<(u64, LedgerFailure)>,
    /// Milliseconds that the last question and its answer took.
    trip_ms: u64,
    /// Units that callers wait for.
    waiting: u64,
    /// Units of `spent` by requests that may still be refused elsewhere: the ledger does not hear of them yet.
    unsure: u64,
    /// Units that were refused, and until when the same is refused again.
    dry: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Asks {
    at: AskedAt,
    need: u64,
    waiting: u64,
    want: u64,
}

/// How much is spent, measured over stretches of at least half a second.
#[derive(Debug, Default)]
struct Demand {
    /// When the stretch began, and the units spent by then.
    since_ms: u64,
    spent_then: u64,
    /// Milliseconds of the stretch in which requests waited for the ledger. They are left out of the pace: a client that sends one
    /// request after the other would send more of them if it did not wait.
    waited_ms: u64,
    /// Units a second.
    pace: u64,
    /// Units that were wanted last.
    want: u64,
}

impl Demand {
    const STRETCH_MS: u64 = 500;

    /// Units that are spent within a time.
    const fn within(&self, ms: u64) -> u64 {
        self.pace.saturating_mul(ms) / 1_000
    }

    /// Units for the next second and for the time that a question takes, and whether that is sure enough to give others back what is
    /// too much.
    fn next(&mut self, spent: u64, need: u64, trip_ms: u64, now_ms: u64) -> (u64, bool) {
        let units = spent.saturating_sub(self.spent_then).saturating_add(need);
        let elapsed_ms = now_ms.saturating_sub(self.since_ms).saturating_sub(self.waited_ms);
        let pace = units.saturating_mul(1_000).checked_div(elapsed_ms).unwrap_or(units.saturating_mul(1_000));
        let known = elapsed_ms >= Self::STRETCH_MS;
        // The first request of a lease says nothing of the second.
        let first = self.since_ms == 0;
        self.pace = if first {
            0
        } else if known {
            pace
        } else {
            self.pace.max(pace)
        };
        if known || first {
            (self.since_ms, self.spent_then, self.waited_ms) = (now_ms, spent, 0);
        }
        let ahead = self.pace.saturating_add(self.within(trip_ms));
        self.want = ahead.min(self.want.saturating_mul(4)).min(MAX_LEASE_UNITS).max(need);
        (self.want, known && !first)
    }
}

impl CachedLease {
    fn new((number, name): (u64, String), ledger: &str, levels: &[Level<'_>]) -> Self {
        Self {
            number,
            name,
            ledger: ledger.to_owned(),
            levels: levels.iter().map(|level| (level.counter.to_owned(), level.meter)).collect(),
            granted: 0,
            spent: 0,
            returned: 0,
            ends_ms: 0,
            verdicts: SmallVec::new(),
            heard_ms: 0,
            got: 0,
            used_ms: 0,
            demand: Demand::default(),
            asks: None,
            question: 0,
            short: 0,
            unanswered: None,
            trip_ms: 0,
            waiting: 0,
            unsure: 0,
            dry: None,
        }
    }

    const fn left(&self) -> u64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.returned)
    }

    fn debits(&self, levels: &[Level<'_>]) -> bool {
        self.levels.len() == levels.len()
            && self.levels.iter().zip(levels).all(|(own, level)| own.1 == level.meter && own.0 == level.counter)
    }

    fn claim(&self) -> LeaseClaim<'_> {
        let (need, waiting, want) = self.asks.map_or((0, 0, 0), |asks| (asks.need, asks.waiting, asks.want));
        LeaseClaim {
            lease: &self.name,
            levels: self.levels.iter().map(|(counter, meter)| Level { counter, meter: *meter }).collect(),
            spent: self.spent.saturating_sub(self.unsure),
            returned: self.returned,
            // What may still be refused elsewhere is spent here, and open there: it has to be there beside what is asked for.
            need: if need > 0 { need.saturating_add(self.unsure) } else { 0 },
            waiting,
            want: if want > 0 { want.saturating_add(self.unsure) } else { 0 },
        }
    }
}

impl LeaseCache {
    /// An empty purse. `name`: of the isolate, never that of another one.
    pub fn new(name: String) -> Self {
        Self {
            name,
            held: FxHashMap::default(),
            leaving: Vec::new(),
            born: 0,
            questions: 0,
            ledgers: FxHashMap::default(),
            looked_ms: 0,
        }
    }

    /// Tries to spend `cost` units along `levels`, which the ledger of `ledger` counts.
    pub fn spend(&mut self, ledger: &str, levels: &[Level<'_>], cost: u64, now: UnixMillis) -> Spend {
        let Some(first) = levels.first() else { return Spend::Done { low: false } };
        let Some(held) = self.held.get_mut(first.counter) else {
            if self.held.len() >= MAX_HELD_LEASES {
                // Any of them: each can be had again.
                let idle = self.held.iter().find(|(_, held)| held.asks.is_none()).map(|(counter, _)| counter.clone());
                if let Some(counter) = idle {
                    self.leave(&counter);
                }
            }
            let name = self.next_name();
            self.held.insert(first.counter.to_owned(), CachedLease::new(name, ledger, levels));
            let leases = self.ledgers.entry(ledger.to_owned()).or_default();
            *leases = leases.saturating_add(1);
            return Spend::Ask;
        };
        // Another plan, another parent, another period, or the end of its time: what is left goes back.
        let over = held.granted > 0 && held.ends_ms <= now.get();
        if over || !held.debits(levels) {
            self.leave(first.counter);
            return self.spend(ledger, levels, cost, now);
        }
        if held.left() >= cost && held.asks.is_none_or(|asks| held.left() >= cost.saturating_add(asks.need)) {
            held.spent = held.spent.saturating_add(cost);
            held.used_ms = now.get();
            // The answer should be there before the last unit is spent, however far the ledger is.
            let left = held.left();
            let low = left.saturating_mul(4) < held.got || left < held.demand.within(held.trip_ms);
            let low = low && held.asks.is_none();
            return Spend::Done { low };
        }
        match (held.asks, held.dry) {
            (Some(asks), _) if !asks.at.is_older(LEASE_ANSWER_MS, now) => Spend::Wait,
            (_, Some((units, until_ms))) if cost >= units && now.get() < until_ms => Spend::Refused,
            _ => Spend::Ask,
        }
    }

    /// A name that no lease had before.
    fn next_name(&mut self) -> (u64, String) {
        self.born = self.born.saturating_add(1);
        (self.born, format!("{}/{}", self.name, self.born))
    }

    /// Keeps what [`Self::spend`] spent to itself until it is sure; the number of the lease, for [`Self::settle`].
    pub fn hold(&mut self, counter: &str, cost: u64) -> u64 {
        self.held.get_mut(counter).map_or(0, |held| {
            held.unsure = held.unsure.saturating_add(cost);
            held.number
        })
    }

    /// Ends what [`Self::hold`] began: `spent` for good, or taken back because somebody else refused.
    pub fn settle(&mut self, counter: &str, number: u64, cost: u64, spent: bool) {
        let Some(held) = self.held.get_mut(counter).filter(|held| held.number == number) else { return };
        held.unsure = held.unsure.saturating_sub(cost);
        if !spent {
            held.spent = held.spent.saturating_sub(cost);
        }
    }

    /// Waits, with `cost` units, for the question that is under way: [`Self::progress`] says how far it has come.
    pub fn wait(&mut self, counter: &str, cost: u64) -> Option<Question> {
        let held = self.held.get_mut(counter)?;
        held.waiting = held.waiting.saturating_add(cost);
        Some(Question { counter: counter.to_owned(), number: held.question })
    }

    /// Begins to ask for `need` units of the lease on `counter`, unless a question is under way: then [`Self::claim`] says what to send.
    pub fn begin(&mut self, counter: &str, need: u64, now: UnixMillis) -> Option<Question> {
        let held = self.held.get_mut(counter)?;
        if held.asks.is_some_and(|asks| !asks.at.is_older(LEASE_ANSWER_MS, now)) {
            return None;
        }
        // The request that asks has usually waited before: its units are in `need` already.
        let waiting = std::mem::take(&mut held.waiting).saturating_sub(need);
        let (want, sure) = held.demand.next(held.spent, need.saturating_add(waiting), held.trip_ms, now.get());
        if sure {
            // What is far more than that serves others better.
            let surplus = held.left().saturating_sub(want.saturating_mul(2));
            held.returned = held.returned.saturating_add(surplus);
        }
        self.questions = self.questions.saturating_add(1);
        held.question = self.questions;
        held.asks = Some(Asks { at: AskedAt::now(now), need, waiting, want });
        Some(Question { counter: counter.to_owned(), number: held.question })
    }

    /// How far a question has come. Looking costs one search by name.
    pub fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        let Some(held) = self.held.get(&question.counter) else { return LeaseProgress::Again };
        match held.asks {
            Some(asks) if held.question == question.number && !asks.at.is_older(LEASE_ANSWER_MS, now) => {
                LeaseProgress::Due(asks.at.plus(held.trip_ms))
            }
            _ => match held.unanswered {
                Some((of, why)) if of == question.number => LeaseProgress::Over(WaitFailure::Unanswered(why)),
                // A later question that was answered so says the same of an earlier one.
                _ if question.number <= held.short => LeaseProgress::Over(WaitFailure::Short(question.clone())),
                _ => LeaseProgress::Again,
            },
        }
    }

    /// What is to be said of the lease on `counter`.
    pub fn claim(&self, counter: &str) -> Option<LeaseClaim<'_>> {
        self.held.get(counter).map(CachedLease::claim)
    }

    /// What is to be said of leases that have ended here, to the ledger that counts them.
    pub fn farewells(&self, ledger: &str) -> impl Iterator<Item = LeaseClaim<'_>> {
        self.leaving.iter().filter(move |held| held.ledger == ledger).map(CachedLease::claim)
    }

    /// Takes the answer to a `question`: whether the order as a whole was `allowed`, and how `lease` stands.
    ///
    /// INVARIANT (answers belong to questions): an answer that was given up says how the lease stands. It says nothing to requests
    /// that wait for a later question.
    pub fn hear(&mut self, question: &Question, lease: &str, grant: &LeaseGrant, allowed: bool, heard: HeardAt) {
        if let Some(left) = self.leaving.iter_mut().find(|held| held.name == lease) {
            // It has ended here meanwhile: what was granted goes back too.
            left.granted = left.granted.max(grant.granted.unwrap_or(0));
            left.returned = left.granted.saturating_sub(left.spent);
            return;
        }
        let Some(held) = self.held.get_mut(&question.counter).filter(|held| held.name == lease) else { return };
        let asked = if held.question == question.number { held.asks.take() } else { None };
        let now = heard.get();
        held.heard_ms = now.get();
        held.trip_ms = asked.map_or(held.trip_ms, |asked| heard.since(asked.at));
        if asked.is_some_and(|asked| asked.need > 0 || held.waiting > 0) {
            held.demand.waited_ms = held.demand.waited_ms.saturating_add(held.trip_ms);
        }
        held.verdicts.clone_from(&grant.verdicts);
        if let Some(granted) = grant.granted {
            held.granted = held.granted.max(granted);
            held.ends_ms = grant.ends_ms;
        } else {
            // There is none, or none any more: what was left of it is gone, and another one has another name.
            self.born = self.born.saturating_add(1);
            (held.number, held.name) = (self.born, format!("{}/{}", self.name, self.born));
            (held.granted, held.spent, held.returned, held.unsure) = (0, 0, 0, 0);
            held.demand.spent_then = 0;
            held.asks = None;
        }
        held.got = held.left();
        // Beside the request that asked, these units serve requests that arrived since. Only the others travel with the next question.
        let served = held.got.saturating_sub(asked.map_or(0, |asked| asked.need));
        held.waiting = held.waiting.saturating_sub(served);
        let refused = !allowed && grant.verdicts.iter().any(|verdict| !verdict.allowed);
        let short = |asked: &Asks| {
            let firm = asked.need.saturating_add(asked.waiting);
            asked.waiting > 0 && allowed && held.left() < firm
        };
        let is_short = asked.is_some_and(|asked| asked.need > 0 && refused || short(&asked));
        if is_short {
            held.short = held.question;
        }
        let Some(asked) = asked else { return };
        held.dry = is_short.then(|| {
            let wait = grant.verdicts.iter().filter_map(|verdict| verdict.retry_after_ms).max();
            let dry_ms = held.trip_ms.clamp(LEASE_DRY_MS, MAX_LEASE_DRY_MS);
            // Where nothing is left, nothing more can be had.
            (if refused { asked.need } else { 1 }, now.get().saturating_add(wait.unwrap_or(dry_ms).min(dry_ms)))
        });
    }

    /// Notes that a ledger has heard the farewell to a lease.
    pub fn gone(&mut self, lease: &str) {
        self.leaving.retain(|held| held.name != lease || held.granted > held.spent.saturating_add(held.returned));
    }

    /// Whether a lease is in use: something was spent of it within the last `within_ms`.
    pub fn is_busy(&self, counter: &str, within_ms: u64, now: UnixMillis) -> bool {
        self.held.get(counter).is_some_and(|held| now.get().saturating_sub(held.used_ms) < within_ms)
    }

    /// Notes that the answer to a question said nothing about the lease. The next request asks again.
    pub fn ignored(&mut self, question: &Question) {
        if let Some(held) = self.asking(question) {
            held.asks = None;
        }
    }

    /// Notes that a question found no answer, for all requests that waited for it.
    pub fn unanswered(&mut self, question: &Question, why: LedgerFailure) {
        if let Some(held) = self.asking(question) {
            held.asks = None;
            held.unanswered = Some((question.number, why));
            held.waiting = 0;
        }
    }

    /// The lease that a question asks for, unless a later one does.
    fn asking(&mut self, question: &Question) -> Option<&mut CachedLease> {
        self.held.get_mut(&question.counter).filter(|held| held.question == question.number)
    }

    /// How the counters of the lease on `counter` stand: as was said last, and what was spent since.
    pub fn verdicts(&self, counter: &str, now: UnixMillis) -> SmallVec<[Verdict; 2]> {
        let Some(held) = self.held.get(counter) else { return SmallVec::new() };
        let (left, passed) = (held.left(), now.get().saturating_sub(held.heard_ms));
        let seen = |(verdict, (_, meter)): (&Verdict, &(String, Meter))| Verdict {
            used: verdict.used.saturating_sub(left),
            remaining: match verdict.limit {
                // What was set aside beyond the limit is not left of it.
                Some(limit) if meter.lets_over() => limit.saturating_sub(verdict.used.saturating_sub(left)),
                _ => verdict.remaining.saturating_add(left),
            },
            reset_ms: verdict.reset_ms.saturating_sub(passed),
            retry_after_ms: verdict.retry_after_ms.map(|wait| wait.saturating_sub(passed)),
            ..*verdict
        };
        held.verdicts.iter().zip(&held.levels).map(seen).collect()
    }

    /// Counters of leases that end within `within_ms`, on which the ledger of `ledger` should hear what became of them.
    pub fn ending(&self, ledger: &str, within_ms: u64, now: UnixMillis) -> Vec<String> {
        let soon = |held: &CachedLease| held.ledger == ledger && held.asks.is_none() && held.left() > 0;
        let ends = |held: &CachedLease| held.ends_ms <= now.get().saturating_add(within_ms);
        self.held.iter().filter(|(_, held)| soon(held) && ends(held)).map(|(counter, _)| counter.clone()).collect()
    }

    /// Ends the lease on a counter here; the ledger hears of it with the next order.
    pub fn leave(&mut self, counter: &str) {
        if let Some(mut held) = self.held.remove(counter) {
            if let Some(leases) = self.ledgers.get_mut(&held.ledger) {
                *leases = leases.saturating_sub(1);
                if *leases == 0 {
                    self.ledgers.remove(&held.ledger);
                }
            }
            held.returned = held.returned.saturating_add(held.left());
            held.asks = None;
            // One farewell too many is not said: the ledger ends the lease by itself.
            if held.granted > 0 && self.leaving.len() < MAX_HELD_LEASES {
                self.leaving.push(held);
            }
        }
    }

    /// Forgets what no ledger would hear any more.
    pub fn forget(&mut self, now: UnixMillis) {
        if now.since(UnixMillis::new(self.looked_ms)) >= LEASE_DRY_MS {
            self.looked_ms = now.get();
            self.leaving.retain(|held| held.ends_ms.saturating_add(LEASE_GRACE_MS) > now.get());
        }
    }

    /// When the first lease of a ledger ends of which anything is left, in milliseconds since 1970.
    pub fn next_end_ms(&self, ledger: &str) -> Option<u64> {
        if !self.ledgers.contains_key(ledger) {
            return None;
        }
        let left = self.held.values().filter(|held| held.ledger == ledger && held.left() > 0);
        left.map(|held| held.ends_ms).min()
    }
}

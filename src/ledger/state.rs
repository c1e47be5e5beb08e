//! Many counters, taken together or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::change_log::ChangeLog;
use super::expiring_map::ExpiringMap;
use super::lease::Leases;
use super::usage::Tallies;
use super::{
    BreakerStatus, Charge, Chargeable, CircuitBreaker, Counter, CounterOp, HeldUnits, IdempotencyKey, Lease,
    LeaseClaim, LeaseGrant, LedgerRequest, LedgerResponse, QuotaPeriod, Seen, Verdict,
};
use crate::model::UnixMillis;
use crate::model::bounds::MAX_HOLDS;

/// What has changed since it was last asked: what an adapter has to write.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Names of counters.
    pub counters: BTreeSet<Arc<str>>,
    /// Names of leases; one that is not there any more is to be deleted.
    pub leases: BTreeSet<Arc<str>>,
    /// Names of holds; one that is not there any more is to be deleted.
    pub holds: BTreeSet<Arc<str>>,
    /// Names of breakers.
    pub breakers: BTreeSet<Arc<str>>,
    /// Names of snapshots of which a later epoch is known.
    pub epochs: BTreeSet<Arc<str>>,
    /// Tenants that have left for another family, or come back.
    pub gone: BTreeSet<String>,
    /// Names of buckets of usage.
    pub tallies: BTreeSet<Arc<str>>,
    /// Periods of quotas that are over.
    pub closed: BTreeMap<String, QuotaPeriod>,
    /// Recorded periods of metrics, by tenant and metric.
    pub series: BTreeSet<Arc<str>>,
    /// Distinct values of buckets, by [`super::UsageEntry::distinct_name`].
    pub distinct: Vec<String>,
    /// Events of usage, in their order.
    pub events: Vec<String>,
}

/// Counters by name.
///
/// # Examples
/// ```
/// use tenantgate::{ledger::{Charge, CounterOp, LedgerRequest, LedgerState, Meter}, model::UnixMillis};
/// let mut ledger = LedgerState::default();
/// let meter = Meter::rate(2, 2, 1_000);
/// let request = |cost| LedgerRequest { charges: [Charge { counter: "t_acme/requests", meter, op: CounterOp::Take(cost), shadow: false }].into_iter().collect(), ..LedgerRequest::default() };
/// let now = UnixMillis::new(1_000_000);
/// assert!(ledger.answer(&request(2), now).allowed);
/// assert_eq!(ledger.answer(&request(1), now).verdicts[0].retry_after_ms, Some(500));
/// ```
#[derive(Debug)]
pub struct LedgerState {
    /// Where each counter stands in `counters`: found once, a charge needs no second look.
    places: FxHashMap<Arc<str>, usize>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) counters: Vec<Counter>,
    max_counters: usize,
    pub(super) leases: Leases,
    pub(super) holds: ExpiringMap<HeldUnits>,
    pub(super) breakers: FxHashMap<Arc<str>, CircuitBreaker>,
    pub(super) news: ChangeLog,
    /// Tenants that have left for another family.
    pub(super) gone: FxHashSet<String>,
    pub(super) tallies: Tallies,
    /// Periods of quotas that are over, where somebody asks for them.
    pub(super) closed: BTreeMap<String, QuotaPeriod>,
    /// Kept where somebody writes them down.
    pub(super) changes: Option<Changes>,
}

impl Default for LedgerState {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

impl LedgerState {
    /// A book that starts anew when it would hold more than `max_counters`: for counts that may be lost.
    pub fn bounded(max_counters: usize) -> Self {
        Self {
            places: FxHashMap::default(),
            names: Vec::new(),
            counters: Vec::new(),
            max_counters,
            leases: Leases::default(),
            holds: ExpiringMap::default(),
            breakers: FxHashMap::default(),
            news: ChangeLog::default(),
            gone: FxHashSet::default(),
            tallies: Tallies::default(),
            closed: BTreeMap::new(),
            changes: None,
        }
    }

    /// A book that notes its changes, for [`Self::take_changes`].
    pub fn journaled() -> Self {
        Self { changes: Some(Changes::default()), ..Self::default() }
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note_counter(&mut self, name: &Arc<str>) {
        if let Some(changes) = &mut self.changes {
            changes.counters.insert(Arc::clone(name));
        }
    }

    pub(super) fn note_lease(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.leases.insert(name.into());
        }
    }

    pub(super) fn note_hold(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.holds.insert(name.into());
        }
    }

    /// Does what is asked.
    pub fn answer(&mut self, order: &LedgerRequest<'_>, now: UnixMillis) -> LedgerResponse {
        self.answer_once(order, None, now)
    }

    /// Does what is asked, unless it was done before: `known` is the digest of what was done under its name. What is said of
    /// leases and calls is heard in any case; everything else happens together or not at all.
    pub fn answer_once(&mut self, order: &LedgerRequest<'_>, known: Option<&str>, now: UnixMillis) -> LedgerResponse {
        self.end_what_is_over(now);
        for claim in &order.claims {
            self.hear(claim, now);
        }
        for word in &order.breakers {
            self.hear_of_calls(word, now);
        }
        let breakers: SmallVec<[BreakerStatus; 1]> =
            order.breakers.iter().map(|word| self.circuit(word, now)).collect();
        let outcome = if let (Some(once), Some(known)) = (order.once, known) {
            self.repeat(order, once, known, now)
        } else if let Some(leaving) = &order.leave {
            let luggage = Some(self.leave(leaving, now));
            LedgerResponse { allowed: true, luggage, ..LedgerResponse::default() }
        } else if let Some((arriving, luggage)) = &order.arrive {
            self.arrive(arriving, luggage);
            LedgerResponse { allowed: true, ..LedgerResponse::default() }
        } else if let Some(refused) = self.refuse_gone(order) {
            refused
        } else if order.quotas.is_some() || !order.report.is_empty() {
            let report = order.report.iter().map(|inquiry| self.stretch(inquiry, now)).collect();
            let quotas = order.quotas.as_ref().map(|inquiry| self.quota_periods(inquiry)).unwrap_or_default();
            LedgerResponse { allowed: true, report, quotas, ..LedgerResponse::default() }
        } else if order.has_happened() {
            let outcome = self.settle(order, now);
            if !order.dry_run {
                self.add_up(order, now);
            }
            outcome
        } else if let Some(repeated) = self.holds_already(order, now) {
            repeated
        } else {
            self.decide(order, &breakers, now)
        };
        let begins = outcome.allowed && outcome.seen.is_none() && !order.dry_run;
        let breakers = order.breakers.iter().zip(breakers).map(|(word, answer)| {
            let trial = answer.trial && begins;
            if trial {
                self.begin_trial(word.breaker, now);
            }
            BreakerStatus { trial, ..answer }
        });
        let breakers = breakers.collect();
        self.learn(order);
        let (newer, told) = self.news.since(order.heard);
        LedgerResponse { breakers, newer, told, ..outcome }
    }

    /// What was done before under the same name, or another thing was.
    fn repeat(
        &self,
        order: &LedgerRequest<'_>,
        once: IdempotencyKey<'_>,
        known: &str,
        now: UnixMillis,
    ) -> LedgerResponse {
        let same = once.fingerprint == known;
        let held = order.hold.filter(|_| same).and_then(|hold| self.holds.get(hold.name));
        // How things stand now; what was taken then is among it.
        let stands = |charge: &Charge<'_>| Verdict { allowed: same, ..self.dry_run(charge.counter, charge.meter, now) };
        LedgerResponse {
            allowed: same,
            verdicts: order.charges.iter().map(stands).collect(),
            seen: Some(if same { Seen::Repeated } else { Seen::Reused }),
            ends_ms: held.map(HeldUnits::ends_ms),
            lapsed: same && order.hold.is_some() && held.is_none(),
            ..LedgerResponse::default()
        }
    }

    fn decide(&mut self, order: &LedgerRequest<'_>, breakers: &[BreakerStatus], now: UnixMillis) -> LedgerResponse {
        let judged: SmallVec<[_; 2]> = order.claims.iter().map(|claim| self.judge(claim, now)).collect();
        let fits = |((_, good, _), claim): (&(u64, bool, _), &LeaseClaim<'_>)| *good || claim.need == 0;
        let room = order.hold.is_none() || self.holds.len() < MAX_HOLDS;
        let passes = !breakers.iter().any(|answer| answer.refused);
        let granted = passes && judged.iter().zip(&order.claims).all(fits) && each_once(order) && room;
        let mut slips: SmallVec<[Slip<'_>; 4]> = order.charges.iter().map(|charge| Slip(*charge, None)).collect();
        let allowed = self.take(&mut slips, order.dry_run || !granted, now) && granted;
        if !granted && !order.dry_run {
            let passed: SmallVec<[bool; 4]> =
                slips.iter().map(|slip| slip.1.is_some_and(|verdict| verdict.allowed)).collect();
            self.look_again(&mut slips, &passed, now);
        }
        let grants = order.claims.iter().zip(judged).map(|(claim, (lack, good, verdicts))| {
            if allowed && good && !order.dry_run && (claim.need > 0 || claim.want > 0) {
                return self.grant(claim, lack, now);
            }
            let standing = self.standing(claim, now);
            // A refusal says what there was no room for.
            if good { standing } else { LeaseGrant { verdicts, ..standing } }
        });
        let grants = grants.collect();
        let verdicts = slips.into_iter().filter_map(|slip| slip.1).collect();
        let ends_ms = order.hold.filter(|_| allowed && !order.dry_run).map(|hold| self.keep_hold(hold, order, now));
        LedgerResponse { allowed, verdicts, grants, ends_ms, ..LedgerResponse::default() }
    }

    fn end_what_is_over(&mut self, now: UnixMillis) {
        self.end_leases(now);
        self.end_holds(now);
    }

    /// Takes all of `items` at `now`, or none; whether it could. With `dry_run` it judges as ever, and takes nothing.
    ///
    /// INVARIANT (a denial consumes nothing): counters are written only after every charge has been judged.
    /// A charge in shadow never denies. Its quota or gauge counts on beyond the limit; its rate counts what would pass.
    pub fn take(&mut self, items: &mut [impl Chargeable], dry_run: bool, now: UnixMillis) -> bool {
        self.end_what_is_over(now);
        if self.counters.len().saturating_add(items.len()) > self.max_counters {
            self.forget();
        }
        let mut allowed = true;
        let mut judged: SmallVec<[(Option<usize>, Counter, bool); 4]> = SmallVec::new();
        let mut moved = (0, 0);
        for item in &mut *items {
            let charge = item.charge();
            let place = self.place(charge.counter, item.hint());
            let current = self.at(place);
            // The level under the meter that is asked for: what was counted by another kind, or in another period, is no part of it.
            let level = match charge.op {
                CounterOp::Follow | CounterOp::Release(_) | CounterOp::Set(_) => {
                    Counter::step(current, charge.meter, CounterOp::Take(0), now).1.level()
                }
                _ => 0,
            };
            let op = charge.op.after(moved.0, moved.1, level);
            let (mut verdict, mut counter) = Counter::step(current, charge.meter, op, now);
            if charge.shadow && !verdict.allowed {
                let counted = Counter::step(current, charge.meter.unlimited(), op, now);
                (verdict.used, counter) = (counted.0.used, counted.1);
            }
            if matches!(charge.op, CounterOp::Release(_) | CounterOp::Set(_)) {
                moved = (level, counter.level());
            }
            allowed &= verdict.allowed || charge.shadow;
            judged.push((place, counter, verdict.allowed));
            item.settle(verdict);
        }
        if dry_run {
            return allowed;
        }
        if !allowed {
            let passed: SmallVec<[bool; 4]> = judged.iter().map(|(_, _, passed)| *passed).collect();
            self.look_again(items, &passed, now);
            return false;
        }
        for (item, (place, counter, _)) in items.iter_mut().zip(judged) {
            let charge = item.charge();
            // Who looks changes nothing.
            if charge.op == CounterOp::Take(0) {
                continue;
            }
            self.note_closed(charge.counter, &counter);
            match place.and_then(|place| self.counters.get_mut(place)) {
                Some(slot) => *slot = counter,
                None => self.put(charge.counter, counter),
            }
            if self.changes.is_some() {
                let name = self.name_of(charge.counter);
                self.note_counter(&name);
            }
        }
        true
    }

    /// After a denial: what would have been left is not what is left, so those that would have passed are looked at again.
    fn look_again(&self, items: &mut [impl Chargeable], passed: &[bool], now: UnixMillis) {
        for (item, &allowed) in items.iter_mut().zip(passed) {
            let charge = item.charge();
            if allowed || charge.shadow {
                item.settle(Verdict { allowed, ..self.dry_run(charge.counter, charge.meter, now) });
            }
        }
    }

    /// Gives back what [`Self::take`] took of `items`, because somebody else refused.
    pub fn give_back(&mut self, items: &mut [impl Chargeable], now: UnixMillis) {
        for item in items {
            let charge = item.charge();
            if let Some(counter) = self.get(charge.counter).cloned() {
                self.put(charge.counter, counter.without(charge.op.cost()));
            }
            item.settle(self.dry_run(charge.counter, charge.meter, now));
        }
    }

    /// A lease, if it is not over.
    pub fn lease(&self, name: &str) -> Option<&Lease> {
        self.leases.get(name)
    }

    /// Writes a lease as it was stored.
    pub fn put_lease(&mut self, name: &str, lease: Lease) {
        self.leases.put(name, lease);
    }

    /// A hold, if it is open.
    pub fn hold(&self, name: &str) -> Option<&HeldUnits> {
        self.holds.get(name)
    }

    /// Writes a hold as it was stored.
    pub fn put_hold(&mut self, name: &str, held: HeldUnits) {
        self.holds.put(name, held.ends_ms(), held);
    }

    /// The name of a counter, shared where it is known.
    pub(super) fn name_of(&self, counter: &str) -> Arc<str> {
        let known = self.places.get(counter).and_then(|place| self.names.get(*place));
        known.map_or_else(|| counter.into(), Arc::clone)
    }

    /// A counter, if it was ever written.
    pub fn get(&self, counter: &str) -> Option<&Counter> {
        self.at(self.places.get(counter).copied())
    }

    /// Where a counter stands: at its hint, or wherever it is found.
    fn place(&self, counter: &str, hint: Option<&AtomicUsize>) -> Option<usize> {
        let Some(hint) = hint else { return self.places.get(counter).copied() };
        let hinted = hint.load(Ordering::Relaxed);
        if self.names.get(hinted).is_some_and(|name| **name == *counter) {
            return Some(hinted);
        }
        let place = self.places.get(counter).copied()?;
        hint.store(place, Ordering::Relaxed);
        Some(place)
    }

    fn forget(&mut self) {
        self.places.clear();
        self.names.clear();
        self.counters.clear();
    }

    fn at(&self, place: Option<usize>) -> Option<&Counter> {
        self.counters.get(place?)
    }

    /// Writes a counter as it was stored.
    pub fn put(&mut self, name: &str, counter: Counter) {
        if let Some(slot) = self.places.get(name).and_then(|place| self.counters.get_mut(*place)) {
            *slot = counter;
            return;
        }
        if self.counters.len() >= self.max_counters {
            self.forget();
        }
        let name: Arc<str> = name.into();
        self.places.insert(Arc::clone(&name), self.counters.len());
        self.names.push(name);
        self.counters.push(counter);
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }
}

/// Whether what an order takes, it takes of different counters: what is judged one by one could exceed one together.
fn each_once(order: &LedgerRequest<'_>) -> bool {
    let claimed = order.claims.iter().filter(|claim| claim.need > 0).flat_map(|claim| &claim.levels);
    let mut counters: SmallVec<[&str; 8]> = claimed.map(|level| level.counter).collect();
    let claimed = counters.len();
    if claimed > 0 {
        counters.extend(order.charges.iter().map(|charge| charge.counter));
    }
    counters
        .iter()
        .enumerate()
        .take(claimed)
        .all(|(index, one)| !counters.iter().skip(index.saturating_add(1)).any(|other| other == one))
}

/// A charge of an order, and its verdict.
struct Slip<'a>(Charge<'a>, Option<Verdict>);

impl Chargeable for Slip<'_> {
    fn charge(&self) -> Charge<'_> {
        self.0
    }

    fn settle(&mut self, verdict: Verdict) {
        self.1 = Some(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Meter;

    #[test]
    fn those_above_follow_a_level_and_nothing_that_was_counted_before_it() {
        let now = UnixMillis::new(1_000);
        let quota = Meter::Quota { limit: None, starts_ms: 0, ends_ms: 2_000, over: false };
        let gauge = Meter::Gauge { limit: None, over: false };
        let mut book = LedgerState::default();
        let mut take = |charges: [(&str, Meter, CounterOp); 2]| {
            let charges = charges.map(|(counter, meter, op)| Charge { counter, meter, op, shadow: false });
            let order = LedgerRequest { charges: charges.into_iter().collect(), ..LedgerRequest::default() };
            book.answer(&order, now).verdicts.iter().map(|verdict| verdict.used).collect::<Vec<_>>()
        };
        take([("team/seats", quota, CounterOp::Take(50)), ("firm/seats", quota, CounterOp::Take(50))]);
        // The limit becomes a level, which starts at 0.
        assert_eq!(take([("team/seats", gauge, CounterOp::Set(5)), ("firm/seats", gauge, CounterOp::Follow)]), [5, 5]);
        assert_eq!(
            take([("team/seats", gauge, CounterOp::Release(2)), ("firm/seats", gauge, CounterOp::Follow)]),
            [3, 3]
        );
    }

    #[test]
    fn a_bounded_book_stays_within_its_bound() {
        let mut book = LedgerState::bounded(10);
        for index in 0..100 {
            book.put(&format!("c{index}"), Counter::Gauge { level: index, leased: 0 });
            assert!(
                book.len() <= 10 && book.get(&format!("c{index}")) == Some(&Counter::Gauge { level: index, leased: 0 })
            );
        }
    }
}

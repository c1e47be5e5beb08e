//! All counters of one ledger. A request is executed all or nothing.
//!
//! [`LedgerState::answer_once`] is the entry point for a whole [`LedgerRequest`];
//! [`LedgerState::take`] executes only charges. Each call first ends whatever has expired.
//!
//! An adapter that stores the state creates it with [`LedgerState::journaled`], restores it with
//! the `put_…` methods, and writes what [`LedgerState::take_changes`] returns after each request.

mod breakers;
mod epochs;
mod holds;
mod leases;
mod migrations;
mod quotas;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::ledger::change_log::ChangeLog;
use crate::ledger::expiring_map::ExpiringMap;
use crate::ledger::lease::Leases;
use crate::ledger::usage::Tallies;
use crate::ledger::{
    BreakerStatus, Charge, Chargeable, CircuitBreaker, Counter, CounterOp, HeldUnits, IdempotencyKey, Lease,
    LeaseClaim, LeaseGrant, LedgerRequest, LedgerResponse, QuotaPeriod, Seen, Verdict,
};
use crate::model::UnixMillis;
use crate::model::bounds::MAX_HOLDS;

/// The changes since the last call of [`LedgerState::take_changes`], which the adapter must store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Names of counters.
    pub counters: BTreeSet<Arc<str>>,
    /// Names of leases. A lease that no longer exists must be deleted from storage.
    pub leases: BTreeSet<Arc<str>>,
    /// Names of holds. A hold that no longer exists must be deleted from storage.
    pub holds: BTreeSet<Arc<str>>,
    /// Names of breakers.
    pub breakers: BTreeSet<Arc<str>>,
    /// Names of snapshots with a newer epoch.
    pub epochs: BTreeSet<Arc<str>>,
    /// Tenants that have left for another family, or have come back.
    pub gone: BTreeSet<String>,
    /// Names of usage buckets.
    pub tallies: BTreeSet<Arc<str>>,
    /// Quota periods that have ended, by storage name.
    pub closed: BTreeMap<String, QuotaPeriod>,
    /// Names of metric series, each a tenant and a metric.
    pub series: BTreeSet<Arc<str>>,
    /// Distinct values of buckets, by [`crate::ledger::UsageEntry::distinct_name`].
    pub distinct: Vec<String>,
    /// Usage events, in order of arrival.
    pub events: Vec<String>,
}

/// The state of one ledger.
///
/// # Examples
/// ```
/// use tenantgate::ledger::{Charge, CounterOp, LedgerRequest, LedgerState, Meter};
/// use tenantgate::model::UnixMillis;
///
/// let mut ledger = LedgerState::default();
/// let meter = Meter::rate(2, 2, 1_000);
/// let request = |cost| LedgerRequest {
///     charges: std::iter::once(Charge {
///         counter: "t_acme/requests",
///         meter,
///         op: CounterOp::Take(cost),
///         shadow: false,
///     })
///     .collect(),
///     ..LedgerRequest::default()
/// };
/// let now = UnixMillis::new(1_000_000);
/// assert!(ledger.answer(&request(2), now).allowed);
/// assert_eq!(ledger.answer(&request(1), now).verdicts[0].retry_after_ms, Some(500));
/// ```
#[derive(Debug)]
pub struct LedgerState {
    /// The index of each counter in `names` and `counters`.
    places: FxHashMap<Arc<str>, usize>,
    pub(in crate::ledger) names: Vec<Arc<str>>,
    pub(in crate::ledger) counters: Vec<Counter>,
    max_counters: usize,
    pub(in crate::ledger) leases: Leases,
    pub(in crate::ledger) holds: ExpiringMap<HeldUnits>,
    pub(in crate::ledger) breakers: FxHashMap<Arc<str>, CircuitBreaker>,
    pub(in crate::ledger) change_log: ChangeLog,
    /// Tenants that have left for another family.
    pub(in crate::ledger) gone: FxHashSet<String>,
    pub(in crate::ledger) tallies: Tallies,
    /// Quota periods that have ended, by storage name. The adapter loads them before a query.
    pub(in crate::ledger) closed: BTreeMap<String, QuotaPeriod>,
    /// `None` unless the state is journaled.
    pub(in crate::ledger) changes: Option<Changes>,
}

impl Default for LedgerState {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

impl LedgerState {
    /// Creates a state that drops all counters when it would exceed `max_counters`, for counts that
    /// may be lost.
    pub fn bounded(max_counters: usize) -> Self {
        Self {
            places: FxHashMap::default(),
            names: Vec::new(),
            counters: Vec::new(),
            max_counters,
            leases: Leases::default(),
            holds: ExpiringMap::default(),
            breakers: FxHashMap::default(),
            change_log: ChangeLog::default(),
            gone: FxHashSet::default(),
            tallies: Tallies::default(),
            closed: BTreeMap::new(),
            changes: None,
        }
    }

    /// Creates a state that records its changes for [`Self::take_changes`].
    pub fn journaled() -> Self {
        Self { changes: Some(Changes::default()), ..Self::default() }
    }

    /// Returns the changes since the last call.
    pub fn take_changes(&mut self) -> Changes {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(in crate::ledger) fn note_counter(&mut self, name: &Arc<str>) {
        if let Some(changes) = &mut self.changes {
            changes.counters.insert(Arc::clone(name));
        }
    }

    pub(in crate::ledger) fn note_lease(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.leases.insert(name.into());
        }
    }

    pub(in crate::ledger) fn note_hold(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.holds.insert(name.into());
        }
    }

    /// Executes a request.
    pub fn answer(&mut self, request: &LedgerRequest<'_>, now: UnixMillis) -> LedgerResponse {
        self.answer_once(request, None, now)
    }

    /// Executes a request unless its idempotency key is known: `known` is the fingerprint stored
    /// under the key. Lease totals and breaker reports are facts and are applied in any case.
    /// Everything else happens together or not at all.
    pub fn answer_once(&mut self, request: &LedgerRequest<'_>, known: Option<&str>, now: UnixMillis) -> LedgerResponse {
        self.end_expired(now);
        for claim in &request.claims {
            self.apply_totals(claim, now);
        }
        for report in &request.breakers {
            self.record_calls(report, now);
        }
        let breakers: SmallVec<[BreakerStatus; 1]> =
            request.breakers.iter().map(|report| self.circuit(report, now)).collect();
        let outcome = if let (Some(once), Some(known)) = (request.once, known) {
            self.repeat(request, once, known, now)
        } else if let Some(leaving) = &request.leave {
            let transfer = Some(self.leave(leaving, now));
            LedgerResponse { allowed: true, transfer, ..LedgerResponse::default() }
        } else if let Some((arriving, transfer)) = &request.arrive {
            self.arrive(arriving, transfer);
            LedgerResponse { allowed: true, ..LedgerResponse::default() }
        } else if let Some(refused) = self.refuse_gone(request) {
            refused
        } else if request.quotas.is_some() || !request.report.is_empty() {
            let report = request.report.iter().map(|inquiry| self.usage_period(inquiry, now)).collect();
            let quotas = request.quotas.as_ref().map(|inquiry| self.quota_periods(inquiry)).unwrap_or_default();
            LedgerResponse { allowed: true, report, quotas, ..LedgerResponse::default() }
        } else if request.has_happened() {
            let outcome = self.settle(request, now);
            if !request.dry_run {
                self.add_up(request, now);
            }
            outcome
        } else if let Some(hold) =
            request.hold.filter(|hold| hold.renewal.is_some() && self.holds.get(hold.name).is_some())
        {
            self.renew_hold(hold, request, now)
        } else if let Some(repeated) = self.open_hold(request, now) {
            repeated
        } else {
            self.decide(request, &breakers, now)
        };
        let begins = outcome.allowed && outcome.seen.is_none() && !request.dry_run;
        let breakers = request.breakers.iter().zip(breakers).map(|(report, answer)| {
            let trial = answer.trial && begins;
            if trial {
                self.begin_trial(report.breaker, now);
            }
            BreakerStatus { trial, ..answer }
        });
        let breakers = breakers.collect();
        self.learn_epochs(request);
        let (newer, cursor) = self.change_log.since(request.cursor);
        LedgerResponse { breakers, newer, cursor, ..outcome }
    }

    /// Answers a request whose idempotency key is known, either as a repetition or as a reuse of
    /// the key.
    fn repeat(
        &self,
        request: &LedgerRequest<'_>,
        once: IdempotencyKey<'_>,
        known: &str,
        now: UnixMillis,
    ) -> LedgerResponse {
        let same = once.fingerprint == known;
        let held = request.hold.filter(|_| same).and_then(|hold| self.holds.get(hold.name));
        // The current state, which includes what the first request took.
        let stands = |charge: &Charge<'_>| Verdict { allowed: same, ..self.inspect(charge.counter, charge.meter, now) };
        LedgerResponse {
            allowed: same,
            verdicts: request.charges.iter().map(stands).collect(),
            seen: Some(if same { Seen::Repeated } else { Seen::Reused }),
            ends_ms: held.map(HeldUnits::ends_ms),
            lapsed: same && request.hold.is_some() && held.is_none(),
            ..LedgerResponse::default()
        }
    }

    fn decide(&mut self, request: &LedgerRequest<'_>, breakers: &[BreakerStatus], now: UnixMillis) -> LedgerResponse {
        let judged: SmallVec<[_; 2]> = request.claims.iter().map(|claim| self.judge(claim, now)).collect();
        let fits = |((_, good, _), claim): (&(u64, bool, _), &LeaseClaim<'_>)| *good || claim.need == 0;
        let room = request.hold.is_none() || self.holds.len() < MAX_HOLDS;
        let passes = !breakers.iter().any(|answer| answer.refused);
        let granted = passes && judged.iter().zip(&request.claims).all(fits) && each_once(request) && room;
        let mut checks: SmallVec<[JudgedCharge<'_>; 4]> =
            request.charges.iter().map(|charge| JudgedCharge(*charge, None)).collect();
        let allowed = self.take(&mut checks, request.dry_run || !granted, now) && granted;
        if !granted && !request.dry_run {
            let passed: SmallVec<[bool; 4]> =
                checks.iter().map(|check| check.1.is_some_and(|verdict| verdict.allowed)).collect();
            self.refresh_verdicts(&mut checks, &passed, now);
        }
        let grants = request.claims.iter().zip(judged).map(|(claim, (lack, good, verdicts))| {
            if allowed && good && !request.dry_run && (claim.need > 0 || claim.want > 0) {
                return self.grant(claim, lack, now);
            }
            let standing = self.standing(claim, now);
            // A refused grant reports the verdicts that refused it.
            if good { standing } else { LeaseGrant { verdicts, ..standing } }
        });
        let grants = grants.collect();
        let verdicts = checks.into_iter().filter_map(|check| check.1).collect();
        let ends_ms =
            request.hold.filter(|_| allowed && !request.dry_run).map(|hold| self.keep_hold(hold, request, now));
        LedgerResponse { allowed, verdicts, grants, ends_ms, ..LedgerResponse::default() }
    }

    fn end_expired(&mut self, now: UnixMillis) {
        self.end_leases(now);
        self.end_holds(now);
    }

    /// Takes all of `items` at `now` or none of them. Returns whether it could. With `dry_run` it
    /// judges in the same way and takes nothing.
    ///
    /// INVARIANT (a denial consumes nothing): counters are written only after every charge has been
    /// judged. A shadow charge never denies. A shadow quota or gauge keeps counting beyond its
    /// limit; a shadow rate counts only what would pass.
    pub fn take(&mut self, items: &mut [impl Chargeable], dry_run: bool, now: UnixMillis) -> bool {
        self.end_expired(now);
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
            // The level under the requested meter. Units counted by another kind or in another
            // period are not part of it.
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
            item.record(verdict);
        }
        if dry_run {
            return allowed;
        }
        if !allowed {
            let passed: SmallVec<[bool; 4]> = judged.iter().map(|(_, _, passed)| *passed).collect();
            self.refresh_verdicts(items, &passed, now);
            return false;
        }
        for (item, (place, counter, _)) in items.iter_mut().zip(judged) {
            let charge = item.charge();
            // A charge of 0 units only reads, so nothing is written.
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

    /// After a denial, verdicts must state what remains without the charges. Only those of charges
    /// that would have passed are judged again.
    fn refresh_verdicts(&self, items: &mut [impl Chargeable], passed: &[bool], now: UnixMillis) {
        for (item, &allowed) in items.iter_mut().zip(passed) {
            let charge = item.charge();
            if allowed || charge.shadow {
                item.record(Verdict { allowed, ..self.inspect(charge.counter, charge.meter, now) });
            }
        }
    }

    /// Returns the units of `items` that [`Self::take`] took, because the request was denied
    /// elsewhere.
    pub fn give_back(&mut self, items: &mut [impl Chargeable], now: UnixMillis) {
        for item in items {
            let charge = item.charge();
            if let Some(counter) = self.get(charge.counter).cloned() {
                self.put(charge.counter, counter.without(charge.op.cost()));
            }
            item.record(self.inspect(charge.counter, charge.meter, now));
        }
    }

    /// Returns a lease that has not ended.
    pub fn lease(&self, name: &str) -> Option<&Lease> {
        self.leases.get(name)
    }

    /// Restores a stored lease.
    pub fn put_lease(&mut self, name: &str, lease: Lease) {
        self.leases.put(name, lease);
    }

    /// Returns an open hold.
    pub fn hold(&self, name: &str) -> Option<&HeldUnits> {
        self.holds.get(name)
    }

    /// Restores a stored hold.
    pub fn put_hold(&mut self, name: &str, held: HeldUnits) {
        self.holds.put(name, held.ends_ms(), held);
    }

    /// Returns a counter's name, shared if the counter exists.
    pub(in crate::ledger) fn name_of(&self, counter: &str) -> Arc<str> {
        let known = self.places.get(counter).and_then(|place| self.names.get(*place));
        known.map_or_else(|| counter.into(), Arc::clone)
    }

    /// Returns a counter, if it was ever written.
    pub fn get(&self, counter: &str) -> Option<&Counter> {
        self.at(self.places.get(counter).copied())
    }

    /// Returns the index of a counter, and stores it in `hint`.
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

    /// Restores or overwrites a counter.
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

    /// Returns the number of counters.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Returns whether there are no counters.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }
}

/// Whether the claims of a request debit each counter at most once, and no counter that a charge
/// debits too. Claims and charges are judged one by one, so two of them could exceed one counter
/// together.
fn each_once(request: &LedgerRequest<'_>) -> bool {
    let claimed = request.claims.iter().filter(|claim| claim.need > 0).flat_map(|claim| &claim.budgets);
    let mut counters: SmallVec<[&str; 8]> = claimed.map(|budget| budget.counter).collect();
    let claimed = counters.len();
    if claimed > 0 {
        counters.extend(request.charges.iter().map(|charge| charge.counter));
    }
    counters
        .iter()
        .enumerate()
        .take(claimed)
        .all(|(index, one)| !counters.iter().skip(index.saturating_add(1)).any(|other| other == one))
}

/// A charge and its verdict.
struct JudgedCharge<'a>(Charge<'a>, Option<Verdict>);

impl Chargeable for JudgedCharge<'_> {
    fn charge(&self) -> Charge<'_> {
        self.0
    }

    fn record(&mut self, verdict: Verdict) {
        self.1 = Some(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Meter;

    #[test]
    fn ancestors_follow_a_level_but_not_units_of_another_kind() {
        let now = UnixMillis::new(1_000);
        let quota = Meter::Quota { limit: None, starts_ms: 0, ends_ms: 2_000, over: false };
        let gauge = Meter::Gauge { limit: None, over: false };
        let mut ledger = LedgerState::default();
        let mut take = |charges: [(&str, Meter, CounterOp); 2]| {
            let charges = charges.map(|(counter, meter, op)| Charge { counter, meter, op, shadow: false });
            let request = LedgerRequest { charges: charges.into_iter().collect(), ..LedgerRequest::default() };
            ledger.answer(&request, now).verdicts.iter().map(|verdict| verdict.used).collect::<Vec<_>>()
        };
        take([("team/seats", quota, CounterOp::Take(50)), ("firm/seats", quota, CounterOp::Take(50))]);
        // The limit becomes a gauge, whose level starts at 0.
        assert_eq!(take([("team/seats", gauge, CounterOp::Set(5)), ("firm/seats", gauge, CounterOp::Follow)]), [5, 5]);
        assert_eq!(
            take([("team/seats", gauge, CounterOp::Release(2)), ("firm/seats", gauge, CounterOp::Follow)]),
            [3, 3]
        );
    }

    #[test]
    fn a_bounded_state_stays_within_its_bound() {
        let mut ledger = LedgerState::bounded(10);
        for index in 0..100 {
            ledger.put(&format!("c{index}"), Counter::Gauge { level: index, leased: 0 });
            assert!(
                ledger.len() <= 10
                    && ledger.get(&format!("c{index}")) == Some(&Counter::Gauge { level: index, leased: 0 })
            );
        }
    }
}

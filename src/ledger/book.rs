//! Many counters, taken together or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::lease::{Claim, Grant, Lease, Leases};
use super::{Counter, Meter, Op, Verdict};
use crate::model::UnixMillis;

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
    #[serde(default)]
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
    /// What to take, all or nothing.
    #[serde(borrow)]
    pub charges: SmallVec<[Charge<'a>; 4]>,
    /// What is said of leases, and wanted of them: with the charges, all or nothing.
    #[serde(borrow, default, skip_serializing_if = "SmallVec::is_empty")]
    pub claims: SmallVec<[Claim<'a>; 2]>,
    /// Judge only, take nothing.
    #[serde(default)]
    pub look: bool,
    /// Take it once only.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once<'a>>,
}

/// An event that must count once, however often it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once<'a> {
    /// Its name, for ever: tenant and key.
    pub id: &'a str,
    /// A digest of what it takes, so that another event under the same name is found out.
    pub print: &'a str,
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

/// The answer to several charges, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether all were taken. If not, none was.
    pub allowed: bool,
    /// One verdict for each charge.
    pub verdicts: SmallVec<[Verdict; 4]>,
    /// One grant for each claim.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub grants: SmallVec<[Grant; 2]>,
    /// Whether it was told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// What has changed since it was last asked: what an adapter has to write.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Names of counters.
    pub counters: BTreeSet<Arc<str>>,
    /// Names of leases; one that is not there any more is to be deleted.
    pub leases: BTreeSet<Arc<str>>,
}

/// Counters by name.
///
/// # Examples
/// ```
/// use tenantgate::{ledger::{Book, Charge, Meter, Op, Order}, model::UnixMillis};
/// let mut book = Book::default();
/// let meter = Meter::rate(2, 2, 1_000);
/// let order = |cost| Order { charges: [Charge { counter: "t_acme/requests", meter, op: Op::Take(cost), shadow: false }].into_iter().collect(), ..Order::default() };
/// let now = UnixMillis::new(1_000_000);
/// assert!(book.answer(&order(2), now).allowed);
/// assert_eq!(book.answer(&order(1), now).verdicts[0].retry_after_ms, Some(500));
/// ```
#[derive(Debug)]
pub struct Book {
    /// Where each counter stands in `counters`: found once, a charge needs no second look.
    places: FxHashMap<Arc<str>, usize>,
    names: Vec<Arc<str>>,
    counters: Vec<Counter>,
    max_counters: usize,
    pub(super) leases: Leases,
    /// Kept where somebody writes them down.
    changes: Option<Changes>,
}

impl Default for Book {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

impl Book {
    /// A book that starts anew when it would hold more than `max_counters`: for counts that may be lost.
    pub fn bounded(max_counters: usize) -> Self {
        Self {
            places: FxHashMap::default(),
            names: Vec::new(),
            counters: Vec::new(),
            max_counters,
            leases: Leases::default(),
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

    /// Does what is asked, unless it was done before: `known` is the digest of what was done under its name.
    pub fn answer_once(&mut self, order: &Order<'_>, known: Option<&str>, now: UnixMillis) -> Outcome {
        let (Some(once), Some(known)) = (order.once, known) else { return self.answer(order, now) };
        let same = once.print == known;
        // How things stand now; what was taken then is among it.
        let stands = |charge: &Charge<'_>| {
            let verdict = Counter::step(self.get(charge.counter), charge.meter, Op::Take(0), now).0;
            Verdict { allowed: same, retry_after_ms: None, ..verdict }
        };
        Outcome {
            allowed: same,
            verdicts: order.charges.iter().map(stands).collect(),
            grants: SmallVec::new(),
            seen: Some(if same { Seen::Repeated } else { Seen::Reused }),
        }
    }

    /// Does what is asked. What is said of leases is heard in any case; everything else happens together or not at all.
    pub fn answer(&mut self, order: &Order<'_>, now: UnixMillis) -> Outcome {
        self.end_leases(now);
        for claim in &order.claims {
            self.hear(claim, now);
        }
        let judged: SmallVec<[_; 2]> = order.claims.iter().map(|claim| self.judge(claim, now)).collect();
        let fits = |((_, good, _), claim): (&(u64, bool, _), &Claim<'_>)| *good || claim.need == 0;
        let granted = judged.iter().zip(&order.claims).all(fits) && each_once(order);
        let mut slips: SmallVec<[Slip<'_>; 4]> = order.charges.iter().map(|charge| Slip(*charge, None)).collect();
        let allowed = self.take(&mut slips, order.look || !granted, now) && granted;
        if !granted && !order.look {
            self.look_again(&mut slips, now);
        }
        let grants = order.claims.iter().zip(judged).map(|(claim, (lack, good, verdicts))| {
            if allowed && good && !order.look && (claim.need > 0 || claim.want > 0) {
                return self.grant(claim, lack, now);
            }
            let standing = self.standing(claim, now);
            // A refusal says what there was no room for.
            if good { standing } else { Grant { verdicts, ..standing } }
        });
        let grants = grants.collect();
        Outcome { allowed, verdicts: slips.into_iter().filter_map(|slip| slip.1).collect(), grants, seen: None }
    }

    /// Takes all of `items` at `now`, or none; whether it could. With `look` it judges as ever, and takes nothing.
    ///
    /// INVARIANT (a denial consumes nothing): counters are written only after every charge has been judged.
    /// A charge in shadow never denies. Its quota or gauge counts on beyond the limit; its rate counts what would pass.
    pub fn take(&mut self, items: &mut [impl Take], look: bool, now: UnixMillis) -> bool {
        if self.counters.len().saturating_add(items.len()) > self.max_counters {
            self.forget();
        }
        let mut allowed = true;
        let mut judged: SmallVec<[(Option<usize>, Counter); 4]> = SmallVec::new();
        for item in &mut *items {
            let charge = item.charge();
            let place = self.place(charge.counter, item.hint());
            let current = self.at(place);
            let (verdict, mut counter) = Counter::step(current, charge.meter, charge.op, now);
            if charge.shadow && !verdict.allowed {
                counter = Counter::step(current, charge.meter.unlimited(), charge.op, now).1;
            }
            allowed &= verdict.allowed || charge.shadow;
            judged.push((place, counter));
            item.settle(verdict);
        }
        if look {
            return allowed;
        }
        if !allowed {
            self.look_again(items, now);
            return false;
        }
        for (item, &(place, counter)) in items.iter_mut().zip(&judged) {
            let charge = item.charge();
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
    fn look_again(&self, items: &mut [impl Take], now: UnixMillis) {
        for item in items {
            let charge = item.charge();
            let current = self.get(charge.counter);
            if Counter::step(current, charge.meter, charge.op, now).0.allowed {
                let looked = Counter::step(current, charge.meter, Op::Take(0), now).0;
                item.settle(Verdict { allowed: true, retry_after_ms: None, ..looked });
            }
        }
    }

    /// Gives back what [`Self::take`] took of `items`, because somebody else refused.
    pub fn give_back(&mut self, items: &mut [impl Take], now: UnixMillis) {
        for item in items {
            let charge = item.charge();
            let current = self.get(charge.counter).map(|counter| counter.without(charge.op.cost()));
            let verdict = Counter::step(current, charge.meter, Op::Take(0), now).0;
            if let Some(counter) = current {
                self.put(charge.counter, counter);
            }
            item.settle(Verdict { allowed: true, retry_after_ms: None, ..verdict });
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

    /// The name of a counter, shared where it is known.
    pub(super) fn name_of(&self, counter: &str) -> Arc<str> {
        let known = self.places.get(counter).and_then(|place| self.names.get(*place));
        known.map_or_else(|| counter.into(), Arc::clone)
    }

    /// A counter, if it was ever written.
    pub fn get(&self, counter: &str) -> Option<Counter> {
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

    fn at(&self, place: Option<usize>) -> Option<Counter> {
        self.counters.get(place?).copied()
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
fn each_once(order: &Order<'_>) -> bool {
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

impl Take for Slip<'_> {
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

    #[test]
    fn a_bounded_book_stays_within_its_bound() {
        let mut book = Book::bounded(10);
        for index in 0..100 {
            book.put(&format!("c{index}"), Counter::Gauge { level: index });
            assert!(book.len() <= 10 && book.get(&format!("c{index}")) == Some(Counter::Gauge { level: index }));
        }
    }
}

//! Many counters, taken together or not at all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Counter, Meter, Op, Verdict};
use crate::model::{Cache, UnixMillis};

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

/// What is asked of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order<'a> {
    /// What to take, all or nothing.
    #[serde(borrow)]
    pub charges: SmallVec<[Charge<'a>; 4]>,
    /// Judge only, take nothing.
    #[serde(default)]
    pub look: bool,
}

/// The answer to several charges, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether all were taken. If not, none was.
    pub allowed: bool,
    /// One verdict for each charge.
    pub verdicts: SmallVec<[Verdict; 4]>,
}

/// Counters by name.
#[derive(Debug)]
pub struct Book {
    counters: Cache<Arc<str>, Counter>,
}

impl Default for Book {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

impl Book {
    /// A book that forgets the counters longest unused when there are more than `max_counters`.
    pub fn bounded(max_counters: usize) -> Self {
        Self { counters: Cache::new(max_counters) }
    }

    /// Does what is asked.
    pub fn answer(&mut self, order: &Order<'_>, now: UnixMillis) -> Outcome {
        if order.look { self.look(&order.charges, now) } else { self.take(&order.charges, now) }
    }

    /// Takes all `charges` at `now`, or none.
    ///
    /// INVARIANT (a denial consumes nothing): counters are written only after every charge has been judged.
    /// A charge in shadow never denies. Its quota or gauge counts on beyond the limit; its rate counts what would pass.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::{ledger::{Book, Charge, Meter, Op}, model::UnixMillis};
    /// let mut book = Book::default();
    /// let charge = |cost| [Charge { counter: "t_acme/requests", meter: Meter::rate(2, 2, 1_000), op: Op::Take(cost), shadow: false }];
    /// let now = UnixMillis::new(1_000_000);
    /// assert!(book.take(&charge(2), now).allowed);
    /// let refused = book.take(&charge(1), now);
    /// assert_eq!(refused.verdicts[0].retry_after_ms, Some(500));
    /// ```
    pub fn take(&mut self, charges: &[Charge<'_>], now: UnixMillis) -> Outcome {
        let mut allowed = true;
        let mut verdicts: SmallVec<[Verdict; 4]> = SmallVec::new();
        let mut counters: SmallVec<[Counter; 4]> = SmallVec::new();
        for charge in charges {
            let current = self.get(charge.counter);
            let (verdict, mut counter) = Counter::step(current, charge.meter, charge.op, now);
            if charge.shadow && !verdict.allowed {
                counter = Counter::step(current, charge.meter.unlimited(), charge.op, now).1;
            }
            allowed &= verdict.allowed || charge.shadow;
            verdicts.push(verdict);
            counters.push(counter);
        }
        if allowed {
            for (charge, counter) in charges.iter().zip(&counters) {
                self.put(charge.counter, *counter);
            }
        } else {
            // What the others would have left is not what is left: say it again without taking.
            for (charge, verdict) in charges.iter().zip(&mut verdicts).filter(|(_, verdict)| verdict.allowed) {
                let looked = Counter::step(self.get(charge.counter), charge.meter, Op::Take(0), now).0;
                *verdict = Verdict { allowed: true, retry_after_ms: None, ..looked };
            }
        }
        Outcome { allowed, verdicts }
    }

    /// Judges `charges` at `now` without taking anything.
    pub fn look(&self, charges: &[Charge<'_>], now: UnixMillis) -> Outcome {
        let judge = |charge: &Charge<'_>| Counter::step(self.get(charge.counter), charge.meter, charge.op, now).0;
        let verdicts: SmallVec<[Verdict; 4]> = charges.iter().map(judge).collect();
        let allowed = verdicts.iter().zip(charges).all(|(verdict, charge)| verdict.allowed || charge.shadow);
        Outcome { allowed, verdicts }
    }

    /// A counter, if it was ever written.
    pub fn get(&self, counter: &str) -> Option<Counter> {
        self.counters.peek(counter).copied()
    }

    /// Writes a counter as it was stored.
    pub fn put(&mut self, name: &str, counter: Counter) {
        match self.counters.get_mut(name) {
            Some(slot) => *slot = counter,
            None => self.counters.insert(name.into(), counter),
        }
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

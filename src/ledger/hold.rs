//! Holds: units that are set aside under a name until it is known what becomes of them.
//!
//! A reservation holds units of quotas and rates for work whose cost is known later: it is settled with what was used, which
//! may be more than was held, or released. A request in flight holds a slot of a concurrency limit. What is held counts as
//! used; what nobody has settled by its time is free again. (A [`super::Lease`] ends the other way: as spent.)

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::counter::LeaseStep;
use super::{Counter, CounterOp, LedgerRequest, LedgerResponse, LedgerState, Meter, Seen, Verdict};
use crate::model::UnixMillis;

/// Under which name an order sets units aside, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold<'a> {
    /// Its name; no other hold of the ledger has it at the same time.
    pub name: &'a str,
    /// Milliseconds after which it ends by itself.
    pub for_ms: u64,
}

/// A hold, as its ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldUnits {
    /// Counters, the allowance at the time, and units of each.
    parts: Vec<(Arc<str>, Meter, u64)>,
    ends_ms: u64,
}

impl HeldUnits {
    pub(super) const fn ends_ms(&self) -> u64 {
        self.ends_ms
    }
}

impl LedgerState {
    /// Ends holds whose time is over: their units are free again.
    pub(super) fn end_holds(&mut self, now: UnixMillis) {
        for (name, held) in self.holds.over(now.get()) {
            self.free(&name, &held, now);
        }
    }

    /// Ends holds of some counters at once: their units are free again.
    pub(super) fn end_holds_on(&mut self, concerns: &dyn Fn(&str) -> bool, now: UnixMillis) {
        let of = |held: &HeldUnits| held.parts.iter().any(|(counter, _, _)| concerns(counter));
        for (name, held) in self.holds.take_where(of) {
            self.free(&name, &held, now);
        }
    }

    /// Gives back what a hold held that is there no more.
    fn free(&mut self, name: &str, held: &HeldUnits, now: UnixMillis) {
        // Under the allowance of then: a period may have ended in between.
        for (counter, meter, units) in &held.parts {
            self.account(counter, *meter, LeaseStep::Returned(*units), now);
        }
        self.note_hold(name);
    }

    /// Notes what an order has just set aside; until when, in milliseconds since 1970.
    pub(super) fn keep_hold(&mut self, hold: Hold<'_>, order: &LedgerRequest<'_>, now: UnixMillis) -> u64 {
        let held = |op| if let CounterOp::Hold(units) = op { Some(units) } else { None };
        let parts = order.charges.iter().filter_map(|charge| {
            let units = held(charge.op)?;
            Some((self.name_of(charge.counter), self.dated(charge.counter, charge.meter), units))
        });
        let held = HeldUnits { parts: parts.collect(), ends_ms: now.get().saturating_add(hold.for_ms) };
        let ends_ms = held.ends_ms;
        self.holds.put(hold.name, ends_ms, held);
        self.note_hold(hold.name);
        ends_ms
    }

    /// Whether a hold of this name is open: then whoever asks for it asks twice.
    pub(super) fn holds_already(&self, order: &LedgerRequest<'_>, now: UnixMillis) -> Option<LedgerResponse> {
        let held = self.holds.get(order.hold?.name)?;
        let verdicts = order.charges.iter().map(|charge| self.dry_run(charge.counter, charge.meter, now)).collect();
        let ends_ms = Some(held.ends_ms);
        Some(LedgerResponse {
            allowed: true,
            verdicts,
            seen: Some(Seen::Repeated),
            ends_ms,
            ..LedgerResponse::default()
        })
    }

    /// Counts what has happened, and ends the hold that was there for it, if any: of each counter that a charge names, so many units were used in the end; of the others, none.
    ///
    /// What was used is counted, whatever the limit says, also where the hold has ended by itself: it has happened.
    pub(super) fn settle(&mut self, order: &LedgerRequest<'_>, now: UnixMillis) -> LedgerResponse {
        if order.dry_run {
            let lapsed = order.settle.is_some_and(|name| self.holds.get(name).is_none());
            return LedgerResponse {
                allowed: true,
                verdicts: self.looks(order, now),
                lapsed,
                ..LedgerResponse::default()
            };
        }
        let held = order.settle.and_then(|name| self.holds.remove(name));
        let lapsed = order.settle.is_some() && held.is_none();
        if let (Some(name), Some(held)) = (order.settle, &held) {
            self.free(name, held, now);
        }
        let at_ms = order.usage.first().map(|entry| entry.at_ms);
        for charge in &order.charges {
            let counter = self.name_of(charge.counter);
            // An event that is late counts in its own period, which no quota remembers.
            let fresh = Counter::step(self.get(&counter), charge.meter, CounterOp::Take(0), now).1;
            if at_ms.is_some_and(|at_ms| fresh.began_after(at_ms)) {
                continue;
            }
            self.account(&counter, charge.meter, LeaseStep::Granted(charge.op.settled()), now);
            let meter = self.dated(&counter, charge.meter);
            self.account(&counter, meter, LeaseStep::Spent(charge.op.settled()), now);
        }
        LedgerResponse { allowed: true, verdicts: self.looks(order, now), lapsed, ..LedgerResponse::default() }
    }

    /// How the counters of an order stand.
    fn looks(&self, order: &LedgerRequest<'_>, now: UnixMillis) -> SmallVec<[Verdict; 4]> {
        order.charges.iter().map(|charge| self.dry_run(charge.counter, charge.meter, now)).collect()
    }

    /// How a counter stands; nothing is asked of it.
    pub(super) fn dry_run(&self, counter: &str, meter: Meter, now: UnixMillis) -> Verdict {
        let verdict = Counter::step(self.get(counter), meter, CounterOp::Take(0), now).0;
        Verdict { allowed: true, retry_after_ms: None, ..verdict }
    }

    /// Moves units of one counter.
    pub(super) fn account(&mut self, name: &Arc<str>, meter: Meter, units: LeaseStep, now: UnixMillis) {
        if matches!(units, LeaseStep::Granted(0) | LeaseStep::Spent(0) | LeaseStep::Returned(0)) {
            return;
        }
        let current = self.get(name);
        let (counter, meter) = match current {
            Some(counter) if !matches!(units, LeaseStep::Granted(_)) => (counter.clone(), meter),
            // What is granted, or was never written, begins as it would be judged.
            _ => {
                let fresh = Counter::step(current, meter, CounterOp::Take(0), now).1;
                let meter = fresh.dated(meter);
                (fresh, meter)
            }
        };
        let moved = counter.moved(meter, units, now);
        self.note_closed(name, &moved);
        self.put(name, moved);
        self.note_counter(name);
    }

    /// The meter, for the period that a counter counts.
    pub(super) fn dated(&self, counter: &str, meter: Meter) -> Meter {
        self.get(counter).map_or(meter, |counter| counter.dated(meter))
    }
}

//! Holds: units set aside under a name.

use crate::ledger::hold::{HeldUnits, Hold};
use crate::ledger::verdict::LeaseStep;
use crate::ledger::{Charge, Counter, CounterOp, LedgerRequest, LedgerResponse, LedgerState, Meter, Seen, Verdict};
use crate::model::UnixMillis;
use smallvec::SmallVec;
use std::sync::Arc;

impl LedgerState {
    /// Ends the holds that have expired. Their units are free again.
    pub(in crate::ledger) fn end_holds(&mut self, now: UnixMillis) {
        for (name, held) in self.holds.over(now.get()) {
            self.free(&name, &held, now);
        }
    }

    /// Ends the holds on matching counters at once. Their units are free again.
    pub(in crate::ledger) fn end_holds_on(&mut self, concerns: &dyn Fn(&str) -> bool, now: UnixMillis) {
        let of = |held: &HeldUnits| held.parts.iter().any(|(counter, _, _)| concerns(counter));
        for (name, held) in self.holds.take_where(of) {
            self.free(&name, &held, now);
        }
    }

    /// Returns the units of a hold that is already removed.
    fn free(&mut self, name: &str, held: &HeldUnits, now: UnixMillis) {
        // The meter of the hold names its period, which may have ended in the meantime.
        for (counter, meter, units) in &held.parts {
            self.account(counter, *meter, LeaseStep::Returned(*units), now);
        }
        self.note_hold(name);
    }

    /// Stores the units that a request has just set aside. Returns when the hold expires, in
    /// milliseconds since 1970.
    pub(in crate::ledger) fn keep_hold(&mut self, hold: Hold<'_>, request: &LedgerRequest<'_>, now: UnixMillis) -> u64 {
        let held = |op| if let CounterOp::Hold(units) = op { Some(units) } else { None };
        let parts = request.charges.iter().filter_map(|charge| {
            let units = held(charge.op).filter(|units| *units > 0)?;
            Some((self.name_of(charge.counter), self.dated(charge.counter, charge.meter), units))
        });
        let ends_ms = now.get().saturating_add(hold.for_ms);
        let held = HeldUnits { parts: parts.collect(), ends_ms, renewal: hold.renewal.unwrap_or(0) };
        self.holds.put(hold.name, ends_ms, held);
        self.note_hold(hold.name);
        ends_ms
    }

    /// Changes an open hold to the units of a request, and extends it. Takes only what it lacks,
    /// and frees what it has too much. If that is refused, the hold stays as it is, and so it does
    /// if a later request has changed it already.
    pub(in crate::ledger) fn renew_hold(
        &mut self,
        hold: Hold<'_>,
        request: &LedgerRequest<'_>,
        now: UnixMillis,
    ) -> LedgerResponse {
        let Some(held) = self.holds.get(hold.name).cloned() else { return LedgerResponse::default() };
        let renewal = hold.renewal.unwrap_or(0);
        if renewal < held.renewal {
            return LedgerResponse { verdicts: self.standings(request, now), ..LedgerResponse::default() };
        }
        let held_of = |counter: &str| {
            let own = held.parts.iter().filter(|(name, _, _)| **name == *counter).map(|(_, _, units)| *units);
            own.fold(0_u64, u64::saturating_add)
        };
        // Only what it lacks is judged: to hold on, or to hold less, needs no room.
        let lack = |charge: &Charge<'_>| match charge.op {
            CounterOp::Hold(units) => units.saturating_sub(held_of(charge.counter)),
            _ => 0,
        };
        let lacking = request.charges.iter().filter(|charge| lack(charge) > 0);
        let charges = lacking.map(|charge| Charge { op: CounterOp::Hold(lack(charge)), ..*charge }).collect();
        let more = LedgerRequest { hold: None, charges, ..request.clone() };
        let response = self.decide(&more, &[], now);
        if !response.allowed || request.dry_run {
            let judged = |charge: &Charge<'_>| {
                let place = more.charges.iter().position(|other| other.counter == charge.counter);
                let verdict = place.and_then(|place| response.verdicts.get(place)).copied();
                verdict.unwrap_or_else(|| self.inspect(charge.counter, charge.meter, now))
            };
            let verdicts = request.charges.iter().map(judged).collect();
            return LedgerResponse { verdicts, ..response };
        }
        let mut parts = Vec::with_capacity(held.parts.len());
        // Units beyond those asked for are freed in the period in which they were held.
        let mut wanted: Vec<(&str, u64)> = Vec::new();
        for charge in &request.charges {
            if let CounterOp::Hold(units) = charge.op {
                wanted.push((charge.counter, units));
            }
        }
        for (counter, meter, units) in held.parts {
            let left = wanted.iter_mut().find(|(name, _)| *name == &*counter);
            let kept = left.map_or(0, |(_, left)| {
                let kept = units.min(*left);
                *left = left.saturating_sub(kept);
                kept
            });
            self.account(&counter, meter, LeaseStep::Returned(units.saturating_sub(kept)), now);
            if kept > 0 {
                parts.push((counter, meter, kept));
            }
        }
        for (counter, units) in wanted.into_iter().filter(|(_, units)| *units > 0) {
            let charge = request.charges.iter().find(|charge| charge.counter == counter);
            if let Some(charge) = charge {
                parts.push((self.name_of(counter), self.dated(counter, charge.meter), units));
            }
        }
        let ends_ms = now.get().saturating_add(hold.for_ms);
        self.holds.put(hold.name, ends_ms, HeldUnits { parts, ends_ms, renewal });
        self.note_hold(hold.name);
        LedgerResponse { verdicts: self.standings(request, now), ends_ms: Some(ends_ms), ..response }
    }

    /// Answers a request whose hold is already open, so that a repetition holds nothing more.
    pub(in crate::ledger) fn open_hold(&self, request: &LedgerRequest<'_>, now: UnixMillis) -> Option<LedgerResponse> {
        let held = self.holds.get(request.hold?.name)?;
        let verdicts = request.charges.iter().map(|charge| self.inspect(charge.counter, charge.meter, now)).collect();
        let ends_ms = Some(held.ends_ms);
        Some(LedgerResponse {
            allowed: true,
            verdicts,
            seen: Some(Seen::Repeated),
            ends_ms,
            ..LedgerResponse::default()
        })
    }

    /// Counts what a request reports as used and settles its hold, if there is one. Counters that
    /// no charge names have used nothing of the hold.
    ///
    /// What was used is counted regardless of the limit, and also if the hold has expired: it has
    /// already happened.
    pub(in crate::ledger) fn settle(&mut self, request: &LedgerRequest<'_>, now: UnixMillis) -> LedgerResponse {
        if request.dry_run {
            let lapsed = request.settle.is_some_and(|name| self.holds.get(name).is_none());
            return LedgerResponse {
                allowed: true,
                verdicts: self.standings(request, now),
                lapsed,
                ..LedgerResponse::default()
            };
        }
        let held = request.settle.and_then(|name| self.holds.remove(name));
        let lapsed = request.settle.is_some() && held.is_none();
        if let (Some(name), Some(held)) = (request.settle, &held) {
            self.free(name, held, now);
        }
        let at_ms = request.usage.first().map(|entry| entry.at_ms);
        for charge in &request.charges {
            let counter = self.name_of(charge.counter);
            // A quota counter holds one period, so units of an earlier period are not counted here.
            let fresh = Counter::step(self.get(&counter), charge.meter, CounterOp::Take(0), now).1;
            if at_ms.is_some_and(|at_ms| fresh.began_after(at_ms)) {
                continue;
            }
            self.account(&counter, charge.meter, LeaseStep::Granted(charge.op.settled()), now);
            let meter = self.dated(&counter, charge.meter);
            self.account(&counter, meter, LeaseStep::Spent(charge.op.settled()), now);
        }
        LedgerResponse { allowed: true, verdicts: self.standings(request, now), lapsed, ..LedgerResponse::default() }
    }

    /// Returns how the counters of a request stand.
    fn standings(&self, request: &LedgerRequest<'_>, now: UnixMillis) -> SmallVec<[Verdict; 4]> {
        request.charges.iter().map(|charge| self.inspect(charge.counter, charge.meter, now)).collect()
    }

    /// Returns how a counter stands. The verdict allows, because nothing is asked.
    pub(in crate::ledger) fn inspect(&self, counter: &str, meter: Meter, now: UnixMillis) -> Verdict {
        let verdict = Counter::step(self.get(counter), meter, CounterOp::Take(0), now).0;
        Verdict { allowed: true, retry_after_ms: None, ..verdict }
    }

    /// Applies a step to the leased or held units of one counter.
    pub(in crate::ledger) fn account(&mut self, name: &Arc<str>, meter: Meter, units: LeaseStep, now: UnixMillis) {
        if matches!(units, LeaseStep::Granted(0) | LeaseStep::Spent(0) | LeaseStep::Returned(0)) {
            return;
        }
        let current = self.get(name);
        let (counter, meter) = match current {
            Some(counter) if !matches!(units, LeaseStep::Granted(_)) => (counter.clone(), meter),
            // A grant, or the first step of a counter, starts in the current period, as a charge
            // would.
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

    /// Returns the meter, with the period that the counter counts.
    pub(in crate::ledger) fn dated(&self, counter: &str, meter: Meter) -> Meter {
        self.get(counter).map_or(meter, |counter| counter.dated(meter))
    }
}

//! Tenants that move to another family, or arrive from one.

use crate::ledger::migration::{Migration, TransferSnapshot};
use crate::ledger::{CircuitBreaker, Counter, LedgerRequest, LedgerResponse, LedgerState};
use crate::model::{UnixMillis, gather};
use std::collections::BTreeMap;

impl LedgerState {
    /// Freezes tenants and returns their counts.
    pub(in crate::ledger) fn leave(&mut self, leaving: &Migration, now: UnixMillis) -> TransferSnapshot {
        let first_time = leaving.tenants.keys().any(|tenant| !self.gone.contains(tenant.as_str()));
        self.end_leases_on(&|counter| leaving.has(counter), now);
        self.end_holds_on(&|counter| leaving.has(counter), now);
        let transfer = TransferSnapshot {
            counters: self.counters_where(|name| leaving.has(name)),
            breakers: self.breakers_where(|name| leaving.has(name)),
            tallies: gather(leaving.tenants.keys().flat_map(|tenant| self.tallies.below(tenant))),
            series: gather(leaving.tenants.keys().flat_map(|tenant| self.tallies.series_of(tenant))),
            closed: self.closed_where(|name| leaving.has(name)),
            distinct: self.tallies.distinct_where(|name| leaving.has(name)),
        };
        if first_time {
            self.shift_levels(leaving, &transfer, u64::saturating_sub);
        }
        for tenant in leaving.tenants.keys() {
            self.note_gone(tenant, true);
        }
        transfer
    }

    /// Adds tenants with their counts.
    pub(in crate::ledger) fn arrive(&mut self, arriving: &Migration, transfer: &TransferSnapshot) {
        for tenant in arriving.tenants.keys() {
            self.note_gone(tenant, false);
        }
        for (name, counter) in transfer.counters.iter().filter(|(name, _)| arriving.has(name)) {
            self.put(name, counter.clone());
            let name = self.name_of(name);
            self.note_counter(&name);
        }
        for (name, breaker) in transfer.breakers.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_breaker(name, breaker.clone());
            self.note_breaker(name);
        }
        for (name, tally) in transfer.tallies.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_tally(name, tally.clone());
            self.note_tally(name);
        }
        for (name, series) in transfer.series.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_series(name, series.clone());
            self.note_series(name);
        }
        for (name, period) in transfer.closed.iter().filter(|(name, _)| arriving.has(name)) {
            self.write_closed(name.clone(), *period);
        }
        for name in transfer.distinct.iter().filter(|name| arriving.has(name)) {
            self.put_distinct(name.clone());
            self.note_distinct(name.clone());
        }
        self.shift_levels(arriving, transfer, u64::saturating_add);
    }

    /// Raises or lowers the levels of the remaining ancestors by those of the migrating tenants.
    fn shift_levels(&mut self, moving: &Migration, transfer: &TransferSnapshot, shift: fn(u64, u64) -> u64) {
        for (name, counter) in transfer.counters.iter().filter(|(name, _)| moving.has(name)) {
            let tenant = name.split('/').next().unwrap_or_default();
            let limit = name.strip_prefix(tenant).unwrap_or_default();
            let Counter::Gauge { level: units, .. } = counter else { continue };
            if !moving.is_topmost(tenant, limit, transfer) {
                continue;
            }
            for above in &moving.ancestors {
                let name = format!("{above}{limit}");
                let (level, leased) = match self.get(&name) {
                    Some(Counter::Gauge { level, leased }) => (*level, *leased),
                    Some(_) => continue,
                    None => (0, 0),
                };
                self.put(&name, Counter::Gauge { level: shift(level, *units), leased });
                let name = self.name_of(&name);
                self.note_counter(&name);
            }
        }
    }

    /// Refuses a request that concerns a tenant that has left.
    pub(in crate::ledger) fn refuse_gone(&self, request: &LedgerRequest<'_>) -> Option<LedgerResponse> {
        if self.gone.is_empty() {
            return None;
        }
        let is_gone = |counter: &str| counter.split_once('/').is_some_and(|(tenant, _)| self.gone.contains(tenant));
        let gone = request.tenant.is_some_and(|tenant| self.gone.contains(tenant))
            || request.charges.iter().any(|charge| is_gone(charge.counter))
            || request
                .claims
                .iter()
                .filter(|claim| claim.need > 0 || claim.want > 0)
                .flat_map(|claim| &claim.budgets)
                .any(|budget| is_gone(budget.counter));
        gone.then(|| LedgerResponse { gone, ..LedgerResponse::default() })
    }

    fn note_gone(&mut self, tenant: &str, gone: bool) {
        let changed = if gone { self.gone.insert(tenant.to_owned()) } else { self.gone.remove(tenant) };
        if let (true, Some(changes)) = (changed, &mut self.changes) {
            changes.gone.insert(tenant.to_owned());
        }
    }

    /// Returns whether a tenant has left for another family.
    pub fn is_gone(&self, tenant: &str) -> bool {
        self.gone.contains(tenant)
    }

    /// Restores the fact that a tenant has left.
    pub fn put_gone(&mut self, tenant: &str) {
        self.gone.insert(tenant.to_owned());
    }

    fn counters_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Counter> {
        let named = self.names.iter().zip(&self.counters).filter(|(name, _)| wanted(name));
        gather(named.map(|(name, counter)| (name.to_string(), counter.clone())))
    }

    fn breakers_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, CircuitBreaker> {
        let named = self.breakers.iter().filter(|(name, _)| wanted(name));
        gather(named.map(|(name, breaker)| (name.to_string(), breaker.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Charge, CounterOp, Hold, Meter};

    const NOW: UnixMillis = UnixMillis::new(1_000);
    const QUOTA: Meter = Meter::Quota { limit: Some(100), starts_ms: 0, ends_ms: u64::MAX, over: false };
    const SEATS: Meter = Meter::Gauge { limit: Some(10), over: false };

    fn take<'a>(tenant: &'a str, charges: &[(&'a str, Meter, CounterOp)]) -> LedgerRequest<'a> {
        let charge = |(counter, meter, op): &(&'a str, Meter, CounterOp)| Charge {
            counter,
            meter: *meter,
            op: *op,
            shadow: false,
        };
        LedgerRequest {
            tenant: Some(tenant),
            charges: charges.iter().map(charge).collect(),
            ..LedgerRequest::default()
        }
    }

    #[test]
    fn counts_move_once_and_the_old_ledger_refuses() {
        let (mut old, mut new) = (LedgerState::journaled(), LedgerState::journaled());
        let child = [("child/calls", QUOTA, CounterOp::Take(30)), ("parent/calls", QUOTA, CounterOp::Take(30))];
        let seats = [("child/seats", SEATS, CounterOp::Take(4)), ("parent/seats", SEATS, CounterOp::Take(4))];
        assert!(old.answer(&take("child", &child), NOW).allowed && old.answer(&take("child", &seats), NOW).allowed);
        assert!(old.answer(&take("parent", &[("parent/seats", SEATS, CounterOp::Take(2))]), NOW).allowed);
        let held = [("child/calls", QUOTA, CounterOp::Hold(20)), ("parent/calls", QUOTA, CounterOp::Hold(20))];
        let hold = Some(Hold { name: "child job", for_ms: 60_000, renewal: None });
        assert!(old.answer(&LedgerRequest { hold, ..take("child", &held) }, NOW).allowed);

        // A grandchild's seats are included in its parent's.
        old.put("grandchild/seats", Counter::Gauge { level: 1, leased: 0 });
        // Another child has a level that its migrating parent lacks.
        old.put("sibling/desks", Counter::Gauge { level: 2, leased: 0 });
        old.put("parent/desks", Counter::Gauge { level: 5, leased: 0 });
        let family = [("child", None), ("grandchild", Some("child")), ("sibling", Some("child"))];
        let family: BTreeMap<_, _> =
            family.map(|(tenant, parent)| (tenant.to_owned(), parent.map(str::to_owned))).into();
        let under = |above: &str| Migration { tenants: family.clone(), ancestors: vec![above.to_owned()] };
        let leaving = under("parent");
        let leave = LedgerRequest { leave: Some(leaving), ..LedgerRequest::default() };
        let transfer = old.answer(&leave, NOW).transfer.unwrap();
        assert_eq!(
            old.answer(&leave, NOW).transfer.as_ref(),
            Some(&transfer),
            "repeated leaving returns the same snapshot"
        );
        let used = |ledger: &LedgerState, counter: &str| match ledger.get(counter) {
            Some(Counter::Quota(quota)) => quota.total(),
            Some(Counter::Gauge { level, .. }) => *level,
            _ => 0,
        };
        // The parent keeps what the child used of its quota, but loses the child's seats.
        assert_eq!((used(&old, "parent/calls"), used(&old, "parent/seats")), (30, 2));
        let refused = old.answer(&take("child", &child), NOW);
        assert!(refused.gone && !refused.allowed);
        assert!(old.answer(&take("parent", &[("parent/calls", QUOTA, CounterOp::Take(1))]), NOW).allowed);

        assert_eq!(used(&old, "parent/desks"), 3);

        let arrive = LedgerRequest { arrive: Some((under("host"), transfer)), ..LedgerRequest::default() };
        assert!(new.answer(&arrive, NOW).allowed);
        assert_eq!(
            ["child/calls", "child/seats", "host/seats", "host/calls"].map(|name| used(&new, name)),
            [30, 4, 4, 0]
        );
        assert!(!new.answer(&take("child", &[("child/calls", QUOTA, CounterOp::Take(71))]), NOW).allowed);
        // The tenants move back.
        assert_eq!(used(&new, "host/desks"), 2);
        let transfer = new
            .answer(&LedgerRequest { leave: Some(under("host")), ..LedgerRequest::default() }, NOW)
            .transfer
            .unwrap();
        assert!(
            old.answer(&LedgerRequest { arrive: Some((under("parent"), transfer)), ..LedgerRequest::default() }, NOW)
                .allowed
        );
        assert_eq!([used(&new, "host/seats"), used(&old, "parent/seats"), used(&old, "child/calls")], [0, 6, 30]);
        assert!(old.answer(&take("child", &child), NOW).allowed);
    }
}

//! Moves between families: a tenant, and those below it, leave one ledger and arrive at another with their counts.
//!
//! Leaving freezes: leases on the tenant's counters end, as spent; what it holds ends, as free; from then on the ledger refuses
//! whatever concerns it. So leaving may be asked for again and again, and says the same each time, until the luggage has
//! arrived. What was used of the quotas of those above stays used there; levels go along, since seats and bytes do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CircuitBreaker, Counter, LedgerRequest, LedgerResponse, LedgerState, QuotaPeriod, Series, Tally};
use crate::model::{UnixMillis, map_of};

/// Who leaves, or arrives, and under whom.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The tenant and all that are below it, each with its parent among them: the tenant itself has none.
    pub tenants: BTreeMap<String, Option<String>>,
    /// Those that it leaves, or that it will be under.
    pub above: Vec<String>,
}

/// What tenants take along.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferSnapshot {
    /// Counters by name.
    pub counters: BTreeMap<String, Counter>,
    /// Breakers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BTreeMap<String, CircuitBreaker>,
    /// Buckets of usage by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tallies: BTreeMap<String, Tally>,
    /// Recorded periods of metrics, by tenant and metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Series>,
    /// Periods of quotas that are over, by the name under which each is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<(String, QuotaPeriod)>,
    /// Distinct values of those buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distinct: Vec<String>,
}

impl Migration {
    fn has(&self, name: &str) -> bool {
        self.tenants.keys().any(|tenant| belongs(name, tenant))
    }

    /// Whether nobody else who moves, and stands above, has a level of this limit: theirs holds it.
    fn is_topmost(&self, tenant: &str, limit: &str, luggage: &TransferSnapshot) -> bool {
        let parent_of = |tenant: &str| self.tenants.get(tenant).and_then(Option::as_deref);
        // No line is longer than there are tenants.
        let above = std::iter::successors(parent_of(tenant), |tenant| parent_of(tenant)).take(self.tenants.len());
        !above.into_iter().any(|above| luggage.counters.contains_key(&format!("{above}{limit}")))
    }
}

/// Whether a counter, bucket or breaker is a tenant's own.
fn belongs(name: &str, tenant: &str) -> bool {
    name.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('/'))
}

impl LedgerState {
    /// Freezes tenants; what they take along.
    pub(super) fn leave(&mut self, leaving: &Migration, now: UnixMillis) -> TransferSnapshot {
        let first_time = leaving.tenants.keys().any(|tenant| !self.gone.contains(tenant.as_str()));
        self.end_leases_on(&|counter| leaving.has(counter), now);
        self.end_holds_on(&|counter| leaving.has(counter), now);
        let luggage = TransferSnapshot {
            counters: self.counters_where(|name| leaving.has(name)),
            breakers: self.breakers_where(|name| leaving.has(name)),
            tallies: map_of(leaving.tenants.keys().flat_map(|tenant| self.tallies.below(tenant))),
            series: map_of(leaving.tenants.keys().flat_map(|tenant| self.tallies.series_of(tenant))),
            closed: self.closed_where(|name| leaving.has(name)),
            distinct: self.tallies.distinct_where(|name| leaving.has(name)),
        };
        if first_time {
            self.shift_levels(leaving, &luggage, u64::saturating_sub);
        }
        for tenant in leaving.tenants.keys() {
            self.note_gone(tenant, true);
        }
        luggage
    }

    /// Takes tenants in, with what they bring.
    pub(super) fn arrive(&mut self, arriving: &Migration, luggage: &TransferSnapshot) {
        for tenant in arriving.tenants.keys() {
            self.note_gone(tenant, false);
        }
        for (name, counter) in luggage.counters.iter().filter(|(name, _)| arriving.has(name)) {
            self.put(name, counter.clone());
            let name = self.name_of(name);
            self.note_counter(&name);
        }
        for (name, breaker) in luggage.breakers.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_breaker(name, breaker.clone());
            self.note_breaker(name);
        }
        for (name, tally) in luggage.tallies.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_tally(name, tally.clone());
            self.note_tally(name);
        }
        for (name, series) in luggage.series.iter().filter(|(name, _)| arriving.has(name)) {
            self.put_series(name, series.clone());
            self.note_series(name);
        }
        for (name, period) in luggage.closed.iter().filter(|(name, _)| arriving.has(name)) {
            self.write_closed(name.clone(), *period);
        }
        for name in luggage.distinct.iter().filter(|name| arriving.has(name)) {
            self.put_distinct(name.clone());
            self.note_distinct(name.clone());
        }
        self.shift_levels(arriving, luggage, u64::saturating_add);
    }

    /// Levels of those above rise, or fall, with those of the tenants that move.
    fn shift_levels(&mut self, moving: &Migration, luggage: &TransferSnapshot, shift: fn(u64, u64) -> u64) {
        for (name, counter) in luggage.counters.iter().filter(|(name, _)| moving.has(name)) {
            let tenant = name.split('/').next().unwrap_or_default();
            let limit = name.strip_prefix(tenant).unwrap_or_default();
            let Counter::Gauge { level: units, .. } = counter else { continue };
            if !moving.is_topmost(tenant, limit, luggage) {
                continue;
            }
            for above in &moving.above {
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

    /// The refusal of an order that concerns a tenant that has left.
    pub(super) fn refuse_gone(&self, order: &LedgerRequest<'_>) -> Option<LedgerResponse> {
        if self.gone.is_empty() {
            return None;
        }
        let is_gone = |counter: &str| counter.split_once('/').is_some_and(|(tenant, _)| self.gone.contains(tenant));
        let gone = order.tenant.is_some_and(|tenant| self.gone.contains(tenant))
            || order.charges.iter().any(|charge| is_gone(charge.counter))
            || order
                .claims
                .iter()
                .filter(|claim| claim.need > 0 || claim.want > 0)
                .flat_map(|claim| &claim.levels)
                .any(|level| is_gone(level.counter));
        gone.then(|| LedgerResponse { gone, ..LedgerResponse::default() })
    }

    fn note_gone(&mut self, tenant: &str, gone: bool) {
        let changed = if gone { self.gone.insert(tenant.to_owned()) } else { self.gone.remove(tenant) };
        if let (true, Some(changes)) = (changed, &mut self.changes) {
            changes.gone.insert(tenant.to_owned());
        }
    }

    /// Whether a tenant has left for another family.
    pub fn is_gone(&self, tenant: &str) -> bool {
        self.gone.contains(tenant)
    }

    /// Writes that a tenant has left, as it was stored.
    pub fn put_gone(&mut self, tenant: &str) {
        self.gone.insert(tenant.to_owned());
    }

    fn counters_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Counter> {
        let named = self.names.iter().zip(&self.counters).filter(|(name, _)| wanted(name));
        map_of(named.map(|(name, counter)| (name.to_string(), counter.clone())))
    }

    fn breakers_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, CircuitBreaker> {
        let named = self.breakers.iter().filter(|(name, _)| wanted(name));
        map_of(named.map(|(name, breaker)| (name.to_string(), breaker.clone())))
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
    fn counts_go_along_once_and_the_ledger_that_was_left_refuses() {
        let (mut old, mut new) = (LedgerState::journaled(), LedgerState::journaled());
        let child = [("kid/calls", QUOTA, CounterOp::Take(30)), ("mum/calls", QUOTA, CounterOp::Take(30))];
        let seats = [("kid/seats", SEATS, CounterOp::Take(4)), ("mum/seats", SEATS, CounterOp::Take(4))];
        assert!(old.answer(&take("kid", &child), NOW).allowed && old.answer(&take("kid", &seats), NOW).allowed);
        assert!(old.answer(&take("mum", &[("mum/seats", SEATS, CounterOp::Take(2))]), NOW).allowed);
        let held = [("kid/calls", QUOTA, CounterOp::Hold(20)), ("mum/calls", QUOTA, CounterOp::Hold(20))];
        let hold = Some(Hold { name: "kid job", for_ms: 60_000 });
        assert!(old.answer(&LedgerRequest { hold, ..take("kid", &held) }, NOW).allowed);

        // Its own child has seats too, which are among its own.
        old.put("grandkid/seats", Counter::Gauge { level: 1, leased: 0 });
        // Another one has seats, and its parent, which moves too, has none of its own.
        old.put("baby/desks", Counter::Gauge { level: 2, leased: 0 });
        old.put("mum/desks", Counter::Gauge { level: 5, leased: 0 });
        let family = [("kid", None), ("grandkid", Some("kid")), ("baby", Some("kid"))];
        let family: BTreeMap<_, _> =
            family.map(|(tenant, parent)| (tenant.to_owned(), parent.map(str::to_owned))).into();
        let under = |above: &str| Migration { tenants: family.clone(), above: vec![above.to_owned()] };
        let leaving = under("mum");
        let leave = LedgerRequest { leave: Some(leaving), ..LedgerRequest::default() };
        let luggage = old.answer(&leave, NOW).luggage.unwrap();
        assert_eq!(old.answer(&leave, NOW).luggage.as_ref(), Some(&luggage), "asked again, it says the same");
        let used = |book: &LedgerState, counter: &str| match book.get(counter) {
            Some(Counter::Quota(quota)) => quota.total(),
            Some(Counter::Gauge { level, .. }) => *level,
            _ => 0,
        };
        // What the child used of its parent's quota stays used; its seats are not its parent's any more.
        assert_eq!((used(&old, "mum/calls"), used(&old, "mum/seats")), (30, 2));
        let refused = old.answer(&take("kid", &child), NOW);
        assert!(refused.gone && !refused.allowed);
        assert!(old.answer(&take("mum", &[("mum/calls", QUOTA, CounterOp::Take(1))]), NOW).allowed);

        assert_eq!(used(&old, "mum/desks"), 3);

        let arrive = LedgerRequest { arrive: Some((under("aunt"), luggage)), ..LedgerRequest::default() };
        assert!(new.answer(&arrive, NOW).allowed);
        assert_eq!(["kid/calls", "kid/seats", "aunt/seats", "aunt/calls"].map(|name| used(&new, name)), [30, 4, 4, 0]);
        assert!(!new.answer(&take("kid", &[("kid/calls", QUOTA, CounterOp::Take(71))]), NOW).allowed);
        // And back again.
        assert_eq!(used(&new, "aunt/desks"), 2);
        let luggage =
            new.answer(&LedgerRequest { leave: Some(under("aunt")), ..LedgerRequest::default() }, NOW).luggage.unwrap();
        assert!(
            old.answer(&LedgerRequest { arrive: Some((under("mum"), luggage)), ..LedgerRequest::default() }, NOW)
                .allowed
        );
        assert_eq!([used(&new, "aunt/seats"), used(&old, "mum/seats"), used(&old, "kid/calls")], [0, 6, 30]);
        assert!(old.answer(&take("kid", &child), NOW).allowed);
    }
}

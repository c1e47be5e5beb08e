//! Leases: units that a ledger has set aside for one isolate, which spends them without asking.
//!
//! A lease debits the counters of one limit along a whole line, the tenant's own and its ancestors', by the same units in
//! the same step: a parent has used what its children have. What is set aside counts as used until it is said what became
//! of it, so nothing is ever granted twice.
//!
//! Both sides speak in totals that only grow: units granted, spent and returned since the lease began. A message that is
//! lost is healed by the next one; one that arrives twice, or late, changes nothing. A lease ends at its time: what its
//! isolate has not accounted for by then counts as spent.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::counter::LeaseStep;
use super::expiring_map::ExpiringMap;
use super::{Counter, CounterOp, LedgerState, Meter, Verdict};
use crate::model::UnixMillis;
use crate::model::bounds::{LEASE_GRACE_MS, LEASE_MS, MAX_LEASES};

/// A counter that a lease debits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level<'a> {
    /// The counter: tenant and limit.
    pub counter: &'a str,
    /// The allowance.
    pub meter: Meter,
}

/// What an isolate says of one lease, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseClaim<'a> {
    /// The lease, by a name that its isolate has never used before.
    pub lease: &'a str,
    /// The counters that it debits: the tenant's own first, then its ancestors'.
    #[serde(borrow)]
    pub levels: SmallVec<[Level<'a>; 2]>,
    /// Units spent since it began.
    pub spent: u64,
    /// Units returned since it began.
    pub returned: u64,
    /// Units that must be there to spend, or the order is refused; 0 only reports.
    pub need: u64,
    /// Units that other requests of the isolate wait for: granted as far as they are there.
    #[serde(default, skip_serializing_if = "super::counter::is_zero")]
    pub waiting: u64,
    /// Units that would be good to have, for what comes next.
    pub want: u64,
}

/// How a lease stands after an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Units granted since it began. `None`: the ledger does not know the lease any more, and it is worth nothing.
    pub granted: Option<u64>,
    /// Until when they may be spent, in milliseconds since 1970, exclusive.
    pub ends_ms: u64,
    /// How the counters stand, with what is leased counted as used.
    pub verdicts: SmallVec<[Verdict; 2]>,
}

/// A lease, as its ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    levels: Vec<(Arc<str>, Meter)>,
    granted: u64,
    spent: u64,
    returned: u64,
    ends_ms: u64,
}

/// The leases of one ledger.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: ExpiringMap<Lease>,
    /// How many leases debit each counter.
    holders: FxHashMap<Arc<str>, u64>,
}

impl Lease {
    /// Units that are set aside.
    const fn open(&self) -> u64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.returned)
    }
}

impl Leases {
    pub(super) fn get(&self, name: &str) -> Option<&Lease> {
        self.leases.get(name)
    }

    pub(super) fn put(&mut self, name: &str, lease: Lease) {
        for (counter, _) in &lease.levels {
            let holders = self.holders.entry(Arc::clone(counter)).or_default();
            *holders = holders.saturating_add(1);
        }
        self.leases.put(name, lease.ends_ms.saturating_add(LEASE_GRACE_MS), lease);
    }

    fn remove(&mut self, name: &str) -> Option<Lease> {
        let lease = self.leases.remove(name)?;
        self.released(&lease);
        Some(lease)
    }

    fn released(&mut self, lease: &Lease) {
        for (counter, _) in &lease.levels {
            if let Some(holders) = self.holders.get_mut(counter) {
                *holders = holders.saturating_sub(1);
                if *holders == 0 {
                    self.holders.remove(counter);
                }
            }
        }
    }

    /// Takes out leases on some counters.
    fn take_where(&mut self, concerns: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Lease)> {
        let taken = self.leases.take_where(|lease| lease.levels.iter().any(|(counter, _)| concerns(counter)));
        for (_, lease) in &taken {
            self.released(lease);
        }
        taken
    }

    /// Takes out leases that are over.
    fn over(&mut self, now: UnixMillis) -> Vec<(Arc<str>, Lease)> {
        let over = self.leases.over(now.get());
        for (_, lease) in &over {
            self.released(lease);
        }
        over
    }
}

impl LedgerState {
    /// Ends leases whose time is over: what is open counts as spent now, which is never earlier than it was.
    pub(super) fn end_leases(&mut self, now: UnixMillis) {
        for (name, lease) in self.leases.over(now) {
            self.close(&name, &lease, now);
        }
    }

    /// Ends leases on some counters at once: what is open counts as spent.
    pub(super) fn end_leases_on(&mut self, concerns: &dyn Fn(&str) -> bool, now: UnixMillis) {
        for (name, lease) in self.leases.take_where(concerns) {
            self.close(&name, &lease, now);
        }
    }

    /// Counts what is open of a lease as spent, that is there no more.
    fn close(&mut self, name: &str, lease: &Lease, now: UnixMillis) {
        self.account_all(&lease.levels, LeaseStep::Spent(lease.open()), now);
        self.note_lease(name);
    }

    /// Takes what an isolate says of a lease: facts, whatever becomes of the order.
    pub(super) fn hear(&mut self, claim: &LeaseClaim<'_>, now: UnixMillis) {
        let Some(lease) = self.leases.get(claim.lease) else { return };
        let (known, open) = (lease.levels.clone(), lease.open());
        // Totals only grow, and never beyond what was granted: a late or foolish message changes nothing.
        let spent = claim.spent.saturating_sub(lease.spent).min(open);
        let returned = claim.returned.saturating_sub(lease.returned).min(open.saturating_sub(spent));
        if spent == 0 && returned == 0 {
            return;
        }
        self.account_all(&known, LeaseStep::Spent(spent), now);
        self.account_all(&known, LeaseStep::Returned(returned), now);
        if let Some(lease) = self.leases.leases.get_mut(claim.lease) {
            lease.spent = lease.spent.saturating_add(spent);
            lease.returned = lease.returned.saturating_add(returned);
        }
        self.note_lease(claim.lease);
        if claim.need == 0 && claim.want == 0 && self.leases.get(claim.lease).is_some_and(|lease| lease.open() == 0) {
            self.leases.remove(claim.lease);
        }
    }

    /// Units that a claim still lacks, and whether its counters have them.
    pub(super) fn judge(&self, claim: &LeaseClaim<'_>, now: UnixMillis) -> (u64, bool, SmallVec<[Verdict; 2]>) {
        let lease = self.leases.get(claim.lease);
        let lack = claim.need.saturating_sub(lease.map_or(0, Lease::open));
        let verdicts: SmallVec<[Verdict; 2]> = claim
            .levels
            .iter()
            .map(|level| Counter::step(self.get(level.counter), level.meter, CounterOp::Take(lack), now).0)
            .collect();
        let same = lease.is_none_or(|lease| {
            lease.levels.iter().map(|(counter, _)| &**counter).eq(claim.levels.iter().map(|level| level.counter))
        });
        let room = lease.is_some() || self.leases.leases.len() < MAX_LEASES;
        (lack, same && room && verdicts.iter().all(|verdict| verdict.allowed), verdicts)
    }

    /// Grants what a claim lacks, which was judged to be there, and of what it wants as much as is fair.
    pub(super) fn grant(&mut self, claim: &LeaseClaim<'_>, lack: u64, now: UnixMillis) -> LeaseGrant {
        let known = self.leases.get(claim.lease).cloned();
        let mut levels: Vec<(Arc<str>, Meter)> =
            claim.levels.iter().map(|level| (self.name_of(level.counter), level.meter)).collect();
        self.account_all(&levels, LeaseStep::Granted(lack), now);
        let open = known.as_ref().map_or(0, Lease::open).saturating_add(lack);
        let missing = claim.need.saturating_add(claim.waiting).saturating_sub(open);
        let waiting = self.available(&levels, missing, now);
        self.account_all(&levels, LeaseStep::Granted(waiting), now);
        let (lack, open) = (lack.saturating_add(waiting), open.saturating_add(waiting));
        let more = self.fair(claim, &levels, known.is_some(), now).min(claim.want.saturating_sub(open));
        self.account_all(&levels, LeaseStep::Granted(more), now);
        let ends =
            levels.iter().filter_map(|(_, meter)| meter.ends_ms()).fold(now.get().saturating_add(LEASE_MS), u64::min);
        for (level, (counter, meter)) in levels.iter_mut().enumerate() {
            *meter = self.dated(counter, *meter);
            let before = known.as_ref().and_then(|lease| Some((lease.open(), lease.levels.get(level)?.1)));
            // Units that are open from another period will be accounted for in this one: they are set aside in both.
            if let Some((open, _)) = before.filter(|(_, before)| !before.counts_as(*meter)) {
                self.account(counter, *meter, LeaseStep::Granted(open), now);
            }
        }
        let before = known.unwrap_or(Lease { levels: Vec::new(), granted: 0, spent: 0, returned: 0, ends_ms: 0 });
        let granted = before.granted.saturating_add(lack).saturating_add(more);
        self.leases.remove(claim.lease);
        self.leases.put(claim.lease, Lease { levels, granted, ends_ms: ends, ..before });
        self.note_lease(claim.lease);
        let mut standing = self.standing(claim, now);
        if waiting < missing {
            // Those who are left over want to know when one more would pass.
            for (verdict, level) in standing.verdicts.iter_mut().zip(&claim.levels) {
                let one_more = Counter::step(self.get(level.counter), level.meter, CounterOp::Take(1), now).0;
                verdict.retry_after_ms = one_more.retry_after_ms;
            }
        }
        standing
    }

    /// Of `units`, as many as all counters have.
    fn available(&self, levels: &[(Arc<str>, Meter)], units: u64, now: UnixMillis) -> u64 {
        let of = |(name, meter): &(Arc<str>, Meter)| {
            let step = |units| Counter::step(self.get(name), *meter, CounterOp::Take(units), now).0;
            if step(units).allowed { units } else { step(0).remaining.min(units) }
        };
        levels.iter().map(of).min().unwrap_or(0)
    }

    /// How a claim's lease stands.
    pub(super) fn standing(&self, claim: &LeaseClaim<'_>, now: UnixMillis) -> LeaseGrant {
        let lease = self.leases.get(claim.lease);
        let dry_run =
            |level: &Level<'_>| Counter::step(self.get(level.counter), level.meter, CounterOp::Take(0), now).0;
        LeaseGrant {
            granted: lease.map(|lease| lease.granted),
            ends_ms: lease.map_or(0, |lease| lease.ends_ms),
            verdicts: claim.levels.iter().map(dry_run).collect(),
        }
    }

    /// Units beyond need that a lease may have: an equal share of what is left, so that leases shrink to single units as it
    /// runs out; of a rate at most what leaves half of its burst to drain, so that no capacity lies idle.
    fn fair(&self, claim: &LeaseClaim<'_>, levels: &[(Arc<str>, Meter)], holds: bool, now: UnixMillis) -> u64 {
        let share = |(level, (name, meter)): (&Level<'_>, &(Arc<str>, Meter))| {
            let counter = self.get(level.counter);
            let left = Counter::step(counter, *meter, CounterOp::Take(0), now).0.remaining;
            let others = self.leases.holders.get(name).copied().unwrap_or(0).saturating_sub(u64::from(holds));
            let share = left.checked_div(others.saturating_add(2)).unwrap_or(0);
            match meter {
                Meter::Rate(rate) => {
                    let leased = counter.map_or(0, Counter::leased);
                    share.min((rate.burst / 2).saturating_sub(leased))
                }
                // Beyond a limit that lets more through the share is nothing: what is to be paid for is counted one by one.
                _ => share,
            }
        };
        claim.levels.iter().zip(levels).map(share).min().unwrap_or(0)
    }

    fn account_all(&mut self, levels: &[(Arc<str>, Meter)], units: LeaseStep, now: UnixMillis) {
        for (name, meter) in levels {
            self.account(name, *meter, units, now);
        }
    }
}

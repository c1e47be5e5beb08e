//! Leases: units set aside for isolates.

use crate::ledger::lease::{BudgetRef, Lease, LeaseClaim, LeaseGrant};
use crate::ledger::verdict::LeaseStep;
use crate::ledger::{Counter, CounterOp, LedgerState, Meter, Verdict};
use crate::model::UnixMillis;
use crate::model::bounds::{LEASE_MS, MAX_LEASES};
use smallvec::SmallVec;
use std::sync::Arc;

impl LedgerState {
    /// Ends the leases that have expired. Their open units count as spent now, which is never
    /// earlier than they were spent.
    pub(in crate::ledger) fn end_leases(&mut self, now: UnixMillis) {
        for (name, lease) in self.leases.over(now) {
            self.close(&name, &lease, now);
        }
    }

    /// Ends the leases on matching counters at once. Their open units count as spent.
    pub(in crate::ledger) fn end_leases_on(&mut self, concerns: &dyn Fn(&str) -> bool, now: UnixMillis) {
        for (name, lease) in self.leases.take_where(concerns) {
            self.close(&name, &lease, now);
        }
    }

    /// Counts the open units of a lease, which is already removed, as spent.
    fn close(&mut self, name: &str, lease: &Lease, now: UnixMillis) {
        self.account_all(&lease.budgets, LeaseStep::Spent(lease.open()), now);
        self.note_lease(name);
    }

    /// Applies the totals that an isolate reports. They are facts, so they count even if the
    /// request is denied.
    pub(in crate::ledger) fn apply_totals(&mut self, claim: &LeaseClaim<'_>, now: UnixMillis) {
        let Some(lease) = self.leases.get(claim.lease) else { return };
        let (known, open) = (lease.budgets.clone(), lease.open());
        // Totals only grow, and never exceed what was granted: a late or invalid message changes
        // nothing.
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

    /// Returns the units that a claim lacks, whether they can be granted, and the verdicts on them.
    pub(in crate::ledger) fn judge(
        &self,
        claim: &LeaseClaim<'_>,
        now: UnixMillis,
    ) -> (u64, bool, SmallVec<[Verdict; 2]>) {
        let lease = self.leases.get(claim.lease);
        let lack = claim.need.saturating_sub(lease.map_or(0, Lease::open));
        let verdicts: SmallVec<[Verdict; 2]> = claim
            .budgets
            .iter()
            .map(|budget| Counter::step(self.get(budget.counter), budget.meter, CounterOp::Take(lack), now).0)
            .collect();
        let same = lease.is_none_or(|lease| {
            lease.budgets.iter().map(|(counter, _)| &**counter).eq(claim.budgets.iter().map(|budget| budget.counter))
        });
        let room = lease.is_some() || self.leases.leases.len() < MAX_LEASES;
        (lack, same && room && verdicts.iter().all(|verdict| verdict.allowed), verdicts)
    }

    /// Grants the units that a claim lacks, which [`Self::judge`] found available, and a fair share
    /// of those that it wants.
    pub(in crate::ledger) fn grant(&mut self, claim: &LeaseClaim<'_>, lack: u64, now: UnixMillis) -> LeaseGrant {
        let known = self.leases.get(claim.lease).cloned();
        let mut budgets: Vec<(Arc<str>, Meter)> =
            claim.budgets.iter().map(|budget| (self.name_of(budget.counter), budget.meter)).collect();
        self.account_all(&budgets, LeaseStep::Granted(lack), now);
        let open = known.as_ref().map_or(0, Lease::open).saturating_add(lack);
        let missing = claim.need.saturating_add(claim.waiting).saturating_sub(open);
        let waiting = self.available(&budgets, missing, now);
        self.account_all(&budgets, LeaseStep::Granted(waiting), now);
        let (lack, open) = (lack.saturating_add(waiting), open.saturating_add(waiting));
        let more = self.fair(claim, &budgets, known.is_some(), now).min(claim.want.saturating_sub(open));
        self.account_all(&budgets, LeaseStep::Granted(more), now);
        let ends =
            budgets.iter().filter_map(|(_, meter)| meter.ends_ms()).fold(now.get().saturating_add(LEASE_MS), u64::min);
        for (budget, (counter, meter)) in budgets.iter_mut().enumerate() {
            *meter = self.dated(counter, *meter);
            let before = known.as_ref().and_then(|lease| Some((lease.open(), lease.budgets.get(budget)?.1)));
            // Open units of another period are accounted for in this one, so they are set aside in
            // both.
            if let Some((open, _)) = before.filter(|(_, before)| !before.counts_as(*meter)) {
                self.account(counter, *meter, LeaseStep::Granted(open), now);
            }
        }
        let before = known.unwrap_or(Lease { budgets: Vec::new(), granted: 0, spent: 0, returned: 0, ends_ms: 0 });
        let granted = before.granted.saturating_add(lack).saturating_add(more);
        self.leases.remove(claim.lease);
        self.leases.put(claim.lease, Lease { budgets, granted, ends_ms: ends, ..before });
        self.note_lease(claim.lease);
        let mut standing = self.standing(claim, now);
        if waiting < missing {
            // Requests that remain without units need the time at which one more unit would pass.
            for (verdict, budget) in standing.verdicts.iter_mut().zip(&claim.budgets) {
                let one_more = Counter::step(self.get(budget.counter), budget.meter, CounterOp::Take(1), now).0;
                verdict.retry_after_ms = one_more.retry_after_ms;
            }
        }
        standing
    }

    /// Returns how many of `units` all counters can grant.
    fn available(&self, budgets: &[(Arc<str>, Meter)], units: u64, now: UnixMillis) -> u64 {
        let of = |(name, meter): &(Arc<str>, Meter)| {
            let step = |units| Counter::step(self.get(name), *meter, CounterOp::Take(units), now).0;
            if step(units).allowed { units } else { step(0).remaining.min(units) }
        };
        budgets.iter().map(of).min().unwrap_or(0)
    }

    /// Returns how the lease of a claim stands.
    pub(in crate::ledger) fn standing(&self, claim: &LeaseClaim<'_>, now: UnixMillis) -> LeaseGrant {
        let lease = self.leases.get(claim.lease);
        let inspect =
            |budget: &BudgetRef<'_>| Counter::step(self.get(budget.counter), budget.meter, CounterOp::Take(0), now).0;
        LeaseGrant {
            granted: lease.map(|lease| lease.granted),
            ends_ms: lease.map_or(0, |lease| lease.ends_ms),
            verdicts: claim.budgets.iter().map(inspect).collect(),
        }
    }

    /// The most units that a lease may hold beyond its need: an equal share of what remains, so
    /// that leases shrink to single units as a limit runs out. Of a rate, leases together hold at
    /// most half of the burst, so that the other half drains and no capacity lies idle.
    fn fair(&self, claim: &LeaseClaim<'_>, budgets: &[(Arc<str>, Meter)], holds: bool, now: UnixMillis) -> u64 {
        let share = |(budget, (name, meter)): (&BudgetRef<'_>, &(Arc<str>, Meter))| {
            let counter = self.get(budget.counter);
            let left = Counter::step(counter, *meter, CounterOp::Take(0), now).0.remaining;
            let others = self.leases.holders.get(name).copied().unwrap_or(0).saturating_sub(u64::from(holds));
            let share = left.checked_div(others.saturating_add(2)).unwrap_or(0);
            match meter {
                Meter::Rate(rate) => {
                    let leased = counter.map_or(0, Counter::leased);
                    share.min((rate.burst / 2).saturating_sub(leased))
                }
                // Beyond a limit with overage nothing remains, so the share is 0: billable units
                // are counted one by one.
                _ => share,
            }
        };
        claim.budgets.iter().zip(budgets).map(share).min().unwrap_or(0)
    }

    fn account_all(&mut self, budgets: &[(Arc<str>, Meter)], units: LeaseStep, now: UnixMillis) {
        for (name, meter) in budgets {
            self.account(name, *meter, units, now);
        }
    }
}

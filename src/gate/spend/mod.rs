//! Debits what a request costs: in this isolate, from leases and in the ledger, all or nothing.
//!
//! [`Spender::begin`] debits what this isolate can debit alone. If that is not enough, the decision
//! becomes [`Pending`]: the adapter sends [`Spender::request`] to the ledger and passes the
//! response to [`Spender::conclude`].

mod breakers;
mod conclude;
mod exchange;
mod pending;

pub use breakers::{Breakers, CallEnd};
pub use exchange::Exchange;
pub use pending::Pending;
pub(super) use pending::hold_name;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::answer::Decision;
use super::ask::Ask;
use super::code::Code;
use super::compiled::{LimitCheck, PlanShape};
use super::cx::Cx;
use super::need::{Need, Progress, Refresh};
use crate::ledger::{
    BudgetRef, Chargeable, Hold, IdempotencyKey, LeaseCache, LedgerRequest, LedgerState, Spend, WaitFailure,
};
use crate::model::bounds::MAX_LOCAL_COUNTERS;
use crate::model::{HeardAt, TenantId};

/// A decision that is made, or one that the ledger has to be asked about.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost every charge an allocation")]
pub enum Step {
    /// The decision.
    Decided(Box<Decision>),
    /// Send this to the ledger, and pass its response to [`super::Gate::finish`].
    Charge(Pending),
}

impl Step {
    /// Whether the decision is that the tenant is unknown.
    pub fn is_unknown_tenant(&self) -> bool {
        matches!(self, Self::Decided(decision) if decision.code == Code::TenantNotFound)
    }
}

/// The counters, leases and breakers of one isolate.
#[derive(Debug)]
pub struct Spender {
    /// The unique name of the isolate. Empty if there is only one isolate.
    name: String,
    /// The number of names given to holds.
    names: u64,
    /// The counters of `local` limits.
    local: LedgerState,
    /// `None` means that nothing is leased.
    leases: Option<LeaseCache>,
    /// How far this isolate has read each ledger's log of published epochs.
    cursors: FxHashMap<TenantId, u64>,
    pub(in crate::gate) breakers: Breakers,
}

impl Default for Spender {
    fn default() -> Self {
        Self {
            name: String::new(),
            names: 0,
            local: LedgerState::bounded(MAX_LOCAL_COUNTERS),
            leases: None,
            cursors: FxHashMap::default(),
            breakers: Breakers::default(),
        }
    }
}

impl Spender {
    /// From now on spends limits of mode `leased` from leases. No other isolate has this `name`.
    pub(in crate::gate) fn lease_as(&mut self, name: String) {
        self.name.clone_from(&name);
        self.leases.get_or_insert_with(|| LeaseCache::new(name));
    }

    /// Whether this isolate holds leases.
    pub(in crate::gate) const fn has_leases(&self) -> bool {
        self.leases.is_some()
    }

    /// Debits what this isolate can debit alone. `background` receives the pending refreshes of a
    /// decision that has to wait.
    pub(in crate::gate) fn begin(
        &mut self,
        cx: Cx,
        shape: PlanShape,
        ask: &Ask<'_>,
        background: &mut Vec<Refresh>,
    ) -> Progress<Step> {
        let (name, names) = (&self.name, &mut self.names);
        let mut pending = Pending::new(cx, shape, ask, || {
            *names = names.saturating_add(1);
            format!("{name}.{names}")
        });
        if let Some(need) = self.pay_from_leases(&mut pending, ask.is_at_once()) {
            return self.withdraw(pending, need, background);
        }
        let now = pending.cx.now;
        if !pending.refused && pending.has_local() {
            let dry_run = pending.dry_run;
            pending.refused = !self.local.take(pending.local_mut(), dry_run, now);
            pending.taken = !pending.refused && !dry_run;
        }
        if pending.refused || !pending.needs_ledger() {
            return Progress::Ready(Step::Decided(self.decided(pending, now)));
        }
        if let Some(WaitFailure::Unanswered(why)) = pending.awaited {
            return Progress::Ready(Step::Decided(self.complete(pending, Err(why), HeardAt::now(now))));
        }
        if ask.is_at_once() {
            return self.withdraw(pending, Need::Ledger, background);
        }
        self.prepare_exchange(&mut pending);
        Progress::Ready(Step::Charge(pending))
    }

    /// Gives back what was taken: the request has to wait first, and asks again.
    fn withdraw(&mut self, mut pending: Pending, need: Need, background: &mut Vec<Refresh>) -> Progress<Step> {
        let now = pending.cx.now;
        self.undo(&mut pending, now);
        background.append(&mut pending.cx.refresh);
        Progress::Need(need)
    }

    /// Pays from leases what they can pay. Returns the answer to wait for if another request has
    /// asked the ledger already.
    fn pay_from_leases(&mut self, pending: &mut Pending, at_once: bool) -> Option<Need> {
        let root = pending.ledger()?.clone();
        for index in 0..pending.leased.len() {
            let leased = *pending.leased.get(index)?;
            let checks = pending.checks_of(leased);
            let spend =
                self.leases.as_mut()?.spend(root.as_str(), &budget_refs(checks), leased.range.cost, pending.cx.now);
            match spend {
                Spend::Done { low } => {
                    self.note_paid(pending, index);
                    if low && let Some(first) = pending.checks_of(leased).first() {
                        let counter = first.budget.counter.clone();
                        pending.cx.refresh.push(Refresh::Lease { root: root.clone(), counter });
                    }
                }
                // The ledger has just granted all that it had, so asking again would not help.
                Spend::Ask | Spend::Wait if pending.was_short_of(leased) => pending.note_dry(index),
                Spend::Ask => {}
                Spend::Wait if at_once => return Some(Need::Ledger),
                Spend::Wait if matches!(pending.awaited, Some(WaitFailure::Unanswered(_))) => {}
                Spend::Wait => {
                    let counter = pending.checks_of(leased).first()?.budget.counter.as_str();
                    return self.leases.as_mut()?.wait(counter, leased.range.cost).map(Need::LedgerAnswer);
                }
                Spend::Refused => pending.note_dry(index),
            }
        }
        None
    }

    /// Records that a lease has paid. The spend is provisional until the decision is made.
    fn note_paid(&mut self, pending: &mut Pending, index: usize) {
        let Some(leased) = pending.leased.get(index).copied() else { return };
        let counter = pending.checks_of(leased).first().map(|check| check.budget.counter.as_str());
        let lease =
            self.leases.as_mut().zip(counter).map(|(leases, counter)| leases.reserve(counter, leased.range.cost));
        if let Some(leased) = pending.leased.get_mut(index) {
            (leased.paid, leased.lease) = (true, lease.unwrap_or(0));
        }
    }

    /// Attaches what leases and breakers have to report to the same ledger.
    fn prepare_exchange(&mut self, pending: &mut Pending) {
        // An isolate without leases and breakers has nothing to report.
        let silent = self.leases.is_none() && self.breakers.is_empty() && !pending.is_trial();
        let Some(root) = pending.ledger().filter(|_| !silent).cloned() else { return };
        let unpaid = pending.leased.iter().filter(|leased| !leased.paid);
        let lacking: SmallVec<[(String, u64); 2]> = unpaid
            .filter_map(|leased| Some((pending.checks_of(*leased).first()?.budget.counter.clone(), leased.range.cost)))
            .collect();
        let breaker = pending.cx.decision.extras().breaker.as_ref().filter(|_| pending.is_trial());
        let breaker = breaker.map(|used| std::sync::Arc::clone(&used.breaker));
        let lacking = lacking.iter().map(|(counter, cost)| (counter.as_str(), *cost));
        pending.exchange = self.exchange(&root, lacking, breaker.as_deref(), pending.cx.now);
    }

    /// The message to the ledger about a pending decision.
    pub(in crate::gate) fn request<'a>(&'a self, pending: &'a Pending) -> LedgerRequest<'a> {
        let special = pending.special.as_deref();
        let root = pending.ledger();
        LedgerRequest {
            tenant: pending.cx.decision.tenant.as_ref().map(|tenant| tenant.tenant().id.as_str()),
            charges: pending.remote().iter().map(Chargeable::charge).collect(),
            claims: root.map(|root| self.claims(root, &pending.exchange)).unwrap_or_default(),
            breakers: pending.exchange.breaker_reports(),
            epochs: pending.epochs(),
            cursor: root.and_then(|root| self.cursors.get(root)).copied().unwrap_or(0),
            dry_run: pending.dry_run,
            once: special.and_then(|special| special.idempotency.as_ref()).map(|(id, fingerprint)| IdempotencyKey {
                id,
                fingerprint,
                event: false,
            }),
            hold: special.and_then(|special| special.hold.as_ref()).map(|hold| Hold {
                name: &hold.name,
                for_ms: hold.for_ms,
                renewal: hold.renewal,
            }),
            settle: special.and_then(|special| special.settle.as_deref()),
            ..LedgerRequest::default()
        }
    }
}

/// The counters that a leased limit debits.
fn budget_refs(checks: &[LimitCheck]) -> SmallVec<[BudgetRef<'_>; 2]> {
    checks.iter().map(|check| BudgetRef { counter: &check.budget.counter, meter: check.budget.meter }).collect()
}

//! [`ChargePlan`]: the counters that a request debits, grouped by who counts them.
//!
//! A plan is compiled once per tenant and list of costs. A request that changes what its route
//! costs gets a plan of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use smallvec::SmallVec;

use super::budget::Budget;
use crate::ledger::{Charge, Chargeable, CounterOp, Verdict};
use crate::model::{Kind, Mode};

/// One counter that the request debits, with its verdict after the decision.
#[derive(Debug, Clone)]
pub struct LimitCheck {
    /// The counter, with its allowance.
    pub budget: Arc<Budget>,
    /// The operation of the request on the counter.
    pub op: CounterOp,
    /// The verdict. `None` means that the ledger could not be reached.
    pub verdict: Option<Verdict>,
}

/// The counters that requests of one kind debit. In the list those that this isolate counts alone
/// come first, then those that leases pay for, then those that only the ledger counts. Leases are
/// spent before local counters: a request that has to wait for a lease takes nothing locally.
#[derive(Debug, Default)]
pub struct ChargePlan {
    pub(in crate::gate) checks: Vec<LimitCheck>,
    pub(in crate::gate) shape: PlanShape,
    /// Whether some allowance is unknown because the catalog lacks the tenant's plan.
    pub(in crate::gate) is_unplanned: bool,
}

/// Where the three parts of a plan begin and end.
#[derive(Debug, Default, Clone)]
pub struct PlanShape {
    /// The number of checks that this isolate counts alone.
    pub(in crate::gate) locals: usize,
    /// The checks that leases pay for, one range per limit.
    pub(in crate::gate) leased: SmallVec<[LeasedRange; 2]>,
    /// The index of the first check that only the ledger counts.
    pub(in crate::gate) ledger: usize,
}

/// The checks of one limit that one lease pays for, by the same units.
#[derive(Debug, Clone, Copy)]
pub struct LeasedRange {
    pub(in crate::gate) start: usize,
    pub(in crate::gate) end: usize,
    pub(in crate::gate) cost: u64,
}

/// Who counts a check, in the order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Payment {
    Local,
    Lease,
    Ledger,
}

impl ChargePlan {
    /// A plan for these checks. `leases`: whether leases may pay.
    pub(in crate::gate) fn new(mut checks: Vec<LimitCheck>, leases: bool) -> Self {
        // Stable: within one kind of payment the order of the route stays.
        insertion_sort(&mut checks, |check| check.payment(leases));
        let count = |payment| checks.iter().filter(|check| check.payment(leases) == payment).count();
        let locals = count(Payment::Local);
        let ledger = locals.saturating_add(count(Payment::Lease));
        let mut leased = SmallVec::new();
        let mut start = locals;
        for chunk in checks.get(locals..ledger).unwrap_or_default().chunk_by(|a, b| a.budget.id == b.budget.id) {
            let end = start.saturating_add(chunk.len());
            leased.push(LeasedRange { start, end, cost: chunk.first().map_or(0, |check| check.op.cost()) });
            start = end;
        }
        let is_unplanned = checks.iter().any(|check| check.budget.unplanned && !check.budget.shadow);
        Self { checks, shape: PlanShape { locals, leased, ledger }, is_unplanned }
    }
}

/// Sorts a handful of checks in place. The standard sort would add 8 KB of code.
fn insertion_sort(checks: &mut [LimitCheck], rank: impl Fn(&LimitCheck) -> Payment) {
    for end in 1..checks.len() {
        let Some(own) = checks.get(end).map(&rank) else { return };
        let before = checks.get(..end).unwrap_or_default();
        let place = before.partition_point(|check| rank(check) <= own);
        if let Some(moved) = checks.get_mut(place..=end) {
            moved.rotate_right(1);
        }
    }
}

impl LimitCheck {
    pub(in crate::gate) fn new(budget: &Arc<Budget>, op: CounterOp) -> Self {
        Self { budget: Arc::clone(budget), op, verdict: None }
    }

    /// Whether it refused the request. A limit in shadow never does.
    pub fn refused(&self) -> bool {
        !self.budget.shadow && self.verdict.is_some_and(|verdict| !verdict.allowed)
    }

    fn payment(&self, leases: bool) -> Payment {
        match self.budget.mode {
            Mode::Local => Payment::Local,
            _ if leases && self.is_leasable() => Payment::Lease,
            _ => Payment::Ledger,
        }
    }

    /// Whether a lease can pay for it. Levels, holds and limits in shadow need the ledger itself.
    fn is_leasable(&self) -> bool {
        self.budget.mode == Mode::Leased
            && !matches!(self.budget.kind, Kind::Gauge | Kind::Concurrency)
            && !self.budget.shadow
            && matches!(self.op, CounterOp::Take(1..))
    }
}

impl Chargeable for LimitCheck {
    fn charge(&self) -> Charge<'_> {
        let Budget { counter, meter, shadow, .. } = &*self.budget;
        Charge { counter, meter: *meter, op: self.op, shadow: *shadow }
    }

    fn record(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    fn hint(&self) -> Option<&AtomicUsize> {
        Some(&self.budget.hint)
    }
}

//! Selects the counters that the request debits: those of its route, with the caller's operations
//! in place of the route's costs of the same limits. Nothing is debited yet.

use crate::gate::answer::Stage;
use crate::gate::ask::Ask;
use crate::gate::code::Code;
use crate::gate::compiled::{ChargePlan, CompiledCatalog, CompiledRoute, Entitlements, LimitCheck, PlanShape};
use crate::gate::cx::{Cx, Exit};
use crate::ledger::CounterOp;
use crate::model::bounds::MAX_CHARGES;
use crate::model::{Kind, Mode, Problem};

/// Writes the counters to debit into the decision, and returns how each is paid for.
pub(super) fn plan(
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    tenant: &Entitlements,
    route: Option<&CompiledRoute>,
    ask: &Ask<'_>,
    leases: bool,
) -> Result<PlanShape, Exit> {
    let own;
    let compiled = route.filter(|_| ask.limits.is_empty() && !ask.all_limits && !ask.reserves());
    let plan = if let Some(plan) = compiled.and_then(|route| tenant.charge_plan(route, leases)) {
        plan
    } else {
        own = ChargePlan::new(checks(cx, catalog, tenant, route, ask)?, leases);
        &own
    };
    if plan.is_unplanned && !ask.settles() {
        let reason = "the catalog lacks the tenant's plan, and nothing else says how much a limit allows";
        return Err(cx.deny(Stage::Quota, Code::SnapshotUnavailable, reason));
    }
    if plan.checks.len() > MAX_CHARGES {
        return Err(cx.deny(Stage::Request, Code::BadRequest, "the request touches too many limits"));
    }
    cx.decision.limits.extend_from_slice(&plan.checks);
    Ok(plan.shape.clone())
}

/// The checks of a request that changes what its route costs.
fn checks(
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    tenant: &Entitlements,
    route: Option<&CompiledRoute>,
    ask: &Ask<'_>,
) -> Result<Vec<LimitCheck>, Exit> {
    let mut checks = Vec::new();
    let mut add = |limit, op| checks.extend(tenant.checks(limit, op).filter_map(|check| for_intent(check, ask)));
    for (id, cost) in route.map_or([].as_slice(), |route| &route.costs) {
        if !ask.limits.iter().any(|(key, _)| catalog.limit_id(key) == Some(*id)) {
            add(*id, CounterOp::Take(*cost));
        }
    }
    for (index, (key, op)) in ask.limits.iter().enumerate() {
        let id = catalog.limit_id(key);
        let gauge = id.and_then(|id| catalog.limit(id)).is_some_and(|(_, limit)| limit.kind == Kind::Gauge);
        let moves = gauge && !ask.settles() && !ask.reserves();
        let fits = matches!(op, CounterOp::Take(_)) || moves;
        let first = ask.limits.iter().take(index).all(|(other, _)| other != key);
        if let Some(id) = id.filter(|_| fits && first) {
            add(id, *op);
            continue;
        }
        let (found, expected) = match id {
            None => ("an unknown limit", "a key of the catalog's `limits`"),
            Some(_) if !first => ("a limit named before", "each limit once"),
            Some(_) => {
                ("`release` or `set`", "a whole number: `release` and `set` need a gauge, and no `reserve` or `settle`")
            }
        };
        cx.decision.extras_mut().problem = Some(Problem::at(&["limits", key], found, expected));
        return Err(cx.deny(Stage::Request, Code::BadRequest, found));
    }
    if ask.all_limits {
        let named: Vec<u32> = checks.iter().map(|check| check.budget.id).collect();
        let rest = tenant.budgets().filter(|budget| !named.contains(&budget.id));
        checks.extend(rest.map(|budget| LimitCheck::new(budget, CounterOp::Take(0))));
    }
    Ok(checks)
}

/// Turns charges into those of a reservation, which sets units aside, or of a settlement, which
/// reports used units. Counters of this isolate alone are neither reserved nor settled.
fn for_intent(check: LimitCheck, ask: &Ask<'_>) -> Option<LimitCheck> {
    let is_local = check.budget.mode == Mode::Local;
    let op = match check.op {
        CounterOp::Take(_) | CounterOp::Hold(_) if ask.settles() && is_local => return None,
        CounterOp::Take(units) | CounterOp::Hold(units) if ask.settles() => CounterOp::Settle(units),
        CounterOp::Take(units) if ask.reserves() && !is_local => CounterOp::Hold(units),
        op => op,
    };
    Some(LimitCheck { op, ..check })
}

//! Entitlements of a tenant with the current use of its limits, and refunds of units that were
//! charged by mistake.

use std::sync::Arc;

use serde_json::json;

use super::error::AdminError;
use super::records::TenantRow;
use super::request::{AdminRequest, AdminResponse, checked};
use crate::control::Refund;
use crate::control::audit::hash;
use crate::gate::{Ask, Budget, CompiledCatalog, Decision, Entitlements, LimitCheck, LocalGate};
use crate::ledger::{Charge, CounterOp, IdempotencyKey, LedgerRequest, Meter, Seen};
use crate::model::{Kind, Mode, Tenant};
use crate::resolve::Request;
use crate::wire::EntitlementsView;

/// `GET /tenants/{tenant}/entitlements`
pub(super) async fn get(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    request.only(&[])?;
    let record = request.tenant(id).await?;
    let (plans, tenant, mut decision) = compiled(request, &record).await?;
    let slots = plans.features().slots(&[]);
    decision.features = plans.features().evaluate_all(tenant.facts(&slots, request.now));
    // A tenant admin must not learn about ancestors of its tenant. Of their budgets it sees only
    // the nearest one per limit, under the id of the requested tenant.
    let own = request.actor.tenant.as_ref();
    let seen =
        tenant.line().iter().position(|one| Some(&one.id) == own).map_or(usize::MAX, |place| place.saturating_add(1));
    let is_seen = |budget: &Budget| tenant.line().iter().take(seen).any(|one| one.id == budget.tenant);
    let mut last = None;
    let counted = tenant.budgets().filter(|budget| {
        let nearest = last.replace(budget.id) != Some(budget.id);
        budget.mode != Mode::Local && (nearest || is_seen(budget))
    });
    let gauged =
        |budget: &Arc<Budget>| LimitCheck { budget: Arc::clone(budget), op: CounterOp::Take(0), verdict: None };
    decision.limits = counted.map(gauged).collect();
    let charges = decision.limits.iter().map(|one| charge(&one.budget, CounterOp::Take(0))).collect();
    // If the ledger is unavailable, the response has everything but the used units.
    let outcome = request
        .ask_ledger(tenant.root().as_str(), &LedgerRequest { dry_run: true, charges, ..LedgerRequest::default() })
        .await;
    let verdicts = outcome.map(|outcome| outcome.verdicts).unwrap_or_default();
    for (gauged, verdict) in decision.limits.iter_mut().zip(verdicts) {
        gauged.verdict = Some(verdict);
    }
    let mut view = EntitlementsView::from(&*decision);
    let hidden: Vec<bool> = decision.limits.iter().map(|gauged| !is_seen(&gauged.budget)).collect();
    for (limit, _) in view.limits.iter_mut().zip(hidden).filter(|(_, hidden)| *hidden) {
        limit.tenant = &record.id;
    }
    Ok(AdminResponse::text(200, serde_json::to_string(&view).unwrap_or_default()).with_version(record.epoch))
}

/// `POST /tenants/{tenant}/refunds`: releases the units in the ledger, then writes the audit entry.
/// If it is interrupted in between, a retry with the same idempotency key refunds nothing twice and
/// completes the trail.
pub(super) async fn refund(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let asked: Refund = request.read()?;
    let record = request.tenant(id).await?;
    let Some(once) = &request.once else {
        return Err(AdminError::problem(
            "Idempotency-Key",
            "nothing",
            "an idempotency key, so that a retry does not refund twice",
        ));
    };
    let (plans, tenant, _) = compiled(request, &record).await?;
    let number = plans.limit_id(asked.limit.as_str());
    let budgets: Vec<_> = tenant.budgets().filter(|budget| Some(budget.id) == number).collect();
    let is_counted = |budget: &&Arc<Budget>| budget.kind == Kind::Quota && budget.mode != Mode::Local;
    let Some(own) = budgets.first().copied().filter(is_counted) else {
        return Err(AdminError::problem("$.limit", format!("`{}`", asked.limit), "a quota that a ledger counts"));
    };
    // The budgets of ancestors counted the same units. Their current period contains them if it
    // began no later than the tenant's.
    let began = |budget: &Budget| if let Meter::Quota { starts_ms, .. } = budget.meter { starts_ms } else { u64::MAX };
    let above = budgets.iter().skip(1).filter(|budget| budget.kind == Kind::Quota && began(budget) <= began(own));
    let charges = std::iter::once(charge(own, CounterOp::Release(asked.units.0)))
        .chain(above.map(|budget| charge(budget, CounterOp::Follow)));
    let name = format!("{id}/refund {}", hash(&json!([request.actor.name(), once.key()]).to_string()));
    let question = LedgerRequest {
        tenant: Some(id),
        charges: charges.collect(),
        once: Some(IdempotencyKey { id: &name, fingerprint: once.fingerprint(), event: false }),
        ..LedgerRequest::default()
    };
    let outcome = request.ask_ledger(tenant.root().as_str(), &question).await?;
    let verdict = outcome.verdicts.first().copied();
    match (outcome.seen, verdict) {
        _ if outcome.gone => return Err(AdminError::UNAVAILABLE),
        (Some(Seen::Reused), _) => return Err(AdminError::KEY_REUSED),
        (None, Some(verdict)) if !outcome.allowed => {
            let expected = format!("at most {}, the units used in this period", verdict.used);
            return Err(AdminError::problem("$.units", asked.units.0.to_string(), &expected));
        }
        _ => {}
    }
    let said = json!({ "refund": { "after": { "limit": asked.limit, "tenant": own.tenant, "units": asked.units.0 } } });
    let body = json!({
        "limit": asked.limit, "tenant": own.tenant, "units": asked.units.0, "used": verdict.map(|verdict| verdict.used),
        "remaining": verdict.filter(|verdict| verdict.limit.is_some()).map(|verdict| verdict.remaining),
    });
    let mut change = request.transaction();
    change.audit(&record.id, "usage.refund", Some(&asked.reason), &said).await?;
    request.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(AdminResponse::json(200, &body))
}

/// Compiles a tenant's entitlements from the system of record, and decides an empty dry run for it.
async fn compiled(
    request: &AdminRequest<'_>,
    record: &TenantRow,
) -> Result<(Arc<CompiledCatalog>, Arc<Entitlements>, Box<Decision>), AdminError> {
    let plans = request.catalog().await?.plans()?;
    let mut gate = LocalGate::with(Arc::clone(&plans));
    for one in request.store.line(&record.id).await? {
        let _ = gate.put(checked(Tenant::parse(&one.value.to_string()))?);
    }
    // A denial has the tenant too, whatever its status.
    let ask = Ask { tenant: Some(&record.id), dry_run: true, ..Ask::default() };
    let decision = gate.decide(&Request::default(), &ask, request.now);
    let tenant = decision.tenant.clone().ok_or(AdminError::NOT_FOUND)?;
    Ok((plans, tenant, decision.clone()))
}

fn charge(budget: &Budget, op: CounterOp) -> Charge<'_> {
    Charge { counter: &budget.counter, meter: budget.meter, op, shadow: false }
}

//! The decision, stage by stage, in its fixed order. The first denial wins and consumes nothing.
//!
//! [`judge`] reads top down: request, credential, tenant, agreement, status, residency, feature,
//! breaker, limits. Each stage receives the parts of the gate that it may change, and [`Cx`].
//! Rates, concurrency and quotas are then taken by [`Spender`](super::spend::Spender).

mod admit;
mod agree;
mod authenticate;
mod breaker;
mod caller;
mod features;
mod limits;
mod preflight;
mod resolve;
mod socket;
mod verifier;

use std::sync::Arc;

pub(super) use agree::lookup;
pub(super) use caller::bearer;
pub(super) use socket::{named, renews, still_admits};
pub(super) use verifier::Verifier;

use super::answer::{Fallback, Stage};
use super::ask::{Ask, Intent};
use super::cache::{Found, HostCache, Snapshots};
use super::code::Code;
use super::compiled::{CompiledCatalog, CompiledRoute, PlanShape};
use super::cx::{Cx, Exit};
use super::spend::Breakers;
use crate::model::TenantId;
use crate::model::bounds::{MAX_ASKED_FEATURES, MAX_ATTRIBUTES};
use crate::resolve::{EvalContext, Request};

/// The parts of a gate that the stages up to the limits may use.
pub(super) struct Parts<'g> {
    pub(super) snapshots: &'g mut Snapshots,
    pub(super) hosts: &'g mut HostCache,
    pub(super) verifier: &'g mut Verifier,
    pub(super) breakers: &'g Breakers,
    /// Whether this isolate holds leases.
    pub(super) leases: bool,
}

/// Decides everything that needs no counter. On success [`Cx`] holds the decision so far, with the
/// counters to debit; the shape determines how each of them is paid for. `Ok(None)` means that
/// nothing is debited.
pub(super) fn judge(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    request: &Request<'_>,
    ask: &Ask<'_>,
) -> Result<Option<PlanShape>, Exit> {
    let many = matches!(request.context, EvalContext::Named(attributes) if attributes.len() > MAX_ATTRIBUTES);
    if ask.features.len() > MAX_ASKED_FEATURES || many {
        return Err(cx.deny(Stage::Request, Code::BadRequest, "too many features or attributes are asked for"));
    }
    let (found, route) = if let Some(id) = ask.tenant {
        (Some(vouched(parts.snapshots, cx, catalog, id)?), None)
    } else {
        if let Some((route, origin)) = preflight::find(catalog, request) {
            preflight::answer(cx, catalog, route, origin)?;
            return Ok(None);
        }
        let (found, route) = resolve::tenant(parts, cx, catalog, request)?;
        (found, Some(route))
    };
    let Some(Found { tenant, age_ms }) = found else {
        cx.trace.pass(Stage::Tenant, || String::from("the route needs no tenant"));
        return Ok(None);
    };
    cx.decision.age_ms = age_ms;
    cx.decision.tenant = Some(Arc::clone(&tenant));
    if tenant.plan_missing() {
        cx.decision.extras_mut().fallback.push(Fallback::Plan);
    }
    if !ask.settles() {
        admit::status(cx, &tenant)?;
        admit::residency(cx, &tenant, request.place)?;
    }
    // A settlement reports what has happened, so the route does not matter any more.
    let route = route.filter(|_| !ask.settles() && ask.intent != Intent::Identify);
    features::evaluate(cx, catalog, &tenant, route, request.context, ask)?;
    breaker::check(parts.breakers, cx, &tenant, route)?;
    limits::plan(cx, catalog, &tenant, route, ask, parts.leases && ask.may_use_leases()).map(Some)
}

/// The tenant that the caller vouches for.
fn vouched(snapshots: &mut Snapshots, cx: &mut Cx, catalog: &CompiledCatalog, id: &str) -> Result<Found, Exit> {
    match TenantId::parse(id) {
        Some(id) => agree::lookup(snapshots, cx, catalog, &id),
        None => Err(cx.deny(Stage::Request, Code::BadRequest, "the tenant is not a tenant id")),
    }
}

/// The route that the request takes, once it is known.
fn note_route(cx: &mut Cx, route: &CompiledRoute) {
    cx.decision.route = Some(route.id);
}

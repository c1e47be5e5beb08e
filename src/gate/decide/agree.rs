//! Stages 3 and 4: every signal names an existing tenant, and all name the same one.
//!
//! A place that anybody can write to (host, path, header, query) selects a tenant. A credential
//! proves one. Where both occur they must agree, except that the credential of an ancestor may act
//! for descendants on routes that allow it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::authenticate::Credentials;
use crate::gate::answer::{Bearer, Challenge, Credential, Stage, describe};
use crate::gate::cache::{Found, Snapshots, owns};
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute};
use crate::gate::cx::{Cx, Exit};
use crate::model::{Speaks, TenantId};
use crate::resolve::{Name, Signal};

/// The tenant of a request, and the credential that speaks for it.
pub(super) fn agree(
    snapshots: &mut Snapshots,
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    signals: &[Signal<'_>],
    credentials: &Credentials,
    route: &CompiledRoute,
) -> Result<(Found, Option<Bearer>), Exit> {
    let mut selected: Option<Found> = None;
    let mut same = true;
    for signal in signals.iter().filter(|signal| signal.name != Name::Credential) {
        let found = named(snapshots, cx, catalog, signal)?;
        match &selected {
            None => selected = Some(found),
            Some(first) => same &= id(first) == id(&found),
        }
    }
    let mut holders: SmallVec<[Found; 1]> = SmallVec::new();
    for (credential, _) in credentials {
        holders.push(holder(snapshots, cx, catalog, credential, route)?);
    }
    let bearer = holders.first().zip(credentials.first());
    let bearer = bearer.map(|(holder, (credential, from))| Bearer {
        credential: Arc::clone(credential),
        tenant: id(holder).clone(),
        from: *from,
    });
    let ids: SmallVec<[TenantId; 1]> = holders.iter().map(|holder| id(holder).clone()).collect();
    // Without a selection the credential of the deepest tenant selects. The others must belong to
    // its ancestors.
    let deepest = || holders.into_iter().max_by_key(|holder| holder.tenant.line().len());
    let Some(found) = selected.or_else(deepest) else {
        return Err(cx.deny(Stage::Tenant, Code::TenantNotFound, "no signal names a tenant"));
    };
    // INVARIANT (agreement): a credential serves its own tenant, and the descendants where the
    // route says so.
    let line = found.tenant.line();
    let line = if route.act_for_descendants { line } else { line.get(..1).unwrap_or_default() };
    same &= ids.iter().all(|id| line.iter().any(|tenant| tenant.id == *id));
    if !same {
        cx.trace.stop(Stage::Agreement, || {
            (
                String::from("the signals name different tenants"),
                String::from("signals that name one tenant, `act_for_descendants`, or `mode: first`"),
            )
        });
        return Err(cx.deny(Stage::Agreement, Code::TenantMismatch, "signals name different tenants"));
    }
    Ok((found, bearer))
}

/// The tenant that a signal names.
fn named(
    snapshots: &mut Snapshots,
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    signal: &Signal<'_>,
) -> Result<Found, Exit> {
    let Some(id) = snapshots.identify(&signal.name, cx.now, &mut cx.refresh)? else {
        cx.trace.stop(Stage::Tenant, || {
            let found = format!("{} names no tenant: {}", signal.strategy.as_str(), describe(signal));
            (found, String::from("a signal that names an existing tenant"))
        });
        return Err(cx.deny(Stage::Tenant, Code::TenantNotFound, "a signal names no tenant"));
    };
    cx.trace.pass(Stage::Tenant, || format!("{} names `{id}`: {}", signal.strategy.as_str(), describe(signal)));
    // INVARIANT (existence first): every named tenant must exist, even one that disagrees with the
    // others.
    let found = lookup(snapshots, cx, catalog, &id)?;
    require_owner(snapshots, cx, found, &signal.name)
}

/// The tenant that a credential was issued for.
pub(super) fn holder(
    snapshots: &mut Snapshots,
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    credential: &Credential,
    route: &CompiledRoute,
) -> Result<Found, Exit> {
    let tenants = credential.issuer_id.and_then(|id| catalog.issuers.get(id)).map(|(_, issuer)| &issuer.tenants);
    let covers = |id: &TenantId| tenants.is_none_or(|tenants| tenants.covers(id));
    let refuse = |cx: &mut Cx, reason| {
        let challenge = Challenge::new(catalog, route, credential.issuer.is_some());
        Err(cx.challenge(Code::Unauthenticated, reason, challenge))
    };
    let id = match snapshots.identify(&credential.tenant, cx.now, &mut cx.refresh)? {
        Some(id) if covers(&id) => id,
        // An issuer for some tenants must not learn which slugs of other tenants exist.
        None if tenants.is_none_or(|tenants| *tenants == Speaks::All) => {
            return Err(cx.deny(Stage::Tenant, Code::TenantNotFound, "a credential names no tenant"));
        }
        _ => return refuse(cx, "the token's issuer may not speak for the tenant that it names"),
    };
    let found = lookup(snapshots, cx, catalog, &id)?;
    let found = require_owner(snapshots, cx, found, &credential.tenant)?;
    if found.tenant.tenant().credentials_from.is_some_and(|from| credential.issued_at.is_none_or(|at| at < from)) {
        return refuse(cx, "the credential is older than the tenant accepts");
    }
    cx.trace.pass(Stage::Tenant, || format!("{} belongs to `{id}`", credential.kind.as_str()));
    Ok(found)
}

/// Denies a request whose name now belongs to another tenant: the index is older than the record.
fn require_owner(snapshots: &mut Snapshots, cx: &mut Cx, found: Found, name: &Name<'_>) -> Result<Found, Exit> {
    if owns(found.tenant.tenant(), name) {
        return Ok(found);
    }
    cx.refresh.extend(snapshots.stale_name(name, cx.now).map(Into::into));
    Err(cx.deny(Stage::Tenant, Code::TenantNotFound, "the tenant no longer has the name that leads to it"))
}

/// A tenant by its id.
pub(in crate::gate) fn lookup(
    snapshots: &mut Snapshots,
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    id: &TenantId,
) -> Result<Found, Exit> {
    match snapshots.tenant(id, catalog, cx.now, &mut cx.refresh)? {
        Some(found) => Ok(found),
        None => Err(cx.deny(Stage::Tenant, Code::TenantNotFound, "the named tenant, or an ancestor, does not exist")),
    }
}

fn id(found: &Found) -> &TenantId {
    &found.tenant.tenant().id
}

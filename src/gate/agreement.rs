//! Stages 3 and 4: every signal names a tenant that exists, and all name the same one.
//!
//! A place that anybody can write in (host, path, header, query) selects a tenant; a credential proves one. Where both are
//! there they must agree, but for a credential of an ancestor on a route that lets it act for those below.

use smallvec::SmallVec;

use std::sync::Arc;

use super::code::Code;
use super::credentials::Credential;
use super::decision::{Bearer, Challenge};
use super::pipeline::Gate;
use super::plans::{CompiledCatalog, CompiledRoute};
use super::run::{Cx, Exit};
use super::snapshots::Found;
use super::trace::{Stage, describe};
use crate::model::{DomainState, Tenant, TenantId};
use crate::resolve::{Carrier, Name, Signal};

impl Gate {
    /// The tenant of a request, and the credential that speaks for it.
    pub(super) fn agree(
        &mut self,
        run: &mut Cx,
        plans: &CompiledCatalog,
        signals: &[Signal<'_>],
        credentials: &[(Arc<Credential>, Carrier)],
        route: &CompiledRoute,
    ) -> Result<(Found, Option<Bearer>), Exit> {
        let mut selected: Option<Found> = None;
        let mut same = true;
        for signal in signals.iter().filter(|signal| signal.name != Name::Credential) {
            let found = self.named(run, plans, signal)?;
            match &selected {
                None => selected = Some(found),
                Some(first) => same &= id(first) == id(&found),
            }
        }
        let mut holders: SmallVec<[Found; 1]> = SmallVec::new();
        for (credential, _) in credentials {
            holders.push(self.holder(run, plans, credential, route)?);
        }
        let bearer = holders.first().zip(credentials.first());
        let bearer = bearer.map(|(holder, (credential, from))| Bearer {
            credential: Arc::clone(credential),
            tenant: id(holder).clone(),
            from: *from,
        });
        let ids: SmallVec<[TenantId; 1]> = holders.iter().map(|holder| id(holder).clone()).collect();
        // Without a selection, the credential that goes deepest selects; the others must be of its ancestors.
        let deepest = || holders.into_iter().max_by_key(|holder| holder.tenant.line().len());
        let Some(found) = selected.or_else(deepest) else {
            return Err(run.deny(Stage::Tenant, (Code::TenantNotFound, "no signal names a tenant")));
        };
        // INVARIANT (agreement): a credential serves for its own tenant, and for those below where the route says so.
        let line = found.tenant.line();
        let line = if route.act_for_descendants { line } else { line.get(..1).unwrap_or_default() };
        same &= ids.iter().all(|id| line.iter().any(|tenant| tenant.id == *id));
        if !same {
            run.trace.stop(Stage::Agreement, || {
                (
                    String::from("the signals name different tenants"),
                    String::from("signals that name one tenant, `act_for_descendants`, or `mode: first`"),
                )
            });
            return Err(run.deny(Stage::Agreement, (Code::TenantMismatch, "signals name different tenants")));
        }
        Ok((found, bearer))
    }

    /// The tenant that a signal names.
    fn named(&mut self, run: &mut Cx, plans: &CompiledCatalog, signal: &Signal<'_>) -> Result<Found, Exit> {
        let Some(id) = self.snapshots.identify(&signal.name, run.now, &mut run.refresh)? else {
            run.trace.stop(Stage::Tenant, || {
                let found = format!("{} names nobody: {}", signal.strategy.as_str(), describe(signal));
                (found, String::from("a signal that names an existing tenant"))
            });
            return Err(run.deny(Stage::Tenant, (Code::TenantNotFound, "a signal names no tenant")));
        };
        run.trace.pass(Stage::Tenant, || format!("{} names `{id}`: {}", signal.strategy.as_str(), describe(signal)));
        // INVARIANT (existence first): every tenant named must exist, also one that disagrees with the others.
        let found = self.lookup(run, plans, &id)?;
        self.owned(run, found, &signal.name)
    }

    /// The tenant that a credential was issued for.
    pub(super) fn holder(
        &mut self,
        run: &mut Cx,
        plans: &CompiledCatalog,
        credential: &Credential,
        route: &CompiledRoute,
    ) -> Result<Found, Exit> {
        let tenants = credential.issuer_id.and_then(|id| plans.issuers.get(id)).map(|(_, issuer)| &issuer.tenants);
        let covers = |id: &TenantId| tenants.is_none_or(|tenants| tenants.covers(id));
        let refuse = |run: &mut Cx, reason| {
            let invalid_token = credential.issuer.is_some();
            Err(run.challenge((Code::Unauthenticated, reason), Challenge::new(plans, route, invalid_token)))
        };
        let id = match self.snapshots.identify(&credential.tenant, run.now, &mut run.refresh)? {
            Some(id) if covers(&id) => id,
            // Whose a slug is, or whether it is anybody's, is nothing that an issuer learns of tenants not its own.
            None if tenants.is_none_or(|tenants| *tenants == crate::model::Speaks::All) => {
                return Err(run.deny(Stage::Tenant, (Code::TenantNotFound, "a credential names no tenant")));
            }
            _ => return refuse(run, "the token's issuer may not speak for the tenant that it names"),
        };
        let found = self.lookup(run, plans, &id)?;
        let found = self.owned(run, found, &credential.tenant)?;
        if found.tenant.tenant().credentials_from.is_some_and(|from| credential.issued_at.is_none_or(|at| at < from)) {
            return refuse(run, "the credential is older than the tenant accepts");
        }
        run.trace.pass(Stage::Tenant, || format!("{} is of `{id}`", credential.kind.as_str()));
        Ok(found)
    }

    fn owned(&mut self, run: &mut Cx, found: Found, name: &Name<'_>) -> Result<Found, Exit> {
        if owns(found.tenant.tenant(), name) {
            return Ok(found);
        }
        // The index is older than the record: the name was given up, and may be somebody else's by now.
        run.refresh.extend(self.snapshots.doubt(name, run.now));
        Err(run.deny(Stage::Tenant, (Code::TenantNotFound, "the tenant no longer has the name that leads to it")))
    }

    pub(super) fn lookup(&mut self, run: &mut Cx, plans: &CompiledCatalog, id: &TenantId) -> Result<Found, Exit> {
        match self.snapshots.tenant(id, plans, run.now, &mut run.refresh)? {
            Some(found) => Ok(found),
            None => {
                Err(run.deny(Stage::Tenant, (Code::TenantNotFound, "the tenant named does not exist, or one above it")))
            }
        }
    }
}

fn id(found: &Found) -> &TenantId {
    &found.tenant.tenant().id
}

/// Whether a name that leads to a tenant is still the tenant's.
pub(super) fn owns(tenant: &Tenant, name: &Name<'_>) -> bool {
    match name {
        Name::Slug(slug) => tenant.slug.as_str() == slug,
        Name::Id(id) => tenant.id.as_str() == id,
        Name::Domain(host) => {
            tenant.domains.iter().any(|domain| domain.state == DomainState::Verified && domain.host == *host)
        }
        Name::Credential | Name::Nobody => false,
    }
}

//! Questions about sockets, which outlive the request that opened them: the tenant that a request
//! names without a credential, and whether a credential that was accepted once still is.

use std::sync::Arc;

use super::authenticate::Credentials;
use super::{Parts, admit, agree, features, resolve};
use crate::gate::answer::{Bearer, Challenge, Credential, Stage};
use crate::gate::ask::Ask;
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute, Entitlements};
use crate::gate::cx::{Cx, Exit};
use crate::model::{Auth, PresentedKey, TenantId};
use crate::resolve::{Carrier, EvalContext, Name, Request};

/// The tenant that the signals of a request name, whatever credential the route needs. `None` if
/// there are none. The tenant may be served.
pub(in crate::gate) fn named(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    request: &Request<'_>,
) -> Result<Option<Arc<Entitlements>>, Exit> {
    resolve::with_signals(parts, cx, catalog, request, |parts, cx, signals, route| {
        if signals.found.iter().all(|signal| signal.name == Name::Credential) {
            return Ok(None);
        }
        let (found, _) = agree::agree(parts.snapshots, cx, catalog, &signals.found, &Credentials::new(), route)?;
        admit::status(cx, &found.tenant)?;
        admit::residency(cx, &found.tenant, request.place)?;
        Ok(Some(found.tenant))
    })
}

/// Judges a credential again that was accepted for `tenant` on the route of `path`: status,
/// residency, the credential itself, its scopes, and the feature of the route. `None`: the route
/// needed none. Returns the tenant as it is now.
pub(in crate::gate) fn still_admits(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    tenant: &TenantId,
    credential: Option<&Credential>,
    path: &str,
    place: Option<&str>,
) -> Result<Arc<Entitlements>, Exit> {
    let route = catalog.route("GET", path);
    let found = agree::lookup(parts.snapshots, cx, catalog, tenant)?;
    admit::status(cx, &found.tenant)?;
    admit::residency(cx, &found.tenant, place)?;
    match credential {
        Some(credential) => still_valid(parts, cx, catalog, &found.tenant, credential, route)?,
        None if route.auth == Auth::None => {}
        None => return Err(refuse(cx, catalog, route, "the route needs a credential")),
    }
    features::evaluate(cx, catalog, &found.tenant, Some(route), EvalContext::Named(&[]), &Ask::default())?;
    Ok(found.tenant)
}

/// Verifies a credential that takes the place of another one on an open socket of `tenant`, and
/// judges it like the first one.
pub(in crate::gate) fn renews(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    tenant: &TenantId,
    text: &str,
    path: &str,
    place: Option<&str>,
) -> Result<(Bearer, Arc<Entitlements>), Exit> {
    let route = catalog.route("GET", path);
    let keys = &mut parts.snapshots.keys;
    let credential = if PresentedKey::parse(text).is_some() {
        parts.verifier.api_key(keys, cx, catalog, text, route)?
    } else {
        parts.verifier.token(keys, cx, catalog, text, route)?
    };
    let found = still_admits(parts, cx, catalog, tenant, Some(&credential), path, place)?;
    let holder = agree::holder(parts.snapshots, cx, catalog, &credential, route)?;
    let bearer = Bearer { credential, tenant: holder.tenant.tenant().id.clone(), from: Carrier::Header };
    Ok((bearer, found))
}

fn still_valid(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    tenant: &Entitlements,
    credential: &Credential,
    route: &CompiledRoute,
) -> Result<(), Exit> {
    if credential.expires_at.is_some_and(|end| end <= cx.now) {
        return Err(refuse(cx, catalog, route, "the credential has expired"));
    }
    if let Some(key) = &credential.key {
        let environment = parts.verifier.environment;
        let known = parts.snapshots.keys.api_key(key, cx.now, &mut cx.refresh)?;
        if known.is_none_or(|known| known.record.refusal(environment, cx.now).is_some()) {
            return Err(refuse(cx, catalog, route, "the API key is no longer valid"));
        }
    } else if credential.issuer_id.is_none() {
        return Err(refuse(cx, catalog, route, "the catalog no longer has the token's issuer"));
    }
    let holder = agree::holder(parts.snapshots, cx, catalog, credential, route)?;
    let id = &holder.tenant.tenant().id;
    let line = if route.act_for_descendants { tenant.line() } else { tenant.line().get(..1).unwrap_or_default() };
    if !line.iter().any(|own| own.id == *id) {
        return Err(cx.deny(Stage::Agreement, Code::TenantMismatch, "the credential is another tenant's"));
    }
    if !credential.serves(route.auth) {
        return Err(refuse(cx, catalog, route, "the route needs another kind of credential"));
    }
    if !credential.allows(&route.scopes) {
        let challenge = Challenge { scopes: route.scopes.clone(), ..Challenge::new(catalog, route, false) };
        return Err(cx.challenge(Code::InsufficientScope, "the credential lacks a scope", challenge));
    }
    Ok(())
}

fn refuse(cx: &mut Cx, catalog: &CompiledCatalog, route: &CompiledRoute, reason: &'static str) -> Exit {
    cx.challenge(Code::Unauthenticated, reason, Challenge::new(catalog, route, false))
}

//! Stages 1 to 4: from the request to one tenant.

use std::sync::Arc;

use super::{Parts, agree, authenticate, note_route};
use crate::gate::answer::{Stage, StrippedPath};
use crate::gate::cache::{Found, KnownTenant};
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute};
use crate::gate::cx::{Cx, Exit};
use crate::gate::need::Need;
use crate::model::{Access, Auth};
use crate::resolve::{KnownHost, Request, ResolveError, Signals, lenient_path};

/// The tenant of a request and its route. `None` means that the route needs no tenant.
pub(super) fn tenant<'c>(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &'c Arc<CompiledCatalog>,
    request: &Request<'_>,
) -> Result<(Option<Found>, &'c CompiledRoute), Exit> {
    let refuse = |cx: &mut Cx, error| {
        // Denials are read by pages of other origins too.
        cx.decision.route = catalog.cors_route(request, request.method);
        deny(cx, error)
    };
    let (host, known) = parts.hosts.get(catalog, request.host).map_err(|error| refuse(cx, error))?;
    let mut signals = Signals::default();
    find_signals(catalog, request, &host, &mut signals).map_err(|error| refuse(cx, error))?;
    let route = catalog.route(request.method, &signals.route_path());
    note_route(cx, route);
    require_one_route(cx, catalog, route, request, &signals)?;
    cx.trace
        .pass(Stage::Request, || format!("host `{}`, route `{}` ({})", host.text, route.path(), route.access.as_str()));
    let stripped = signals.prefix.take().map(|prefix| StrippedPath { path: signals.path.clone().into_owned(), prefix });
    let found = match route.access {
        Access::Public => None,
        Access::Central if signals.found.is_empty() => None,
        _ => {
            // A host that is the only signal leads to the same tenant as before, unless anything
            // has changed.
            let alone = signals.is_host_alone() && route.auth == Auth::None && !request.explain;
            let known = known.filter(|_| alone).and_then(|known| known.found(parts.snapshots, catalog, cx.now));
            match known {
                Some(found) => Some(found),
                None => Some(agreed(parts, cx, catalog, request, &signals, route, alone)?),
            }
        }
    };
    if stripped.is_some() {
        cx.decision.extras_mut().path = stripped;
    }
    Ok((found, route))
}

/// Runs `f` with the signals of a request and its route.
pub(super) fn with_signals<T>(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    request: &Request<'_>,
    f: impl FnOnce(&mut Parts<'_>, &mut Cx, &Signals<'_>, &CompiledRoute) -> Result<T, Exit>,
) -> Result<T, Exit> {
    let (host, _) = parts.hosts.get(catalog, request.host).map_err(|error| deny(cx, error))?;
    let mut signals = Signals::default();
    find_signals(catalog, request, &host, &mut signals).map_err(|error| deny(cx, error))?;
    let route = catalog.route(request.method, &signals.route_path());
    f(parts, cx, &signals, route)
}

/// The tenant that all signals and credentials agree on.
fn agreed(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    request: &Request<'_>,
    signals: &Signals<'_>,
    route: &CompiledRoute,
    alone: bool,
) -> Result<Found, Exit> {
    let credentials = authenticate::credentials(parts, cx, catalog, signals, route)?;
    let (found, bearer) = agree::agree(parts.snapshots, cx, catalog, &signals.found, &credentials, route)?;
    if let Some(signal) = signals.found.first().filter(|_| alone) {
        let known = KnownTenant::new(parts.snapshots, &signal.name, &found.tenant);
        parts.hosts.learn(request.host, known);
    }
    if bearer.is_some() {
        cx.decision.extras_mut().credential = bearer;
    }
    Ok(found)
}

/// INVARIANT (one route): however an origin reads the path, the route that was judged is the one
/// that the request takes there.
fn require_one_route(
    cx: &mut Cx,
    catalog: &CompiledCatalog,
    route: &CompiledRoute,
    request: &Request<'_>,
    signals: &Signals<'_>,
) -> Result<(), Exit> {
    let read_alike =
        |path: &str| lenient_path(path).is_some_and(|lenient| catalog.is_route(route, request.method, &lenient));
    if signals.ambiguous && !read_alike(&signals.path) {
        let reason = "the path could be read as that of another route";
        return Err(cx.deny(Stage::Request, Code::BadRequest, reason));
    }
    Ok(())
}

/// The signals of a request. A public route belongs to no tenant: it neither waits for a custom
/// resolver nor fails with it, nor with any other invalid signal, such as a cookie of a sibling
/// host.
fn find_signals<'a>(
    catalog: &CompiledCatalog,
    request: &Request<'a>,
    host: &'a KnownHost,
    signals: &mut Signals<'a>,
) -> Result<(), ResolveError> {
    let Err(error) = catalog.resolver.find(request, host, signals) else { return Ok(()) };
    catalog.resolver.skip(request, signals)?;
    let public = catalog.route(request.method, &signals.route_path()).access == Access::Public;
    if public { Ok(()) } else { Err(error) }
}

fn deny(cx: &mut Cx, error: ResolveError) -> Exit {
    match error {
        ResolveError::AskCustom => Exit::Need(Need::CustomResolver),
        ResolveError::Unreadable(reason) => cx.deny(Stage::Request, Code::BadRequest, reason),
        ResolveError::Repeated(_) => cx.deny(Stage::Request, Code::TenantAmbiguous, "a signal occurs more than once"),
        ResolveError::CustomFailed => cx.deny(Stage::Tenant, Code::ResolverFailed, "the custom resolver failed"),
    }
}

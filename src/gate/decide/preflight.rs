//! CORS preflights (Fetch §3.2.2), which the gate answers for the origin.
//!
//! A preflight names no tenant and carries no credential: browsers omit both. The policy of the
//! route decides alone.

use std::sync::Arc;

use crate::gate::answer::Stage;
use crate::gate::code::Code;
use crate::gate::compiled::{CORS_ORIGIN, CORS_REQUEST_METHOD, CompiledCatalog, RouteId};
use crate::gate::cx::{Cx, Exit};
use crate::resolve::Request;

/// The route and the origin of a preflight. `None` means that the request is not a preflight, the
/// adapter does not answer preflights, or the route has no policy.
pub(super) fn find<'a>(catalog: &CompiledCatalog, request: &Request<'a>) -> Option<(RouteId, &'a str)> {
    if !request.preflights || request.method != "OPTIONS" || !catalog.has_cors() {
        return None;
    }
    let header = |wanted: &str| request.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let (origin, method) = (header(CORS_ORIGIN)?, header(CORS_REQUEST_METHOD)?);
    let route = catalog.cors_route(request, method)?;
    catalog.cors(route).map(|_| (route, origin))
}

pub(super) fn answer(cx: &mut Cx, catalog: &Arc<CompiledCatalog>, route: RouteId, origin: &str) -> Result<(), Exit> {
    cx.decision.route = Some(route);
    if !catalog.cors(route).is_some_and(|policy| policy.allows(origin)) {
        let reason = "a preflight from an origin that the route's CORS policy does not name";
        return Err(cx.deny(Stage::Request, Code::OriginNotAllowed, reason));
    }
    cx.trace.pass(Stage::Request, || format!("a preflight from `{origin}`, which the route's CORS policy names"));
    cx.decision.extras_mut().is_preflight = true;
    Ok(())
}

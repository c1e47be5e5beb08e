//! CORS: the policy of a request's route, and which requests are preflights.

use super::plans::CompiledCatalog;
use crate::resolve::{Request, Signals};

/// The page's origin.
const ORIGIN: &str = "origin";
/// What a preflight asks for.
const ASKED_METHOD: &str = "access-control-request-method";

/// Headers that are read of a request where a catalog has policies.
pub(super) const CORS_HEADERS: [&str; 3] = [ORIGIN, ASKED_METHOD, "access-control-request-headers"];

/// The number of the policy of the route that a request leads to, as far as its path can be read.
pub(super) fn policy(plans: &CompiledCatalog, request: &Request<'_>, method: &str) -> Option<u32> {
    if !plans.has_cors() {
        return None;
    }
    let mut signals = Signals::default();
    plans.resolver().skip(request, &mut signals).ok()?;
    plans.route(method, &signals.route_path()).cors
}

/// The policy and the origin of a preflight (Fetch §3.2.2). `None`: the request is no preflight, or its route has no policy.
pub(super) fn preflight<'a>(plans: &CompiledCatalog, request: &Request<'a>) -> Option<(u32, &'a str)> {
    if request.method != "OPTIONS" || !plans.has_cors() {
        return None;
    }
    let header = |wanted: &str| request.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let (origin, method) = (header(ORIGIN)?, header(ASKED_METHOD)?);
    Some((policy(plans, request, method)?, origin))
}

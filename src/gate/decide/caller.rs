//! The bearer of a token alone, for endpoints of the gate's own, which have no route.

use std::sync::Arc;

use super::{Parts, agree};
use crate::gate::answer::Bearer;
use crate::gate::compiled::CompiledCatalog;
use crate::gate::cx::{Cx, Exit};
use crate::resolve::Carrier;

/// Verifies a token (RFC 7519) of any issuer of the catalog. Denies it if the token is invalid or
/// its tenant is not served.
pub(in crate::gate) fn bearer(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    token: &str,
) -> Result<Bearer, Exit> {
    let route = catalog.fallback_route();
    let credential = parts.verifier.token(&mut parts.snapshots.keys, cx, catalog, token, route)?;
    let found = agree::holder(parts.snapshots, cx, catalog, &credential, route)?;
    if found.tenant.barrier().is_some() {
        return Err(Exit::Denied);
    }
    Ok(Bearer { credential, tenant: found.tenant.tenant().id.clone(), from: Carrier::Header })
}

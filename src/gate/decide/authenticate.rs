//! Stage 2: the credentials of the request are valid, and sufficient for the route.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Parts;
use crate::gate::answer::{Challenge, Credential, Stage};
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute};
use crate::gate::cx::{Cx, Exit};
use crate::model::{Access, Auth};
use crate::resolve::{Carrier, PresentedCredential, Signals};

/// The credentials of one request; usually one.
pub(super) type Credentials = SmallVec<[(Arc<Credential>, Carrier); 1]>;

/// The credentials of a request, verified. The one that is sufficient for the route comes first.
pub(super) fn credentials(
    parts: &mut Parts<'_>,
    cx: &mut Cx,
    catalog: &Arc<CompiledCatalog>,
    signals: &Signals<'_>,
    route: &CompiledRoute,
) -> Result<Credentials, Exit> {
    let needed = route.auth != Auth::None && (route.access == Access::Tenant || !signals.found.is_empty());
    let mut credentials = Credentials::new();
    for presented in &signals.shown {
        // With `mode: first`, a credential that is neither needed nor a signal is ignored.
        if needed || signals.found.iter().any(|signal| signal.strategy == presented.kind()) {
            let keys = &mut parts.snapshots.keys;
            let credential = match presented {
                PresentedCredential::Token(text, _) => parts.verifier.token(keys, cx, catalog, text, route)?,
                PresentedCredential::ApiKey(text) => parts.verifier.api_key(keys, cx, catalog, text, route)?,
            };
            cx.trace.pass(Stage::Credential, || credential.to_string());
            credentials.push((credential, presented.carrier()));
        }
    }
    if !needed {
        return Ok(credentials);
    }
    if !credentials.iter().any(|(credential, _)| credential.serves(route.auth)) {
        let reason = if signals.withheld {
            "the cookie's token does not count: the request is not known to come from its own origin"
        } else {
            "the route needs a credential"
        };
        let challenge = Challenge { is_missing: credentials.is_empty(), ..Challenge::new(catalog, route, false) };
        return Err(cx.challenge(Code::Unauthenticated, reason, challenge));
    }
    // One credential must be sufficient alone: the scopes of two credentials are never combined.
    let serves = |credential: &Credential| credential.serves(route.auth) && credential.allows(&route.scopes);
    let Some(index) = credentials.iter().position(|(credential, _)| serves(credential)) else {
        let challenge = Challenge { scopes: route.scopes.clone(), ..Challenge::new(catalog, route, false) };
        return Err(cx.challenge(Code::InsufficientScope, "the credential lacks a scope", challenge));
    };
    credentials.swap(0, index);
    Ok(credentials)
}

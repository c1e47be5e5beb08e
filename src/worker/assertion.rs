//! Assertions: the gate's signed statements to the origin about the tenant, its plan and the
//! caller.
//!
//! A signature costs more than a decision, so one assertion serves many requests of the same
//! caller.

use std::cell::RefCell;

use serde_json::Value;
use web_sys::console;

use crate::gate::{Decision, Entitlements};
use crate::identity::{Asserted, Signer};
use crate::model::bounds::{ASSERTION_LIFETIME_MS, MAX_CACHED_ASSERTIONS, MAX_REMEMBERED_BYTES};
use crate::model::{Cache, PlanRef, UnixMillis};
use crate::wire::{CredentialView, asserted};

/// Signs assertions, and reuses each for half of its lifetime.
pub(crate) struct Assertions {
    signer: Signer,
    audience: String,
    /// Assertions with the time of their signature, by the digest of their content without the
    /// times.
    signed: RefCell<Cache<[u8; 32], (String, UnixMillis)>>,
}

impl Assertions {
    /// Returns `None` if the key is invalid, and logs that. Requests are then forwarded without an
    /// assertion, so an origin that requires one refuses them all.
    pub(crate) fn new(pem: &str, audience: Option<String>) -> Option<Self> {
        let Some(signer) = Signer::from_pem(pem) else {
            console::error_1(
                &"ASSERTION_KEY is not an Ed25519 key in PEM (`BEGIN PRIVATE KEY`): no request carries an assertion"
                    .into(),
            );
            return None;
        };
        let audience = audience.unwrap_or_else(|| String::from("upstream"));
        Some(Self { signer, audience, signed: RefCell::new(Cache::new(MAX_CACHED_ASSERTIONS)) })
    }

    /// The public key, for origins.
    pub(crate) fn jwk(&self) -> Value {
        self.signer.jwk()
    }

    /// The assertion for the tenant of a decision and the caller that acts for it.
    pub(crate) fn of(&self, tenant: &Entitlements, decision: &Decision, now: UnixMillis) -> String {
        let bearer = decision.extras().credential.as_ref();
        let credential = bearer.and_then(|bearer| serde_json::to_value(CredentialView::from(bearer)).ok());
        let credential = credential.unwrap_or_default();
        let more = asserted(decision);
        let own = tenant.tenant();
        let plan = tenant.plan().map(PlanRef::as_str);
        let ancestors: Vec<&str> = tenant.ancestors().collect();
        let (id, slug) = (own.id.as_str(), own.slug.as_str());
        let said = Asserted { tenant: id, slug, plan, ancestors: &ancestors, credential: &credential, more: &more };
        if more.contains_key("limits") {
            // The limits differ from request to request, so no other request can use it.
            return self.signer.sign(&said, &self.audience, now);
        }
        let same = said.digest();
        let mut signed = self.signed.borrow_mut();
        if let Some((token, at)) = signed.get_mut(&same)
            && now.since(*at) < ASSERTION_LIFETIME_MS / 2
        {
            return token.clone();
        }
        let token = self.signer.sign(&said, &self.audience, now);
        if token.len() <= MAX_REMEMBERED_BYTES {
            signed.insert(same, (token.clone(), now));
        }
        token
    }
}

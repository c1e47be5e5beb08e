//! What the origin is told, signed: made once for many requests of the same caller.

use std::cell::RefCell;

use serde_json::Value;
use web_sys::console;

use crate::gate::{Bearer, Entitlements};
use crate::identity::{Asserted, Signer};
use crate::model::bounds::{ASSERTION_LIFETIME_MS, MAX_CACHED_ASSERTIONS, MAX_REMEMBERED_BYTES};
use crate::model::{Cache, PlanRef, UnixMillis};
use crate::wire::CredentialView;

/// Signs assertions, and remembers them for half their life.
pub(crate) struct Assertions {
    signer: Signer,
    audience: String,
    /// By the digest of all that they say but the time.
    signed: RefCell<Cache<[u8; 32], (String, UnixMillis)>>,
}

impl Assertions {
    /// `None`: the key is none, which stands in the log. An origin that insists on assertions then refuses everything.
    pub(crate) fn new(pem: &str, audience: Option<String>) -> Option<Self> {
        let Some(signer) = Signer::from_pem(pem) else {
            console::error_1(
                &"ASSERTION_KEY is no Ed25519 key in PEM (`BEGIN PRIVATE KEY`): nothing is asserted".into(),
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

    /// The assertion for a tenant and who acts in its name.
    pub(crate) fn of(&self, tenant: &Entitlements, bearer: Option<&Bearer>, now: UnixMillis) -> String {
        let credential = bearer.and_then(|bearer| serde_json::to_value(CredentialView::from(bearer)).ok());
        let credential = credential.unwrap_or_default();
        let own = tenant.tenant();
        let plan = tenant.plan().map(PlanRef::as_str);
        let ancestors: Vec<&str> = tenant.ancestors().collect();
        let (id, slug) = (own.id.as_str(), own.slug.as_str());
        let said = Asserted { tenant: id, slug, plan, ancestors: &ancestors, credential: &credential };
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

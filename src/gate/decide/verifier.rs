//! Verifies tokens and API keys, and remembers which tokens it has verified.
//!
//! A token is first judged by its claims, which costs little, then by its signature. Verified
//! tokens are remembered by their SHA-256, together with the keys that verified them.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use crate::gate::answer::{Challenge, Credential, Stage};
use crate::gate::cache::KeyStore;
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, CompiledRoute};
use crate::gate::cx::{Cx, Exit};
use crate::gate::need::Need;
use crate::identity::{IssuerKeys, Jwt, Keyring, RefusalReason, Signature, Validity};
use crate::ledger::{Bucket, Rate};
use crate::model::bounds::{
    MAX_ANSWERED_SIGNATURES, MAX_ASKED_SIGNATURES, MAX_CACHED_TOKENS, MAX_REFUSED_TOKENS, MAX_REMEMBERED_BYTES,
    RETRY_AFTER_MS,
};
use crate::model::{Cache, Environment, IssuerKey, PresentedKey, UnixMillis};

/// Verifies the credentials that one isolate receives.
#[derive(Debug)]
pub struct Verifier {
    /// The environment whose API keys are accepted.
    pub(in crate::gate) environment: Environment,
    /// Whether the adapter verifies signatures by RSA and ECDSA.
    pub(in crate::gate) delegates: bool,
    /// Signatures that the adapter has verified, until the question is asked again.
    signatures: Cache<Signature, bool>,
    tokens: TokenVerifier,
}

/// The tokens that were judged under one catalog.
#[derive(Debug)]
struct TokenVerifier {
    of: Option<Arc<CompiledCatalog>>,
    verified: Cache<[u8; 32], VerifiedToken>,
    /// Tokens with an invalid signature, with the keys that judged it, so that a refused token
    /// costs no more than an accepted one.
    refused: Cache<[u8; 32], (Arc<Keyring>, RefusalReason)>,
    /// Tokens whose signatures the adapter is verifying, and which have been paid for.
    asked: Cache<[u8; 32], ()>,
    /// The recent cost of invalid signatures, by issuer.
    spent: FxHashMap<usize, Bucket>,
    /// The keys that the catalog contains, by issuer.
    rings: Vec<Option<Arc<Keyring>>>,
}

#[derive(Debug)]
struct VerifiedToken {
    validity: Validity,
    ring: Arc<Keyring>,
    credential: Arc<Credential>,
}

const MALFORMED_KEY: &str = "malformed or mistyped API key";

/// The milliseconds of work that invalid signatures of one issuer may cost an isolate: 100 a
/// second, and 200 at once. Anybody who knows a key id can make the gate verify signatures. Tokens
/// that were verified before are not affected.
const REFUSALS: Rate = Rate { limit: 100, burst: 200, window_ms: 1_000 };

/// Why a token was not accepted.
enum TokenFailure {
    /// Data is missing.
    Need(Need),
    /// It is invalid.
    Refuse(RefusalReason),
    /// The issuer's keys are not available.
    Unavailable(RefusalReason),
    /// Too many tokens of the issuer were refused. Milliseconds after which the next one is judged.
    Busy(u64),
}

impl From<Need> for TokenFailure {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

impl From<RefusalReason> for TokenFailure {
    fn from(reason: RefusalReason) -> Self {
        Self::Refuse(reason)
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            environment: Environment::Live,
            delegates: false,
            signatures: Cache::new(MAX_ANSWERED_SIGNATURES),
            tokens: TokenVerifier::default(),
        }
    }
}

impl Default for TokenVerifier {
    fn default() -> Self {
        let (verified, refused) = (Cache::new(MAX_CACHED_TOKENS), Cache::new(MAX_REFUSED_TOKENS));
        let asked = Cache::new(MAX_ASKED_SIGNATURES);
        Self { of: None, verified, refused, asked, spent: FxHashMap::default(), rings: Vec::new() }
    }
}

impl Verifier {
    /// Verifies a token.
    pub(super) fn token(
        &mut self,
        keys: &mut KeyStore,
        cx: &mut Cx,
        catalog: &Arc<CompiledCatalog>,
        text: &str,
        route: &CompiledRoute,
    ) -> Result<Arc<Credential>, Exit> {
        let signatures = self.delegates.then_some(&mut self.signatures);
        match self.tokens.verify(keys, cx, catalog, text, signatures) {
            Ok(credential) => Ok(credential),
            Err(TokenFailure::Need(need)) => Err(need.into()),
            Err(TokenFailure::Refuse(reason)) => {
                Err(cx.challenge(Code::Unauthenticated, reason, Challenge::new(catalog, route, true)))
            }
            Err(TokenFailure::Unavailable(reason)) => Err(cx.deny(Stage::Credential, Code::IssuerUnavailable, reason)),
            Err(TokenFailure::Busy(wait_ms)) => {
                let reason = "too many invalid tokens of this issuer in a short time";
                let exit = cx.deny(Stage::Credential, Code::RateLimited, reason);
                // Unlike other denials with this code, this one may pass after a wait.
                cx.decision.extras_mut().retry_after_ms = Some(wait_ms);
                Err(exit)
            }
        }
    }

    /// Verifies an API key.
    pub(super) fn api_key(
        &self,
        keys: &mut KeyStore,
        cx: &mut Cx,
        catalog: &CompiledCatalog,
        text: &str,
        route: &CompiledRoute,
    ) -> Result<Arc<Credential>, Exit> {
        let mut refused_key = None;
        let reason = match PresentedKey::parse(text) {
            None => MALFORMED_KEY,
            Some(presented) => match keys.api_key(&presented.id, cx.now, &mut cx.refresh) {
                // A mistyped key fails its checksum, so no look-up is needed.
                Err(_) if !presented.is_whole() => MALFORMED_KEY,
                Err(need) => return Err(need.into()),
                Ok(None) => "unknown API key",
                // An id without its secret reveals nothing about the key.
                Ok(Some(known)) if !known.record.is(&presented) => "the API key's secret is wrong",
                Ok(Some(known)) => match known.record.refusal(self.environment, cx.now) {
                    None => return Ok(Arc::clone(&known.credential)),
                    Some(reason) => {
                        refused_key = Some((known.record.id.clone(), known.record.tenant.clone()));
                        reason
                    }
                },
            },
        };
        let challenge = Challenge { refused_key, ..Challenge::new(catalog, route, false) };
        Err(cx.challenge(Code::Unauthenticated, reason, challenge))
    }

    pub(in crate::gate) fn put_signature(&mut self, signature: Signature, is_valid: bool) {
        self.signatures.insert(signature, is_valid);
    }

    /// Forgets all tokens: the secrets that verified them have changed.
    pub(in crate::gate) fn forget_tokens(&mut self) {
        self.tokens = TokenVerifier::default();
    }
}

impl TokenVerifier {
    fn verify(
        &mut self,
        store: &mut KeyStore,
        cx: &mut Cx,
        catalog: &Arc<CompiledCatalog>,
        text: &str,
        signatures: Option<&mut Cache<Signature, bool>>,
    ) -> Result<Arc<Credential>, TokenFailure> {
        if !self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog)) {
            *self = Self { of: Some(Arc::clone(catalog)), ..Self::default() };
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        if let Some(known) = self.verified.get_mut(&digest) {
            let (validity, ring, credential) = (known.validity, Arc::clone(&known.ring), Arc::clone(&known.credential));
            // INVARIANT (same keys): a token is valid only while the keys that verified it are
            // held.
            if self.ring(store, cx, catalog, validity.issuer)?.is_some_and(|now| Arc::ptr_eq(&now, &ring)) {
                catalog.issuers.in_time(validity, cx.now)?;
                return Ok(credential);
            }
        }
        let token = Jwt::parse(text)?;
        let claims = catalog.issuers.judge(&token, cx.now)?;
        let validity = claims.validity;
        let ring = self.ring(store, cx, catalog, validity.issuer)?;
        let ring = ring.ok_or(TokenFailure::Unavailable("the issuer's keys could not be fetched"))?;
        if let Some((by, reason)) = self.refused.get_mut(&digest)
            && Arc::ptr_eq(by, &ring)
        {
            return Err((*reason).into());
        }
        let is_valid = self.check_signature(&token, digest, &ring, validity.issuer, signatures, cx.now)?;
        match (is_valid, catalog.issuers.keys(validity.issuer)) {
            (Some(true), _) => {}
            (Some(false), _) => {
                let reason = "the token's signature is invalid";
                self.refused.insert(digest, (ring, reason));
                return Err(reason.into());
            }
            (None, IssuerKeys::Published(url)) => {
                if let Some(need) = store.stale_keys(url, cx.now) {
                    return Err(need.into());
                }
                return Err("the issuer has no such key".into());
            }
            (None, IssuerKeys::Held(_)) if ring.lacks(token.algorithm()) => {
                return Err(TokenFailure::Unavailable("the issuer's secret is missing, or too short"));
            }
            (None, IssuerKeys::Held(_)) => return Err("the issuer has no such key".into()),
        }
        let credential = Arc::new(Credential::of_token(claims, catalog));
        if credential.bytes() <= MAX_REMEMBERED_BYTES {
            self.verified.insert(digest, VerifiedToken { validity, ring, credential: Arc::clone(&credential) });
        }
        Ok(credential)
    }

    /// Whether a token's signature is valid. `None` if the issuer does not have the token's key.
    /// `signatures`: those that the adapter has verified, if it does that.
    ///
    /// INVARIANT (counted first): an invalid signature is paid for before it is verified, so that
    /// no number of concurrent requests exceeds the rate. A valid one is paid back. The adapter
    /// verifies a token once for all requests that wait for it, so they pay once.
    fn check_signature(
        &mut self,
        token: &Jwt<'_>,
        digest: [u8; 32],
        ring: &Keyring,
        issuer: usize,
        signatures: Option<&mut Cache<Signature, bool>>,
        now: UnixMillis,
    ) -> Result<Option<bool>, TokenFailure> {
        let cost_ms = token.algorithm().cost_ms();
        let delegated = signatures.and_then(|answered| Some((ring.signature(token)?, answered)));
        let is_valid = if let Some((signature, answered)) = delegated {
            let Some(is_valid) = answered.remove(&signature) else {
                if self.asked.get_mut(&digest).is_none() {
                    self.pay(issuer, cost_ms, now)?;
                    self.asked.insert(digest, ());
                }
                return Err(Need::Signature(Box::new(signature)).into());
            };
            self.asked.remove(&digest);
            Some(is_valid)
        } else {
            self.pay(issuer, cost_ms, now)?;
            ring.verify(token)
        };
        if is_valid != Some(false) {
            self.pay_back(issuer, cost_ms);
        }
        Ok(is_valid)
    }

    /// Pays for one more invalid signature of an issuer, if its rate has room for it.
    fn pay(&mut self, issuer: usize, cost_ms: u64, now: UnixMillis) -> Result<(), TokenFailure> {
        let spent = self.spent.entry(issuer).or_default();
        let (verdict, after) = spent.step(REFUSALS, cost_ms, now);
        if !verdict.allowed {
            return Err(TokenFailure::Busy(verdict.retry_after_ms.unwrap_or(RETRY_AFTER_MS)));
        }
        *spent = after;
        Ok(())
    }

    fn pay_back(&mut self, issuer: usize, cost_ms: u64) {
        let spent = self.spent.entry(issuer).or_default();
        *spent = spent.without(cost_ms);
    }

    /// The keys of an issuer. `Ok(None)` means that they could not be fetched.
    fn ring(
        &mut self,
        store: &mut KeyStore,
        cx: &mut Cx,
        catalog: &CompiledCatalog,
        issuer: usize,
    ) -> Result<Option<Arc<Keyring>>, TokenFailure> {
        match catalog.issuers.keys(issuer) {
            IssuerKeys::Published(url) => Ok(store.published(url, cx.now, &mut cx.refresh)?),
            IssuerKeys::Held(keys) => {
                if let Some(ring) = self.rings.get(issuer).and_then(Option::as_ref) {
                    return Ok(Some(Arc::clone(ring)));
                }
                for key in keys {
                    if let IssuerKey::Secret { name, .. } = key {
                        store.secret(name)?;
                    }
                }
                let ring = Arc::new(Keyring::of(keys, |name| store.secret(name).ok().flatten().map(String::from)));
                if self.rings.len() <= issuer {
                    self.rings.resize(issuer.saturating_add(1), None);
                }
                if let Some(slot) = self.rings.get_mut(issuer) {
                    *slot = Some(Arc::clone(&ring));
                }
                Ok(Some(ring))
            }
        }
    }
}

//! Stage 2: what a caller shows is good, and enough for the route.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::code::Code;
use super::decision::Challenge;
use super::key_store::KeyStore;
use super::pipeline::Gate;
use super::plans::{CompiledCatalog, CompiledRoute};
use super::run::{Cx, Exit};
use super::trace::Stage;
use crate::identity::{Claims, IssuerKeys, Jwt, Keyring, RefusalReason, Validity};
use crate::ledger::{Bucket, Rate};
use crate::model::bounds::{MAX_CACHED_TOKENS, MAX_REFUSED_TOKENS, MAX_REMEMBERED_BYTES, RETRY_AFTER_MS};
use crate::model::{
    Access, Algorithm, ApiKey, Auth, Cache, Environment, IssuerKey, Key, KeyId, PresentedKey, Scope, StrategyKind,
    UnixMillis,
};
use crate::resolve::{Carrier, Name, PresentedCredential, Signals};

/// A verified credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `jwt` or `api_key`.
    pub kind: StrategyKind,
    /// Who issued the token, by its name in the catalog.
    pub issuer: Option<Key>,
    /// The API key's name.
    pub key: Option<KeyId>,
    /// The token's subject.
    pub subject: Option<String>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was issued.
    pub issued_at: Option<UnixMillis>,
    /// Whom it names.
    pub(super) tenant: Name<'static>,
    /// The token's issuer, by its number.
    pub(super) issuer_id: Option<usize>,
}

/// The credentials of one request; usually one.
pub(super) type Credentials = SmallVec<[(Arc<Credential>, Carrier); 1]>;

/// Tokens that were verified, by their SHA-256, with the keys that did it.
#[derive(Debug)]
pub(super) struct TokenVerifier {
    of: Option<Arc<CompiledCatalog>>,
    tokens: Cache<[u8; 32], VerifiedToken>,
    /// Tokens that were refused for their signature, with the keys that did it: what is refused costs no more than what is allowed.
    refused: Cache<[u8; 32], (Arc<Keyring>, RefusalReason)>,
    /// Work that refusals have cost lately, by issuer.
    spent: Vec<Bucket>,
    /// Keys of the catalog, by issuer.
    rings: Vec<Option<Arc<Keyring>>>,
}

#[derive(Debug)]
struct VerifiedToken {
    validity: Validity,
    ring: Arc<Keyring>,
    credential: Arc<Credential>,
}

const NO_KEY: &str = "the API key is malformed or mistyped";

/// Milliseconds of work that invalid signatures of one issuer may cost an isolate: 100 a second, and 200 at once. Anybody who knows a
/// key's name can make the gate verify signatures. Tokens that were verified before are not affected.
const REFUSALS: Rate = Rate { limit: 100, burst: 200, window_ms: 1_000 };

/// Why a token was not believed.
enum Doubt {
    Halt(Exit),
    Refuse(RefusalReason),
    Unavailable(RefusalReason),
    /// Too many were refused; milliseconds after which another one is judged.
    Busy(u64),
}

impl From<super::need::Need> for Doubt {
    fn from(need: super::need::Need) -> Self {
        Self::Halt(need.into())
    }
}

impl From<RefusalReason> for Doubt {
    fn from(reason: RefusalReason) -> Self {
        Self::Refuse(reason)
    }
}

impl Default for TokenVerifier {
    fn default() -> Self {
        let (tokens, refused) = (Cache::new(MAX_CACHED_TOKENS), Cache::new(MAX_REFUSED_TOKENS));
        Self { of: None, tokens, refused, spent: Vec::new(), rings: Vec::new() }
    }
}

impl Credential {
    pub(super) fn of_key(record: &ApiKey) -> Self {
        Self {
            kind: StrategyKind::ApiKey,
            issuer: None,
            key: Some(record.id.clone()),
            subject: None,
            scopes: record.scopes.clone(),
            issued_at: Some(record.created_at),
            tenant: Name::Id(record.tenant.to_string().into()),
            issuer_id: None,
        }
    }

    fn of_token(claims: Claims, plans: &CompiledCatalog) -> Self {
        let Claims { validity, tenant, subject, scopes } = claims;
        Self {
            kind: StrategyKind::Jwt,
            issuer: plans.issuers.get(validity.issuer).map(|(key, _)| key.clone()),
            key: None,
            subject,
            scopes,
            issued_at: validity.issued_at,
            tenant,
            issuer_id: Some(validity.issuer),
        }
    }

    /// Bytes of what its issuer could choose.
    fn bytes(&self) -> usize {
        let scopes = self.scopes.iter().map(|scope| scope.as_str().len().saturating_add(size_of::<Scope>()));
        scopes.sum::<usize>().saturating_add(self.subject.as_ref().map_or(0, String::len))
    }

    fn serves(&self, auth: Auth) -> bool {
        match auth {
            Auth::None | Auth::Any => true,
            Auth::Jwt => self.kind == StrategyKind::Jwt,
            Auth::ApiKey => self.kind == StrategyKind::ApiKey,
        }
    }

    fn allows(&self, scopes: &[Scope]) -> bool {
        scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

impl Gate {
    /// The credentials of a request, verified; the one that serves the route comes first.
    pub(super) fn authenticate(
        &mut self,
        run: &mut Cx,
        plans: &Arc<CompiledCatalog>,
        signals: &Signals<'_>,
        route: &CompiledRoute,
    ) -> Result<Credentials, Exit> {
        let needed = route.auth != Auth::None && (route.access == Access::Tenant || !signals.found.is_empty());
        let mut credentials = Credentials::new();
        for shown in &signals.shown {
            // With `mode: first`, what is neither needed nor counted is not looked at.
            if needed || signals.found.iter().any(|signal| signal.strategy == shown.kind()) {
                let credential = match shown {
                    PresentedCredential::Token(text, _) => self.token(run, plans, text, route)?,
                    PresentedCredential::ApiKey(text) => self.api_key(run, plans, text, route)?,
                };
                run.trace.pass(Stage::Credential, || credential.to_string());
                credentials.push((credential, shown.carrier()));
            }
        }
        if !needed {
            return Ok(credentials);
        }
        if !credentials.iter().any(|(credential, _)| credential.serves(route.auth)) {
            let challenge = Challenge::new(plans, route, false);
            let reason = if signals.withheld {
                "the cookie's token does not count: the request is not known to come from its own origin"
            } else {
                "the route needs a credential"
            };
            return Err(run.challenge((Code::Unauthenticated, reason), challenge));
        }
        // One credential must do it alone: what two allow together, nobody was given.
        let found = credentials
            .iter()
            .position(|(credential, _)| credential.serves(route.auth) && credential.allows(&route.scopes));
        let Some(index) = found else {
            let challenge = Challenge { scopes: route.scopes.clone(), ..Challenge::new(plans, route, false) };
            return Err(run.challenge((Code::InsufficientScope, "the credential lacks a scope"), challenge));
        };
        credentials.swap(0, index);
        Ok(credentials)
    }

    /// Verifies a token, or remembers that it was verified.
    pub(super) fn token(
        &mut self,
        run: &mut Cx,
        plans: &Arc<CompiledCatalog>,
        text: &str,
        route: &CompiledRoute,
    ) -> Result<Arc<Credential>, Exit> {
        match self.verified.token(&mut self.snapshots.keys, run, plans, text) {
            Ok(credential) => Ok(credential),
            Err(Doubt::Halt(halt)) => Err(halt),
            Err(Doubt::Refuse(reason)) => {
                Err(run.challenge((Code::Unauthenticated, reason), Challenge::new(plans, route, true)))
            }
            Err(Doubt::Unavailable(reason)) => Err(run.deny(Stage::Credential, (Code::IssuerUnavailable, reason))),
            Err(Doubt::Busy(wait_ms)) => {
                let reason = "too many tokens of this issuer were refused lately";
                let halt = run.deny(Stage::Credential, (Code::RateLimited, reason));
                Err(halt.passes_after(wait_ms))
            }
        }
    }

    /// Verifies an API key.
    fn api_key(
        &mut self,
        run: &mut Cx,
        plans: &CompiledCatalog,
        text: &str,
        route: &CompiledRoute,
    ) -> Result<Arc<Credential>, Exit> {
        let mut ended = None;
        let refusal = match PresentedKey::parse(text) {
            None => NO_KEY,
            Some(presented) => match self.snapshots.keys.api_key(&presented.id, run.now, &mut run.refresh) {
                // What nobody issued is not worth a look-up.
                Err(_) if !presented.is_whole() => NO_KEY,
                Err(need) => return Err(need.into()),
                Ok(None) => "no such API key",
                // A name without its secret says nothing of the key behind it.
                Ok(Some(known)) if !known.record.is(&presented) => "the API key's secret is not right",
                Ok(Some(known)) => match known.record.refusal(self.environment, run.now) {
                    None => return Ok(Arc::clone(&known.credential)),
                    Some(refusal) => {
                        ended = Some((known.record.id.clone(), known.record.tenant.clone()));
                        refusal
                    }
                },
            },
        };
        let challenge = Challenge { refused_key: ended, ..Challenge::new(plans, route, false) };
        Err(run.challenge((Code::Unauthenticated, refusal), challenge))
    }

    /// Says where the gate runs: keys of another environment are refused. Default [`Environment::Live`].
    pub fn serve(&mut self, environment: Environment) {
        self.environment = environment;
    }
}

impl TokenVerifier {
    fn token(
        &mut self,
        store: &mut KeyStore,
        run: &mut Cx,
        plans: &Arc<CompiledCatalog>,
        text: &str,
    ) -> Result<Arc<Credential>, Doubt> {
        if !self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, plans)) {
            *self = Self { of: Some(Arc::clone(plans)), ..Self::default() };
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        if let Some(known) = self.tokens.get_mut(&digest) {
            let (validity, ring, credential) = (known.validity, Arc::clone(&known.ring), Arc::clone(&known.credential));
            // INVARIANT (same keys): a token is believed as long as the keys that it was verified with are.
            if self.ring(store, run, plans, validity.issuer)?.is_some_and(|now| Arc::ptr_eq(&now, &ring)) {
                plans.issuers.in_time(validity, run.now)?;
                return Ok(credential);
            }
        }
        let token = Jwt::parse(text)?;
        let claims = plans.issuers.judge(&token, run.now)?;
        let validity = claims.validity;
        let ring = self.ring(store, run, plans, validity.issuer)?;
        let ring = ring.ok_or(Doubt::Unavailable("the issuer's keys could not be fetched"))?;
        if let Some((by, reason)) = self.refused.get_mut(&digest)
            && Arc::ptr_eq(by, &ring)
        {
            return Err((*reason).into());
        }
        let after = self.one_more_refusal(validity.issuer, token.algorithm(), run.now)?;
        match (ring.verify(&token), plans.issuers.keys(validity.issuer)) {
            (Some(true), _) => {}
            (Some(false), _) => {
                let reason = "the token's signature is not good";
                self.spend(validity.issuer, after);
                self.refused.insert(digest, (ring, reason));
                return Err(reason.into());
            }
            (None, IssuerKeys::Published(url)) => {
                if let Some(need) = store.doubt(url, run.now) {
                    return Err(need.into());
                }
                return Err("the issuer has no such key".into());
            }
            (None, IssuerKeys::Held(_)) if ring.lacks(token.algorithm()) => {
                return Err(Doubt::Unavailable("the issuer's secret is absent, or too short"));
            }
            (None, IssuerKeys::Held(_)) => return Err("the issuer has no such key".into()),
        }
        let credential = Arc::new(Credential::of_token(claims, plans));
        if credential.bytes() <= MAX_REMEMBERED_BYTES {
            self.tokens.insert(digest, VerifiedToken { validity, ring, credential: Arc::clone(&credential) });
        }
        Ok(credential)
    }

    /// The work of an issuer's refusals with one more, if there is room for it.
    fn one_more_refusal(&self, issuer: usize, algorithm: Algorithm, now: UnixMillis) -> Result<Bucket, Doubt> {
        let spent = self.spent.get(issuer).copied().unwrap_or_default();
        let (verdict, after) = spent.step(REFUSALS, algorithm.cost_ms(), now);
        if verdict.allowed { Ok(after) } else { Err(Doubt::Busy(verdict.retry_after_ms.unwrap_or(RETRY_AFTER_MS))) }
    }

    /// Notes what judging a bad signature has cost.
    fn spend(&mut self, issuer: usize, after: Bucket) {
        if self.spent.len() <= issuer {
            self.spent.resize(issuer.saturating_add(1), Bucket::default());
        }
        if let Some(spent) = self.spent.get_mut(issuer) {
            *spent = after;
        }
    }

    /// The keys of an issuer; `Ok(None)`: they could not be had.
    fn ring(
        &mut self,
        store: &mut KeyStore,
        run: &mut Cx,
        plans: &CompiledCatalog,
        issuer: usize,
    ) -> Result<Option<Arc<Keyring>>, Doubt> {
        match plans.issuers.keys(issuer) {
            IssuerKeys::Published(url) => Ok(store.published(url, run.now, &mut run.refresh)?),
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

    /// Forgets what was verified with secrets that have changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Challenge {
    pub(super) fn new(plans: &CompiledCatalog, route: &CompiledRoute, invalid_token: bool) -> Self {
        let reads = |kind| plans.catalog.resolution.strategy(kind).is_some();
        Self {
            token: reads(StrategyKind::Jwt) && route.auth != Auth::ApiKey,
            api_key: reads(StrategyKind::ApiKey) && route.auth != Auth::Jwt,
            invalid_token,
            scopes: Vec::new(),
            refused_key: None,
        }
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.issuer, &self.key) {
            (Some(issuer), _) => write!(f, "a token of `{issuer}`")?,
            (None, Some(key)) => write!(f, "the API key `{key}`")?,
            (None, None) => f.write_str("a credential")?,
        }
        let scopes: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
        write!(f, ", with {}", if scopes.is_empty() { String::from("no scopes") } else { scopes.join(" ") })
    }
}

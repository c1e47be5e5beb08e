//! Assertions: the gate's signed statement to the origin that a request belongs to a tenant.
//!
//! An assertion is a JWS (RFC 7515) with Ed25519 (RFC 8037). The origin can trust it without
//! trusting the network in between, and cannot forge one itself.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::key_pair::TokenSigner;
use super::{Jwt, Keyring, RefusalReason};
use crate::model::bounds::{ASSERTION_LIFETIME_MS, DEFAULT_LEEWAY_MS};
use crate::model::{Algorithm, KeySet, UnixMillis, gather};

/// The `iss` of assertions.
const ISSUER: &str = "tenantgate";
/// The `typ` of assertions, so that no other token passes for one.
const TYP: &str = "tenant+jwt";

/// The content of an assertion about a request.
#[derive(Debug, Clone, Copy)]
pub struct Asserted<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// The tenant's slug.
    pub slug: &'a str,
    /// The tenant's plan that is in force.
    pub plan: Option<&'a str>,
    /// The ids of its ancestors, nearest first.
    pub ancestors: &'a [&'a str],
    /// The verified credential, as in the decision. Null if none was needed.
    pub credential: &'a Value,
    /// Further claims, which the catalog asks for: `features`, `limits`, `upgrade_url`.
    pub more: &'a Map<String, Value>,
}

impl Asserted<'_> {
    /// The claims about the request, without those about the assertion.
    fn claims(&self) -> Map<String, Value> {
        let own = [
            ("sub", self.tenant.into()),
            ("slug", self.slug.into()),
            ("plan", self.plan.into()),
            ("ancestors", self.ancestors.into()),
            ("credential", self.credential.clone()),
        ];
        let own = own.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value));
        gather(own.chain(self.more.clone()))
    }

    /// A digest of the content. Equal content has an equal digest.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(Value::from(self.claims()).to_string()).into()
    }
}

/// A verified assertion.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// The tenant's id.
    pub tenant: String,
    /// All claims: `sub` (the tenant's id), `slug`, `plan`, `ancestors`, `credential`, `features`
    /// and `limits` if the catalog asks for them, and those about the assertion itself.
    pub claims: Value,
    /// When the assertion expires.
    pub expires_at: UnixMillis,
}

/// Signs assertions.
#[derive(Debug)]
pub struct Signer(TokenSigner);

impl Signer {
    /// A signer with a private key in PEM (`BEGIN PRIVATE KEY`, as made by
    /// `openssl genpkey -algorithm ed25519`). Returns `None` if the key is invalid.
    pub fn from_pem(pem: &str) -> Option<Self> {
        TokenSigner::from_pem(pem, TYP).map(Self)
    }

    /// The public key as JWK (RFC 7517), with which origins verify assertions.
    pub fn jwk(&self) -> Value {
        self.0.jwk()
    }

    /// Signs an assertion for an origin. It is valid for [`ASSERTION_LIFETIME_MS`] milliseconds.
    pub fn sign(&self, content: &Asserted<'_>, audience: &str, now: UnixMillis) -> String {
        let seconds = |time: UnixMillis| time.get() / 1_000;
        let mut claims = content.claims();
        let until = now.plus(ASSERTION_LIFETIME_MS);
        let own = [
            ("iss", ISSUER.into()),
            ("aud", audience.into()),
            ("iat", seconds(now).into()),
            ("exp", seconds(until).into()),
        ];
        claims.extend(own.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
        self.0.sign(&claims.into())
    }
}

impl Assertion {
    /// Verifies the value of `X-Tenant-Assertion`. `keys` are those that the gate publishes at
    /// `/_gate/jwks.json`. `audience` is the origin's own name, as configured in the gate.
    ///
    /// # Errors
    /// The reason why the assertion is rejected. Treat the request as one without a tenant.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::identity::{Asserted, Assertion, Signer};
    /// use tenantgate::model::{KeySet, UnixMillis};
    /// let pem = "-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----";
    /// let signer = Signer::from_pem(pem).unwrap();
    /// let (credential, more) = (serde_json::Value::Null, serde_json::Map::new());
    /// let (tenant, slug, ancestors) = ("t_acme", "acme", &[]);
    /// let content = Asserted { tenant, slug, plan: None, ancestors, credential: &credential, more: &more };
    /// let now = UnixMillis::parse("2026-11-22T12:00:00Z").unwrap();
    /// let origin = "https://origin.example.com";
    /// let token = signer.sign(&content, origin, now);
    ///
    /// let keys = serde_json::json!({ "keys": [signer.jwk()] }).to_string();
    /// let keys = KeySet::parse(&keys).unwrap();
    /// let assertion = Assertion::verify(&token, &keys, origin, now).unwrap();
    /// assert_eq!(assertion.tenant, "t_acme");
    /// assert!(Assertion::verify(&token, &keys, "https://other.example.com", now).is_err());
    /// ```
    pub fn verify(token: &str, keys: &KeySet, audience: &str, now: UnixMillis) -> Result<Self, RefusalReason> {
        let token = Jwt::parse(token)?;
        let claim = |name: &str| token.claims.get(name);
        let time = |name: &str| claim(name).and_then(Value::as_u64).map(|s| UnixMillis::new(s.saturating_mul(1_000)));
        if token.algorithm != Algorithm::EdDsa || !token.is_typ(TYP) || token.issuer() != Some(ISSUER) {
            return Err("the token is not an assertion of the gate");
        }
        if claim("aud").and_then(Value::as_str) != Some(audience) {
            return Err("the assertion is for another origin");
        }
        if Keyring::published(keys).verify(&token) != Some(true) {
            return Err("the assertion's signature is invalid");
        }
        let expires_at = time("exp").ok_or("the assertion's `exp` is missing")?;
        if expires_at <= now || time("iat").is_none_or(|at| at > now.plus(DEFAULT_LEEWAY_MS)) {
            return Err("the assertion has expired, or is not valid yet");
        }
        let tenant = claim("sub").and_then(Value::as_str).ok_or("the assertion names no tenant")?.to_owned();
        Ok(Self { tenant, expires_at, claims: token.claims.into() })
    }
}

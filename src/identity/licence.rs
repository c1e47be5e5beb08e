//! Licences for use without asking: a JWS (RFC 7515) with Ed25519 (RFC 8037) that says for how long an answer stands.

use serde_json::{Value, json};

use super::key_pair::TokenSigner;
use super::{Jwt, Keyring, RefusalReason};
use crate::model::bounds::DEFAULT_LEEWAY_MS;
use crate::model::{Algorithm, DomainPattern, KeySet, UnixMillis};

/// Who signs: `iss`.
const ISSUER: &str = "tenantgate";
/// The audience, `aud`: an origin that checks it does not accept a licence as an assertion.
const AUDIENCE: &str = "licence";
/// What it is, so that no other token is taken for one: `typ`.
const TYP: &str = "licence+jwt";

/// Signs licences.
#[derive(Debug)]
pub struct LicenceSigner(TokenSigner);

/// What a licence says.
#[derive(Debug, Clone, Copy)]
pub struct Licensed<'a> {
    /// Its id.
    pub licence: &'a str,
    /// The tenant's id.
    pub tenant: &'a str,
    /// The plan that the tenant lives by.
    pub plan: Option<&'a str>,
    /// The features that the tenant has.
    pub features: &'a [&'a str],
    /// Hosts that it is good for; none: everywhere.
    pub domains: &'a [DomainPattern],
    /// The instance that asked.
    pub instance: Option<&'a str>,
}

impl LicenceSigner {
    /// A signer with a private key in PEM (`BEGIN PRIVATE KEY`, as `openssl genpkey -algorithm ed25519` makes it).
    pub fn from_pem(pem: &str) -> Option<Self> {
        TokenSigner::from_pem(pem, TYP).map(Self)
    }

    /// The public key (RFC 7517).
    pub fn jwk(&self) -> Value {
        self.0.jwk()
    }

    /// Signs what is said, good until `until`.
    pub fn sign(&self, said: &Licensed<'_>, now: UnixMillis, until: UnixMillis) -> String {
        let domains: Vec<&str> = said.domains.iter().map(DomainPattern::as_str).collect();
        self.0.sign(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "jti": said.licence, "sub": said.tenant, "plan": said.plan, "features": said.features, "domains": domains,
            "instance": said.instance, "iat": now.get() / 1_000, "exp": until.get() / 1_000,
        }))
    }
}

/// Verifies a licence on `host`; its claims. `keys`: what the gate publishes at `/_gate/jwks.json`.
///
/// # Errors
/// Why it is not believed.
///
/// # Examples
/// ```
/// use tenantgate::identity::{LicenceSigner, Licensed, verify_licence};
/// use tenantgate::model::{DomainPattern, KeySet, UnixMillis};
/// let pem = "-----BEGIN PRIVATE KEY-----\n\
///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
///     -----END PRIVATE KEY-----";
/// let signer = LicenceSigner::from_pem(pem).unwrap();
/// let domains = [DomainPattern::parse("*.example.com").unwrap()];
/// let said = Licensed { licence: "l1", tenant: "t_acme", plan: None, features: &["sso"], domains: &domains, instance: None };
/// let now = UnixMillis::parse("2026-11-22T12:00:00Z").unwrap();
/// let token = signer.sign(&said, now, now.plus(604_800_000));
/// let keys = KeySet::parse(&serde_json::json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
/// assert_eq!(verify_licence(&token, &keys, Some("shop.example.com"), now).unwrap()["features"][0], "sso");
/// assert!(verify_licence(&token, &keys, Some("example.com.evil.net"), now).is_err());
/// assert!(verify_licence(&token, &keys, Some("shop.example.com"), now.plus(604_800_000)).is_err());
/// ```
pub fn verify_licence(token: &str, keys: &KeySet, host: Option<&str>, now: UnixMillis) -> Result<Value, RefusalReason> {
    let token = Jwt::parse(token)?;
    if token.algorithm != Algorithm::EdDsa || !token.is_typ(TYP) || token.issuer() != Some(ISSUER) {
        return Err("the token is no licence of the gate");
    }
    if Keyring::published(keys).verify(&token) != Some(true) {
        return Err("the licence's signature is not good");
    }
    let time = |name: &str| {
        token.claims.get(name).and_then(Value::as_u64).map(|seconds| UnixMillis::new(seconds.saturating_mul(1_000)))
    };
    if time("exp").is_none_or(|at| at <= now) {
        return Err("the licence was checked too long ago, or has expired");
    }
    // Who sets the clock back does not gain time: what was signed later cannot be used yet.
    if time("iat").is_none_or(|at| at > now.plus(DEFAULT_LEEWAY_MS)) {
        return Err("the licence is not good yet: check the clock");
    }
    let patterns = token.claims.get("domains").and_then(Value::as_array).ok_or("the licence names no domains")?;
    let patterns: Option<Vec<_>> = patterns.iter().map(|text| text.as_str().and_then(DomainPattern::parse)).collect();
    let patterns = patterns.ok_or("the licence's domains cannot be read")?;
    let covered = |host: &str| patterns.iter().any(|pattern| pattern.covers(host));
    if !patterns.is_empty() && !host.is_some_and(covered) {
        return Err("the licence is not for this domain");
    }
    Ok(token.claims.into())
}

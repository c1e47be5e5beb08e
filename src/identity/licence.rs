//! Signed licences for use without contacting the gate: a JWS (RFC 7515) with Ed25519 (RFC 8037)
//! that contains the result of a licence check and the time until which it is valid.

use serde_json::{Value, json};

use super::key_pair::TokenSigner;
use super::{Jwt, Keyring, RefusalReason};
use crate::model::bounds::DEFAULT_LEEWAY_MS;
use crate::model::{Algorithm, DomainPattern, KeySet, UnixMillis};

/// The `iss` of licences.
const ISSUER: &str = "tenantgate";
/// The `aud` of licences. An origin that checks it does not accept a licence as an assertion.
const AUDIENCE: &str = "licence";
/// The `typ` of licences, so that no other token passes for one.
const TYP: &str = "licence+jwt";

/// Signs licences.
#[derive(Debug)]
pub struct LicenceSigner(TokenSigner);

/// The content of a signed licence.
#[derive(Debug, Clone, Copy)]
pub struct Licensed<'a> {
    /// The licence's id.
    pub licence: &'a str,
    /// The tenant's id.
    pub tenant: &'a str,
    /// The tenant's plan that is in force.
    pub plan: Option<&'a str>,
    /// The features that the tenant has.
    pub features: &'a [&'a str],
    /// Hosts on which the licence is valid. Empty: all hosts.
    pub domains: &'a [DomainPattern],
    /// The instance for which the licence was checked.
    pub instance: Option<&'a str>,
}

impl LicenceSigner {
    /// A signer with a private key in PEM (`BEGIN PRIVATE KEY`, as made by
    /// `openssl genpkey -algorithm ed25519`). Returns `None` if the key is invalid.
    pub fn from_pem(pem: &str) -> Option<Self> {
        TokenSigner::from_pem(pem, TYP).map(Self)
    }

    /// The public key (RFC 7517).
    pub fn jwk(&self) -> Value {
        self.0.jwk()
    }

    /// Signs a licence that is valid until `until`.
    pub fn sign(&self, licence: &Licensed<'_>, now: UnixMillis, until: UnixMillis) -> String {
        let domains: Vec<&str> = licence.domains.iter().map(DomainPattern::as_str).collect();
        self.0.sign(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "jti": licence.licence, "sub": licence.tenant, "plan": licence.plan, "features": licence.features, "domains": domains,
            "instance": licence.instance, "iat": now.get() / 1_000, "exp": until.get() / 1_000,
        }))
    }
}

/// Verifies a signed licence on `host` and returns its claims. `keys` are those that the gate
/// publishes at `/_gate/jwks.json`.
///
/// # Errors
/// The reason why the licence is rejected.
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
/// let licence = Licensed {
///     licence: "l1",
///     tenant: "t_acme",
///     plan: None,
///     features: &["sso"],
///     domains: &domains,
///     instance: None,
/// };
/// let now = UnixMillis::parse("2026-11-22T12:00:00Z").unwrap();
/// let token = signer.sign(&licence, now, now.plus(604_800_000));
/// let keys = KeySet::parse(&serde_json::json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
/// let claims = verify_licence(&token, &keys, Some("shop.example.com"), now).unwrap();
/// assert_eq!(claims["features"][0], "sso");
/// assert!(verify_licence(&token, &keys, Some("example.com.evil.net"), now).is_err());
/// let later = now.plus(604_800_000);
/// assert!(verify_licence(&token, &keys, Some("shop.example.com"), later).is_err());
/// ```
pub fn verify_licence(token: &str, keys: &KeySet, host: Option<&str>, now: UnixMillis) -> Result<Value, RefusalReason> {
    let token = Jwt::parse(token)?;
    if token.algorithm != Algorithm::EdDsa || !token.is_typ(TYP) || token.issuer() != Some(ISSUER) {
        return Err("the token is not a licence of the gate");
    }
    if Keyring::published(keys).verify(&token) != Some(true) {
        return Err("the licence's signature is invalid");
    }
    let time = |name: &str| {
        token.claims.get(name).and_then(Value::as_u64).map(|seconds| UnixMillis::new(seconds.saturating_mul(1_000)))
    };
    if time("exp").is_none_or(|at| at <= now) {
        return Err("the licence was checked too long ago, or has expired");
    }
    // Setting the clock back gains no time: a licence that was signed later is not valid yet.
    if time("iat").is_none_or(|at| at > now.plus(DEFAULT_LEEWAY_MS)) {
        return Err("the licence is not valid yet: check the clock");
    }
    let patterns =
        token.claims.get("domains").and_then(Value::as_array).ok_or("the licence's `domains` are missing")?;
    let patterns: Option<Vec<_>> = patterns.iter().map(|text| text.as_str().and_then(DomainPattern::parse)).collect();
    let patterns = patterns.ok_or("the licence's `domains` are invalid")?;
    let covered = |host: &str| patterns.iter().any(|pattern| pattern.covers(host));
    if !patterns.is_empty() && !host.is_some_and(covered) {
        return Err("the licence is not valid on this domain");
    }
    Ok(token.claims.into())
}

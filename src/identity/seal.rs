//! Seals: signatures of snapshots, so that write access to KV is not enough to change what a tenant
//! has.
//!
//! A sealed text is a JWS with a detached, unencoded payload (RFC 7515 appendix F, RFC 7797) and
//! Ed25519 (RFC 8037). Its first line is `header..signature`, and the unchanged text follows. The
//! header contains the KV key of the text, so that a text cannot be moved to another key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::key_pair::KeyPair;
use super::{RefusalReason, strict_json};
use crate::model::{KeySet, Material};

/// The `typ` of seals, so that no other signature passes for one.
const TYP: &str = "tenantgate-snapshot";

/// Seals snapshots.
#[derive(Debug)]
pub struct Sealer(KeyPair);

impl Sealer {
    /// A sealer with a private key in PEM (`BEGIN PRIVATE KEY`, as made by
    /// `openssl genpkey -algorithm ed25519`). Returns `None` if the key is invalid.
    pub fn from_pem(pem: &str) -> Option<Self> {
        KeyPair::from_pem(pem).map(Self)
    }

    /// The public key as JWK (RFC 7517), for isolates that must trust it while the key is being
    /// replaced.
    pub fn jwk(&self) -> Value {
        self.0.jwk()
    }

    /// Seals a text for a KV key.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::identity::{Sealer, Seals};
    /// let pem = "-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----";
    /// let sealer = Sealer::from_pem(pem).unwrap();
    /// let sealed = sealer.seal("tenant:t_acme", r#"{"id": "t_acme"}"#);
    /// let seals = Seals::default().and_own(&sealer);
    /// assert_eq!(seals.open("tenant:t_acme", &sealed), Ok(r#"{"id": "t_acme"}"#));
    /// assert!(seals.open("tenant:t_other", &sealed).is_err());
    /// assert!(seals.open("tenant:t_acme", &sealed.replace("t_acme", "t_evil")).is_err());
    /// ```
    pub fn seal(&self, key: &str, text: &str) -> String {
        let header =
            json!({ "alg": "EdDSA", "b64": false, "crit": ["b64"], "kid": self.0.kid(), "typ": TYP, "key": key });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = self.0.sign(format!("{header}.{text}").as_bytes());
        format!("{header}..{signature}\n{text}")
    }
}

/// The keys whose seals are trusted.
#[derive(Debug, Clone, Default)]
pub struct Seals(Vec<(String, VerifyingKey)>);

impl Seals {
    /// The keys of a set. Keys of other kinds and keys without `kid` are left out.
    pub fn of(set: &KeySet) -> Self {
        let keys = set.keys.iter().filter_map(|key| match &key.material {
            Material::Ed25519(bytes) => Some((key.kid.clone()?, VerifyingKey::from_bytes(bytes).ok()?)),
            _ => None,
        });
        Self(keys.collect())
    }

    /// Also trusts the key of a sealer.
    #[must_use]
    pub fn and_own(mut self, sealer: &Sealer) -> Self {
        if let Ok(key) = VerifyingKey::from_bytes(&sealer.0.public()) {
            self.0.push((sealer.0.kid().to_owned(), key));
        }
        self
    }

    /// Verifies a sealed text and returns the text that was sealed for `key`.
    ///
    /// # Errors
    /// The reason why the seal is rejected.
    pub fn open<'a>(&self, key: &str, sealed: &'a str) -> Result<&'a str, RefusalReason> {
        let (seal, text) = sealed.split_once('\n').ok_or("the snapshot is not sealed")?;
        let (header, signature) = seal.split_once("..").ok_or("the snapshot is not sealed")?;
        let members = URL_SAFE_NO_PAD.decode(header).ok();
        let members = members.as_deref().and_then(strict_json::object).ok_or("the seal is malformed")?;
        let is = |name: &str, value: &Value| members.get(name) == Some(value);
        if !is("alg", &"EdDSA".into())
            || !is("typ", &TYP.into())
            || !is("b64", &false.into())
            || !is("crit", &json!(["b64"]))
        {
            return Err("the seal is of another kind");
        }
        if !is("key", &key.into()) {
            return Err("the seal is for another KV key");
        }
        let kid = members.get("kid").and_then(Value::as_str).unwrap_or_default();
        let (_, verifying) =
            self.0.iter().find(|(known, _)| known == kid).ok_or("the key that made the seal is not trusted")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        let good =
            signature.is_some_and(|s| verifying.verify_strict(format!("{header}.{text}").as_bytes(), &s).is_ok());
        if good { Ok(text) } else { Err("the seal's signature is invalid") }
    }

    /// The text of a snapshot that may be sealed, without verification: for deployments that trust
    /// every writer of KV.
    pub fn believe(sealed: &str) -> &str {
        match sealed.split_once('\n') {
            Some((seal, text)) if seal.starts_with("eyJ") => text,
            _ => sealed,
        }
    }
}

//! Keyrings: the keys of an issuer, ready to verify signatures. `jsonwebtoken` or the platform does
//! the arithmetic. This module chooses the key and the algorithm.

use jsonwebtoken::DecodingKey;

use super::provider;
use super::token::Jwt;
use crate::model::{Algorithm, IssuerKey, KeySet, Material, PublicKey};

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct Keyring(Vec<RingKey>);

/// A signature by RSA or ECDSA, with all that its verification needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signature {
    /// How it was made.
    pub algorithm: Algorithm,
    /// The key that verifies it.
    pub key: Material,
    /// The signed text.
    pub message: String,
    /// The signature, encoded as base64url.
    pub signature: String,
}

#[derive(Debug)]
struct RingKey {
    kid: Option<String>,
    kind: RingKeyKind,
    key: DecodingKey,
}

#[derive(Debug)]
enum RingKeyKind {
    Public(PublicKey),
    /// A shared secret with this number of bytes.
    Secret(usize),
}

impl RingKey {
    fn public(key: &PublicKey) -> Self {
        // INVARIANT (good keys): the parser of the document has checked the key's size.
        let decoding = match &key.material {
            Material::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Material::P256(point) | Material::P384(point) => DecodingKey::from_ec_der(point),
            Material::Ed25519(bytes) => DecodingKey::from_ed_der(bytes),
        };
        Self { kid: key.kid.clone(), kind: RingKeyKind::Public(key.clone()), key: decoding }
    }

    /// INVARIANT (no confusion): a key verifies only algorithms of its own kind. A public key is
    /// never used as a secret.
    fn verifies(&self, algorithm: Algorithm) -> bool {
        match &self.kind {
            RingKeyKind::Public(key) => key.verifies(algorithm),
            RingKeyKind::Secret(length) => algorithm.min_secret_bytes().is_some_and(|min| *length >= min),
        }
    }
}

impl Keyring {
    /// A keyring of published keys.
    pub fn published(set: &KeySet) -> Self {
        Self(set.keys.iter().map(RingKey::public).collect())
    }

    /// A keyring of keys in the catalog. `secret` returns the value of a named secret. Keys whose
    /// secret is missing are left out.
    pub fn of(keys: &[IssuerKey], mut secret: impl FnMut(&str) -> Option<String>) -> Self {
        let held = keys.iter().filter_map(|key| match key {
            IssuerKey::Public(key) => Some(RingKey::public(key)),
            IssuerKey::Secret { kid, name } => {
                let text = secret(name)?;
                let key = DecodingKey::from_secret(text.as_bytes());
                Some(RingKey { kid: kid.clone(), kind: RingKeyKind::Secret(text.len()), key })
            }
        });
        Self(held.collect())
    }

    /// Whether the keyring has no key for an algorithm.
    pub fn lacks(&self, algorithm: Algorithm) -> bool {
        !self.0.iter().any(|held| held.verifies(algorithm))
    }

    /// Whether a token's signature is valid. `None` if the keyring does not have the token's key.
    pub fn verify(&self, token: &Jwt<'_>) -> Option<bool> {
        let held = self.find(token)?;
        Some(provider::verify(token.signature, token.signed, &held.key, named(token.algorithm)))
    }

    /// A token's signature, for verification by the platform. `None` if the keyring does not have
    /// the token's key, or if [`Self::verify`] costs little: with shared secrets and Ed25519.
    pub fn signature(&self, token: &Jwt<'_>) -> Option<Signature> {
        match &self.find(token)?.kind {
            RingKeyKind::Public(PublicKey { material: Material::Ed25519(_), .. }) | RingKeyKind::Secret(_) => None,
            RingKeyKind::Public(key) => Some(Signature {
                algorithm: token.algorithm,
                key: key.material.clone(),
                message: token.signed.to_owned(),
                signature: token.signature.to_owned(),
            }),
        }
    }

    /// The key that a token means: the key with its `kid`, or the only key that fits.
    fn find(&self, token: &Jwt<'_>) -> Option<&RingKey> {
        let fits = |held: &&RingKey| held.verifies(token.algorithm);
        match (&token.kid, self.0.as_slice()) {
            (_, [only]) if only.kid.is_none() => Some(only).filter(fits),
            (Some(kid), held) => held.iter().find(|held| held.kid.as_ref() == Some(kid)).filter(fits),
            (None, held) => {
                let mut fitting = held.iter().filter(fits);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }
}

const fn named(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Named;
    match algorithm {
        Algorithm::Hs256 => Named::HS256,
        Algorithm::Hs384 => Named::HS384,
        Algorithm::Hs512 => Named::HS512,
        Algorithm::Rs256 => Named::RS256,
        Algorithm::Rs384 => Named::RS384,
        Algorithm::Rs512 => Named::RS512,
        Algorithm::Ps256 => Named::PS256,
        Algorithm::Ps384 => Named::PS384,
        Algorithm::Ps512 => Named::PS512,
        Algorithm::Es256 => Named::ES256,
        Algorithm::Es384 => Named::ES384,
        Algorithm::EdDsa => Named::EdDSA,
    }
}

//! Public keys, as JWK (RFC 7517) or PEM. Weak keys, private keys and keys for another use are
//! rejected when they are parsed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::RsaPublicKey;
use serde_json::{Map, Value};
use spki::{Document, ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::bounds::{MAX_JWKS_BYTES, MAX_JWKS_KEYS, MAX_KEY_ID_BYTES, MAX_RSA_BITS, MIN_RSA_BITS};
use super::{Problem, Problems, Read, Reader, choice};

choice! {
    /// A signature algorithm (RFC 7518, RFC 8037). `none` does not exist here.
    pub enum Algorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA PKCS #1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// RSA PKCS #1 v1.5 with SHA-384.
        Rs384 = "RS384",
        /// RSA PKCS #1 v1.5 with SHA-512.
        Rs512 = "RS512",
        /// RSA PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// The key material. An algorithm belongs to exactly one kind, so that no key is ever used as a key
/// of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Material {
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa {
        /// The modulus: [`MIN_RSA_BITS`] to [`MAX_RSA_BITS`] bits.
        n: Vec<u8>,
        /// The exponent: odd, at least 3, at most 32 bits.
        e: Vec<u8>,
    },
    /// A point on P-256, uncompressed (SEC 1), 65 bytes.
    P256(Vec<u8>),
    /// A point on P-384, uncompressed (SEC 1), 97 bytes.
    P384(Vec<u8>),
    /// An Ed25519 key.
    Ed25519([u8; 32]),
}

/// A public key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The key's `kid` in tokens.
    pub kid: Option<String>,
    /// The only algorithm that the key may be used with. `None` allows all algorithms of its kind.
    pub algorithm: Option<Algorithm>,
    /// The key material.
    pub material: Material,
}

impl Algorithm {
    /// Parses an algorithm name as it appears in tokens. Case-sensitive.
    pub fn parse(name: &str) -> Option<Self> {
        Self::read(&Value::from(name), &mut Reader::new())
    }

    /// The approximate number of milliseconds that an isolate needs to reject an invalid signature,
    /// rounded up.
    pub const fn cost_ms(self) -> u64 {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 | Self::EdDsa => 1,
            Self::Es256 | Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => 3,
            Self::Es384 => 9,
        }
    }

    /// Minimum bytes of a shared secret (RFC 7518 §3.2). `None` for algorithms with public keys.
    pub const fn min_secret_bytes(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

impl PublicKey {
    /// Whether the key may verify signatures of an algorithm.
    pub fn verifies(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let kind = match self.material {
            Material::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Material::P256(_) => algorithm == Es256,
            Material::P384(_) => algorithm == Es384,
            Material::Ed25519(_) => algorithm == EdDsa,
        };
        kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Parses a JWK. Members that are not part of the key, such as `x5c`, are ignored.
    pub(super) fn read_jwk(value: &Value, r: &mut Reader) -> Option<Self> {
        let Value::Object(jwk) = value else {
            return r.unexpected(value, "a JWK");
        };
        if let Some(secret) = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().find(|name| jwk.contains_key(**name))
        {
            return r
                .at(secret, |r| r.refuse("a private or shared key", "a public key: secrets stay out of documents"));
        }
        if let Some(other) = jwk.get("use").filter(|usage| **usage != "sig") {
            return r.at("use", |r| r.unexpected(other, "`sig`"));
        }
        if let Some(ops) =
            jwk.get("key_ops").filter(|ops| !ops.as_array().is_some_and(|ops| ops.contains(&"verify".into())))
        {
            return r.at("key_ops", |r| r.unexpected(ops, "a list with `verify`"));
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(r.at("kid", |r| read_kid(kid, r))?),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(r.at("alg", |r| Algorithm::read(name, r))?),
        };
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        let material = match (text("kty"), text("crv")) {
            ("RSA", _) => rsa(&member(jwk, "n", r)?, &member(jwk, "e", r)?, r)?,
            ("EC", "P-256") => Material::P256(point(jwk, 32, r)?),
            ("EC", "P-384") => Material::P384(point(jwk, 48, r)?),
            ("OKP", "Ed25519") => ed25519(&member(jwk, "x", r)?, r)?,
            (kty, crv) => {
                let found = format!("`{}`", format!("{kty} {crv}").trim());
                return r.at("kty", |r| r.refuse(found, "RSA, EC with P-256 or P-384, or OKP with Ed25519"));
            }
        };
        Self { kid, algorithm, material }.checked(r)
    }

    /// Parses a public key in PEM (`BEGIN PUBLIC KEY`, RFC 7468).
    pub(super) fn read_pem(text: &str, kid: Option<String>, r: &mut Reader) -> Option<Self> {
        const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
        let found = Document::from_pem(text).ok().filter(|(label, _)| *label == "PUBLIC KEY");
        let Some((_, document)) = found else {
            return r.refuse("other text", "PEM text that begins with `-----BEGIN PUBLIC KEY-----`");
        };
        let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes()).ok();
        let parts = info.as_ref().and_then(|info| Some((info.algorithm.oid, info.subject_public_key.as_bytes()?)));
        let material = match parts {
            Some((RSA, bits)) => {
                let key = RsaPublicKey::try_from(bits).ok();
                let (n, e) =
                    key.map(|key| (key.modulus.as_bytes(), key.public_exponent.as_bytes())).unwrap_or_default();
                rsa(n, e, r)?
            }
            Some((EC, [4, rest @ ..])) if rest.len() == 64 => Material::P256([&[4], rest].concat()),
            Some((EC, [4, rest @ ..])) if rest.len() == 96 => Material::P384([&[4], rest].concat()),
            Some((ED25519, bits)) => ed25519(bits, r)?,
            _ => return r.refuse("a key of another kind", "RSA, P-256, P-384 or Ed25519"),
        };
        Self { kid, algorithm: None, material }.checked(r)
    }

    fn checked(self, r: &mut Reader) -> Option<Self> {
        let on_curve = match &self.material {
            Material::P256(point) => p256::PublicKey::from_sec1_bytes(point).is_ok(),
            Material::P384(point) => p384::PublicKey::from_sec1_bytes(point).is_ok(),
            Material::Rsa { .. } | Material::Ed25519(_) => true,
        };
        if !on_curve {
            return r.refuse("a point that is not on the curve", "a point on the curve");
        }
        match self.algorithm {
            Some(algorithm) if !self.verifies(algorithm) => {
                r.at("alg", |r| r.refuse(format!("`{}`", algorithm.as_str()), "an algorithm for this kind of key"))
            }
            _ => Some(self),
        }
    }
}

/// A key set (RFC 7517 §5) as an issuer publishes it.
///
/// A set may contain keys for other uses. Unusable keys are left out and reported. Keys that share
/// a `kid` are all left out, because it is ambiguous which one a token means. A key without `kid`
/// is left out, unless it is the only key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    /// The usable keys.
    pub keys: Vec<PublicKey>,
    /// Why the other keys were left out, for the operator.
    pub left_out: Vec<Problem>,
}

impl KeySet {
    /// Parses a key set.
    ///
    /// # Errors
    /// The text is not a key set, or is too large.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let list = Reader::run(|r| {
            let mut set = r.json(text, MAX_JWKS_BYTES)?;
            match set.get_mut("keys").map(Value::take) {
                Some(Value::Array(keys)) => r.at_most(keys.len(), MAX_JWKS_KEYS).map(|()| keys),
                _ => r.refuse("a document without `keys`", "a JSON Web Key Set"),
            }
        })?;
        let mut set = Self::default();
        let alone = list.len() == 1;
        for (index, jwk) in list.iter().enumerate() {
            let key = Reader::run(|r| {
                r.at("keys", |r| {
                    r.at_index(index, |r| {
                        let same = |other: &&Value| other.get("kid") == jwk.get("kid");
                        match jwk.get("kid") {
                            None if !alone => r.refuse("a key without `kid`", "a `kid`, or a set of one key"),
                            Some(_) if list.iter().filter(same).count() > 1 => {
                                r.refuse("a repeated `kid`", "each `kid` once")
                            }
                            _ => PublicKey::read_jwk(jwk, r),
                        }
                    })
                })
            });
            match key {
                Ok(key) => set.keys.push(key),
                Err(problems) => set.left_out.extend(problems.0),
            }
        }
        Ok(set)
    }
}

fn read_kid(value: &Value, r: &mut Reader) -> Option<String> {
    match value.as_str().filter(|kid| !kid.is_empty() && kid.len() <= MAX_KEY_ID_BYTES) {
        Some(kid) => Some(kid.to_owned()),
        None => r.unexpected(value, format!("text of 1 to {MAX_KEY_ID_BYTES} bytes")),
    }
}

fn member(jwk: &Map<String, Value>, name: &str, r: &mut Reader) -> Option<Vec<u8>> {
    let bytes = jwk.get(name).and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.or_else(|| r.at(name, |r| r.refuse("a missing or invalid value", "base64url without padding")))
}

fn rsa(n: &[u8], e: &[u8], r: &mut Reader) -> Option<Material> {
    fn stripped(bytes: &[u8]) -> &[u8] {
        bytes.get(bytes.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default()
    }
    let (n, e) = (stripped(n), stripped(e));
    let zeros = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = n.len().saturating_mul(8).saturating_sub(zeros);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return r.refuse(format!("an RSA key of {bits} bits"), format!("{MIN_RSA_BITS} to {MAX_RSA_BITS} bits"));
    }
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(n) || !odd(e) || e == [1] || e.len() > 4 {
        return r.refuse("a weak RSA key", "an odd modulus, and an odd exponent of 3 or more and at most 32 bits");
    }
    Some(Material::Rsa { n: n.to_vec(), e: e.to_vec() })
}

fn point(jwk: &Map<String, Value>, size: usize, r: &mut Reader) -> Option<Vec<u8>> {
    let (x, y) = (member(jwk, "x", r)?, member(jwk, "y", r)?);
    if x.len() != size || y.len() != size {
        return r.refuse("a point of another curve", format!("coordinates of {size} bytes"));
    }
    Some([[4].as_slice(), &x, &y].concat())
}

fn ed25519(bytes: &[u8], r: &mut Reader) -> Option<Material> {
    let key = <[u8; 32]>::try_from(bytes).ok();
    // With a key of small order, one signature is valid for every message.
    let strong = |key: &[u8; 32]| ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak());
    match key.filter(strong) {
        Some(key) => Some(Material::Ed25519(key)),
        None => r.refuse("an invalid or weak Ed25519 key", "32 bytes that encode a point of large order"),
    }
}

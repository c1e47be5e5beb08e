//! The gate's own private keys (Ed25519, RFC 8037), and the tokens that they sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A private key and the `kid` of its public key.
pub(super) struct KeyPair {
    key: SigningKey,
    kid: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Parses a private key in PEM (`BEGIN PRIVATE KEY`, as made by
    /// `openssl genpkey -algorithm ed25519`). Returns `None` if it is invalid.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        SigningKey::from_pkcs8_pem(pem.trim()).ok().map(|key| {
            // RFC 7638 and RFC 8037 appendix A.3: the required members, in alphabetical order.
            let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
            let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)));
            Self { key, kid }
        })
    }

    /// The `kid` of the public key: its thumbprint (RFC 7638).
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as JWK (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.public());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" })
    }

    /// The bytes of the public key.
    pub(super) fn public(&self) -> [u8; 32] {
        *self.key.verifying_key().as_bytes()
    }

    /// Signs a message. Returns the signature in base64url.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(message).to_bytes())
    }
}

/// Signs tokens of one kind (JWS in compact form, RFC 7515).
#[derive(Debug)]
pub(super) struct TokenSigner {
    key: KeyPair,
    header: String,
}

impl TokenSigner {
    /// A signer with a private key in PEM. `typ` is the type of its tokens, so that no other token
    /// passes for one. Returns `None` if the key is invalid.
    pub(super) fn from_pem(pem: &str, typ: &str) -> Option<Self> {
        let key = KeyPair::from_pem(pem)?;
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "typ": typ, "kid": key.kid() }).to_string());
        Some(Self { key, header })
    }

    /// The public key as JWK (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        self.key.jwk()
    }

    /// Signs a token with the given claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{signature}")
    }
}

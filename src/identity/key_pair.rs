//! Private keys of the gate's own, Ed25519 (RFC 8037), and the tokens that they sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A private key, with the name of its public half.
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
    /// A key in PEM (`BEGIN PRIVATE KEY`, as `openssl genpkey -algorithm ed25519` makes it).
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        SigningKey::from_pkcs8_pem(pem.trim()).ok().map(|key| {
            // RFC 7638, RFC 8037 appendix A.3: the members that matter, in the order of the alphabet.
            let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
            let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)));
            Self { key, kid }
        })
    }

    /// The public half's name: its thumbprint (RFC 7638).
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.public());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" })
    }

    /// The public half's bytes.
    pub(super) fn public(&self) -> [u8; 32] {
        *self.key.verifying_key().as_bytes()
    }

    /// A signature, in base64url.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(message).to_bytes())
    }
}

/// Signs tokens of one kind (RFC 7515, compact).
#[derive(Debug)]
pub(super) struct TokenSigner {
    key: KeyPair,
    header: String,
}

impl TokenSigner {
    /// A signer with a private key in PEM; `typ` says what its tokens are, so that no other is taken for one.
    pub(super) fn from_pem(pem: &str, typ: &str) -> Option<Self> {
        let key = KeyPair::from_pem(pem)?;
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "typ": typ, "kid": key.kid() }).to_string());
        Some(Self { key, header })
    }

    /// The public key (RFC 7517).
    pub(super) fn jwk(&self) -> Value {
        self.key.jwk()
    }

    /// A token that says this.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{signature}")
    }
}

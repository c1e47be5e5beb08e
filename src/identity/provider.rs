//! The signature algorithms for `jsonwebtoken`, from the `RustCrypto` crates. Verification only:
//! the crate's own backend would also link signing with every algorithm, which is never used.
//!
//! In the Worker the platform verifies signatures by RSA and ECDSA ([`super::Signature`]), so that
//! module leaves them out.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::Verifier;
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Sha256, Sha384, Sha512};

use super::check::{Check, unfit};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Whether `signature` (base64url) is a valid signature of `message`.
pub(super) fn verify(signature: &str, message: &str, key: &DecodingKey, algorithm: Algorithm) -> bool {
    // Installing the provider again has no effect.
    let _ = PROVIDER.install_default();
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
}

struct By(Algorithm, Check);

impl Verifier<Vec<u8>> for By {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), jsonwebtoken::signature::Error> {
        if (self.1)(message, signature) { Ok(()) } else { Err(jsonwebtoken::signature::Error::new()) }
    }
}

impl JwtVerifier for By {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that `jsonwebtoken` requires")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let check: Check = match algorithm {
        Algorithm::HS256 => shared::<Hmac<Sha256>>(key)?,
        Algorithm::HS384 => shared::<Hmac<Sha384>>(key)?,
        Algorithm::HS512 => shared::<Hmac<Sha512>>(key)?,
        Algorithm::EdDSA => {
            let bytes = key.try_get_as_bytes()?.try_into().map_err(unfit)?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(unfit)?;
            // Strict verification: a message has only one valid signature, and keys of small order
            // have none (RFC 8032 §5.1.7).
            Box::new(move |message, signature| {
                let signature = ed25519_dalek::Signature::from_slice(signature);
                signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            })
        }
        #[cfg(not(feature = "edge"))]
        _ => super::rsa_and_ecdsa::check(*algorithm, key)?,
        #[cfg(feature = "edge")]
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(By(*algorithm, check)))
}

fn shared<M: Mac + KeyInit + Clone + 'static>(key: &DecodingKey) -> Result<Check, Error> {
    let mac = <M as Mac>::new_from_slice(key.try_get_as_bytes()?).map_err(unfit)?;
    // `verify_slice` compares in constant time.
    Ok(Box::new(move |message, signature| mac.clone().chain_update(message).verify_slice(signature).is_ok()))
}

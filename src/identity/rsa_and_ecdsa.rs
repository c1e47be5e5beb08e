//! Verification of signatures by RSA and ECDSA, where no platform does it.

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::Verifier as _;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use rsa::traits::SignatureScheme;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::check::{Check, unfit};

/// The check of signatures that a key has made by an algorithm.
pub(super) fn check(algorithm: Algorithm, key: &DecodingKey) -> Result<Check, Error> {
    Ok(match algorithm {
        Algorithm::RS256 => rsa(key, |message| (Pkcs1v15Sign::new::<Sha256>(), Sha256::digest(message).to_vec()))?,
        Algorithm::RS384 => rsa(key, |message| (Pkcs1v15Sign::new::<Sha384>(), Sha384::digest(message).to_vec()))?,
        Algorithm::RS512 => rsa(key, |message| (Pkcs1v15Sign::new::<Sha512>(), Sha512::digest(message).to_vec()))?,
        Algorithm::PS256 => rsa(key, |message| (Pss::new::<Sha256>(), Sha256::digest(message).to_vec()))?,
        Algorithm::PS384 => rsa(key, |message| (Pss::new::<Sha384>(), Sha384::digest(message).to_vec()))?,
        Algorithm::PS512 => rsa(key, |message| (Pss::new::<Sha512>(), Sha512::digest(message).to_vec()))?,
        Algorithm::ES256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key.try_get_as_bytes()?).map_err(unfit)?;
            Box::new(move |message, signature| {
                p256::ecdsa::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            })
        }
        Algorithm::ES384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key.try_get_as_bytes()?).map_err(unfit)?;
            Box::new(move |message, signature| {
                p384::ecdsa::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            })
        }
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    })
}

fn rsa<S: SignatureScheme + 'static>(
    key: &DecodingKey,
    scheme: impl Fn(&[u8]) -> (S, Vec<u8>) + 'static,
) -> Result<Check, Error> {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else {
        return Err(ErrorKind::InvalidKeyFormat.into());
    };
    let key = RsaPublicKey::new(BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)).map_err(unfit)?;
    Ok(Box::new(move |message, signature| {
        let (scheme, digest) = scheme(message);
        key.verify(scheme, &digest, signature).is_ok()
    }))
}

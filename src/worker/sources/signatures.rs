//! Signatures by RSA and ECDSA, which the platform verifies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use wasm_bindgen_futures::JsFuture;

use crate::identity::Signature;
use crate::model::Material;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::edge;

/// Verifies a signature, and puts the result into the gate.
pub(crate) async fn verify(signature: Signature) -> Result<(), String> {
    let Signature { algorithm, key, message, signature: encoded } = &signature;
    let text = format!("{}\n{}\n{message}\n{encoded}", algorithm.as_str(), jwk(key));
    let is_valid = JsFuture::from(edge::verify_signature(&text)).await.is_ok_and(|valid| valid.is_truthy());
    with_gate(|gate| gate.put_signature(signature, is_valid));
    Ok(())
}

fn jwk(key: &Material) -> serde_json::Value {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = |curve: &str, point: &[u8]| {
        // SEC 1 §2.3.3: a byte for the format, then both coordinates.
        let (x, y) = point.split_first().map_or((point, point), |(_, both)| both.split_at(both.len() / 2));
        json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
    };
    match key {
        Material::Rsa { n, e } => json!({ "kty": "RSA", "n": text(n), "e": text(e) }),
        Material::P256(bytes) => point("P-256", bytes),
        Material::P384(bytes) => point("P-384", bytes),
        Material::Ed25519(bytes) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(bytes) }),
    }
}

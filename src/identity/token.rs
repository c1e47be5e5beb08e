//! Tokens (JWS in compact form, RFC 7515 §7.1), decoded but not verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{RefusalReason, strict_json};
use crate::model::Algorithm;
use crate::model::bounds::{MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES};

/// A decoded token. Nothing in it is verified.
#[derive(Debug)]
pub struct Jwt<'a> {
    /// The signed text: header and claims, still encoded.
    pub(super) signed: &'a str,
    /// The signature, still encoded as base64url.
    pub(super) signature: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) claims: Map<String, Value>,
}

impl<'a> Jwt<'a> {
    /// Decodes a token. `jku`, `jwk`, `x5u` and `x5c` are ignored, because keys come from the
    /// catalog.
    ///
    /// # Errors
    /// The token is malformed, or requires an extension that is not supported.
    pub fn parse(text: &'a str) -> Result<Self, RefusalReason> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("the token is too long");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or("the token does not have three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("the token does not have three parts")?;
        // The engine rejects every encoding with more than one spelling: padding, other alphabets,
        // trailing bits. It also rejects a surplus dot, which is not in its alphabet.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of the token is not base64url");
        if decode(signature)?.is_empty() {
            return Err("the token is not signed");
        }
        let header = strict_json::object(&decode(header)?)
            .ok_or("the token's header is not a JSON object, or has repeated members")?;
        let claims = strict_json::object(&decode(claims)?)
            .ok_or("the token's claims are not a JSON object, or have repeated members")?;
        if header.contains_key("crit") {
            return Err("the token's header has critical extensions");
        }
        let name = header.get("alg").and_then(Value::as_str).ok_or("the token's `alg` is missing")?;
        let algorithm = Algorithm::parse(name).ok_or("the token's algorithm is not supported")?;
        let kid = text_member(&header, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES) {
            return Err("the token's `kid` is too long");
        }
        Ok(Self { signed, signature, algorithm, kid, typ: text_member(&header, "typ")?, claims })
    }

    /// The signature algorithm that the token claims.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The issuer that the token claims.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Whether `typ` is `expected`. It is a media type whose `application/` may be omitted (RFC
    /// 7515 §4.1.9).
    pub(super) fn is_typ(&self, expected: &str) -> bool {
        let plain = |typ: &str| typ.to_ascii_lowercase().trim_start_matches("application/").to_owned();
        self.typ.as_deref().is_some_and(|typ| plain(typ) == plain(expected))
    }
}

fn text_member(header: &Map<String, Value>, name: &str) -> Result<Option<String>, RefusalReason> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("a member of the token's header is not text"),
    }
}

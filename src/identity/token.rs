//! A token (JWS in compact form, RFC 7515 §7.1), taken apart. Nothing in it is believed yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{RefusalReason, strict_json};
use crate::model::Algorithm;
use crate::model::bounds::{MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES};

/// A token, taken apart.
#[derive(Debug)]
pub struct Jwt<'a> {
    /// What was signed: header and claims, as they arrived.
    pub(super) signed: &'a str,
    /// As it arrived: base64url.
    pub(super) signature: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) claims: Map<String, Value>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart. `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys come from the catalog.
    ///
    /// # Errors
    /// It cannot be read, or asks for what is not understood.
    pub fn parse(text: &'a str) -> Result<Self, RefusalReason> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("the token is too long");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or("the token has no three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("the token has no three parts")?;
        // The engine refuses what has more than one spelling: padding, other alphabets, trailing bits. A dot too many is
        // none of its letters.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of the token is not base64url");
        if decode(signature)?.is_empty() {
            return Err("the token is not signed");
        }
        let header =
            strict_json::object(&decode(header)?).ok_or("the token's header is no JSON object, or ambiguous")?;
        let claims =
            strict_json::object(&decode(claims)?).ok_or("the token's claims are no JSON object, or ambiguous")?;
        if header.contains_key("crit") {
            return Err("the token's header has critical extensions");
        }
        let name = header.get("alg").and_then(Value::as_str).ok_or("the token names no algorithm")?;
        let algorithm = Algorithm::parse(name).ok_or("the token's algorithm is not supported")?;
        let kid = text_member(&header, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES) {
            return Err("the token's `kid` is too long");
        }
        Ok(Self { signed, signature, algorithm, kid, typ: text_member(&header, "typ")?, claims })
    }

    /// How the token is signed, as it says.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Who issued the token, as it says.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Whether `typ` is `expected` (RFC 7515 §4.1.9: a media type, where `application/` may be left out).
    pub(super) fn is_typ(&self, expected: &str) -> bool {
        let plain = |typ: &str| typ.to_ascii_lowercase().trim_start_matches("application/").to_owned();
        self.typ.as_deref().is_some_and(|typ| plain(typ) == plain(expected))
    }
}

fn text_member(header: &Map<String, Value>, name: &str) -> Result<Option<String>, RefusalReason> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("a member of the token's header is no text"),
    }
}

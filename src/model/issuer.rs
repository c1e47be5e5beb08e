//! Token issuers: the parties whose tokens may name a caller's tenant.
//!
//! The catalog pins everything that decides whether a token is valid: issuer, audience, algorithms,
//! keys and tenants. A token only selects among these entries.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bounds::{
    DEFAULT_LEEWAY_MS, MAX_AUDIENCES, MAX_CLAIM_BYTES, MAX_ISSUER_KEYS, MAX_KEY_ID_BYTES, MAX_LEEWAY_MS,
    MAX_NAMED_TENANTS, MAX_URL_BYTES,
};
use super::{Algorithm, PublicKey, Quantity, Read, Reader, TenantId, document};

document! {
    /// An issuer of tokens. A token selects among the values here and can add none.
    pub struct Issuer {
        /// The exact value of `iss`.
        issuer: String,
        /// Accepted audiences. `aud` must contain one of them.
        audience: Vec<String>,
        /// The accepted signature algorithms, never taken from the token. HMAC algorithms cannot be
        /// mixed with others.
        algorithms: Vec<Algorithm>,
        /// The tenants that the issuer's tokens may name: a list of ids, `{"prefix": "t_eu_"}`, or
        /// `"all"`.
        tenants: Speaks,
        /// The issuer's keys. Exclusive with `jwks_url`.
        keys: Vec<IssuerKey> = Vec::new(),
        /// The https URL at which the issuer publishes its keys (RFC 7517).
        jwks_url: Option<String> = None,
        /// The claim that names the tenant: a name, or a path with dots. Default: the strategy's
        /// `jwt_claim`.
        tenant_claim: Option<String> = None,
        /// The required `typ` of the token's header, such as `at+jwt` (RFC 9068). Default: any.
        typ: Option<String> = None,
        /// Allowed clock difference in milliseconds, at most 300000. Default 30000.
        leeway_ms: Quantity = Quantity(DEFAULT_LEEWAY_MS),
    } => Issuer::check
}

/// The tenants that an issuer's tokens may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaks {
    /// Every tenant, for the operator's own issuer.
    All,
    /// Tenants whose id starts with this prefix. The prefix ends with `_` or `-`.
    Prefix(String),
    /// The listed tenants. If there is only one, tokens need no claim that names the tenant.
    Only(Vec<TenantId>),
}

/// An issuer's key in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKey {
    /// A public key.
    Public(PublicKey),
    /// A shared secret, identified by the name under which the adapter holds it.
    Secret {
        /// The key's `kid` in tokens.
        kid: Option<String>,
        /// The name of the secret.
        name: String,
    },
}

document! {
    /// A key: exactly one of `jwk`, `pem` and `secret`.
    struct KeySource {
        /// A public key as JWK.
        jwk: Option<Value> = None,
        /// A public key as PEM (`BEGIN PUBLIC KEY`).
        pem: Option<String> = None,
        /// The name of a Worker secret that holds the key of an HMAC algorithm as text. Upper case.
        secret: Option<String> = None,
        /// For `pem` and `secret`: the key's `kid` in tokens. Default: any `kid`, if this is the
        /// only key.
        kid: Option<String> = None,
    }
}

impl Speaks {
    /// Whether the issuer's tokens may name a tenant.
    pub fn covers(&self, id: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => id.as_str().starts_with(prefix),
            Self::Only(ids) => ids.contains(id),
        }
    }

    /// The tenant, if exactly one is listed.
    pub fn only(&self) -> Option<&TenantId> {
        match self {
            Self::Only(ids) if ids.len() == 1 => ids.first(),
            _ => None,
        }
    }
}

impl Read for Speaks {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        match value {
            Value::String(all) if all == "all" => Some(Self::All),
            Value::Array(ids) if !ids.is_empty() => r.list(value, MAX_NAMED_TENANTS, TenantId::read).map(Self::Only),
            Value::Object(members) if members.len() == 1 => match members.get("prefix").and_then(Value::as_str) {
                Some(prefix) if TenantId::is_valid(prefix) && prefix.ends_with(['_', '-']) => {
                    Some(Self::Prefix(prefix.to_owned()))
                }
                // Without the separator, `t_acme` would also cover `t_acme2`.
                _ => r.at("prefix", |r| {
                    r.refuse("an invalid prefix", "the beginning of tenant ids, ending with `_` or `-`")
                }),
            },
            _ => r.unexpected(value, "a list of tenant ids, {\"prefix\": …} or \"all\""),
        }
    }
}

impl Read for IssuerKey {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        let KeySource { jwk, pem, secret, kid } = KeySource::read(value, r)?;
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KEY_ID_BYTES) {
            return r.at("kid", |r| {
                r.refuse("a `kid` that is empty or too long", format!("1 to {MAX_KEY_ID_BYTES} bytes"))
            });
        }
        match (jwk, pem, secret) {
            (Some(jwk), None, None) if kid.is_none() => r.at("jwk", |r| PublicKey::read_jwk(&jwk, r)).map(Self::Public),
            (None, Some(pem), None) => r.at("pem", |r| PublicKey::read_pem(&pem, kid, r)).map(Self::Public),
            (None, None, Some(name)) if is_secret_name(&name) => Some(Self::Secret { kid, name }),
            (None, None, Some(name)) => r.at("secret", |r| {
                // The value may be the secret itself and must not be printed.
                let expected = "a name of upper-case letters, digits and `_`, never the secret itself";
                r.refuse(format!("an invalid secret name ({} bytes)", name.len()), expected)
            }),
            _ => r.refuse("a wrong set of fields", "exactly one of `jwk` (which has its own `kid`), `pem`, `secret`"),
        }
    }
}

impl IssuerKey {
    /// The key's `kid` in tokens.
    pub fn kid(&self) -> Option<&str> {
        match self {
            Self::Public(key) => key.kid.as_deref(),
            Self::Secret { kid, .. } => kid.as_deref(),
        }
    }

    /// Whether the key may verify signatures of an algorithm.
    pub fn verifies(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Public(key) => key.verifies(algorithm),
            Self::Secret { .. } => algorithm.min_secret_bytes().is_some(),
        }
    }
}

impl Issuer {
    fn check(&self, r: &mut Reader) {
        if self.issuer.is_empty() || self.issuer.len() > MAX_URL_BYTES {
            r.at("issuer", |r| r.problem("text that is empty or too long", format!("1 to {MAX_URL_BYTES} bytes")));
        }
        r.at("audience", |r| {
            r.at_most(self.audience.len(), MAX_AUDIENCES);
            if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
                r.problem(
                    "a missing or empty audience",
                    "an audience: without one, tokens for other services would be accepted",
                );
            }
        });
        let is_shared = |algorithm: &Algorithm| algorithm.min_secret_bytes().is_some();
        let shared = self.algorithms.iter().any(is_shared);
        r.at("algorithms", |r| {
            if self.algorithms.is_empty() {
                r.problem("an empty list", "at least one algorithm");
            } else if shared && !self.algorithms.iter().all(is_shared) {
                r.problem("HMAC together with other algorithms", "one kind: a public key must never serve as a secret");
            }
        });
        match &self.jwks_url {
            Some(url) if !is_keys_url(url) => {
                r.at("jwks_url", |r| {
                    r.unexpected::<()>(&Value::from(url.as_str()), "an https URL (http on a loopback address)");
                });
            }
            Some(_) if shared => {
                r.at("jwks_url", |r| r.problem("published keys for HMAC algorithms", "`keys` with a `secret`"))
            }
            Some(_) if !self.keys.is_empty() => {
                r.at("keys", |r| r.problem("`keys` together with `jwks_url`", "only one of them"))
            }
            Some(_) => {}
            None if self.keys.is_empty() => {
                r.at("keys", |r| r.problem("an empty list", "at least one key, or `jwks_url`"))
            }
            None => {}
        }
        r.at("keys", |r| self.check_keys(r));
        for (name, text) in [("tenant_claim", &self.tenant_claim), ("typ", &self.typ)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > MAX_CLAIM_BYTES) {
                r.at(name, |r| r.problem("text that is empty or too long", format!("1 to {MAX_CLAIM_BYTES} bytes")));
            }
        }
        if self.leeway_ms.0 > MAX_LEEWAY_MS {
            r.at("leeway_ms", |r| r.problem(self.leeway_ms.0.to_string(), format!("at most {MAX_LEEWAY_MS}")));
        }
    }

    fn check_keys(&self, r: &mut Reader) {
        r.at_most(self.keys.len(), MAX_ISSUER_KEYS);
        let mut seen = BTreeSet::new();
        for (index, key) in self.keys.iter().enumerate() {
            r.at_index(index, |r| {
                match key.kid() {
                    None if self.keys.len() > 1 => r.problem("a key without `kid`", "a `kid` on each of several keys"),
                    Some(kid) if !seen.insert(kid) => r.problem(format!("a second `{kid}`"), "each `kid` once"),
                    _ => {}
                }
                if !self.algorithms.iter().any(|algorithm| key.verifies(*algorithm)) {
                    r.problem("a key that fits none of the `algorithms`", "a key for one of the `algorithms`");
                }
            });
        }
    }
}

fn is_secret_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Published keys decide which callers are accepted, so they must come over https or from this
/// machine.
fn is_keys_url(url: &str) -> bool {
    let local = |rest: &str| {
        ["127.0.0.1", "localhost"]
            .iter()
            .any(|host| rest.strip_prefix(host).is_some_and(|rest| rest.starts_with([':', '/'])))
    };
    let secure = url.strip_prefix("https://").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    url.len() <= MAX_URL_BYTES
        && url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'#' | b'\\' | b'"' | b'<' | b'>'))
        && (secure || url.strip_prefix("http://").is_some_and(local))
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Speaks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Speaks".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The tenants that an issuer's tokens may name.",
            "anyOf": [
                { "type": "array", "items": generator.subschema_for::<TenantId>(), "minItems": 1, "maxItems": MAX_NAMED_TENANTS },
                { "type": "object", "properties": { "prefix": { "type": "string" } }, "required": ["prefix"], "additionalProperties": false },
                { "const": "all" },
            ],
        })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for IssuerKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IssuerKey".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<KeySource>()
    }
}

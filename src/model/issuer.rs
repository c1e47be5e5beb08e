//! Who may say which tenant a caller belongs to: issuers of tokens, with all that is pinned about them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bounds::{
    DEFAULT_LEEWAY_MS, MAX_AUDIENCES, MAX_CLAIM_BYTES, MAX_ISSUER_KEYS, MAX_KEY_ID_BYTES, MAX_LEEWAY_MS,
    MAX_NAMED_TENANTS, MAX_URL_BYTES,
};
use super::{Algorithm, PublicKey, Quantity, Read, Reader, TenantId, document};

document! {
    /// An issuer of tokens. What a token says of itself picks among what stands here, and nothing else.
    pub struct Issuer {
        /// What `iss` must be, exactly.
        issuer: String,
        /// What `aud` must name, one of these.
        audience: Vec<String>,
        /// The algorithms its tokens are signed with; never taken from the token. Either HMAC ones, or others.
        algorithms: Vec<Algorithm>,
        /// The tenants it may speak for: a list of ids, `{"prefix": "t_eu_"}`, or `"all"`.
        tenants: Speaks,
        /// Its keys. Either these, or `jwks_url`.
        keys: Vec<IssuerKey> = Vec::new(),
        /// Where it publishes its keys (RFC 7517), over https.
        jwks_url: Option<String> = None,
        /// The claim that names the tenant: a name, or a path with dots. Default: the `jwt_claim` of the strategy.
        tenant_claim: Option<String> = None,
        /// What `typ` in a token's header must be, such as `at+jwt` (RFC 9068). Default: anything.
        typ: Option<String> = None,
        /// How far clocks may differ, in milliseconds. Default 30000, at most 300000.
        leeway_ms: Quantity = Quantity(DEFAULT_LEEWAY_MS),
    } => Issuer::check
}

/// The tenants that an issuer may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaks {
    /// Every tenant: the operator's own issuer.
    All,
    /// Tenants whose id starts with this, which ends with `_` or `-`.
    Prefix(String),
    /// These. With a single one, its tokens need no claim that names the tenant.
    Only(Vec<TenantId>),
}

/// A key of an issuer, in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKey {
    /// A public key.
    Public(PublicKey),
    /// A shared secret, by the name under which the adapter holds it.
    Secret {
        /// Its name in tokens.
        kid: Option<String>,
        /// The name of the secret.
        name: String,
    },
}

document! {
    /// A key: `jwk`, `pem` or `secret`.
    struct KeySource {
        /// A public key as JWK.
        jwk: Option<Value> = None,
        /// A public key as PEM (`BEGIN PUBLIC KEY`).
        pem: Option<String> = None,
        /// The name of a secret of the Worker, which holds the key of an HMAC algorithm as text. Upper case.
        secret: Option<String> = None,
        /// `pem`, `secret`: its name in tokens. Default: any name, where it is the only key.
        kid: Option<String> = None,
    }
}

impl Speaks {
    /// Whether an issuer may speak for a tenant.
    pub fn covers(&self, id: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => id.as_str().starts_with(prefix),
            Self::Only(ids) => ids.contains(id),
        }
    }

    /// The one tenant, where there is one.
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
                // `t_acme` would also cover `t_acme2`.
                _ => r.at("prefix", |r| r.refuse("no such prefix", "the beginning of ids, up to and with `_` or `-`")),
            },
            _ => r.unexpected(value, "a list of tenant ids, {\"prefix\": …} or \"all\""),
        }
    }
}

impl Read for IssuerKey {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        let KeySource { jwk, pem, secret, kid } = KeySource::read(value, r)?;
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KEY_ID_BYTES) {
            return r.at("kid", |r| r.refuse("a name of no or many bytes", format!("1 to {MAX_KEY_ID_BYTES} bytes")));
        }
        match (jwk, pem, secret) {
            (Some(jwk), None, None) if kid.is_none() => r.at("jwk", |r| PublicKey::read_jwk(&jwk, r)).map(Self::Public),
            (None, Some(pem), None) => r.at("pem", |r| PublicKey::read_pem(&pem, kid, r)).map(Self::Public),
            (None, None, Some(name)) if is_secret_name(&name) => Some(Self::Secret { kid, name }),
            (None, None, Some(name)) => r.at("secret", |r| {
                // It may be the secret itself, which is not to be printed.
                let expected = "upper-case letters, digits, `_`; never the secret itself";
                r.refuse(format!("no name of a secret ({} bytes)", name.len()), expected)
            }),
            _ => r.refuse("a key", "one of `jwk` (which has its own `kid`), `pem`, `secret`"),
        }
    }
}

impl IssuerKey {
    /// The key's name in tokens.
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
            r.at("issuer", |r| r.problem("a text of no or many bytes", format!("1 to {MAX_URL_BYTES} bytes")));
        }
        r.at("audience", |r| {
            r.at_most(self.audience.len(), MAX_AUDIENCES);
            if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
                r.problem("nobody", "whom its tokens are for: without it, tokens for others would be taken");
            }
        });
        let is_shared = |algorithm: &Algorithm| algorithm.min_secret_bytes().is_some();
        let shared = self.algorithms.iter().any(is_shared);
        r.at("algorithms", |r| {
            if self.algorithms.is_empty() {
                r.problem("none", "at least one");
            } else if shared && !self.algorithms.iter().all(is_shared) {
                r.problem("HMAC beside others", "one kind: a public key must never serve as a secret");
            }
        });
        match &self.jwks_url {
            Some(url) if !is_keys_url(url) => {
                r.at("jwks_url", |r| {
                    r.unexpected::<()>(&Value::from(url.as_str()), "an https URL (http on a loopback address)");
                });
            }
            Some(_) if shared => r.at("jwks_url", |r| r.problem("published keys for HMAC", "a secret")),
            Some(_) if !self.keys.is_empty() => r.at("keys", |r| r.problem("keys beside `jwks_url`", "one of them")),
            Some(_) => {}
            None if self.keys.is_empty() => r.at("keys", |r| r.problem("none", "at least one, or `jwks_url`")),
            None => {}
        }
        r.at("keys", |r| self.check_keys(r));
        for (name, text) in [("tenant_claim", &self.tenant_claim), ("typ", &self.typ)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > MAX_CLAIM_BYTES) {
                r.at(name, |r| r.problem("a text of no or many bytes", format!("1 to {MAX_CLAIM_BYTES} bytes")));
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
                    None if self.keys.len() > 1 => r.problem("no `kid`", "a `kid` for each of several keys"),
                    Some(kid) if !seen.insert(kid) => r.problem(format!("a second `{kid}`"), "each `kid` once"),
                    _ => {}
                }
                if !self.algorithms.iter().any(|algorithm| key.verifies(*algorithm)) {
                    r.problem("a key of another kind", "a key for one of the `algorithms`");
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

/// Keys decide who is let in: they come over https, or from this very machine.
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
            "description": "The tenants that an issuer may speak for.",
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

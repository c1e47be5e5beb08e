//! The issuers of a catalog, and the claims of their tokens.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::{Jwt, RefusalReason};
use crate::model::bounds::{MAX_AUDIENCES, MAX_SCOPES, MAX_SUBJECT_BYTES};
use crate::model::{Catalog, Identifies, Issuer, IssuerKey, Key, Scope, Slug, StrategyKind, TenantId, UnixMillis};
use crate::resolve::Name;

/// The issuers of a catalog, indexed by their `iss`.
#[derive(Debug, Default)]
pub struct Issuers {
    issuers: Vec<(Key, Issuer)>,
    by_name: FxHashMap<String, usize>,
    claim: String,
    identifies: Option<Identifies>,
}

/// The location of an issuer's keys.
#[derive(Debug, Clone, Copy)]
pub enum IssuerKeys<'a> {
    /// In the catalog.
    Held(&'a [IssuerKey]),
    /// Published at this URL.
    Published(&'a str),
}

/// The claims of a token. Everything is checked except its signature.
#[derive(Debug, Clone)]
pub struct Claims {
    /// The issuer and the validity period.
    pub(crate) validity: Validity,
    /// The tenant that the token names.
    pub(crate) tenant: Name<'static>,
    pub(crate) subject: Option<String>,
    pub(crate) scopes: Vec<Scope>,
}

/// The issuer of a token and its validity period.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// The issuer, by its index in [`Issuers`].
    pub(crate) issuer: usize,
    pub(crate) issued_at: Option<UnixMillis>,
    not_before: Option<UnixMillis>,
    /// When the token expires, without leeway.
    expires_at: UnixMillis,
}

impl Issuers {
    /// The issuers of a checked catalog.
    pub fn new(catalog: &Catalog) -> Self {
        let issuers: Vec<_> = catalog.issuers.iter().map(|(key, issuer)| (key.clone(), issuer.clone())).collect();
        let jwt = catalog.resolution.strategy(StrategyKind::Jwt);
        Self {
            by_name: issuers.iter().enumerate().map(|(index, (_, issuer))| (issuer.issuer.clone(), index)).collect(),
            issuers,
            claim: jwt.and_then(|jwt| jwt.jwt_claim.clone()).unwrap_or_else(|| String::from("tenant_id")),
            identifies: jwt.and_then(|jwt| jwt.identifies),
        }
    }

    /// An issuer, and its key in the catalog.
    pub fn get(&self, index: usize) -> Option<(&Key, &Issuer)> {
        self.issuers.get(index).map(|(key, issuer)| (key, issuer))
    }

    /// The number of an issuer, by its key in the catalog.
    pub fn find(&self, key: &Key) -> Option<usize> {
        self.issuers.iter().position(|(own, _)| own == key)
    }

    /// When a token stops being accepted: its end, with the leeway of its issuer.
    pub fn end_of(&self, validity: Validity) -> UnixMillis {
        let leeway_ms = self.get(validity.issuer).map_or(0, |(_, issuer)| issuer.leeway_ms.0);
        validity.expires_at.plus(leeway_ms)
    }

    /// The URLs at which issuers publish their keys.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().filter_map(|(_, issuer)| issuer.jwks_url.as_deref())
    }

    /// The location of the keys of an issuer.
    pub(crate) fn keys(&self, index: usize) -> IssuerKeys<'_> {
        match self.issuers.get(index) {
            Some((_, Issuer { jwks_url: Some(url), .. })) => IssuerKeys::Published(url),
            Some((_, issuer)) => IssuerKeys::Held(&issuer.keys),
            None => IssuerKeys::Held(&[]),
        }
    }

    /// Checks everything about a token except its signature. The checks are cheap and happen before
    /// any key is fetched for the token.
    ///
    /// # Errors
    /// The reason why the token is rejected.
    pub fn judge(&self, token: &Jwt<'_>, now: UnixMillis) -> Result<Claims, RefusalReason> {
        let index = token.issuer().and_then(|name| self.by_name.get(name)).ok_or("the token's issuer is unknown")?;
        let (_, issuer) = self.issuers.get(*index).ok_or("the token's issuer is unknown")?;
        if !issuer.algorithms.contains(&token.algorithm) {
            return Err("the token's algorithm is not one of its issuer's");
        }
        if issuer.typ.as_ref().is_some_and(|typ| !token.is_typ(typ)) {
            return Err("the token's `typ` is not that of its issuer");
        }
        let claims = &token.claims;
        if !is_for(claims.get("aud"), &issuer.audience) {
            return Err("the token is for another audience");
        }
        let validity = Validity {
            issuer: *index,
            issued_at: time(claims, "iat")?,
            not_before: time(claims, "nbf")?,
            expires_at: time(claims, "exp")?.ok_or("the token's `exp` is missing")?,
        };
        self.in_time(validity, now)?;
        Ok(Claims {
            validity,
            tenant: self.tenant(issuer, claims)?,
            subject: match claims.get("sub") {
                None => None,
                Some(Value::String(subject)) if subject.len() > MAX_SUBJECT_BYTES => {
                    return Err("the token's subject is too long");
                }
                Some(Value::String(subject)) => Some(subject.clone()),
                Some(_) => return Err("the token's subject is not text"),
            },
            scopes: scopes(claims)?,
        })
    }

    /// Checks the validity period of a token that was checked before.
    ///
    /// # Errors
    /// The reason why the token is not valid at this time.
    pub fn in_time(&self, validity: Validity, now: UnixMillis) -> Result<(), RefusalReason> {
        let leeway_ms = self.get(validity.issuer).map_or(0, |(_, issuer)| issuer.leeway_ms.0);
        let ahead = |time: Option<UnixMillis>| time.is_some_and(|time| time > now.plus(leeway_ms));
        if self.end_of(validity) <= now {
            Err("the token has expired")
        } else if ahead(validity.not_before) {
            Err("the token is not valid yet")
        } else if ahead(validity.issued_at) {
            Err("the token was issued in the future")
        } else {
            Ok(())
        }
    }

    /// The tenant that a token names. Checks that the issuer may name it, as far as that is known:
    /// the tenant of a slug is not known yet, and is checked later.
    fn tenant(&self, issuer: &Issuer, claims: &Map<String, Value>) -> Result<Name<'static>, RefusalReason> {
        let claim = issuer.tenant_claim.as_deref().unwrap_or(&self.claim);
        let text = match (find(claims, claim), issuer.tenants.only()) {
            (Some(Value::String(text)), _) => text.as_str(),
            (Some(_), _) => return Err("the token's tenant is not text"),
            (None, Some(only)) => return Ok(Name::Id(only.to_string().into())),
            (None, None) => return Err("the token names no tenant"),
        };
        match self.identifies {
            Some(Identifies::Slug) if Slug::is_valid(text) => Ok(Name::Slug(text.to_owned().into())),
            None | Some(Identifies::Id) => match TenantId::parse(text) {
                Some(id) if issuer.tenants.covers(&id) => Ok(Name::Id(text.to_owned().into())),
                _ => Err("the token's issuer may not speak for the tenant that it names"),
            },
            Some(Identifies::Slug) => Err("the token's tenant is not a valid slug"),
        }
    }
}

/// A claim by its name, or by a path with dots.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.as_object()?.get(step))
}

/// Whether `aud` (RFC 7519 §4.1.3: text, or a list of texts) contains one of `audience`.
fn is_for(aud: Option<&Value>, audience: &[String]) -> bool {
    let names = |value: &Value| value.as_str().is_some_and(|text| audience.iter().any(|own| own == text));
    match aud {
        Some(Value::Array(list)) => {
            list.len() <= MAX_AUDIENCES && list.iter().all(Value::is_string) && list.iter().any(names)
        }
        Some(value) => names(value),
        None => false,
    }
}

/// The scopes of a token: `scope` (RFC 8693 §4.2) or `scp`, as text with spaces or as a list.
/// Invalid scopes are ignored.
fn scopes(claims: &Map<String, Value>) -> Result<Vec<Scope>, RefusalReason> {
    let texts: Vec<&str> = match claims.get("scope").or_else(|| claims.get("scp")) {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err("the token's scopes are neither text nor a list"),
    };
    if texts.len() > MAX_SCOPES {
        return Err("the token has too many scopes");
    }
    Ok(texts.into_iter().filter_map(Scope::parse).collect())
}

/// A `NumericDate` (RFC 7519 §2): seconds since 1970, possibly with a fraction.
#[expect(clippy::cast_precision_loss, reason = "the last time is far below 2^53")]
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixMillis>, RefusalReason> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_f64().map(|seconds| seconds * 1_000.0) {
        Some(millis) if (0.0..=UnixMillis::MAX.get() as f64).contains(&millis) => Ok(Some(UnixMillis::from_js(millis))),
        _ => Err("a time in the token is invalid"),
    }
}

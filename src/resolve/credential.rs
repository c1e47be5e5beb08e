//! Presented credentials: the token of `Authorization: Bearer` or of a cookie, and the API key of a
//! header. This module finds them; [`crate::identity`] verifies them.
//!
//! INVARIANT (ambient credentials): browsers attach cookies to requests that pages of other sites
//! make. Tenants under one base domain are the same *site*, so `SameSite` does not separate them. A
//! cookie counts for a request that may change something or opens a socket only if the browser says
//! that the request comes from the same origin.

use serde::Serialize;

use super::error::ResolveError;
use super::host;
use super::request::Request;
use crate::model::StrategyKind;
use crate::model::bounds::MAX_COOKIE_BYTES;

pub(super) const AUTHORIZATION: &str = "authorization";
pub(super) const COOKIE: &str = "cookie";

pub(super) const FETCH_SITE: &str = "sec-fetch-site";
pub(super) const ORIGIN: &str = "origin";
pub(super) const UPGRADE: &str = "upgrade";

/// The part of a request that carries a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// A header that the sender has set.
    Header,
    /// A cookie, which browsers send by themselves.
    Cookie,
}

/// A credential that a caller presents, not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedCredential<'a> {
    /// A token, and its carrier.
    Token(&'a str, Carrier),
    /// An API key.
    ApiKey(&'a str),
}

impl PresentedCredential<'_> {
    /// The strategy that reads the credential.
    pub const fn kind(self) -> StrategyKind {
        match self {
            Self::Token(..) => StrategyKind::Jwt,
            Self::ApiKey(_) => StrategyKind::ApiKey,
        }
    }

    /// The part of the request that carries the credential.
    pub const fn carrier(self) -> Carrier {
        match self {
            Self::Token(_, carrier) => carrier,
            Self::ApiKey(_) => Carrier::Header,
        }
    }
}

/// The value of a header. A repeated header is an error.
pub(super) fn header<'a>(
    request: &Request<'a>,
    name: &str,
    kind: StrategyKind,
) -> Result<Option<&'a str>, ResolveError> {
    let mut values = request.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() { Err(ResolveError::Repeated(kind)) } else { Ok(first) }
}

/// The token of a request. Schemes other than `Bearer` present no token. A token may be in one
/// place only (RFC 6750 §2).
pub(super) fn token<'a>(
    request: &Request<'a>,
    cookie: Option<&str>,
) -> Result<Option<PresentedCredential<'a>>, ResolveError> {
    let authorization = header(request, AUTHORIZATION, StrategyKind::Jwt)?.unwrap_or_default();
    // A repeated header arrives joined by a comma, which no token contains.
    if authorization.contains(',') && authorization.to_ascii_lowercase().contains("bearer") {
        return Err(ResolveError::Repeated(StrategyKind::Jwt));
    }
    let bearer = bearer(authorization);
    let cookie = match cookie {
        Some(name) => cookie_value(header(request, COOKIE, StrategyKind::Jwt)?.unwrap_or_default(), name)?,
        None => None,
    };
    match (bearer, cookie) {
        (Some(bearer), Some(cookie)) if bearer != cookie => Err(ResolveError::Repeated(StrategyKind::Jwt)),
        (Some(bearer), _) => Ok(Some(PresentedCredential::Token(bearer, Carrier::Header))),
        (None, cookie) => Ok(cookie.map(|token| PresentedCredential::Token(token, Carrier::Cookie))),
    }
}

/// Whether cookies count: the request cannot change anything, or it comes from its own origin.
pub(super) fn cookies_count(request: &Request<'_>) -> bool {
    let value = |name: &str| request.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value);
    let safe = matches!(request.method, "" | "GET" | "HEAD" | "OPTIONS") && value(UPGRADE).is_none();
    safe || match value(FETCH_SITE) {
        // Only browsers can set this header; pages cannot.
        Some(site) => matches!(site, "same-origin" | "none"),
        None => value(ORIGIN).and_then(|origin| origin.split_once("://")).is_some_and(|(_, authority)| {
            let hosts = host::parse(authority).zip(host::parse(request.host));
            hosts.is_some_and(|(origin, own)| origin.as_str() == own.as_str())
        }),
    }
}

/// The token of an `Authorization` header (RFC 6750 §2.1). A value that only an origin might read
/// as the scheme, such as `Bearer:` or `Bearer` with a tab, is returned as an invalid token, so
/// that it is rejected.
fn bearer(authorization: &str) -> Option<&str> {
    let value = authorization.trim_matches([' ', '\t']);
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    if !scheme.eq_ignore_ascii_case("bearer")
        || rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return None;
    }
    Some(rest.strip_prefix(' ').map_or(value, |token| token.trim_matches(' ')))
}

/// The value of a cookie (RFC 6265 §4.2). A second cookie of the same name is an error, because a
/// sibling host may have set it.
fn cookie_value<'a>(cookies: &'a str, name: &str) -> Result<Option<&'a str>, ResolveError> {
    if cookies.len() > MAX_COOKIE_BYTES {
        return Err(ResolveError::Unreadable("the `Cookie` header is too long"));
    }
    let mut found = None;
    for pair in cookies.split(';') {
        // A second header arrives joined by a comma, and some origins accept quoted names. No
        // browser sends either.
        for (nth, part) in pair.split(',').enumerate() {
            let Some((key, value)) = part.split_once('=') else { continue };
            if key.trim_matches([' ', '\t', '"']) != name {
                continue;
            }
            if nth > 0 || key.contains('"') || found.is_some() {
                return Err(ResolveError::Repeated(StrategyKind::Jwt));
            }
            found = Some(value.trim_matches([' ', '\t']));
        }
    }
    // An empty cookie remains after signing out and presents no token.
    Ok(found.filter(|token| !token.is_empty()))
}

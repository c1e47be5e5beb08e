//! Where a request shows who sends it: the token of `Authorization: Bearer` or of a cookie, an API key in a header.
//! What is shown is found here; whether it is true is found out by [`crate::identity`].
//!
//! INVARIANT (ambient credentials): browsers attach cookies to requests that pages of other sites make. Tenants under one base
//! domain are the same *site*, so `SameSite` does not keep them apart. A cookie counts for a request that may change something,
//! or opens a socket, only where the browser says that the request comes from the very origin that it goes to.

use serde::Serialize;

use super::host;
use super::request::Request;
use super::resolver::ResolveError;
use crate::model::StrategyKind;
use crate::model::bounds::MAX_COOKIE_BYTES;

pub(super) const AUTHORIZATION: &str = "authorization";
pub(super) const COOKIE: &str = "cookie";

pub(super) const FETCH_SITE: &str = "sec-fetch-site";
pub(super) const ORIGIN: &str = "origin";
pub(super) const UPGRADE: &str = "upgrade";

/// Where a credential stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// In a header that its sender has set.
    Header,
    /// In a cookie, which browsers send by themselves.
    Cookie,
}

/// What a caller shows, not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedCredential<'a> {
    /// A token, and where it stands.
    Token(&'a str, Carrier),
    /// An API key.
    ApiKey(&'a str),
}

impl PresentedCredential<'_> {
    /// The strategy that reads it.
    pub const fn kind(self) -> StrategyKind {
        match self {
            Self::Token(..) => StrategyKind::Jwt,
            Self::ApiKey(_) => StrategyKind::ApiKey,
        }
    }

    /// Where it stands.
    pub const fn carrier(self) -> Carrier {
        match self {
            Self::Token(_, carrier) => carrier,
            Self::ApiKey(_) => Carrier::Header,
        }
    }
}

/// The value of a header, which must not be there twice.
pub(super) fn header<'a>(
    request: &Request<'a>,
    name: &str,
    kind: StrategyKind,
) -> Result<Option<&'a str>, ResolveError> {
    let mut values = request.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() { Err(ResolveError::Repeated(kind)) } else { Ok(first) }
}

/// The token of a request. Other schemes than `Bearer` show nothing. (RFC 6750 §2: each token in one place only.)
pub(super) fn token<'a>(
    request: &Request<'a>,
    cookie: Option<&str>,
) -> Result<Option<PresentedCredential<'a>>, ResolveError> {
    let authorization = header(request, AUTHORIZATION, StrategyKind::Jwt)?.unwrap_or_default();
    // A repeated header arrives joined by a comma, which no token has.
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

/// Whether cookies count: the request can change nothing, or comes from its own origin.
pub(super) fn cookies_count(request: &Request<'_>) -> bool {
    let value = |name: &str| request.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value);
    let safe = matches!(request.method, "" | "GET" | "HEAD" | "OPTIONS") && value(UPGRADE).is_none();
    safe || match value(FETCH_SITE) {
        // Browsers alone set it, and no page can.
        Some(site) => matches!(site, "same-origin" | "none"),
        None => value(ORIGIN).and_then(|origin| origin.split_once("://")).is_some_and(|(_, authority)| {
            let hosts = host::parse(authority).zip(host::parse(request.host));
            hosts.is_some_and(|(origin, own)| origin.as_str() == own.as_str())
        }),
    }
}

/// The token of an `Authorization` header (RFC 6750 §2.1). What an origin may take for the same scheme, such as `Bearer:` or a
/// tab behind it, shows a token that is none.
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

/// The value of a cookie (RFC 6265 §4.2). A second one of that name may have been put there from a sibling host.
fn cookie_value<'a>(cookies: &'a str, name: &str) -> Result<Option<&'a str>, ResolveError> {
    if cookies.len() > MAX_COOKIE_BYTES {
        return Err(ResolveError::Unreadable("the cookies are too long"));
    }
    let mut found = None;
    for pair in cookies.split(';') {
        // A second header arrives joined by a comma, and some origins take quoted names: no browser does either.
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
    // What is left where somebody has signed out shows nothing.
    Ok(found.filter(|token| !token.is_empty()))
}

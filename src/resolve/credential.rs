//! Where a request shows who sends it: the token of `Authorization: Bearer` or of a cookie, an API key in a header.
//! What is shown is found here; whether it is true is found out by [`crate::identity`].

use super::request::Request;
use super::resolver::Refusal;
use crate::model::StrategyKind;
use crate::model::bounds::MAX_COOKIE_BYTES;

pub(super) const AUTHORIZATION: &str = "authorization";
pub(super) const COOKIE: &str = "cookie";

/// What a caller shows, not verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A token.
    Token(&'a str),
    /// An API key.
    ApiKey(&'a str),
}

impl Shown<'_> {
    /// The strategy that reads it.
    pub const fn kind(self) -> StrategyKind {
        match self {
            Self::Token(_) => StrategyKind::Jwt,
            Self::ApiKey(_) => StrategyKind::ApiKey,
        }
    }
}

/// The value of a header, which must not be there twice.
pub(super) fn header<'a>(request: &Request<'a>, name: &str, kind: StrategyKind) -> Result<Option<&'a str>, Refusal> {
    let mut values = request.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() { Err(Refusal::Repeated(kind)) } else { Ok(first) }
}

/// The token of a request. Other schemes than `Bearer` show nothing. (RFC 6750 §2: each token in one place only.)
pub(super) fn token<'a>(request: &Request<'a>, cookie: Option<&str>) -> Result<Option<Shown<'a>>, Refusal> {
    let authorization = header(request, AUTHORIZATION, StrategyKind::Jwt)?.unwrap_or_default();
    // A repeated header arrives joined by a comma, which no token has.
    if authorization.contains(',') && authorization.to_ascii_lowercase().contains("bearer") {
        return Err(Refusal::Repeated(StrategyKind::Jwt));
    }
    let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let bearer = scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim_matches(' '));
    let cookie = match cookie {
        Some(name) => cookie_value(header(request, COOKIE, StrategyKind::Jwt)?.unwrap_or_default(), name)?,
        None => None,
    };
    match (bearer, cookie) {
        (Some(bearer), Some(cookie)) if bearer != cookie => Err(Refusal::Repeated(StrategyKind::Jwt)),
        (bearer, cookie) => Ok(bearer.or(cookie).map(Shown::Token)),
    }
}

/// The value of a cookie (RFC 6265 §4.2). A second one of that name may have been put there from a sibling host.
fn cookie_value<'a>(cookies: &'a str, name: &str) -> Result<Option<&'a str>, Refusal> {
    if cookies.len() > MAX_COOKIE_BYTES {
        return Err(Refusal::Unreadable("the cookies are too long"));
    }
    let pairs = cookies.split(';').filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim_end_matches([' ', '\t']) == name).map(|(_, value)| value);
    let first = values.next();
    // What is left where somebody has signed out shows nothing.
    // What is left where somebody has signed out shows nothing.
    let shown = first.filter(|token| !token.is_empty());
    if values.next().is_some() { Err(Refusal::Repeated(StrategyKind::Jwt)) } else { Ok(shown) }
}

//! The facts of a request that the core decides on.

use crate::model::bounds::MAX_ATTRIBUTE_BYTES;

/// The facts of one request. All strings are borrowed, so nothing is copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method in upper case. Empty means `GET`.
    pub method: &'a str,
    /// The host that the client connected to, unchanged. Never `X-Forwarded-Host`, unless a trusted
    /// proxy sent it.
    pub host: &'a str,
    /// The path of the normalised URL, with dot segments resolved. Other paths are rejected.
    pub path: &'a str,
    /// The query string without `?`.
    pub query: &'a str,
    /// Headers by lower-case name. Only those that [`crate::resolve::Resolver::headers`] lists are
    /// needed.
    pub headers: &'a [(&'a str, &'a str)],
    /// The result of the adapter's own resolver.
    pub custom: Custom<'a>,
    /// The place where the gate runs, for residency.
    pub place: Option<&'a str>,
    /// Attributes that rules can read.
    pub context: EvalContext<'a>,
    /// Whether the adapter answers preflights by the CORS policy of their route. Otherwise they are
    /// decided like other requests.
    pub preflights: bool,
    /// Whether the decision includes its trace.
    pub explain: bool,
}

/// The result of the adapter's own resolver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Custom<'a> {
    /// The resolver has not been called yet.
    #[default]
    NotAsked,
    /// The request names no tenant.
    Nobody,
    /// The request names the given tenant.
    Named(&'a str),
    /// The resolver threw an exception or timed out.
    Failed,
}

/// Attributes that rules can read.
#[derive(Debug, Clone, Copy)]
pub enum EvalContext<'a> {
    /// Attributes by name.
    Named(&'a [(&'a str, Attribute<'a>)]),
    /// Attributes at their positions in `FeatureSet::attributes`.
    Placed(&'a [Option<Attribute<'a>>]),
}

impl Default for EvalContext<'_> {
    fn default() -> Self {
        Self::Named(&[])
    }
}

/// The value of a context attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute<'a> {
    /// Text.
    Text(&'a str),
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
}

impl Attribute<'_> {
    /// The attribute, or `None` if it is too long to compare in bounded time. A long attribute
    /// counts as absent.
    pub fn comparable(self) -> Option<Self> {
        (!matches!(self, Self::Text(text) if text.len() > MAX_ATTRIBUTE_BYTES)).then_some(self)
    }
}

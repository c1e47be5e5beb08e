//! What the gate is told of a request.

use crate::model::bounds::MAX_ATTRIBUTE_BYTES;

/// The facts of one request. Strings are borrowed: nothing is copied on the way in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method, upper case. Empty counts as `GET`.
    pub method: &'a str,
    /// The host that the client connected to, as it arrived. Never `X-Forwarded-Host`, unless a trusted proxy sent it.
    pub host: &'a str,
    /// The path of the normalised URL: dot segments resolved. Others are refused.
    pub path: &'a str,
    /// The query string without `?`.
    pub query: &'a str,
    /// Headers by lower-case name. Those that [`crate::resolve::Resolver::headers`] names suffice.
    pub headers: &'a [(&'a str, &'a str)],
    /// What the adapter's own resolver said.
    pub custom: Custom<'a>,
    /// Where the gate runs, for residency.
    pub place: Option<&'a str>,
    /// Attributes that rules may ask about.
    pub context: EvalContext<'a>,
    /// Whether the adapter answers preflights for the origin, by the CORS policy of their route. Otherwise they are requests like others.
    pub preflights: bool,
    /// Whether the decision carries its trace.
    pub explain: bool,
}

/// What the adapter's own resolver said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Custom<'a> {
    /// It was not asked yet.
    #[default]
    NotAsked,
    /// The request names no tenant.
    Nobody,
    /// The request names this one.
    Named(&'a str),
    /// It threw, or took too long.
    Failed,
}

/// Attributes that rules may ask about.
#[derive(Debug, Clone, Copy)]
pub enum EvalContext<'a> {
    /// By name.
    Named(&'a [(&'a str, Attribute<'a>)]),
    /// Each in its place among those that rules read, as `FeatureSet::attributes` has them.
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
    /// The attribute, where it can be compared in bounded time; one that is too long is as good as absent.
    pub fn comparable(self) -> Option<Self> {
        (!matches!(self, Self::Text(text) if text.len() > MAX_ATTRIBUTE_BYTES)).then_some(self)
    }
}

//! One incoming request to the Worker: the parts that the gate reads.
//!
//! [`Call::read`] fetches the method, the URL and the headers that every decision needs as one
//! string from JavaScript, since each crossing of the boundary costs time. The accessors return
//! slices of it. Headers that few requests need are read when they are looked at.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use wasm_bindgen::{JsCast, JsValue};

use crate::resolve::{Custom, Request};
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext};
use crate::worker::runtime::header_names::{self, EXPLAIN, FORWARDED_HOST, HeaderNames, PROXY_SECRET};

/// A request, and what [`Call::read`] read of it.
pub(crate) struct Call {
    pub(crate) request: JsValue,
    pub(crate) context: ExecutionContext,
    /// Method, URL and header values, one per line.
    text: String,
    lines: Vec<Range<usize>>,
    names: Rc<HeaderNames>,
    url: Range<usize>,
    host: Range<usize>,
    path: Range<usize>,
    query: Range<usize>,
    forwarded: bool,
    /// The header `Authorization`, once it has been looked at.
    authorization: OnceCell<Option<String>>,
    pub(crate) explain: bool,
    pub(crate) custom: Resolved,
}

/// Method, host and path of a request, or of the request in a question to the decision API. For the
/// log and for recorded denials.
pub(crate) struct About<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    path: &'a str,
}

impl About<'_> {
    /// The path, at most [`MAX_LOGGED_CHARS`] characters.
    pub(crate) fn path(&self) -> String {
        self.path.chars().take(MAX_LOGGED_CHARS).collect()
    }
}

impl<'a> From<&Request<'a>> for About<'a> {
    fn from(request: &Request<'a>) -> Self {
        Self { method: request.method, host: request.host, path: request.path }
    }
}

/// Maximum number of characters of a path in the log and in recorded denials.
const MAX_LOGGED_CHARS: usize = 512;

/// The answer of the custom resolver, as owned values.
#[derive(Debug, Clone, Default)]
pub(crate) enum Resolved {
    #[default]
    NotAsked,
    Nobody,
    Named(String),
    Failed,
}

impl Call {
    /// Reads a request. Returns `None` if its URL is invalid.
    pub(crate) fn read(request: JsValue, context: JsValue, config: &Config) -> Option<Self> {
        let (names, text) = header_names::read(|array| edge::facts(&request, array));
        let mut start = 0_usize;
        let lines: Vec<_> = text
            .split('\n')
            .map(|line| {
                let end = start.saturating_add(line.len());
                std::mem::replace(&mut start, end.saturating_add(1))..end
            })
            .collect();
        let url = lines.get(1)?.clone();
        let find = |from: usize, end: usize, mark: char| text.get(from..end)?.find(mark)?.checked_add(from);
        let host_start = text.get(url.clone())?.find("://")?.checked_add(url.start)?.checked_add(3)?;
        let path_start = find(host_start, url.end, '/')?;
        let end = find(path_start, url.end, '#').unwrap_or(url.end);
        let query_mark = find(path_start, end, '?').unwrap_or(end);
        let mut call = Self {
            host: host_start..path_start,
            path: path_start..query_mark,
            query: query_mark.saturating_add(1).min(end)..end,
            url,
            text,
            context: context.unchecked_into(),
            forwarded: false,
            authorization: OnceCell::new(),
            explain: false,
            custom: Resolved::NotAsked,
            request,
            lines,
            names,
        };
        call.forwarded = config.is_proxy(call.own_header(PROXY_SECRET)) && call.own_header(FORWARDED_HOST).is_some();
        call.explain = config.is_operator(call.own_header(EXPLAIN));
        Some(call)
    }

    /// Reads the request again if a catalog that needs other headers has arrived since. Keeps the
    /// answer of the custom resolver.
    pub(crate) fn read_again(&mut self, config: &Config) {
        if header_names::is_current(&self.names) {
            return;
        }
        if let Some(again) = Self::read(self.request.clone(), self.context.clone().into(), config) {
            let custom = std::mem::take(&mut self.custom);
            *self = Self { custom, ..again };
        }
    }

    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.lines.first().map_or("", |line| self.slice(line))
    }

    pub(crate) fn path(&self) -> &str {
        self.slice(&self.path)
    }

    pub(crate) fn query(&self) -> &str {
        self.slice(&self.query)
    }

    pub(crate) fn about(&self) -> About<'_> {
        About { method: self.method(), host: self.host(), path: self.path() }
    }

    /// Whether the URL ends with its path or with a query that is not empty.
    pub(crate) fn is_plain_url(&self) -> bool {
        let end = if self.query.is_empty() { self.path.end } else { self.query.end };
        end == self.url.end
    }

    /// Scheme and authority, such as `https://acme.app.example.com`.
    pub(crate) fn origin(&self) -> &str {
        self.slice(&(self.url.start..self.path.start))
    }

    /// The host that the gate decides by: the forwarded host from a trusted proxy, otherwise the
    /// URL's.
    pub(crate) fn host(&self) -> &str {
        let forwarded = self.forwarded.then(|| self.own_header(FORWARDED_HOST)).flatten();
        forwarded.unwrap_or_else(|| self.slice(&self.host))
    }

    fn own_header(&self, name: &str) -> Option<&str> {
        self.value(self.names.own(name)?)
    }

    /// The value of the header at a place in the list of names.
    fn value(&self, place: usize) -> Option<&str> {
        let value = self.slice(self.lines.get(place.checked_add(2)?)?);
        (value != "\0").then_some(value)
    }

    /// The token of `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let authorization = self.authorization.get_or_init(|| edge::header(&self.request, "authorization"));
        let (scheme, token) = authorization.as_deref()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    }

    /// Whether the request is for an endpoint of the gate itself.
    pub(crate) fn is_own(&self) -> bool {
        self.path().starts_with("/_gate/")
    }

    /// The fault that a test asks for; see [`crate::worker::runtime::fault`].
    pub(crate) fn fault(&self) -> Option<String> {
        if cfg!(feature = "faults") { edge::header(&self.request, "x-fault") } else { None }
    }

    /// The headers that the catalog needs, as names and values.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        self.names.of_catalog().filter_map(|(place, name)| Some((name, self.value(place)?))).collect()
    }

    /// The request as the core takes it.
    pub(crate) fn request<'a>(&'a self, headers: &'a [(&'a str, &'a str)], config: &'a Config) -> Request<'a> {
        Request {
            method: self.method(),
            host: self.host(),
            path: self.path(),
            query: self.query(),
            headers,
            custom: match &self.custom {
                Resolved::NotAsked => Custom::NotAsked,
                Resolved::Nobody => Custom::Nobody,
                Resolved::Named(name) => Custom::Named(name),
                Resolved::Failed => Custom::Failed,
            },
            place: config.region.as_deref(),
            preflights: true,
            explain: self.explain,
            ..Request::default()
        }
    }
}

//! The compiled strategies of a catalog. [`Resolver::signals`] turns a request into its signals.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::credential::{self, AUTHORIZATION, COOKIE, Carrier, FETCH_SITE, ORIGIN, PresentedCredential, UPGRADE};
use super::error::ResolveError;
use super::host::{self, Host};
use super::path::{self, Comparable};
use super::request::{Custom, Request};
use crate::model::bounds::{MAX_QUERY_BYTES, MAX_SIGNAL_BYTES};
use crate::model::{
    Agreement, DEFAULT_HEADER, DEFAULT_KEY_HEADER, Identifies, RESERVED, Resolution, Slug, Strategy, StrategyKind,
    TenantId,
};

/// What one strategy found in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal<'a> {
    /// The strategy that found the signal.
    pub strategy: StrategyKind,
    /// The tenant that the signal names.
    pub name: Name<'a>,
}

/// How a signal names its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<'a> {
    /// By slug.
    Slug(Cow<'a, str>),
    /// By id.
    Id(Cow<'a, str>),
    /// By a domain that the tenant has verified.
    Domain(Cow<'a, str>),
    /// By a credential. The tenant is known once the credential is verified.
    Credential,
    /// No tenant that can exist: the host is neither central nor a tenant's.
    Nobody,
}

/// The signals of a request, in configured order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals<'a> {
    /// The signals.
    pub found: SmallVec<[Signal<'a>; 2]>,
    /// The path after the tenant prefix, in comparable form. Routes and the origin see this path.
    pub path: Cow<'a, str>,
    /// What was removed from `path`: a prefix and the tenant's segment, such as `/t/acme`.
    pub prefix: Option<String>,
    /// Whether the path has runs of slashes.
    doubled: bool,
    /// Whether an origin might read the path as another one.
    pub ambiguous: bool,
    /// The presented credentials, in configured order, even if `mode: first` did not need them to
    /// find the tenant.
    pub shown: SmallVec<[PresentedCredential<'a>; 2]>,
    /// Whether a token in a cookie was ignored, because the request comes from another origin or
    /// does not state its origin.
    pub withheld: bool,
}

/// The strategies of a catalog, compiled.
#[derive(Debug)]
pub struct Resolver {
    strategies: Vec<Compiled>,
    mode: Agreement,
    /// `None` if no strategy reads the host. All hosts are then equivalent.
    hosts: Option<HostTable>,
    headers: Vec<String>,
    /// The headers that the adapter's own resolver may read. `None` means all.
    custom_reads: Option<Vec<String>>,
    forward: bool,
    /// Reserved first segments of the path. `None` if the first segment does not name a tenant.
    own_segments: Option<FxHashSet<String>>,
}

#[derive(Debug)]
enum Compiled {
    Subdomain,
    CustomDomain,
    Path(String, Identifies),
    Header(String, Identifies),
    Query(String, Identifies),
    Custom(Identifies),
    /// The cookie that may hold the token.
    Jwt(Option<String>),
    /// The header that holds the key.
    ApiKey(String),
}

#[derive(Debug)]
struct HostTable {
    base_domains: Vec<String>,
    reserved: FxHashSet<String>,
    central: FxHashSet<String>,
    custom_domains: bool,
}

/// A host and the tenant that it names. Both depend on the resolution alone and can be cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHost {
    /// The host in comparable form.
    pub text: String,
    /// The host's signal. `None` if the host is central or no strategy reads hosts.
    pub signal: Option<Signal<'static>>,
}

impl Name<'_> {
    fn borrowed(&self) -> Name<'_> {
        match self {
            Self::Slug(slug) => Name::Slug(Cow::Borrowed(slug)),
            Self::Id(id) => Name::Id(Cow::Borrowed(id)),
            Self::Domain(host) => Name::Domain(Cow::Borrowed(host)),
            Self::Credential => Name::Credential,
            Self::Nobody => Name::Nobody,
        }
    }
}

impl Resolver {
    /// Compiles a checked resolution.
    pub fn new(resolution: &Resolution) -> Self {
        let strategies: Vec<_> = resolution.strategies.iter().map(Compiled::new).collect();
        let subdomain = resolution.strategy(StrategyKind::Subdomain);
        let custom_domains = resolution.strategy(StrategyKind::CustomDomain).is_some();
        let reserved = |options: &Strategy| -> FxHashSet<String> {
            match &options.reserved {
                Some(labels) => labels.iter().cloned().collect(),
                None => RESERVED.iter().map(ToString::to_string).collect(),
            }
        };
        let hosts = (subdomain.is_some() || custom_domains).then(|| HostTable {
            base_domains: resolution.base_domains().map(String::from).collect(),
            reserved: subdomain.map(reserved).unwrap_or_default(),
            central: resolution.central_hosts.iter().cloned().collect(),
            custom_domains,
        });
        let headers = strategies.iter().flat_map(|strategy| match strategy {
            Compiled::Header(name, _) | Compiled::ApiKey(name) => vec![name.clone()],
            Compiled::Jwt(None) => vec![AUTHORIZATION.to_owned()],
            Compiled::Jwt(Some(_)) => [AUTHORIZATION, COOKIE, FETCH_SITE, ORIGIN, UPGRADE].map(String::from).to_vec(),
            _ => Vec::new(),
        });
        let forward = resolution.strategy(StrategyKind::Jwt).is_some_and(|jwt| jwt.forward == Some(true));
        let custom_reads = resolution.strategy(StrategyKind::Custom).and_then(|custom| custom.vary.clone());
        let custom_reads =
            custom_reads.map(|names| names.into_iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>());
        let path = resolution.strategy(StrategyKind::Path).filter(|_| resolution.is_first_segment());
        let own_segments = path.map(|path| {
            let mut own = reserved(path);
            // The gate's own endpoints.
            own.insert(String::from("_gate"));
            own
        });
        Self {
            headers: headers.collect(),
            custom_reads,
            mode: resolution.mode,
            hosts,
            forward,
            own_segments,
            strategies,
        }
    }

    /// Also reserves the given first segments, which lead to routes that need no tenant.
    #[must_use]
    pub fn with_own_segments<'a>(mut self, segments: impl Iterator<Item = &'a str>) -> Self {
        if let Some(own) = &mut self.own_segments {
            own.extend(segments.map(String::from));
        }
        self
    }

    /// The lower-case names of the headers that strategies read.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The lower-case names of the headers that can select another tenant, for `Vary`. `None` means
    /// that any header can.
    pub fn varies_by(&self) -> Option<impl Iterator<Item = &str>> {
        let selects = |name: &&str| ![FETCH_SITE, ORIGIN, UPGRADE].contains(name);
        let own = self.headers.iter().map(String::as_str).filter(selects);
        let custom = self.custom_reads.as_deref();
        let known = custom.is_some() || !self.strategies.iter().any(|one| matches!(one, Compiled::Custom(_)));
        known.then(|| own.chain(custom.unwrap_or_default().iter().map(String::as_str)))
    }

    /// The lower-case names of the headers that the adapter's own resolver receives. `None` means
    /// all.
    pub fn custom_reads(&self) -> Option<&[String]> {
        self.custom_reads.as_deref()
    }

    /// The lower-case names of headers that hold only a signal. They must not be forwarded to the
    /// origin.
    pub fn own_headers(&self) -> impl Iterator<Item = &str> {
        self.strategies.iter().filter_map(|strategy| match strategy {
            Compiled::Header(name, _) | Compiled::ApiKey(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// `Some` if tokens must not be forwarded to the origin, with the name of the cookie that may
    /// hold one.
    pub fn hidden_token(&self) -> Option<Option<&str>> {
        self.strategies.iter().find_map(|strategy| match strategy {
            Compiled::Jwt(cookie) if !self.forward => Some(cookie.as_deref()),
            _ => None,
        })
    }

    /// The query parameter that names the tenant. It must not be forwarded to the origin.
    pub fn query_param(&self) -> Option<&str> {
        self.strategies.iter().find_map(|strategy| match strategy {
            Compiled::Query(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Parses the host of a request.
    ///
    /// # Errors
    /// [`ResolveError::Unreadable`].
    pub fn host(&self, text: &str) -> Result<KnownHost, ResolveError> {
        let host = host::parse(text).ok_or(ResolveError::Unreadable("the host is not a valid host name"))?;
        let signal = self.hosts.as_ref().and_then(|hosts| hosts.signal(&host));
        Ok(KnownHost { text: host.as_str().to_owned(), signal })
    }

    /// The signals of a request. `host` is the parsed host of the request.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn signals<'a>(&self, request: &Request<'a>, host: &'a KnownHost) -> Result<Signals<'a>, ResolveError> {
        let mut signals = Signals::default();
        self.find(request, host, &mut signals)?;
        Ok(signals)
    }

    /// Like [`Self::signals`], but writes into existing signals, because the struct is expensive to
    /// move.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub(crate) fn find<'a>(
        &self,
        request: &Request<'a>,
        host: &'a KnownHost,
        signals: &mut Signals<'a>,
    ) -> Result<(), ResolveError> {
        signals.read_path(request)?;
        let host = host.signal.as_ref();
        let mut decided = false;
        for strategy in &self.strategies {
            let mut credential = strategy.credential(request)?;
            if credential.is_some_and(|shown| shown.carrier() == Carrier::Cookie) && !credential::cookies_count(request)
            {
                credential = None;
                signals.withheld = true;
            }
            signals.shown.extend(credential);
            if decided {
                continue;
            }
            let (kind, name) = match strategy {
                Compiled::Subdomain | Compiled::CustomDomain => match host {
                    // INVARIANT (no fall-through): an unknown host names no tenant, whatever else
                    // the request says.
                    Some(signal) if signal.name == Name::Nobody && !signals.has(&Name::Nobody) => {
                        (strategy.kind(), Name::Nobody)
                    }
                    Some(signal) if signal.strategy == strategy.kind() && signal.name != Name::Nobody => {
                        (signal.strategy, signal.name.borrowed())
                    }
                    _ => continue,
                },
                Compiled::Path(prefix, identifies) => match signals.take_prefix(prefix, self.own_segments.as_ref()) {
                    None => continue,
                    Some(segment) => match identifies.name(segment) {
                        // Every path has a first segment. One that cannot be a tenant's name names
                        // no tenant.
                        Err(_) if self.own_segments.is_some() => (StrategyKind::Path, Name::Nobody),
                        name => (StrategyKind::Path, name?),
                    },
                },
                Compiled::Header(header, identifies) => match header_value(request, header, StrategyKind::Header)? {
                    None => continue,
                    Some(value) => (StrategyKind::Header, identifies.name(value.into())?),
                },
                Compiled::Query(param, identifies) => match query_value(request.query, param)? {
                    None => continue,
                    Some(value) => (StrategyKind::Query, identifies.name(value)?),
                },
                Compiled::Custom(identifies) => match request.custom {
                    Custom::NotAsked => return Err(ResolveError::AskCustom),
                    Custom::Failed => return Err(ResolveError::CustomFailed),
                    Custom::Nobody => continue,
                    Custom::Named(value) => (StrategyKind::Custom, identifies.name(value.into())?),
                },
                Compiled::Jwt(_) | Compiled::ApiKey(_) if credential.is_none() => continue,
                Compiled::Jwt(_) | Compiled::ApiKey(_) => (strategy.kind(), Name::Credential),
            };
            signals.found.push(Signal { strategy: kind, name });
            decided = self.mode == Agreement::First;
        }
        Ok(())
    }

    /// Reads only the path of a request whose signals do not matter, and removes the tenant prefix.
    ///
    /// # Errors
    /// [`ResolveError::Unreadable`] for an invalid path or query.
    pub(crate) fn skip<'a>(&self, request: &Request<'a>, signals: &mut Signals<'a>) -> Result<(), ResolveError> {
        *signals = Signals::default();
        signals.read_path(request)?;
        for strategy in &self.strategies {
            if let Compiled::Path(prefix, _) = strategy {
                signals.take_prefix(prefix, self.own_segments.as_ref());
            }
        }
        Ok(())
    }
}

impl<'a> Signals<'a> {
    fn read_path(&mut self, request: &Request<'a>) -> Result<(), ResolveError> {
        let Comparable { path, doubled, ambiguous } =
            path::comparable(request.path).ok_or(ResolveError::Unreadable("the path is too long or not normalised"))?;
        if request.query.len() > MAX_QUERY_BYTES {
            return Err(ResolveError::Unreadable("the query is too long"));
        }
        (self.path, self.doubled, self.ambiguous) = (path, doubled, ambiguous);
        Ok(())
    }

    /// The path in the form in which routes are compared.
    pub fn route_path(&self) -> Cow<'_, str> {
        if self.doubled { path::folded(&self.path).into() } else { Cow::Borrowed(&self.path) }
    }

    /// Whether the host is the only signal, and no credential is presented.
    pub fn is_host_alone(&self) -> bool {
        let host =
            |signal: &Signal<'_>| matches!(signal.strategy, StrategyKind::Subdomain | StrategyKind::CustomDomain);
        self.shown.is_empty() && self.found.len() == 1 && self.found.first().is_some_and(host)
    }

    fn has(&self, name: &Name<'_>) -> bool {
        self.found.iter().any(|signal| signal.name == *name)
    }

    /// Removes the prefix and the tenant segment from the path, and returns the segment. Returns
    /// `None` if the path does not have the prefix, or if its first segment is in `own`, the
    /// reserved ones.
    fn take_prefix(&mut self, prefix: &str, own: Option<&FxHashSet<String>>) -> Option<Cow<'a, str>> {
        let (segment, rest) = match &self.path {
            path if own
                .is_some_and(|own| path::split(path, prefix).is_none_or(|(first, _)| is_own(own, path, first))) =>
            {
                return None;
            }
            Cow::Borrowed(path) => {
                let (segment, rest) = path::split(path, prefix)?;
                (Cow::Borrowed(segment), Cow::Borrowed(rest))
            }
            Cow::Owned(path) => {
                let (segment, rest) = path::split(path, prefix)?;
                (Cow::Owned(segment.to_owned()), Cow::Owned(rest.to_owned()))
            }
        };
        self.path = rest;
        self.prefix = Some(format!("{prefix}{segment}"));
        Some(segment)
    }
}

/// Whether the first segment of a path cannot name a tenant.
fn is_own(own: &FxHashSet<String>, path: &str, first: &str) -> bool {
    path == "/" || first.is_empty() || own.contains(first)
}

impl Compiled {
    const fn kind(&self) -> StrategyKind {
        match self {
            Self::Subdomain => StrategyKind::Subdomain,
            Self::CustomDomain => StrategyKind::CustomDomain,
            Self::Path(..) => StrategyKind::Path,
            Self::Header(..) => StrategyKind::Header,
            Self::Query(..) => StrategyKind::Query,
            Self::Custom(_) => StrategyKind::Custom,
            Self::Jwt(_) => StrategyKind::Jwt,
            Self::ApiKey(_) => StrategyKind::ApiKey,
        }
    }

    /// The credential that this strategy finds in a request.
    fn credential<'a>(&self, request: &Request<'a>) -> Result<Option<PresentedCredential<'a>>, ResolveError> {
        match self {
            Self::Jwt(cookie) => credential::token(request, cookie.as_deref()),
            Self::ApiKey(header) => {
                Ok(header_value(request, header, StrategyKind::ApiKey)?.map(PresentedCredential::ApiKey))
            }
            _ => Ok(None),
        }
    }

    fn new(strategy: &Strategy) -> Self {
        let identifies = strategy.identifies.unwrap_or(Identifies::Slug);
        match strategy.strategy {
            StrategyKind::Subdomain => Self::Subdomain,
            StrategyKind::CustomDomain => Self::CustomDomain,
            StrategyKind::Path => Self::Path(strategy.prefix.clone().unwrap_or_else(|| "/t/".into()), identifies),
            StrategyKind::Header => {
                let name = strategy.header_name.as_deref().unwrap_or(DEFAULT_HEADER);
                Self::Header(name.to_ascii_lowercase(), identifies)
            }
            StrategyKind::Query => {
                Self::Query(strategy.query_param.clone().unwrap_or_else(|| "tenant".into()), identifies)
            }
            StrategyKind::Custom => Self::Custom(identifies),
            StrategyKind::Jwt => Self::Jwt(strategy.cookie_name.clone()),
            StrategyKind::ApiKey => {
                Self::ApiKey(strategy.header_name.as_deref().unwrap_or(DEFAULT_KEY_HEADER).to_ascii_lowercase())
            }
        }
    }
}

impl HostTable {
    /// The signal of a host. `None` if the host is central.
    fn signal(&self, host: &Host<'_>) -> Option<Signal<'static>> {
        let text = host.as_str();
        if self.central.contains(text) {
            return None;
        }
        let subdomain = |name| Some(Signal { strategy: StrategyKind::Subdomain, name });
        let Host::Name(name) = host else {
            return subdomain(Name::Nobody);
        };
        // The longest base domain applies, so that `eu.example.com` can be a base domain beside
        // `example.com`.
        let labels = self.base_domains.iter().filter_map(|base| {
            let left = name.strip_suffix(base.as_str())?;
            if left.is_empty() {
                Some((base.len(), ""))
            } else {
                left.strip_suffix('.').map(|label| (base.len(), label))
            }
        });
        match labels.max() {
            Some((_, "")) => None,
            Some((_, label)) if self.reserved.contains(label) => None,
            Some((_, label)) if Slug::is_valid(label) => subdomain(Name::Slug(Cow::Owned(label.to_owned()))),
            Some(_) => subdomain(Name::Nobody),
            None if self.custom_domains => {
                Some(Signal { strategy: StrategyKind::CustomDomain, name: Name::Domain(Cow::Owned(text.to_owned())) })
            }
            None => subdomain(Name::Nobody),
        }
    }
}

impl Identifies {
    fn name(self, value: Cow<'_, str>) -> Result<Name<'_>, ResolveError> {
        match self {
            Self::Slug if Slug::is_valid(&value) => Ok(Name::Slug(value)),
            Self::Id if TenantId::is_valid(&value) => Ok(Name::Id(value)),
            _ => Err(ResolveError::Unreadable("the value that names the tenant is not a valid slug or id")),
        }
    }
}

fn header_value<'a>(request: &Request<'a>, name: &str, kind: StrategyKind) -> Result<Option<&'a str>, ResolveError> {
    let Some(value) = credential::header(request, name, kind)? else {
        return Ok(None);
    };
    // A repeated header arrives joined by commas, which neither a tenant's name nor an API key
    // contains.
    if value.contains(',') {
        return Err(ResolveError::Repeated(kind));
    }
    if value.len() > MAX_SIGNAL_BYTES {
        return Err(ResolveError::Unreadable("the header with the tenant or the API key is too long"));
    }
    Ok(Some(value.trim_matches([' ', '\t'])))
}

fn query_value<'a>(query: &'a str, param: &str) -> Result<Option<Cow<'a, str>>, ResolveError> {
    let mut found = None;
    if query.is_empty() {
        return Ok(None);
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == param {
            if found.is_some() {
                return Err(ResolveError::Repeated(StrategyKind::Query));
            }
            if value.len() > MAX_SIGNAL_BYTES {
                return Err(ResolveError::Unreadable("the tenant parameter is too long"));
            }
            found = Some(value);
        } else if may_be_read_as(&name, param) || value.split(';').skip(1).any(|pair| may_be_read_as(pair, param)) {
            return Err(ResolveError::Unreadable("a query parameter may be mistaken for the tenant parameter"));
        }
    }
    Ok(found)
}

/// Whether some framework might read a query parameter as `param`: `tenant[]`, `tenant[x]`,
/// ` Tenant`, `tenant.x`, or any of them after `;`, which separates parameters in some frameworks.
fn may_be_read_as(name: &str, param: &str) -> bool {
    name.split(';').any(|name| {
        let name = name.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        let end = name.find(['[', '.', '=', '\0', ' ', '\t']).unwrap_or(name.len());
        name.get(..end).is_some_and(|name| name.eq_ignore_ascii_case(param))
    })
}

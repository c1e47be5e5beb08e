//! The configured strategies, compiled: a request goes in, its signals come out.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::host::{self, Host};
use super::path;
use super::request::{Custom, Request};
use crate::model::bounds::{MAX_QUERY_BYTES, MAX_SIGNAL_BYTES};
use crate::model::{Agreement, Identifies, RESERVED, Resolution, Slug, Strategy, StrategyKind, TenantId};

/// What one strategy found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal<'a> {
    /// Where it was found.
    pub strategy: StrategyKind,
    /// Whom it names.
    pub name: Name<'a>,
}

/// Whom a signal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<'a> {
    /// The tenant with this slug.
    Slug(Cow<'a, str>),
    /// The tenant with this id.
    Id(Cow<'a, str>),
    /// The tenant that has verified this domain.
    Domain(Cow<'a, str>),
    /// Nobody that could exist: a host that is neither central nor any tenant's.
    Nobody,
}

/// The signals of a request, in configured order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signals<'a> {
    /// What was found.
    pub found: SmallVec<[Signal<'a>; 2]>,
    /// The path behind a tenant prefix, in comparable form: what routes and the origin see.
    pub path: Cow<'a, str>,
    /// Whether `path` lost a tenant prefix.
    pub prefixed: bool,
    /// Whether the path has runs of slashes.
    doubled: bool,
}

/// Why a request could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Something in it cannot be read; the text says what, for the operator.
    Unreadable(&'static str),
    /// A signal is there more than once.
    Repeated(StrategyKind),
    /// The adapter's own resolver has to be asked first.
    AskCustom,
    /// The adapter's own resolver failed.
    CustomFailed,
}

/// The strategies of a catalog, ready for use.
#[derive(Debug)]
pub struct Resolver {
    strategies: Vec<Compiled>,
    mode: Agreement,
    /// `None` where no strategy looks at the host: then every host is as good as another.
    hosts: Option<Hosts>,
    headers: Vec<String>,
}

#[derive(Debug)]
enum Compiled {
    Subdomain,
    CustomDomain,
    Path(String, Identifies),
    Header(String, Identifies),
    Query(String, Identifies),
    Custom(Identifies),
}

#[derive(Debug)]
struct Hosts {
    base_domains: Vec<String>,
    reserved: FxHashSet<String>,
    central: FxHashSet<String>,
    custom_domains: bool,
}

/// What a host says, before any strategy is asked.
enum Standing<'h> {
    Central,
    Label(&'h str),
    Custom(&'h str),
    Foreign,
}

impl Resolver {
    /// Compiles a checked resolution.
    pub fn new(resolution: &Resolution) -> Self {
        let strategies: Vec<_> = resolution.strategies.iter().filter_map(Compiled::new).collect();
        let options = |kind| resolution.strategies.iter().find(move |strategy| strategy.strategy == kind);
        let subdomain = options(StrategyKind::Subdomain);
        let custom_domains = options(StrategyKind::CustomDomain).is_some();
        let reserved = subdomain.and_then(|options| options.reserved.clone());
        let hosts = (subdomain.is_some() || custom_domains).then(|| Hosts {
            base_domains: resolution.base_domains().map(String::from).collect(),
            reserved: reserved.unwrap_or_else(|| RESERVED.map(String::from).to_vec()).into_iter().collect(),
            central: resolution.central_hosts.iter().cloned().collect(),
            custom_domains,
        });
        let headers = strategies.iter().filter_map(|strategy| match strategy {
            Compiled::Header(name, _) => Some(name.clone()),
            _ => None,
        });
        Self { headers: headers.collect(), mode: resolution.mode, hosts, strategies }
    }

    /// The lower-case names of the headers that strategies read.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The query parameter that a strategy reads, which the origin must not see.
    pub fn query_param(&self) -> Option<&str> {
        self.strategies.iter().find_map(|strategy| match strategy {
            Compiled::Query(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the answer to a request may depend on one of [`Self::headers`].
    pub const fn mode(&self) -> Agreement {
        self.mode
    }

    /// The host of a request in comparable form.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub fn host<'a>(&self, request: &Request<'a>) -> Result<Host<'a>, Refusal> {
        host::parse(request.host).ok_or(Refusal::Unreadable("the host is not a host name"))
    }

    /// The signals of a request whose host is `host`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn signals<'a>(&self, request: &Request<'a>, host: &'a Host<'_>) -> Result<Signals<'a>, Refusal> {
        let (path, doubled) = path::comparable(request.path).ok_or(Refusal::Unreadable("the path is too long or not normalised"))?;
        if request.query.len() > MAX_QUERY_BYTES {
            return Err(Refusal::Unreadable("the query is too long"));
        }
        let mut signals = Signals { found: SmallVec::new(), path, prefixed: false, doubled };
        let standing = self.hosts.as_ref().map_or(Standing::Central, |hosts| hosts.standing(host));
        if matches!(standing, Standing::Foreign) {
            // INVARIANT (no fall-through): an unknown host names nobody, whatever else the request says.
            let strategy = if self.hosts.as_ref().is_some_and(|hosts| hosts.custom_domains) { StrategyKind::CustomDomain } else { StrategyKind::Subdomain };
            signals.found.push(Signal { strategy, name: Name::Nobody });
        }
        for strategy in &self.strategies {
            let (kind, name) = match (strategy, &standing) {
                (Compiled::Subdomain, Standing::Label(label)) => {
                    let name = if Slug::is_valid(label) { Name::Slug((*label).into()) } else { Name::Nobody };
                    (StrategyKind::Subdomain, name)
                }
                (Compiled::CustomDomain, Standing::Custom(host)) => (StrategyKind::CustomDomain, Name::Domain((*host).into())),
                (Compiled::Subdomain | Compiled::CustomDomain, _) => continue,
                (Compiled::Path(prefix, identifies), _) => match signals.take_prefix(prefix) {
                    None => continue,
                    Some(segment) => (StrategyKind::Path, identifies.name(segment)?),
                },
                (Compiled::Header(header, identifies), _) => match header_value(request, header)? {
                    None => continue,
                    Some(value) => (StrategyKind::Header, identifies.name(value.into())?),
                },
                (Compiled::Query(param, identifies), _) => match query_value(request.query, param)? {
                    None => continue,
                    Some(value) => (StrategyKind::Query, identifies.name(value)?),
                },
                (Compiled::Custom(identifies), _) => match request.custom {
                    Custom::NotAsked => return Err(Refusal::AskCustom),
                    Custom::Failed => return Err(Refusal::CustomFailed),
                    Custom::Nobody => continue,
                    Custom::Named(value) => (StrategyKind::Custom, identifies.name(value.into())?),
                },
            };
            signals.found.push(Signal { strategy: kind, name });
        }
        if self.mode == Agreement::First {
            signals.found.truncate(1);
        }
        Ok(signals)
    }
}

impl<'a> Signals<'a> {
    /// The path as routes compare it.
    pub fn route_path(&self) -> Cow<'_, str> {
        if self.doubled { path::folded(&self.path).into() } else { Cow::Borrowed(&self.path) }
    }

    /// Takes the tenant segment off the path, if the path has the prefix.
    fn take_prefix(&mut self, prefix: &str) -> Option<Cow<'a, str>> {
        let (segment, rest) = match &self.path {
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
        self.prefixed = true;
        Some(segment)
    }
}

impl Compiled {
    fn new(strategy: &Strategy) -> Option<Self> {
        let identifies = strategy.identifies.unwrap_or(Identifies::Slug);
        Some(match strategy.strategy {
            StrategyKind::Subdomain => Self::Subdomain,
            StrategyKind::CustomDomain => Self::CustomDomain,
            StrategyKind::Path => Self::Path(strategy.prefix.clone().unwrap_or_else(|| "/t/".into()), identifies),
            StrategyKind::Header => {
                let name = strategy.header_name.as_deref().unwrap_or("X-Tenant-ID");
                Self::Header(name.to_ascii_lowercase(), identifies)
            }
            StrategyKind::Query => Self::Query(strategy.query_param.clone().unwrap_or_else(|| "tenant".into()), identifies),
            StrategyKind::Custom => Self::Custom(identifies),
            // Refused when the catalog is read.
            StrategyKind::Jwt | StrategyKind::ApiKey => return None,
        })
    }
}

impl Hosts {
    fn standing<'h>(&self, host: &'h Host<'_>) -> Standing<'h> {
        let text = host.as_str();
        if !self.central.is_empty() && self.central.contains(text) {
            return Standing::Central;
        }
        let Host::Name(name) = host else {
            return Standing::Foreign;
        };
        // The longest base domain counts, so that `eu.example.com` can be a base beside `example.com`.
        let labels = self.base_domains.iter().filter_map(|base| {
            let left = name.strip_suffix(base.as_str())?;
            if left.is_empty() { Some((base.len(), "")) } else { left.strip_suffix('.').map(|label| (base.len(), label)) }
        });
        match labels.max() {
            Some((_, "")) => Standing::Central,
            Some((_, label)) if self.reserved.contains(label) => Standing::Central,
            Some((_, label)) if !label.contains('.') => Standing::Label(label),
            Some(_) => Standing::Foreign,
            None if self.custom_domains => Standing::Custom(text),
            None => Standing::Foreign,
        }
    }
}

impl Identifies {
    fn name(self, value: Cow<'_, str>) -> Result<Name<'_>, Refusal> {
        match self {
            Self::Slug if Slug::is_valid(&value) => Ok(Name::Slug(value)),
            Self::Id if TenantId::is_valid(&value) => Ok(Name::Id(value)),
            _ => Err(Refusal::Unreadable("the value that should name a tenant cannot be a tenant's name")),
        }
    }
}

fn header_value<'a>(request: &Request<'a>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = request.headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // A repeated header arrives joined by commas, and no name of a tenant has one.
    if values.next().is_some() || value.contains(',') {
        return Err(Refusal::Repeated(StrategyKind::Header));
    }
    if value.len() > MAX_SIGNAL_BYTES {
        return Err(Refusal::Unreadable("the tenant header is too long"));
    }
    Ok(Some(value.trim_matches([' ', '\t'])))
}

fn query_value<'a>(query: &'a str, param: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let mut found = None;
    if query.is_empty() {
        return Ok(None);
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.strip_prefix(param) {
            Some("") if found.is_some() => return Err(Refusal::Repeated(StrategyKind::Query)),
            Some("") if value.len() > MAX_SIGNAL_BYTES => return Err(Refusal::Unreadable("the tenant parameter is too long")),
            Some("") => found = Some(value),
            // Some frameworks read `tenant[]=a` and `tenant[x]=a` as the parameter `tenant`.
            Some(rest) if rest.starts_with('[') => return Err(Refusal::Unreadable("the tenant parameter is a list")),
            _ => {}
        }
    }
    Ok(found)
}

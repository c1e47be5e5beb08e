//! Tenant resolution in the catalog: the strategies, each with its own options.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bounds::{MAX_CLAIM_BYTES, MAX_HOST_BYTES, MAX_HOSTS, MAX_RECORD_BYTES, MAX_STRATEGIES, MAX_VARY};
use super::document::quoted;
use super::{Problems, Read, Reader, Slug, choice, document};

document! {
    /// How the gate finds the tenant of a request.
    pub struct Resolution {
        /// The strategies, in the order in which they are tried.
        strategies: Vec<Strategy>,
        /// How several signals are combined. Default `agree`.
        mode: Agreement = Agreement::Agree,
        /// Hosts that name no tenant: the gate's own names, IP literals in development, preview
        /// hosts.
        central_hosts: Vec<String> = Vec::new(),
    } => Resolution::check
}

choice! {
    /// How several signals of one request are combined.
    pub enum Agreement {
        /// All signals of a request must name the same tenant.
        Agree = "agree",
        /// The first strategy with a signal decides, even if the signal names no tenant.
        First = "first",
    }
}

choice! {
    /// The part of the request that a strategy reads.
    pub enum StrategyKind {
        /// The label to the left of a base domain.
        Subdomain = "subdomain",
        /// A domain that belongs to the tenant.
        CustomDomain = "custom_domain" | "custom-domain",
        /// The path segment after a prefix.
        Path = "path",
        /// A request header.
        Header = "header",
        /// A query parameter.
        Query = "query",
        /// A claim of a verified token.
        Jwt = "jwt",
        /// A verified API key.
        ApiKey = "api_key" | "api-key",
        /// The result of the adapter's own resolver.
        Custom = "custom",
    }
}

choice! {
    /// How a signal's value identifies the tenant.
    pub enum Identifies {
        /// The tenant's slug.
        Slug = "slug",
        /// The tenant's id.
        Id = "id",
    }
}

choice! {
    /// Where custom domains are looked up.
    pub enum DomainLookup {
        /// In the published index of verified domains.
        Index = "index",
    }
}

document! {
    /// One strategy, with its options. An option is only valid on the strategies that it names.
    pub struct Strategy {
        /// The part of the request that the strategy reads.
        strategy: StrategyKind,
        /// `subdomain`: the domains under which tenants have their subdomains. Required there.
        base_domains: Option<Vec<String>> = None,
        /// `subdomain`, and `path` with the prefix `/`: labels or first segments that never name a
        /// tenant. Default: www, api, admin, app, mail, static, status, _dmarc and others. With the
        /// prefix `/`, the first segments of public and central routes are reserved too.
        reserved: Option<Vec<String>> = None,
        /// `custom_domain`: where domains are looked up. Required there.
        domain_lookup: Option<DomainLookup> = None,
        /// `path`: the path before the tenant's segment: `/t/`, or `/` if the tenant is the first
        /// segment. Default `/t/`.
        prefix: Option<String> = None,
        /// `header`, `api_key`: the header's name. Default `X-Tenant-ID` and `X-API-Key`.
        header_name: Option<String> = None,
        /// `query`: the parameter's name. Default `tenant`.
        query_param: Option<String> = None,
        /// `jwt`: the claim that names the tenant, unless the issuer sets `tenant_claim`: a name,
        /// or a path with dots. Default `tenant_id`.
        jwt_claim: Option<String> = None,
        /// `jwt`: the cookie that holds the token if `Authorization` does not. Default: no cookie.
        cookie_name: Option<String> = None,
        /// `jwt`: whether the token is forwarded to the origin. Default false.
        forward: Option<bool> = None,
        /// `path`, `header`, `query`, `custom`, `jwt`: whether the value is a slug or an id.
        /// Default `slug`, but `id` for `jwt`, because a slug in a token would be valid for the
        /// slug's next owner too.
        identifies: Option<Identifies> = None,
        /// `custom`: the only headers that the resolver receives and may read. Default: it receives
        /// all headers, and shared caches may store no response, because any header may have
        /// selected the tenant.
        vary: Option<Vec<String>> = None,
    } => Strategy::check
}

/// The default header of the strategy `header`.
pub const DEFAULT_HEADER: &str = "X-Tenant-ID";
/// The default header of the strategy `api_key`.
pub const DEFAULT_KEY_HEADER: &str = "X-API-Key";

/// The default of `reserved`: labels under a base domain that never name a tenant.
pub const RESERVED: [&str; 20] = [
    "www",
    "api",
    "admin",
    "app",
    "auth",
    "assets",
    "cdn",
    "dashboard",
    "docs",
    "ftp",
    "help",
    "login",
    "mail",
    "ns1",
    "ns2",
    "smtp",
    "static",
    "status",
    "support",
    "_dmarc",
];

impl Resolution {
    /// Parses a resolution and checks it by itself.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_RECORD_BYTES)?;
            Self::read(&value, r)
        })
    }

    fn check(&self, r: &mut Reader) {
        r.at("strategies", |r| {
            r.at_most(self.strategies.len(), MAX_STRATEGIES);
            if self.strategies.is_empty() {
                r.problem("an empty list", "at least one strategy");
            }
            let mut seen = BTreeSet::new();
            for (index, strategy) in self.strategies.iter().enumerate() {
                if !seen.insert(strategy.strategy) {
                    r.at_index(index, |r| {
                        r.problem(format!("a second `{}`", strategy.strategy.as_str()), "each strategy once")
                    });
                }
            }
            let name = |kind, default| self.strategy(kind).map(|one| one.header_name.as_deref().unwrap_or(default));
            let names = [name(StrategyKind::Header, DEFAULT_HEADER), name(StrategyKind::ApiKey, DEFAULT_KEY_HEADER)];
            let is_taken =
                |name: &str| ["authorization", "cookie"].iter().any(|other| name.eq_ignore_ascii_case(other));
            let same = matches!(names, [Some(one), Some(other)] if one.eq_ignore_ascii_case(other));
            if same || names.into_iter().flatten().any(is_taken) {
                r.problem("a `header_name` with another use", "a separate header for each strategy");
            }
        });
        r.at("central_hosts", |r| check_hosts(&self.central_hosts, r));
    }

    /// The options of a strategy, if it is configured.
    pub fn strategy(&self, kind: StrategyKind) -> Option<&Strategy> {
        self.strategies.iter().find(|strategy| strategy.strategy == kind)
    }

    /// Whether a strategy that reads credentials is configured.
    pub fn has_credentials(&self) -> bool {
        self.strategy(StrategyKind::Jwt).or_else(|| self.strategy(StrategyKind::ApiKey)).is_some()
    }

    /// Whether a slug is reserved as a label under a base domain or as the first segment of a path.
    pub fn is_reserved(&self, slug: &Slug) -> bool {
        self.reserved().any(|label| label == slug.as_str())
    }

    /// The reserved labels and first segments.
    pub fn reserved(&self) -> impl Iterator<Item = &str> {
        let all = self.strategies.iter().filter(|strategy| strategy.reserves());
        all.flat_map(|strategy| match &strategy.reserved {
            Some(labels) => labels.iter().map(String::as_str).collect::<Vec<_>>(),
            None => RESERVED.to_vec(),
        })
    }

    /// Whether the first segment of a path names the tenant.
    pub fn is_first_segment(&self) -> bool {
        self.strategy(StrategyKind::Path).is_some_and(Strategy::reserves)
    }

    /// The domains under which tenants have their subdomains.
    pub fn base_domains(&self) -> impl Iterator<Item = &str> {
        self.strategies.iter().flat_map(|strategy| strategy.base_domains.iter().flatten()).map(String::as_str)
    }
}

impl Strategy {
    /// Whether the strategy has reserved names.
    fn reserves(&self) -> bool {
        self.strategy == StrategyKind::Subdomain || self.prefix.as_deref() == Some("/")
    }

    fn check(&self, r: &mut Reader) {
        use StrategyKind::{ApiKey, Custom, CustomDomain, Header, Jwt, Path, Query, Subdomain};
        let kind = self.strategy;
        let options: [(&str, bool, &[StrategyKind]); 11] = [
            ("base_domains", self.base_domains.is_some(), &[Subdomain]),
            ("reserved", self.reserved.is_some(), &[Subdomain, Path]),
            ("domain_lookup", self.domain_lookup.is_some(), &[CustomDomain]),
            ("prefix", self.prefix.is_some(), &[Path]),
            ("header_name", self.header_name.is_some(), &[Header, ApiKey]),
            ("query_param", self.query_param.is_some(), &[Query]),
            ("jwt_claim", self.jwt_claim.is_some(), &[Jwt]),
            ("cookie_name", self.cookie_name.is_some(), &[Jwt]),
            ("forward", self.forward.is_some(), &[Jwt]),
            ("vary", self.vary.is_some(), &[Custom]),
            ("identifies", self.identifies.is_some(), &[Path, Header, Query, Custom, Jwt]),
        ];
        for (name, given, strategies) in options {
            if given && !strategies.contains(&kind) {
                let names: Vec<_> = strategies.iter().map(|kind| kind.as_str()).collect();
                r.at(name, |r| {
                    r.problem(
                        format!("the option on `{}`", kind.as_str()),
                        format!("the option only on {}", quoted(&names)),
                    )
                });
            }
        }
        if kind == Path && self.reserved.is_some() && !self.reserves() {
            r.at("reserved", |r| r.problem("reserved names after a prefix", "no `reserved`, or the prefix `/`"));
        }
        match &self.base_domains {
            Some(domains) => r.at("base_domains", |r| check_hosts(domains, r)),
            None if kind == Subdomain => missing("base_domains", "at least one domain", r),
            None => {}
        }
        if kind == CustomDomain && self.domain_lookup.is_none() {
            missing("domain_lookup", "`index`, because custom domains need a lookup", r);
        }
        let texts = [
            (
                "prefix",
                &self.prefix,
                "`/`, or a path such as `/t/` of letters, digits and `-_.~@`",
                is_prefix as fn(&str) -> bool,
            ),
            ("header_name", &self.header_name, "a header name", is_token),
            ("query_param", &self.query_param, "a parameter name of letters, digits, `_`, `-`, `.`", is_parameter),
            ("jwt_claim", &self.jwt_claim, "a claim of 1 to 128 bytes", is_claim),
            ("cookie_name", &self.cookie_name, "a cookie name of letters, digits, `_`, `-`, `.`", is_parameter),
        ];
        for (name, text, expected, valid) in texts {
            if let Some(text) = text.as_deref().filter(|text| !valid(text)) {
                r.at(name, |r| r.unexpected::<()>(&Value::from(text), expected));
            }
        }
        r.at("vary", |r| {
            r.at_most(self.vary.as_ref().map_or(0, Vec::len), MAX_VARY);
            for (index, name) in self.vary.iter().flatten().enumerate().filter(|(_, name)| !is_token(name)) {
                r.at_index(index, |r| r.unexpected::<()>(&Value::from(name.as_str()), "a header name"));
            }
        });
        r.at("reserved", |r| r.at_most(self.reserved.as_ref().map_or(0, Vec::len), MAX_HOSTS));
    }
}

fn missing(name: &str, expected: &str, r: &mut Reader) {
    r.at(name, |r| r.problem("nothing", expected));
}

fn check_hosts(hosts: &[String], r: &mut Reader) {
    r.at_most(hosts.len(), MAX_HOSTS);
    for (index, host) in hosts.iter().enumerate() {
        if !is_host(host) {
            r.at_index(index, |r| r.unexpected::<()>(&Value::from(host.as_str()), HOST_EXPECTED));
        }
    }
}

pub(super) const HOST_EXPECTED: &str =
    "a host in lower case, with non-ASCII labels as A-labels (xn--…), without port or trailing dot";

/// Whether a host is in comparable form: lower case, ASCII, no port, no trailing dot.
pub(super) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= MAX_HOST_BYTES
        && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        || host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_prefix(text: &str) -> bool {
    text.starts_with('/')
        && text.ends_with('/')
        && !text.contains("//")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~' | b'@'))
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_claim(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_CLAIM_BYTES
}

fn is_parameter(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

//! How a request names its tenant: strategies, each with the options that belong to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bounds::{MAX_CLAIM_BYTES, MAX_HOST_BYTES, MAX_HOSTS, MAX_RECORD_BYTES, MAX_STRATEGIES, MAX_VARY};
use super::document::quoted;
use super::{Problems, Read, Reader, Slug, choice, document};

document! {
    /// How a request names its tenant.
    pub struct Resolution {
        /// What is looked at, in this order.
        strategies: Vec<Strategy>,
        /// What several signals must do. Default `agree`.
        mode: Agreement = Agreement::Agree,
        /// Hosts that name no tenant by themselves: the gate's own names, IP literals in development, preview hosts.
        central_hosts: Vec<String> = Vec::new(),
    } => Resolution::check
}

choice! {
    /// What is asked of several signals in one request.
    pub enum Agreement {
        /// Every signal that is present names the same tenant.
        Agree = "agree",
        /// The first strategy whose signal is present decides, even where it names nobody.
        First = "first",
    }
}

choice! {
    /// Where a strategy looks.
    pub enum StrategyKind {
        /// The label left of a base domain.
        Subdomain = "subdomain",
        /// A host of the tenant's own.
        CustomDomain = "custom_domain" | "custom-domain",
        /// A path segment after a prefix.
        Path = "path",
        /// A request header.
        Header = "header",
        /// A query parameter.
        Query = "query",
        /// A claim of a verified token.
        Jwt = "jwt",
        /// A verified API key.
        ApiKey = "api_key" | "api-key",
        /// Whatever the adapter's own resolver says.
        Custom = "custom",
    }
}

choice! {
    /// What a signal's value is.
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
    /// One strategy, with the options that belong to it.
    pub struct Strategy {
        /// Where it looks.
        strategy: StrategyKind,
        /// `subdomain`: the domains under which tenants live. Required there.
        base_domains: Option<Vec<String>> = None,
        /// `subdomain`, and `path` with the prefix `/`: labels or first segments that are no tenants. Default: www, api, admin, app,
        /// mail, static, status, _dmarc and others. With the prefix `/` also what public and central routes begin with.
        reserved: Option<Vec<String>> = None,
        /// `custom_domain`: where domains are looked up. Required there.
        domain_lookup: Option<DomainLookup> = None,
        /// `path`: what stands before the tenant: `/t/`, or `/` where the tenant is the first segment. Default `/t/`.
        prefix: Option<String> = None,
        /// `header`, `api_key`: the header's name. Default `X-Tenant-ID` and `X-API-Key`.
        header_name: Option<String> = None,
        /// `query`: the parameter's name. Default `tenant`.
        query_param: Option<String> = None,
        /// `jwt`: the claim that names the tenant, where the issuer does not say: a name, or a path with dots. Default
        /// `tenant_id`.
        jwt_claim: Option<String> = None,
        /// `jwt`: the cookie that holds the token, where `Authorization` has none. Default: none.
        cookie_name: Option<String> = None,
        /// `jwt`: the origin sees the token too. Default false.
        forward: Option<bool> = None,
        /// `path`, `header`, `query`, `custom`, `jwt`: whether the value is a slug or an id. Default `slug`; for `jwt` `id`,
        /// since a token that names a slug is good for whoever has the slug next.
        identifies: Option<Identifies> = None,
        /// `custom`: the headers that the resolver is given, and all that it may read. Default: it is given every header, and no
        /// shared cache may keep an answer, since nobody knows what else would have led to another tenant.
        vary: Option<Vec<String>> = None,
    } => Strategy::check
}

/// The header of the strategy `header`, unless it says otherwise.
pub const DEFAULT_HEADER: &str = "X-Tenant-ID";
/// The header of the strategy `api_key`, unless it says otherwise.
pub const DEFAULT_KEY_HEADER: &str = "X-API-Key";

/// Labels under a base domain that are no tenants unless the catalog says otherwise.
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
    /// Parses and checks a resolution by itself.
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
                r.problem("none", "at least one strategy");
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
            let taken = |name: &str| ["authorization", "cookie"].iter().any(|other| name.eq_ignore_ascii_case(other));
            let same = matches!(names, [Some(one), Some(other)] if one.eq_ignore_ascii_case(other));
            if same || names.into_iter().flatten().any(taken) {
                r.problem("a `header_name` that means something else too", "a header of its own for each strategy");
            }
        });
        r.at("central_hosts", |r| check_hosts(&self.central_hosts, r));
    }

    /// The options of a strategy, if it is configured.
    pub fn strategy(&self, kind: StrategyKind) -> Option<&Strategy> {
        self.strategies.iter().find(|strategy| strategy.strategy == kind)
    }

    /// Whether callers can show who they are.
    pub fn has_credentials(&self) -> bool {
        self.strategy(StrategyKind::Jwt).or_else(|| self.strategy(StrategyKind::ApiKey)).is_some()
    }

    /// Whether a label under a base domain, or the first segment of a path, is kept from tenants.
    pub fn is_reserved(&self, slug: &Slug) -> bool {
        self.reserved().any(|label| label == slug.as_str())
    }

    /// Labels and first segments that are kept from tenants.
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

    /// The domains under which tenants live.
    pub fn base_domains(&self) -> impl Iterator<Item = &str> {
        self.strategies.iter().flat_map(|strategy| strategy.base_domains.iter().flatten()).map(String::as_str)
    }
}

impl Strategy {
    /// Whether some names that it could find are kept from tenants.
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
                        format!("an option for `{}`", kind.as_str()),
                        format!("none: it belongs to {}", quoted(&names)),
                    )
                });
            }
        }
        if kind == Path && self.reserved.is_some() && !self.reserves() {
            r.at("reserved", |r| r.problem("names behind a prefix of their own", "none, or the prefix `/`"));
        }
        match &self.base_domains {
            Some(domains) => r.at("base_domains", |r| check_hosts(domains, r)),
            None if kind == Subdomain => missing("base_domains", "at least one domain", r),
            None => {}
        }
        if kind == CustomDomain && self.domain_lookup.is_none() {
            missing("domain_lookup", "`index`: custom domains must be looked up somewhere", r);
        }
        let texts = [
            (
                "prefix",
                &self.prefix,
                "`/`, or a path such as `/t/`, of letters, digits and `-_.~@`",
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
    "a host in lower case, names beyond ASCII as A-labels (xn--…), no port, no trailing dot";

/// Whether a host stands as it would be compared: lower case, ASCII, no port, no trailing dot.
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

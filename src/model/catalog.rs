//! The catalog: plans, features, limits, routes and resolution rules. One document for all tenants.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::bounds::{
    MAX_CATALOG_BYTES, MAX_FEATURES, MAX_HOST_BYTES, MAX_HOSTS, MAX_LIMITS, MAX_PATH_BYTES, MAX_PLANS, MAX_ROUTES,
    MAX_STRATEGIES,
};
use super::document::quoted;
use super::limit::Quantity;
use super::{Allowance, Epoch, Feature, Grants, Key, Limit, PlanRef, Problems, Read, Reader, choice, document};

document! {
    /// The catalog.
    pub struct Catalog {
        /// Grows with every publication; an older one is refused where a newer was seen.
        version: Epoch,
        /// How a request names its tenant.
        resolution: Resolution,
        /// What each path needs and costs; the longest matching prefix counts.
        routes: Vec<Route> = Vec::new(),
        /// Features by key.
        features: BTreeMap<Key, Feature> = BTreeMap::new(),
        /// Limits by key.
        limits: BTreeMap<Key, Limit> = BTreeMap::new(),
        /// Plan versions, such as `pro@2`. Immutable: a change is a new version.
        plans: BTreeMap<PlanRef, Plan> = BTreeMap::new(),
        /// Add-ons by key: their features are granted, their limits are added to the plan's.
        addons: BTreeMap<Key, Plan> = BTreeMap::new(),
        /// Where denials send people who want more. Default `/pricing`.
        upgrade_url: String = String::from("/pricing"),
    }
}

document! {
    /// A plan version, or an add-on.
    pub struct Plan {
        /// For people.
        title: Option<String> = None,
        /// Features it grants: a list of keys, or values by key.
        features: Grants = Grants::default(),
        /// How much of each limit it allows.
        limits: BTreeMap<Key, Allowance> = BTreeMap::new(),
    }
}

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
        /// `subdomain`: labels that are no tenants. Default: www, api, admin, app, mail, static, status, _dmarc and others.
        reserved: Option<Vec<String>> = None,
        /// `custom_domain`: where domains are looked up. Required there.
        domain_lookup: Option<DomainLookup> = None,
        /// `path`: what stands before the tenant. Default `/t/`.
        prefix: Option<String> = None,
        /// `header`: the header's name. Default `X-Tenant-ID`.
        header_name: Option<String> = None,
        /// `query`: the parameter's name. Default `tenant`.
        query_param: Option<String> = None,
        /// `path`, `header`, `query`, `custom`: whether the value is a slug or an id. Default `slug`.
        identifies: Option<Identifies> = None,
    } => Strategy::check
}

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

choice! {
    /// Who may come in.
    pub enum Access {
        /// Requests of a tenant, judged in full.
        Tenant = "tenant",
        /// Also requests that name no tenant; those that do are judged in full.
        Central = "central",
        /// Everybody, unjudged.
        Public = "public",
    }
}

document! {
    /// What a path needs and costs.
    pub struct Route {
        /// Matches this path and everything below it, by whole segments.
        path: String,
        /// Methods it is for, upper case. Default: all.
        methods: Vec<String> = Vec::new(),
        /// Who may come in. Default `tenant`.
        access: Access = Access::Tenant,
        /// The feature a tenant must have.
        feature: Option<Key> = None,
        /// Units of each limit that one request costs. 0 looks without taking.
        limits: BTreeMap<Key, Quantity> = BTreeMap::new(),
    } => Route::check
}

impl Catalog {
    /// Parses and checks a catalog.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::Catalog;
    /// let problems = Catalog::parse(r#"{"version": 1, "resolution": {"strategies": [{"strategy": "telepathy"}]}}"#).unwrap_err();
    /// assert!(problems.to_string().starts_with("$.resolution.strategies[0].strategy: found \"telepathy\", expected one of"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_CATALOG_BYTES)?;
            Self::read_checked(&value, r)
        })
    }

    pub(super) fn read_checked(value: &Value, r: &mut Reader) -> Option<Self> {
        let catalog = Self::read(value, r)?;
        catalog.check(r);
        Some(catalog)
    }

    fn check(&self, r: &mut Reader) {
        r.at("routes", |r| {
            r.at_most(self.routes.len(), MAX_ROUTES);
            let mut seen = BTreeSet::new();
            for (index, route) in self.routes.iter().enumerate() {
                r.at_index(index, |r| {
                    self.check_route(route, r);
                    if !seen.insert((route.path.trim_end_matches('/'), &route.methods)) {
                        r.problem("a second route for the same path and methods", "one");
                    }
                });
            }
        });
        r.at("features", |r| {
            r.at_most(self.features.len(), MAX_FEATURES);
            for (key, feature) in &self.features {
                r.at(key.as_str(), |r| {
                    self.check_prerequisites(key, feature, r);
                });
            }
        });
        r.at("limits", |r| r.at_most(self.limits.len(), MAX_LIMITS));
        r.at("plans", |r| {
            r.at_most(self.plans.len(), MAX_PLANS);
            for (key, plan) in &self.plans {
                r.at(key.as_str(), |r| {
                    self.check_bundle(&plan.features, &plan.limits, r);
                    for (limit, definition) in &self.limits {
                        if definition.default.is_none() && !plan.limits.contains_key(limit) {
                            r.at("limits", |r| {
                                r.at(limit.as_str(), |r| {
                                    r.problem(
                                        "nothing",
                                        "an allowance, `\"unlimited\"`, or a `default` in the limit itself",
                                    )
                                })
                            });
                        }
                    }
                });
            }
        });
        r.at("addons", |r| {
            for (key, addon) in &self.addons {
                r.at(key.as_str(), |r| self.check_bundle(&addon.features, &addon.limits, r));
            }
        });
    }

    fn check_route(&self, route: &Route, r: &mut Reader) {
        if let Some(feature) = route.feature.as_ref().filter(|key| !self.features.contains_key(*key)) {
            r.at("feature", |r| r.problem(format!("`{feature}`"), "a key of `features`"));
        }
        r.at("limits", |r| {
            for key in route.limits.keys() {
                self.check_limit_key(key, r);
            }
        });
    }

    fn check_limit_key(&self, key: &Key, r: &mut Reader) {
        if !self.limits.contains_key(key) {
            r.at(key.as_str(), |r| r.problem("an unknown limit", "a key of the catalog's `limits`"));
        }
    }

    /// Checks what a plan, add-on or contract grants.
    pub(super) fn check_bundle(&self, features: &Grants, limits: &BTreeMap<Key, Allowance>, r: &mut Reader) {
        r.at("features", |r| {
            for (key, value) in &features.0 {
                r.at(key.as_str(), |r| self.check_grant(key, value, r));
            }
        });
        r.at("limits", |r| {
            for (key, allowance) in limits {
                self.check_limit_key(key, r);
                if let Some(limit) = self.limits.get(key) {
                    r.at(key.as_str(), |r| allowance.check(limit.kind, r));
                }
            }
        });
    }

    pub(super) fn check_grant(&self, key: &Key, value: &Value, r: &mut Reader) {
        match self.features.get(key) {
            Some(feature) => feature.type_.check(value, r),
            None => r.problem("an unknown feature", "a key of the catalog's `features`"),
        }
    }

    fn check_prerequisites(&self, key: &Key, feature: &Feature, r: &mut Reader) {
        for (index, required) in feature.requires.iter().enumerate() {
            let found = if !self.features.contains_key(required) {
                "an unknown feature"
            } else if self.reaches(required, key) {
                "a circle"
            } else {
                continue;
            };
            r.at("requires", |r| {
                r.at_index(index, |r| {
                    r.problem(format!("`{required}`: {found}"), "a feature that does not require this one")
                })
            });
        }
    }

    /// Whether `from` requires `to`, directly or by way of others.
    fn reaches(&self, from: &Key, to: &Key) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(key) = open.pop() {
            if key == to {
                return true;
            }
            if seen.insert(key) {
                open.extend(self.features.get(key).into_iter().flat_map(|feature| &feature.requires));
            }
        }
        false
    }
}

impl Route {
    fn check(&self, r: &mut Reader) {
        let path = &self.path;
        if !path.starts_with('/') || path.len() > MAX_PATH_BYTES || path.contains(['?', '#', '%', '\\']) {
            r.at("path", |r| r.unexpected::<()>(&Value::from(path.as_str()), "a plain path that starts with `/`"));
        }
        for (index, method) in self.methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
                r.at("methods", |r| {
                    r.at_index(index, |r| r.unexpected::<()>(&Value::from(method.as_str()), "a method in upper case"))
                });
            }
        }
    }
}

impl Resolution {
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
        });
        r.at("central_hosts", |r| check_hosts(&self.central_hosts, r));
    }

    /// The domains under which tenants live.
    pub fn base_domains(&self) -> impl Iterator<Item = &str> {
        self.strategies.iter().flat_map(|strategy| strategy.base_domains.iter().flatten()).map(String::as_str)
    }
}

impl Strategy {
    fn check(&self, r: &mut Reader) {
        use StrategyKind::{ApiKey, Custom, CustomDomain, Header, Jwt, Path, Query, Subdomain};
        let kind = self.strategy;
        if matches!(kind, Jwt | ApiKey) {
            r.at("strategy", |r| {
                r.problem(
                    format!("`{}`", kind.as_str()),
                    "another strategy: this version does not verify credentials yet",
                )
            });
        }
        let options: [(&str, bool, &[StrategyKind]); 7] = [
            ("base_domains", self.base_domains.is_some(), &[Subdomain]),
            ("reserved", self.reserved.is_some(), &[Subdomain]),
            ("domain_lookup", self.domain_lookup.is_some(), &[CustomDomain]),
            ("prefix", self.prefix.is_some(), &[Path]),
            ("header_name", self.header_name.is_some(), &[Header]),
            ("query_param", self.query_param.is_some(), &[Query]),
            ("identifies", self.identifies.is_some(), &[Path, Header, Query, Custom]),
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
        match &self.base_domains {
            Some(domains) => r.at("base_domains", |r| check_hosts(domains, r)),
            None if kind == Subdomain => missing("base_domains", "at least one domain", r),
            None => {}
        }
        if kind == CustomDomain && self.domain_lookup.is_none() {
            missing("domain_lookup", "`index`: custom domains must be looked up somewhere", r);
        }
        let texts = [
            ("prefix", &self.prefix, "a path that starts and ends with `/`", is_prefix as fn(&str) -> bool),
            ("header_name", &self.header_name, "a header name", is_token),
            ("query_param", &self.query_param, "a parameter name of letters, digits, `_`, `-`, `.`", is_parameter),
        ];
        for (name, text, expected, valid) in texts {
            if let Some(text) = text.as_deref().filter(|text| !valid(text)) {
                r.at(name, |r| r.unexpected::<()>(&Value::from(text), expected));
            }
        }
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
    text.len() >= 2
        && text.starts_with('/')
        && text.ends_with('/')
        && !text.contains("//")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~' | b'@'))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_parameter(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

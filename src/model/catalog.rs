//! The catalog: the operator's document for all tenants.
//!
//! [`Catalog::parse`] first parses every part by itself, then checks the references between parts:
//! a route's feature, a plan's limits, a feature's prerequisites.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::bounds::{
    MAX_BREAKERS, MAX_CATALOG_BYTES, MAX_CORS, MAX_FEATURES, MAX_ISSUERS, MAX_LIMITS, MAX_METRICS, MAX_ORIGIN_MS,
    MAX_PATH_BYTES, MAX_PLANS, MAX_REPLICAS, MAX_REQUIRED, MAX_ROUTES, MAX_SCOPES, MAX_SHARDS,
};
use super::limit::Quantity;
use super::{
    Allowance, Breaker, Cors, Epoch, Feature, Grants, Issuer, Key, Kind, Limit, Metric, Origin, PlanRef, Problems,
    Read, Reader, Realtime, Required, Resolution, Scope, Shard, Slug, StrategyKind, choice, document, required,
};

document! {
    /// The catalog.
    pub struct Catalog {
        /// Grows with every publication. An isolate that has seen a version rejects older ones.
        version: Epoch,
        /// How the gate finds the tenant of a request.
        resolution: Resolution,
        /// Token issuers, by a name of your choice. For the strategy `jwt`.
        issuers: BTreeMap<Key, Issuer> = BTreeMap::new(),
        /// What requests to each path need and cost. The longest matching prefix applies.
        routes: Vec<Route> = Vec::new(),
        /// Which parts of a client's request the origin receives.
        origin: Option<Origin> = None,
        /// Features by key.
        features: BTreeMap<Key, Feature> = BTreeMap::new(),
        /// Limits by key.
        limits: BTreeMap<Key, Limit> = BTreeMap::new(),
        /// Circuit breakers by key. Routes that name the same breaker form a group.
        breakers: BTreeMap<Key, Breaker> = BTreeMap::new(),
        /// CORS policies by key: which pages of other origins may read the responses of the routes
        /// that name the policy.
        cors: BTreeMap<Key, Cors> = BTreeMap::new(),
        /// Sockets of tenants. Default: there are none.
        realtime: Option<Realtime> = None,
        /// Usage metrics by key.
        metrics: BTreeMap<Key, Metric> = BTreeMap::new(),
        /// Plan versions, such as `pro@2`. A version never changes: a change needs a new version.
        plans: BTreeMap<PlanRef, Plan> = BTreeMap::new(),
        /// Add-ons by key. An add-on grants its features and adds its limits to the plan's.
        addons: BTreeMap<Key, Plan> = BTreeMap::new(),
        /// Shards by key: the places that store tenant data.
        shards: BTreeMap<Key, Shard> = BTreeMap::new(),
        /// The gauge that counts a tenant's direct sub-tenants, so that plans can limit them.
        /// Default: they are not counted.
        sub_tenants: Option<Key> = None,
        /// Defaults for the record of a new tenant, as a merge patch (RFC 7396).
        tenant_defaults: Option<Value> = None,
        /// The URL at which tenants can upgrade, as given in denials. Default `/pricing`.
        upgrade_url: String = String::from("/pricing"),
    }
}

document! {
    /// A plan version, or an add-on.
    pub struct Plan {
        /// Display name. Not interpreted.
        title: Option<String> = None,
        /// The granted features: a list of keys, or values by key.
        features: Grants = Grants::default(),
        /// The allowance of each limit.
        limits: BTreeMap<Key, Allowance> = BTreeMap::new(),
        /// Whether it is no longer sold. Tenants that have it keep it. Default false.
        retired: bool = false,
    }
}

choice! {
    /// Which requests a route accepts.
    pub enum Access {
        /// Only requests of a tenant. All checks apply.
        Tenant = "tenant",
        /// Also requests that name no tenant. All checks apply to requests that name one.
        Central = "central",
        /// All requests, without any check of tenant, credential or limits.
        Public = "public",
    }
}

choice! {
    /// The credential that a route requires.
    pub enum Auth {
        /// None. A credential that is presented anyway must be valid and agree with the other
        /// signals.
        None = "none",
        /// A token or an API key.
        Any = "any",
        /// A token.
        Jwt = "jwt",
        /// An API key.
        ApiKey = "api_key" | "api-key",
    }
}

document! {
    /// What requests to a path need and cost.
    pub struct Route {
        /// The path prefix. Matches the path and everything below it, by whole segments.
        path: String,
        /// The methods that the route matches, in upper case. Other methods fall through to the
        /// next matching route. An origin that lets the body override the method (`_method`) must
        /// not be behind routes that differ by method. Default: all.
        methods: Vec<String> = Vec::new(),
        /// Which requests the route accepts. Default `tenant`.
        access: Access = Access::Tenant,
        /// The required credential. Default: `any` if the strategy `jwt` or `api_key` is
        /// configured, so that a forgotten route is closed; otherwise `none`.
        auth: Option<Auth> = None,
        /// Scopes that the token or API key must have, all of them.
        scopes: Vec<Scope> = Vec::new(),
        /// Whether credentials of a tenant are also valid for its descendants. Default false.
        act_for_descendants: bool = false,
        /// The feature that the tenant must have.
        feature: Option<Key> = None,
        /// The route's circuit breaker.
        breaker: Option<Key> = None,
        /// The route's CORS policy. The routes `/_gate/v1/features` and `/_gate/ofrep` may name one
        /// too.
        cors: Option<Key> = None,
        /// Milliseconds within which the origin must send its response headers, 1 to 600000. After
        /// that, the gate responds with 504. Default 60000.
        timeout_ms: Option<Quantity> = None,
        /// Units of each limit that one request costs. 0 checks the limit without consuming units.
        limits: BTreeMap<Key, Quantity> = BTreeMap::new(),
    } => Route::check
}

/// Members of a tenant's record that cannot have a default: they identify the tenant, place it or
/// its data, or prove something.
const NO_DEFAULTS: [&str; 8] = ["id", "slug", "epoch", "status", "parent", "domains", "data_route", "credentials_from"];

impl Catalog {
    /// Parses and checks a catalog.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::Catalog;
    /// let resolution = r#"{"strategies": [{"strategy": "telepathy"}]}"#;
    /// let catalog = format!(r#"{{"version": 1, "resolution": {resolution}}}"#);
    /// let problems = Catalog::parse(&catalog).unwrap_err();
    /// assert_eq!(problems.0[0].path, "$.resolution.strategies[0].strategy");
    /// assert_eq!(problems.0[0].found, "\"telepathy\"");
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
                        r.problem("a second route for the same path and methods", "one route");
                    }
                });
            }
        });
        r.at("issuers", |r| {
            r.at_most(self.issuers.len(), MAX_ISSUERS);
            match (self.resolution.strategy(StrategyKind::Jwt), self.issuers.is_empty()) {
                (Some(_), true) => r.problem("nothing", "at least one issuer for the strategy `jwt`"),
                (None, false) => r.problem("issuers", "no issuers, because no strategy `jwt` reads their tokens"),
                _ => {}
            }
            let mut seen = BTreeSet::new();
            for (key, issuer) in &self.issuers {
                if !seen.insert(&issuer.issuer) {
                    r.at(key.as_str(), |r| {
                        r.at("issuer", |r| r.problem("the `issuer` of another entry", "each `issuer` once"))
                    });
                }
            }
        });
        r.at("features", |r| {
            r.at_most(self.features.len(), MAX_FEATURES);
            for ((key, feature), required) in self.features.iter().zip(required(&self.features)) {
                r.at(key.as_str(), |r| self.check_prerequisites(feature, &required, r));
            }
        });
        self.check_assertion(r);
        r.at("realtime", |r| self.check_realtime(r));
        r.at("limits", |r| r.at_most(self.limits.len(), MAX_LIMITS));
        let gauge = |key: &&Key| self.limits.get(*key).is_some_and(|limit| limit.kind == Kind::Gauge);
        if let Some(key) = self.sub_tenants.as_ref().filter(|key| !gauge(key)) {
            r.at("sub_tenants", |r| r.problem(format!("`{key}`"), "a gauge of the catalog's `limits`"));
        }
        r.at("tenant_defaults", |r| {
            for name in NO_DEFAULTS
                .iter()
                .filter(|name| self.tenant_defaults.as_ref().is_some_and(|one| one.get(name).is_some()))
            {
                r.at(name, |r| {
                    r.problem("a default", "no default: each tenant has its own value, or a separate operation sets it")
                });
            }
        });
        r.at("shards", |r| {
            r.at_most(self.shards.len(), MAX_SHARDS);
            for (key, shard) in &self.shards {
                r.at(key.as_str(), |r| r.at("replicas", |r| r.at_most(shard.replicas.len(), MAX_REPLICAS)));
            }
        });
        r.at("breakers", |r| r.at_most(self.breakers.len(), MAX_BREAKERS));
        r.at("cors", |r| r.at_most(self.cors.len(), MAX_CORS));
        r.at("metrics", |r| {
            r.at_most(self.metrics.len(), MAX_METRICS);
            for (key, metric) in &self.metrics {
                let quota = |limit: &Key| self.limits.get(limit).is_some_and(|limit| limit.kind == Kind::Quota);
                if let Some(limit) = metric.limit.as_ref().filter(|limit| !quota(limit)) {
                    r.at(key.as_str(), |r| {
                        r.at("limit", |r| r.problem(format!("`{limit}`"), "a quota of the catalog's `limits`"))
                    });
                }
            }
        });
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
            r.at_most(self.addons.len(), MAX_PLANS);
            for (key, addon) in &self.addons {
                r.at(key.as_str(), |r| self.check_bundle(&addon.features, &addon.limits, r));
            }
        });
    }

    fn check_assertion(&self, r: &mut Reader) {
        let unknown = |(_, key): &(usize, &Key)| !self.features.contains_key(*key);
        for (index, key) in self.asserted_features().iter().enumerate().filter(unknown) {
            let problem = |r: &mut Reader| r.problem(format!("`{key}`"), "a key of `features`");
            r.at("origin", |r| r.at("assertion", |r| r.at("features", |r| r.at_index(index, problem))));
        }
    }

    fn check_realtime(&self, r: &mut Reader) {
        let Some(realtime) = &self.realtime else { return };
        let counts = |key: &&Key| self.limits.get(*key).is_some_and(|limit| limit.kind == Kind::Concurrency);
        if let Some(key) = realtime.connections.as_ref().filter(|key| !counts(key)) {
            r.at("connections", |r| r.problem(format!("`{key}`"), "a limit of kind `concurrency`"));
        }
        r.at("limits", |r| {
            for key in realtime.limits.keys() {
                self.check_limit_key(key, r);
                // A message is over as soon as it is sent, so it occupies neither a slot nor a
                // level.
                let spent = |limit: &Limit| matches!(limit.kind, Kind::Rate | Kind::Window | Kind::Quota);
                if self.limits.get(key).is_some_and(|limit| !spent(limit)) {
                    r.at(key.as_str(), |r| r.problem("a level or slots", "a rate, a window or a quota"));
                }
            }
        });
        for (path, requirement) in realtime.requirements() {
            if let Some(feature) = requirement.feature.as_ref().filter(|key| !self.features.contains_key(*key)) {
                r.at_path(&path, |r| r.at("feature", |r| r.problem(format!("`{feature}`"), "a key of `features`")));
            }
        }
    }

    /// The features whose values an assertion has.
    pub fn asserted_features(&self) -> &[Key] {
        let assertion = self.origin.as_ref().and_then(|origin| origin.assertion.as_ref());
        assertion.map_or(&[], |assertion| &assertion.features)
    }

    fn check_route(&self, route: &Route, r: &mut Reader) {
        if let Some(feature) = route.feature.as_ref().filter(|key| !self.features.contains_key(*key)) {
            r.at("feature", |r| r.problem(format!("`{feature}`"), "a key of `features`"));
        }
        if let Some(breaker) = route.breaker.as_ref().filter(|key| !self.breakers.contains_key(*key)) {
            r.at("breaker", |r| r.problem(format!("`{breaker}`"), "a key of `breakers`"));
        }
        if let Some(cors) = route.cors.as_ref().filter(|key| !self.cors.contains_key(*key)) {
            r.at("cors", |r| r.problem(format!("`{cors}`"), "a key of `cors`"));
        }
        r.at("limits", |r| {
            for key in route.limits.keys() {
                self.check_limit_key(key, r);
            }
        });
        let has = |kind| self.resolution.strategy(kind).is_some();
        let possible = match route.auth {
            None | Some(Auth::None) => true,
            Some(Auth::Any) => self.resolution.has_credentials(),
            Some(Auth::Jwt) => has(StrategyKind::Jwt),
            Some(Auth::ApiKey) => has(StrategyKind::ApiKey),
        };
        if !possible {
            r.at("auth", |r| {
                r.problem("a credential that no strategy reads", "a configured strategy `jwt` or `api_key`")
            });
        }
        if !route.scopes.is_empty() && self.auth(route) == Auth::None {
            r.at("scopes", |r| r.problem("scopes without a credential", "no scopes, or an `auth` other than `none`"));
        }
    }

    /// The credential that a route requires, defaults applied.
    pub fn auth(&self, route: &Route) -> Auth {
        match (route.access, route.auth) {
            (Access::Public, _) => Auth::None,
            (_, Some(auth)) => auth,
            (_, None) if self.resolution.has_credentials() => Auth::Any,
            (_, None) => Auth::None,
        }
    }

    /// The first segments of the paths of routes that need no tenant.
    pub fn own_segments(&self) -> impl Iterator<Item = &str> {
        let own = self.routes.iter().filter(|route| route.access != Access::Tenant);
        own.filter_map(|route| route.path.split('/').nth(1)).filter(|segment| !segment.is_empty())
    }

    /// Whether a slug is reserved: requests that use it would not reach its tenant.
    pub fn is_reserved(&self, slug: &Slug) -> bool {
        let first = self.resolution.is_first_segment() && self.own_segments().any(|segment| segment == slug.as_str());
        first || self.resolution.is_reserved(slug)
    }

    fn check_limit_key(&self, key: &Key, r: &mut Reader) {
        if !self.limits.contains_key(key) {
            r.at(key.as_str(), |r| r.problem("an unknown limit", "a key of the catalog's `limits`"));
        }
    }

    /// Checks the features and limits of a plan, add-on or contract.
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

    fn check_prerequisites(&self, feature: &Feature, required: &Required, r: &mut Reader) {
        r.at("requires", |r| {
            if *required == Required::TooMany {
                r.problem("too many, direct and indirect", format!("at most {MAX_REQUIRED} in all"));
            }
            for (index, key) in feature.requires.iter().enumerate() {
                let found = match self.features.get(key) {
                    None => "an unknown feature",
                    Some(_) if *required == Required::Cycle(index) => "a cycle",
                    Some(other) if feature.client && !other.client => "not a `client` feature",
                    Some(_) => continue,
                };
                r.at_index(index, |r| {
                    let expected = "a known feature that does not require this one, with `client` if this one has it";
                    r.problem(format!("`{key}`: {found}"), expected);
                });
            }
        });
    }
}

impl Route {
    fn check(&self, r: &mut Reader) {
        let path = &self.path;
        if !path.starts_with('/') || path.len() > MAX_PATH_BYTES || !is_plain_path(path) {
            r.at("path", |r| r.unexpected::<()>(&Value::from(path.as_str()), "a plain path that starts with `/`"));
        }
        if let Some(Quantity(given)) = self.timeout_ms.filter(|given| !(1..=MAX_ORIGIN_MS).contains(&given.0)) {
            r.at("timeout_ms", |r| r.problem(given.to_string(), format!("1 to {MAX_ORIGIN_MS}")));
        }
        // A request that names no tenant is not asked for a credential, so these options would have
        // no effect.
        if self.access != Access::Tenant {
            if self.auth.is_some_and(|auth| auth != Auth::None) {
                r.at("auth", |r| r.problem("a credential on a route without tenant", "no `auth`, or `access: tenant`"));
            }
            if !self.scopes.is_empty() {
                r.at("scopes", |r| r.problem("scopes on a route without tenant", "no scopes, or `access: tenant`"));
            }
        }
        r.at("scopes", |r| r.at_most(self.scopes.len(), MAX_SCOPES));
        for (index, method) in self.methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
                r.at("methods", |r| {
                    r.at_index(index, |r| r.unexpected::<()>(&Value::from(method.as_str()), "a method in upper case"))
                });
            }
        }
    }
}

/// Whether a path can equal a request's path in comparable form. A route with any other path would
/// never match and would protect nothing.
fn is_plain_path(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%' | b'\\' | b';'))
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
}

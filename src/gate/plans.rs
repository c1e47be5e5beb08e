//! A catalog, compiled: keys become numbers, rules become tests, routes become a search.

use rustc_hash::FxHashMap;

use super::cors::{CORS_HEADERS, policy};
use crate::flags::{FeatureSet, Grant, Tier, is_on};
use crate::identity::Issuers;
use crate::model::bounds::ORIGIN_MS;
use crate::model::{Access, Auth, Catalog, Cors, HeaderMode, Key, Limit, Origin, Plan, PlanRef, Problems, Scope};
use crate::resolve::{Request, Resolver, without_extension};

/// A compiled catalog. Immutable; shared by all that was made from it.
#[derive(Debug)]
pub struct CompiledCatalog {
    pub(super) catalog: Catalog,
    pub(super) resolver: Resolver,
    pub(super) issuers: Issuers,
    pub(super) features: FeatureSet,
    pub(super) limits: Vec<(Key, Limit)>,
    limit_ids: FxHashMap<Key, u32>,
    routes: Vec<CompiledRoute>,
    everywhere: CompiledRoute,
    /// CORS policies, by number.
    cors: Vec<Cors>,
    /// Headers that are read of a request.
    headers: Vec<String>,
    /// Which headers of a client the origin is given.
    origin_policy: String,
    /// What each plan grants, by the number of the feature: its tenants share the values.
    grants: FxHashMap<PlanRef, Vec<(usize, Grant)>>,
}

/// What a path needs and costs.
#[derive(Debug)]
pub(super) struct CompiledRoute {
    path: String,
    methods: Vec<String>,
    pub(super) access: Access,
    pub(super) auth: Auth,
    pub(super) scopes: Vec<Scope>,
    pub(super) act_for_descendants: bool,
    pub(super) feature: Option<u32>,
    pub(super) breaker: Option<u32>,
    /// The number of its CORS policy.
    pub(super) cors: Option<u32>,
    /// Milliseconds that the origin has.
    pub(super) timeout_ms: u64,
    /// Limits by number, with their cost.
    pub(super) costs: Vec<(u32, u64)>,
}

impl CompiledCatalog {
    /// What a path needs that no route of the catalog is for.
    pub(super) const fn everywhere(&self) -> &CompiledRoute {
        &self.everywhere
    }

    /// Parses and compiles a catalog.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Catalog::parse(text).map(Self::new)
    }

    /// Compiles a checked catalog.
    pub fn new(catalog: Catalog) -> Self {
        let features = FeatureSet::new(&catalog.features);
        let limit_ids: FxHashMap<Key, u32> = catalog.limits.keys().cloned().zip(0..).collect();
        let breaker_ids: FxHashMap<&Key, u32> = catalog.breakers.keys().zip(0..).collect();
        let cors_ids: FxHashMap<&Key, u32> = catalog.cors.keys().zip(0..).collect();
        let mut routes: Vec<_> = catalog
            .routes
            .iter()
            .enumerate()
            .map(|(place, route)| {
                let compiled = CompiledRoute {
                    path: route.path.trim_end_matches('/').to_owned(),
                    methods: route.methods.clone(),
                    access: route.access,
                    auth: catalog.auth(route),
                    scopes: route.scopes.clone(),
                    act_for_descendants: route.act_for_descendants,
                    breaker: route.breaker.as_ref().and_then(|key| breaker_ids.get(key).copied()),
                    cors: route.cors.as_ref().and_then(|key| cors_ids.get(key).copied()),
                    timeout_ms: route.timeout_ms.map_or(ORIGIN_MS, |given| given.0),
                    feature: route.feature.as_ref().and_then(|key| features.id(key.as_str())),
                    costs: route
                        .limits
                        .iter()
                        .filter_map(|(key, cost)| Some((limit_ids.get(key).copied()?, cost.0)))
                        .collect(),
                };
                (place, compiled)
            })
            .collect();
        // Longest path first; among equals, those that name methods before the one that takes all, in the catalog's order.
        routes.sort_unstable_by_key(|(place, route)| {
            (std::cmp::Reverse(route.path.len()), route.methods.is_empty(), *place)
        });
        let granted = |plan: &Plan| {
            let own = plan.features.0.iter().filter_map(|(key, value)| {
                let id = usize::try_from(features.id(key.as_str())?).ok()?;
                Some((id, Grant::new(value, Tier::Plan)))
            });
            own.collect()
        };
        let grants = catalog.plans.iter().map(|(plan, terms)| (plan.clone(), granted(terms))).collect();
        let resolver = Resolver::new(&catalog.resolution).with_own_segments(catalog.own_segments());
        let mut headers = resolver.headers().to_vec();
        for name in CORS_HEADERS.iter().filter(|_| !catalog.cors.is_empty()) {
            if !headers.iter().any(|known| known == name) {
                headers.push((*name).to_owned());
            }
        }
        Self {
            grants,
            resolver,
            headers,
            cors: catalog.cors.values().cloned().collect(),
            issuers: Issuers::new(&catalog),
            features,
            limits: catalog.limits.iter().map(|(key, limit)| (key.clone(), limit.clone())).collect(),
            everywhere: CompiledRoute {
                path: String::new(),
                methods: Vec::new(),
                access: Access::Tenant,
                // A path that no route names is as closed as one that says nothing.
                auth: if catalog.resolution.has_credentials() { Auth::Any } else { Auth::None },
                scopes: Vec::new(),
                act_for_descendants: false,
                feature: None,
                breaker: None,
                cors: None,
                timeout_ms: ORIGIN_MS,
                costs: Vec::new(),
            },
            limit_ids,
            origin_policy: catalog.origin.as_ref().map_or_else(|| HeaderMode::Safe.as_str().to_owned(), Origin::policy),
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            catalog,
        }
    }

    /// What a plan grants, by the number of the feature.
    pub(super) fn grants_of(&self, plan: &PlanRef) -> &[(usize, Grant)] {
        self.grants.get(plan).map_or(&[], Vec::as_slice)
    }

    /// Its features.
    pub const fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// The catalog it was made from.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How requests are resolved.
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The lower-case names of the headers that are read of a request.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// A CORS policy by its number in [`super::Decision::cors`].
    pub fn cors(&self, id: u32) -> Option<&Cors> {
        self.cors.get(usize::try_from(id).ok()?)
    }

    /// The number of the CORS policy of the route that a request leads to.
    pub fn policy_id(&self, request: &Request<'_>) -> Option<u32> {
        policy(self, request, request.method)
    }

    /// The CORS policy of the route that a request leads to.
    pub fn policy(&self, request: &Request<'_>) -> Option<&Cors> {
        self.cors(self.policy_id(request)?)
    }

    /// Whether routes have CORS policies.
    pub(super) const fn has_cors(&self) -> bool {
        !self.cors.is_empty()
    }

    /// Which headers of a client the origin is given, as [`Origin::policy`] says it.
    pub fn origin_policy(&self) -> &str {
        &self.origin_policy
    }

    /// Whose tokens are believed.
    pub const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The number of a feature, for [`super::Ask`].
    pub fn feature_id(&self, key: &str) -> Option<u32> {
        self.features.id(key)
    }

    /// The number of a limit, for [`super::Ask`].
    pub fn limit_id(&self, key: &str) -> Option<u32> {
        self.limit_ids.get(key).copied()
    }

    pub(super) fn limit(&self, id: u32) -> Option<&(Key, Limit)> {
        self.limits.get(usize::try_from(id).ok()?)
    }

    /// The route for a path in comparable form.
    pub(super) fn route(&self, method: &str, path: &str) -> &CompiledRoute {
        let method = if method.is_empty() { "GET" } else { method };
        self.routes.iter().find(|route| route.matches(method, path)).unwrap_or(&self.everywhere)
    }

    /// Whether `path`, in the form of [`crate::resolve::lenient_path`], leads to `route` when routes are compared as loosely.
    pub(super) fn is_route(&self, route: &CompiledRoute, method: &str, path: &str) -> bool {
        let method = if method.is_empty() { "GET" } else { method };
        let find = |path: &str| {
            self.routes.iter().find(|route| route.matches_loosely(method, path)).unwrap_or(&self.everywhere)
        };
        // A route that names the extension itself is meant as it stands.
        let without = without_extension(path).map_or(route, find);
        std::ptr::eq(find(path), route) && (std::ptr::eq(without, route) || without.path.len() < route.path.len())
    }

    /// Keys of plans that grant a feature, for people.
    pub(super) fn plans_with(&self, feature: &str) -> Vec<&str> {
        self.catalog
            .plans
            .iter()
            .filter(|(_, plan)| plan.features.0.get(feature).is_some_and(is_on))
            .map(|(key, _)| key.as_str())
            .collect()
    }
}

impl CompiledRoute {
    fn matches(&self, method: &str, path: &str) -> bool {
        is_above(&self.path, path) && self.takes(method)
    }

    fn matches_loosely(&self, method: &str, path: &str) -> bool {
        is_above(&self.path.to_lowercase(), path) && self.takes(method)
    }

    fn takes(&self, method: &str) -> bool {
        // HEAD asks for what GET would answer: what guards one guards the other.
        self.methods.is_empty()
            || self
                .methods
                .iter()
                .any(|own| own.eq_ignore_ascii_case(method) || own == "GET" && method.eq_ignore_ascii_case("HEAD"))
    }

    /// The path as it stands in the catalog.
    pub(super) fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }
}

/// Whether `path` is `prefix`, or below it by whole segments.
fn is_above(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

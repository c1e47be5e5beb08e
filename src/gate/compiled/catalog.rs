//! The catalog, compiled: keys become numbers, rules become tests, routes become a search.

use rustc_hash::FxHashMap;

use super::route::{CompiledRoute, RouteId};
use crate::flags::{FeatureSet, Grant, Tier, is_on};
use crate::identity::Issuers;
use crate::model::bounds::ORIGIN_MS;
use crate::model::{Access, Auth, Catalog, Cors, HeaderMode, Key, Limit, Origin, Plan, PlanRef, Problems, Route};
use crate::resolve::{Request, Resolver, Signals, without_extension};

/// The page's origin.
pub(in crate::gate) const CORS_ORIGIN: &str = "origin";
/// The method that a preflight asks for.
pub(in crate::gate) const CORS_REQUEST_METHOD: &str = "access-control-request-method";
/// The headers that the gate reads where a catalog has CORS policies.
const CORS_HEADERS: [&str; 3] = [CORS_ORIGIN, CORS_REQUEST_METHOD, "access-control-request-headers"];

/// A compiled catalog. Immutable; shared by everything that was compiled from it.
#[derive(Debug)]
pub struct CompiledCatalog {
    pub(in crate::gate) document: Catalog,
    pub(in crate::gate) resolver: Resolver,
    pub(in crate::gate) issuers: Issuers,
    pub(in crate::gate) features: FeatureSet,
    pub(in crate::gate) limits: Vec<(Key, Limit)>,
    limit_ids: FxHashMap<Key, u32>,
    /// Longest path first.
    routes: Vec<CompiledRoute>,
    /// The route of a path that no route of the catalog matches.
    fallback: CompiledRoute,
    /// The distinct `costs` of routes.
    cost_lists: Vec<Vec<(u32, u64)>>,
    /// CORS policies, by number.
    cors: Vec<Cors>,
    /// The request headers that the gate reads.
    headers: Vec<String>,
    /// The client headers that the origin receives, as [`Origin::policy`] writes it.
    origin_policy: String,
    /// The grants of each plan, by the number of the feature. Tenants of one plan share the values.
    grants: FxHashMap<PlanRef, Vec<(usize, Grant)>>,
}

impl CompiledCatalog {
    /// Parses and compiles a catalog.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Catalog::parse(text).map(Self::new)
    }

    /// Compiles a checked catalog.
    pub fn new(document: Catalog) -> Self {
        let features = FeatureSet::new(&document.features);
        let limit_ids: FxHashMap<Key, u32> = document.limits.keys().cloned().zip(0..).collect();
        let resolver = Resolver::new(&document.resolution).with_own_segments(document.own_segments());
        let mut cost_lists = Vec::new();
        let (routes, fallback) = routes(&document, &features, &limit_ids, &mut cost_lists);
        Self {
            grants: document.plans.iter().map(|(key, plan)| (key.clone(), grants(plan, &features))).collect(),
            headers: headers(&document, &resolver),
            cors: document.cors.values().cloned().collect(),
            issuers: Issuers::new(&document),
            limits: document.limits.iter().map(|(key, limit)| (key.clone(), limit.clone())).collect(),
            origin_policy: document
                .origin
                .as_ref()
                .map_or_else(|| HeaderMode::Safe.as_str().to_owned(), Origin::policy),
            resolver,
            features,
            limit_ids,
            routes,
            fallback,
            cost_lists,
            document,
        }
    }

    /// The document that it was compiled from.
    pub const fn document(&self) -> &Catalog {
        &self.document
    }

    /// How requests are resolved.
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The issuers whose tokens are accepted.
    pub const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The features.
    pub const fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// The number of a feature.
    pub fn feature_id(&self, key: &str) -> Option<u32> {
        self.features.id(key)
    }

    /// The number of a limit.
    pub fn limit_id(&self, key: &str) -> Option<u32> {
        self.limit_ids.get(key).copied()
    }

    pub(in crate::gate) fn limit(&self, id: u32) -> Option<&(Key, Limit)> {
        self.limits.get(usize::try_from(id).ok()?)
    }

    /// The features that a plan grants, by number.
    pub(in crate::gate) fn grants_of(&self, plan: &PlanRef) -> &[(usize, Grant)] {
        self.grants.get(plan).map_or(&[], Vec::as_slice)
    }

    /// The keys of the plans that grant a feature, for explanations.
    pub(in crate::gate) fn plans_with(&self, feature: &str) -> Vec<&str> {
        let grants = |plan: &Plan| plan.features.0.get(feature).is_some_and(is_on);
        self.document.plans.iter().filter(|(_, plan)| grants(plan)).map(|(key, _)| key.as_str()).collect()
    }

    /// The lower-case names of the request headers that the gate reads.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The client headers that the origin receives, as [`Origin::policy`] writes it.
    pub fn origin_policy(&self) -> &str {
        &self.origin_policy
    }

    pub(in crate::gate) fn cost_lists(&self) -> &[Vec<(u32, u64)>] {
        &self.cost_lists
    }

    /// The CORS policy of a route.
    pub fn cors(&self, route: RouteId) -> Option<&Cors> {
        self.cors.get(usize::try_from(self.route_by_id(route).cors?).ok()?)
    }

    /// The milliseconds that the origin has for the head of its response to a request of this
    /// route.
    pub fn timeout_ms(&self, route: RouteId) -> u64 {
        self.route_by_id(route).timeout_ms
    }

    /// Whether any route has a CORS policy.
    pub(in crate::gate) const fn has_cors(&self) -> bool {
        !self.cors.is_empty()
    }

    /// The CORS policy of the route that a request takes.
    pub fn policy(&self, request: &Request<'_>) -> Option<&Cors> {
        self.cors(self.cors_route(request, request.method)?)
    }

    /// The route that a request takes with `method`, found by path alone. `None` means that no
    /// route has a CORS policy, or the path cannot be read.
    pub fn cors_route(&self, request: &Request<'_>, method: &str) -> Option<RouteId> {
        if !self.has_cors() {
            return None;
        }
        let mut signals = Signals::default();
        self.resolver.skip(request, &mut signals).ok()?;
        Some(self.route(method, &signals.route_path()).id)
    }

    /// The route of a path in comparable form.
    pub(in crate::gate) fn route(&self, method: &str, path: &str) -> &CompiledRoute {
        let method = if method.is_empty() { "GET" } else { method };
        self.routes.iter().find(|route| route.matches(method, path)).unwrap_or(&self.fallback)
    }

    /// The route of a path that no route of the catalog matches.
    pub(in crate::gate) const fn fallback_route(&self) -> &CompiledRoute {
        &self.fallback
    }

    fn route_by_id(&self, route: RouteId) -> &CompiledRoute {
        let index = usize::try_from(route.0).unwrap_or(usize::MAX);
        self.routes.get(index).unwrap_or(&self.fallback)
    }

    /// Whether `path`, in the form of [`crate::resolve::lenient_path`], takes `route` when routes
    /// are compared as leniently.
    pub(in crate::gate) fn is_route(&self, route: &CompiledRoute, method: &str, path: &str) -> bool {
        let method = if method.is_empty() { "GET" } else { method };
        let find = |path: &str| {
            let found = self.routes.iter().find(|route| route.matches_leniently(method, path));
            found.unwrap_or(&self.fallback)
        };
        // A route that names the extension itself is meant as it stands.
        let without = without_extension(path).map_or(route, find);
        let shorter = without.path.len() < route.path.len();
        find(path).id == route.id && (without.id == route.id || shorter)
    }
}

/// The routes in the order of the search, and the route of all other paths.
fn routes(
    document: &Catalog,
    features: &FeatureSet,
    limit_ids: &FxHashMap<Key, u32>,
    cost_lists: &mut Vec<Vec<(u32, u64)>>,
) -> (Vec<CompiledRoute>, CompiledRoute) {
    let breaker_ids: FxHashMap<&Key, u32> = document.breakers.keys().zip(0..).collect();
    let cors_ids: FxHashMap<&Key, u32> = document.cors.keys().zip(0..).collect();
    let mut compile = |route: &Route| {
        let cost = |(key, cost): (&Key, &crate::model::Quantity)| Some((*limit_ids.get(key)?, cost.0));
        let costs: Vec<_> = route.limits.iter().filter_map(cost).collect();
        CompiledRoute {
            id: RouteId(0),
            path: route.path.trim_end_matches('/').to_owned(),
            methods: route.methods.clone(),
            access: route.access,
            auth: document.auth(route),
            scopes: route.scopes.clone(),
            act_for_descendants: route.act_for_descendants,
            breaker: route.breaker.as_ref().and_then(|key| breaker_ids.get(key).copied()),
            cors: route.cors.as_ref().and_then(|key| cors_ids.get(key).copied()),
            timeout_ms: route.timeout_ms.map_or(ORIGIN_MS, |given| given.0),
            feature: route.feature.as_ref().and_then(|key| features.id(key.as_str())),
            cost_list: number_of(&costs, cost_lists),
            costs,
        }
    };
    let mut routes: Vec<_> = document.routes.iter().map(&mut compile).enumerate().collect();
    // Longest path first. Of equal paths, those that name methods come before the one that takes
    // all methods; otherwise the catalog's order decides.
    routes
        .sort_unstable_by_key(|(place, route)| (std::cmp::Reverse(route.path.len()), route.methods.is_empty(), *place));
    let routes: Vec<_> =
        routes.into_iter().zip(0..).map(|((_, route), id)| CompiledRoute { id: RouteId(id), ..route }).collect();
    let fallback = CompiledRoute {
        id: RouteId(u32::MAX),
        path: String::new(),
        methods: Vec::new(),
        access: Access::Tenant,
        // A path without a route is as closed as a route that does not mention credentials.
        auth: if document.resolution.has_credentials() { Auth::Any } else { Auth::None },
        scopes: Vec::new(),
        act_for_descendants: false,
        feature: None,
        breaker: None,
        cors: None,
        timeout_ms: ORIGIN_MS,
        cost_list: number_of(&Vec::new(), cost_lists),
        costs: Vec::new(),
    };
    (routes, fallback)
}

/// The number of `costs` among `lists`, added to them if it is new.
fn number_of(costs: &Vec<(u32, u64)>, lists: &mut Vec<Vec<(u32, u64)>>) -> usize {
    lists.iter().position(|known| known == costs).unwrap_or_else(|| {
        lists.push(costs.clone());
        lists.len().saturating_sub(1)
    })
}

fn grants(plan: &Plan, features: &FeatureSet) -> Vec<(usize, Grant)> {
    let grant = |(key, value)| {
        let key: &Key = key;
        Some((usize::try_from(features.id(key.as_str())?).ok()?, Grant::new(value, Tier::Plan)))
    };
    plan.features.0.iter().filter_map(grant).collect()
}

fn headers(document: &Catalog, resolver: &Resolver) -> Vec<String> {
    let mut headers = resolver.headers().to_vec();
    for name in CORS_HEADERS.iter().filter(|_| !document.cors.is_empty()) {
        if !headers.iter().any(|known| known == name) {
            headers.push((*name).to_owned());
        }
    }
    headers
}

//! A catalog, compiled: keys become numbers, rules become tests, routes become a search.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::rules::CompiledRule;
use crate::identity::Issuers;
use crate::model::{Access, Auth, Catalog, Key, Limit, Problems, Scope};
use crate::resolve::{Resolver, without_extension};

/// A compiled catalog. Immutable; shared by all that was made from it.
#[derive(Debug)]
pub struct Plans {
    pub(super) catalog: Catalog,
    pub(super) resolver: Resolver,
    pub(super) issuers: Issuers,
    pub(super) features: Vec<CompiledFeature>,
    pub(super) limits: Vec<(Key, Limit)>,
    feature_ids: FxHashMap<Key, u32>,
    limit_ids: FxHashMap<Key, u32>,
    routes: Vec<CompiledRoute>,
    everywhere: CompiledRoute,
}

#[derive(Debug)]
pub(super) struct CompiledFeature {
    pub(super) id: u32,
    pub(super) key: Key,
    pub(super) kill: bool,
    pub(super) default: Arc<Value>,
    /// What it is worth when it is off: false for booleans, the default for others.
    pub(super) off: Arc<Value>,
    /// Everything it requires, directly or by way of others.
    pub(super) requires: Vec<u32>,
    pub(super) rules: Vec<CompiledRule>,
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
    /// Limits by number, with their cost.
    pub(super) costs: Vec<(u32, u64)>,
}

impl Plans {
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
        let feature_ids: FxHashMap<Key, u32> = catalog.features.keys().cloned().zip(0..).collect();
        let limit_ids: FxHashMap<Key, u32> = catalog.limits.keys().cloned().zip(0..).collect();
        let breaker_ids: FxHashMap<&Key, u32> = catalog.breakers.keys().zip(0..).collect();
        let features = catalog.features.iter().zip(0..).map(|((key, feature), id)| {
            let default = Arc::new(feature.default_value());
            CompiledFeature {
                id,
                key: key.clone(),
                kill: feature.kill,
                off: if default.is_boolean() { Arc::new(Value::Bool(false)) } else { Arc::clone(&default) },
                default,
                requires: all_required(&catalog, key).iter().filter_map(|key| feature_ids.get(*key).copied()).collect(),
                rules: feature.rules.iter().map(|rule| CompiledRule::new(rule, key, feature)).collect(),
            }
        });
        let mut routes: Vec<_> = catalog
            .routes
            .iter()
            .map(|route| CompiledRoute {
                path: route.path.trim_end_matches('/').to_owned(),
                methods: route.methods.clone(),
                access: route.access,
                auth: catalog.auth(route),
                scopes: route.scopes.clone(),
                act_for_descendants: route.act_for_descendants,
                breaker: route.breaker.as_ref().and_then(|key| breaker_ids.get(key).copied()),
                feature: route.feature.as_ref().and_then(|key| feature_ids.get(key).copied()),
                costs: route
                    .limits
                    .iter()
                    .filter_map(|(key, cost)| Some((limit_ids.get(key).copied()?, cost.0)))
                    .collect(),
            })
            .collect();
        // Longest path first; among equals, those that name methods before the one that takes all.
        routes.sort_by_key(|route| (std::cmp::Reverse(route.path.len()), route.methods.is_empty()));
        Self {
            resolver: Resolver::new(&catalog.resolution),
            issuers: Issuers::new(&catalog),
            features: features.collect(),
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
                costs: Vec::new(),
            },
            feature_ids,
            limit_ids,
            routes,
            catalog,
        }
    }

    /// Names of the context attributes that rules read; others change nothing.
    pub fn attributes(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.features.iter().flat_map(|feature| &feature.rules).flat_map(CompiledRule::attributes).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The catalog it was made from.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How requests are resolved.
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Whose tokens are believed.
    pub const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The number of a feature, for [`super::Ask`].
    pub fn feature_id(&self, key: &str) -> Option<u32> {
        self.feature_ids.get(key).copied()
    }

    /// The number of a limit, for [`super::Ask`].
    pub fn limit_id(&self, key: &str) -> Option<u32> {
        self.limit_ids.get(key).copied()
    }

    pub(super) fn feature(&self, id: u32) -> Option<&CompiledFeature> {
        self.features.get(usize::try_from(id).ok()?)
    }

    pub(super) fn limit(&self, id: u32) -> Option<&(Key, Limit)> {
        self.limits.get(usize::try_from(id).ok()?)
    }

    /// The route for a path in comparable form.
    pub(super) fn route(&self, method: &str, path: &str) -> &CompiledRoute {
        let method = if method.is_empty() { "GET" } else { method };
        self.routes.iter().find(|route| route.matches(method, path)).unwrap_or(&self.everywhere)
    }

    /// Whether `path`, in the form of [`crate::resolve::loose_path`], leads to `route` when routes are compared as loosely.
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
        let grants = |value: &Value| super::features::is_on(value);
        self.catalog
            .plans
            .iter()
            .filter(|(_, plan)| plan.features.0.get(feature).is_some_and(grants))
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

/// Everything that `key` requires, itself excluded, each once.
fn all_required<'a>(catalog: &'a Catalog, key: &'a Key) -> Vec<&'a Key> {
    let direct = |key| catalog.features.get(key).into_iter().flat_map(|feature| &feature.requires);
    let mut all: Vec<&Key> = Vec::new();
    let mut open: Vec<&Key> = direct(key).collect();
    while let Some(next) = open.pop() {
        if !all.contains(&next) {
            all.push(next);
            open.extend(direct(next));
        }
    }
    all
}

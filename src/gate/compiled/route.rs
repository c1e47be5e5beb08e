//! A route of the catalog, compiled, and how paths match it.

use crate::model::{Access, Auth, Scope};

/// The number of a route in one compiled catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId(pub(super) u32);

/// The requirements and costs of requests to a path.
#[derive(Debug)]
pub struct CompiledRoute {
    pub(in crate::gate) id: RouteId,
    /// Without the trailing slash, so that `/` is empty.
    pub(super) path: String,
    pub(super) methods: Vec<String>,
    pub(in crate::gate) access: Access,
    pub(in crate::gate) auth: Auth,
    pub(in crate::gate) scopes: Vec<Scope>,
    pub(in crate::gate) act_for_descendants: bool,
    pub(in crate::gate) feature: Option<u32>,
    pub(in crate::gate) breaker: Option<u32>,
    /// The number of its CORS policy.
    pub(super) cors: Option<u32>,
    /// The milliseconds that the origin has for the head of its response.
    pub(super) timeout_ms: u64,
    /// Limits by number, with the cost.
    pub(in crate::gate) costs: Vec<(u32, u64)>,
    /// The number of `costs` among the distinct lists of the catalog; see
    /// [`super::Entitlements::charge_plan`].
    pub(in crate::gate) cost_list: usize,
}

impl CompiledRoute {
    /// The path as it stands in the catalog.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        is_above(&self.path, path) && self.takes(method)
    }

    pub(super) fn matches_leniently(&self, method: &str, path: &str) -> bool {
        is_above(&self.path.to_lowercase(), path) && self.takes(method)
    }

    fn takes(&self, method: &str) -> bool {
        // HEAD returns the headers of GET, so a route for GET also guards HEAD.
        let is_named =
            |own: &String| own.eq_ignore_ascii_case(method) || own == "GET" && method.eq_ignore_ascii_case("HEAD");
        self.methods.is_empty() || self.methods.iter().any(is_named)
    }
}

/// Whether `path` is `prefix`, or below it by whole segments.
fn is_above(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

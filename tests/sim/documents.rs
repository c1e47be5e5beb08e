//! The catalog and the tenant records of a world.

use serde_json::{Value, json};
use tenantgate::model::{TenantId, UnixMillis};

use crate::common::driver::Driver;
use crate::options::Options;
use crate::time::START;

/// The longest that a request in flight holds its slot, in milliseconds.
pub const FLIGHT_MS: u64 = 10_000;
/// Units a month that the strict quota allows.
pub const STRICT_QUOTA: u64 = 500;

/// The current records of a family, and the largest quota that they have had.
#[derive(Debug)]
pub struct Records {
    pub epoch: u64,
    /// The root's quota.
    pub quota: u64,
    /// The largest quota that the root has had.
    pub largest_quota: u64,
}

impl Records {
    pub const fn new(quota: u64) -> Self {
        Self { epoch: 1, quota, largest_quota: quota }
    }

    /// Publishes a new quota of the root.
    pub fn change(&mut self, quota: u64) {
        self.epoch += 1;
        self.quota = quota;
        self.largest_quota = self.largest_quota.max(quota);
    }

    /// Puts the documents of a family into a gate.
    pub fn put_into(&self, gate: &mut Driver, options: &Options, family: u64, now: UnixMillis) {
        gate.put_catalog(&catalog(options).to_string(), now);
        for record in self.tenants(options, family) {
            gate.put_tenant(&record.to_string(), now);
        }
    }

    /// Each epoch has other billing anchors, within a month that lasts longer than the world.
    fn tenants(&self, options: &Options, family: u64) -> Vec<Value> {
        let days = |salt: u64| 1 + (self.epoch * 7 + salt) % 25;
        let anchor = |salt: u64| UnixMillis::new(START - days(salt) * 86_400_000);
        let root = json!({
            "id": root(family), "slug": slug(family, 0), "plan": "p@1", "epoch": self.epoch,
            "billing_anchor": anchor(0),
            "overrides": [{ "limit": "month", "allowance": self.quota }],
        });
        let child = |i| {
            json!({
                "id": id(family, i + 1), "slug": slug(family, i + 1), "parent": root["id"],
                "billing_anchor": anchor(i * 3),
                "overrides": [{ "limit": "month", "allowance": options.child_quota }],
            })
        };
        std::iter::once(root.clone()).chain((0..options.children).map(child)).collect()
    }
}

/// Returns the id of a family's root.
pub fn root(family: u64) -> TenantId {
    TenantId::parse(&id(family, 0)).unwrap()
}

/// Returns the id of a tenant of a family. 0 is the root.
pub fn id(family: u64, tenant: u64) -> String {
    if tenant == 0 { format!("t_{family}") } else { format!("t_{family}_{}", tenant - 1) }
}

/// Returns the slug of a tenant of a family. 0 is the root.
pub fn slug(family: u64, tenant: u64) -> String {
    if tenant == 0 { format!("f{family}") } else { format!("f{family}-{}", tenant - 1) }
}

/// Returns the counter of a tenant's limit. 0 is the root.
pub fn counter(family: u64, tenant: u64, limit: &str) -> String {
    format!("{}/{limit}", id(family, tenant))
}

fn catalog(options: &Options) -> Value {
    let strict = |on_error: &str, default: Value| {
        let [kind, period, mode] = ["quota", "month", "strict"];
        json!({ "kind": kind, "period": period, "mode": mode, "on_error": on_error, "default": default })
    };
    json!({
        "version": 1,
        "resolution": { "strategies": [{ "strategy": "header" }] },
        "routes": [
            { "path": "/quota", "limits": { "month": 1 } },
            { "path": "/rate", "limits": { "speed": 1 } },
            { "path": "/both", "limits": { "month": 1, "speed": 1 } },
            { "path": "/strict", "limits": { "month": 1, "exact": 1 } },
            { "path": "/window", "limits": { "recent": 1 } },
            { "path": "/flight", "limits": { "flights": 1 } },
            { "path": "/taxed", "limits": { "speed": 1, "taxes": 1 } },
        ],
        "limits": {
            "month": { "kind": "quota", "period": "month" },
            "speed": { "kind": "rate", "window_ms": options.rate_window_ms },
            "recent": { "kind": "window", "window_ms": options.window_ms },
            "flights": { "kind": "concurrency", "on_error": "closed", "max_duration_ms": FLIGHT_MS },
            "exact": strict("open", json!(STRICT_QUOTA)),
            "taxes": strict("open", json!("unlimited")),
            "orders": strict("closed", json!("unlimited")),
            "jobs": strict("closed", json!("unlimited")),
        },
        "metrics": { "tokens": { "event": "tokens" } },
        "plans": { "p@1": { "limits": {
            "month": options.quota,
            "speed": { "limit": options.rate_limit, "burst": options.rate_burst },
            "recent": options.window_limit,
            "flights": options.slots,
        } } },
    })
}

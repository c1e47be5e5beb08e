//! Data routes: where a tenant's data is stored, so that the origin can find it.
//!
//! The gate chooses the route once, when it creates the tenant, and stores it in the tenant's
//! record. A shard that is added later therefore never makes an origin look for existing data in a
//! new place.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Key, TenantId, choice, document};

choice! {
    /// How a tenant's data is isolated from other tenants' data.
    pub enum Isolation {
        /// Shared tables; rows carry the tenant's id.
        Shared = "shared",
        /// A separate schema in a shared database.
        Schema = "schema",
        /// A separate database.
        Database = "database",
        /// Shared tables, plus a separate database for data that must not be shared.
        Hybrid = "hybrid",
    }
}

document! {
    /// Where a tenant's data is stored, as requested in its record.
    pub struct DataRoute {
        /// How the data is isolated. Default `shared`.
        strategy: Isolation = Isolation::Shared,
        /// The shard. Default: chosen when the tenant is created. Naming a shard pins the tenant to
        /// it.
        shard: Option<Key> = None,
        /// The schema or database. Default: derived from the tenant's id, except for `shared`.
        name: Option<Key> = None,
    }
}

document! {
    /// A shard: a place that stores tenant data.
    pub struct Shard {
        /// The shard's region. Tenants with a `region` are placed on shards in that region.
        region: Option<String> = None,
        /// Whether the shard accepts no new tenants. Default false.
        closed: bool = false,
        /// Its read replicas. Only requests that read are told of them.
        replicas: Vec<Key> = Vec::new(),
    }
}

/// The complete data route that the gate passes to the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettledRoute {
    /// How the data is isolated.
    pub strategy: Isolation,
    /// The shard, if the catalog has shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The schema or database, except for `shared`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl DataRoute {
    /// Chooses a data route for a tenant. Returns `None` if no open shard is in the tenant's
    /// region.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::{DataRoute, TenantId};
    /// let tenant = TenantId::parse("t_acme").unwrap();
    /// let route = DataRoute::settle(None, &tenant, None, &Default::default()).unwrap();
    /// assert_eq!(serde_json::to_string(&route).unwrap(), r#"{"strategy":"shared"}"#);
    /// ```
    pub fn settle(
        requested: Option<&Self>,
        tenant: &TenantId,
        region: Option<&str>,
        shards: &BTreeMap<Key, Shard>,
    ) -> Option<SettledRoute> {
        let strategy = requested.map_or(Isolation::Shared, |requested| requested.strategy);
        let pinned = requested.and_then(|requested| requested.shard.clone());
        let shard = match pinned {
            Some(shard) => Some(shard.to_string()),
            None if shards.is_empty() => None,
            None => Some(
                rendezvous(
                    tenant,
                    shards
                        .iter()
                        .filter(|(_, shard)| !shard.closed && (region.is_none() || shard.region.as_deref() == region)),
                )?
                .to_string(),
            ),
        };
        let own = (strategy != Isolation::Shared).then(|| {
            let requested = requested.and_then(|requested| requested.name.as_ref()).map(ToString::to_string);
            requested.unwrap_or_else(|| format!("tenant_{}", tenant.as_str().to_ascii_lowercase().replace('-', "_")))
        });
        Some(SettledRoute { strategy, shard, name: own })
    }
}

/// Rendezvous hashing (Thaler and Ravishankar 1998): the shard with the highest weight for this
/// tenant. Adding or closing a shard moves only the tenants that the shard wins or had.
fn rendezvous<'a>(tenant: &TenantId, shards: impl Iterator<Item = (&'a Key, &'a Shard)>) -> Option<&'a Key> {
    shards.map(|(key, _)| key).max_by_key(|key| <[u8; 32]>::from(Sha256::digest(format!("{key}\n{tenant}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(names: &[&str]) -> BTreeMap<Key, Shard> {
        names
            .iter()
            .map(|name| (Key::parse(name).unwrap(), Shard { region: None, closed: false, replicas: Vec::new() }))
            .collect()
    }

    fn route(tenant: u32, shards: &BTreeMap<Key, Shard>) -> String {
        let tenant = TenantId::parse(&format!("t_{tenant}")).unwrap();
        DataRoute::settle(None, &tenant, None, shards).unwrap().shard.unwrap()
    }

    #[test]
    fn tenants_spread_evenly_and_a_new_shard_moves_only_its_own_tenants() {
        let (four, five) = (shards(&["a", "b", "c", "d"]), shards(&["a", "b", "c", "d", "e"]));
        let mut counts = BTreeMap::new();
        let mut moved = 0;
        for tenant in 0..4_000 {
            let (before, after) = (route(tenant, &four), route(tenant, &five));
            *counts.entry(before.clone()).or_insert(0) += 1;
            if before != after {
                assert_eq!(after, "e");
                moved += 1;
            }
        }
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert!((650..950).contains(&moved), "{moved}");
    }

    #[test]
    fn a_pinned_shard_wins_over_the_region() {
        let mut all = shards(&["eu-1", "us-1", "us-2"]);
        for (key, shard) in &mut all {
            shard.region = key.as_str().get(..2).map(String::from);
        }
        let tenant = TenantId::parse("T-9").unwrap();
        let settle = |requested: Option<&DataRoute>, region| DataRoute::settle(requested, &tenant, region, &all);
        assert_eq!(settle(None, Some("eu")).unwrap().shard.as_deref(), Some("eu-1"));
        assert_eq!(settle(None, Some("ap")), None);
        let pinned = DataRoute { strategy: Isolation::Schema, shard: Key::parse("us-2"), name: None };
        let settled = settle(Some(&pinned), Some("eu")).unwrap();
        assert_eq!((settled.shard.as_deref(), settled.name.as_deref()), (Some("us-2"), Some("tenant_t_9")));
    }
}

//! Where a tenant's data lives, so that its origin finds it.
//!
//! The route is settled once, when the tenant is set up, and stands in its record: a shard that is added later must not make
//! an origin look for old data in a new place.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Key, TenantId, choice, document};

choice! {
    /// How a tenant's data is kept apart.
    pub enum Isolation {
        /// Shared tables, told apart by the tenant's id.
        Shared = "shared",
        /// A schema of its own in a shared database.
        Schema = "schema",
        /// A database of its own.
        Database = "database",
        /// Shared tables, and a database of its own for what must not be shared.
        Hybrid = "hybrid",
    }
}

document! {
    /// Where a tenant's data lives.
    pub struct DataRoute {
        /// How it is kept apart. Default `shared`.
        strategy: Isolation = Isolation::Shared,
        /// The shard. Default: chosen when the tenant is set up. Naming one pins the tenant to it.
        shard: Option<Key> = None,
        /// The schema or database. Default: made of the tenant's id, except where all is shared.
        name: Option<Key> = None,
    }
}

document! {
    /// A place that holds data of tenants.
    pub struct Shard {
        /// Where it stands; tenants with a `region` go to shards of theirs.
        region: Option<String> = None,
        /// Takes no new tenants. Default false.
        closed: bool = false,
    }
}

/// A route as it is handed to the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettledRoute {
    /// How the data is kept apart.
    pub strategy: Isolation,
    /// The shard, where the catalog has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The schema or database, except where all is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl DataRoute {
    /// Settles a route for a tenant. `None`: no open shard stands in its region.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::{DataRoute, TenantId};
    /// let route = DataRoute::settle(None, &TenantId::parse("t_acme").unwrap(), None, &Default::default()).unwrap();
    /// assert_eq!(serde_json::to_string(&route).unwrap(), r#"{"strategy":"shared"}"#);
    /// ```
    pub fn settle(
        asked: Option<&Self>,
        tenant: &TenantId,
        region: Option<&str>,
        shards: &BTreeMap<Key, Shard>,
    ) -> Option<SettledRoute> {
        let strategy = asked.map_or(Isolation::Shared, |asked| asked.strategy);
        let pinned = asked.and_then(|asked| asked.shard.clone());
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
            let asked = asked.and_then(|asked| asked.name.as_ref()).map(ToString::to_string);
            asked.unwrap_or_else(|| format!("tenant_{}", tenant.as_str().to_ascii_lowercase().replace('-', "_")))
        });
        Some(SettledRoute { strategy, shard, name: own })
    }
}

/// The shard with the highest weight for this tenant (Thaler and Ravishankar 1998): one that is added or closed moves only
/// those tenants that it wins or had.
fn rendezvous<'a>(tenant: &TenantId, shards: impl Iterator<Item = (&'a Key, &'a Shard)>) -> Option<&'a Key> {
    shards.map(|(key, _)| key).max_by_key(|key| <[u8; 32]>::from(Sha256::digest(format!("{key}\n{tenant}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(names: &[&str]) -> BTreeMap<Key, Shard> {
        names.iter().map(|name| (Key::parse(name).unwrap(), Shard { region: None, closed: false })).collect()
    }

    fn route(tenant: u32, shards: &BTreeMap<Key, Shard>) -> String {
        let tenant = TenantId::parse(&format!("t_{tenant}")).unwrap();
        DataRoute::settle(None, &tenant, None, shards).unwrap().shard.unwrap()
    }

    #[test]
    fn shards_share_tenants_evenly_and_a_new_one_takes_only_its_own() {
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
    fn a_pin_wins_and_a_region_is_kept() {
        let mut all = shards(&["eu-1", "us-1", "us-2"]);
        for (key, shard) in &mut all {
            shard.region = key.as_str().get(..2).map(String::from);
        }
        let tenant = TenantId::parse("T-9").unwrap();
        let settle = |asked: Option<&DataRoute>, region| DataRoute::settle(asked, &tenant, region, &all);
        assert_eq!(settle(None, Some("eu")).unwrap().shard.as_deref(), Some("eu-1"));
        assert_eq!(settle(None, Some("ap")), None);
        let pinned = DataRoute { strategy: Isolation::Schema, shard: Key::parse("us-2"), name: None };
        let settled = settle(Some(&pinned), Some("eu")).unwrap();
        assert_eq!((settled.shard.as_deref(), settled.name.as_deref()), (Some("us-2"), Some("tenant_t_9")));
    }
}

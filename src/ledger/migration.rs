//! Migrations between families: a tenant and its descendants leave one ledger and arrive at another
//! with their counts.
//!
//! Leaving freezes the tenants: leases on their counters end as spent, their holds end as free, and
//! the ledger refuses every later request that concerns them. Leaving can therefore be repeated and
//! returns the same snapshot each time, until the snapshot has arrived. Units that the tenants used
//! of their ancestors' quotas stay used there. Gauge levels move along, because seats and stored
//! bytes do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CircuitBreaker, Counter, QuotaPeriod, Series, Tally};

/// The tenants that leave or arrive, and their ancestors on that side.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The tenant and its descendants, each with its parent among them. The tenant itself has none.
    pub tenants: BTreeMap<String, Option<String>>,
    /// The tenant's ancestors in the family that it leaves or joins.
    #[serde(rename = "above")]
    pub ancestors: Vec<String>,
}

/// The counts that tenants take along.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferSnapshot {
    /// Counters by name.
    pub counters: BTreeMap<String, Counter>,
    /// Breakers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BTreeMap<String, CircuitBreaker>,
    /// Usage buckets by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tallies: BTreeMap<String, Tally>,
    /// Recorded periods of metrics, by tenant and metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Series>,
    /// Quota periods that have ended, by storage name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<(String, QuotaPeriod)>,
    /// Distinct values of the buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distinct: Vec<String>,
}

impl Migration {
    pub(super) fn has(&self, name: &str) -> bool {
        self.tenants.keys().any(|tenant| belongs(name, tenant))
    }

    /// Whether no migrating ancestor of the tenant has a level for this limit. Such an ancestor's
    /// level already includes the tenant's.
    pub(super) fn is_topmost(&self, tenant: &str, limit: &str, transfer: &TransferSnapshot) -> bool {
        let parent_of = |tenant: &str| self.tenants.get(tenant).and_then(Option::as_deref);
        // Bounds the walk: a line is never longer than the number of tenants.
        let above = std::iter::successors(parent_of(tenant), |tenant| parent_of(tenant)).take(self.tenants.len());
        !above.into_iter().any(|above| transfer.counters.contains_key(&format!("{above}{limit}")))
    }
}

/// Whether a counter, bucket or breaker belongs to a tenant.
fn belongs(name: &str, tenant: &str) -> bool {
    name.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('/'))
}

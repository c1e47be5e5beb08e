//! The client snapshot: the features of one tenant that its pages may know.
//!
//! The gate decides everything that depends on the tenant alone. Answers that depend on the visitor
//! remain rules, which the page evaluates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::bounds::MAX_CLIENT_SNAPSHOT_BYTES;
use super::{Epoch, Feature, Key, PlanRef, Problems, Read, Reader, Slug, TenantId, UnixMillis, choice, document};

document! {
    /// The features of one tenant that its pages may know.
    pub struct ClientSnapshot {
        /// The tenant.
        tenant: ClientTenant,
        /// The catalog's version.
        catalog: Epoch,
        /// The tenant record's epoch.
        epoch: Epoch,
        /// Whether a credential named the tenant. The snapshot then belongs to that caller alone,
        /// and must not be given to another caller at the same URL. Default false.
        by_credential: bool = false,
        /// The time (RFC 3339) of the tenant's next change by date: a trial, a contract or an
        /// override that starts or ends. Absent if no such change is known.
        valid_until: Option<UnixMillis> = None,
        /// Features with the same answer for every visitor.
        settled: BTreeMap<Key, Settled> = BTreeMap::new(),
        /// Features whose answer depends on the context.
        features: BTreeMap<Key, Feature> = BTreeMap::new(),
    }
}

document! {
    /// A tenant, as its own pages know it.
    pub struct ClientTenant {
        /// The tenant's id.
        id: TenantId,
        /// The tenant's slug.
        slug: Slug,
        /// The plan that is in force.
        plan: Option<PlanRef> = None,
        /// The tenant's region.
        region: Option<String> = None,
    }
}

choice! {
    /// The tier that decided a feature's answer.
    pub enum SettledTier {
        /// The kill switch.
        Kill = "kill",
        /// An override.
        Override = "override",
        /// An add-on.
        Addon = "addon",
        /// A contract.
        Contract = "contract",
        /// The plan.
        Plan = "plan",
        /// The global default.
        Default = "default",
    }
}

document! {
    /// The answer of a feature that has the same answer for every visitor.
    pub struct Settled {
        /// The value.
        value: Value,
        /// Whether the tenant has the feature.
        enabled: bool,
        /// The tier that decided.
        tier: SettledTier,
        /// The reason.
        reason: String,
        /// The rule that decided.
        rule: Option<Key> = None,
        /// The variant served.
        variant: Option<Key> = None,
    }
}

impl ClientSnapshot {
    /// Parses and checks a snapshot. Members that a later version of the gate adds are ignored.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run_leniently(|r| {
            let value = r.json(text, MAX_CLIENT_SNAPSHOT_BYTES)?;
            Self::read(&value, r)
        })
    }
}

//! What a page may know of its tenant's features: everything that depends on the tenant is decided, what depends on who looks
//! at the page is left as rules.

use std::collections::BTreeMap;

use serde_json::Value;

use super::bounds::MAX_CLIENT_SNAPSHOT_BYTES;
use super::{Epoch, Feature, Key, PlanRef, Problems, Read, Reader, Slug, TenantId, UnixMillis, choice, document};

document! {
    /// The features of one tenant that a page may know.
    pub struct ClientSnapshot {
        /// The tenant.
        tenant: ClientTenant,
        /// The catalog's version.
        catalog: Epoch,
        /// The tenant record's epoch.
        epoch: Epoch,
        /// Whether it was told to whom a credential named: then it is that caller's alone, not whoever's comes by the same address
        /// next. Default false.
        by_credential: bool = false,
        /// When something dated of the tenant changes next (RFC 3339). Absent: nothing does.
        valid_until: Option<UnixMillis> = None,
        /// Features with one answer, whoever asks.
        settled: BTreeMap<Key, Settled> = BTreeMap::new(),
        /// Features whose answer depends on the context.
        features: BTreeMap<Key, Feature> = BTreeMap::new(),
    }
}

document! {
    /// A tenant, as its own pages know it.
    pub struct ClientTenant {
        /// Its id.
        id: TenantId,
        /// Its slug.
        slug: Slug,
        /// The plan it lives by.
        plan: Option<PlanRef> = None,
        /// Its region.
        region: Option<String> = None,
    }
}

choice! {
    /// The tier that settled a feature.
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
    /// The one answer that a feature has.
    pub struct Settled {
        /// Its value.
        value: Value,
        /// Whether the tenant has it.
        enabled: bool,
        /// The tier that decided.
        tier: SettledTier,
        /// Why.
        reason: String,
        /// The rule that decided.
        rule: Option<Key> = None,
        /// The variant served.
        variant: Option<Key> = None,
    }
}

impl ClientSnapshot {
    /// Parses and checks a snapshot; what a later gate says beyond what is known here is left out.
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

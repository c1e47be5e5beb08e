//! Hosts come again and again: what each says is read once, and whom it led to is remembered as long as nothing has changed.

use std::sync::{Arc, Weak};

use super::entitlements::Entitlements;
use super::plans::CompiledCatalog;
use super::snapshots::{Found, Snapshots};
use crate::model::bounds::{MAX_CACHED_INDEX, SOFT_AGE_MS};
use crate::model::{Cache, UnixMillis};
use crate::resolve::{KnownHost, Name, ResolveError};

/// Hosts as they arrived, and what they say under `of`.
#[derive(Debug)]
pub(super) struct HostCache {
    of: Option<Arc<CompiledCatalog>>,
    known: Cache<String, (Arc<KnownHost>, Option<KnownTenant>)>,
}

/// Whom a host led to, by itself.
#[derive(Debug, Clone)]
pub(super) struct KnownTenant {
    /// Not kept alive: what is remembered of hosts is no further cache of tenants.
    tenant: Weak<Entitlements>,
    read_at: UnixMillis,
    /// When it and its name were read, whichever was first.
    since: UnixMillis,
    changes: u64,
}

impl Default for HostCache {
    fn default() -> Self {
        Self { of: None, known: Cache::new(MAX_CACHED_INDEX) }
    }
}

impl HostCache {
    /// What a host says, which depends on the catalog alone; and whom it led to.
    pub(super) fn get(
        &mut self,
        plans: &Arc<CompiledCatalog>,
        text: &str,
    ) -> Result<(Arc<KnownHost>, Option<KnownTenant>), ResolveError> {
        if !self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, plans)) {
            self.known = Cache::new(MAX_CACHED_INDEX);
            self.of = Some(Arc::clone(plans));
        }
        if let Some(known) = self.known.get_mut(text) {
            return Ok(known.clone());
        }
        let known = (Arc::new(plans.resolver.host(text)?), None);
        self.known.insert(text.to_owned(), known.clone());
        Ok(known)
    }

    /// Remembers whom a host led to.
    pub(super) fn learn(&mut self, text: &str, tenant: Option<KnownTenant>) {
        if let Some(known) = self.known.get_mut(text) {
            known.1 = tenant;
        }
    }
}

impl KnownTenant {
    /// The tenant that a name led to. `None`: one that is not to be remembered, as it stands below others.
    pub(super) fn new(snapshots: &mut Snapshots, name: &Name<'_>, tenant: &Arc<Entitlements>) -> Option<Self> {
        let alone = tenant.line().len() == 1;
        let (read_at, named_at) = snapshots.read_at(name, &tenant.tenant().id).filter(|_| alone)?;
        let since = read_at.min(named_at);
        Some(Self { tenant: Arc::downgrade(tenant), read_at, since, changes: snapshots.changes() })
    }

    /// Whom the host leads to, where nothing has changed and nothing has to be fetched again.
    pub(super) fn found(&self, snapshots: &Snapshots, plans: &CompiledCatalog, now: UnixMillis) -> Option<Found> {
        let young = self.changes == snapshots.changes() && now.since(self.since) <= SOFT_AGE_MS;
        let tenant = self.tenant.upgrade().filter(|tenant| young && tenant.holds(plans, now))?;
        Some(Found { tenant, age_ms: now.since(self.read_at) })
    }
}

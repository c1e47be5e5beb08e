//! Hosts repeat: each is parsed once, and the tenant that it led to is remembered until any
//! snapshot changes.

use std::sync::{Arc, Weak};

use super::snapshots::{Found, Snapshots};
use crate::gate::compiled::{CompiledCatalog, Entitlements};
use crate::model::bounds::{MAX_CACHED_INDEX, SOFT_AGE_MS};
use crate::model::{Cache, UnixMillis};
use crate::resolve::{KnownHost, Name, ResolveError};

/// Hosts as they arrived, parsed under the catalog `of`.
#[derive(Debug)]
pub struct HostCache {
    of: Option<Arc<CompiledCatalog>>,
    known: Cache<String, (Arc<KnownHost>, Option<KnownTenant>)>,
}

/// The tenant that a host alone led to.
#[derive(Debug, Clone)]
pub struct KnownTenant {
    /// Not kept alive: this is not a second cache of tenants.
    tenant: Weak<Entitlements>,
    read_at: UnixMillis,
    /// When the record or the index entry was read, whichever came first.
    since: UnixMillis,
    changes: u64,
}

impl Default for HostCache {
    fn default() -> Self {
        Self { of: None, known: Cache::new(MAX_CACHED_INDEX) }
    }
}

impl HostCache {
    /// A host, parsed (which depends on the catalog alone), and the tenant that it led to.
    pub(in crate::gate) fn get(
        &mut self,
        catalog: &Arc<CompiledCatalog>,
        text: &str,
    ) -> Result<(Arc<KnownHost>, Option<KnownTenant>), ResolveError> {
        if !self.of.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog)) {
            self.known = Cache::new(MAX_CACHED_INDEX);
            self.of = Some(Arc::clone(catalog));
        }
        if let Some(known) = self.known.get_mut(text) {
            return Ok(known.clone());
        }
        let known = (Arc::new(catalog.resolver.host(text)?), None);
        self.known.insert(text.to_owned(), known.clone());
        Ok(known)
    }

    /// Remembers the tenant that a host led to.
    pub(in crate::gate) fn learn(&mut self, text: &str, tenant: Option<KnownTenant>) {
        if let Some(known) = self.known.get_mut(text) {
            known.1 = tenant;
        }
    }
}

impl KnownTenant {
    /// The tenant that a name led to. Returns `None` for a sub-tenant, which is not remembered.
    pub(in crate::gate) fn new(snapshots: &mut Snapshots, name: &Name<'_>, tenant: &Arc<Entitlements>) -> Option<Self> {
        let alone = tenant.line().len() == 1;
        let (read_at, named_at) = snapshots.read_at(name, &tenant.tenant().id).filter(|_| alone)?;
        let since = read_at.min(named_at);
        Some(Self { tenant: Arc::downgrade(tenant), read_at, since, changes: snapshots.changes() })
    }

    /// The tenant, if nothing has changed and nothing has to be fetched again.
    pub(in crate::gate) fn found(
        &self,
        snapshots: &Snapshots,
        catalog: &CompiledCatalog,
        now: UnixMillis,
    ) -> Option<Found> {
        let young = self.changes == snapshots.changes() && now.since(self.since) <= SOFT_AGE_MS;
        let tenant = self.tenant.upgrade().filter(|tenant| young && tenant.holds(catalog, now))?;
        Some(Found { tenant, age_ms: now.since(self.read_at) })
    }
}

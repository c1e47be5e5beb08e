//! The cached snapshots, and how new ones are put in.
//!
//! An entry never goes back: a publication that is older than the held one is refused. Everything
//! is bounded, and names that belong to no tenant are remembered too, for a shorter time.

use std::sync::Arc;

use super::freshness::{Cached, Freshness};
use super::key_store::KeyStore;
use super::rejected::Rejected;
use crate::gate::compiled::{CompiledCatalog, Entitlements};
use crate::gate::need::{CATALOG, SnapshotKey};
use crate::identity::Seals;
use crate::model::bounds::{MAX_CACHED_INDEX, MAX_CACHED_TENANTS, MAX_HIERARCHY_DEPTH, MAX_TENANT_CACHE_BYTES};
use crate::model::{
    ApiKey, Cache, DomainState, KeyId, KeySet, Slug, Status, Tenant, TenantId, UnixMillis, WeighedCache,
};
use crate::resolve::Name;

/// A tenant record, with what was compiled from it.
#[derive(Debug)]
pub(super) struct CachedTenant {
    pub(super) held: Cached<Option<Arc<Tenant>>>,
    pub(super) compiled: Option<Arc<Entitlements>>,
}

/// The snapshots that one isolate holds.
#[derive(Debug)]
pub struct Snapshots {
    pub(super) catalog: Option<Cached<Arc<CompiledCatalog>>>,
    pub(super) slugs: Cache<Slug, Cached<Option<TenantId>>>,
    pub(super) domains: Cache<String, Cached<Option<TenantId>>>,
    pub(super) tenants: WeighedCache<TenantId, CachedTenant>,
    /// Epochs that a peer has seen, by the name of the snapshot.
    pub(super) expected: Cache<String, u64>,
    pub(in crate::gate) keys: KeyStore,
    /// The seals that are trusted. `None` means that documents in KV need no seal.
    seals: Option<Seals>,
    /// The number of compilations so far.
    pub(super) compiled: u32,
    /// The number of changes so far. A conclusion holds while this number stays the same.
    pub(super) changes: u64,
    /// Whether everything that exists is held, so that nothing has to be fetched.
    pub(super) complete: bool,
}

/// A tenant that was found, and the milliseconds since its record was read.
#[derive(Debug)]
pub struct Found {
    pub(in crate::gate) tenant: Arc<Entitlements>,
    pub(in crate::gate) age_ms: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self::bounded(MAX_TENANT_CACHE_BYTES, MAX_CACHED_INDEX, false)
    }
}

impl Snapshots {
    fn bounded(tenant_bytes: usize, index: usize, complete: bool) -> Self {
        Self {
            catalog: None,
            slugs: Cache::new(index),
            domains: Cache::new(index),
            tenants: WeighedCache::new(tenant_bytes),
            expected: Cache::new(MAX_CACHED_TENANTS),
            keys: KeyStore::new(complete),
            seals: None,
            compiled: 0,
            changes: 0,
            complete,
        }
    }

    /// Snapshots that hold everything that exists: nothing is evicted or fetched.
    pub fn complete() -> Self {
        Self::bounded(usize::MAX, usize::MAX, true)
    }

    /// From now on, takes only documents from KV that are sealed with one of these keys.
    pub fn trust(&mut self, seals: Seals) {
        self.seals = Some(seals);
    }

    /// Puts in a catalog document.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn put_catalog(&mut self, text: &str, now: UnixMillis) -> Result<(), Rejected> {
        self.put_compiled(Arc::new(CompiledCatalog::parse(text)?), now)
    }

    /// Puts in a compiled catalog.
    ///
    /// # Errors
    /// [`Rejected::Older`] or [`Rejected::Changed`].
    pub fn put_compiled(&mut self, catalog: Arc<CompiledCatalog>, now: UnixMillis) -> Result<(), Rejected> {
        self.change();
        if let Some(held) = &mut self.catalog {
            let (found, known) = (catalog.document.version, held.value.document.version);
            if found < known {
                return Err(Rejected::Older { found: found.0, held: known.0 });
            }
            if found == known {
                if catalog.document != held.value.document {
                    return Err(Rejected::Changed(found.0));
                }
                // Unchanged: what was compiled from it stays valid.
                (held.read_at, held.asked_at) = (now, now);
                self.mark_stale_if_behind(CATALOG, now);
                return Ok(());
            }
        }
        self.keys.keep(catalog.issuers.urls());
        self.catalog = Some(Cached::new(catalog, now));
        self.mark_stale_if_behind(CATALOG, now);
        Ok(())
    }

    /// Puts in the index entry of a slug. `None` means that no tenant has it.
    pub fn put_slug(&mut self, slug: Slug, id: Option<TenantId>, now: UnixMillis) {
        self.change();
        self.slugs.insert(slug, Cached::new(id, now));
    }

    /// Puts in the index entry of a domain. `None` means that no tenant has it.
    pub fn put_domain(&mut self, host: String, id: Option<TenantId>, now: UnixMillis) {
        self.change();
        self.domains.insert(host, Cached::new(id, now));
    }

    /// Puts in a tenant's record. `None` means that it does not exist.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn put_tenant(&mut self, id: &TenantId, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let tenant = text.map(Tenant::parse).transpose()?;
        if tenant.as_ref().is_some_and(|tenant| tenant.id != *id) {
            return Err(Rejected::Foreign);
        }
        self.put_record(id, tenant.map(Arc::new), now)
    }

    fn put_record(&mut self, id: &TenantId, tenant: Option<Arc<Tenant>>, now: UnixMillis) -> Result<(), Rejected> {
        self.change();
        if let (Some(new), Some(record)) = (&tenant, self.tenants.get_mut(id))
            && let Some(held) = &record.held.value
        {
            if new.epoch < held.epoch {
                return Err(Rejected::Older { found: new.epoch.0, held: held.epoch.0 });
            }
            if new == held {
                (record.held.read_at, record.held.asked_at) = (now, now);
                self.mark_stale_if_behind(id.as_str(), now);
                return Ok(());
            }
        }
        let bytes = tenant.as_ref().map_or(0, |tenant| tenant.bytes());
        let owner = tenant.as_ref().map(|tenant| self.family(tenant));
        self.tenants.insert(id.clone(), owner, bytes, CachedTenant { held: Cached::new(tenant, now), compiled: None });
        self.mark_stale_if_behind(id.as_str(), now);
        Ok(())
    }

    /// The root of a tenant's family, as far up as it is known.
    fn family(&mut self, tenant: &Tenant) -> TenantId {
        let mut root = tenant.id.clone();
        let mut parent = tenant.parent.clone();
        for _ in 0..MAX_HIERARCHY_DEPTH {
            let Some(id) = parent else { break };
            let above = self.tenants.get_mut(&id).and_then(|record| record.held.value.as_ref());
            parent = above.and_then(|tenant| tenant.parent.clone());
            root = id;
        }
        root
    }

    /// Whether one of the record's names belongs to another tenant.
    pub(in crate::gate) fn names_another(&mut self, tenant: &Tenant) -> bool {
        let verified = tenant.domains.iter().filter(|domain| domain.state == DomainState::Verified);
        let names = verified.map(|domain| Name::Domain(domain.host.as_str().into()));
        let mut names = names.chain([Name::Slug(tenant.slug.as_str().into())]);
        names.any(|name| {
            let led = match &name {
                Name::Slug(slug) => self.slugs.get_mut(slug.as_ref()),
                Name::Domain(host) => self.domains.get_mut(host.as_ref()),
                Name::Id(_) | Name::Credential | Name::Nobody => None,
            };
            let Some(other) = led.and_then(|held| held.value.clone()).filter(|id| *id != tenant.id) else {
                return false;
            };
            let held = self.tenants.get_mut(&other).and_then(|record| record.held.value.as_ref());
            held.is_some_and(|held| held.status != Status::Deleted && owns(held, &name))
        })
    }

    /// Puts in a tenant with the names that lead to it.
    ///
    /// # Errors
    /// [`Rejected::Older`] or [`Rejected::Changed`].
    pub fn put(&mut self, tenant: Tenant, now: UnixMillis) -> Result<(), Rejected> {
        let (id, slug) = (tenant.id.clone(), tenant.slug.clone());
        let verified = tenant.domains.iter().filter(|domain| domain.state == DomainState::Verified);
        let domains: Vec<_> = verified.map(|domain| domain.host.clone()).collect();
        self.put_record(&id, Some(Arc::new(tenant)), now)?;
        self.put_slug(slug, Some(id.clone()), now);
        for host in domains {
            self.put_domain(host, Some(id.clone()), now);
        }
        Ok(())
    }

    /// Puts in a snapshot as it stands in KV, sealed where seals are trusted. `None`: KV has no
    /// such key.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn put_published(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let opened = match (text, &self.seals) {
            (Some(text), Some(seals)) if key.is_sealed() => {
                Some(seals.open(&key.in_kv(), text).map_err(Rejected::Unsealed)?)
            }
            (Some(text), None) if key.is_sealed() => Some(Seals::believe(text)),
            (text, _) => text,
        };
        self.put_trusted(key, opened, now)
    }

    /// Puts in a snapshot from a trusted source, without a seal. `None` means that it does not
    /// exist.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn put_trusted(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let id = || text.and_then(TenantId::parse);
        match key {
            SnapshotKey::Catalog => match text {
                Some(text) => self.put_catalog(text, now)?,
                None => return Err(Rejected::Absent),
            },
            SnapshotKey::Slug(slug) => self.put_slug(slug.clone(), id(), now),
            SnapshotKey::Domain(host) => self.put_domain(host.clone(), id(), now),
            SnapshotKey::Tenant(id) => self.put_tenant(id, text, now)?,
            SnapshotKey::ApiKey(id) => self.put_api_key(id, text, now)?,
            SnapshotKey::IssuerKeys(url) => match text {
                Some(text) => self.put_issuer_keys(url, text, now)?,
                None => self.keys.fail(url, now),
            },
        }
        Ok(())
    }

    /// Records that a snapshot could not be fetched. Returns whether the held one may serve.
    pub fn put_failure(&mut self, key: &SnapshotKey, now: UnixMillis) -> bool {
        fn note<T>(held: Option<&mut Cached<Option<T>>>, now: UnixMillis) -> bool {
            held.is_some_and(|held| held.failed(Freshness::of(held.value.as_ref()), now))
        }
        match key {
            SnapshotKey::Catalog => self.catalog.as_mut().is_some_and(|held| held.failed(Freshness::SNAPSHOT, now)),
            SnapshotKey::Slug(slug) => note(self.slugs.get_mut(slug.as_str()), now),
            SnapshotKey::Domain(host) => note(self.domains.get_mut(host), now),
            SnapshotKey::Tenant(id) => note(self.tenants.get_mut(id).map(|record| &mut record.held), now),
            // API keys fail closed. Issuer keys record their own failures.
            SnapshotKey::ApiKey(_) | SnapshotKey::IssuerKeys(_) => false,
        }
    }

    /// Puts in an API key's record. `None` means that it does not exist.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn put_api_key(&mut self, id: &KeyId, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let record = text.map(ApiKey::parse).transpose()?;
        if record.as_ref().is_some_and(|record| record.id != *id) {
            return Err(Rejected::Foreign);
        }
        self.keys.put_api_key(id, record, now)
    }

    /// Puts in the keys that an issuer publishes at `url` (RFC 7517), fetched at `fetched_at`.
    ///
    /// # Errors
    /// [`Rejected::Problems`].
    pub fn put_issuer_keys(&mut self, url: &str, text: &str, fetched_at: UnixMillis) -> Result<(), Rejected> {
        match KeySet::parse(text) {
            Ok(set) => self.keys.put_published(url, set, fetched_at),
            Err(problems) => {
                self.keys.fail(url, fetched_at);
                return Err(problems.into());
            }
        }
        Ok(())
    }

    /// When the held keys of `url` were fetched.
    pub fn issuer_keys_fetched_at(&self, url: &str) -> Option<UnixMillis> {
        self.keys.fetched_at(url)
    }

    /// Puts in the value of a secret. `None` means that it does not exist.
    pub fn put_secret(&mut self, name: &str, value: Option<&str>) {
        self.keys.put_secret(name, value);
    }
}

/// Whether the tenant still has a name that leads to it.
pub(in crate::gate) fn owns(tenant: &Tenant, name: &Name<'_>) -> bool {
    match name {
        Name::Slug(slug) => tenant.slug.as_str() == slug,
        Name::Id(id) => tenant.id.as_str() == id,
        Name::Domain(host) => {
            tenant.domains.iter().any(|domain| domain.state == DomainState::Verified && domain.host == *host)
        }
        Name::Credential | Name::Nobody => false,
    }
}

//! What one isolate knows: the catalog, tenant records and the index of names, each with its age.
//!
//! Young entries serve. After the soft age they serve and ask to be fetched again behind the request; after the hard
//! age they are no longer trusted. Names that were looked up and belong to nobody are remembered too, for a shorter
//! time. Everything is bounded. An entry never goes back: an older publication than the one held is refused.

use std::sync::Arc;

use super::agreement::owns;
use super::code::Code;
use super::entitlements::Entitlements;
use super::held::{Cached, Freshness};
use super::key_store::KeyStore;
use super::need::Need;
use super::plans::CompiledCatalog;
use crate::identity::Seals;
use crate::model::bounds::{
    MAX_CACHED_INDEX, MAX_CACHED_TENANTS, MAX_HIERARCHY_DEPTH, MAX_TENANT_CACHE_BYTES, REFRESH_INTERVAL_MS, SOFT_AGE_MS,
};
use crate::model::{
    ApiKey, Cache, DomainState, KeyId, KeySet, Problems, Slug, Status, Tenant, TenantId, UnixMillis, WeighedCache,
};
use crate::resolve::Name;

/// What the catalog is called where epochs are told; no tenant's id has a blank.
pub(super) const CATALOG: &str = " catalog";

/// Why a publication was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The document has problems.
    #[error("the document has problems:\n{0}")]
    Problems(#[from] Problems),
    /// A newer one is held already.
    #[error("epoch {found} is older than {held}, which was seen before")]
    Older {
        /// The epoch that was offered.
        found: u64,
        /// The epoch that is held.
        held: u64,
    },
    /// The same version was published before, with other content.
    #[error("version {0} was published before with other content: a change needs a higher version")]
    Changed(u64),
    /// There is no catalog.
    #[error("no catalog is published")]
    Absent,
    /// It is not sealed by whom this isolate trusts.
    #[error("{0}")]
    Unsealed(crate::identity::RefusalReason),
    /// A name that leads to one tenant cannot lead to another as well.
    #[error("its slug, or one of its domains, is another tenant's")]
    Taken,
    /// It is some other tenant's record.
    #[error("the record under this key belongs to another tenant")]
    Foreign,
}

#[derive(Debug)]
pub(super) struct CachedTenant {
    pub(super) held: Cached<Option<Arc<Tenant>>>,
    compiled: Option<Arc<Entitlements>>,
}

/// The caches of one isolate.
#[derive(Debug)]
pub struct Snapshots {
    pub(super) plans: Option<Cached<Arc<CompiledCatalog>>>,
    pub(super) slugs: Cache<Slug, Cached<Option<TenantId>>>,
    pub(super) domains: Cache<String, Cached<Option<TenantId>>>,
    pub(super) tenants: WeighedCache<TenantId, CachedTenant>,
    /// Epochs that somebody has seen and that are not held yet.
    pub(super) expected: Cache<String, u64>,
    pub(super) keys: KeyStore,
    /// Whose seals are trusted; `None`: whatever stands in KV is believed.
    seals: Option<Seals>,
    compiled: u32,
    /// How often anything here has changed: what was concluded from it holds as long as this stands still.
    changes: u64,
    /// Whether what is not held does not exist, so that nothing has to be fetched.
    complete: bool,
}

/// A tenant that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tenant: Arc<Entitlements>,
    pub(super) age_ms: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self::bounded(MAX_TENANT_CACHE_BYTES, MAX_CACHED_INDEX, false)
    }
}

impl Snapshots {
    fn bounded(tenant_bytes: usize, index: usize, complete: bool) -> Self {
        Self {
            plans: None,
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

    /// Snapshots that hold everything there is: nothing is forgotten, and what is not held does not exist.
    pub fn complete() -> Self {
        Self::bounded(usize::MAX, usize::MAX, true)
    }

    /// From now on, only what is sealed with one of these keys is taken from KV.
    pub fn trust(&mut self, seals: Seals) {
        self.seals = Some(seals);
    }

    /// Takes a catalog as it was published.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_catalog(&mut self, text: &str, now: UnixMillis) -> Result<(), Rejected> {
        let plans = CompiledCatalog::parse(text)?;
        self.put_plans(Arc::new(plans), now)
    }

    /// Takes a compiled catalog.
    ///
    /// # Errors
    /// [`Rejected::Older`]; what is held stays.
    pub fn put_plans(&mut self, plans: Arc<CompiledCatalog>, now: UnixMillis) -> Result<(), Rejected> {
        self.change();
        if let Some(held) = &mut self.plans {
            let (found, known) = (plans.catalog.version, held.value.catalog.version);
            if found < known {
                return Err(Rejected::Older { found: found.0, held: known.0 });
            }
            if found == known {
                if plans.catalog != held.value.catalog {
                    return Err(Rejected::Changed(found.0));
                }
                // The same again: what was compiled from it stays good.
                (held.read_at, held.asked_at) = (now, now);
                self.doubt_what_is_behind(CATALOG, now);
                return Ok(());
            }
        }
        self.keys.keep(plans.issuers.urls());
        self.plans = Some(Cached::new(plans, now));
        self.doubt_what_is_behind(CATALOG, now);
        Ok(())
    }

    /// Takes what the index says of a slug.
    pub fn put_slug(&mut self, slug: Slug, id: Option<TenantId>, now: UnixMillis) {
        self.change();
        self.slugs.insert(slug, Cached::new(id, now));
    }

    /// Takes what the index says of a domain.
    pub fn put_domain(&mut self, host: String, id: Option<TenantId>, now: UnixMillis) {
        self.change();
        self.domains.insert(host, Cached::new(id, now));
    }

    /// Takes a tenant's record as it was published; `None`: there is none.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
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
                self.doubt_what_is_behind(id.as_str(), now);
                return Ok(());
            }
        }
        let bytes = tenant.as_ref().map_or(0, |tenant| tenant.bytes());
        let owner = tenant.as_ref().map(|tenant| self.family(tenant));
        self.tenants.insert(id.clone(), owner, bytes, CachedTenant { held: Cached::new(tenant, now), compiled: None });
        self.doubt_what_is_behind(id.as_str(), now);
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

    /// Whether one of a record's names leads to another tenant that still has it.
    pub(super) fn names_another(&mut self, tenant: &Tenant) -> bool {
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

    /// Takes a tenant with the names that lead to it.
    ///
    /// # Errors
    /// [`Rejected::Older`]; what is held stays.
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

    /// Takes the answer to `need`, as it stands in KV; `None`: there is nothing under its key.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_published(&mut self, need: &Need, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let opened = match (text, &self.seals) {
            (Some(text), Some(seals)) if need.is_sealed() => {
                Some(seals.open(&need.key(), text).map_err(Rejected::Unsealed)?)
            }
            (Some(text), None) if need.is_sealed() => Some(Seals::believe(text)),
            (text, _) => text,
        };
        self.put_answer(need, opened, now)
    }

    /// Takes the answer to `need` from whom it is believed, as it was written; `None`: there is none.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_answer(&mut self, need: &Need, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let id = || text.and_then(TenantId::parse);
        match need {
            Need::Catalog => match text {
                Some(text) => self.put_catalog(text, now)?,
                None => return Err(Rejected::Absent),
            },
            Need::Slug(slug) => self.put_slug(slug.clone(), id(), now),
            Need::Domain(host) => self.put_domain(host.clone(), id(), now),
            Need::Tenant(id) => self.put_tenant(id, text, now)?,
            Need::ApiKey(id) => self.put_api_key(id, text, now)?,
            Need::Keys(url) => match text {
                Some(text) => self.put_keys(url, text, now)?,
                None => self.keys.fail(url, now),
            },
            Need::Secret(name) => self.put_secret(name, text),
            Need::Feed | Need::Custom | Need::Answer(_) | Need::Refill(..) => {}
        }
        Ok(())
    }

    /// Notes that `need` could not be fetched. What is held of it serves on while it can be trusted: then true.
    pub fn put_failure(&mut self, need: &Need, now: UnixMillis) -> bool {
        fn note<T>(held: Option<&mut Cached<Option<T>>>, now: UnixMillis) -> bool {
            held.is_some_and(|held| held.failed(Freshness::of(held.value.as_ref()), now))
        }
        match need {
            Need::Catalog => self.plans.as_mut().is_some_and(|held| held.failed(Freshness::SNAPSHOT, now)),
            Need::Slug(slug) => note(self.slugs.get_mut(slug.as_str()), now),
            Need::Domain(host) => note(self.domains.get_mut(host), now),
            Need::Tenant(id) => note(self.tenants.get_mut(id).map(|record| &mut record.held), now),
            // Keys of callers fail closed; published keys know for themselves.
            Need::ApiKey(_)
            | Need::Keys(_)
            | Need::Secret(_)
            | Need::Feed
            | Need::Custom
            | Need::Answer(_)
            | Need::Refill(..) => false,
        }
    }

    /// Takes an API key's record as it was published; `None`: there is none.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_api_key(&mut self, id: &KeyId, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        let record = text.map(ApiKey::parse).transpose()?;
        if record.as_ref().is_some_and(|record| record.id != *id) {
            return Err(Rejected::Foreign);
        }
        self.keys.put_api_key(id, record, now)
    }

    /// Takes the keys that issuers publish at `url` (RFC 7517), as they were fetched at `fetched_at`.
    ///
    /// # Errors
    /// [`Rejected::Problems`]; what is held stays.
    pub fn put_keys(&mut self, url: &str, text: &str, fetched_at: UnixMillis) -> Result<(), Rejected> {
        match KeySet::parse(text) {
            Ok(set) => self.keys.put_published(url, set, fetched_at),
            Err(problems) => {
                self.keys.fail(url, fetched_at);
                return Err(problems.into());
            }
        }
        Ok(())
    }

    /// When the keys published at `url` that are held were fetched.
    pub fn keys_fetched_at(&self, url: &str) -> Option<UnixMillis> {
        self.keys.fetched_at(url)
    }

    /// Takes the value of a secret; `None`: there is no such secret.
    pub fn put_secret(&mut self, name: &str, value: Option<&str>) {
        self.keys.put_secret(name, value);
    }

    /// The catalog, while it can be trusted.
    pub(super) fn plans(&mut self, now: UnixMillis, refresh: &mut Vec<Need>) -> Result<Arc<CompiledCatalog>, Need> {
        let held = self.plans.as_mut().ok_or(Need::Catalog)?;
        held.get(Freshness::SNAPSHOT, now, || Need::Catalog, refresh).cloned().ok_or(Need::Catalog)
    }

    /// Whatever was concluded from what is held has to be concluded anew.
    pub(super) const fn change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// How often anything has changed.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// When the tenant that a name leads to was read, and the name.
    pub(super) fn read_at(&mut self, name: &Name<'_>, id: &TenantId) -> Option<(UnixMillis, UnixMillis)> {
        let named = match name {
            Name::Slug(slug) => self.slugs.get_mut(slug.as_ref())?.read_at,
            Name::Domain(host) => self.domains.get_mut(host.as_ref())?.read_at,
            Name::Id(_) | Name::Credential | Name::Nobody => return None,
        };
        Some((self.tenants.get_mut(id)?.held.read_at, named))
    }

    /// The catalog, however old.
    pub fn current_plans(&self) -> Option<&Arc<CompiledCatalog>> {
        self.plans.as_ref().map(|held| &held.value)
    }

    /// Whom a signal names, if anybody.
    pub(super) fn identify(
        &mut self,
        name: &Name<'_>,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<TenantId>, Need> {
        let (held, need): (_, &dyn Fn() -> Need) = match name {
            Name::Nobody | Name::Credential => return Ok(None),
            Name::Id(id) => return Ok(TenantId::parse(id)),
            Name::Slug(slug) => {
                (self.slugs.get_mut(slug.as_ref()), &|| Slug::parse(slug).map_or(Need::Catalog, Need::Slug))
            }
            Name::Domain(host) => (self.domains.get_mut(host.as_ref()), &|| Need::Domain(host.to_string())),
        };
        let Some(held) = held else {
            return if self.complete { Ok(None) } else { Err(need()) };
        };
        held.get(Freshness::of(held.value.as_ref()), now, need, refresh).cloned().ok_or_else(need)
    }

    /// What to fetch again where the index entry of a name has turned out to be wrong; nothing if that was asked lately.
    pub(super) fn doubt(&mut self, name: &Name<'_>, now: UnixMillis) -> Option<Need> {
        let held = match name {
            Name::Slug(slug) => self.slugs.get_mut(slug.as_ref()),
            Name::Domain(host) => self.domains.get_mut(host.as_ref()),
            Name::Id(_) | Name::Credential | Name::Nobody => None,
        }?;
        if now.since(held.asked_at) <= REFRESH_INTERVAL_MS {
            return None;
        }
        held.asked_at = now;
        Need::of(name)
    }

    /// The tenant with this id, compiled with its ancestors. `Ok(None)`: there is none.
    pub(super) fn tenant(
        &mut self,
        id: &TenantId,
        plans: &CompiledCatalog,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<Found>, Need> {
        // The usual case in one look-up: a tenant without a parent, compiled before.
        if let Some(record) = self.tenants.get_mut(id)
            && let Some(compiled) =
                record.compiled.as_ref().filter(|compiled| compiled.line().len() == 1 && compiled.holds(plans, now))
            && now.since(record.held.read_at) <= SOFT_AGE_MS
            && compiled.barrier() != Some(Code::TenantNotFound)
        {
            return Ok(Some(Found { tenant: Arc::clone(compiled), age_ms: now.since(record.held.read_at) }));
        }
        let Some((tenant, age_ms)) = self.record(id, now, refresh)? else {
            return Ok(None);
        };
        // Who has no parent, as most, needs no line; a record that is replaced loses its compiled form.
        let mut line = Vec::new();
        let mut parent = tenant.parent.clone();
        if parent.is_some() {
            line.push(Arc::clone(&tenant));
        }
        while let Some(id) = parent {
            if line.len() >= MAX_HIERARCHY_DEPTH {
                return Ok(None);
            }
            let Some((ancestor, _)) = self.record(&id, now, refresh)? else {
                return Ok(None);
            };
            parent = ancestor.parent.clone();
            line.push(ancestor);
        }
        let record = self.tenants.get_mut(id).ok_or_else(|| Need::Tenant(id.clone()))?;
        let good = record.compiled.as_ref().filter(|compiled| {
            let same_line = line.is_empty()
                || compiled.line().len() == line.len()
                    && compiled.line().iter().zip(&line).all(|(a, b)| Arc::ptr_eq(a, b));
            same_line && compiled.holds(plans, now)
        });
        if let Some(compiled) = good {
            return Ok(Some(Found { tenant: Arc::clone(compiled), age_ms }));
        }
        if line.is_empty() {
            line.push(tenant);
        }
        self.compiled = self.compiled.wrapping_add(1);
        record.compiled = Entitlements::new(plans, line, self.compiled, now).map(Arc::new);
        let compiled = record.compiled.clone();
        let own = record.held.value.as_ref().map_or(0, |tenant| tenant.bytes());
        let bytes = compiled.as_ref().map_or(0, |compiled| compiled.bytes()).saturating_add(own);
        self.tenants.set_bytes(id, bytes);
        Ok(compiled.map(|tenant| Found { tenant, age_ms }))
    }

    fn record(
        &mut self,
        id: &TenantId,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<(Arc<Tenant>, u64)>, Need> {
        Ok(self.any_record(id, now, refresh)?.filter(|(tenant, _)| tenant.status != Status::Deleted))
    }

    /// A record, also that of a tenant that was deleted.
    fn any_record(
        &mut self,
        id: &TenantId,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<(Arc<Tenant>, u64)>, Need> {
        let need = || Need::Tenant(id.clone());
        let Some(record) = self.tenants.get_mut(id) else {
            return if self.complete { Ok(None) } else { Err(need()) };
        };
        let held = &mut record.held;
        let (ages, read_at) = (Freshness::of(held.value.as_ref()), held.read_at);
        let tenant = held.get(ages, now, need, refresh).ok_or_else(need)?;
        Ok(tenant.as_ref().map(|tenant| (Arc::clone(tenant), now.since(read_at))))
    }

    /// A tenant's record, also that of one that was deleted, and the root of its family.
    pub(super) fn kept(
        &mut self,
        id: &TenantId,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<(Arc<Tenant>, TenantId)>, Need> {
        let Some((own, _)) = self.any_record(id, now, refresh)? else { return Ok(None) };
        let mut top = Arc::clone(&own);
        for _ in 0..MAX_HIERARCHY_DEPTH {
            let Some(parent) = top.parent.clone() else { break };
            let Some((above, _)) = self.any_record(&parent, now, refresh)? else { break };
            top = above;
        }
        Ok(Some((own, top.id.clone())))
    }
}

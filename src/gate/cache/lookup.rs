//! Look-ups in the cache. Each returns what is held, or the data to fetch first.

use std::sync::Arc;

use super::freshness::Freshness;
use super::snapshots::{Found, Snapshots};
use crate::gate::code::Code;
use crate::gate::compiled::{CompiledCatalog, Entitlements};
use crate::gate::need::{Need, Refresh, SnapshotKey};
use crate::model::bounds::{MAX_HIERARCHY_DEPTH, REFRESH_INTERVAL_MS, SOFT_AGE_MS};
use crate::model::{Slug, Status, Tenant, TenantId, UnixMillis};
use crate::resolve::Name;

impl Snapshots {
    /// The catalog, while it can be used.
    pub(in crate::gate) fn catalog(
        &mut self,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Arc<CompiledCatalog>, Need> {
        let held = self.catalog.as_mut().ok_or(SnapshotKey::Catalog)?;
        let value = held.get(Freshness::SNAPSHOT, now, || SnapshotKey::Catalog, refresh);
        value.cloned().ok_or(SnapshotKey::Catalog.into())
    }

    /// Records a change: earlier conclusions no longer hold.
    pub(in crate::gate) const fn change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// The number of changes so far.
    pub(in crate::gate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// When the record of the tenant was read, and when the index entry of its name was.
    pub(in crate::gate) fn read_at(&mut self, name: &Name<'_>, id: &TenantId) -> Option<(UnixMillis, UnixMillis)> {
        let named = match name {
            Name::Slug(slug) => self.slugs.get_mut(slug.as_ref())?.read_at,
            Name::Domain(host) => self.domains.get_mut(host.as_ref())?.read_at,
            Name::Id(_) | Name::Credential | Name::Nobody => return None,
        };
        Some((self.tenants.get_mut(id)?.held.read_at, named))
    }

    /// The catalog, however old.
    pub fn current_catalog(&self) -> Option<&Arc<CompiledCatalog>> {
        self.catalog.as_ref().map(|held| &held.value)
    }

    /// The tenant that a signal names.
    pub(in crate::gate) fn identify(
        &mut self,
        name: &Name<'_>,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<TenantId>, Need> {
        let (held, key): (_, &dyn Fn() -> SnapshotKey) = match name {
            Name::Nobody | Name::Credential => return Ok(None),
            Name::Id(id) => return Ok(TenantId::parse(id)),
            Name::Slug(slug) => (self.slugs.get_mut(slug.as_ref()), &|| {
                Slug::parse(slug).map_or(SnapshotKey::Catalog, SnapshotKey::Slug)
            }),
            Name::Domain(host) => (self.domains.get_mut(host.as_ref()), &|| SnapshotKey::Domain(host.to_string())),
        };
        let Some(held) = held else {
            return if self.complete { Ok(None) } else { Err(key().into()) };
        };
        held.get(Freshness::of(held.value.as_ref()), now, key, refresh).cloned().ok_or_else(|| key().into())
    }

    /// The index entry to fetch again after it has turned out to be wrong. Returns `None` if it was
    /// requested a moment ago.
    pub(in crate::gate) fn stale_name(&mut self, name: &Name<'_>, now: UnixMillis) -> Option<SnapshotKey> {
        let held = match name {
            Name::Slug(slug) => self.slugs.get_mut(slug.as_ref()),
            Name::Domain(host) => self.domains.get_mut(host.as_ref()),
            Name::Id(_) | Name::Credential | Name::Nobody => None,
        }?;
        if now.since(held.asked_at) <= REFRESH_INTERVAL_MS {
            return None;
        }
        held.asked_at = now;
        SnapshotKey::of_name(name)
    }

    /// The tenant with this id, compiled with its ancestors. `Ok(None)` means that it does not
    /// exist.
    pub(in crate::gate) fn tenant(
        &mut self,
        id: &TenantId,
        catalog: &CompiledCatalog,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<Found>, Need> {
        // The common case in one look-up: a tenant without a parent, compiled before.
        if let Some(record) = self.tenants.get_mut(id)
            && let Some(compiled) =
                record.compiled.as_ref().filter(|compiled| compiled.line().len() == 1 && compiled.holds(catalog, now))
            && now.since(record.held.read_at) <= SOFT_AGE_MS
            && compiled.barrier() != Some(Code::TenantNotFound)
        {
            return Ok(Some(Found { tenant: Arc::clone(compiled), age_ms: now.since(record.held.read_at) }));
        }
        let Some((tenant, age_ms)) = self.record(id, now, refresh)? else {
            return Ok(None);
        };
        // Most tenants have no parent and need no line. A record that is replaced loses its
        // compiled form.
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
        let record = self.tenants.get_mut(id).ok_or_else(|| SnapshotKey::Tenant(id.clone()))?;
        let good = record.compiled.as_ref().filter(|compiled| {
            let same_line = line.is_empty()
                || compiled.line().len() == line.len()
                    && compiled.line().iter().zip(&line).all(|(a, b)| Arc::ptr_eq(a, b));
            same_line && compiled.holds(catalog, now)
        });
        if let Some(compiled) = good {
            return Ok(Some(Found { tenant: Arc::clone(compiled), age_ms }));
        }
        if line.is_empty() {
            line.push(tenant);
        }
        self.compiled = self.compiled.wrapping_add(1);
        record.compiled = Entitlements::new(catalog, line, self.compiled, now).map(Arc::new);
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
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<(Arc<Tenant>, u64)>, Need> {
        Ok(self.any_record(id, now, refresh)?.filter(|(tenant, _)| tenant.status != Status::Deleted))
    }

    /// A record, including that of a deleted tenant.
    fn any_record(
        &mut self,
        id: &TenantId,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<(Arc<Tenant>, u64)>, Need> {
        let key = || SnapshotKey::Tenant(id.clone());
        let Some(record) = self.tenants.get_mut(id) else {
            return if self.complete { Ok(None) } else { Err(key().into()) };
        };
        let held = &mut record.held;
        let (ages, read_at) = (Freshness::of(held.value.as_ref()), held.read_at);
        let tenant = held.get(ages, now, key, refresh).ok_or_else(key)?;
        Ok(tenant.as_ref().map(|tenant| (Arc::clone(tenant), now.since(read_at))))
    }

    /// A tenant's record, including that of a deleted one, and the root of its family.
    pub(in crate::gate) fn kept(
        &mut self,
        id: &TenantId,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
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

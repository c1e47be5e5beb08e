//! Invalidation: once a peer has seen a newer epoch, the held snapshot is fetched again before it
//! is used.

use super::snapshots::Snapshots;
use crate::gate::need::{CATALOG, SnapshotKey};
use crate::model::bounds::MAX_CACHED_INDEX;
use crate::model::{Cache, UnixMillis};

impl Snapshots {
    /// Records that a peer has seen this epoch of the catalog, or of a tenant's record. While an
    /// older one is held, it is fetched again before its use, though not too often.
    pub(in crate::gate) fn observe_epoch(&mut self, name: &str, epoch: u64, now: UnixMillis) {
        self.change();
        let known = self.expected.get_mut(name).map_or(0, |known| *known);
        self.expected.insert(name.to_owned(), epoch.max(known));
        self.mark_stale_if_behind(name, now);
    }

    /// Records that a snapshot was published again: the held one is fetched again before its use.
    /// Returns false if this epoch is held already.
    pub(in crate::gate) fn changed(&mut self, key: &SnapshotKey, epoch: u64, now: UnixMillis) -> bool {
        self.change();
        match key {
            SnapshotKey::Catalog => self.observe_epoch(CATALOG, epoch, now),
            SnapshotKey::Tenant(id) => {
                // The knowledge that a tenant does not exist is dropped at once.
                if self.tenants.get_mut(id).is_some_and(|record| record.held.value.is_none()) {
                    self.tenants.remove(id);
                }
                self.observe_epoch(id.as_str(), epoch, now);
            }
            SnapshotKey::Slug(slug) => {
                self.slugs.remove(slug.as_str());
            }
            SnapshotKey::Domain(host) => {
                self.domains.remove(host);
            }
            SnapshotKey::ApiKey(id) => return self.keys.invalidate_api_key(id, epoch),
            SnapshotKey::IssuerKeys(_) => {}
        }
        let known = matches!(key, SnapshotKey::Catalog | SnapshotKey::Tenant(_)) && !self.lags(key);
        match key {
            SnapshotKey::Catalog if !known => {
                if let Some(held) = &mut self.catalog {
                    held.invalidate(now);
                }
            }
            SnapshotKey::Tenant(id) if !known => {
                if let Some(record) = self.tenants.get_mut(id) {
                    record.held.invalidate(now);
                }
            }
            _ => {}
        }
        !known
    }

    /// Has everything fetched again before its next use, because it is unknown what has changed.
    pub(in crate::gate) fn invalidate_all(&mut self, now: UnixMillis) {
        self.change();
        if let Some(held) = &mut self.catalog {
            held.invalidate(now);
        }
        self.tenants.retain(|record| {
            record.held.invalidate(now);
            record.held.value.is_some()
        });
        self.slugs = Cache::new(MAX_CACHED_INDEX);
        self.domains = Cache::new(MAX_CACHED_INDEX);
        self.keys.invalidate_api_keys();
    }

    /// Whether a peer has seen a newer epoch than the held one.
    pub(in crate::gate) fn lags(&mut self, key: &SnapshotKey) -> bool {
        let expected = |snapshots: &mut Self, name: &str| snapshots.expected.get_mut(name).map_or(0, |known| *known);
        match key {
            SnapshotKey::Catalog => {
                let held = self.catalog.as_ref().map_or(0, |held| held.value.document.version.0);
                expected(self, CATALOG) > held
            }
            SnapshotKey::Tenant(id) => {
                let record = self.tenants.get_mut(id).and_then(|record| record.held.value.as_ref());
                let held = record.map_or(0, |tenant| tenant.epoch.0);
                expected(self, id.as_str()) > held
            }
            _ => false,
        }
    }

    /// Marks a held snapshot stale if a peer has seen a newer epoch.
    pub(super) fn mark_stale_if_behind(&mut self, name: &str, now: UnixMillis) {
        self.change();
        let Some(epoch) = self.expected.get_mut(name).copied() else { return };
        if name == CATALOG {
            if let Some(held) = self.catalog.as_mut().filter(|held| held.value.document.version.0 < epoch) {
                held.mark_stale(now);
            }
        } else if let Some(record) = self.tenants.get_mut(name)
            // The knowledge that a tenant does not exist is short-lived anyway.
            && record.held.value.as_ref().is_some_and(|tenant| tenant.epoch.0 < epoch)
        {
            record.held.mark_stale(now);
        }
    }
}

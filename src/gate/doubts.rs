//! What somebody has seen that is not held yet: then what is held is read again before it is used.

use super::need::Need;
use super::snapshots::{CATALOG, Snapshots};
use crate::model::bounds::MAX_CACHED_INDEX;
use crate::model::{Cache, UnixMillis};

impl Snapshots {
    /// Takes it that somebody has seen this epoch of the catalog, or of a tenant's record: as long as an older one is held, it
    /// is fetched again before it is used, though not too often.
    pub(super) fn observe_epoch(&mut self, name: &str, epoch: u64, now: UnixMillis) {
        self.change();
        let known = self.expected.get_mut(name).map_or(0, |known| *known);
        self.expected.insert(name.to_owned(), epoch.max(known));
        self.doubt_what_is_behind(name, now);
    }

    /// Takes it that `need` was published anew: what is held of it is read again before it is used. False: it is held already.
    pub fn changed(&mut self, need: &Need, epoch: u64, now: UnixMillis) -> bool {
        self.change();
        match need {
            Need::Catalog => self.observe_epoch(CATALOG, epoch, now),
            Need::Tenant(id) => {
                // That there is none is forgotten at once.
                if self.tenants.get_mut(id).is_some_and(|record| record.held.value.is_none()) {
                    self.tenants.remove(id);
                }
                self.observe_epoch(id.as_str(), epoch, now);
            }
            Need::Slug(slug) => self.slugs.remove(slug.as_str()),
            Need::Domain(host) => self.domains.remove(host),
            Need::ApiKey(id) => return self.keys.doubt_api_key(id, epoch),
            Need::Keys(_) | Need::Secret(_) | Need::Feed | Need::Custom | Need::Answer(_) | Need::Refill(..) => {}
        }
        let known = matches!(need, Need::Catalog | Need::Tenant(_)) && !self.lags(need);
        match need {
            Need::Catalog if !known => {
                if let Some(held) = &mut self.plans {
                    held.distrust(now);
                }
            }
            Need::Tenant(id) if !known => {
                if let Some(record) = self.tenants.get_mut(id) {
                    record.held.distrust(now);
                }
            }
            _ => {}
        }
        !known
    }

    /// Has everything that is held read again before it is used: so much has changed that nobody can say what.
    pub fn doubt_all(&mut self, now: UnixMillis) {
        self.change();
        if let Some(held) = &mut self.plans {
            held.distrust(now);
        }
        self.tenants.retain(|record| {
            record.held.distrust(now);
            record.held.value.is_some()
        });
        self.slugs = Cache::new(MAX_CACHED_INDEX);
        self.domains = Cache::new(MAX_CACHED_INDEX);
        self.keys.doubt_api_keys();
    }

    /// Whether somebody has seen a later one than is held.
    pub fn lags(&mut self, need: &Need) -> bool {
        let expected = |snapshots: &mut Self, name: &str| snapshots.expected.get_mut(name).map_or(0, |known| *known);
        match need {
            Need::Catalog => {
                let held = self.plans.as_ref().map_or(0, |held| held.value.catalog.version.0);
                expected(self, CATALOG) > held
            }
            Need::Tenant(id) => {
                let record = self.tenants.get_mut(id).and_then(|record| record.held.value.as_ref());
                let held = record.map_or(0, |tenant| tenant.epoch.0);
                expected(self, id.as_str()) > held
            }
            _ => false,
        }
    }

    /// Doubts what is held where somebody has seen a later one.
    pub(super) fn doubt_what_is_behind(&mut self, name: &str, now: UnixMillis) {
        self.change();
        let Some(epoch) = self.expected.get_mut(name).copied() else { return };
        if name == CATALOG {
            if let Some(held) = self.plans.as_mut().filter(|held| held.value.catalog.version.0 < epoch) {
                held.doubt(now);
            }
        } else if let Some(record) = self.tenants.get_mut(name)
            // That there is none is remembered for a moment only, and looked up again anyway.
            && record.held.value.as_ref().is_some_and(|tenant| tenant.epoch.0 < epoch)
        {
            record.held.doubt(now);
        }
    }
}

//! The keys with which one isolate verifies credentials: issuer keys, secrets, API keys.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::freshness::{Cached, Freshness};
use super::rejected::Rejected;
use crate::gate::answer::Credential;
use crate::gate::need::{Need, Refresh, SnapshotKey};
use crate::identity::Keyring;
use crate::model::bounds::{JWKS_COOLDOWN_MS, MAX_KEY_CACHE_BYTES};
use crate::model::{ApiKey, KeyId, KeySet, UnixMillis, WeighedCache};

/// The keys of one isolate.
#[derive(Debug)]
pub struct KeyStore {
    published: FxHashMap<Arc<str>, PublishedKeys>,
    secrets: FxHashMap<String, Option<String>>,
    api_keys: WeighedCache<KeyId, Cached<Option<Arc<KnownKey>>>>,
    /// Whether everything that exists is held, so that nothing has to be fetched.
    complete: bool,
}

/// The keys behind one URL.
#[derive(Debug, Default)]
struct PublishedKeys {
    held: Option<Cached<(KeySet, Arc<Keyring>)>>,
    /// When the last fetch ended, successfully or not.
    answered_at: Option<UnixMillis>,
}

/// An API key's record, with the credential that it stands for.
#[derive(Debug)]
pub struct KnownKey {
    pub(in crate::gate) record: ApiKey,
    pub(in crate::gate) credential: Arc<Credential>,
}

impl KeyStore {
    pub(in crate::gate) fn new(complete: bool) -> Self {
        let api_keys = WeighedCache::new(if complete { usize::MAX } else { MAX_KEY_CACHE_BYTES });
        Self { published: FxHashMap::default(), secrets: FxHashMap::default(), api_keys, complete }
    }

    /// Drops published keys that no issuer refers to.
    pub(in crate::gate) fn keep<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        let mut kept = FxHashMap::default();
        for url in urls {
            if let Some((url, published)) = self.published.remove_entry(url) {
                kept.insert(url, published);
            }
        }
        self.published = kept;
    }

    pub(in crate::gate) fn put_published(&mut self, url: &str, set: KeySet, fetched_at: UnixMillis) {
        let published = self.published.entry(url.into()).or_default();
        published.answered_at = Some(fetched_at);
        match &mut published.held {
            // Unchanged: tokens that were verified with it stay verified.
            Some(held) if held.value.0 == set => *held = Cached::new((set, Arc::clone(&held.value.1)), fetched_at),
            held => {
                let ring = Arc::new(Keyring::published(&set));
                *held = Some(Cached::new((set, ring), fetched_at));
            }
        }
    }

    /// Records that published keys could not be fetched. The held ones serve on meanwhile.
    pub(in crate::gate) fn fail(&mut self, url: &str, now: UnixMillis) {
        let published = self.published.entry(url.into()).or_default();
        published.answered_at = Some(now);
        if let Some(held) = &mut published.held {
            held.asked_at = now;
        }
    }

    pub(in crate::gate) fn fetched_at(&self, url: &str) -> Option<UnixMillis> {
        self.published.get(url)?.held.as_ref().map(|held| held.read_at)
    }

    /// The keys published at a URL. `Ok(None)` means that a fetch has failed a moment ago.
    pub(in crate::gate) fn published(
        &mut self,
        url: &str,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<Arc<Keyring>>, Need> {
        let Some(published) = self.published.get_mut(url) else {
            return if self.complete { Ok(None) } else { Err(Need::Snapshot(SnapshotKey::IssuerKeys(url.into()))) };
        };
        let held = published.held.as_mut();
        if let Some((_, ring)) = held
            .and_then(|held| held.get(Freshness::PUBLISHED_KEYS, now, || SnapshotKey::IssuerKeys(url.into()), refresh))
        {
            return Ok(Some(Arc::clone(ring)));
        }
        if published.may_ask(now) && !self.complete {
            Err(Need::Snapshot(SnapshotKey::IssuerKeys(url.into())))
        } else {
            Ok(None)
        }
    }

    /// The key set to fetch again because it lacks a key. At most once per cooldown, whatever key
    /// ids tokens contain.
    pub(in crate::gate) fn stale_keys(&self, url: &str, now: UnixMillis) -> Option<Need> {
        let published = self.published.get(url)?;
        (published.may_ask(now) && !self.complete).then(|| Need::Snapshot(SnapshotKey::IssuerKeys(url.into())))
    }

    pub(in crate::gate) fn put_secret(&mut self, name: &str, value: Option<&str>) {
        self.secrets.insert(name.to_owned(), value.map(String::from));
    }

    /// A secret. `Ok(None)` means that there is no secret of this name.
    pub(in crate::gate) fn secret(&self, name: &str) -> Result<Option<&str>, Need> {
        match self.secrets.get(name) {
            Some(value) => Ok(value.as_deref()),
            None if self.complete => Ok(None),
            None => Err(Need::Secret(name.into())),
        }
    }

    pub(in crate::gate) fn put_api_key(
        &mut self,
        id: &KeyId,
        record: Option<ApiKey>,
        now: UnixMillis,
    ) -> Result<(), Rejected> {
        if let (Some(new), Some(held)) = (&record, self.api_keys.get_mut(id))
            && let Some(known) = &held.value
        {
            let (found, seen) = (new.epoch, known.record.epoch);
            if found < seen {
                return Err(Rejected::Older { found: found.0, held: seen.0 });
            }
        }
        let known =
            record.map(|record| Arc::new(KnownKey { credential: Arc::new(Credential::of_key(&record)), record }));
        let (owner, bytes) =
            known.as_ref().map_or((None, 0), |known| (Some(known.record.tenant.clone()), known.record.bytes()));
        self.api_keys.insert(id.clone(), owner, bytes, Cached::new(known, now));
        Ok(())
    }

    /// Has an API key's record read again before its next use, if an older one is held. The held
    /// one is kept, so that no older one can replace it. Returns false if it is not older.
    pub(in crate::gate) fn invalidate_api_key(&mut self, id: &KeyId, epoch: u64) -> bool {
        match self.api_keys.get_mut(id) {
            Some(held) if held.value.as_ref().is_some_and(|known| known.record.epoch.0 >= epoch) => return false,
            Some(held) if held.value.is_some() => held.read_at = UnixMillis::default(),
            _ => self.api_keys.remove(id),
        }
        true
    }

    /// Has the records of all API keys read again before their next use.
    pub(in crate::gate) fn invalidate_api_keys(&mut self) {
        self.api_keys.retain(|held| {
            held.read_at = UnixMillis::default();
            held.value.is_some()
        });
    }

    /// The API key of this id. `Ok(None)` means that it does not exist.
    pub(in crate::gate) fn api_key(
        &mut self,
        id: &KeyId,
        now: UnixMillis,
        refresh: &mut Vec<Refresh>,
    ) -> Result<Option<Arc<KnownKey>>, Need> {
        let key = || SnapshotKey::ApiKey(id.clone());
        match self.api_keys.get_mut(id) {
            Some(held) if self.complete => Ok(held.value.clone()),
            Some(held) => {
                let ages = Freshness::API_KEY.unless_absent(held.value.as_ref());
                held.get(ages, now, key, refresh).cloned().ok_or_else(|| key().into())
            }
            None if self.complete => Ok(None),
            None => Err(key().into()),
        }
    }
}

impl PublishedKeys {
    fn may_ask(&self, now: UnixMillis) -> bool {
        self.answered_at.is_none_or(|at| now.since(at) > JWKS_COOLDOWN_MS)
    }
}

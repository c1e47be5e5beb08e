//! What one isolate holds to verify credentials with: published keys, secrets, records of API keys.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::credentials::Credential;
use super::held::{Cached, Freshness};
use super::need::Need;
use super::snapshots::Rejected;
use crate::identity::Keyring;
use crate::model::bounds::{JWKS_COOLDOWN_MS, MAX_KEY_CACHE_BYTES};
use crate::model::{ApiKey, KeyId, KeySet, UnixMillis, WeighedCache};

/// The keys of one isolate.
#[derive(Debug)]
pub(super) struct KeyStore {
    published: FxHashMap<Arc<str>, PublishedKeys>,
    secrets: FxHashMap<String, Option<String>>,
    api_keys: WeighedCache<KeyId, Cached<Option<Arc<KnownKey>>>>,
    /// Whether what is not held does not exist, so that nothing has to be fetched.
    complete: bool,
}

/// The keys behind one URL.
#[derive(Debug, Default)]
struct PublishedKeys {
    held: Option<Cached<(KeySet, Arc<Keyring>)>>,
    /// When the last fetch ended, well or not. One that is under way is waited for, not repeated.
    answered_at: Option<UnixMillis>,
}

/// An API key, with the credential that it is.
#[derive(Debug)]
pub(super) struct KnownKey {
    pub(super) record: ApiKey,
    pub(super) credential: Arc<Credential>,
}

impl KeyStore {
    pub(super) fn new(complete: bool) -> Self {
        let api_keys = WeighedCache::new(if complete { usize::MAX } else { MAX_KEY_CACHE_BYTES });
        Self { published: FxHashMap::default(), secrets: FxHashMap::default(), api_keys, complete }
    }

    /// Forgets published keys that no issuer refers to any more.
    pub(super) fn keep<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        let mut kept = FxHashMap::default();
        for url in urls {
            if let Some((url, published)) = self.published.remove_entry(url) {
                kept.insert(url, published);
            }
        }
        self.published = kept;
    }

    pub(super) fn put_published(&mut self, url: &str, set: KeySet, fetched_at: UnixMillis) {
        let published = self.published.entry(url.into()).or_default();
        published.answered_at = Some(fetched_at);
        match &mut published.held {
            // The same again: what was verified with it stays good.
            Some(held) if held.value.0 == set => *held = Cached::new((set, Arc::clone(&held.value.1)), fetched_at),
            held => {
                let ring = Arc::new(Keyring::published(&set));
                *held = Some(Cached::new((set, ring), fetched_at));
            }
        }
    }

    /// Notes that published keys could not be had.
    pub(super) fn fail(&mut self, url: &str, now: UnixMillis) {
        let published = self.published.entry(url.into()).or_default();
        published.answered_at = Some(now);
        // What is held serves on meanwhile.
        if let Some(held) = &mut published.held {
            held.asked_at = now;
        }
    }

    pub(super) fn fetched_at(&self, url: &str) -> Option<UnixMillis> {
        self.published.get(url)?.held.as_ref().map(|held| held.read_at)
    }

    /// The keys published at a URL; `Ok(None)`: they could not be had a moment ago.
    pub(super) fn published(
        &mut self,
        url: &str,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<Arc<Keyring>>, Need> {
        let Some(published) = self.published.get_mut(url) else {
            return if self.complete { Ok(None) } else { Err(Need::Keys(url.into())) };
        };
        let held = published.held.as_mut();
        if let Some((_, ring)) =
            held.and_then(|held| held.get(Freshness::PUBLISHED_KEYS, now, || Need::Keys(url.into()), refresh))
        {
            return Ok(Some(Arc::clone(ring)));
        }
        if published.may_ask(now) && !self.complete { Err(Need::Keys(url.into())) } else { Ok(None) }
    }

    /// Whether keys should be fetched again because one is missing: not too often, whatever names tokens invent.
    pub(super) fn doubt(&self, url: &str, now: UnixMillis) -> Option<Need> {
        let published = self.published.get(url)?;
        (published.may_ask(now) && !self.complete).then(|| Need::Keys(url.into()))
    }

    pub(super) fn put_secret(&mut self, name: &str, value: Option<&str>) {
        self.secrets.insert(name.to_owned(), value.map(String::from));
    }

    /// A secret; `Ok(None)`: there is none of that name.
    pub(super) fn secret(&self, name: &str) -> Result<Option<&str>, Need> {
        match self.secrets.get(name) {
            Some(value) => Ok(value.as_deref()),
            None if self.complete => Ok(None),
            None => Err(Need::Secret(name.into())),
        }
    }

    pub(super) fn put_api_key(&mut self, id: &KeyId, record: Option<ApiKey>, now: UnixMillis) -> Result<(), Rejected> {
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

    /// Has an API key's record read again before it is used, if an older one is held. What is held is not forgotten: nothing
    /// older replaces it.
    pub(super) fn doubt_api_key(&mut self, id: &KeyId, epoch: u64) -> bool {
        match self.api_keys.get_mut(id) {
            Some(held) if held.value.as_ref().is_some_and(|known| known.record.epoch.0 >= epoch) => return false,
            Some(held) if held.value.is_some() => held.read_at = UnixMillis::default(),
            _ => self.api_keys.remove(id),
        }
        true
    }

    /// Has all records of API keys read again before they are used.
    pub(super) fn doubt_api_keys(&mut self) {
        self.api_keys.retain(|held| {
            held.read_at = UnixMillis::default();
            held.value.is_some()
        });
    }

    /// The API key of this name; `Ok(None)`: there is none.
    pub(super) fn api_key(
        &mut self,
        id: &KeyId,
        now: UnixMillis,
        refresh: &mut Vec<Need>,
    ) -> Result<Option<Arc<KnownKey>>, Need> {
        let need = || Need::ApiKey(id.clone());
        match self.api_keys.get_mut(id) {
            Some(held) if self.complete => Ok(held.value.clone()),
            Some(held) => {
                let ages = Freshness::API_KEY.unless_absent(held.value.as_ref());
                held.get(ages, now, need, refresh).cloned().ok_or_else(need)
            }
            None if self.complete => Ok(None),
            None => Err(need()),
        }
    }
}

impl PublishedKeys {
    fn may_ask(&self, now: UnixMillis) -> bool {
        self.answered_at.is_none_or(|at| now.since(at) > JWKS_COOLDOWN_MS)
    }
}

//! A map with a bound on the bytes of its entries, in which an owner's entries evict that owner's
//! own entries first.
//!
//! Owners decide how large their entries are, so a bound on the number of entries would bound
//! nothing. An owner that exceeds an eighth of the budget loses its own least recently used
//! entries. If all owners together exceed the budget, the least recently used entries overall are
//! evicted. Both evictions free some extra room, so that they are rare.

use std::borrow::Borrow;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::TenantId;

/// A map whose entries occupy at most a given number of bytes.
#[derive(Debug)]
pub(crate) struct WeighedCache<K, V> {
    entries: FxHashMap<K, CacheEntry<V>>,
    owners: FxHashMap<TenantId, usize>,
    bytes: usize,
    max_bytes: usize,
    /// A logical clock that advances with every use.
    now: u64,
}

#[derive(Debug)]
struct CacheEntry<V> {
    value: V,
    owner: Option<TenantId>,
    bytes: usize,
    used: u64,
}

/// Bytes of an entry in addition to its value: the map slot and the key.
const ENTRY_BYTES: usize = 256;

impl<K: Eq + Hash + Clone, V> WeighedCache<K, V> {
    /// An empty map of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { entries: FxHashMap::default(), owners: FxHashMap::default(), bytes: 0, max_bytes, now: 0 }
    }

    /// Returns an entry and marks it as used.
    pub(crate) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get_mut(key)?;
        self.now = self.now.wrapping_add(1);
        entry.used = self.now;
        Some(&mut entry.value)
    }

    /// Inserts or replaces an entry of `bytes` bytes that counts for `owner`.
    pub(crate) fn insert(&mut self, key: K, owner: Option<TenantId>, bytes: usize, value: V) {
        self.remove(&key);
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        self.now = self.now.wrapping_add(1);
        self.weigh(owner.as_ref(), bytes);
        let owned_by = owner.clone();
        self.entries.insert(key, CacheEntry { value, owner, bytes, used: self.now });
        self.make_room(owned_by.as_ref());
    }

    /// Updates the size of an entry.
    pub(crate) fn set_bytes<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, bytes: usize)
    where
        K: Borrow<Q>,
    {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        let (before, owner) = (std::mem::replace(&mut entry.bytes, bytes), entry.owner.clone());
        self.unweigh(owner.as_ref(), before);
        self.weigh(owner.as_ref(), bytes);
        self.make_room(owner.as_ref());
    }

    /// Removes an entry.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.entries.remove(key) {
            self.unweigh(entry.owner.as_ref(), entry.bytes);
        }
    }

    /// Removes the entries for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        let keys = self.entries.iter_mut().filter_map(|(key, entry)| (!keep(&mut entry.value)).then(|| key.clone()));
        for key in keys.collect::<Vec<_>>() {
            self.remove(&key);
        }
    }

    fn weigh(&mut self, owner: Option<&TenantId>, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(owner) = owner {
            let own = self.owners.entry(owner.clone()).or_default();
            *own = own.saturating_add(bytes);
        }
    }

    fn unweigh(&mut self, owner: Option<&TenantId>, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(own) = owner.and_then(|owner| self.owners.get_mut(owner)) {
            *own = own.saturating_sub(bytes);
            if *own == 0
                && let Some(owner) = owner
            {
                self.owners.remove(owner);
            }
        }
    }

    fn make_room(&mut self, owner: Option<&TenantId>) {
        let share = self.max_bytes / 8;
        let own = owner.and_then(|owner| self.owners.get(owner)).copied().unwrap_or(0);
        if own > share {
            self.evict(own.saturating_sub(share).saturating_add(share / 4), |entry| entry.owner.as_ref() == owner);
        }
        if self.bytes > self.max_bytes {
            self.evict(self.bytes.saturating_sub(self.max_bytes).saturating_add(share), |_| true);
        }
    }

    /// Removes the least recently used entries for which `may` returns true, until `bytes` bytes
    /// are free. The most recently used entry always stays.
    fn evict(&mut self, bytes: usize, may: impl Fn(&CacheEntry<V>) -> bool) {
        let last = self.now;
        let candidates = self.entries.iter().filter(|(_, entry)| entry.used != last && may(entry));
        let mut candidates: Vec<(u64, K, usize)> =
            candidates.map(|(key, entry)| (entry.used, key.clone(), entry.bytes)).collect();
        candidates.sort_unstable_by_key(|(used, ..)| *used);
        let mut freed = 0_usize;
        for (_, key, own) in candidates {
            if freed >= bytes {
                break;
            }
            freed = freed.saturating_add(own);
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Option<TenantId> {
        TenantId::parse(name)
    }

    #[test]
    fn a_cache_stays_within_its_byte_budget() {
        let mut cache = WeighedCache::new(1_000_000);
        for key in 0..10_000_u32 {
            cache.insert(key, owner(&format!("t_{key}")), 5_000, key);
            assert!(cache.bytes <= 1_000_000, "{} bytes", cache.bytes);
            assert_eq!(cache.bytes, cache.entries.len() * 5_256);
        }
        assert!(cache.bytes > 800_000, "{} bytes", cache.bytes);
        assert_eq!(cache.owners.len(), cache.entries.len());
    }

    #[test]
    fn an_owner_evicts_its_own_entries_first() {
        let mut cache = WeighedCache::new(1_000_000);
        cache.insert(u32::MAX, owner("t_victim"), 10_000, 0);
        for key in 0..1_000 {
            cache.insert(key, owner("t_hostile"), 20_000, key);
        }
        assert_eq!(cache.get_mut(&u32::MAX), Some(&mut 0));
        assert!(cache.owners[&owner("t_hostile").unwrap()] <= 125_000);
        // The most recently used entry stays, and an entry that grows is weighed again.
        assert_eq!(cache.get_mut(&999), Some(&mut 999));
        cache.set_bytes(&999, 120_000);
        assert_eq!(cache.entries.len(), 2);
        assert_eq!(cache.get_mut(&999), Some(&mut 999));
    }
}

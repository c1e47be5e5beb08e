//! A bounded map that evicts entries that have not been used recently.
//!
//! The map has two generations. Entries are written to the young one, and an entry found in the old
//! one moves to the young one. When the young one is full, it replaces the old one. An entry that
//! is used at least once per generation therefore stays. The map needs neither a list in order of
//! use nor a clock.

use std::borrow::Borrow;
use std::hash::Hash;
use std::mem;

use rustc_hash::FxHashMap;

/// A map of at most `2 × half` entries.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    /// A cache of at most `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default(), half: capacity.div_ceil(2).max(1) }
    }

    /// Returns an entry and keeps it for another generation.
    pub(crate) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // Most caches never fill one generation. The old one is then empty, and one lookup is
        // enough.
        if !self.old.is_empty() && !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    #[cfg(test)]
    /// Returns an entry without keeping it.
    pub(crate) fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Inserts or replaces an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Removes an entry.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_stays_within_its_bound_and_keeps_used_entries() {
        let mut cache = Cache::new(100);
        cache.insert(0, "kept");
        for key in 1..10_000 {
            cache.insert(key, "passing");
            assert!(cache.len() <= 100, "{} entries", cache.len());
            assert_eq!(cache.get_mut(&0), Some(&mut "kept"));
        }
        assert_eq!(cache.peek(&1), None);
    }
}

//! A bounded map that forgets what was not used lately.
//!
//! Two generations: entries are written and found in the young one; when it is full, the old one is dropped and the
//! young one grows old. Whatever is used at least once per generation stays. No list to keep in order, no clock.

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

    /// Finds an entry, and keeps it for another generation.
    pub(crate) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // Most caches never fill half: then there is nothing old, and one look-up is all.
        if !self.old.is_empty() && !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    #[cfg(test)]
    /// Finds an entry without keeping it.
    pub(crate) fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Writes an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets an entry.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
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
    fn stays_within_its_bound_and_keeps_what_is_used() {
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

//! A map whose entries each expire at their own time.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Entries by name, each with its expiry in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct ExpiringMap<T> {
    entries: FxHashMap<Arc<str>, (u64, T)>,
    /// A lower bound for the next expiry, which makes the usual check O(1).
    next_end_ms: u64,
}

impl<T> Default for ExpiringMap<T> {
    fn default() -> Self {
        Self { entries: FxHashMap::default(), next_end_ms: u64::MAX }
    }
}

impl<T> ExpiringMap<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.entries.get(name).map(|(_, entry)| entry)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.entries.get_mut(name).map(|(_, entry)| entry)
    }

    /// Adds or replaces an entry.
    pub(super) fn put(&mut self, name: &str, ends_ms: u64, entry: T) {
        self.next_end_ms = self.next_end_ms.min(ends_ms);
        self.entries.insert(name.into(), (ends_ms, entry));
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<T> {
        self.entries.remove(name).map(|(_, entry)| entry)
    }

    /// Removes and returns the entries that have expired at `now_ms`.
    pub(super) fn over(&mut self, now_ms: u64) -> Vec<(Arc<str>, T)> {
        if self.next_end_ms > now_ms {
            return Vec::new();
        }
        let over = self.entries.extract_if(|_, (ends_ms, _)| *ends_ms <= now_ms);
        let mut over: Vec<_> = over.map(|(name, (_, entry))| (name, entry)).collect();
        // Sorted, so that what is written does not depend on the layout of the hash map.
        over.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.next_end_ms = self.entries.values().map(|(ends_ms, _)| *ends_ms).min().unwrap_or(u64::MAX);
        over
    }

    /// Removes and returns the entries that match, whatever their expiry.
    pub(super) fn take_where(&mut self, holds: impl Fn(&T) -> bool) -> Vec<(Arc<str>, T)> {
        let taken = self.entries.extract_if(|_, (_, entry)| holds(entry));
        let mut taken: Vec<_> = taken.map(|(name, (_, entry))| (name, entry)).collect();
        taken.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

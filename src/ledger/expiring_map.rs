//! Things by name, each of which ends at a time of its own.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Things by name, with the time of their end in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct ExpiringMap<T> {
    things: FxHashMap<Arc<str>, (u64, T)>,
    /// When the next one ends, or earlier.
    next_end_ms: u64,
}

impl<T> Default for ExpiringMap<T> {
    fn default() -> Self {
        Self { things: FxHashMap::default(), next_end_ms: u64::MAX }
    }
}

impl<T> ExpiringMap<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.things.get(name).map(|(_, thing)| thing)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.things.get_mut(name).map(|(_, thing)| thing)
    }

    /// Adds or replaces one.
    pub(super) fn put(&mut self, name: &str, ends_ms: u64, thing: T) {
        self.next_end_ms = self.next_end_ms.min(ends_ms);
        self.things.insert(name.into(), (ends_ms, thing));
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<T> {
        self.things.remove(name).map(|(_, thing)| thing)
    }

    /// Takes out those that are over at `now_ms`.
    pub(super) fn over(&mut self, now_ms: u64) -> Vec<(Arc<str>, T)> {
        if self.next_end_ms > now_ms {
            return Vec::new();
        }
        let over = self.things.extract_if(|_, (ends_ms, _)| *ends_ms <= now_ms);
        let mut over: Vec<_> = over.map(|(name, (_, thing))| (name, thing)).collect();
        // The same order everywhere: what is written must not depend on how a map is laid out.
        over.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.next_end_ms = self.things.values().map(|(ends_ms, _)| *ends_ms).min().unwrap_or(u64::MAX);
        over
    }

    /// Takes out those of which it holds, whenever they end.
    pub(super) fn take_where(&mut self, holds: impl Fn(&T) -> bool) -> Vec<(Arc<str>, T)> {
        let taken = self.things.extract_if(|_, (_, thing)| holds(thing));
        let mut taken: Vec<_> = taken.map(|(name, (_, thing))| (name, thing)).collect();
        taken.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.things.len()
    }
}

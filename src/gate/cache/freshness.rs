//! A cached value, and for how long it can be used.
//!
//! Past its soft age a value serves and is refreshed behind the request. Past its firm age it is
//! fetched first, and serves only if that has just failed. Past its hard age it is not used.

use crate::gate::need::{Refresh, SnapshotKey};
use crate::model::UnixMillis;
use crate::model::bounds::{
    FIRM_AGE_MS, HARD_AGE_MS, JWKS_FIRM_AGE_MS, JWKS_HARD_AGE_MS, JWKS_SOFT_AGE_MS, KEY_HARD_AGE_MS, KEY_SOFT_AGE_MS,
    NEGATIVE_AGE_MS, REFRESH_INTERVAL_MS, SOFT_AGE_MS,
};

/// A value, when it was read, and when it was last requested again.
#[derive(Debug)]
pub(super) struct Cached<T> {
    pub(super) value: T,
    pub(super) read_at: UnixMillis,
    pub(super) asked_at: UnixMillis,
}

/// The ages of a kind of value, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Freshness {
    soft_ms: u64,
    firm_ms: u64,
    hard_ms: u64,
}

impl Freshness {
    pub(super) const SNAPSHOT: Self = Self { soft_ms: SOFT_AGE_MS, firm_ms: FIRM_AGE_MS, hard_ms: HARD_AGE_MS };
    pub(super) const API_KEY: Self =
        Self { soft_ms: KEY_SOFT_AGE_MS, firm_ms: KEY_HARD_AGE_MS, hard_ms: KEY_HARD_AGE_MS };
    pub(super) const PUBLISHED_KEYS: Self =
        Self { soft_ms: JWKS_SOFT_AGE_MS, firm_ms: JWKS_FIRM_AGE_MS, hard_ms: JWKS_HARD_AGE_MS };
    const ABSENT: Self = Self { soft_ms: NEGATIVE_AGE_MS, firm_ms: NEGATIVE_AGE_MS, hard_ms: NEGATIVE_AGE_MS };

    /// The ages of a snapshot, or of the knowledge that it does not exist.
    pub(super) const fn of<T>(value: Option<&T>) -> Self {
        if value.is_some() { Self::SNAPSHOT } else { Self::ABSENT }
    }

    /// These ages, or those of the knowledge that there is no such value.
    pub(super) const fn unless_absent<T>(self, value: Option<&T>) -> Self {
        if value.is_some() { self } else { Self::ABSENT }
    }
}

impl<T> Cached<T> {
    pub(super) fn new(value: T, now: UnixMillis) -> Self {
        Self { value, read_at: now, asked_at: now }
    }

    /// Records that the value could not be fetched again. Returns whether the held one may serve.
    pub(super) fn failed(&mut self, ages: Freshness, now: UnixMillis) -> bool {
        self.asked_at = now;
        now.since(self.read_at) <= ages.hard_ms
    }

    /// Has the value fetched again before its next use, unless it was requested a moment ago.
    pub(super) fn mark_stale(&mut self, now: UnixMillis) {
        let firm = UnixMillis::new(now.get().saturating_sub(FIRM_AGE_MS).saturating_sub(1));
        self.read_at = self.read_at.min(firm);
    }

    /// Has the value fetched again before its next use, even if it was just fetched: a newer one is
    /// known.
    pub(super) fn invalidate(&mut self, now: UnixMillis) {
        self.mark_stale(now);
        self.asked_at = UnixMillis::default();
    }

    /// The value while it can be used. Requests a refresh past the soft age, not too often.
    pub(super) fn get(
        &mut self,
        ages: Freshness,
        now: UnixMillis,
        key: impl FnOnce() -> SnapshotKey,
        refresh: &mut Vec<Refresh>,
    ) -> Option<&T> {
        let age = now.since(self.read_at);
        let asked_lately = now.since(self.asked_at) <= REFRESH_INTERVAL_MS;
        if age > ages.hard_ms || age > ages.firm_ms && !asked_lately {
            return None;
        }
        if age > ages.soft_ms && !asked_lately {
            self.asked_at = now;
            refresh.push(key().into());
        }
        Some(&self.value)
    }
}

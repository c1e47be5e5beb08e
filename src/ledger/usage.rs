//! Usage: what events add up to, in stretches of time.
//!
//! A bucket is one metric of one tenant in one billing period, or on one day of it. Everything that can be asked of it is kept
//! at once, so that a catalog may change how a metric is aggregated without losing what was counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::counter::is_zero;
use super::{Book, Order};
use crate::model::map_of;

/// What one event adds to one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// The bucket: tenant, metric, and the stretch of time.
    #[serde(borrow)]
    pub bucket: Cow<'a, str>,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// How much.
    pub value: u64,
    /// A digest of what is counted once only, for metrics that count distinct values.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<Cow<'a, str>>,
}

impl Entry<'_> {
    /// The name under which a ledger remembers that the bucket has the value.
    pub fn distinct_name(&self) -> Option<String> {
        self.distinct.as_ref().map(|digest| format!("{} {digest}", self.bucket))
    }
}

/// What the events of a bucket add up to.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Events.
    pub count: u64,
    /// The sum of their values.
    pub sum: u64,
    /// The largest value.
    pub max: u64,
    /// The value of the latest event by its own time, and that time.
    pub latest: (u64, u64),
    /// Distinct values.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unique: u64,
}

impl Tally {
    /// Adds an event. `new`: its value was not there yet.
    pub fn add(&mut self, at_ms: u64, value: u64, new: bool) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
        // Of two events of one moment the larger counts, so that their order does not matter.
        self.latest = self.latest.max((at_ms, value));
        self.unique = self.unique.saturating_add(u64::from(new));
    }
}

/// Buckets by name, and the distinct values that they have.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    tallies: FxHashMap<Arc<str>, Tally>,
    distinct: FxHashSet<String>,
}

impl Tallies {
    pub(super) fn put(&mut self, bucket: &str, tally: Tally) {
        self.tallies.insert(bucket.into(), tally);
    }

    pub(super) fn put_distinct(&mut self, name: String) {
        self.distinct.insert(name);
    }

    pub(super) fn get(&self, bucket: &str) -> Option<&Tally> {
        self.tallies.get(bucket)
    }

    /// Adds an event; the name of its distinct value, if that is new.
    pub(super) fn add(&mut self, entry: &Entry<'_>) -> Option<String> {
        let new = entry.distinct_name().filter(|name| self.distinct.insert(name.clone()));
        self.tallies.entry((*entry.bucket).into()).or_default().add(entry.at_ms, entry.value, new.is_some());
        new
    }

    /// The bucket of this name and those below it.
    pub(super) fn below(&self, name: &str) -> BTreeMap<String, Tally> {
        let below =
            |bucket: &str| bucket.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let own = self.tallies.iter().filter(|(bucket, _)| below(bucket));
        map_of(own.map(|(bucket, tally)| (bucket.to_string(), tally.clone())))
    }

    /// Names of distinct values, sorted.
    pub(super) fn distinct_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names: Vec<_> = self.distinct.iter().filter(|name| wanted(name)).cloned().collect();
        names.sort_unstable();
        names
    }

    pub(super) fn clear(&mut self) {
        self.tallies.clear();
        self.distinct.clear();
    }
}

impl Book {
    /// Adds an event of usage up.
    pub(super) fn add_up(&mut self, order: &Order<'_>) {
        for entry in &order.usage {
            let distinct = self.tallies.add(entry);
            if let Some(changes) = &mut self.changes {
                changes.tallies.insert((*entry.bucket).into());
                changes.distinct.extend(distinct);
            }
        }
        if let (Some(changes), Some(event)) = (&mut self.changes, &order.event) {
            changes.events.push(event.to_string());
        }
    }

    pub(super) fn note_tally(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.tallies.insert(name.into());
        }
    }

    pub(super) fn note_distinct(&mut self, name: String) {
        if let Some(changes) = &mut self.changes {
            changes.distinct.push(name);
        }
    }

    /// A bucket of usage, if anything was ever added.
    pub fn tally(&self, bucket: &str) -> Option<&Tally> {
        self.tallies.get(bucket)
    }

    /// Writes a bucket of usage as it was stored.
    pub fn put_tally(&mut self, bucket: &str, tally: Tally) {
        self.tallies.put(bucket, tally);
    }

    /// Notes that a bucket has a distinct value, by [`super::Entry::distinct_name`].
    pub fn put_distinct(&mut self, name: String) {
        self.tallies.put_distinct(name);
    }

    /// Forgets all buckets of usage, where they are stored elsewhere and put in when they are needed.
    pub fn forget_usage(&mut self) {
        self.tallies.clear();
    }
}

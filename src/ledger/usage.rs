//! Usage: usage events, aggregated by metric and period.
//!
//! A bucket is one metric of one tenant in one billing period, or on one day of it. A bucket keeps
//! every aggregate at once, so that a catalog can change how a metric is aggregated without losing
//! what was counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::series::{Series, Setting};
use super::verdict::is_zero;
use crate::model::{UnixMillis, gather};

/// The value that one usage event adds to a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEntry<'a> {
    /// The series: tenant and metric.
    #[serde(borrow)]
    pub series: Cow<'a, str>,
    /// The settings that determine the metric's periods.
    pub setting: Setting,
    /// When the event happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// The value.
    pub value: u64,
    /// A digest of the value to count once, for metrics that count distinct values.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<Cow<'a, str>>,
}

impl UsageEntry<'_> {
    /// Returns the name under which a ledger records that a bucket contains the distinct value.
    pub fn distinct_name(&self, bucket: &str) -> Option<String> {
        self.distinct.as_ref().map(|digest| format!("{bucket} {digest}"))
    }
}

/// A query for the total of a metric in the period that contains a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry<'a> {
    /// The series: tenant and metric.
    #[serde(borrow)]
    pub series: Cow<'a, str>,
    /// The settings that determine the metric's periods.
    pub setting: Setting,
    /// The time, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The totals of a metric in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePeriod {
    /// Start of the period, in milliseconds since 1970.
    pub starts_ms: u64,
    /// End of the period, exclusive.
    pub ends_ms: u64,
    /// The totals of the whole period.
    pub tally: Tally,
    /// The totals by day, such as `2026-11-24`.
    pub days: BTreeMap<String, Tally>,
}

/// The aggregates of a bucket.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The number of events.
    pub count: u64,
    /// The sum of the values.
    pub sum: u64,
    /// The largest value.
    pub max: u64,
    /// The time and the value of the latest event, by its own time.
    pub latest: (u64, u64),
    /// The number of distinct values.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unique: u64,
}

impl Tally {
    /// Adds an event. `new` says whether its distinct value is new in the bucket.
    pub fn add(&mut self, at_ms: u64, value: u64, new: bool) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
        // Of two events at the same time the larger value counts, so that their order does not
        // matter.
        self.latest = self.latest.max((at_ms, value));
        self.unique = self.unique.saturating_add(u64::from(new));
    }
}

/// Buckets by name, with their distinct values and the recorded periods.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) tallies: FxHashMap<Arc<str>, Tally>,
    pub(super) series: FxHashMap<Arc<str>, Series>,
    pub(super) distinct: FxHashSet<String>,
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

    /// Adds an event to a bucket. Returns the name of its distinct value if that is new.
    pub(super) fn add(&mut self, bucket: &str, entry: &UsageEntry<'_>) -> Option<String> {
        let new = entry.distinct_name(bucket).filter(|name| self.distinct.insert(name.clone()));
        self.tallies.entry(bucket.into()).or_default().add(entry.at_ms, entry.value, new.is_some());
        new
    }

    /// Records how the periods of a metric continue. Returns whether the setting is new.
    pub(super) fn note(&mut self, name: &str, setting: Setting, now: UnixMillis) -> bool {
        if let Some(series) = self.series.get_mut(name) {
            return series.note(setting, now);
        }
        self.series.insert(name.into(), Series::new(setting));
        true
    }

    /// Returns the recorded periods of a tenant's metrics.
    pub(super) fn series_of(&self, tenant: &str) -> BTreeMap<String, Series> {
        let own = |name: &str| name.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('/'));
        gather(
            self.series.iter().filter(|(name, _)| own(name)).map(|(name, series)| (name.to_string(), series.clone())),
        )
    }

    /// Returns the bucket of this name and those below it.
    pub(super) fn below(&self, name: &str) -> BTreeMap<String, Tally> {
        let below =
            |bucket: &str| bucket.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let own = self.tallies.iter().filter(|(bucket, _)| below(bucket));
        gather(own.map(|(bucket, tally)| (bucket.to_string(), tally.clone())))
    }

    /// Returns the names of matching distinct values, sorted.
    pub(super) fn distinct_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names: Vec<_> = self.distinct.iter().filter(|name| wanted(name)).cloned().collect();
        names.sort_unstable();
        names
    }

    pub(super) fn clear(&mut self) {
        self.tallies.clear();
        self.series.clear();
        self.distinct.clear();
    }
}

pub(super) fn bucket(series: &str, starts_ms: u64) -> String {
    format!("{series}/{starts_ms}")
}

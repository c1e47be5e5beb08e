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

use super::counter::is_zero;
use super::series::{Series, Setting};
use super::{LedgerRequest, LedgerState};
use crate::model::{UnixMillis, map_of};

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
    tallies: FxHashMap<Arc<str>, Tally>,
    series: FxHashMap<Arc<str>, Series>,
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

    /// Adds an event to a bucket. Returns the name of its distinct value if that is new.
    fn add(&mut self, bucket: &str, entry: &UsageEntry<'_>) -> Option<String> {
        let new = entry.distinct_name(bucket).filter(|name| self.distinct.insert(name.clone()));
        self.tallies.entry(bucket.into()).or_default().add(entry.at_ms, entry.value, new.is_some());
        new
    }

    /// Records how the periods of a metric continue. Returns whether the setting is new.
    fn note(&mut self, name: &str, setting: Setting, now: UnixMillis) -> bool {
        if let Some(series) = self.series.get_mut(name) {
            return series.note(setting, now);
        }
        self.series.insert(name.into(), Series::new(setting));
        true
    }

    /// Returns the recorded periods of a tenant's metrics.
    pub(super) fn series_of(&self, tenant: &str) -> BTreeMap<String, Series> {
        let own = |name: &str| name.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('/'));
        map_of(
            self.series.iter().filter(|(name, _)| own(name)).map(|(name, series)| (name.to_string(), series.clone())),
        )
    }

    /// Returns the bucket of this name and those below it.
    pub(super) fn below(&self, name: &str) -> BTreeMap<String, Tally> {
        let below =
            |bucket: &str| bucket.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let own = self.tallies.iter().filter(|(bucket, _)| below(bucket));
        map_of(own.map(|(bucket, tally)| (bucket.to_string(), tally.clone())))
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

impl LedgerState {
    /// Adds the entries of a usage event to their buckets.
    pub(super) fn add_up(&mut self, request: &LedgerRequest<'_>, now: UnixMillis) {
        for entry in &request.usage {
            self.note_setting(entry, now);
            for bucket in self.buckets(entry) {
                let distinct = self.tallies.add(&bucket, entry);
                if let Some(changes) = &mut self.changes {
                    changes.tallies.insert(bucket.into());
                    changes.distinct.extend(distinct);
                }
            }
        }
        if let (Some(changes), Some(event)) = (&mut self.changes, &request.event) {
            changes.events.push(event.to_string());
        }
    }

    /// Records how the periods of an entry's metric continue. The result does not depend on the
    /// order of entries.
    pub fn note_setting(&mut self, entry: &UsageEntry<'_>, now: UnixMillis) {
        if self.tallies.note(&entry.series, entry.setting, now) {
            self.note_series(&entry.series);
        }
    }

    pub(super) fn note_series(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.series.insert(name.into());
        }
    }

    /// Returns the buckets that an entry adds to: its period and its day.
    pub fn buckets(&self, entry: &UsageEntry<'_>) -> [String; 2] {
        let new = Series::new(entry.setting);
        let (starts_ms, _) = self.tallies.series.get(&*entry.series).unwrap_or(&new).period_at(entry.at_ms);
        let period = bucket(&entry.series, starts_ms);
        let day: String = UnixMillis::new(entry.at_ms).to_string().chars().take(10).collect();
        let of_day = format!("{period}/{day}");
        [period, of_day]
    }

    /// Returns the start and the end of the period that an inquiry is about, and its bucket.
    pub fn period_of(&self, inquiry: &Inquiry<'_>, now: UnixMillis) -> (u64, u64, String) {
        let mut series =
            self.tallies.series.get(&*inquiry.series).cloned().unwrap_or_else(|| Series::new(inquiry.setting));
        series.note(inquiry.setting, now);
        let (starts_ms, ends_ms) = series.period_at(inquiry.at_ms);
        (starts_ms, ends_ms, bucket(&inquiry.series, starts_ms))
    }

    /// Returns the totals that an inquiry is about.
    pub(super) fn usage_period(&self, inquiry: &Inquiry<'_>, now: UnixMillis) -> UsagePeriod {
        let (starts_ms, ends_ms, bucket) = self.period_of(inquiry, now);
        let mut days = self.tallies.below(&bucket);
        let tally = days.remove(&bucket).unwrap_or_default();
        let day =
            |(name, tally): (String, Tally)| Some((name.get(bucket.len().saturating_add(1)..)?.to_owned(), tally));
        UsagePeriod { starts_ms, ends_ms, tally, days: map_of(days.into_iter().filter_map(day)) }
    }

    /// Returns the recorded periods of a metric, if anything was ever added.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.tallies.series.get(name)
    }

    /// Restores recorded periods.
    pub fn put_series(&mut self, name: &str, series: Series) {
        self.tallies.series.insert(name.into(), series);
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

    /// Returns a usage bucket, if anything was ever added.
    pub fn tally(&self, bucket: &str) -> Option<&Tally> {
        self.tallies.get(bucket)
    }

    /// Restores a stored usage bucket.
    pub fn put_tally(&mut self, bucket: &str, tally: Tally) {
        self.tallies.put(bucket, tally);
    }

    /// Restores a distinct value of a bucket, by [`super::UsageEntry::distinct_name`].
    pub fn put_distinct(&mut self, name: String) {
        self.tallies.put_distinct(name);
    }

    /// Drops all usage buckets and ended quota periods, for adapters that load them when needed.
    pub fn forget_usage(&mut self) {
        self.tallies.clear();
        self.closed.clear();
    }
}

fn bucket(series: &str, starts_ms: u64) -> String {
    format!("{series}/{starts_ms}")
}

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
use super::series::{Series, Setting};
use super::{LedgerRequest, LedgerState};
use crate::model::{UnixMillis, map_of};

/// What one event adds to a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEntry<'a> {
    /// Tenant and metric.
    #[serde(borrow)]
    pub series: Cow<'a, str>,
    /// How its periods go on.
    pub setting: Setting,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// How much.
    pub value: u64,
    /// A digest of what is counted once only, for metrics that count distinct values.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<Cow<'a, str>>,
}

impl UsageEntry<'_> {
    /// The name under which a ledger remembers that a bucket has the value.
    pub fn distinct_name(&self, bucket: &str) -> Option<String> {
        self.distinct.as_ref().map(|digest| format!("{bucket} {digest}"))
    }
}

/// A question for what a metric has come to, in the period that holds a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry<'a> {
    /// Tenant and metric.
    #[serde(borrow)]
    pub series: Cow<'a, str>,
    /// How its periods go on.
    pub setting: Setting,
    /// The time, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What a metric has come to, in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePeriod {
    /// Start of the period, in milliseconds since 1970.
    pub starts_ms: u64,
    /// Its end, exclusive.
    pub ends_ms: u64,
    /// The period as a whole.
    pub tally: Tally,
    /// Its days, such as `2026-11-24`.
    pub days: BTreeMap<String, Tally>,
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

/// Buckets by name, the distinct values that they have, and the periods that they are of.
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

    /// Adds an event to a bucket; the name of its distinct value, if that is new.
    fn add(&mut self, bucket: &str, entry: &UsageEntry<'_>) -> Option<String> {
        let new = entry.distinct_name(bucket).filter(|name| self.distinct.insert(name.clone()));
        self.tallies.entry(bucket.into()).or_default().add(entry.at_ms, entry.value, new.is_some());
        new
    }

    /// Notes how the periods of a metric go on; whether that is new.
    fn note(&mut self, name: &str, setting: Setting, now: UnixMillis) -> bool {
        if let Some(series) = self.series.get_mut(name) {
            return series.note(setting, now);
        }
        self.series.insert(name.into(), Series::new(setting));
        true
    }

    /// Recorded periods of a tenant's metrics.
    pub(super) fn series_of(&self, tenant: &str) -> BTreeMap<String, Series> {
        let own = |name: &str| name.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('/'));
        map_of(
            self.series.iter().filter(|(name, _)| own(name)).map(|(name, series)| (name.to_string(), series.clone())),
        )
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
        self.series.clear();
        self.distinct.clear();
    }
}

impl LedgerState {
    /// Adds an event of usage up.
    pub(super) fn add_up(&mut self, order: &LedgerRequest<'_>, now: UnixMillis) {
        for entry in &order.usage {
            self.note_setting(entry, now);
            for bucket in self.buckets(entry) {
                let distinct = self.tallies.add(&bucket, entry);
                if let Some(changes) = &mut self.changes {
                    changes.tallies.insert(bucket.into());
                    changes.distinct.extend(distinct);
                }
            }
        }
        if let (Some(changes), Some(event)) = (&mut self.changes, &order.event) {
            changes.events.push(event.to_string());
        }
    }

    /// Notes how the periods of an entry's metric go on. In whichever order entries are noted, the outcome is the same.
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

    /// The buckets that an entry adds to: its period, and its day.
    pub fn buckets(&self, entry: &UsageEntry<'_>) -> [String; 2] {
        let new = Series::new(entry.setting);
        let (starts_ms, _) = self.tallies.series.get(&*entry.series).unwrap_or(&new).period_at(entry.at_ms);
        let period = bucket(&entry.series, starts_ms);
        let day: String = UnixMillis::new(entry.at_ms).to_string().chars().take(10).collect();
        let of_day = format!("{period}/{day}");
        [period, of_day]
    }

    /// The period that an inquiry is for, and its bucket.
    pub fn period_of(&self, inquiry: &Inquiry<'_>, now: UnixMillis) -> (u64, u64, String) {
        let mut series =
            self.tallies.series.get(&*inquiry.series).cloned().unwrap_or_else(|| Series::new(inquiry.setting));
        series.note(inquiry.setting, now);
        let (starts_ms, ends_ms) = series.period_at(inquiry.at_ms);
        (starts_ms, ends_ms, bucket(&inquiry.series, starts_ms))
    }

    /// What a metric has come to.
    pub(super) fn usage_period(&self, inquiry: &Inquiry<'_>, now: UnixMillis) -> UsagePeriod {
        let (starts_ms, ends_ms, bucket) = self.period_of(inquiry, now);
        let mut days = self.tallies.below(&bucket);
        let tally = days.remove(&bucket).unwrap_or_default();
        let day =
            |(name, tally): (String, Tally)| Some((name.get(bucket.len().saturating_add(1)..)?.to_owned(), tally));
        UsagePeriod { starts_ms, ends_ms, tally, days: map_of(days.into_iter().filter_map(day)) }
    }

    /// Recorded periods of a metric, if anything was ever added.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.tallies.series.get(name)
    }

    /// Writes recorded periods as they were stored.
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

    /// A bucket of usage, if anything was ever added.
    pub fn tally(&self, bucket: &str) -> Option<&Tally> {
        self.tallies.get(bucket)
    }

    /// Writes a bucket of usage as it was stored.
    pub fn put_tally(&mut self, bucket: &str, tally: Tally) {
        self.tallies.put(bucket, tally);
    }

    /// Notes that a bucket has a distinct value, by [`super::UsageEntry::distinct_name`].
    pub fn put_distinct(&mut self, name: String) {
        self.tallies.put_distinct(name);
    }

    /// Forgets all buckets of usage, where they are stored elsewhere and put in when they are needed.
    pub fn forget_usage(&mut self) {
        self.tallies.clear();
        self.closed.clear();
    }
}

fn bucket(series: &str, starts_ms: u64) -> String {
    format!("{series}/{starts_ms}")
}

//! Usage, counted from events.

use crate::ledger::usage::{Inquiry, Tally, UsageEntry, UsagePeriod, bucket};

use crate::ledger::series::Series;
use crate::ledger::{LedgerRequest, LedgerState};
use crate::model::{UnixMillis, gather};

impl LedgerState {
    /// Adds the entries of a usage event to their buckets.
    pub(in crate::ledger) fn add_up(&mut self, request: &LedgerRequest<'_>, now: UnixMillis) {
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

    pub(in crate::ledger) fn note_series(&mut self, name: &str) {
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
    pub(in crate::ledger) fn usage_period(&self, inquiry: &Inquiry<'_>, now: UnixMillis) -> UsagePeriod {
        let (starts_ms, ends_ms, bucket) = self.period_of(inquiry, now);
        let mut days = self.tallies.below(&bucket);
        let tally = days.remove(&bucket).unwrap_or_default();
        let day =
            |(name, tally): (String, Tally)| Some((name.get(bucket.len().saturating_add(1)..)?.to_owned(), tally));
        UsagePeriod { starts_ms, ends_ms, tally, days: gather(days.into_iter().filter_map(day)) }
    }

    /// Returns the recorded periods of a metric, if anything was ever added.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.tallies.series.get(name)
    }

    /// Restores recorded periods.
    pub fn put_series(&mut self, name: &str, series: Series) {
        self.tallies.series.insert(name.into(), series);
    }

    pub(in crate::ledger) fn note_tally(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.tallies.insert(name.into());
        }
    }

    pub(in crate::ledger) fn note_distinct(&mut self, name: String) {
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

    /// Restores a distinct value of a bucket, by [`crate::ledger::UsageEntry::distinct_name`].
    pub fn put_distinct(&mut self, name: String) {
        self.tallies.put_distinct(name);
    }

    /// Drops all usage buckets and ended quota periods, for adapters that load them when needed.
    pub fn forget_usage(&mut self) {
        self.tallies.clear();
        self.closed.clear();
    }
}

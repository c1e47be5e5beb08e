//! The periods of a metric: a recorded sequence without gaps or overlaps.
//!
//! Settings determine only how periods continue. A period that has ended keeps its boundaries, and
//! so does the current one. When the billing anchor moves or the metric's period changes, the new
//! settings take effect where the current period ends. The first period under them is shorter than
//! the others unless the boundaries coincide.

use serde::{Deserialize, Serialize};

use crate::model::UnixMillis;
use crate::model::bounds::MAX_ERAS;
use crate::model::period::{Period, bounds};

/// The settings that determine the periods of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The length of a period.
    pub period: Period,
    /// The tenant's billing anchor, in milliseconds since 1970.
    pub anchor_ms: u64,
    /// The version of the catalog and the epoch of the record that contain the settings. Of two
    /// settings the one with the higher stamp counts, in whatever order they arrive.
    pub stamp: (u64, u64),
}

/// The recorded periods of one metric of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    stamp: (u64, u64),
    eras: Vec<PeriodRule>,
}

/// Periods under one setting, from a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct PeriodRule {
    from_ms: u64,
    period: Period,
    anchor_ms: u64,
}

impl Series {
    pub(super) fn new(setting: Setting) -> Self {
        let Setting { period, anchor_ms, stamp } = setting;
        Self { stamp, eras: vec![PeriodRule { from_ms: 0, period, anchor_ms }] }
    }

    /// Records how periods continue from `now`. Returns whether the setting is new.
    pub(super) fn note(&mut self, setting: Setting, now: UnixMillis) -> bool {
        let current = |series: &Self| series.eras.last().map(|era| (era.period, era.anchor_ms));
        if setting.stamp < self.stamp
            || setting.stamp == self.stamp && current(self) == Some((setting.period, setting.anchor_ms))
        {
            return false;
        }
        self.stamp = setting.stamp;
        // A setting that has not taken effect yet is replaced.
        if self.eras.len() > 1 && self.eras.last().is_some_and(|era| era.from_ms > now.get()) {
            self.eras.pop();
        }
        if current(self) != Some((setting.period, setting.anchor_ms)) && self.eras.len() < MAX_ERAS {
            let from_ms = self.period_at(now.get()).1;
            self.eras.push(PeriodRule { from_ms, period: setting.period, anchor_ms: setting.anchor_ms });
        }
        true
    }

    /// Returns the start and the end of the period that contains `at_ms`.
    pub(super) fn period_at(&self, at_ms: u64) -> (u64, u64) {
        let next = self.eras.iter().position(|era| era.from_ms > at_ms).unwrap_or(self.eras.len());
        let Some(era) = next.checked_sub(1).and_then(|index| self.eras.get(index)) else { return (0, u64::MAX) };
        let (starts, ends) = bounds(era.period, UnixMillis::new(era.anchor_ms), UnixMillis::new(at_ms));
        let until = self.eras.get(next).map_or(u64::MAX, |era| era.from_ms);
        (starts.get().max(era.from_ms), ends.get().min(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        UnixMillis::parse(&format!("2026-{text}T00:00:00Z")).unwrap().get()
    }

    fn setting(period: Period, anchor: &str, epoch: u64) -> Setting {
        Setting { period, anchor_ms: at(anchor), stamp: (1, epoch) }
    }

    fn dates(series: &Series, day: &str) -> [String; 2] {
        let (starts, ends) = series.period_at(at(day));
        [starts, ends].map(|ms| UnixMillis::new(ms).to_string()[5..10].to_owned())
    }

    #[test]
    fn a_period_that_has_begun_keeps_its_boundaries() {
        let mut series = Series::new(setting(Period::Month, "01-01", 1));
        assert!(series.note(setting(Period::Month, "01-20", 2), UnixMillis::new(at("03-10"))));
        assert_eq!(dates(&series, "02-25"), ["02-01", "03-01"]);
        assert_eq!(dates(&series, "03-25"), ["03-01", "04-01"]);
        assert_eq!(dates(&series, "04-01"), ["04-01", "04-20"]);
        assert_eq!(dates(&series, "04-20"), ["04-20", "05-20"]);
        // Another length, reverted before it takes effect.
        assert!(series.note(setting(Period::Day, "01-20", 3), UnixMillis::new(at("04-21"))));
        assert_eq!(dates(&series, "05-21"), ["05-21", "05-22"]);
        assert!(series.note(setting(Period::Month, "01-20", 4), UnixMillis::new(at("04-22"))));
        assert_eq!(dates(&series, "05-21"), ["05-20", "06-20"]);
    }

    #[test]
    fn the_later_setting_wins_in_any_order_of_arrival() {
        let [one, two] = [setting(Period::Month, "01-01", 1), setting(Period::Month, "01-20", 2)];
        let now = UnixMillis::new(at("03-10"));
        let mut series = Series::new(one);
        assert!(series.note(two, now) && !series.note(one, now) && !series.note(two, now));
        assert_eq!(dates(&series, "04-05"), ["04-01", "04-20"]);
    }
}

//! Billing periods: calendar arithmetic relative to an anchor, in one function for all uses.
//!
//! Periods are counted from the anchor, never from the previous period. A month that starts on 31
//! January ends on 28 or 29 February, and the next one ends on 31 March: a short month has no
//! lasting effect. All times are in UTC, and the end of a period is exclusive.

use chrono::{Datelike, Days, Months, NaiveDateTime};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{UnixMillis, choice};

choice! {
    /// The length of a quota's period.
    pub enum Period {
        /// 60 minutes, starting at the anchor's minute.
        Hour = "hour",
        /// 24 hours, starting at the anchor's time of day.
        Day = "day",
        /// 7 days.
        Week = "week",
        /// A calendar month, starting on the anchor's day or on the last day of a shorter month.
        Month = "month",
        /// A calendar year. An anchor on 29 February falls on the 28th in common years.
        Year = "year",
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let all = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];
        all.into_iter().find(|period| period.as_str() == text).ok_or_else(|| D::Error::custom("unknown period"))
    }
}

/// The period that contains `now`, as start (inclusive) and end (exclusive). Periods extend
/// backwards before the anchor.
///
/// # Examples
/// ```
/// use tenantgate::model::{UnixMillis, period::{Period, bounds}};
/// let at = |text| UnixMillis::parse(text).unwrap();
/// let anchor = at("2026-01-31T00:00:00Z");
/// let (start, end) = bounds(Period::Month, anchor, at("2026-03-01T12:00:00Z"));
/// assert_eq!((start, end), (at("2026-02-28T00:00:00Z"), at("2026-03-31T00:00:00Z")));
/// ```
pub fn bounds(period: Period, anchor: UnixMillis, now: UnixMillis) -> (UnixMillis, UnixMillis) {
    let (from, at) = (anchor.utc().naive_utc(), now.utc().naive_utc());
    // The first guess may be one period too late, because it ignores the anchor's day and time of
    // day.
    let mut index = match period {
        Period::Hour => hours(at).saturating_sub(hours(from)),
        Period::Day => days(at).saturating_sub(days(from)),
        Period::Week => days(at).saturating_sub(days(from)).div_euclid(7),
        Period::Month => months(at).saturating_sub(months(from)),
        Period::Year => i64::from(at.year()).saturating_sub(i64::from(from.year())),
    };
    if nth(period, from, index).is_none_or(|start| start > at) {
        index = index.saturating_sub(1);
    }
    // Beyond chrono's range there is no such date. The bounds of `UnixMillis` take its place, which
    // only makes the period longer.
    let millis = |time: Option<NaiveDateTime>| {
        time.map(|t| UnixMillis::new(u64::try_from(t.and_utc().timestamp_millis()).unwrap_or(0)))
    };
    (
        millis(nth(period, from, index)).unwrap_or_default(),
        millis(nth(period, from, index.saturating_add(1))).unwrap_or(UnixMillis::MAX),
    )
}

fn nth(period: Period, anchor: NaiveDateTime, index: i64) -> Option<NaiveDateTime> {
    let distance = index.unsigned_abs();
    let months = |each: u64| u32::try_from(distance.checked_mul(each)?).ok().map(Months::new);
    let days = |each: u64| distance.checked_mul(each).map(Days::new);
    let forward = index >= 0;
    match period {
        Period::Hour => anchor.checked_add_signed(chrono::TimeDelta::try_hours(index)?),
        Period::Day if forward => anchor.checked_add_days(days(1)?),
        Period::Day => anchor.checked_sub_days(days(1)?),
        Period::Week if forward => anchor.checked_add_days(days(7)?),
        Period::Week => anchor.checked_sub_days(days(7)?),
        Period::Month if forward => anchor.checked_add_months(months(1)?),
        Period::Month => anchor.checked_sub_months(months(1)?),
        Period::Year if forward => anchor.checked_add_months(months(12)?),
        Period::Year => anchor.checked_sub_months(months(12)?),
    }
}

fn hours(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp().div_euclid(3_600)
}

fn days(time: NaiveDateTime) -> i64 {
    i64::from(time.num_days_from_ce())
}

fn months(time: NaiveDateTime) -> i64 {
    i64::from(time.year()).saturating_mul(12).saturating_add(i64::from(time.month0()))
}

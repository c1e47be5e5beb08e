//! Usage: events in (CloudEvents 1.0, JSON format, structured or batch), reports out.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::gate::{UsageEvent, UsageInquiry};
use crate::ledger::{LedgerResponse, QuotaPeriod, Tally, UsagePeriod};
use crate::model::bounds::{MAX_EVENT_NAME_BYTES, MAX_EVENTS, MAX_PROBLEMS, MAX_USAGE_BODY_BYTES};
use crate::model::{Aggregation, Problem, Problems, Reader, TenantId, UnixMillis};

/// Reads one event or an array of events.
///
/// # Errors
/// All problems, each with its JSON path. Then none of the events may be counted.
///
/// # Examples
/// ```
/// use tenantgate::wire::parse_events;
/// let events = parse_events(r#"{
///     "specversion": "1.0", "id": "e-1", "source": "/api", "type": "llm.completion", "subject": "t_acme", "data": {"tokens": 812}
/// }"#).unwrap();
/// assert_eq!(events[0].data["tokens"], 812);
/// assert_eq!(parse_events(r#"[{"specversion": "1.0", "id": ""}]"#).unwrap_err().0.len(), 4);
/// ```
pub fn parse_events(text: &str) -> Result<Vec<UsageEvent>, Problems> {
    Reader::run(|r| {
        let value = r.json(text, MAX_USAGE_BODY_BYTES)?;
        let Value::Array(events) = &value else { return Some(vec![event(&value, r)?]) };
        if events.is_empty() {
            return r.refuse("an empty list", "at least one event");
        }
        r.at_most(events.len(), MAX_EVENTS);
        let events: Vec<_> =
            events.iter().enumerate().map(|(index, value)| r.at_index(index, |r| event(value, r))).collect();
        events.into_iter().collect()
    })
}

fn event(value: &Value, r: &mut Reader) -> Option<UsageEvent> {
    let Value::Object(members) = value else { return r.unexpected(value, "an event: an object (CloudEvents 1.0)") };
    let version = required(members, "specversion", r, |text| (text == "1.0").then_some(()), "\"1.0\"");
    let named = |text: &str| (!text.is_empty() && text.len() <= MAX_EVENT_NAME_BYTES).then(|| text.to_owned());
    let name = format!("text of 1 to {MAX_EVENT_NAME_BYTES} bytes");
    let id = required(members, "id", r, named, &name);
    let source = required(members, "source", r, named, &name);
    let kind = required(members, "type", r, named, &name);
    let tenant = required(members, "subject", r, TenantId::parse, "the id of the tenant");
    let time = optional(members, "time", r, UnixMillis::parse, "a time (RFC 3339)");
    optional(members, "datacontenttype", r, |kind| is_json(kind).then_some(()), "`application/json`");
    for (name, value) in members {
        // CloudEvents 1.0 §3.1 defines the names of extension attributes. Their values are ignored.
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !plain {
            r.at(name, |r| {
                r.unexpected::<()>(value, "an attribute name of CloudEvents 1.0: lowercase letters and digits")
            });
        }
    }
    let data = match members.get("data") {
        None | Some(Value::Null) => Some(Value::Object(Map::new())),
        Some(Value::Object(data)) => Some(Value::Object(data.clone())),
        Some(other) => r.at("data", |r| r.unexpected(other, "an object")),
    };
    version?;
    Some(UsageEvent { id: id?, source: source?, kind: kind?, tenant: tenant?, time, data: data? })
}

/// Whether a media type (RFC 9110 §8.3.1) denotes JSON.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn required<T>(
    members: &Map<String, Value>,
    name: &str,
    r: &mut Reader,
    read: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Option<T> {
    let value = members.get(name).unwrap_or(&Value::Null);
    r.at(name, |r| value.as_str().and_then(read).or_else(|| r.unexpected(value, expected)))
}

/// Returns `None` if the attribute is absent or invalid. The reader then has the problem.
fn optional<T>(
    members: &Map<String, Value>,
    name: &str,
    r: &mut Reader,
    read: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Option<T> {
    // A null attribute is absent (CloudEvents 1.0, JSON format §2.2).
    if members.get(name).is_none_or(Value::is_null) {
        return None;
    }
    required(members, name, r, read, expected)
}

/// The outcome for a batch of usage events.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptView {
    /// The number of events that were counted.
    pub accepted: usize,
    /// The number of events that had been counted before.
    pub duplicates: usize,
    /// Metrics that did not count some of the events, because a member that the metric reads is
    /// missing or invalid. One entry for each metric and kind of problem. Omitted if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub uncounted: Vec<UncountedView>,
}

/// Events that a metric did not count.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UncountedView {
    /// The metric's key.
    pub metric: String,
    /// The JSON path of the problem in the first such event.
    pub path: String,
    /// The value found there.
    pub found: String,
    /// The value that the metric expects.
    pub expected: String,
    /// The number of events with this problem.
    pub events: usize,
}

impl ReceiptView {
    /// Records that a metric did not count an event.
    pub fn note_uncounted(&mut self, metric: &str, path: String, problem: &Problem) {
        let same = |one: &&mut UncountedView| one.metric == metric && one.found == problem.found;
        if let Some(one) = self.uncounted.iter_mut().find(same) {
            one.events = one.events.saturating_add(1);
        } else if self.uncounted.len() < MAX_PROBLEMS {
            let (found, expected) = (problem.found.clone(), problem.expected.clone());
            self.uncounted.push(UncountedView { metric: metric.to_owned(), path, found, expected, events: 1 });
        }
    }
}

/// The usage of a tenant.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageView<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// The tenant's metrics, by key.
    pub usage: Vec<MetricView<'a>>,
    /// The tenant's quotas, as they were counted. Omitted if the request names a metric.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub quotas: Vec<QuotaView<'a>>,
}

/// One period of a quota.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuotaView<'a> {
    /// The limit's key.
    pub key: &'a str,
    /// Start of the counted period (RFC 3339), inclusive.
    pub starts_at: String,
    /// End of the period (RFC 3339), exclusive.
    pub ends_at: String,
    /// Whether the period has ended.
    pub ended: bool,
    /// Units used.
    pub used: u64,
    /// The limit when the quota was last judged; null is unlimited.
    pub limit: Option<u64>,
    /// Units beyond the limit.
    pub overage: u64,
    /// Whether the allowance permits units beyond the limit (`soft` or `paid`). If not, such units
    /// result from an allowance that was lowered.
    pub let_through: bool,
}

impl<'a> QuotaView<'a> {
    /// Returns the periods of a tenant's quotas, by counter.
    pub fn list(periods: &'a [(String, QuotaPeriod)], now: UnixMillis) -> Vec<Self> {
        let view = |(counter, period): &'a (String, QuotaPeriod)| Self {
            key: counter.rsplit_once('/').map_or(counter.as_str(), |(_, key)| key),
            starts_at: UnixMillis::new(period.starts_ms).to_string(),
            ends_at: UnixMillis::new(period.ends_ms).to_string(),
            ended: period.ends_ms <= now.get(),
            used: period.used,
            limit: period.limit,
            overage: period.limit.map_or(0, |limit| period.used.saturating_sub(limit)),
            let_through: period.over,
        };
        periods.iter().map(view).collect()
    }
}

/// The usage of one metric in one period.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MetricView<'a> {
    /// The metric's key.
    pub metric: &'a str,
    /// The aggregation of the metric.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub aggregation: Aggregation,
    /// The unit of the values.
    pub unit: Option<&'a str>,
    /// Start of the period (RFC 3339), inclusive.
    pub starts_at: String,
    /// End of the period (RFC 3339), exclusive.
    pub ends_at: String,
    /// The total of the period.
    pub value: u64,
    /// The totals of the days (UTC) that have events. Distinct values of days do not add up to
    /// those of the period.
    pub days: Vec<DayView>,
}

/// The usage of one day.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DayView {
    /// The day, such as `2026-11-24`.
    pub date: String,
    /// The total of the day.
    pub value: u64,
}

impl<'a> UsageView<'a> {
    /// Builds a report from the queries and the ledger's response.
    pub fn new(tenant: &'a str, inquiries: &'a [UsageInquiry], outcome: &'a LedgerResponse, now: UnixMillis) -> Self {
        let view = |(asked, period): (&'a UsageInquiry, &UsagePeriod)| {
            let of = |tally: &Tally| aggregate(tally, asked.definition.aggregation);
            let days = period.days.iter().map(|(date, tally)| DayView { date: date.clone(), value: of(tally) });
            MetricView {
                metric: asked.metric.as_str(),
                aggregation: asked.definition.aggregation,
                unit: asked.definition.unit.as_deref(),
                starts_at: UnixMillis::new(period.starts_ms).to_string(),
                ends_at: UnixMillis::new(period.ends_ms).to_string(),
                value: of(&period.tally),
                days: days.collect(),
            }
        };
        let usage = inquiries.iter().zip(&outcome.report).map(view).collect();
        Self { tenant, usage, quotas: QuotaView::list(&outcome.quotas, now) }
    }
}

const fn aggregate(tally: &Tally, aggregation: Aggregation) -> u64 {
    match aggregation {
        Aggregation::Sum => tally.sum,
        Aggregation::Count => tally.count,
        Aggregation::Max => tally.max,
        Aggregation::Unique => tally.unique,
        Aggregation::Latest => tally.latest.1,
    }
}

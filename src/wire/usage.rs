//! Usage: events as they arrive (CloudEvents 1.0, JSON format, structured or batch), reports as they are given.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::gate::{UsageEvent, UsageInquiry};
use crate::ledger::{LedgerResponse, QuotaPeriod, Tally, UsagePeriod};
use crate::model::bounds::{MAX_EVENT_NAME_BYTES, MAX_EVENTS, MAX_PROBLEMS, MAX_USAGE_BODY_BYTES};
use crate::model::{Aggregation, Problem, Problems, Reader, TenantId, UnixMillis};

/// Reads one event, or an array of them.
///
/// # Errors
/// All problems, each with its JSON path; then nothing is to be counted.
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
            return r.refuse("no events", "one at least");
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
    let tenant = required(members, "subject", r, TenantId::parse, "the id of the tenant that used it");
    let time = optional(members, "time", r, UnixMillis::parse, "a time (RFC 3339)");
    optional(members, "datacontenttype", r, |kind| is_json(kind).then_some(()), "`application/json`");
    for (name, value) in members {
        // Extension attributes are named so (CloudEvents 1.0 §3.1); what they say is not ours.
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !plain {
            r.at(name, |r| r.unexpected::<()>(value, "an attribute of CloudEvents 1.0 in JSON"));
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

/// Whether a media type (RFC 9110 §8.3.1) says JSON.
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

/// `None`: absent, or a problem, which the reader then has.
fn optional<T>(
    members: &Map<String, Value>,
    name: &str,
    r: &mut Reader,
    read: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Option<T> {
    // An attribute that is null is absent (CloudEvents 1.0, JSON format §2.2).
    if members.get(name).is_none_or(Value::is_null) {
        return None;
    }
    required(members, name, r, read, expected)
}

/// What became of events that were told.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptView {
    /// Events that were counted now.
    pub accepted: usize,
    /// Events that had been counted before.
    pub duplicates: usize,
    /// Metrics that do not count some of the events, which others count: an event says nothing that the metric can read. One of each
    /// kind. Absent: there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub uncounted: Vec<UncountedView>,
}

/// A metric that does not count an event.
#[derive(Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UncountedView {
    /// The metric's key.
    pub metric: String,
    /// Where the event stands: its JSON path.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What the metric reads.
    pub expected: String,
    /// Events of this kind.
    pub events: usize,
}

impl ReceiptView {
    /// Notes that a metric does not count an event.
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

/// What a tenant has used.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageView<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Its metrics, by key.
    pub usage: Vec<MetricView<'a>>,
    /// Its quotas, as they were counted. Absent: one metric was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub quotas: Vec<QuotaView<'a>>,
}

/// What a period of a quota has come to.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuotaView<'a> {
    /// The limit's key.
    pub key: &'a str,
    /// Start of the period that was counted (RFC 3339), inclusive.
    pub starts_at: String,
    /// Its end, exclusive.
    pub ends_at: String,
    /// Whether it is over.
    pub ended: bool,
    /// Units used.
    pub used: u64,
    /// Units that were allowed when it was judged last; null is unlimited.
    pub limit: Option<u64>,
    /// Units beyond the limit.
    pub overage: u64,
    /// Whether the allowance let units beyond the limit through (`soft` or `paid`). Otherwise they come from an allowance that became smaller.
    pub let_through: bool,
}

impl<'a> QuotaView<'a> {
    /// Periods of a tenant's quotas, by counter.
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

/// What a metric has come to.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MetricView<'a> {
    /// The metric's key.
    pub metric: &'a str,
    /// How it is aggregated.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub aggregation: Aggregation,
    /// What one unit is.
    pub unit: Option<&'a str>,
    /// Start of the period (RFC 3339), inclusive.
    pub starts_at: String,
    /// Its end, exclusive.
    pub ends_at: String,
    /// What the period has come to.
    pub value: u64,
    /// What its days (UTC) have come to, where something was used. Distinct values of days do not add up to the period's.
    pub days: Vec<DayView>,
}

/// What a day has come to.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DayView {
    /// The day, such as `2026-11-24`.
    pub date: String,
    /// What it has come to.
    pub value: u64,
}

impl<'a> UsageView<'a> {
    /// A report: what was asked, and what the ledger said to each.
    pub fn new(tenant: &'a str, inquiries: &'a [UsageInquiry], outcome: &'a LedgerResponse, now: UnixMillis) -> Self {
        let view = |(asked, stretch): (&'a UsageInquiry, &UsagePeriod)| {
            let of = |tally: &Tally| aggregate(tally, asked.definition.aggregation);
            let days = stretch.days.iter().map(|(date, tally)| DayView { date: date.clone(), value: of(tally) });
            MetricView {
                metric: asked.metric.as_str(),
                aggregation: asked.definition.aggregation,
                unit: asked.definition.unit.as_deref(),
                starts_at: UnixMillis::new(stretch.starts_ms).to_string(),
                ends_at: UnixMillis::new(stretch.ends_ms).to_string(),
                value: of(&stretch.tally),
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

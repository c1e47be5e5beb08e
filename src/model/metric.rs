//! Metrics: how usage events are aggregated.

use super::bounds::{MAX_EVENT_NAME_BYTES, MAX_UNIT_BYTES};
use super::period::Period;
use super::{Key, Reader, choice, document};

choice! {
    /// How the events of a period become one number.
    pub enum Aggregation {
        /// The sum of the values.
        Sum = "sum",
        /// The number of events.
        Count = "count",
        /// The largest value.
        Max = "max",
        /// The number of distinct values.
        Unique = "unique",
        /// The value of the latest event, by the events' own times.
        Latest = "latest",
    }
}

document! {
    /// A metric: which events it counts, and how.
    pub struct Metric {
        /// The `type` of the events (CloudEvents 1.0).
        event: String,
        /// How the events become one number. Default `sum`.
        aggregation: Aggregation = Aggregation::Sum,
        /// The location of the value in an event's `data`: a member, or a path with dots. The value
        /// is a whole number; for `unique`, also text. Not used by `count`. Default `quantity`.
        value: String = String::from("quantity"),
        /// The billing period over which events are aggregated, from the tenant's billing anchor.
        /// Default `month`.
        period: Period = Period::Month,
        /// Name of the unit for readers.
        unit: Option<String> = None,
        /// A quota that events are also counted against, if they fall into its current period. Only
        /// for `sum` and `count`. Reported usage has already happened, so it is counted even beyond
        /// the limit, and later requests are denied.
        limit: Option<Key> = None,
        /// Description for readers. Not interpreted.
        description: Option<String> = None,
    } => Metric::check
}

impl Metric {
    fn check(&self, r: &mut Reader) {
        for (text, at) in [(&self.event, "event"), (&self.value, "value")] {
            if text.is_empty() || text.len() > MAX_EVENT_NAME_BYTES {
                r.at(at, |r| r.problem(format!("{} bytes", text.len()), format!("1 to {MAX_EVENT_NAME_BYTES} bytes")));
            }
        }
        if self.unit.as_ref().is_some_and(|unit| unit.is_empty() || unit.len() > MAX_UNIT_BYTES) {
            r.at("unit", |r| r.problem("text that is empty or too long", format!("1 to {MAX_UNIT_BYTES} bytes")));
        }
        if self.limit.is_some() && !matches!(self.aggregation, Aggregation::Sum | Aggregation::Count) {
            let found = format!("a limit with `{}`", self.aggregation.as_str());
            r.at("limit", |r| r.problem(found, "no `limit`, or the aggregation `sum` or `count`"));
        }
    }
}

//! Metrics: what events of usage add up to.

use super::bounds::{MAX_EVENT_NAME_BYTES, MAX_UNIT_BYTES};
use super::period::Period;
use super::{Key, Reader, choice, document};

choice! {
    /// How the events of a stretch of time become one number.
    pub enum Aggregation {
        /// The sum of their values.
        Sum = "sum",
        /// How many there were.
        Count = "count",
        /// The largest value.
        Max = "max",
        /// How many different values there were.
        Unique = "unique",
        /// The value of the latest, by the events' own times.
        Latest = "latest",
    }
}

document! {
    /// A metric: which events it counts, and how.
    pub struct Metric {
        /// The `type` of the events (CloudEvents 1.0).
        event: String,
        /// How they become one number. Default `sum`.
        aggregation: Aggregation = Aggregation::Sum,
        /// Where in an event's `data` the value stands: a member, or a path with dots. A whole number; for `unique` also text.
        /// `count` needs none. Default `quantity`.
        value: String = String::from("quantity"),
        /// The billing period that it is counted in, from the tenant's billing anchor. Default `month`.
        period: Period = Period::Month,
        /// What one unit is, for people.
        unit: Option<String> = None,
        /// A quota that events count against too, as far as they fall into its current period; for `sum` and `count`. Usage has
        /// happened: it is counted beyond the limit, and what comes next is refused.
        limit: Option<Key> = None,
        /// For people.
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
            r.at("unit", |r| r.problem("a text of another length", format!("1 to {MAX_UNIT_BYTES} bytes")));
        }
        if self.limit.is_some() && !matches!(self.aggregation, Aggregation::Sum | Aggregation::Count) {
            let found = format!("a limit of `{}`", self.aggregation.as_str());
            r.at("limit", |r| r.problem(found, "none, or the aggregation `sum` or `count`"));
        }
    }
}

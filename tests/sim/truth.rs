//! What happened in one family, counted independently of the code under test. Checks compare the
//! ledger with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::client::ClientRequest;
use crate::documents::counter;
use crate::options::Options;
use crate::time::START;

/// The outcomes of the requests of one family.
#[derive(Debug)]
pub struct Truth {
    /// Requests that arrived.
    pub offered: u64,
    pub admitted: u64,
    pub refused: u64,
    /// Requests that were refused although units were left.
    pub wrongly_refused: u64,
    /// Requests that were refused as if the ledger was unavailable, although it had answered.
    pub unserved: u64,
    /// Messages to the ledger.
    pub messages: u64,
    /// The longest that a request had to wait for its decision, in milliseconds.
    pub longest_wait_ms: u64,
    /// Units let through, by counter of the quota.
    pub quota: BTreeMap<String, u64>,
    /// Units let through by the strict quota.
    pub strict: u64,
    /// Units let through by the rate.
    pub rate_units: u64,
    pub rate: Bucket,
    /// Units let through by the sliding window that are still in it, and when.
    window: VecDeque<(u64, u64)>,
    /// Requests that are in flight.
    pub flights: BTreeSet<u64>,
    /// Units of tasks that are acknowledged, and of all that were sent, by limit or metric.
    pub acknowledged: BTreeMap<&'static str, u64>,
    pub sent: BTreeMap<&'static str, u64>,
}

/// The bucket of the rate: it fills by units × window, and drains by the limit each millisecond.
#[derive(Debug)]
pub struct Bucket {
    pub fill: u64,
    at_ms: u64,
}

impl Bucket {
    const fn drained(&self, now: u64, options: &Options) -> u64 {
        self.fill.saturating_sub((now - self.at_ms) * options.rate_limit)
    }

    /// Returns the largest fill that conforms to the rate.
    pub const fn capacity(options: &Options) -> u64 {
        options.rate_burst * options.rate_window_ms
    }
}

impl Truth {
    pub const fn new() -> Self {
        Self {
            offered: 0,
            admitted: 0,
            refused: 0,
            wrongly_refused: 0,
            unserved: 0,
            messages: 0,
            longest_wait_ms: 0,
            quota: BTreeMap::new(),
            strict: 0,
            rate_units: 0,
            rate: Bucket { fill: 0, at_ms: START },
            window: VecDeque::new(),
            flights: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// A request to a route was admitted.
    pub fn admit(&mut self, request: &ClientRequest, route: &str, now: u64, options: &Options) {
        self.admitted += 1;
        if matches!(route, "/quota" | "/both" | "/strict") {
            *self.quota.entry(counter(request.family, 0, "month")).or_default() += request.cost;
            if request.tenant > 0 {
                *self.quota.entry(counter(request.family, request.tenant, "month")).or_default() += request.cost;
            }
        }
        self.strict += u64::from(route == "/strict");
        if matches!(route, "/rate" | "/both" | "/taxed") {
            self.rate_units += request.cost;
            let fill = self.rate.drained(now, options) + request.cost * options.rate_window_ms;
            self.rate = Bucket { fill, at_ms: now };
        }
        if route == "/window" {
            self.window.push_back((now, request.cost));
            while self.window.front().is_some_and(|(at, _)| at + options.window_ms <= now) {
                self.window.pop_front();
            }
        }
    }

    /// A request to a route was refused by a limit.
    pub fn refuse(&mut self, request: &ClientRequest, route: &str, now: u64, options: &Options) {
        self.refused += 1;
        let has_room = match route {
            "/quota" => {
                let used = self.quota.get(&counter(request.family, 0, "month")).copied().unwrap_or(0);
                used + request.cost <= options.quota
            }
            "/rate" => {
                let fill = self.rate.drained(now, options) + request.cost * options.rate_window_ms;
                fill <= Bucket::capacity(options)
            }
            _ => false,
        };
        self.wrongly_refused += u64::from(has_room);
    }

    /// A request has waited so long for its decision.
    pub fn waited(&mut self, ms: u64) {
        self.longest_wait_ms = self.longest_wait_ms.max(ms);
    }

    /// Returns the units in the sliding window.
    pub fn window_units(&self) -> u64 {
        self.window.iter().map(|(_, cost)| cost).sum()
    }

    /// Returns everything that was counted, as text.
    pub fn summary(&self) -> String {
        format!(
            "{:?} {} {} {} {:?} {:?} {} {} {} {} {} {} {} {} {:?} {:?};",
            self.quota,
            self.strict,
            self.rate.fill,
            self.rate.at_ms,
            self.window,
            self.flights,
            self.offered,
            self.admitted,
            self.refused,
            self.wrongly_refused,
            self.unserved,
            self.rate_units,
            self.longest_wait_ms,
            self.messages,
            self.acknowledged,
            self.sent
        )
    }
}

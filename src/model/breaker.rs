//! Circuit breakers in the catalog. A breaker stops the requests of one tenant to a group of routes
//! while their origin fails.

use super::bounds::{MAX_BREAKER_OPEN_MS, MAX_BREAKER_TRIALS, MAX_BREAKER_WINDOW_MS};
use super::limit::Quantity;
use super::{Reader, choice, document};

choice! {
    /// What controls a breaker's state.
    pub enum BreakerMode {
        /// The breaker follows its calls.
        Auto = "auto",
        /// The breaker stays open until the mode changes. For incidents.
        ForcedOpen = "forced_open" | "forced-open",
        /// The breaker allows all requests and counts nothing.
        Disabled = "disabled",
    }
}

document! {
    /// A circuit breaker for a group of routes. Each tenant has its own. It counts forwarded
    /// requests: a call has failed if the origin responds with a status of 500 or above, or not at
    /// all. Denied requests are not counted.
    pub struct Breaker {
        /// The mode, unless a tenant's record sets another one. Default `auto`.
        mode: BreakerMode = BreakerMode::Auto,
        /// Milliseconds for which a call is counted, 1000 to 3600000. Default 10000.
        window_ms: Quantity = Quantity(10_000),
        /// Minimum number of calls in the window before the breaker can open, at least 1. Default
        /// 20.
        min_calls: Quantity = Quantity(20),
        /// Percentage of failed calls at which the breaker opens, 1 to 100. Default 50.
        failed_percent: Quantity = Quantity(50),
        /// Milliseconds until the response headers from which a call counts as slow. Default: no
        /// call is slow.
        slow_ms: Option<Quantity> = None,
        /// Percentage of slow calls at which the breaker opens, 1 to 100. Default 100.
        slow_percent: Quantity = Quantity(100),
        /// Milliseconds for which the breaker stays open before it allows trials, 1 to 86400000.
        /// Default 30000.
        open_ms: Quantity = Quantity(30_000),
        /// Number of trials, 1 to 100. The same percentages then close the breaker or open it
        /// again. Default 5.
        trial_calls: Quantity = Quantity(5),
        /// Description for readers. Not interpreted.
        description: Option<String> = None,
    } => Breaker::check
}

impl Breaker {
    fn check(&self, r: &mut Reader) {
        let mut within = |name: &str, value: Quantity, low: u64, high: u64| {
            if value.0 < low || value.0 > high {
                r.at(name, |r| r.problem(value.0.to_string(), format!("{low} to {high}")));
            }
        };
        within("window_ms", self.window_ms, 1_000, MAX_BREAKER_WINDOW_MS);
        within("min_calls", self.min_calls, 1, u64::MAX);
        within("failed_percent", self.failed_percent, 1, 100);
        within("slow_percent", self.slow_percent, 1, 100);
        within("open_ms", self.open_ms, 1, MAX_BREAKER_OPEN_MS);
        within("trial_calls", self.trial_calls, 1, MAX_BREAKER_TRIALS);
    }
}

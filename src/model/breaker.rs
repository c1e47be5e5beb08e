//! Circuit breakers: when routes of a tenant are left alone because their origin fails.

use super::bounds::{MAX_BREAKER_OPEN_MS, MAX_BREAKER_TRIALS, MAX_BREAKER_WINDOW_MS};
use super::limit::Quantity;
use super::{Reader, choice, document};

choice! {
    /// Who moves a breaker.
    pub enum BreakerMode {
        /// It moves by itself.
        Auto = "auto",
        /// It is open until somebody says otherwise: for incidents.
        ForcedOpen = "forced_open" | "forced-open",
        /// It lets everything through and counts nothing.
        Disabled = "disabled",
    }
}

document! {
    /// A circuit breaker for a group of routes; each tenant has its own. It counts what was forwarded: calls that the origin
    /// answers with 500 or above, or not at all, have failed. What the gate refuses is not counted.
    pub struct Breaker {
        /// Who moves it, unless a tenant's record says otherwise. Default `auto`.
        mode: BreakerMode = BreakerMode::Auto,
        /// Milliseconds for which a call counts, 1000 to 3600000. Default 10000.
        window_ms: Quantity = Quantity(10_000),
        /// Calls in the window below which it never opens, at least 1. Default 20.
        min_calls: Quantity = Quantity(20),
        /// Percent of the calls that fail at which it opens, 1 to 100. Default 50.
        failed_percent: Quantity = Quantity(50),
        /// Milliseconds from which a call is slow, to its response's head. Default: none is.
        slow_ms: Option<Quantity> = None,
        /// Percent of the calls that are slow at which it opens, 1 to 100. Default 100.
        slow_percent: Quantity = Quantity(100),
        /// Milliseconds for which it stays open before calls are tried, 1 to 86400000. Default 30000.
        open_ms: Quantity = Quantity(30_000),
        /// Calls that are tried then, 1 to 100: by the same percentages it closes or opens again. Default 5.
        trial_calls: Quantity = Quantity(5),
        /// For people.
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

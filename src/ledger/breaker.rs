//! Circuit breakers: they stop requests to an origin that keeps failing one tenant.
//!
//! A breaker is closed while calls succeed. It opens when too many recent calls failed or were
//! slow. After a while it becomes half-open and lets a few trial calls through. If they succeed it
//! closes; otherwise it opens again (M. Nygard, *Release It!*, chapter 5).
//!
//! Isolates report the results of their calls as sums with their ledger requests, and receive the
//! breaker's state in the response. The ledger hands out the trials, so that all isolates together
//! run at most the configured number. A trial whose result is never reported becomes available
//! again after a timeout. A request that the gate denies is not a call and is never counted.

use serde::{Deserialize, Serialize};

use crate::model::UnixMillis;
use crate::model::bounds::{BREAKER_RETRY_MS, BREAKER_TRIAL_MS};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerConfig {
    /// Milliseconds for which a call counts.
    pub window_ms: u64,
    /// The number of calls in the window below which the breaker stays closed.
    pub min_calls: u64,
    /// The percentage of failed calls at which the breaker opens.
    pub failed_percent: u64,
    /// The percentage of slow calls at which the breaker opens.
    pub slow_percent: u64,
    /// Milliseconds from opening to the first trial.
    pub open_ms: u64,
    /// The number of trials.
    pub trials: u64,
}

/// Numbers of calls by result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// Calls that have ended.
    pub ended: u64,
    /// Ended calls that failed.
    pub failed: u64,
    /// Ended calls that were slow, whether or not they failed.
    pub slow: u64,
}

/// The state of a breaker.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Calls pass.
    #[default]
    Closed,
    /// No call passes until this time, in milliseconds since 1970.
    Open(u64),
    /// Trials pass. The number identifies this half-open phase.
    HalfOpen(u64),
}

/// What an isolate reports to a breaker, and whether a call asks to pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerReport<'a> {
    /// The breaker: tenant and group.
    pub breaker: &'a str,
    /// The breaker's current configuration.
    #[serde(rename = "fuse")]
    pub config: BreakerConfig,
    /// Calls that have ended since the last report.
    #[serde(default, skip_serializing_if = "CallCounts::is_empty")]
    pub calls: CallCounts,
    /// Trials that have ended, each with the number of its half-open phase. A trial without a
    /// result has no calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<(u64, CallCounts)>,
    /// Whether a call asks to pass. It does so together with the rest of the request, all or
    /// nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
}

/// The response to a breaker report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// The breaker's state.
    pub circuit: Circuit,
    /// The calls in the window, or the ended trials of a half-open breaker.
    pub calls: CallCounts,
    /// Whether the call that asked must not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Whether the call that asked passes as a trial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
    /// Milliseconds after which a refused call may pass.
    #[serde(default, skip_serializing_if = "super::verdict::is_zero")]
    pub retry_after_ms: u64,
}

/// A breaker, as its ledger stores it. The window is not stored and starts empty after a restart.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// The number of half-open phases so far.
    turn: u64,
    state: State,
    #[serde(skip)]
    recent: Recent,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Closed,
    Open {
        until_ms: u64,
    },
    HalfOpen {
        /// For each trial in flight, the time until which its result is awaited.
        under_way: Vec<u64>,
        ended: CallCounts,
    },
}

impl CallCounts {
    /// Whether there is nothing to report.
    pub const fn is_empty(&self) -> bool {
        self.ended == 0 && self.failed == 0
    }

    /// Returns the sum of both.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self {
            ended: self.ended.saturating_add(more.ended),
            failed: self.failed.saturating_add(more.failed),
            slow: self.slow.saturating_add(more.slow),
        }
    }

    /// Whether these results out of `calls` calls reach a threshold.
    fn are_bad(self, config: &BreakerConfig, calls: u64) -> bool {
        let over = |bad: u64, percent: u64| bad > 0 && bad.saturating_mul(100) >= percent.saturating_mul(calls);
        over(self.failed, config.failed_percent) || over(self.slow, config.slow_percent)
    }
}

impl CircuitBreaker {
    /// Returns the state at `now`.
    pub fn circuit(&self, now: UnixMillis) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until_ms } if now.get() < until_ms => Circuit::Open(until_ms),
            State::Open { .. } => Circuit::HalfOpen(self.turn.saturating_add(1)),
            State::HalfOpen { .. } => Circuit::HalfOpen(self.turn),
        }
    }

    /// Applies a report. Returns whether the stored state has changed.
    pub fn record(&mut self, report: &BreakerReport<'_>, now: UnixMillis) -> bool {
        let mut changed = false;
        for (turn, calls) in &report.trials {
            changed |= self.end_trial(*turn, *calls);
        }
        changed |= self.conclude(&report.config, now);
        // Calls count only while the breaker is closed: those that began before it opened say
        // nothing about the present.
        if self.state == State::Closed && !report.calls.is_empty() {
            let window = self.recent.add(report.calls, report.config.window_ms, now);
            if window.ended >= report.config.min_calls && window.are_bad(&report.config, window.ended) {
                self.open(&report.config, now);
                changed = true;
            }
        }
        changed
    }

    fn open(&mut self, config: &BreakerConfig, now: UnixMillis) {
        self.state = State::Open { until_ms: now.get().saturating_add(config.open_ms) };
        self.recent = Recent::default();
    }

    fn end_trial(&mut self, turn: u64, calls: CallCounts) -> bool {
        let current = turn == self.turn;
        let State::HalfOpen { under_way, ended } = &mut self.state else { return false };
        if !current || under_way.is_empty() {
            return false;
        }
        under_way.remove(0);
        *ended = ended.plus(calls);
        true
    }

    /// Opens or closes a half-open breaker once enough trials have ended. Called with every report,
    /// since the configured number of trials may have changed.
    fn conclude(&mut self, config: &BreakerConfig, now: UnixMillis) -> bool {
        let State::HalfOpen { ended, .. } = &self.state else { return false };
        if ended.are_bad(config, config.trials) {
            self.open(config, now);
        } else if ended.ended >= config.trials {
            self.state = State::Closed;
        } else {
            return false;
        }
        true
    }

    /// Returns the status for a report. Nothing is taken yet.
    pub fn judge(&self, report: &BreakerReport<'_>, now: UnixMillis) -> BreakerStatus {
        let circuit = self.circuit(now);
        let calls = match &self.state {
            State::HalfOpen { ended, .. } => *ended,
            _ => self.recent.sum(report.config.window_ms, now),
        };
        let wait = match (&self.state, circuit) {
            (_, Circuit::Open(until_ms)) => until_ms.saturating_sub(now.get()).max(1),
            (State::HalfOpen { under_way, ended }, _) => {
                let waits = under_way.iter().filter(|until| **until > now.get()).count();
                let tried = u64::try_from(waits).unwrap_or(u64::MAX).saturating_add(ended.ended);
                if tried < report.config.trials { 0 } else { BREAKER_RETRY_MS }
            }
            _ => 0,
        };
        let refused = report.asks && wait > 0;
        let trial = report.asks && !refused && circuit != Circuit::Closed;
        BreakerStatus { circuit, calls, refused, trial, retry_after_ms: if refused { wait } else { 0 } }
    }

    /// Takes the trial that [`Self::judge`] offered.
    pub fn begin_trial(&mut self, now: UnixMillis) {
        let until = now.get().saturating_add(BREAKER_TRIAL_MS);
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            under_way.retain(|until| *until > now.get());
            under_way.push(until);
        } else {
            self.turn = self.turn.saturating_add(1);
            self.state = State::HalfOpen { under_way: vec![until], ended: CallCounts::default() };
        }
    }
}

/// The number of parts into which the window is divided.
const PARTS: u64 = 10;

/// Recent calls by part of the window, oldest first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Recent(Vec<(u64, CallCounts)>);

impl Recent {
    /// Adds calls. Returns the calls in the window.
    pub(super) fn add(&mut self, calls: CallCounts, window_ms: u64, now: UnixMillis) -> CallCounts {
        let part = part(now, window_ms);
        self.0.retain(|(other, _)| other.saturating_add(PARTS) > part);
        match self.0.last_mut() {
            Some((last, sum)) if *last >= part => *sum = sum.plus(calls),
            _ => self.0.push((part, calls)),
        }
        self.sum(window_ms, now)
    }

    fn sum(&self, window_ms: u64, now: UnixMillis) -> CallCounts {
        let part = part(now, window_ms);
        let young = self.0.iter().filter(|(other, _)| other.saturating_add(PARTS) > part);
        young.fold(CallCounts::default(), |sum, (_, calls)| sum.plus(*calls))
    }
}

fn part(now: UnixMillis, window_ms: u64) -> u64 {
    now.get().checked_div(window_ms.div_ceil(PARTS).max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSE: BreakerConfig = BreakerConfig {
        window_ms: 10_000,
        min_calls: 10,
        failed_percent: 50,
        slow_percent: 80,
        open_ms: 5_000,
        trials: 3,
    };
    const GOOD: CallCounts = CallCounts { ended: 1, failed: 0, slow: 0 };
    const FAILED: CallCounts = CallCounts { ended: 1, failed: 1, slow: 0 };

    fn report(calls: CallCounts, trials: &[(u64, CallCounts)], asks: bool) -> BreakerReport<'static> {
        BreakerReport { breaker: "t/api", config: FUSE, calls, trials: trials.to_vec(), asks }
    }

    fn send(breaker: &mut CircuitBreaker, calls: CallCounts, at: u64) {
        breaker.record(&report(calls, &[], false), UnixMillis::new(at));
    }

    /// Asks to pass and passes if allowed. Returns whether it did, and whether as a trial.
    fn ask(breaker: &mut CircuitBreaker, at: u64) -> (bool, bool) {
        let now = UnixMillis::new(at);
        let answer = breaker.judge(&report(CallCounts::default(), &[], true), now);
        if answer.trial {
            breaker.begin_trial(now);
        }
        (!answer.refused, answer.trial)
    }

    fn open() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        send(&mut breaker, CallCounts { ended: 20, failed: 10, slow: 0 }, 1_000);
        assert_eq!(breaker.circuit(UnixMillis::new(1_000)), Circuit::Open(6_000));
        breaker
    }

    #[test]
    fn the_breaker_opens_at_a_threshold_once_its_window_has_enough_calls() {
        let mut breaker = CircuitBreaker::default();
        send(&mut breaker, CallCounts { ended: 9, failed: 9, slow: 0 }, 1_000);
        assert_eq!(breaker.circuit(UnixMillis::new(1_000)), Circuit::Closed, "too few calls to open");
        // The first nine calls have left the window.
        send(&mut breaker, CallCounts { ended: 10, failed: 4, slow: 7 }, 12_000);
        assert_eq!(breaker.circuit(UnixMillis::new(12_000)), Circuit::Closed);
        send(&mut breaker, CallCounts { ended: 5, failed: 0, slow: 5 }, 12_500);
        assert_eq!(breaker.circuit(UnixMillis::new(12_500)), Circuit::Open(17_500), "twelve of fifteen were slow");
    }

    #[test]
    fn the_breaker_closes_after_the_configured_number_of_good_trials() {
        let mut breaker = open();
        assert_eq!(ask(&mut breaker, 5_999), (false, false));
        for _ in 0..3 {
            assert_eq!(ask(&mut breaker, 6_000), (true, true));
        }
        assert_eq!(ask(&mut breaker, 6_000), (false, false));
        // Calls that began before the breaker opened do not count.
        send(&mut breaker, CallCounts { ended: 50, failed: 50, slow: 50 }, 6_500);
        let good = [(1, GOOD), (1, GOOD), (1, GOOD)];
        assert!(breaker.record(&report(CallCounts::default(), &good, false), UnixMillis::new(7_000)));
        assert_eq!(ask(&mut breaker, 7_000), (true, false));
    }

    #[test]
    fn the_breaker_reopens_as_soon_as_its_trials_can_no_longer_succeed() {
        let mut breaker = open();
        ask(&mut breaker, 6_000);
        ask(&mut breaker, 6_000);
        breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(6_100));
        assert_eq!(ask(&mut breaker, 6_100), (true, true), "one of three may fail");
        breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(6_200));
        assert_eq!(breaker.circuit(UnixMillis::new(6_200)), Circuit::Open(11_200));
        // A trial of an earlier phase does not count for this one.
        assert_eq!(ask(&mut breaker, 11_200), (true, true));
        assert!(!breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(11_300)));
        assert_eq!(breaker.circuit(UnixMillis::new(11_300)), Circuit::HalfOpen(2));
    }

    #[test]
    fn lowering_the_number_of_trials_closes_the_breaker_at_once() {
        let mut breaker = open();
        ask(&mut breaker, 6_000);
        ask(&mut breaker, 6_000);
        breaker.record(&report(CallCounts::default(), &[(1, GOOD), (1, GOOD)], false), UnixMillis::new(6_100));
        let fewer = BreakerReport {
            config: BreakerConfig { trials: 2, ..FUSE },
            asks: true,
            ..report(CallCounts::default(), &[], true)
        };
        assert!(breaker.record(&fewer, UnixMillis::new(6_200)));
        assert_eq!(breaker.circuit(UnixMillis::new(6_200)), Circuit::Closed);
    }

    #[test]
    fn an_unreported_trial_becomes_available_again() {
        let mut breaker = open();
        for _ in 0..3 {
            ask(&mut breaker, 6_000);
        }
        assert_eq!(ask(&mut breaker, 6_000 + BREAKER_TRIAL_MS - 1), (false, false));
        assert_eq!(ask(&mut breaker, 6_000 + BREAKER_TRIAL_MS), (true, true));
        // A trial without a result becomes available at once.
        breaker.record(&report(CallCounts::default(), &[(1, CallCounts::default())], false), UnixMillis::new(70_000));
        assert_eq!(ask(&mut breaker, 70_000), (true, true));
    }
}

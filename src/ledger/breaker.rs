//! Circuit breakers: an origin that fails a tenant again and again is left alone for a while.
//!
//! A breaker is closed while calls go well. It opens when too many of the last ones failed or were slow, and after a while
//! lets a few trial calls through, half-open: if they go well it closes, otherwise it opens again. (M. Nygard, *Release It!*,
//! ch. 5.)
//!
//! Isolates say what became of their calls in sums, whenever they speak to the ledger, and hear how the breaker stands.
//! Trials are given out by the ledger, so that all isolates together try no more than there are; a trial whose end nobody
//! tells can be tried again after its time. What the gate refuses itself is no call, and is never counted.

use serde::{Deserialize, Serialize};

use super::LedgerState;
use crate::model::UnixMillis;
use crate::model::bounds::{BREAKER_RETRY_MS, BREAKER_TRIAL_MS};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerConfig {
    /// Milliseconds for which a call counts.
    pub window_ms: u64,
    /// Calls below which nothing is concluded.
    pub min_calls: u64,
    /// Percent of calls that fail at which it opens.
    pub failed_percent: u64,
    /// Percent of calls that are slow at which it opens.
    pub slow_percent: u64,
    /// Milliseconds until trials begin.
    pub open_ms: u64,
    /// Calls that are tried.
    pub trials: u64,
}

/// What became of calls.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// Calls that have ended.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that were slow, failed or not.
    pub slow: u64,
}

/// How a breaker stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Calls pass.
    #[default]
    Closed,
    /// No call passes until then, in milliseconds since 1970.
    Open(u64),
    /// Trials pass; the number tells this half-open state from all others.
    HalfOpen(u64),
}

/// What is said to a breaker, and asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerReport<'a> {
    /// The breaker: tenant and group.
    pub breaker: &'a str,
    /// Its rules now.
    #[serde(rename = "fuse")]
    pub config: BreakerConfig,
    /// Calls that have ended since this was said last.
    #[serde(default, skip_serializing_if = "CallCounts::is_empty")]
    pub calls: CallCounts,
    /// Trials that have ended, by the number of their half-open state. One that came to nothing has no call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<(u64, CallCounts)>,
    /// Whether a call wants to pass: with the rest of the order, all or nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
}

/// A breaker's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// How it stands.
    pub circuit: Circuit,
    /// What its window holds; of a half-open one, its trials that have ended.
    pub calls: CallCounts,
    /// Whether the call that asked may not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Whether the call that asked passes as a trial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
    /// Milliseconds after which a call may pass that was refused.
    #[serde(default, skip_serializing_if = "super::counter::is_zero")]
    pub retry_after_ms: u64,
}

/// A breaker, as its ledger keeps it. The window is not stored: after a restart it fills anew.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// How often it was half-open.
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
        /// Until when the end of each trial that is under way is waited for.
        under_way: Vec<u64>,
        ended: CallCounts,
    },
}

impl CallCounts {
    /// Nothing.
    pub const fn is_empty(&self) -> bool {
        self.ended == 0 && self.failed == 0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self {
            ended: self.ended.saturating_add(more.ended),
            failed: self.failed.saturating_add(more.failed),
            slow: self.slow.saturating_add(more.slow),
        }
    }

    /// Whether so many of `calls` are too many.
    fn are_bad(self, config: &BreakerConfig, calls: u64) -> bool {
        let over = |bad: u64, percent: u64| bad > 0 && bad.saturating_mul(100) >= percent.saturating_mul(calls);
        over(self.failed, config.failed_percent) || over(self.slow, config.slow_percent)
    }
}

impl CircuitBreaker {
    /// How it stands at `now`.
    pub fn circuit(&self, now: UnixMillis) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until_ms } if now.get() < until_ms => Circuit::Open(until_ms),
            State::Open { .. } => Circuit::HalfOpen(self.turn.saturating_add(1)),
            State::HalfOpen { .. } => Circuit::HalfOpen(self.turn),
        }
    }

    /// Takes what is said; whether the state has changed.
    pub fn record(&mut self, report: &BreakerReport<'_>, now: UnixMillis) -> bool {
        let mut changed = false;
        for (turn, calls) in &report.trials {
            changed |= self.end_trial(*turn, *calls);
        }
        changed |= self.conclude(&report.config, now);
        // What began before it opened says nothing of how things are now.
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

    /// Opens or closes where trials have shown enough; how many are enough may have changed.
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

    /// Answers a word; nothing is taken yet.
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

    /// Gives out the trial that [`Self::judge`] has found.
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

impl LedgerState {
    pub(super) fn record_calls(&mut self, report: &BreakerReport<'_>, now: UnixMillis) {
        // Of who is closed and has nothing to say nothing is kept.
        if !self.breakers.contains_key(report.breaker) {
            if report.calls.is_empty() && report.trials.is_empty() {
                return;
            }
            self.put_breaker(report.breaker, CircuitBreaker::default());
        }
        let changed = self.breakers.get_mut(report.breaker).is_some_and(|breaker| breaker.record(report, now));
        if changed {
            self.note_breaker(report.breaker);
        }
    }

    pub(super) fn circuit(&self, report: &BreakerReport<'_>, now: UnixMillis) -> BreakerStatus {
        self.breakers
            .get(report.breaker)
            .map_or_else(|| CircuitBreaker::default().judge(report, now), |known| known.judge(report, now))
    }

    pub(super) fn begin_trial(&mut self, breaker: &str, now: UnixMillis) {
        if let Some(known) = self.breakers.get_mut(breaker) {
            known.begin_trial(now);
            self.note_breaker(breaker);
        }
    }

    pub(super) fn note_breaker(&mut self, name: &str) {
        if let Some(changes) = &mut self.changes {
            changes.breakers.insert(name.into());
        }
    }

    /// A breaker, if it was ever told of calls.
    pub fn breaker(&self, name: &str) -> Option<&CircuitBreaker> {
        self.breakers.get(name)
    }

    /// Writes a breaker as it was stored.
    pub fn put_breaker(&mut self, name: &str, breaker: CircuitBreaker) {
        self.breakers.insert(name.into(), breaker);
    }
}

/// Parts that a window is counted in.
const PARTS: u64 = 10;

/// Calls of the last while, by part of the window; oldest first.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Recent(Vec<(u64, CallCounts)>);

impl Recent {
    /// Adds calls; what the window holds then.
    fn add(&mut self, calls: CallCounts, window_ms: u64, now: UnixMillis) -> CallCounts {
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

    fn say(breaker: &mut CircuitBreaker, calls: CallCounts, at: u64) {
        breaker.record(&report(calls, &[], false), UnixMillis::new(at));
    }

    /// Asks to pass, and passes if it may: whether it did, and whether as a trial.
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
        say(&mut breaker, CallCounts { ended: 20, failed: 10, slow: 0 }, 1_000);
        assert_eq!(breaker.circuit(UnixMillis::new(1_000)), Circuit::Open(6_000));
        breaker
    }

    #[test]
    fn it_opens_at_its_share_of_enough_calls_in_its_window() {
        let mut breaker = CircuitBreaker::default();
        say(&mut breaker, CallCounts { ended: 9, failed: 9, slow: 0 }, 1_000);
        assert_eq!(breaker.circuit(UnixMillis::new(1_000)), Circuit::Closed, "too few to conclude anything");
        // Those nine have left the window.
        say(&mut breaker, CallCounts { ended: 10, failed: 4, slow: 7 }, 12_000);
        assert_eq!(breaker.circuit(UnixMillis::new(12_000)), Circuit::Closed);
        say(&mut breaker, CallCounts { ended: 5, failed: 0, slow: 5 }, 12_500);
        assert_eq!(breaker.circuit(UnixMillis::new(12_500)), Circuit::Open(17_500), "twelve of fifteen were slow");
    }

    #[test]
    fn trials_decide_and_are_no_more_than_there_are() {
        let mut breaker = open();
        assert_eq!(ask(&mut breaker, 5_999), (false, false));
        for _ in 0..3 {
            assert_eq!(ask(&mut breaker, 6_000), (true, true));
        }
        assert_eq!(ask(&mut breaker, 6_000), (false, false));
        // Calls from before it opened end now: they say nothing of how things are.
        say(&mut breaker, CallCounts { ended: 50, failed: 50, slow: 50 }, 6_500);
        let good = [(1, GOOD), (1, GOOD), (1, GOOD)];
        assert!(breaker.record(&report(CallCounts::default(), &good, false), UnixMillis::new(7_000)));
        assert_eq!(ask(&mut breaker, 7_000), (true, false));
    }

    #[test]
    fn it_opens_again_as_soon_as_trials_cannot_go_well_any_more() {
        let mut breaker = open();
        ask(&mut breaker, 6_000);
        ask(&mut breaker, 6_000);
        breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(6_100));
        assert_eq!(ask(&mut breaker, 6_100), (true, true), "one of three may fail");
        breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(6_200));
        assert_eq!(breaker.circuit(UnixMillis::new(6_200)), Circuit::Open(11_200));
        // The third of them ends when it counts no more, not even as one of the next.
        assert_eq!(ask(&mut breaker, 11_200), (true, true));
        assert!(!breaker.record(&report(CallCounts::default(), &[(1, FAILED)], false), UnixMillis::new(11_300)));
        assert_eq!(breaker.circuit(UnixMillis::new(11_300)), Circuit::HalfOpen(2));
    }

    #[test]
    fn fewer_trials_than_have_ended_are_enough() {
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
    fn a_trial_whose_end_nobody_tells_is_tried_again() {
        let mut breaker = open();
        for _ in 0..3 {
            ask(&mut breaker, 6_000);
        }
        assert_eq!(ask(&mut breaker, 6_000 + BREAKER_TRIAL_MS - 1), (false, false));
        assert_eq!(ask(&mut breaker, 6_000 + BREAKER_TRIAL_MS), (true, true));
        // One that came to nothing leaves its place at once.
        breaker.record(&report(CallCounts::default(), &[(1, CallCounts::default())], false), UnixMillis::new(70_000));
        assert_eq!(ask(&mut breaker, 70_000), (true, true));
    }
}

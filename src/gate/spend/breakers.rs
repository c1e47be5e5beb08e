//! The states of circuit breakers as this isolate knows them, and the reports for them. The state
//! machine is [`crate::ledger::CircuitBreaker`].
//!
//! While a breaker is closed, or known to be open, a request does not ask the ledger about it.
//! While it is half-open, a request asks the ledger for a trial. The results of calls travel with
//! the next message to the ledger; failures and the ends of trials travel at once.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::gate::answer::Decision;
use crate::gate::compiled::BreakerRef;
use crate::ledger::{BreakerConfig, BreakerReport, BreakerStatus, CallCounts, Circuit};
use crate::model::bounds::MAX_KNOWN_BREAKERS;
use crate::model::{BreakerMode, HeardAt, TenantId, UnixMillis};

/// The result of a call to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The call ended.
    Answered {
        /// Whether the response, or its absence, is the origin's failure.
        failed: bool,
        /// Milliseconds from the request to the head of its response.
        elapsed_ms: u64,
    },
    /// A call that was reported as slow while it was open has failed since.
    FailedSince,
    /// The call shows nothing about the origin.
    Unknown,
}

/// One breaker, as this isolate knows it.
#[derive(Debug)]
struct Known {
    config: BreakerConfig,
    circuit: Circuit,
    /// Calls that are not reported yet.
    pending: CallCounts,
    /// Trials that have ended, by the number of their half-open state.
    trials: Vec<(u64, CallCounts)>,
    reported_at: UnixMillis,
}

/// The breakers that this isolate knows, by the ledger that keeps them.
#[derive(Debug, Default)]
pub struct Breakers {
    ledgers: FxHashMap<TenantId, LedgerBreakers>,
    count: usize,
}

#[derive(Debug, Default)]
struct LedgerBreakers {
    known: FxHashMap<String, Known>,
    /// The breakers with something to report, in an order that does not depend on a hash map.
    to_report: BTreeSet<String>,
}

/// A report to a breaker that is under way.
#[derive(Debug, Clone)]
pub struct SentReport {
    name: String,
    config: BreakerConfig,
    calls: CallCounts,
    trials: Vec<(u64, CallCounts)>,
    pub(super) asks: bool,
}

impl SentReport {
    pub(super) fn message(&self) -> BreakerReport<'_> {
        BreakerReport {
            breaker: &self.name,
            config: self.config,
            calls: self.calls,
            trials: self.trials.clone(),
            asks: self.asks,
        }
    }
}

impl Breakers {
    /// The state of a breaker, as far as this isolate knows.
    pub(in crate::gate) fn circuit(&self, ledger: &TenantId, breaker: &BreakerRef, now: UnixMillis) -> Circuit {
        match self.ledgers.get(ledger).and_then(|of| of.known.get(&breaker.name)).map(|known| known.circuit) {
            None => Circuit::Closed,
            // The ledger assigns the number of the half-open state.
            Some(Circuit::Open(until_ms)) if until_ms <= now.get() => Circuit::HalfOpen(0),
            Some(circuit) => circuit,
        }
    }

    fn known(&mut self, ledger: &TenantId, name: &str, config: BreakerConfig, now: UnixMillis) -> &mut Known {
        if self.count >= MAX_KNOWN_BREAKERS {
            self.ledgers.clear();
            self.count = 0;
        }
        let known = self.ledgers.entry(ledger.clone()).or_default().known.entry(name.to_owned()).or_insert_with(|| {
            self.count = self.count.saturating_add(1);
            Known {
                config,
                circuit: Circuit::Closed,
                pending: CallCounts::default(),
                trials: Vec::new(),
                reported_at: now,
            }
        });
        known.config = config;
        known
    }

    /// Whether no breaker is known.
    pub(super) fn is_empty(&self) -> bool {
        self.ledgers.is_empty()
    }

    /// Takes what is to be reported to the breakers of a ledger. `asks`: the breaker that is asked
    /// for a trial.
    pub(super) fn take_reports(
        &mut self,
        ledger: &TenantId,
        asks: Option<&BreakerRef>,
        now: UnixMillis,
    ) -> Vec<SentReport> {
        let mut reports = Vec::new();
        if let Some(of) = self.ledgers.get_mut(ledger) {
            for name in std::mem::take(&mut of.to_report) {
                let Some(known) = of.known.get_mut(&name) else { continue };
                known.reported_at = now;
                reports.push(SentReport {
                    asks: asks.is_some_and(|breaker| breaker.name == name),
                    config: known.config,
                    calls: std::mem::take(&mut known.pending),
                    trials: std::mem::take(&mut known.trials),
                    name,
                });
            }
        }
        if let Some(breaker) = asks.filter(|breaker| !reports.iter().any(|report| report.name == breaker.name)) {
            let (calls, trials) = (CallCounts::default(), Vec::new());
            reports.push(SentReport { name: breaker.name.clone(), config: breaker.config, calls, trials, asks: true });
        }
        reports
    }

    fn note_report(&mut self, ledger: &TenantId, name: &str) {
        if let Some(of) = self.ledgers.get_mut(ledger).filter(|of| !of.to_report.contains(name)) {
            of.to_report.insert(name.to_owned());
        }
    }

    /// Receives the reply to reports.
    pub(super) fn receive(
        &mut self,
        ledger: &TenantId,
        sent: &[SentReport],
        replies: &[BreakerStatus],
        heard: HeardAt,
    ) {
        let now = heard.get();
        for (sent, reply) in sent.iter().zip(replies) {
            let known = self.known(ledger, &sent.name, sent.config, now);
            // All trials are under way: no request needs to ask for a moment.
            known.circuit = match reply.circuit {
                Circuit::HalfOpen(_) if reply.refused => Circuit::Open(now.plus(reply.retry_after_ms).get()),
                circuit => circuit,
            };
        }
    }

    /// Whether a ledger should receive reports before other traffic carries them.
    pub(super) fn is_urgent(&self, ledger: &TenantId, now: UnixMillis) -> bool {
        let of = self.ledgers.get(ledger);
        of.is_some_and(|of| of.to_report.iter().filter_map(|name| of.known.get(name)).any(|known| known.is_urgent(now)))
    }
}

impl Known {
    fn has_reports(&self) -> bool {
        !self.pending.is_empty() || !self.trials.is_empty()
    }

    fn is_urgent(&self, now: UnixMillis) -> bool {
        let bad = self.pending.failed > 0 || self.pending.slow > 0;
        // Successful calls are reported while they still count.
        let old = self.has_reports() && now.since(self.reported_at) > self.config.window_ms / 2;
        bad || !self.trials.is_empty() || old
    }
}

impl Breakers {
    /// Records the result of an allowed request's call to the origin. Returns whether the tenant's
    /// ledger should receive it at once.
    pub(super) fn ended(&mut self, decision: &Decision, end: CallEnd, now: UnixMillis) -> bool {
        let Some((used, tenant)) = decision.extras().breaker.as_ref().zip(decision.tenant.as_ref()) else {
            return false;
        };
        let breaker = &used.breaker;
        let calls = match end {
            CallEnd::Answered { failed, elapsed_ms } => CallCounts {
                ended: 1,
                failed: u64::from(failed),
                slow: u64::from(breaker.slow_ms().is_some_and(|slow_ms| elapsed_ms >= slow_ms)),
            },
            // A trial is judged once.
            CallEnd::FailedSince if used.trial.is_some() => return false,
            CallEnd::FailedSince => CallCounts { failed: 1, ..CallCounts::default() },
            CallEnd::Unknown => CallCounts::default(),
        };
        if breaker.mode != BreakerMode::Auto || used.trial.is_none() && calls.is_empty() {
            return false;
        }
        let known = self.known(tenant.root(), &breaker.name, breaker.config, now);
        match used.trial {
            Some(turn) => known.trials.push((turn, calls)),
            None => known.pending = known.pending.plus(calls),
        }
        let is_urgent = known.is_urgent(now);
        self.note_report(tenant.root(), &breaker.name);
        is_urgent
    }
}

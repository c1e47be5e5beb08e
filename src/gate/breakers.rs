//! Stage 8: what this isolate knows of circuit breakers, and what it has to say to them. The state machine is
//! [`crate::ledger::Breaker`].
//!
//! While a breaker is closed, and while it is known to be open, nothing is asked: only trials are. What became of calls is
//! said with whatever goes to the ledger next; failures, and the ends of trials, at once.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::decision::Decision;
use super::pipeline::Gate;
use crate::ledger::{BreakerConfig, BreakerReport, BreakerStatus, CallCounts, Circuit};
use crate::model::bounds::MAX_KNOWN_BREAKERS;
use crate::model::{Breaker, BreakerMode, HeardAt, Key, TenantId, UnixMillis};

/// The breaker of one tenant for one group of routes.
#[derive(Debug)]
pub struct BreakerRef {
    /// The group.
    pub group: Key,
    /// Its name in the ledger: tenant and group.
    pub name: String,
    /// Who moves it.
    pub mode: BreakerMode,
    pub(super) fuse: BreakerConfig,
    /// Milliseconds from which a call is slow.
    slow_ms: Option<u64>,
}

/// How the breaker of a decision's route stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None passes.
    Open,
    /// Some pass, and show whether it can be closed.
    HalfOpen,
    /// None passes, because somebody said so.
    ForcedOpen,
    /// All pass, because somebody said so.
    Disabled,
}

/// What became of a call to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The origin answered, well or badly, after so many milliseconds.
    Answered {
        /// Whether the answer, or that there was none, is the origin's failure.
        failed: bool,
        /// From the request to the head of its response.
        elapsed_ms: u64,
    },
    /// A call that was told as slow while it was open has failed since.
    FailedSince,
    /// Nothing that says anything of the origin.
    Unknown,
}

/// What this isolate knows of one breaker.
#[derive(Debug)]
struct Known {
    fuse: BreakerConfig,
    circuit: Circuit,
    unsaid: CallCounts,
    /// Trials that have ended, by the number of their half-open state.
    trials: Vec<(u64, CallCounts)>,
    said_at: UnixMillis,
}

/// What this isolate knows of breakers, by the ledgers that keep them.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    ledgers: FxHashMap<TenantId, OfLedger>,
    count: usize,
}

#[derive(Debug, Default)]
struct OfLedger {
    known: FxHashMap<String, Known>,
    /// Those of which something is to be said: the same order everywhere, not that of a map.
    news: BTreeSet<String>,
}

/// What was said to a breaker, and is to be heard from it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    name: String,
    fuse: BreakerConfig,
    calls: CallCounts,
    trials: Vec<(u64, CallCounts)>,
    pub(super) asks: bool,
}

impl BreakerState {
    /// The name as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl From<Circuit> for BreakerState {
    fn from(circuit: Circuit) -> Self {
        match circuit {
            Circuit::Closed => Self::Closed,
            Circuit::Open(_) => Self::Open,
            Circuit::HalfOpen(_) => Self::HalfOpen,
        }
    }
}

impl BreakerRef {
    /// Milliseconds from which a call is slow, where it matters.
    pub const fn slow_ms(&self) -> Option<u64> {
        self.slow_ms
    }

    pub(super) fn new(tenant: &TenantId, group: &Key, breaker: &Breaker, mode: Option<BreakerMode>) -> Self {
        Self {
            name: format!("{tenant}/{group}"),
            group: group.clone(),
            mode: mode.unwrap_or(breaker.mode),
            slow_ms: breaker.slow_ms.map(|slow| slow.0),
            fuse: BreakerConfig {
                window_ms: breaker.window_ms.0,
                min_calls: breaker.min_calls.0,
                failed_percent: breaker.failed_percent.0,
                slow_percent: breaker.slow_percent.0,
                open_ms: breaker.open_ms.0,
                trials: breaker.trial_calls.0,
            },
        }
    }
}

impl Said {
    pub(super) fn word(&self) -> BreakerReport<'_> {
        BreakerReport {
            breaker: &self.name,
            config: self.fuse,
            calls: self.calls,
            trials: self.trials.clone(),
            asks: self.asks,
        }
    }
}

impl Breakers {
    /// How a breaker stands, as far as this isolate knows.
    pub(super) fn circuit(&self, ledger: &TenantId, guard: &BreakerRef, now: UnixMillis) -> Circuit {
        match self.ledgers.get(ledger).and_then(|of| of.known.get(&guard.name)).map(|known| known.circuit) {
            None => Circuit::Closed,
            // Which of its half-open states it is then, the ledger says.
            Some(Circuit::Open(until_ms)) if until_ms <= now.get() => Circuit::HalfOpen(0),
            Some(circuit) => circuit,
        }
    }

    fn known(&mut self, ledger: &TenantId, name: &str, fuse: BreakerConfig, now: UnixMillis) -> &mut Known {
        if self.count >= MAX_KNOWN_BREAKERS {
            self.ledgers.clear();
            self.count = 0;
        }
        let known = self.ledgers.entry(ledger.clone()).or_default().known.entry(name.to_owned()).or_insert_with(|| {
            self.count = self.count.saturating_add(1);
            Known { fuse, circuit: Circuit::Closed, unsaid: CallCounts::default(), trials: Vec::new(), said_at: now }
        });
        known.fuse = fuse;
        known
    }

    /// Whether nothing is known of any.
    pub(super) fn is_empty(&self) -> bool {
        self.ledgers.is_empty()
    }

    /// What is to be said to the breakers of a ledger, and asked of the one of `asks`.
    pub(super) fn say(&mut self, ledger: &TenantId, asks: Option<&BreakerRef>, now: UnixMillis) -> Vec<Said> {
        let mut said = Vec::new();
        if let Some(of) = self.ledgers.get_mut(ledger) {
            for name in std::mem::take(&mut of.news) {
                let Some(known) = of.known.get_mut(&name) else { continue };
                known.said_at = now;
                said.push(Said {
                    asks: asks.is_some_and(|guard| guard.name == name),
                    fuse: known.fuse,
                    calls: std::mem::take(&mut known.unsaid),
                    trials: std::mem::take(&mut known.trials),
                    name,
                });
            }
        }
        if let Some(guard) = asks.filter(|guard| !said.iter().any(|said| said.name == guard.name)) {
            let (calls, trials) = (CallCounts::default(), Vec::new());
            said.push(Said { name: guard.name.clone(), fuse: guard.fuse, calls, trials, asks: true });
        }
        said
    }

    fn has_news(&mut self, ledger: &TenantId, name: &str) {
        if let Some(of) = self.ledgers.get_mut(ledger).filter(|of| !of.news.contains(name)) {
            of.news.insert(name.to_owned());
        }
    }

    /// Takes the answer.
    pub(super) fn hear(&mut self, ledger: &TenantId, said: &[Said], replies: &[BreakerStatus], heard: HeardAt) {
        let now = heard.get();
        for (said, reply) in said.iter().zip(replies) {
            let known = self.known(ledger, &said.name, said.fuse, now);
            // Where all trials are under way, nobody need ask for a moment.
            known.circuit = match reply.circuit {
                Circuit::HalfOpen(_) if reply.refused => Circuit::Open(now.plus(reply.retry_after_ms).get()),
                circuit => circuit,
            };
        }
    }

    /// Whether something should be said to a ledger before anything else brings it there.
    pub(super) fn urge(&self, ledger: &TenantId, now: UnixMillis) -> bool {
        let of = self.ledgers.get(ledger);
        of.is_some_and(|of| of.news.iter().filter_map(|name| of.known.get(name)).any(|known| known.urges(now)))
    }
}

impl Known {
    fn has_news(&self) -> bool {
        !self.unsaid.is_empty() || !self.trials.is_empty()
    }

    fn urges(&self, now: UnixMillis) -> bool {
        let bad = self.unsaid.failed > 0 || self.unsaid.slow > 0;
        // Calls that went well are said while they count.
        let old = self.has_news() && now.since(self.said_at) > self.fuse.window_ms / 2;
        bad || !self.trials.is_empty() || old
    }
}

impl Gate {
    /// Notes what became of an allowed request that went to the origin. True: the tenant's ledger should be told, by
    /// [`Gate::urgent`] behind the request.
    pub fn ended(&mut self, decision: &Decision, end: CallEnd, now: UnixMillis) -> bool {
        let Some((guard, tenant)) = decision.guard.as_ref().zip(decision.tenant.as_ref()) else { return false };
        let calls = match end {
            CallEnd::Answered { failed, elapsed_ms } => CallCounts {
                ended: 1,
                failed: u64::from(failed),
                slow: u64::from(guard.slow_ms.is_some_and(|slow_ms| elapsed_ms >= slow_ms)),
            },
            // A trial is judged once.
            CallEnd::FailedSince if decision.trial.is_some() => return false,
            CallEnd::FailedSince => CallCounts { failed: 1, ..CallCounts::default() },
            CallEnd::Unknown => CallCounts::default(),
        };
        if guard.mode != BreakerMode::Auto || decision.trial.is_none() && calls.is_empty() {
            return false;
        }
        let known = self.breakers.known(tenant.root(), &guard.name, guard.fuse, now);
        match decision.trial {
            Some(turn) => known.trials.push((turn, calls)),
            None => known.unsaid = known.unsaid.plus(calls),
        }
        let urges = known.urges(now);
        self.breakers.has_news(tenant.root(), &guard.name);
        urges
    }
}

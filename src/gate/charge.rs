//! Stages 9 and 10: what a request takes, from this isolate and from the ledger, all or nothing.

use super::code::Code;
use super::decision::{Decision, Fallback, Gauged};
use super::pipeline::{Gate, Step};
use super::trace::{Stage, Trace, count};
use crate::ledger::{Book, Order, Outcome, Take};
use crate::model::bounds::RETRY_AFTER_MS;
use crate::model::{Kind, Mode, OnError, TenantId, UnixMillis};

/// A decision that waits for the ledger.
#[derive(Debug)]
pub struct Pending {
    pub(super) decision: Box<Decision>,
    pub(super) trace: Trace,
    pub(super) look: bool,
    /// How many of the limits this isolate counts alone; they come first.
    pub(super) locals: usize,
    /// Whether this isolate has taken them.
    pub(super) taken: bool,
    pub(super) refused: bool,
}

impl Pending {
    /// The tenant whose ledger is asked: the root of the family.
    pub fn ledger(&self) -> Option<&TenantId> {
        self.decision.tenant.as_ref().map(|tenant| tenant.root())
    }

    /// What the ledger is asked for.
    pub fn order(&self) -> Order<'_> {
        Order { charges: self.remote().iter().map(Take::charge).collect(), look: self.look }
    }

    /// Has a ledger in this process take what is asked.
    pub fn take_from(&mut self, ledger: &mut Book, now: UnixMillis) {
        let look = self.look;
        self.refused |= !ledger.take(self.remote_mut(), look, now);
    }

    fn remote(&self) -> &[Gauged] {
        self.decision.limits.get(self.locals..).unwrap_or_default()
    }

    fn remote_mut(&mut self) -> &mut [Gauged] {
        self.decision.limits.get_mut(self.locals..).unwrap_or_default()
    }

    fn local_mut(&mut self) -> &mut [Gauged] {
        self.decision.limits.get_mut(..self.locals).unwrap_or_default()
    }
}

impl Gate {
    /// Takes what this isolate counts alone; then the ledger has the word, if it is needed.
    pub(super) fn next(&mut self, mut pending: Pending, now: UnixMillis) -> Step {
        let look = pending.look;
        pending.refused = pending.locals > 0 && !self.local.take(pending.local_mut(), look, now);
        pending.taken = pending.locals > 0 && !pending.refused && !look;
        if pending.refused || pending.remote().is_empty() {
            return Step::Done(self.settled(pending, now));
        }
        Step::Charge(pending)
    }

    /// Ends a decision with the ledger's outcome; `None`: the ledger could not be reached.
    pub fn finish(&mut self, mut pending: Pending, outcome: Option<&Outcome>, now: UnixMillis) -> Box<Decision> {
        let binding = |gauged: &Gauged| gauged.budget.on_error == OnError::Closed && !gauged.budget.shadow;
        if let Some(outcome) = outcome {
            pending.refused |= !outcome.allowed;
            for (gauged, verdict) in pending.remote_mut().iter_mut().zip(&outcome.verdicts) {
                gauged.settle(*verdict);
            }
        } else if pending.remote().iter().any(binding) {
            self.give_back(&mut pending, now);
            return pending
                .without_ledger("the ledger could not be reached", "`on_error: open` for every limit of the route");
        } else {
            pending.decision.fallback.push(Fallback::Ledger);
        }
        self.settled(pending, now)
    }

    /// Ends a decision whose ledger has too much to do: refused, whatever `on_error` says, so that a flood lifts no limit.
    pub fn overloaded(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        self.give_back(&mut pending, now);
        pending.without_ledger("the ledger has too much to do", "fewer requests at once")
    }

    /// Draws the conclusion.
    pub fn settled(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        if pending.refused {
            self.give_back(&mut pending, now);
        }
        let Pending { mut decision, mut trace, .. } = pending;
        settle(&mut decision, &mut trace, now);
        if let Some(steps) = trace.take() {
            decision.trace = Some(steps);
        }
        decision
    }

    /// A denial consumes nothing: what this isolate took while the ledger was asked goes back.
    fn give_back(&mut self, pending: &mut Pending, now: UnixMillis) {
        if std::mem::take(&mut pending.taken) {
            self.local.give_back(pending.local_mut(), now);
        }
    }
}

impl Pending {
    fn without_ledger(self, reason: &'static str, remedy: &str) -> Box<Decision> {
        let Self { mut decision, mut trace, .. } = self;
        trace.stop(Stage::Rate, || (reason.to_owned(), remedy.to_owned()));
        decision.code = Code::LedgerUnavailable;
        decision.reason = Some(reason);
        decision.retry_after_ms = Some(RETRY_AFTER_MS);
        decision.trace = trace.take();
        decision
    }
}

/// Stages 9 and 10: the verdicts, rates before quotas.
fn settle(decision: &mut Decision, trace: &mut Trace, now: UnixMillis) {
    let first = |rate: bool| {
        decision.limits.iter().position(|gauged| (gauged.budget.kind == Kind::Rate) == rate && gauged.refused())
    };
    let denied = first(true).or_else(|| first(false));
    for gauged in &decision.limits {
        let stage = if gauged.budget.kind == Kind::Rate { Stage::Rate } else { Stage::Quota };
        let Some(verdict) = gauged.verdict else { continue };
        if gauged.refused() {
            trace.stop(stage, || {
                let wait = verdict
                    .retry_after_ms
                    .map_or_else(|| String::from("waiting does not help"), |ms| format!("wait until {}", now.plus(ms)));
                (count(gauged, verdict), format!("a higher allowance; {wait}"))
            });
        } else {
            trace.pass(stage, || count(gauged, verdict));
        }
    }
    let Some(index) = denied else { return };
    let refusals = decision.limits.iter().filter(|gauged| gauged.refused()).filter_map(|gauged| gauged.verdict);
    // All must pass, so the slowest says when; if one never passes, nothing does.
    let waits: Option<Vec<u64>> = refusals.map(|verdict| verdict.retry_after_ms).collect();
    decision.retry_after_ms = waits.and_then(|waits| waits.into_iter().max());
    decision.denied_limit = Some(index);
    let rate = decision.limits.get(index).is_some_and(|gauged| gauged.budget.kind == Kind::Rate);
    decision.code = if rate { Code::RateLimited } else { Code::QuotaExceeded };
    decision.reason = Some("an allowance is used up");
}

/// Whether this isolate counts it alone.
pub(super) fn is_local(gauged: &Gauged) -> bool {
    gauged.budget.mode == Mode::Local
}

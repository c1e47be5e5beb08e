//! The end of a decision: the ledger's response becomes verdicts, and what was taken provisionally
//! is made final or given back.

use super::pending::LeasedChecks;
use super::{Pending, Spender, budget_refs};
use crate::gate::answer::{Decision, Fallback, Reserved, Stage, Trace, count};
use crate::gate::cache::Snapshots;
use crate::gate::code::Code;
use crate::gate::compiled::{BreakerState, LimitCheck};
use crate::ledger::{Chargeable as _, Circuit, LedgerFailure, LedgerResponse, Seen, Spend, Verdict};
use crate::model::bounds::LEASE_DRY_MS;
use crate::model::{HeardAt, Kind, OnError, UnixMillis};

impl Spender {
    /// Completes a decision with the ledger's response, or with the failure of the message.
    pub(in crate::gate) fn conclude(
        &mut self,
        pending: Pending,
        response: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
        snapshots: &mut Snapshots,
    ) -> Box<Decision> {
        if let Some(root) = pending.ledger() {
            self.receive(root, &pending.exchange, response, heard, snapshots);
        }
        self.complete(pending, response, heard)
    }

    pub(super) fn complete(
        &mut self,
        mut pending: Pending,
        response: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
    ) -> Box<Decision> {
        let now = heard.get();
        let response = match response {
            Ok(response) => response,
            Err(LedgerFailure::Overloaded) => {
                // INVARIANT (overload is not absence): refused whatever `on_error` says, so that a
                // flood cannot lift a limit.
                self.undo(&mut pending, now);
                return pending.without_ledger("the ledger is overloaded", "fewer requests at once");
            }
            Err(LedgerFailure::Failed) => return self.without_response(pending, now),
        };
        if response.gone {
            self.undo(&mut pending, now);
            return pending.moved();
        }
        if response.seen == Some(Seen::Reused) {
            self.undo(&mut pending, now);
            return pending.key_reused();
        }
        note_hold(&mut pending, response);
        pending.refused |= !response.allowed;
        note_breaker(&mut pending, response);
        for (check, verdict) in pending.remote_mut().iter_mut().zip(&response.verdicts) {
            check.record(*verdict);
        }
        let served = self.pay_from_grants(&mut pending, response, now);
        pending.refused |= !served;
        self.decided(pending, now)
    }

    /// Pays from what was just granted. What was granted for this request is its own: no other
    /// request has run since.
    fn pay_from_grants(&mut self, pending: &mut Pending, response: &LedgerResponse, now: UnixMillis) -> bool {
        let mut served = response.allowed;
        let mut grants = response.grants.iter();
        for index in 0..pending.leased.len() {
            let Some(leased) = pending.leased.get(index).copied().filter(|leased| !leased.paid) else { continue };
            let Some(grant) = grants.next() else { break };
            if response.allowed {
                if self.pay(pending, leased, now) {
                    self.note_paid(pending, index);
                } else {
                    served = false;
                    pending.note_dry(index);
                }
            } else {
                for (check, verdict) in pending.checks_of_mut(leased).iter_mut().zip(&grant.verdicts) {
                    check.record(*verdict);
                }
            }
        }
        served
    }

    fn pay(&mut self, pending: &Pending, leased: LeasedChecks, now: UnixMillis) -> bool {
        let (Some(leases), Some(root)) = (&mut self.leases, pending.ledger()) else { return false };
        let spend = leases.spend(root.as_str(), &budget_refs(pending.checks_of(leased)), leased.range.cost, now);
        matches!(spend, Spend::Done { .. })
    }

    /// The message failed: `on_error` of each limit decides.
    fn without_response(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        let closed = |check: &LimitCheck| check.budget.on_error == OnError::Closed && !check.budget.shadow;
        let unpaid = pending.leased.iter().filter(|leased| !leased.paid);
        let mut asked = unpaid.flat_map(|leased| pending.checks_of(*leased)).chain(pending.remote());
        // A settlement must be counted: the caller reports it again.
        if pending.settles() || asked.any(closed) {
            drop(asked);
            self.undo(&mut pending, now);
            let remedy = "`on_error: open` for every limit of the route";
            return pending.without_ledger("the ledger could not be reached", remedy);
        }
        drop(asked);
        pending.cx.decision.extras_mut().fallback.push(Fallback::Ledger);
        self.decided(pending, now)
    }

    /// Makes the decision once every check has its verdict.
    pub(in crate::gate) fn decided(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        if pending.refused {
            self.undo(&mut pending, now);
        }
        self.conclude_leases(&pending, true);
        self.note_leased_verdicts(&mut pending, now);
        if let Some(wait_ms) = pending.open_for_ms {
            return pending.circuit_open(wait_ms);
        }
        if pending.refused && !pending.cx.decision.limits.iter().any(LimitCheck::refused) {
            // No limit refused: the ledger has no room for another lease.
            return pending.without_ledger("the ledger is overloaded", "fewer isolates at once");
        }
        let mut cx = pending.cx;
        judge_verdicts(&mut cx.decision, &mut cx.trace, now);
        cx.finish()
    }

    /// Gives back what was taken provisionally. INVARIANT (a denial consumes nothing).
    pub(super) fn undo(&mut self, pending: &mut Pending, now: UnixMillis) {
        if std::mem::take(&mut pending.taken) {
            self.local.give_back(pending.local_mut(), now);
        }
        self.conclude_leases(pending, false);
        for leased in &mut pending.leased {
            leased.lease = 0;
        }
    }

    /// Makes provisional spends from leases final, or takes them back.
    fn conclude_leases(&mut self, pending: &Pending, spent: bool) {
        let Some(leases) = &mut self.leases else { return };
        for leased in pending.leased.iter().filter(|leased| leased.lease > 0) {
            if let Some(first) = pending.checks_of(*leased).first() {
                leases.conclude(&first.budget.counter, leased.lease, leased.range.cost, spent);
            }
        }
    }

    /// Writes the verdicts of leased limits: as their ledger last reported them, less what was
    /// spent since.
    fn note_leased_verdicts(&self, pending: &mut Pending, now: UnixMillis) {
        let Some(leases) = &self.leases else { return };
        for index in 0..pending.leased.len() {
            let Some(leased) = pending.leased.get(index).copied().filter(|leased| leased.paid || leased.dry) else {
                continue;
            };
            let checks = pending.checks_of_mut(leased);
            let Some(first) = checks.first().filter(|first| first.verdict.is_none()) else { continue };
            // A lease that has just ended here leaves nothing known, and the request is still
            // refused.
            let unknown = |check: &LimitCheck| Verdict::exhausted(check.budget.meter.limit());
            let mut verdicts = leases.verdicts(&first.budget.counter, now);
            verdicts.extend(checks.iter().skip(verdicts.len()).map(unknown));
            for (check, verdict) in checks.iter_mut().zip(verdicts) {
                check.record(if leased.paid {
                    Verdict { allowed: true, retry_after_ms: None, ..verdict }
                } else {
                    // The ledger has granted what it had. Units may return as other leases end.
                    let retry_after_ms = verdict.retry_after_ms.or(Some(LEASE_DRY_MS));
                    Verdict { allowed: false, retry_after_ms, ..verdict }
                });
            }
        }
    }
}

fn note_hold(pending: &mut Pending, response: &LedgerResponse) {
    let hold = pending.special.as_mut().and_then(|special| special.hold.take()).zip(response.ends_ms);
    if hold.is_some() || response.seen.is_some() || response.lapsed {
        let extras = pending.cx.decision.extras_mut();
        extras.is_repeated = response.seen.is_some();
        extras.has_lapsed = response.lapsed;
        extras.hold = hold.map(|(hold, ends_ms)| Reserved { id: hold.id, ends_at: UnixMillis::new(ends_ms) });
    }
}

fn note_breaker(pending: &mut Pending, response: &LedgerResponse) {
    let Some(status) = pending.exchange.asked_breaker(response) else { return };
    if let Some(used) = &mut pending.cx.decision.extras_mut().breaker {
        used.state = if status.trial { BreakerState::HalfOpen } else { status.circuit.into() };
        used.trial = match status.circuit {
            Circuit::HalfOpen(turn) if status.trial => Some(turn),
            _ => None,
        };
    }
    pending.open_for_ms = status.refused.then_some(status.retry_after_ms);
}

/// The stage that judges a kind of limit, and the code of its denial.
const fn stage_of(kind: Kind) -> (Stage, Code) {
    match kind {
        Kind::Rate | Kind::Window => (Stage::Rate, Code::RateLimited),
        Kind::Concurrency => (Stage::Concurrency, Code::ConcurrencyLimited),
        Kind::Quota | Kind::Gauge => (Stage::Quota, Code::QuotaExceeded),
    }
}

/// Stages 9 to 11: the verdicts. Rates come before concurrency, and concurrency before quotas.
fn judge_verdicts(decision: &mut Decision, trace: &mut Trace, now: UnixMillis) {
    for check in &decision.limits {
        let (stage, _) = stage_of(check.budget.kind);
        let Some(verdict) = check.verdict else { continue };
        if check.refused() {
            trace.stop(stage, || {
                let wait = verdict
                    .retry_after_ms
                    .map_or_else(|| String::from("waiting does not help"), |ms| format!("wait until {}", now.plus(ms)));
                (count(check, verdict), format!("a higher allowance; {wait}"))
            });
        } else {
            trace.pass(stage, || count(check, verdict));
        }
    }
    let refusing = decision.limits.iter().enumerate().filter(|(_, check)| check.refused());
    // The first of those of the earliest stage.
    let denied = refusing.min_by_key(|(_, check)| stage_of(check.budget.kind).0);
    let Some((index, code)) = denied.map(|(index, check)| (index, stage_of(check.budget.kind).1)) else { return };
    let refusals = decision.limits.iter().filter(|check| check.refused()).filter_map(|check| check.verdict);
    // All limits must pass, so the slowest one determines the time. If one never passes, the
    // request never does.
    let waits: Option<Vec<u64>> = refusals.map(|verdict| verdict.retry_after_ms).collect();
    decision.code = code;
    let extras = decision.extras_mut();
    extras.reason = Some("an allowance is used up");
    extras.denied_limit = Some(index);
    extras.retry_after_ms = waits.and_then(|waits| waits.into_iter().max());
}

//! Stages 9 and 10: what a request takes, from this isolate and from the ledger, all or nothing; with it, of stage 8, the
//! trial of a half-open breaker.

use smallvec::SmallVec;

use super::breakers::{BreakerState, Said};
use super::code::Code;
use super::decision::{Decision, Fallback, LimitCheck, Reserved};
use super::leases::{Group, is_leasable, levels};
use super::need::Need;
use super::pending::{Pending, hold_name};
use super::pipeline::{Gate, Step};
use super::trace::{Stage, Trace, count};
use crate::ledger::{
    Chargeable, Circuit, Hold, IdempotencyKey, LedgerFailure, LedgerRequest, LedgerResponse, Seen, Spend, Verdict,
    WaitFailure,
};
use crate::model::bounds::LEASE_DRY_MS;
use crate::model::{HeardAt, Kind, Mode, OnError, TenantId, UnixMillis};

/// How a limit is paid, in the order in which that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Payment {
    /// From counters of this isolate.
    Local,
    /// From a lease, if there is one.
    Lease,
    /// By the ledger.
    Ledger,
}

impl Payment {
    pub(super) fn of(gauged: &LimitCheck, leases: bool) -> Self {
        match gauged.budget.mode {
            Mode::Local => Self::Local,
            _ if leases && is_leasable(gauged) => Self::Lease,
            _ => Self::Ledger,
        }
    }
}

impl Gate {
    /// Takes what this isolate can take alone; then the ledger has the word, if it is needed.
    pub(super) fn next(&mut self, mut pending: Pending, now: UnixMillis) -> Step {
        let dry_run = pending.dry_run;
        if self.leases.is_some() && !dry_run && pending.once().is_none() && !pending.settles() {
            pending.find_groups();
            if let Some(need) = self.pay(&mut pending, now) {
                self.give_back(&mut pending, now);
                return Step::Fetch(need);
            }
        }
        if !pending.refused && pending.locals > 0 {
            pending.refused = !self.local.take(pending.local_mut(), dry_run, now);
            pending.taken = !pending.refused && !dry_run;
        }
        let asks = pending.groups.iter().any(|group| !group.paid)
            || !pending.remote().is_empty()
            || pending.settles() && !dry_run
            || pending.is_trial();
        if pending.refused || !asks {
            return Step::Done(self.settled(pending, now));
        }
        if let Some(WaitFailure::Unanswered(why)) = pending.awaited {
            return Step::Done(self.finish(pending, Err(why), HeardAt::now(now)));
        }
        // Who leases nothing and has no breakers has nothing to say.
        let silent = self.leases.is_none() && self.breakers.is_empty() && !pending.is_trial();
        if let Some(root) = pending.ledger().filter(|_| !silent) {
            let lacking: SmallVec<[(String, u64); 2]> = pending
                .groups
                .iter()
                .filter(|group| !group.paid)
                .filter_map(|group| Some((pending.of(*group).first()?.budget.counter.clone(), group.cost)))
                .collect();
            let root = root.clone();
            let guard = pending.decision.guard.clone().filter(|_| pending.is_trial());
            let lacking = lacking.iter().map(|(counter, cost)| (counter.as_str(), *cost));
            pending.contact = self.contact(&root, lacking, guard.as_deref(), now);
        }
        Step::Charge(pending)
    }

    /// Pays from leases what they can pay. What somebody else asks for already is to be waited for.
    fn pay(&mut self, pending: &mut Pending, now: UnixMillis) -> Option<Need> {
        let root = pending.ledger()?.clone();
        for index in 0..pending.groups.len() {
            let group = *pending.groups.get(index)?;
            let spend = self.leases.as_mut()?.spend(root.as_str(), &levels(pending.of(group)), group.cost, now);
            match spend {
                Spend::Done { low } => {
                    self.paid(pending, index);
                    if low && let Some(first) = pending.of(group).first() {
                        let need = Need::Refill(root.clone(), first.budget.counter.clone());
                        pending.decision.refresh.push(need);
                    }
                }
                // The ledger has just granted all that it had of this: asking again would not help.
                Spend::Ask | Spend::Wait if pending.was_short_of(group) => pending.dry(index),
                Spend::Ask => {}
                Spend::Wait if matches!(pending.awaited, Some(WaitFailure::Unanswered(_))) => {}
                Spend::Wait => {
                    let counter = pending.of(group).first()?.budget.counter.as_str();
                    return self.leases.as_mut()?.wait(counter, group.cost).map(Need::Answer);
                }
                Spend::Refused => pending.dry(index),
            }
        }
        None
    }

    /// Notes that a limit was paid; until the decision is made, the ledger does not hear of it.
    fn paid(&mut self, pending: &mut Pending, index: usize) {
        let Some(group) = pending.groups.get(index).copied() else { return };
        let counter = pending.of(group).first().map(|gauged| gauged.budget.counter.as_str());
        let lease = self.leases.as_mut().zip(counter).map(|(leases, counter)| leases.hold(counter, group.cost));
        if let Some(group) = pending.groups.get_mut(index) {
            (group.paid, group.lease) = (true, lease.unwrap_or(0));
        }
    }

    /// What the ledger is asked for.
    pub fn order<'a>(&'a self, pending: &'a Pending) -> LedgerRequest<'a> {
        let special = pending.special.as_deref();
        LedgerRequest {
            tenant: pending.decision.tenant.as_ref().map(|tenant| tenant.tenant().id.as_str()),
            charges: pending.remote().iter().map(Chargeable::charge).collect(),
            claims: pending.ledger().map(|root| self.claims(root, &pending.contact)).unwrap_or_default(),
            breakers: pending.contact.said.iter().map(Said::word).collect(),
            epochs: pending.epochs(),
            heard: pending.ledger().and_then(|root| self.heard.get(root)).copied().unwrap_or(0),
            dry_run: pending.dry_run,
            once: special.and_then(|special| special.once.as_ref()).map(|(id, fingerprint)| IdempotencyKey {
                id,
                fingerprint,
                event: false,
            }),
            hold: special
                .and_then(|special| special.hold.as_ref())
                .map(|(_, name, for_ms)| Hold { name, for_ms: *for_ms }),
            settle: special.and_then(|special| special.settle.as_deref()),
            ..LedgerRequest::default()
        }
    }

    /// Ends a decision with the ledger's answer, or with the reason why there is none.
    pub fn finish(
        &mut self,
        mut pending: Pending,
        answer: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
    ) -> Box<Decision> {
        let now = heard.get();
        let contact = std::mem::take(&mut pending.contact);
        if let Some(root) = pending.ledger().cloned() {
            self.heard(&root, &contact, answer, heard);
        }
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(LedgerFailure::Overloaded) => {
                // INVARIANT (overload is not absence): refused whatever `on_error` says, so that a flood lifts no limit.
                self.give_back(&mut pending, now);
                return pending.without_ledger("the ledger has too much to do", "fewer requests at once");
            }
            Err(LedgerFailure::Failed) => return self.unreached(pending, now),
        };
        if outcome.gone {
            self.give_back(&mut pending, now);
            return pending.moved();
        }
        if outcome.seen == Some(Seen::Reused) {
            self.give_back(&mut pending, now);
            return pending.reused();
        }
        pending.decision.repeated = outcome.seen.is_some();
        pending.decision.lapsed = outcome.lapsed;
        pending.decision.hold =
            pending.special.as_mut().and_then(|special| special.hold.take()).zip(outcome.ends_ms).map(
                |((id, _, _), ends_ms)| {
                    let ends_at = UnixMillis::new(ends_ms);
                    Reserved { id, ends_at }
                },
            );
        pending.refused |= !outcome.allowed;
        if let Some((_, reply)) = contact.said.iter().zip(&outcome.breakers).find(|(said, _)| said.asks) {
            pending.decision.breaker = Some(if reply.trial { BreakerState::HalfOpen } else { reply.circuit.into() });
            pending.decision.trial = match reply.circuit {
                Circuit::HalfOpen(turn) if reply.trial => Some(turn),
                _ => None,
            };
            pending.open_for_ms = reply.refused.then_some(reply.retry_after_ms);
        }
        for (gauged, verdict) in pending.remote_mut().iter_mut().zip(&outcome.verdicts) {
            gauged.settle(*verdict);
        }
        // What was granted for this request is its own: nobody else has had a turn since.
        let mut served = outcome.allowed;
        let mut grants = outcome.grants.iter();
        for index in 0..pending.groups.len() {
            let Some(group) = pending.groups.get(index).copied().filter(|group| !group.paid) else { continue };
            let Some(grant) = grants.next() else { break };
            if outcome.allowed {
                if self.pay_one(&pending, group, now) {
                    self.paid(&mut pending, index);
                } else {
                    served = false;
                    pending.dry(index);
                }
            } else {
                let gauged = pending.decision.limits.get_mut(group.start..group.end).unwrap_or_default();
                for (gauged, verdict) in gauged.iter_mut().zip(&grant.verdicts) {
                    gauged.settle(*verdict);
                }
            }
        }
        pending.refused |= !served;
        self.settled(pending, now)
    }

    fn pay_one(&mut self, pending: &Pending, group: Group, now: UnixMillis) -> bool {
        let (Some(leases), Some(root)) = (&mut self.leases, pending.ledger()) else { return false };
        matches!(leases.spend(root.as_str(), &levels(pending.of(group)), group.cost, now), Spend::Done { .. })
    }

    /// The message failed: `on_error` of each limit decides.
    fn unreached(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        let binding = |gauged: &LimitCheck| gauged.budget.on_error == OnError::Closed && !gauged.budget.shadow;
        let asked = pending.groups.iter().filter(|group| !group.paid).flat_map(|group| pending.of(*group));
        // What has happened must be counted: the caller reports it again.
        if pending.settles() || asked.chain(pending.remote()).any(binding) {
            self.give_back(&mut pending, now);
            return pending
                .without_ledger("the ledger could not be reached", "`on_error: open` for every limit of the route");
        }
        pending.decision.fallback.push(Fallback::Ledger);
        self.settled(pending, now)
    }

    /// Draws the conclusion.
    pub fn settled(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        if pending.refused {
            self.give_back(&mut pending, now);
        }
        self.settle_leases(&pending, true);
        self.tell(&mut pending, now);
        if let Some(wait_ms) = pending.open_for_ms {
            return pending.circuit_open(wait_ms);
        }
        if pending.refused && !pending.decision.limits.iter().any(LimitCheck::refused) {
            // Refused, and no limit says so: the ledger has no room for another lease.
            return pending.without_ledger("the ledger has too much to do", "fewer isolates at once");
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
        self.settle_leases(pending, false);
        for group in &mut pending.groups {
            group.lease = 0;
        }
    }

    /// Makes sure of what was spent on leases: for good, or not at all.
    fn settle_leases(&mut self, pending: &Pending, spent: bool) {
        let Some(leases) = &mut self.leases else { return };
        for group in pending.groups.iter().filter(|group| group.lease > 0) {
            if let Some(first) = pending.of(*group).first() {
                leases.settle(&first.budget.counter, group.lease, group.cost, spent);
            }
        }
    }

    /// Says how limits stand that leases pay: as their ledger said last, and what was spent since.
    fn tell(&self, pending: &mut Pending, now: UnixMillis) {
        let Some(leases) = &self.leases else { return };
        for group in pending.groups.iter().filter(|group| group.paid || group.dry) {
            let gauged = pending.decision.limits.get_mut(group.start..group.end).unwrap_or_default();
            let Some(first) = gauged.first().filter(|first| first.verdict.is_none()) else { continue };
            // A lease that has just ended here leaves nothing known, and still it was refused.
            let unknown = |gauged: &LimitCheck| Verdict::exhausted(gauged.budget.meter.limit());
            let mut verdicts = leases.verdicts(&first.budget.counter, now);
            verdicts.extend(gauged.iter().skip(verdicts.len()).map(unknown));
            for (gauged, verdict) in gauged.iter_mut().zip(verdicts) {
                gauged.settle(if group.paid {
                    Verdict { allowed: true, retry_after_ms: None, ..verdict }
                } else {
                    // The ledger has granted what it had: units may come back, as leases of others end.
                    let retry_after_ms = verdict.retry_after_ms.or(Some(LEASE_DRY_MS));
                    Verdict { allowed: false, retry_after_ms, ..verdict }
                });
            }
        }
    }
}

impl Decision {
    /// What the ledger is told when what is in flight has ended, where it holds anything: to whom, and the name for
    /// [`LedgerRequest::settle`].
    pub fn hold_name(&self) -> Option<(&TenantId, String)> {
        let (hold, tenant) = self.hold.as_ref().zip(self.tenant.as_ref())?;
        Some((tenant.root(), hold_name(&tenant.tenant().id, &hold.id)))
    }
}

/// The stage at which a limit is judged, and the code of its refusal.
const fn stage_of(kind: Kind) -> (Stage, Code) {
    match kind {
        Kind::Rate | Kind::Window => (Stage::Rate, Code::RateLimited),
        Kind::Concurrency => (Stage::Concurrency, Code::ConcurrencyLimited),
        Kind::Quota | Kind::Gauge => (Stage::Quota, Code::QuotaExceeded),
    }
}

/// Stages 9 and 10: the verdicts, rates before what is in flight, and that before quotas.
fn settle(decision: &mut Decision, trace: &mut Trace, now: UnixMillis) {
    let refusing = decision.limits.iter().enumerate().filter(|(_, gauged)| gauged.refused());
    // The first of those of the earliest stage.
    let denied = refusing.min_by_key(|(_, gauged)| stage_of(gauged.budget.kind).0).map(|(index, _)| index);
    for gauged in &decision.limits {
        let (stage, _) = stage_of(gauged.budget.kind);
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
    decision.code = decision.limits.get(index).map_or(Code::QuotaExceeded, |gauged| stage_of(gauged.budget.kind).1);
    decision.reason = Some("an allowance is used up");
}

//! Stages 9 and 10: what a request takes, from this isolate and from the ledger, all or nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::breakers::{BreakerState, Said};
use super::code::Code;
use super::decision::{Decision, Fallback, Gauged, Reserved};
use super::leases::{Contact, Group, is_leasable, levels};
use super::pipeline::{Ask, Gate, Step};
use super::run::Denial;
use super::snapshots::{CATALOG, Need};
use super::trace::{Stage, Trace, count};
use crate::ledger::{Book, Circuit, Hold, Once, Op, Order, Outcome, Seen, Spend, Take, Verdict};
use crate::model::bounds::{DEFAULT_HOLD_MS, RETRY_AFTER_MS};
use crate::model::{Kind, Mode, OnError, TenantId, UnixMillis};

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

/// A decision that waits for the ledger.
#[derive(Debug)]
pub struct Pending {
    pub(super) decision: Box<Decision>,
    trace: Trace,
    look: bool,
    /// How many of the limits this isolate counts alone; they come first.
    locals: usize,
    /// Limits that are paid from leases; they come next.
    groups: SmallVec<[Group; 2]>,
    /// Where the others begin, which the ledger is asked for.
    rest: usize,
    /// What is said to the ledger about leases.
    contact: Contact,
    /// What most requests have not: elsewhere, so that they need not carry it around.
    special: Option<Box<Special>>,
    /// Whether this isolate has taken what it counts alone.
    taken: bool,
    refused: bool,
    /// Milliseconds after which the breaker may let a request pass, where it has refused.
    open_for_ms: Option<u64>,
}

/// What is said to the ledger beside what is taken.
#[derive(Debug)]
struct Special {
    /// Name and digest of an event that counts once.
    once: Option<(String, String)>,
    /// Under which name units are set aside, and for how long: what the tenant calls it, and what the ledger does.
    hold: Option<(String, String, u64)>,
    /// What the ledger calls the hold that is settled.
    settle: Option<String>,
}

impl Special {
    /// `own_name`: where something is set aside, a name for it where the caller has none.
    fn new(id: &TenantId, limits: &[Gauged], ask: &Ask<'_>, own_name: Option<impl FnOnce() -> String>) -> Self {
        // Blanks keep these names apart from those of keys, which have none.
        let key = match (ask.reserve, ask.settle) {
            (Some((name, _)), _) => Some(format!(" reserve {name}")),
            (None, Some(name)) => Some(format!(" settle {name}")),
            (None, None) => ask.once.map(|key| format!("/{key}")),
        };
        let once = key.map(|key| {
            // What is taken of which limit, wherever in the line it is counted: that may change between two tries.
            let what: BTreeMap<_, _> = limits.iter().map(|gauged| (gauged.budget.limit.as_str(), gauged.op)).collect();
            let what = serde_json::to_vec(&what).unwrap_or_default();
            // 96 bits: another event with the same digest would have to be looked for.
            let print = URL_SAFE_NO_PAD.encode(Sha256::digest(what).get(..12).unwrap_or_default());
            (format!("{id}{key}"), print)
        });
        let hold = own_name.map(|own_name| {
            let longest = limits.iter().map(|gauged| gauged.budget.max_duration_ms).max();
            let (name, for_ms) = match ask.reserve {
                Some((name, for_ms)) => (name.to_owned(), for_ms),
                None => (own_name(), longest.unwrap_or(DEFAULT_HOLD_MS)),
            };
            let known_as = hold_name(id, &name);
            (name, known_as, for_ms)
        });
        Self { once, hold, settle: ask.settle.map(|name| hold_name(id, name)) }
    }
}

impl Payment {
    pub(super) fn of(gauged: &Gauged, leases: bool) -> Self {
        match gauged.budget.mode {
            Mode::Local => Self::Local,
            _ if leases && is_leasable(gauged) => Self::Lease,
            _ => Self::Ledger,
        }
    }
}

impl Pending {
    /// `own_name`: a name for what is set aside, where the caller has none.
    pub(super) fn new(decision: Box<Decision>, trace: Trace, ask: &Ask<'_>, own_name: impl FnOnce() -> String) -> Self {
        let sets_aside = !ask.look && decision.limits.iter().any(|gauged| matches!(gauged.op, Op::Hold(1..)));
        let special = ask.once.is_some() || ask.reserve.is_some() || ask.settle.is_some() || sets_aside;
        let special = decision.tenant.as_ref().filter(|_| special).map(|tenant| {
            Box::new(Special::new(&tenant.tenant().id, &decision.limits, ask, sets_aside.then_some(own_name)))
        });
        let look = ask.look;
        let locals = decision.limits.iter().take_while(|gauged| gauged.budget.mode == Mode::Local).count();
        Self {
            decision,
            trace,
            look,
            locals,
            groups: SmallVec::new(),
            rest: locals,
            contact: Contact::default(),
            special,
            taken: false,
            refused: false,
            open_for_ms: None,
        }
    }

    /// The tenant whose ledger is asked: the root of the family.
    pub fn ledger(&self) -> Option<&TenantId> {
        self.decision.tenant.as_ref().map(|tenant| tenant.root())
    }

    /// The name of an event that counts once.
    pub fn once(&self) -> Option<&str> {
        self.special.as_ref()?.once.as_ref().map(|(id, _)| id.as_str())
    }

    /// What the ledger calls the slots of a request in flight. A reservation has a name of its caller's, who asks again.
    pub fn slots_name(&self) -> Option<String> {
        // INVARIANT: names of reservations that count once have a blank, and keys have none.
        let reserves = self.once().is_some_and(|name| name.contains(' '));
        self.special.as_ref()?.hold.as_ref().filter(|_| !reserves).map(|(_, name, _)| name.clone())
    }

    fn settles(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.settle.is_some())
    }

    /// Whether the ledger has to be told more than what is taken.
    pub fn is_plain(&self) -> bool {
        self.special.is_none() && !self.is_trial()
    }

    /// Has a ledger in this process take what is asked.
    pub fn take_from(&mut self, ledger: &mut Book, now: UnixMillis) {
        let look = self.look;
        self.refused |= !ledger.take(self.remote_mut(), look, now);
    }

    fn remote(&self) -> &[Gauged] {
        self.decision.limits.get(self.rest..).unwrap_or_default()
    }

    fn remote_mut(&mut self) -> &mut [Gauged] {
        self.decision.limits.get_mut(self.rest..).unwrap_or_default()
    }

    fn local_mut(&mut self) -> &mut [Gauged] {
        self.decision.limits.get_mut(..self.locals).unwrap_or_default()
    }

    fn of(&self, group: Group) -> &[Gauged] {
        self.decision.limits.get(group.start..group.end).unwrap_or_default()
    }

    /// Finds the limits that leases may pay: those of one limit are neighbours.
    fn find_groups(&mut self) {
        let mut start = self.locals;
        let limits = self.decision.limits.get(start..).unwrap_or_default();
        for chunk in limits.chunk_by(|one, next| one.budget.id == next.budget.id) {
            if chunk.first().is_none_or(|gauged| Payment::of(gauged, true) != Payment::Lease) {
                break;
            }
            let end = start.saturating_add(chunk.len());
            let cost = chunk.first().map_or(0, |gauged| gauged.op.cost());
            self.groups.push(Group { start, end, cost, paid: false, lease: 0, dry: false });
            start = end;
        }
        self.rest = start;
    }
}

impl Gate {
    /// Takes what this isolate can take alone; then the ledger has the word, if it is needed.
    pub(super) fn next(&mut self, mut pending: Pending, now: UnixMillis) -> Step {
        let look = pending.look;
        if self.purse.is_some() && !look && pending.once().is_none() && !pending.settles() {
            pending.find_groups();
            if let Some(need) = self.pay(&mut pending, now) {
                self.give_back(&mut pending, now);
                return Step::Fetch(need);
            }
        }
        if !pending.refused && pending.locals > 0 {
            pending.refused = !self.local.take(pending.local_mut(), look, now);
            pending.taken = !pending.refused && !look;
        }
        let asks = pending.groups.iter().any(|group| !group.paid)
            || !pending.remote().is_empty()
            || pending.settles() && !look
            || pending.is_trial();
        if pending.refused || !asks {
            return Step::Done(self.settled(pending, now));
        }
        if let Some(root) = pending.ledger() {
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
            let spend = self.purse.as_mut()?.spend(root.as_str(), &levels(pending.of(group)), group.cost, now);
            match spend {
                Spend::Done { low } => {
                    self.paid(pending, index);
                    if low && let Some(first) = pending.of(group).first() {
                        let need = Need::Refill(root.clone(), first.budget.counter.clone());
                        pending.decision.refresh.push(need);
                    }
                }
                Spend::Ask => {}
                Spend::Wait => return Some(Need::Answer(root)),
                Spend::Refused => {
                    pending.refused = true;
                    if let Some(group) = pending.groups.get_mut(index) {
                        group.dry = true;
                    }
                }
            }
        }
        None
    }

    /// Notes that a limit was paid; until the decision is made, the ledger does not hear of it.
    fn paid(&mut self, pending: &mut Pending, index: usize) {
        let Some(group) = pending.groups.get(index).copied() else { return };
        let counter = pending.of(group).first().map(|gauged| gauged.budget.counter.as_str());
        let lease = self.purse.as_mut().zip(counter).map(|(purse, counter)| purse.hold(counter, group.cost));
        if let Some(group) = pending.groups.get_mut(index) {
            (group.paid, group.lease) = (true, lease.unwrap_or(0));
        }
    }

    /// What the ledger is asked for.
    pub fn order<'a>(&'a self, pending: &'a Pending) -> Order<'a> {
        let special = pending.special.as_deref();
        Order {
            tenant: pending.decision.tenant.as_ref().map(|tenant| tenant.tenant().id.as_str()),
            charges: pending.remote().iter().map(Take::charge).collect(),
            claims: pending.ledger().map(|root| self.claims(root, &pending.contact)).unwrap_or_default(),
            breakers: pending.contact.said.iter().map(Said::word).collect(),
            epochs: pending.epochs(),
            heard: pending.ledger().and_then(|root| self.heard.get(root)).copied().unwrap_or(0),
            look: pending.look,
            once: special.and_then(|special| special.once.as_ref()).map(|(id, print)| Once { id, print, event: false }),
            hold: special
                .and_then(|special| special.hold.as_ref())
                .map(|(_, name, for_ms)| Hold { name, for_ms: *for_ms }),
            settle: special.and_then(|special| special.settle.as_deref()),
            ..Order::default()
        }
    }

    /// Ends a decision with the ledger's outcome; `None`: the ledger could not be reached.
    pub fn finish(&mut self, mut pending: Pending, outcome: Option<&Outcome>, now: UnixMillis) -> Box<Decision> {
        let contact = std::mem::take(&mut pending.contact);
        if let Some(root) = pending.ledger().cloned() {
            self.heard(&root, &contact, outcome, now);
        }
        let Some(outcome) = outcome else {
            let binding = |gauged: &Gauged| gauged.budget.on_error == OnError::Closed && !gauged.budget.shadow;
            let asked = pending.groups.iter().filter(|group| !group.paid).flat_map(|group| pending.of(*group));
            // What has happened must be counted: whoever says so says it again.
            if pending.settles() || asked.chain(pending.remote()).any(binding) {
                self.give_back(&mut pending, now);
                return pending.without_ledger(
                    "the ledger could not be reached",
                    "`on_error: open` for every limit of the route",
                );
            }
            pending.decision.fallback.push(Fallback::Ledger);
            return self.settled(pending, now);
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
        let (Some(purse), Some(root)) = (&mut self.purse, pending.ledger()) else { return false };
        matches!(purse.spend(root.as_str(), &levels(pending.of(group)), group.cost, now), Spend::Done { .. })
    }

    /// Ends a decision whose ledger has too much to do: refused, whatever `on_error` says, so that a flood lifts no limit.
    pub fn overloaded(&mut self, mut pending: Pending, now: UnixMillis) -> Box<Decision> {
        let contact = std::mem::take(&mut pending.contact);
        if let Some(root) = pending.ledger().cloned() {
            self.heard(&root, &contact, None, now);
        }
        self.give_back(&mut pending, now);
        pending.without_ledger("the ledger has too much to do", "fewer requests at once")
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
        if pending.refused && !pending.decision.limits.iter().any(Gauged::refused) {
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
        let Some(purse) = &mut self.purse else { return };
        for group in pending.groups.iter().filter(|group| group.lease > 0) {
            if let Some(first) = pending.of(*group).first() {
                purse.settle(&first.budget.counter, group.lease, group.cost, spent);
            }
        }
    }

    /// Says how limits stand that leases pay: as their ledger said last, and what was spent since.
    fn tell(&self, pending: &mut Pending, now: UnixMillis) {
        let Some(purse) = &self.purse else { return };
        for group in pending.groups.iter().filter(|group| group.paid || group.dry) {
            let gauged = pending.decision.limits.get_mut(group.start..group.end).unwrap_or_default();
            let Some(first) = gauged.first().filter(|first| first.verdict.is_none()) else { continue };
            let verdicts = purse.verdicts(&first.budget.counter, now);
            for (gauged, verdict) in gauged.iter_mut().zip(verdicts) {
                gauged.settle(if group.paid {
                    Verdict { allowed: true, retry_after_ms: None, ..verdict }
                } else {
                    verdict
                });
            }
        }
    }
}

impl Decision {
    /// What the ledger is told when what is in flight has ended, where it holds anything: to whom, and the name for
    /// [`Order::settle`].
    pub fn hold_name(&self) -> Option<(&TenantId, String)> {
        let (hold, tenant) = self.hold.as_ref().zip(self.tenant.as_ref())?;
        Some((tenant.root(), hold_name(&tenant.tenant().id, &hold.id)))
    }
}

impl Pending {
    /// Whether the route's breaker is half-open, so that it has to be asked.
    fn is_trial(&self) -> bool {
        !self.look && self.decision.breaker == Some(BreakerState::HalfOpen)
    }

    /// The snapshots that it was decided by.
    fn epochs(&self) -> SmallVec<[(Cow<'_, str>, u64); 2]> {
        let catalog = self.decision.plans.as_ref().map(|plans| (Cow::Borrowed(CATALOG), plans.catalog().version.0));
        let line = self.decision.tenant.iter().flat_map(|tenant| tenant.line());
        catalog.into_iter().chain(line.map(|tenant| (Cow::Borrowed(tenant.id.as_str()), tenant.epoch.0))).collect()
    }

    fn circuit_open(self, wait_ms: u64) -> Box<Decision> {
        let reason = "the circuit breaker is half-open, and its trials are under way";
        let remedy = "wait for the end of the trials";
        self.refuse(Stage::Breaker, (Code::TenantCircuitOpen, reason), remedy, Some(wait_ms))
    }

    /// The tenant has left for another family: a later record of it says for which, and is on its way.
    fn moved(self) -> Box<Decision> {
        let reason = "the tenant has left this family, and its later record is not here yet";
        let remedy = "wait for its later record";
        self.refuse(Stage::Rate, (Code::SnapshotUnavailable, reason), remedy, Some(RETRY_AFTER_MS))
    }

    fn reused(self) -> Box<Decision> {
        let reason = "the idempotency key was used before, for something else";
        self.refuse(Stage::Quota, (Code::IdempotencyKeyReused, reason), "a new key", None)
    }

    fn without_ledger(self, reason: &'static str, remedy: &str) -> Box<Decision> {
        self.refuse(Stage::Rate, (Code::LedgerUnavailable, reason), remedy, Some(RETRY_AFTER_MS))
    }

    /// Ends it with a refusal that is no limit's own.
    fn refuse(self, stage: Stage, (code, reason): Denial, remedy: &str, retry_after_ms: Option<u64>) -> Box<Decision> {
        let Self { mut decision, mut trace, .. } = self;
        trace.stop(stage, || (reason.to_owned(), remedy.to_owned()));
        (decision.code, decision.reason, decision.retry_after_ms) = (code, Some(reason), retry_after_ms);
        // Which limits could not be taken is worth saying where only the ledger is missing.
        if code != Code::LedgerUnavailable {
            decision.limits.clear();
        }
        decision.trace = trace.take();
        decision
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

/// What a ledger calls what a tenant has set aside.
fn hold_name(tenant: &TenantId, name: &str) -> String {
    format!("{tenant} {name}")
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

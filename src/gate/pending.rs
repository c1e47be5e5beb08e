//! A decision that waits for the ledger: what it takes, what is said with it, and how it ends where no limit speaks.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::breakers::BreakerState;
use super::charge::Payment;
use super::code::Code;
use super::decision::{Decision, LimitCheck};
use super::leases::{Exchange, Group};
use super::pipeline::Ask;
use super::run::Denial;
use super::snapshots::CATALOG;
use super::trace::{Stage, Trace};
use crate::ledger::{CounterOp, LedgerState, WaitFailure};
use crate::model::bounds::{DEFAULT_HOLD_MS, RETRY_AFTER_MS};
use crate::model::{Mode, TenantId, UnixMillis, map_of};

/// A decision that waits for the ledger.
#[derive(Debug)]
pub struct Pending {
    pub(super) decision: Box<Decision>,
    pub(super) trace: Trace,
    pub(super) dry_run: bool,
    pub(super) awaited: Option<WaitFailure>,
    /// How many of the limits this isolate counts alone; they come first.
    pub(super) locals: usize,
    /// Limits that are paid from leases; they come next.
    pub(super) groups: SmallVec<[Group; 2]>,
    /// Where the others begin, which the ledger is asked for.
    pub(super) rest: usize,
    /// What is said to the ledger about leases.
    pub(super) contact: Exchange,
    /// What most requests have not: elsewhere, so that they need not carry it around.
    pub(super) special: Option<Box<Special>>,
    /// Whether this isolate has taken what it counts alone.
    pub(super) taken: bool,
    pub(super) refused: bool,
    /// Milliseconds after which the breaker may let a request pass, where it has refused.
    pub(super) open_for_ms: Option<u64>,
}

/// What is said to the ledger beside what is taken.
#[derive(Debug)]
pub(super) struct Special {
    /// Name and digest of an event that counts once.
    pub(super) once: Option<(String, String)>,
    /// Under which name units are set aside, and for how long: what the tenant calls it, and what the ledger does.
    pub(super) hold: Option<(String, String, u64)>,
    /// What the ledger calls the hold that is settled.
    pub(super) settle: Option<String>,
}

impl Special {
    /// `own_name`: where something is set aside, a name for it where the caller has none.
    fn new(id: &TenantId, limits: &[LimitCheck], ask: &Ask<'_>, own_name: Option<impl FnOnce() -> String>) -> Self {
        // Blanks keep these names apart from those of keys, which have none.
        let key = match (ask.reserve, ask.settle) {
            (Some((name, _)), _) => Some(format!(" reserve {name}")),
            (None, Some(name)) => Some(format!(" settle {name}")),
            (None, None) => ask.once.map(|key| format!("/{key}")),
        };
        let once = key.map(|key| {
            // What is taken of which limit, wherever in the line it is counted: that may change between two tries.
            let what = map_of(limits.iter().map(|gauged| (gauged.budget.limit.as_str(), gauged.op)));
            let what = serde_json::to_vec(&what).unwrap_or_default();
            // 96 bits: another event with the same digest would have to be looked for.
            let fingerprint = URL_SAFE_NO_PAD.encode(Sha256::digest(what).get(..12).unwrap_or_default());
            (format!("{id}{key}"), fingerprint)
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

impl Pending {
    /// `own_name`: a name for what is set aside, where the caller has none.
    pub(super) fn new(decision: Box<Decision>, trace: Trace, ask: &Ask<'_>, own_name: impl FnOnce() -> String) -> Self {
        let sets_aside = !ask.dry_run && decision.limits.iter().any(|gauged| matches!(gauged.op, CounterOp::Hold(1..)));
        let special = ask.once.is_some() || ask.reserve.is_some() || ask.settle.is_some() || sets_aside;
        let special = decision.tenant.as_ref().filter(|_| special).map(|tenant| {
            Box::new(Special::new(&tenant.tenant().id, &decision.limits, ask, sets_aside.then_some(own_name)))
        });
        let dry_run = ask.dry_run;
        let locals = decision.limits.iter().take_while(|gauged| gauged.budget.mode == Mode::Local).count();
        Self {
            decision,
            trace,
            dry_run,
            awaited: ask.awaited.cloned(),
            locals,
            groups: SmallVec::new(),
            rest: locals,
            contact: Exchange::default(),
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

    pub(super) fn settles(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.settle.is_some())
    }

    /// Whether the ledger is told no more than what is taken.
    pub fn is_plain(&self) -> bool {
        self.special.is_none() && !self.is_trial()
    }

    /// Has a ledger in this process take what is asked.
    pub fn take_from(&mut self, ledger: &mut LedgerState, now: UnixMillis) {
        let dry_run = self.dry_run;
        self.refused |= !ledger.take(self.remote_mut(), dry_run, now);
    }

    pub(super) fn remote(&self) -> &[LimitCheck] {
        self.decision.limits.get(self.rest..).unwrap_or_default()
    }

    pub(super) fn remote_mut(&mut self) -> &mut [LimitCheck] {
        self.decision.limits.get_mut(self.rest..).unwrap_or_default()
    }

    pub(super) fn local_mut(&mut self) -> &mut [LimitCheck] {
        self.decision.limits.get_mut(..self.locals).unwrap_or_default()
    }

    pub(super) fn of(&self, group: Group) -> &[LimitCheck] {
        self.decision.limits.get(group.start..group.end).unwrap_or_default()
    }

    /// Whether the request has waited for units of this limit, and the ledger had too few.
    pub(super) fn was_short_of(&self, group: Group) -> bool {
        let first = self.of(group).first();
        matches!((&self.awaited, first), (Some(WaitFailure::Short(question)), Some(first)) if question.counter == first.budget.counter)
    }

    /// Notes that the ledger has no more of a limit.
    pub(super) fn dry(&mut self, index: usize) {
        self.refused = true;
        if let Some(group) = self.groups.get_mut(index) {
            group.dry = true;
        }
    }

    /// Finds the limits that leases may pay: those of one limit are neighbours.
    pub(super) fn find_groups(&mut self) {
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

impl Pending {
    /// Whether the route's breaker is half-open, so that it has to be asked.
    pub(super) fn is_trial(&self) -> bool {
        !self.dry_run && self.decision.breaker == Some(BreakerState::HalfOpen)
    }

    /// The snapshots that it was decided by.
    pub(super) fn epochs(&self) -> SmallVec<[(Cow<'_, str>, u64); 2]> {
        let catalog = self.decision.plans.as_ref().map(|plans| (Cow::Borrowed(CATALOG), plans.catalog().version.0));
        let line = self.decision.tenant.iter().flat_map(|tenant| tenant.line());
        catalog.into_iter().chain(line.map(|tenant| (Cow::Borrowed(tenant.id.as_str()), tenant.epoch.0))).collect()
    }

    pub(super) fn circuit_open(self, wait_ms: u64) -> Box<Decision> {
        let reason = "the circuit breaker is half-open, and its trials are under way";
        let remedy = "wait for the end of the trials";
        self.refuse(Stage::Breaker, (Code::TenantCircuitOpen, reason), remedy, Some(wait_ms))
    }

    /// The tenant has left for another family: a later record of it says for which, and is on its way.
    pub(super) fn moved(self) -> Box<Decision> {
        let reason = "the tenant has left this family, and its later record is not here yet";
        let remedy = "wait for its later record";
        self.refuse(Stage::Rate, (Code::SnapshotUnavailable, reason), remedy, Some(RETRY_AFTER_MS))
    }

    pub(super) fn reused(self) -> Box<Decision> {
        let reason = "the idempotency key was used before, for something else";
        self.refuse(Stage::Quota, (Code::IdempotencyKeyReused, reason), "a new key", None)
    }

    pub(super) fn without_ledger(self, reason: &'static str, remedy: &str) -> Box<Decision> {
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

/// What a ledger calls what a tenant has set aside.
pub(super) fn hold_name(tenant: &TenantId, name: &str) -> String {
    format!("{tenant} {name}")
}

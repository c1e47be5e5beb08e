//! A decision whose charges are not all taken yet.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::exchange::Exchange;
use crate::gate::answer::{Decision, Stage};
use crate::gate::ask::{Ask, Intent};
use crate::gate::code::Code;
use crate::gate::compiled::{BreakerState, LeasedRange, LimitCheck, PlanShape};
use crate::gate::cx::Cx;
use crate::gate::need::CATALOG;
use crate::ledger::{CounterOp, LedgerState, Renewal, WaitFailure};
use crate::model::bounds::{DEFAULT_HOLD_MS, RETRY_AFTER_MS};
use crate::model::{TenantId, UnixMillis, gather};

/// A decision that waits for the ledger.
#[derive(Debug)]
pub struct Pending {
    pub(super) cx: Cx,
    pub(super) dry_run: bool,
    pub(super) awaited: Option<WaitFailure>,
    /// The number of checks that this isolate counts alone. They come first.
    locals: usize,
    /// The checks that leases pay for. They come next.
    pub(super) leased: SmallVec<[LeasedChecks; 2]>,
    /// The index of the first check that the ledger counts.
    first_remote: usize,
    /// The other parts of the ledger request.
    pub(super) exchange: Exchange,
    /// Rarely used fields, boxed to keep the common case small.
    pub(super) special: Option<Box<Special>>,
    /// Whether this isolate has taken what it counts alone.
    pub(super) taken: bool,
    pub(super) refused: bool,
    /// Milliseconds after which the half-open breaker that refused may let a request pass.
    pub(super) open_for_ms: Option<u64>,
}

/// The checks of one limit that a lease pays for, and whether it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeasedChecks {
    pub(super) range: LeasedRange,
    pub(super) paid: bool,
    /// The number of the lease that paid.
    pub(super) lease: u64,
    /// Whether the ledger has just refused this number of units.
    pub(super) dry: bool,
}

/// The parts of the ledger request that only some intents need.
#[derive(Debug)]
pub(super) struct Special {
    /// The id under which the request counts once, and its fingerprint.
    pub(super) idempotency: Option<(String, String)>,
    pub(super) hold: Option<NewHold>,
    /// The ledger's name of the hold to settle.
    pub(super) settle: Option<String>,
}

/// Units to set aside.
#[derive(Debug)]
pub(super) struct NewHold {
    /// The id, among those of the tenant.
    pub(super) id: String,
    /// The ledger's name of it.
    pub(super) name: String,
    pub(super) for_ms: u64,
    pub(super) renewal: Option<Renewal>,
    /// Whether the caller has chosen the id, and asks again under it.
    is_chosen: bool,
}

impl Special {
    /// `hold_id` makes an id for a hold that the caller did not name.
    fn new(id: &TenantId, checks: &[LimitCheck], ask: &Ask<'_>, hold_id: Option<impl FnOnce() -> String>) -> Self {
        // The blank distinguishes these ids from idempotency keys, which contain no blank.
        let key = match ask.intent {
            // What a renewal asks for is no change but a state, which a repetition leaves as it is.
            Intent::Reserve { renewal: Some(_), .. } => None,
            Intent::Reserve { id, .. } => Some(format!(" reserve {id}")),
            // A release that reports nothing may be repeated: there is nothing to count twice. A
            // later hold of the same name is another one.
            Intent::Settle { .. } if checks.is_empty() => None,
            Intent::Settle { id } => Some(format!(" settle {id}")),
            Intent::Once { key } => Some(format!("/{key}")),
            Intent::Decide | Intent::Identify => None,
        };
        let idempotency = key.map(|key| {
            // Units by limit, wherever in the line they are counted: the line may change between
            // two attempts.
            let units: BTreeMap<_, _> = gather(checks.iter().map(|check| (check.budget.limit.as_str(), check.op)));
            let units = serde_json::to_vec(&units).unwrap_or_default();
            // 96 bits: a collision would have to be searched for.
            let fingerprint = URL_SAFE_NO_PAD.encode(Sha256::digest(units).get(..12).unwrap_or_default());
            (format!("{id}{key}"), fingerprint)
        });
        let hold = hold_id.map(|hold_id| {
            let longest = checks.iter().map(|check| check.budget.max_duration_ms).max();
            let (own, for_ms, renewal) = match ask.intent {
                Intent::Reserve { id, for_ms, renewal } => (id.to_owned(), for_ms, renewal),
                _ => (hold_id(), longest.unwrap_or(DEFAULT_HOLD_MS), None),
            };
            NewHold { name: hold_name(id, &own), id: own, for_ms, renewal, is_chosen: ask.reserves() }
        });
        let settle = match ask.intent {
            Intent::Settle { id: own } => Some(hold_name(id, own)),
            _ => None,
        };
        Self { idempotency, hold, settle }
    }
}

impl Pending {
    /// `hold_id` makes an id for a hold that the caller did not name.
    pub(super) fn new(cx: Cx, shape: PlanShape, ask: &Ask<'_>, hold_id: impl FnOnce() -> String) -> Self {
        let checks = &cx.decision.limits;
        // A renewal may free everything.
        let renews = matches!(ask.intent, Intent::Reserve { renewal: Some(_), .. });
        let is_held = |check: &LimitCheck| matches!(check.op, CounterOp::Hold(units) if units > 0 || renews);
        let holds = !ask.dry_run && checks.iter().any(is_held);
        let is_special = holds || !matches!(ask.intent, Intent::Decide | Intent::Identify);
        let special = cx
            .decision
            .tenant
            .as_ref()
            .filter(|_| is_special)
            .map(|tenant| Box::new(Special::new(&tenant.tenant().id, checks, ask, holds.then_some(hold_id))));
        let unpaid = |range| LeasedChecks { range, paid: false, lease: 0, dry: false };
        Self {
            cx,
            dry_run: ask.dry_run,
            awaited: ask.awaited(),
            locals: shape.locals,
            leased: shape.leased.into_iter().map(unpaid).collect(),
            first_remote: shape.ledger,
            exchange: Exchange::default(),
            special,
            taken: false,
            refused: false,
            open_for_ms: None,
        }
    }

    /// The tenant whose ledger is asked: the root of the family.
    pub fn ledger(&self) -> Option<&TenantId> {
        self.cx.decision.tenant.as_ref().map(|tenant| tenant.root())
    }

    /// The id under which the request counts once.
    pub fn idempotency_id(&self) -> Option<&str> {
        self.special.as_ref()?.idempotency.as_ref().map(|(id, _)| id.as_str())
    }

    /// The ledger's name of the slots of a request in flight. Returns `None` for a reservation,
    /// whose caller asks again under the id that it chose.
    pub fn slots_name(&self) -> Option<String> {
        self.special.as_ref()?.hold.as_ref().filter(|hold| !hold.is_chosen).map(|hold| hold.name.clone())
    }

    /// Whether the ledger only debits charges: no idempotency key, hold, settlement or trial.
    pub fn has_charges_only(&self) -> bool {
        self.special.is_none() && !self.is_trial()
    }

    /// Debits the charges in a ledger of this process.
    pub fn take_from(&mut self, ledger: &mut LedgerState, now: UnixMillis) {
        let dry_run = self.dry_run;
        self.refused |= !ledger.take(self.remote_mut(), dry_run, now);
    }

    pub(super) fn settles(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.settle.is_some())
    }

    /// Whether the route's breaker is half-open, so that it is asked for a trial.
    pub(super) fn is_trial(&self) -> bool {
        let state = self.cx.decision.extras().breaker.as_ref().map(|used| used.state);
        !self.dry_run && state == Some(BreakerState::HalfOpen)
    }

    /// Whether the ledger has to be asked.
    pub(super) fn needs_ledger(&self) -> bool {
        self.leased.iter().any(|leased| !leased.paid)
            || !self.remote().is_empty()
            || self.settles() && !self.dry_run
            || self.is_trial()
    }

    pub(super) const fn has_local(&self) -> bool {
        self.locals > 0
    }

    pub(super) fn local_mut(&mut self) -> &mut [LimitCheck] {
        self.cx.decision.limits.get_mut(..self.locals).unwrap_or_default()
    }

    pub(super) fn remote(&self) -> &[LimitCheck] {
        self.cx.decision.limits.get(self.first_remote..).unwrap_or_default()
    }

    pub(super) fn remote_mut(&mut self) -> &mut [LimitCheck] {
        self.cx.decision.limits.get_mut(self.first_remote..).unwrap_or_default()
    }

    pub(super) fn checks_of(&self, leased: LeasedChecks) -> &[LimitCheck] {
        self.cx.decision.limits.get(leased.range.start..leased.range.end).unwrap_or_default()
    }

    pub(super) fn checks_of_mut(&mut self, leased: LeasedChecks) -> &mut [LimitCheck] {
        self.cx.decision.limits.get_mut(leased.range.start..leased.range.end).unwrap_or_default()
    }

    /// Whether the request has waited for units of this limit, and the ledger had too few.
    pub(super) fn was_short_of(&self, leased: LeasedChecks) -> bool {
        match (&self.awaited, self.checks_of(leased).first()) {
            (Some(WaitFailure::Short(question)), Some(first)) => question.counter == first.budget.counter,
            _ => false,
        }
    }

    /// Records that the ledger has no more units of a leased limit.
    pub(super) fn note_dry(&mut self, index: usize) {
        self.refused = true;
        if let Some(leased) = self.leased.get_mut(index) {
            leased.dry = true;
        }
    }

    /// The snapshots that decided, with their epochs.
    pub(super) fn epochs(&self) -> SmallVec<[(Cow<'_, str>, u64); 2]> {
        let catalog = self.cx.decision.catalog.as_ref();
        let catalog = catalog.map(|catalog| (Cow::Borrowed(CATALOG), catalog.document().version.0));
        let line = self.cx.decision.tenant.iter().flat_map(|tenant| tenant.line());
        catalog.into_iter().chain(line.map(|tenant| (Cow::Borrowed(tenant.id.as_str()), tenant.epoch.0))).collect()
    }

    pub(super) fn circuit_open(self, wait_ms: u64) -> Box<Decision> {
        let reason = "the circuit breaker is half-open, and all its trial calls are in flight";
        self.refuse(
            Stage::Breaker,
            Code::TenantCircuitOpen,
            reason,
            "wait for the end of the trial calls",
            Some(wait_ms),
        )
    }

    /// The tenant has moved to another family, and the record that says so has not arrived here.
    pub(super) fn moved(self) -> Box<Decision> {
        let reason = "the tenant has moved to another family, and its newer record has not arrived yet";
        let code = Code::SnapshotUnavailable;
        self.refuse(Stage::Rate, code, reason, "wait for the tenant's newer record", Some(RETRY_AFTER_MS))
    }

    pub(super) fn key_reused(self) -> Box<Decision> {
        let reason = "the idempotency key was used before, for a different request";
        self.refuse(Stage::Quota, Code::IdempotencyKeyReused, reason, "a new key", None)
    }

    pub(super) fn without_ledger(self, reason: &'static str, remedy: &str) -> Box<Decision> {
        self.refuse(Stage::Rate, Code::LedgerUnavailable, reason, remedy, Some(RETRY_AFTER_MS))
    }

    /// Ends the decision with a denial that no single limit causes.
    fn refuse(
        mut self,
        stage: Stage,
        code: Code,
        reason: &'static str,
        remedy: &str,
        retry_after_ms: Option<u64>,
    ) -> Box<Decision> {
        self.cx.trace.stop(stage, || (reason.to_owned(), remedy.to_owned()));
        let decision = &mut self.cx.decision;
        decision.code = code;
        // If only the ledger is missing, the decision shows which limits could not be checked.
        if code != Code::LedgerUnavailable {
            decision.limits.clear();
        }
        let extras = decision.extras_mut();
        (extras.reason, extras.retry_after_ms) = (Some(reason), retry_after_ms);
        self.cx.finish()
    }
}

/// The ledger's name of a tenant's hold.
pub(in crate::gate) fn hold_name(tenant: &TenantId, id: &str) -> String {
    format!("{tenant} {id}")
}

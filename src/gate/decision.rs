//! The answer to one request, with everything that led to it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::Serialize;

use super::breakers::{BreakerRef, BreakerState};
use super::code::Code;
use super::credentials::Credential;
use super::entitlements::{Budget, Entitlements};
use super::need::Need;
use super::plans::CompiledCatalog;
use super::trace::TraceStep;
use crate::flags::Answer;
use crate::ledger::{Charge, Chargeable, CounterOp, Verdict};
use crate::model::bounds::{ORIGIN_MS, RETRY_AFTER_MS};
use crate::model::{Cors, Epoch, KeyId, Problem, Scope, TenantId, UnixMillis};
use crate::resolve::Carrier;

/// A decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What was decided.
    pub code: Code,
    /// For the operator's log: what exactly was wrong. Never sent to clients.
    pub reason: Option<&'static str>,
    /// What is invalid in the question, for its caller.
    pub problem: Option<Box<Problem>>,
    /// The tenant, where one was found. Denials before the status stage do not carry it.
    pub tenant: Option<Arc<Entitlements>>,
    /// What the caller showed, where that was needed or counted.
    pub credential: Option<Bearer>,
    /// What a caller could show, where it must show more.
    pub challenge: Option<Box<Challenge>>,
    /// The path behind a tenant prefix. `None` where nothing was taken off.
    pub behind: Option<Behind>,
    /// Features, in the order asked.
    pub features: Vec<Answer>,
    /// The feature that the route needs and the tenant lacks.
    pub denied_feature: Option<Arc<str>>,
    /// Every limit touched.
    pub limits: Vec<LimitCheck>,
    /// The limit that refused, as an index into `limits`.
    pub denied_limit: Option<usize>,
    /// Milliseconds after which the same request may pass. Only on denials that pass by themselves.
    pub retry_after_ms: Option<u64>,
    /// The catalog that it was decided by.
    pub plans: Option<Arc<CompiledCatalog>>,
    /// Milliseconds that the origin has for the head of its answer.
    pub timeout_ms: u64,
    /// The number of the route's CORS policy, for [`CompiledCatalog::cors`].
    pub cors: Option<u32>,
    /// Whether the request is a preflight (Fetch §3.2.2) that the gate answers for the origin.
    pub preflight: bool,
    /// The record that it was decided by.
    pub epoch: Option<Epoch>,
    /// Milliseconds since that record was read.
    pub age_ms: u64,
    /// Where a default stood in for missing data.
    pub fallback: Vec<Fallback>,
    /// Whether it was asked before under the same idempotency key, so that nothing was taken.
    pub repeated: bool,
    /// The circuit breaker of the route, if it has one.
    pub guard: Option<Arc<BreakerRef>>,
    /// How it stands.
    pub breaker: Option<BreakerState>,
    /// The number of the half-open state that the request is a trial of; the breaker waits for [`super::Gate::ended`].
    pub trial: Option<u64>,
    /// What was set aside: a reservation, or the slots of a request in flight.
    pub hold: Option<Reserved>,
    /// Whether what is set aside under the name is not there any more. What was used is counted all the same.
    pub lapsed: bool,
    /// When it was decided.
    pub decided_at: UnixMillis,
    /// The steps that led to it, if they were asked for.
    pub trace: Option<Vec<TraceStep>>,
    /// Snapshots that grow old: for the adapter to fetch again behind the request.
    pub refresh: Vec<Need>,
}

/// A path without its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// What the origin is asked for.
    pub path: String,
    /// What was taken off, such as `/t/acme`.
    pub prefix: String,
}

/// A credential, and whose it is.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The credential.
    pub credential: Arc<Credential>,
    /// The tenant it was issued for: the decision's, or one above it.
    pub tenant: TenantId,
    /// Where it stood in the request.
    pub from: Carrier,
}

/// What a caller could show (RFC 9110 §11.6.1, RFC 6750 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whether a token would do.
    pub token: bool,
    /// Whether an API key would do.
    pub api_key: bool,
    /// Whether a token was shown, and is not good.
    pub invalid_token: bool,
    /// What a token would have to allow, where one was shown that does not.
    pub scopes: Vec<Scope>,
    /// The genuine API key that was shown and refused, such as an expired one, and its tenant. For the operator.
    pub refused_key: Option<(KeyId, TenantId)>,
}

/// Units that are set aside until they are settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Its name, among those of its tenant.
    pub id: String,
    /// When it ends by itself.
    pub ends_at: UnixMillis,
}

/// What stood in for missing data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The catalog does not know the tenant's plan: global defaults and default allowances apply.
    Plan,
    /// The ledger could not be reached, and the limits let requests through then.
    Ledger,
}

/// A limit that the request touched, as it stands after the decision.
#[derive(Debug, Clone)]
pub struct LimitCheck {
    /// The counter, and how much it allows.
    pub budget: Arc<Budget>,
    /// What the request does to it.
    pub op: CounterOp,
    /// How it stands. `None`: the ledger could not be reached.
    pub verdict: Option<Verdict>,
}

impl Chargeable for LimitCheck {
    fn charge(&self) -> Charge<'_> {
        Charge { counter: &self.budget.counter, meter: self.budget.meter, op: self.op, shadow: self.budget.shadow }
    }

    fn record(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    fn hint(&self) -> Option<&AtomicUsize> {
        Some(&self.budget.hint)
    }
}

impl LimitCheck {
    /// Whether it refused the request.
    pub fn refused(&self) -> bool {
        !self.budget.shadow && self.verdict.is_some_and(|verdict| !verdict.allowed)
    }
}

impl Decision {
    /// A denial that came before anything else was known.
    pub fn refused(code: Code, reason: &'static str, now: UnixMillis) -> Self {
        Self {
            code,
            reason: Some(reason),
            problem: None,
            tenant: None,
            credential: None,
            challenge: None,
            behind: None,
            features: Vec::new(),
            denied_feature: None,
            limits: Vec::new(),
            denied_limit: None,
            retry_after_ms: code.passes_by_itself().then_some(RETRY_AFTER_MS),
            plans: None,
            timeout_ms: ORIGIN_MS,
            cors: None,
            preflight: false,
            epoch: None,
            age_ms: 0,
            fallback: Vec::new(),
            repeated: false,
            guard: None,
            breaker: None,
            trial: None,
            hold: None,
            lapsed: false,
            decided_at: now,
            trace: None,
            refresh: Vec::new(),
        }
    }

    /// Makes it an allowed decision about nothing, as [`Self::refused`] would, but in the memory that it has.
    pub(super) fn reset(&mut self, now: UnixMillis) {
        self.code = Code::Allowed;
        self.reason = None;
        self.problem = None;
        self.tenant = None;
        self.credential = None;
        self.challenge = None;
        self.behind = None;
        self.features.clear();
        self.denied_feature = None;
        self.limits.clear();
        self.denied_limit = None;
        self.retry_after_ms = None;
        self.plans = None;
        self.timeout_ms = ORIGIN_MS;
        self.cors = None;
        self.preflight = false;
        self.epoch = None;
        self.age_ms = 0;
        self.fallback.clear();
        self.repeated = false;
        self.guard = None;
        self.breaker = None;
        self.trial = None;
        self.hold = None;
        self.lapsed = false;
        self.decided_at = now;
        self.trace = None;
        self.refresh.clear();
    }

    /// Whether the request may go on.
    pub fn allowed(&self) -> bool {
        self.code == Code::Allowed
    }

    /// The CORS policy of the request's route.
    pub fn policy(&self) -> Option<&Cors> {
        self.plans.as_ref()?.cors(self.cors?)
    }

    /// The limit that refused.
    pub fn denied(&self) -> Option<&LimitCheck> {
        self.limits.get(self.denied_limit?)
    }
}

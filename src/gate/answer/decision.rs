//! The decision about one request: a small part that every decision has, and [`Extras`].

use std::sync::Arc;

use serde::Serialize;

use super::credential::{Bearer, Challenge};
use super::trace::TraceStep;
use crate::flags::Answer;
use crate::gate::code::Code;
use crate::gate::compiled::{BreakerRef, BreakerState, CompiledCatalog, Entitlements, LimitCheck, RouteId};
use crate::gate::need::Refresh;
use crate::model::bounds::{ORIGIN_MS, RETRY_AFTER_MS};
use crate::model::{Cors, Epoch, Problem, UnixMillis};

/// The decision about one request.
///
/// The fields are those that every decision has. [`Extras`] holds the others; an allowed request
/// without a credential, a breaker or a reservation has none.
#[derive(Debug, Clone)]
pub struct Decision {
    /// [`Code::Allowed`], or the reason of the denial.
    pub code: Code,
    /// When it was decided.
    pub decided_at: UnixMillis,
    /// The catalog by which the request was decided. `None` if no catalog was available.
    pub catalog: Option<Arc<CompiledCatalog>>,
    /// The route, once it is known.
    pub route: Option<RouteId>,
    /// The tenant. Denials before the status stage do not carry it.
    pub tenant: Option<Arc<Entitlements>>,
    /// Milliseconds since the tenant's record was read.
    pub age_ms: u64,
    /// The requested features, in the order of the request.
    pub features: Vec<Answer>,
    /// Every counter that the request touched.
    pub limits: Vec<LimitCheck>,
    extras: Option<Box<Extras>>,
}

/// The parts of a decision that most decisions lack.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The exact reason of a denial, for the operator's log. Never sent to clients.
    pub reason: Option<&'static str>,
    /// The problems of an invalid question, for its caller.
    pub problem: Option<Problem>,
    /// The credential of the request, if one was required or used.
    pub credential: Option<Bearer>,
    /// The challenge: the credentials that the caller could present.
    pub challenge: Option<Challenge>,
    /// The path without its tenant prefix. `None` if it has no prefix.
    pub path: Option<StrippedPath>,
    /// The feature that the route needs and the tenant lacks.
    pub denied_feature: Option<Arc<str>>,
    /// The limit that denied the request, as an index into [`Decision::limits`].
    pub denied_limit: Option<usize>,
    /// Milliseconds after which the same request may pass. Only on denials that pass by themselves.
    pub retry_after_ms: Option<u64>,
    /// Whether the request is a CORS preflight (Fetch §3.2.2) that the gate answers for the origin.
    pub is_preflight: bool,
    /// The defaults that were used in place of missing data.
    pub fallback: Vec<Fallback>,
    /// Whether the same question was asked before under its idempotency key, so that nothing was
    /// taken.
    pub is_repeated: bool,
    /// The circuit breaker of the route.
    pub breaker: Option<BreakerUse>,
    /// The hold of the request: a reservation, or the slots of a request in flight.
    pub hold: Option<Reserved>,
    /// Whether the hold to settle had already ended. The reported use is counted all the same.
    pub has_lapsed: bool,
    /// The trace, if it was requested.
    pub trace: Option<Vec<TraceStep>>,
    /// Work for the adapter behind the answer.
    pub refresh: Vec<Refresh>,
}

/// The circuit breaker of a route, as one decision saw it.
#[derive(Debug, Clone)]
pub struct BreakerUse {
    /// The breaker.
    pub breaker: Arc<BreakerRef>,
    /// Its state.
    pub state: BreakerState,
    /// The number of the half-open state that the request is a trial of. The breaker waits for
    /// [`crate::gate::Gate::ended`].
    pub trial: Option<u64>,
}

/// A path without its tenant prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrippedPath {
    /// The path for the origin.
    pub path: String,
    /// The prefix that was stripped, such as `/t/acme`.
    pub prefix: String,
}

/// Units that are set aside until they are settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The id, unique for the tenant.
    pub id: String,
    /// The end time of the hold.
    pub ends_at: UnixMillis,
}

/// A default that was used in place of missing data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The catalog lacks the tenant's plan: global defaults and default allowances apply.
    Plan,
    /// The ledger could not be reached, and the limits have `on_error: open`.
    Ledger,
}

impl Decision {
    /// An allowed decision without any data.
    pub(in crate::gate) const fn new(now: UnixMillis) -> Self {
        Self {
            code: Code::Allowed,
            decided_at: now,
            catalog: None,
            route: None,
            tenant: None,
            age_ms: 0,
            features: Vec::new(),
            limits: Vec::new(),
            extras: None,
        }
    }

    /// A denial without any other data.
    pub fn refused(code: Code, reason: &'static str, now: UnixMillis) -> Self {
        let mut decision = Self { code, ..Self::new(now) };
        let extras = decision.extras_mut();
        extras.reason = Some(reason);
        extras.retry_after_ms = code.passes_by_itself().then_some(RETRY_AFTER_MS);
        decision
    }

    /// Resets it to [`Self::new`], reusing its memory.
    pub(in crate::gate) fn reset(&mut self, now: UnixMillis) {
        self.features.clear();
        self.limits.clear();
        let (features, limits) = (std::mem::take(&mut self.features), std::mem::take(&mut self.limits));
        *self = Self { features, limits, ..Self::new(now) };
    }

    /// The rarely used parts.
    pub fn extras(&self) -> &Extras {
        static NO_EXTRAS: Extras = Extras::NONE;
        self.extras.as_deref().unwrap_or(&NO_EXTRAS)
    }

    /// The rarely used parts, mutably.
    pub fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Takes the work for the adapter behind the answer.
    pub fn take_refresh(&mut self) -> Vec<Refresh> {
        self.extras.as_mut().map(|extras| std::mem::take(&mut extras.refresh)).unwrap_or_default()
    }

    /// Whether the request is allowed.
    pub fn allowed(&self) -> bool {
        self.code == Code::Allowed
    }

    /// The version of the tenant's record.
    pub fn epoch(&self) -> Option<Epoch> {
        self.tenant.as_ref().map(|tenant| tenant.tenant().epoch)
    }

    /// The CORS policy of the request's route.
    pub fn cors(&self) -> Option<&Cors> {
        self.catalog.as_ref()?.cors(self.route?)
    }

    /// The milliseconds that the origin has for the head of its response.
    pub fn timeout_ms(&self) -> u64 {
        self.catalog.as_ref().zip(self.route).map_or(ORIGIN_MS, |(catalog, route)| catalog.timeout_ms(route))
    }

    /// The limit that denied the request.
    pub fn denied_limit(&self) -> Option<&LimitCheck> {
        self.limits.get(self.extras().denied_limit?)
    }
}

impl Extras {
    const NONE: Self = Self {
        reason: None,
        problem: None,
        credential: None,
        challenge: None,
        path: None,
        denied_feature: None,
        denied_limit: None,
        retry_after_ms: None,
        is_preflight: false,
        fallback: Vec::new(),
        is_repeated: false,
        breaker: None,
        hold: None,
        has_lapsed: false,
        trace: None,
        refresh: Vec::new(),
    };
}

//! What accompanies one decision on its way: the time, the trace, what should be fetched again, and how it ends early.

use std::sync::Arc;

use super::code::Code;
use super::decision::{Challenge, Decision};
use super::need::Need;
use super::plans::CompiledCatalog;
use super::trace::{Stage, Trace};
use crate::model::UnixMillis;
use crate::model::bounds::RETRY_AFTER_MS;
use crate::resolve::ResolveError;

/// A denial on its way out: its code, and what the operator should know.
pub(super) type Denial = (Code, &'static str);

/// What accompanies one decision on its way.
pub(super) struct Cx {
    pub(super) now: UnixMillis,
    pub(super) trace: Trace,
    pub(super) refresh: Vec<Need>,
    pub(super) scratch: Option<Box<Decision>>,
    /// The number of the route's CORS policy: denials are read by pages too.
    pub(super) cors: Option<u32>,
}

/// Why a decision cannot go on.
pub(super) enum Exit {
    /// Something is missing.
    Fetch(Need),
    /// It is decided.
    Deny(Box<Decision>),
}

impl Exit {
    /// A denial that passes by itself, though others with its code do not.
    pub(super) fn passes_after(mut self, wait_ms: u64) -> Self {
        if let Self::Deny(decision) = &mut self {
            decision.retry_after_ms = Some(wait_ms);
        }
        self
    }
}

impl From<Need> for Exit {
    fn from(need: Need) -> Self {
        Self::Fetch(need)
    }
}

impl Cx {
    /// One that nobody asks about.
    pub(super) fn silent(now: UnixMillis) -> Self {
        Self { now, trace: Trace::new(false), refresh: Vec::new(), scratch: None, cors: None }
    }

    pub(super) fn decision(&mut self) -> Box<Decision> {
        match self.scratch.take() {
            Some(mut decision) => {
                decision.reset(self.now);
                decision
            }
            None => Box::new(Decision::refused(Code::Allowed, "", self.now)),
        }
    }

    pub(super) fn deny(&mut self, stage: Stage, denial: Denial) -> Exit {
        let decision = self.decision();
        self.deny_with(stage, denial, decision)
    }

    /// Denies, and says what the caller could show instead.
    pub(super) fn challenge(&mut self, denial: Denial, challenge: Challenge) -> Exit {
        let mut decision = self.decision();
        decision.challenge = Some(Box::new(challenge));
        self.deny_with(Stage::Credential, denial, decision)
    }

    pub(super) fn deny_with(&mut self, stage: Stage, (code, reason): Denial, mut decision: Box<Decision>) -> Exit {
        self.trace.stop_once(stage, reason, code.message());
        decision.code = code;
        decision.reason = Some(reason);
        decision.limits.clear();
        decision.retry_after_ms = code.passes_by_itself().then_some(decision.retry_after_ms.unwrap_or(RETRY_AFTER_MS));
        Exit::Deny(decision)
    }

    pub(super) fn refuse(&mut self, refusal: ResolveError) -> Exit {
        match refusal {
            ResolveError::AskCustom => Exit::Fetch(Need::Custom),
            ResolveError::Unreadable(reason) => self.deny(Stage::Request, (Code::BadRequest, reason)),
            ResolveError::Repeated(_) => {
                self.deny(Stage::Request, (Code::TenantAmbiguous, "a signal is there more than once"))
            }
            ResolveError::CustomFailed => {
                self.deny(Stage::Tenant, (Code::ResolverFailed, "the custom resolver failed"))
            }
        }
    }

    /// Adds what every decision carries.
    pub(super) fn seal(&mut self, mut decision: Box<Decision>, plans: &Arc<CompiledCatalog>) -> Box<Decision> {
        decision.plans = Some(Arc::clone(plans));
        decision.cors = self.cors;
        decision.refresh.append(&mut self.refresh);
        if let Some(steps) = self.trace.take() {
            decision.trace = Some(steps);
        }
        decision
    }
}

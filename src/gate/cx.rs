//! [`Cx`]: the state of one decision on its way through the stages, and how it ends early.

use super::answer::{Challenge, Decision, Stage, Trace};
use super::code::Code;
use super::need::{Need, Refresh};
use crate::model::UnixMillis;
use crate::model::bounds::RETRY_AFTER_MS;

/// One decision in the making. Stages write what they find into `decision`.
#[derive(Debug)]
pub(super) struct Cx {
    pub(super) now: UnixMillis,
    pub(super) trace: Trace,
    pub(super) decision: Box<Decision>,
    /// Work for the adapter behind the answer.
    pub(super) refresh: Vec<Refresh>,
}

/// Why a decision goes no further.
#[derive(Debug)]
pub(super) enum Exit {
    /// It lacks data.
    Need(Need),
    /// It is denied; [`Cx::decision`] says why.
    Denied,
}

impl From<Need> for Exit {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

impl Cx {
    /// A decision that no trace is asked of, and that starts without a catalog.
    pub(super) fn silent(now: UnixMillis) -> Self {
        Self { now, trace: Trace::new(false), decision: Box::new(Decision::new(now)), refresh: Vec::new() }
    }

    /// Ends the decision with a denial. `reason` is for the operator's log.
    pub(super) fn deny(&mut self, stage: Stage, code: Code, reason: &'static str) -> Exit {
        self.trace.stop_once(stage, reason, code.message());
        self.decision.code = code;
        self.decision.limits.clear();
        let extras = self.decision.extras_mut();
        extras.reason = Some(reason);
        let wait_ms = extras.retry_after_ms.unwrap_or(RETRY_AFTER_MS);
        extras.retry_after_ms = code.passes_by_itself().then_some(wait_ms);
        Exit::Denied
    }

    /// Ends the decision with a denial and a challenge: the credentials that the caller could
    /// present.
    pub(super) fn challenge(&mut self, code: Code, reason: &'static str, challenge: Challenge) -> Exit {
        self.decision.extras_mut().challenge = Some(challenge);
        self.deny(Stage::Credential, code, reason)
    }

    /// Completes the decision.
    pub(super) fn finish(mut self) -> Box<Decision> {
        if !self.refresh.is_empty() {
            self.decision.extras_mut().refresh.append(&mut self.refresh);
        }
        if let Some(steps) = self.trace.take() {
            self.decision.extras_mut().trace = Some(steps);
        }
        self.decision
    }
}

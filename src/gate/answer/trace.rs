//! The trace: the steps that led to a decision, for a person to read. Recorded only on request.

use serde::Serialize;

/// A stage of the decision, in its fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The request is readable.
    Request,
    /// The credentials are valid and sufficient.
    Credential,
    /// A signal names an existing tenant.
    Tenant,
    /// All signals and credentials name one tenant.
    Agreement,
    /// The status of the tenant and its ancestors.
    Status,
    /// Whether this place may serve the tenant.
    Residency,
    /// Features: required by the route, or asked for.
    Feature,
    /// The circuit breaker.
    Breaker,
    /// Rate limits.
    Rate,
    /// Requests in flight.
    Concurrency,
    /// Quotas and gauges.
    Quota,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    /// The stage.
    pub stage: Stage,
    /// Whether the request passed the stage.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// What would have changed the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Collects the steps of a decision if a trace was requested.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<TraceStep>>);

impl Trace {
    pub(in crate::gate) fn new(wanted: bool) -> Self {
        Self(wanted.then(Vec::new))
    }

    /// Records a step that passed.
    pub(in crate::gate) fn pass(&mut self, stage: Stage, found: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            written(steps, stage, || (found(), None));
        }
    }

    /// Records the step that ended the decision, and what would have changed that.
    pub(in crate::gate) fn stop(&mut self, stage: Stage, said: impl FnOnce() -> (String, String)) {
        if let Some(steps) = &mut self.0 {
            written(steps, stage, || {
                let (found, remedy) = said();
                (found, Some(remedy))
            });
        }
    }

    /// Records the end of the decision, unless the stage has done so itself.
    pub(in crate::gate) fn stop_once(&mut self, stage: Stage, found: &str, remedy: &str) {
        if self.0.as_ref().is_some_and(|steps| steps.last().is_none_or(|last| last.passed)) {
            self.stop(stage, || (found.to_owned(), remedy.to_owned()));
        }
    }

    pub(in crate::gate) fn take(&mut self) -> Option<Vec<TraceStep>> {
        self.0.take()
    }
}

// Out of line: formatting would be most of the code of decisions that are not explained.
#[cold]
#[inline(never)]
fn written(steps: &mut Vec<TraceStep>, stage: Stage, said: impl FnOnce() -> (String, Option<String>)) {
    let (found, remedy) = said();
    steps.push(TraceStep { stage, passed: remedy.is_none(), found, remedy });
}

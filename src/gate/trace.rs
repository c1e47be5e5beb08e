//! The steps that led to a decision, for a person to read. Written only when asked for.

use serde::Serialize;

use super::decision::LimitCheck;
use super::entitlements::Budget;
use super::plans::CompiledCatalog;
use crate::flags::{Answer, Reason};
use crate::ledger::Verdict;
use crate::resolve::{Name, Signal};

/// A stage of the decision, in its fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The request can be read.
    Request,
    /// What the caller shows is good, and enough.
    Credential,
    /// Some signal names a tenant that exists.
    Tenant,
    /// All signals name the same tenant.
    Agreement,
    /// The status of the tenant and its ancestors.
    Status,
    /// Whether this place may serve it.
    Residency,
    /// Features, required and asked for.
    Feature,
    /// The circuit breaker.
    Breaker,
    /// Rate limits.
    Rate,
    /// What is in flight.
    Concurrency,
    /// Quotas and gauges.
    Quota,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    /// The stage it belongs to.
    pub stage: Stage,
    /// Whether it let the request go on.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// What would have changed the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Collects steps, or does nothing at all.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Vec<TraceStep>>);

impl Trace {
    pub(super) fn new(wanted: bool) -> Self {
        Self(wanted.then(Vec::new))
    }

    /// Notes a step that passed.
    pub(super) fn pass(&mut self, stage: Stage, found: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            written(steps, stage, || (found(), None));
        }
    }

    /// Notes the step that ended it, and what would have changed it.
    pub(super) fn stop(&mut self, stage: Stage, said: impl FnOnce() -> (String, String)) {
        if let Some(steps) = &mut self.0 {
            written(steps, stage, || {
                let (found, remedy) = said();
                (found, Some(remedy))
            });
        }
    }

    /// Notes the end of it, unless the stage has said so itself.
    pub(super) fn stop_once(&mut self, stage: Stage, found: &str, remedy: &str) {
        if self.0.as_ref().is_some_and(|steps| steps.last().is_none_or(|last| last.passed)) {
            self.stop(stage, || (found.to_owned(), remedy.to_owned()));
        }
    }

    pub(super) fn take(&mut self) -> Option<Vec<TraceStep>> {
        self.0.take()
    }
}

// Out of the way of decisions that nobody asks about: what formats text is most of their code otherwise.
#[cold]
#[inline(never)]
fn written(steps: &mut Vec<TraceStep>, stage: Stage, said: impl FnOnce() -> (String, Option<String>)) {
    let (found, remedy) = said();
    steps.push(TraceStep { stage, passed: remedy.is_none(), found, remedy });
}

/// How a limit stands, for a person.
pub(super) fn count(gauged: &LimitCheck, verdict: Verdict) -> String {
    let Budget { limit: key, tenant, shadow, .. } = &*gauged.budget;
    let limit = verdict.limit.map_or_else(|| String::from("unlimited"), |limit| limit.to_string());
    let shadow = if *shadow { ", in shadow" } else { "" };
    format!("`{key}` of `{tenant}`: {} of {limit} used, {} asked for{shadow}", verdict.used, gauged.op.cost())
}

/// What would have given the tenant the feature.
pub(super) fn remedy(answer: &Answer, plans: &CompiledCatalog) -> String {
    match (answer.reason, &answer.requires) {
        (Reason::Killed, _) => String::from("nothing but the end of the kill switch"),
        (Reason::Prerequisite, Some(required)) => format!("the prerequisite `{required}`"),
        _ => match plans.plans_with(&answer.key).join(", ") {
            none if none.is_empty() => String::from("an override; no plan grants it"),
            granting => format!("an override, or another plan: granted by {granting}"),
        },
    }
}

/// Whom a signal names.
pub(super) fn describe(signal: &Signal<'_>) -> String {
    match &signal.name {
        Name::Slug(slug) => format!("slug `{slug}`"),
        Name::Id(id) => format!("id `{id}`"),
        Name::Domain(host) => format!("domain `{host}`"),
        Name::Credential => String::from("a credential"),
        Name::Nobody => String::from("a host that is neither central nor any tenant's"),
    }
}

/// What a feature is worth, and why.
pub(super) fn read(answer: &Answer) -> String {
    let mut text = format!("`{}` is {} by tier {}", answer.key, answer.value, answer.tier.as_str());
    for (what, name) in
        [("rule", &answer.rule), ("variant", &answer.variant), ("missing prerequisite", &answer.requires)]
    {
        if let Some(name) = name {
            text.push_str(&format!(", {what} `{name}`"));
        }
    }
    text
}

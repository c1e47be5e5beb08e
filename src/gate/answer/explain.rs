//! The wording of explanations, for a person who reads a trace.

use crate::flags::{Answer, Reason};
use crate::gate::compiled::{Budget, CompiledCatalog, LimitCheck};
use crate::ledger::Verdict;
use crate::resolve::{Name, Signal};

/// Describes the state of a limit.
pub(in crate::gate) fn count(check: &LimitCheck, verdict: Verdict) -> String {
    let Budget { limit: key, tenant, shadow, .. } = &*check.budget;
    let limit = verdict.limit.map_or_else(|| String::from("unlimited"), |limit| limit.to_string());
    let shadow = if *shadow { ", in shadow" } else { "" };
    format!("`{key}` of `{tenant}`: {} of {limit} used, {} requested{shadow}", verdict.used, check.op.cost())
}

/// Describes what would give the tenant the feature.
pub(in crate::gate) fn remedy(answer: &Answer, catalog: &CompiledCatalog) -> String {
    match (answer.reason, &answer.requires) {
        (Reason::Killed, _) => String::from("the end of the kill switch"),
        (Reason::Prerequisite, Some(required)) => format!("the prerequisite `{required}`"),
        _ => match catalog.plans_with(&answer.key).join(", ") {
            none if none.is_empty() => String::from("an override; no plan grants it"),
            granting => format!("an override, or another plan: granted by {granting}"),
        },
    }
}

/// Describes the name that a signal found.
pub(in crate::gate) fn describe(signal: &Signal<'_>) -> String {
    match &signal.name {
        Name::Slug(slug) => format!("slug `{slug}`"),
        Name::Id(id) => format!("id `{id}`"),
        Name::Domain(host) => format!("domain `{host}`"),
        Name::Credential => String::from("a credential"),
        Name::Nobody => String::from("a host that is neither central nor any tenant's"),
    }
}

/// Describes the value of a feature and its tier.
pub(in crate::gate) fn read(answer: &Answer) -> String {
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

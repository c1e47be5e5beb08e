//! What a change would mean: for every tenant what it would gain or lose, and for recorded questions how they would be
//! answered. The gate itself decides, once by what is and once by what would be; nothing is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::{Ask, Decision, LocalGate};
use crate::ledger::Meter;
use crate::model::{TenantId, UnixMillis};
use crate::resolve::Request;
use crate::wire::DecideBody;

/// How something would stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shift {
    /// How it stands now; null: not at all.
    pub before: Value,
    /// How it would stand.
    pub after: Value,
    /// `gain`, `loss`, or `change` where neither can be said.
    pub effect: &'static str,
}

/// What a change would mean for one tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Impact {
    /// The tenant's id.
    pub tenant: String,
    /// How the answer to a question about it would change: codes of decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Shift>,
    /// Features by key, those that would change.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, Shift>,
    /// Allowances by limit, those that would change.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Shift>,
}

/// What a change would mean for tenants, a page of them.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Impacts {
    /// Tenants that were compared.
    pub compared: usize,
    /// Those for whom something would change.
    pub tenants: Vec<Impact>,
    /// Where the next page begins; null: this was the last.
    pub next_cursor: Option<String>,
    /// Recorded questions that would be answered otherwise, by their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replay>,
}

/// How recorded questions would be answered.
#[derive(Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Replay {
    /// Questions that were asked.
    pub asked: usize,
    /// Those whose code would be another one, by their place.
    pub changed: BTreeMap<usize, Shift>,
}

/// Compares what a tenant has by two gates; `None`: nothing would change.
///
/// # Examples
/// ```
/// use tenantgate::{control::compare, gate::LocalGate, model::{Tenant, TenantId, UnixMillis}};
/// let gate = |features: &str| {
///     let catalog = format!(r#"{{"version": 1, "resolution": {{"strategies": [{{"strategy": "header"}}]}},
///         "features": {{"sso": {{}}}}, "plans": {{"pro@1": {{"features": {features}}}}}}}"#);
///     let mut gate = LocalGate::new(&catalog).unwrap();
///     gate.put(Tenant::parse(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@1"}"#).unwrap()).unwrap();
///     gate
/// };
/// let tenant = TenantId::parse("t_acme").unwrap();
/// let impact = compare(&mut gate("[]"), &mut gate(r#"["sso"]"#), &tenant, UnixMillis::new(0)).unwrap();
/// assert_eq!(impact.features["sso"].effect, "gain");
/// ```
pub fn compare(before: &mut LocalGate, after: &mut LocalGate, tenant: &TenantId, now: UnixMillis) -> Option<Impact> {
    let ask = Ask { tenant: Some(tenant.as_str()), all_features: true, look: true, ..Ask::default() };
    let was = before.decide(&Request::default(), &ask, now);
    let is = after.decide(&Request::default(), &ask, now);
    let code = (was.code != is.code).then(|| {
        let effect = match (was.allowed(), is.allowed()) {
            (false, true) => "gain",
            (true, false) => "loss",
            _ => "change",
        };
        Shift { before: was.code.as_str().into(), after: is.code.as_str().into(), effect }
    });
    let impact = Impact {
        tenant: tenant.to_string(),
        code,
        features: shifts(&features(&was), &features(&is), false_is_less),
        limits: shifts(&limits(&was), &limits(&is), more_is_more),
    };
    (impact.code.is_some() || !impact.features.is_empty() || !impact.limits.is_empty()).then_some(impact)
}

/// Asks recorded questions of both gates, each at its time.
pub fn replay(before: &mut LocalGate, after: &mut LocalGate, log: &[(DecideBody, UnixMillis)]) -> Replay {
    let mut replay = Replay { asked: log.len(), ..Replay::default() };
    for (index, (question, at)) in log.iter().enumerate() {
        let parts = question.borrow();
        let code = |gate: &mut LocalGate| gate.decide(&question.request(&parts, None), &question.ask(&parts), *at).code;
        let (was, is) = (code(before), code(after));
        if was != is {
            let effect = if is.status() == 200 {
                "gain"
            } else if was.status() == 200 {
                "loss"
            } else {
                "change"
            };
            replay.changed.insert(index, Shift { before: was.as_str().into(), after: is.as_str().into(), effect });
        }
    }
    replay
}

fn features(decision: &Decision) -> BTreeMap<String, Value> {
    decision.features.iter().map(|answer| (answer.key.to_string(), answer.value.as_ref().clone())).collect()
}

fn limits(decision: &Decision) -> BTreeMap<String, Value> {
    let Some(tenant) = &decision.tenant else { return BTreeMap::new() };
    tenant.nearest().map(|budget| (budget.limit.to_string(), allowance(budget.meter))).collect()
}

fn allowance(meter: Meter) -> Value {
    match meter {
        Meter::Rate(rate) => json!({ "limit": rate.limit, "burst": rate.burst, "window_ms": rate.window_ms }),
        Meter::Window { limit, .. }
        | Meter::Quota { limit, .. }
        | Meter::Gauge { limit, .. }
        | Meter::Concurrency { limit } => limit.map_or_else(|| "unlimited".into(), Value::from),
    }
}

fn shifts(
    was: &BTreeMap<String, Value>,
    is: &BTreeMap<String, Value>,
    effect: fn(&Value, &Value) -> &'static str,
) -> BTreeMap<String, Shift> {
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let of = |map: &BTreeMap<String, Value>, key: &String| map.get(key).cloned().unwrap_or_default();
    let shift = |key: &String| {
        let (before, after) = (of(was, key), of(is, key));
        let effect = effect(&before, &after);
        (key.clone(), Shift { before, after, effect })
    };
    keys.into_iter().map(shift).filter(|(_, shift)| shift.before != shift.after).collect()
}

fn false_is_less(before: &Value, after: &Value) -> &'static str {
    let has = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    match (has(before), has(after)) {
        (false, true) => "gain",
        (true, false) => "loss",
        _ => more_is_more(before, after),
    }
}

fn more_is_more(before: &Value, after: &Value) -> &'static str {
    let size = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text == "unlimited" => Some(f64::INFINITY),
        Value::Object(rate) => match (rate.get("limit"), rate.get("window_ms")) {
            (Some(limit), Some(window)) => Some(limit.as_f64()? / window.as_f64()?),
            _ => None,
        },
        _ => None,
    };
    match (size(before), size(after)) {
        (Some(was), Some(is)) if is > was => "gain",
        (Some(was), Some(is)) if is < was => "loss",
        _ => "change",
    }
}

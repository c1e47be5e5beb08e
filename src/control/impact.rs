//! The impact of a change: what each tenant would gain or lose, and how recorded requests would be
//! decided. The gate itself decides, once with the current documents and once with the new ones.
//! Nothing is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::{Ask, Budget, Decision, LocalGate};
use crate::ledger::Meter;
use crate::model::{Catalog, Limit, Overage, Problem, Problems, Tenant, TenantId, UnixMillis, gather};
use crate::resolve::Request;
use crate::wire::DecideBody;

/// The change of one value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shift {
    /// The current value; null if it is absent.
    pub before: Value,
    /// The new value; null if it is absent.
    pub after: Value,
    /// `gain`, `loss`, or `change` if it is neither.
    pub effect: &'static str,
}

/// The impact of a change on one tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Impact {
    /// The tenant's id.
    pub tenant: String,
    /// The change of the code of a decision about the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Shift>,
    /// The changed features, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub features: BTreeMap<String, Shift>,
    /// The changed allowances, by limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub limits: BTreeMap<String, Shift>,
    /// The changed members of limits other than the allowance, such as `period` or `shadow`, by
    /// limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub terms: BTreeMap<String, Shift>,
    /// The units used of each limit whose new allowance is below its current use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub over: BTreeMap<String, u64>,
    /// The references in the tenant's record that the new catalog lacks. Such a catalog is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub problems: Vec<Problem>,
}

impl Impact {
    const fn of(tenant: String) -> Self {
        Self {
            tenant,
            code: None,
            features: BTreeMap::new(),
            limits: BTreeMap::new(),
            terms: BTreeMap::new(),
            over: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.code.is_none()
            && self.features.is_empty()
            && self.limits.is_empty()
            && self.terms.is_empty()
            && self.problems.is_empty()
    }
}

/// The impact of a change on a page of tenants.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Impacts {
    /// The number of tenants compared.
    pub compared: usize,
    /// The tenants for which something would change.
    pub tenants: Vec<Impact>,
    /// The start of the next page; null if this is the last.
    pub next_cursor: Option<String>,
    /// The changed metrics of the catalog, by key. Check that events of a type that a new metric
    /// counts contain the value that it reads.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub metrics: BTreeMap<String, Shift>,
    /// The recorded requests that would be decided differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replay>,
}

/// The result of deciding recorded requests again.
#[derive(Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Replay {
    /// The number of requests decided.
    pub asked: usize,
    /// The requests whose code would change, by their index.
    pub changed: BTreeMap<usize, Shift>,
}

/// Compares the entitlements of a tenant in two gates.
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
/// let impact = compare(&mut gate("[]"), &mut gate(r#"["sso"]"#), &tenant, UnixMillis::new(0));
/// assert_eq!(impact.features["sso"].effect, "gain");
/// ```
pub fn compare(before: &mut LocalGate, after: &mut LocalGate, tenant: &TenantId, now: UnixMillis) -> Impact {
    let ask = Ask { tenant: Some(tenant.as_str()), all_features: true, dry_run: true, ..Ask::default() };
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
    Impact {
        code,
        features: shifts(&features(&was), &features(&is), false_is_less),
        limits: shifts(&limits(&was), &limits(&is), more_is_more),
        terms: differing(shifts(&terms(&was), &terms(&is), |_, _| "change")),
        ..Impact::of(tenant.to_string())
    }
}

/// Returns the problems that a tenant's record would have under a new catalog and does not have
/// now. Entries that have ended are ignored.
pub fn breaks(record: &Value, old: &Catalog, new: &Catalog, now: UnixMillis) -> Vec<Problem> {
    let mut record = record.clone();
    let has_ended = |entry: &Value| {
        let ends_at = entry.get("ends_at").unwrap_or(&Value::Null);
        ends_at
            .as_u64()
            .map(UnixMillis::new)
            .or_else(|| UnixMillis::parse(ends_at.as_str()?))
            .is_some_and(|end| end <= now)
    };
    if let Some(Value::Array(overrides)) = record.get_mut("overrides") {
        overrides.retain(|entry| !has_ended(entry));
    }
    let text = record.to_string();
    let problems = |catalog| Tenant::parse_against(&text, catalog).err().unwrap_or(Problems(Vec::new()));
    problems(new).beyond(&problems(old)).0
}

/// Returns the members of a limit other than its allowance.
pub fn terms_of(limit: &Limit, overage: Overage) -> Value {
    json!({
        "kind": limit.kind, "period": limit.period, "window_ms": limit.window_ms.map(|window| window.0), "mode": limit.mode,
        "shadow": limit.shadow, "overage": overage, "on_error": limit.on_error,
        "max_duration_ms": limit.max_duration_ms.map(|duration| duration.0),
    })
}

/// Returns the changed metrics of a catalog.
pub fn metrics(old: &Catalog, new: &Catalog) -> BTreeMap<String, Shift> {
    let all = |catalog: &Catalog| -> BTreeMap<String, Value> {
        let metric = |metric: &crate::model::Metric| {
            json!({
                "event": metric.event, "aggregation": metric.aggregation, "value": metric.value, "period": metric.period,
                "limit": metric.limit.as_ref().map(ToString::to_string),
            })
        };
        gather(catalog.metrics.iter().map(|(key, definition)| (key.to_string(), metric(definition))))
    };
    differing(shifts(&all(old), &all(new), |_, _| "change"))
}

/// Decides recorded requests with both gates, each at its own time.
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
    gather(decision.features.iter().map(|answer| (answer.key.to_string(), answer.value.as_ref().clone())))
}

fn limits(decision: &Decision) -> BTreeMap<String, Value> {
    let Some(tenant) = &decision.tenant else { return BTreeMap::new() };
    gather(tenant.nearest().map(|budget| (budget.limit.to_string(), allowance(budget.meter))))
}

fn terms(decision: &Decision) -> BTreeMap<String, Value> {
    let Some((tenant, plans)) = decision.tenant.as_ref().zip(decision.catalog.as_ref()) else { return BTreeMap::new() };
    let limits = &plans.document().limits;
    let term = |budget: &Budget| Some((budget.limit.to_string(), terms_of(limits.get(&budget.limit)?, budget.overage)));
    gather(tenant.nearest().filter_map(term))
}

/// Reduces changed documents to their changed members.
fn differing(mut shifts: BTreeMap<String, Shift>) -> BTreeMap<String, Shift> {
    for shift in shifts.values_mut() {
        if let (Value::Object(before), Value::Object(after)) = (&mut shift.before, &mut shift.after) {
            let same: Vec<String> = before.keys().filter(|key| before.get(*key) == after.get(*key)).cloned().collect();
            for key in same {
                before.remove(&key);
                after.remove(&key);
            }
        }
    }
    shifts
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
    let keys: BTreeSet<&String> = gather(was.keys().chain(is.keys()));
    let of = |map: &BTreeMap<String, Value>, key: &String| map.get(key).cloned().unwrap_or_default();
    let shift = |key: &String| {
        let (before, after) = (of(was, key), of(is, key));
        let effect = effect(&before, &after);
        (key.clone(), Shift { before, after, effect })
    };
    gather(keys.into_iter().map(shift).filter(|(_, shift)| shift.before != shift.after))
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

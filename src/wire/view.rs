//! Decisions, errors and API keys as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::flags::{Answer, Reason, Tier};
use crate::gate::{Bearer, Code, Decision, Entitlements, Fallback, LimitCheck, Reserved, TraceStep};
use crate::ledger::Meter;
use crate::model::bounds::MAX_ASSERTED_BYTES;
use crate::model::{ApiKey, Key, KeyId, Kind, Overage, PlanRef, Scope, Status, UnixMillis, gather};
use crate::resolve::Carrier;

/// A decision.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DecisionView<'a> {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// The stable code: `ALLOWED`, or the code of the denial.
    pub code: &'a str,
    /// The tenant, if one was found and may be revealed.
    pub tenant: Option<TenantView<'a>>,
    /// The credential, if one was needed or charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialView<'a>>,
    /// The requested features, by key.
    pub features: BTreeMap<&'a str, AnswerView<'a>>,
    /// The page where the customer can upgrade. Only if a requested feature is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<&'a str>,
    /// Every limit that was charged, as it stands now.
    pub limits: Vec<LimitView<'a>>,
    /// The snapshots behind the decision.
    pub snapshot: SnapshotView,
    /// The kinds of data that were unavailable and replaced by defaults: `plan`, `ledger`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub fallback: &'a [Fallback],
    /// Whether the request repeats one under the same idempotency key, so that nothing was taken.
    /// Omitted if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub repeated: bool,
    /// The route's circuit breaker, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerView<'a>>,
    /// The hold that the request created: a reservation, or the slots of a request in flight.
    /// Settle it when the work has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldView<'a>>,
    /// Whether the named hold had already ended. The settled units are counted all the same.
    /// Omitted if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub lapsed: bool,
    /// Why the request was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// The trace, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Value>>"))]
    pub trace: Option<&'a [TraceStep]>,
}

/// The tenant of a decision.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TenantView<'a> {
    /// The tenant's id.
    pub id: &'a str,
    /// The tenant's slug.
    pub slug: &'a str,
    /// The plan in force.
    pub plan: Option<&'a str>,
    /// When the trial of the plan ends (RFC 3339). Omitted if there is no trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<String>,
    /// When the first grace period of an override or a contract ends (RFC 3339). Omitted if none is
    /// running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ends_at: Option<String>,
    /// The tenant's own status.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub status: Status,
}

/// A verified credential.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CredentialView<'a> {
    /// `jwt` or `api_key`.
    pub kind: &'a str,
    /// The tenant that the credential was issued for: that of the decision, or an ancestor that
    /// acts for it.
    pub tenant: &'a str,
    /// Where the request carried it: `header`, or `cookie`, which browsers send automatically.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub from: Carrier,
    /// The issuer of the token, by its key in the catalog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// The token's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// The id of the API key, which is not secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The scopes that the credential grants.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub scopes: &'a [Scope],
}

/// The evaluation of one feature.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AnswerView<'a> {
    /// The feature's value.
    pub value: &'a Value,
    /// Whether the tenant has the feature.
    pub enabled: bool,
    /// The tier that the value comes from.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub tier: Tier,
    /// The reason for the value.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: Reason,
    /// The rule that selected the value.
    pub rule: Option<&'a str>,
    /// The variant served.
    pub variant: Option<&'a str>,
}

/// A limit that the request was charged for.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitView<'a> {
    /// The limit's key.
    pub key: &'a str,
    /// `rate`, `window`, `quota`, `gauge` or `concurrency`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub kind: Kind,
    /// The tenant that owns the counter.
    pub tenant: &'a str,
    /// Units allowed; null is unlimited.
    pub limit: Option<u64>,
    /// Units used after the decision; null if the ledger could not be reached.
    pub used: Option<u64>,
    /// Units left after the decision; null if unlimited or unknown.
    pub remaining: Option<u64>,
    /// When the limit is fully available again (RFC 3339); null if time does not restore it.
    pub resets_at: Option<String>,
    /// Whether the limit is in shadow mode: it counts and never denies.
    pub shadow: bool,
    /// Whether a shadow limit would have refused the request. Omitted for other limits, and if the
    /// ledger could not be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<bool>,
    /// Units beyond the limit, if the allowance permits them. They may be billed. Omitted if it
    /// does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overage: Option<OverageView>,
}

/// The overage of a limit.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverageView {
    /// `soft` or `paid`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub policy: Overage,
    /// Units beyond the limit.
    pub units: u64,
}

/// A circuit breaker.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BreakerView<'a> {
    /// The breaker's group of routes, by its key in the catalog.
    pub group: &'a str,
    /// `closed`, `open`, `half_open`, `forced_open` or `disabled`.
    pub state: &'a str,
    /// Whether this request is a trial, which decides whether the breaker closes. Omitted if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub trial: bool,
}

/// A hold.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldView<'a> {
    /// The hold's id, for `settle`.
    pub id: &'a str,
    /// When the hold expires (RFC 3339).
    pub ends_at: String,
}

/// The snapshots behind a decision.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotView {
    /// The catalog's version.
    pub catalog: u64,
    /// The epoch of the tenant's record.
    pub epoch: Option<u64>,
    /// Milliseconds since the record was read from KV.
    pub age_ms: u64,
}

/// An error, sent as `{"error": {…}}`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorView {
    /// The stable code.
    pub code: &'static str,
    /// One sentence that explains the error and how to fix it.
    pub message: &'static str,
    /// Details whose members depend on the code.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Value>"))]
    pub details: Value,
}

impl<'a> From<&'a Decision> for DecisionView<'a> {
    fn from(decision: &'a Decision) -> Self {
        // A decision that ends before the status stage has no tenant here, so a refused caller
        // learns nothing about it.
        let tenant = decision.tenant.as_deref();
        let mut features = BTreeMap::new();
        for answer in &decision.features {
            features.insert(answer.key.as_ref(), answer.into());
        }
        Self {
            allowed: decision.allowed(),
            code: decision.code.as_str(),
            tenant: tenant.map(TenantView::from),
            credential: decision.extras().credential.as_ref().map(CredentialView::from),
            upgrade_url: features
                .values()
                .any(|answer: &AnswerView<'_>| !answer.enabled)
                .then(|| decision.catalog.as_ref().map(|catalog| catalog.document().upgrade_url.as_str()))
                .flatten(),
            features,
            limits: decision.limits.iter().map(|gauged| LimitView::new(gauged, decision)).collect(),
            snapshot: SnapshotView {
                catalog: decision.catalog.as_ref().map_or(0, |plans| plans.document().version.0),
                epoch: decision.epoch().map(|epoch| epoch.0),
                age_ms: decision.age_ms,
            },
            fallback: &decision.extras().fallback,
            repeated: decision.extras().is_repeated,
            breaker: decision.extras().breaker.as_ref().map(|used| BreakerView {
                group: used.breaker.group.as_str(),
                state: used.state.as_str(),
                trial: used.trial.is_some(),
            }),
            hold: decision.extras().hold.as_ref().map(HoldView::from),
            lapsed: decision.extras().has_lapsed,
            error: (!decision.allowed()).then(|| ErrorView::from(decision)),
            trace: decision.extras().trace.as_deref(),
        }
    }
}

impl<'a> From<&'a Entitlements> for TenantView<'a> {
    fn from(entitled: &'a Entitlements) -> Self {
        Self {
            id: entitled.tenant().id.as_str(),
            slug: entitled.tenant().slug.as_str(),
            plan: entitled.plan().map(PlanRef::as_str),
            trial_ends_at: entitled.trial_ends_at().map(|at| at.to_string()),
            grace_ends_at: entitled.grace_ends_at().map(|at| at.to_string()),
            status: entitled.tenant().status,
        }
    }
}

impl<'a> From<&'a Reserved> for HoldView<'a> {
    fn from(hold: &'a Reserved) -> Self {
        Self { id: &hold.id, ends_at: hold.ends_at.to_string() }
    }
}

impl<'a> From<&'a Bearer> for CredentialView<'a> {
    fn from(Bearer { credential, tenant, from }: &'a Bearer) -> Self {
        Self {
            kind: credential.kind.as_str(),
            tenant: tenant.as_str(),
            from: *from,
            issuer: credential.issuer.as_ref().map(Key::as_str),
            subject: credential.subject.as_deref(),
            key: credential.key.as_ref().map(KeyId::as_str),
            scopes: &credential.scopes,
        }
    }
}

impl<'a> From<&'a Answer> for AnswerView<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            value: &answer.value,
            enabled: answer.enabled,
            tier: answer.tier,
            reason: answer.reason,
            rule: answer.rule.as_ref().map(Key::as_str),
            variant: answer.variant.as_ref().map(Key::as_str),
        }
    }
}

impl<'a> LimitView<'a> {
    pub(super) fn new(gauged: &'a LimitCheck, decision: &Decision) -> Self {
        let verdict = gauged.verdict;
        let limit = verdict.map_or_else(|| gauged.budget.meter.limit(), |verdict| verdict.limit);
        Self {
            key: gauged.budget.limit.as_str(),
            kind: gauged.budget.kind,
            tenant: gauged.budget.tenant.as_str(),
            limit,
            used: verdict.map(|verdict| verdict.used),
            remaining: limit.and(verdict).map(|verdict| verdict.remaining),
            resets_at: match gauged.budget.meter {
                // The end of a quota's period is a date, so it is taken from the meter and not from
                // the ledger's clock.
                Meter::Quota { ends_ms, .. } => verdict.map(|_| UnixMillis::new(ends_ms).to_string()),
                _ => verdict
                    .filter(|verdict| verdict.reset_ms > 0)
                    .map(|verdict| decision.decided_at.plus(verdict.reset_ms).to_string()),
            },
            shadow: gauged.budget.shadow,
            would_refuse: verdict.filter(|_| gauged.budget.shadow).map(|verdict| !verdict.allowed),
            overage: (gauged.budget.overage != Overage::Hard).then(|| OverageView {
                policy: gauged.budget.overage,
                units: verdict.zip(limit).map_or(0, |(verdict, limit)| verdict.used.saturating_sub(limit)),
            }),
        }
    }
}

impl From<&Decision> for ErrorView {
    fn from(decision: &Decision) -> Self {
        let upgrade_url = decision.catalog.as_ref().map(|plans| plans.document().upgrade_url.as_str());
        let plan = decision.tenant.as_ref().and_then(|tenant| tenant.plan()).map(PlanRef::as_str);
        let denied = decision.denied_limit().map(|gauged| LimitView::new(gauged, decision));
        let requested = decision.denied_limit().map(|gauged| requested(gauged, decision));
        let details = match (decision.code, denied) {
            (Code::FeatureNotAvailable, _) => json!({
                "feature": decision.extras().denied_feature,
                "upgrade_url": upgrade_url,
                "current_plan": plan,
            }),
            (Code::QuotaExceeded, Some(limit)) => json!({
                "quota": limit.key,
                "limit": limit.limit,
                "used": limit.used,
                "requested": requested,
                "resets_at": limit.resets_at,
                "upgrade_url": upgrade_url,
                "violations": violations(decision),
            }),
            (Code::RateLimited | Code::ConcurrencyLimited, Some(limit)) => json!({
                "rate": limit.key,
                "limit": limit.limit,
                "remaining": limit.remaining,
                "requested": requested,
                "retry_after_ms": decision.extras().retry_after_ms,
            }),
            (Code::BadRequest, _) if decision.extras().problem.is_some() => {
                json!({ "problems": [decision.extras().problem] })
            }
            (Code::InsufficientScope, _) => json!({
                "scopes": decision.extras().challenge.as_ref().map(|challenge| &challenge.scopes),
            }),
            _ => match decision.extras().retry_after_ms {
                Some(retry_after_ms) => json!({ "retry_after_ms": retry_after_ms }),
                None => json!({}),
            },
        };
        let message = match &decision.extras().problem {
            Some(_) => PROBLEMS,
            None => decision.code.message(),
        };
        Self { code: decision.code.as_str(), message, details }
    }
}

/// The claims of an assertion that the catalog asks for: `features` and `limits`, as in the
/// decision's JSON, and `upgrade_url` if one of the features is off. A claim that is too large for
/// a header is left out.
pub fn asserted(decision: &Decision) -> Map<String, Value> {
    let mut claims = Map::new();
    let catalog = decision.catalog.as_ref().map(|catalog| catalog.document());
    let Some(wanted) = catalog.and_then(|catalog| catalog.origin.as_ref()).and_then(|origin| origin.assertion.as_ref())
    else {
        return claims;
    };
    let mut claim = |name: &str, value: Result<Value, serde_json::Error>| {
        if let Ok(value) = value
            && value.to_string().len() <= MAX_ASSERTED_BYTES
        {
            claims.insert(name.to_owned(), value);
        }
    };
    if !wanted.features.is_empty() {
        let is_wanted = |answer: &&Answer| wanted.features.iter().any(|key| key.as_str() == &*answer.key);
        let features: BTreeMap<&str, AnswerView<'_>> =
            gather(decision.features.iter().filter(is_wanted).map(|answer| (answer.key.as_ref(), answer.into())));
        let lacks = features.values().any(|answer| !answer.enabled);
        claim("features", serde_json::to_value(features));
        if lacks {
            claim("upgrade_url", Ok(catalog.map_or(Value::Null, |catalog| catalog.upgrade_url.as_str().into())));
        }
    }
    if wanted.limits {
        let limits: Vec<_> = decision.limits.iter().map(|gauged| LimitView::new(gauged, decision)).collect();
        claim("limits", serde_json::to_value(limits));
    }
    claims
}

/// The message of errors whose details list the problems of a body or document.
pub const PROBLEMS: &str = "the request is invalid: see `details.problems`";

/// Returns the units that a request charged to a limit. A counter that follows another reports the
/// units of that one.
fn requested(gauged: &LimitCheck, decision: &Decision) -> u64 {
    let same = decision.limits.iter().filter(|other| other.budget.limit == gauged.budget.limit);
    same.map(|gauged| gauged.op.units()).max().unwrap_or(0)
}

/// Returns every limit that refuses the request, not only the first.
fn violations(decision: &Decision) -> Vec<Value> {
    let refusing = decision.limits.iter().filter(|gauged| gauged.refused());
    let violation = |gauged: &LimitCheck| {
        let LimitView { key, kind, tenant, limit, used, resets_at, .. } = LimitView::new(gauged, decision);
        json!({
            "key": key, "kind": kind, "tenant": tenant, "limit": limit, "used": used,
            "requested": requested(gauged, decision), "resets_at": resets_at,
        })
    };
    refusing.map(violation).collect()
}

/// All parts of the HTTP response to a decision, for tests and tools that do not use HTTP.
#[derive(Debug, Serialize)]
pub struct Transcript<'a> {
    status: u16,
    headers: BTreeMap<&'static str, String>,
    path: Option<&'a str>,
    decision: DecisionView<'a>,
}

impl<'a> From<&'a Decision> for Transcript<'a> {
    fn from(decision: &'a Decision) -> Self {
        let mut headers = BTreeMap::new();
        if let Some((policy, state)) = super::rate_limit_headers(decision) {
            headers.insert("ratelimit-policy", policy);
            headers.insert("ratelimit", state);
        }
        if let Some(seconds) = super::retry_after_s(decision) {
            headers.insert("retry-after", seconds.to_string());
        }
        if let Some(challenge) = super::www_authenticate(decision) {
            headers.insert("www-authenticate", challenge);
        }
        Self {
            status: decision.code.status(),
            headers,
            path: decision.extras().path.as_ref().map(|behind| behind.path.as_str()),
            decision: decision.into(),
        }
    }
}

/// Returns a [`Transcript`] as JSON text.
pub fn transcript(decision: &Decision) -> String {
    // It holds only text, numbers and JSON values, so it always serializes.
    serde_json::to_string(&Transcript::from(decision)).unwrap_or_default()
}

/// Returns an API key's record as it is published.
pub fn api_key_record(key: &ApiKey) -> Value {
    let mut record = json!({
        "id": key.id,
        "tenant": key.tenant,
        "hash": key.hash.to_string(),
        "environment": key.environment,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "epoch": key.epoch,
    });
    let dates = [("expires_at", key.expires_at), ("revoked_at", key.revoked_at)];
    let dates = dates.into_iter().filter_map(|(name, at)| Some((name, at?.to_string())));
    let name = key.name.iter().map(|name| ("name", name.clone()));
    if let Value::Object(members) = &mut record {
        members.extend(dates.chain(name).map(|(name, text)| (name.to_owned(), text.into())));
    }
    record
}

/// Returns `{"error": {"code", "message", "details"}}`.
pub fn error_body(error: &ErrorView) -> String {
    json!({ "error": error }).to_string()
}

/// Returns the error as `application/problem+json` (RFC 9457). The members of `details` stand
/// beside the standard ones.
pub fn problem_body(error: &ErrorView, status: u16) -> String {
    let mut problem = json!({
        "type": format!("urn:tenantgate:error:{}", error.code),
        "title": error.message,
        "status": status,
        "code": error.code,
    });
    if let (Value::Object(members), Value::Object(details)) = (&mut problem, &error.details) {
        for (name, value) in details {
            members.entry(name).or_insert_with(|| value.clone());
        }
    }
    problem.to_string()
}

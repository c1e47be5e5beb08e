//! What a hub asks the gate of its isolate: whether its members may stay, whether a credential is
//! accepted, and whether the limits allow a message.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::client::Address;
use crate::gate::{Ask, Bearer, CallEnd, Code, Decision, Entitlements, Gate, Intent, Progress, Step};
use crate::ledger::{CounterOp, WaitFailure};
use crate::model::{Key, PresentedKey, Tenant, TenantId, UnixMillis, gather};
use crate::realtime::{Admission, Denied, Presented, Rules};
use crate::resolve::Request;
use crate::wire::DecideBody;
use crate::worker::api::decide;
use crate::worker::config::Config;
use crate::worker::gateway::behind::Asker;
use crate::worker::ledger::keeper;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::edge::ExecutionContext;
use crate::worker::sources::drive::{GateQuestion, drive};
use crate::worker::sources::feed;

/// The path of the endpoint. Its route says who may connect.
pub(crate) const CONNECT: &str = "/_gate/v1/connect";

/// What the gate says about a tenant's sockets.
#[derive(Default)]
pub(super) struct Judgement {
    /// The tenant as it is now, or the code with which it is denied.
    pub(super) tenant: Option<Result<Arc<Entitlements>, Code>>,
    /// The members that are no longer admitted.
    pub(super) denied: Vec<(u32, Code)>,
    pub(super) rules: Option<Rules>,
    /// The limit that counts connections.
    pub(super) connections: Option<Key>,
    /// What one message costs.
    pub(super) costs: Vec<(Key, u64)>,
}

struct StandingQuestion<'q> {
    tenant: &'q TenantId,
    members: &'q [(u32, String)],
    place: Option<&'q str>,
}

impl GateQuestion for StandingQuestion<'_> {
    type Answer = Judgement;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Judgement> {
        let mut judgement = Judgement::default();
        match gate.tenant(self.tenant, now) {
            Progress::Need(need) => return Progress::Need(need),
            Progress::Ready(Ok(tenant)) if !tenant.may_be_served_from(self.place) => {
                judgement.tenant = Some(Err(Code::ResidencyViolation));
            }
            Progress::Ready(tenant) => judgement.tenant = Some(tenant),
        }
        if let Some(Ok(_)) = &judgement.tenant {
            for (who, kept) in self.members {
                match gate.still_admits(self.tenant, kept, CONNECT, self.place, now) {
                    Progress::Need(need) => return Progress::Need(need),
                    Progress::Ready(Ok(_)) => {}
                    Progress::Ready(Err(code)) => judgement.denied.push((*who, code)),
                }
            }
        }
        let catalog = gate.current_catalog().cloned();
        let realtime = catalog.as_ref().and_then(|catalog| catalog.document().realtime.as_ref());
        if let (Some(catalog), Some(realtime), Some(Ok(tenant))) = (&catalog, realtime, &judgement.tenant) {
            let facts = tenant.facts(&[], now);
            let has = |key: &&Key| catalog.features().evaluate_named(key.as_str(), facts).enabled;
            let features: BTreeSet<Key> = gather(realtime.features().filter(has).cloned());
            judgement.rules = Some(Rules::new(realtime, features));
            judgement.connections.clone_from(&realtime.connections);
            judgement.costs = realtime.limits.iter().map(|(key, cost)| (key.clone(), cost.0)).collect();
        }
        Progress::Ready(judgement)
    }

    fn is_unknown(answer: &Judgement) -> bool {
        matches!(answer.tenant, Some(Err(Code::TenantNotFound)))
    }
}

/// Judges the members of a hub by what the system of record says now. `None`: neither it nor KV
/// answered, and what is held is too old.
pub(super) async fn standing(
    tenant: &TenantId,
    members: &[(u32, String)],
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Option<Judgement> {
    let patience = Patience::new();
    // What an isolate has read of the feed may be older than a hub may rely on.
    if !config.control.is_undefined() {
        let _ = feed::read(config, patience).await;
    }
    let question = StandingQuestion { tenant, members, place: config.region.as_deref() };
    let judgement = drive(question, config, context, patience).await.ok();
    // Nothing waits behind a hub's question for these; what is stale is fetched by the next one.
    drop(with_gate(Gate::take_background));
    judgement
}

/// Decides the request that opened a socket, now that it has a credential. Returns what the hub
/// keeps of it, and the tenant's hub.
pub(super) async fn admission(
    question: &str,
    presented: &Presented,
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Result<(Admission, Address), Denied> {
    let header = header_of(&presented.token, config, context).await.map_err(|code| (code, None))?;
    let question = with_credential(question, header);
    let body = DecideBody::parse(&question).map_err(|_| (Code::BadRequest, None))?;
    let asker = Asker { request: None, context, explain: false };
    let decision = decide::decide(&body, asker, config).await;
    if !decision.allowed() {
        return Err((decision.code, decision.extras().retry_after_ms));
    }
    let found = decision.tenant.as_ref().ok_or((Code::TenantNotFound, None))?;
    // INVARIANT (agreement): the credential and the message name the same tenant.
    if !presented.tenant.as_deref().is_none_or(|name| is_named(found.tenant(), name)) {
        return Err((Code::TenantMismatch, None));
    }
    let admission = of(&decision).ok_or((Code::Unauthenticated, None))?;
    Ok((admission, Address::new(&found.tenant().id, found.root())))
}

/// What a hub keeps of a decision. `None` if the decision has no credential.
pub(super) fn of(decision: &Decision) -> Option<Admission> {
    let tenant = decision.tenant.as_ref()?;
    Some(kept(decision.extras().credential.as_ref()?, &tenant.tenant().id))
}

/// Whether a subject looks like the name of an API key, or of another tenant's user.
fn is_ambiguous(subject: &str) -> bool {
    subject.starts_with("key:") || subject.split_once('/').is_some_and(|(start, _)| TenantId::parse(start).is_some())
}

/// What a hub of `tenant` keeps of a bearer.
fn kept(bearer: &Bearer, tenant: &TenantId) -> Admission {
    let credential = &bearer.credential;
    let own = match (&credential.key, &credential.subject) {
        (Some(key), _) => Some(format!("key:{key}")),
        (None, Some(subject)) if bearer.tenant == *tenant && !is_ambiguous(subject) => Some(subject.clone()),
        // Subjects of two tenants may be the same text.
        (None, Some(subject)) => Some(format!("{}/{subject}", bearer.tenant)),
        (None, None) => None,
    };
    let issuer = credential.issuer.as_ref().map_or("", Key::as_str);
    let holder = Sha256::digest(format!("{issuer}\n{}\n{}", bearer.tenant, own.as_deref().unwrap_or_default()));
    Admission {
        user: own.map(Into::into),
        holder: URL_SAFE_NO_PAD.encode(holder.get(..12).unwrap_or_default()),
        scopes: credential.scopes.iter().map(ToString::to_string).collect(),
        expires_at: credential.expires_at.map(UnixMillis::get),
        credential: credential.keep(),
    }
}

/// Whether a tenant has this name: its id or its slug.
fn is_named(tenant: &Tenant, name: &str) -> bool {
    name == tenant.id.as_str() || name == tenant.slug.as_str()
}

struct RenewalQuestion<'q> {
    tenant: &'q TenantId,
    token: &'q str,
    place: Option<&'q str>,
}

impl GateQuestion for RenewalQuestion<'_> {
    type Answer = Result<(Bearer, Arc<Entitlements>), Code>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        gate.renews(self.tenant, self.token, CONNECT, self.place, now)
    }

    fn is_unknown(answer: &Self::Answer) -> bool {
        matches!(answer, Err(Code::TenantNotFound))
    }
}

/// Judges a credential that takes the place of another one on an open socket.
pub(super) async fn renewal(
    presented: &Presented,
    tenant: &TenantId,
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Result<Admission, Denied> {
    let question = RenewalQuestion { tenant, token: &presented.token, place: config.region.as_deref() };
    match drive(question, config, context, Patience::new()).await {
        Ok(Ok((_, found))) if !presented.tenant.as_deref().is_none_or(|name| is_named(found.tenant(), name)) => {
            Err((Code::TenantMismatch, None))
        }
        Ok(Ok((bearer, _))) => Ok(kept(&bearer, tenant)),
        Ok(Err(code)) => Err((code, None)),
        Err(_) => Err((Code::SnapshotUnavailable, None)),
    }
}

struct KeyHeaderQuestion;

impl GateQuestion for KeyHeaderQuestion {
    type Answer = Result<String, Code>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        gate.key_header(now)
    }

    fn is_unknown(_: &Self::Answer) -> bool {
        false
    }
}

/// The question about a request with a credential in the header that the catalog reads it from.
fn with_credential(question: &str, (name, value): (String, String)) -> String {
    let mut question: Value = serde_json::from_str(question).unwrap_or_default();
    if let Some(headers) = question.pointer_mut("/headers").and_then(Value::as_object_mut) {
        headers.insert(name, value.into());
    }
    question.to_string()
}

/// The header for a credential: an API key has one of its own.
pub(super) async fn header_of(
    token: &str,
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Result<(String, String), Code> {
    if PresentedKey::parse(token).is_none() {
        return Ok((String::from("authorization"), format!("Bearer {token}")));
    }
    let name = drive(KeyHeaderQuestion, config, context, Patience::new()).await;
    Ok((name.map_err(|_| Code::SnapshotUnavailable)??, token.to_owned()))
}

/// A question about a tenant that takes from its limits.
struct ChargeQuestion<'q> {
    tenant: &'q TenantId,
    limits: &'q [(&'q str, CounterOp)],
    intent: Intent<'q>,
    place: Option<&'q str>,
}

impl GateQuestion for ChargeQuestion<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        let request = Request { place: self.place, ..Request::default() };
        let ask = Ask {
            tenant: Some(self.tenant.as_str()),
            limits: self.limits,
            intent: self.intent,
            waiting: awaited.into(),
            ..Ask::default()
        };
        gate.decide(&request, &ask, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        answer.is_unknown_tenant()
    }
}

/// Takes from the limits of a tenant, or holds units of them.
pub(super) async fn charge(
    tenant: &TenantId,
    limits: &[(&str, CounterOp)],
    intent: Intent<'_>,
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Box<Decision> {
    let patience = Patience::new();
    let question = ChargeQuestion { tenant, limits, intent, place: config.region.as_deref() };
    let Ok(step) = drive(question, config, context, patience).await else {
        return Box::new(Decision::refused(Code::SnapshotUnavailable, "a snapshot could not be fetched", clock::now()));
    };
    let decision = keeper::conclude(step, config, context, patience).await;
    if intent == Intent::Decide {
        keeper::ended(&decision, CallEnd::Unknown, config, context);
    }
    Box::new(decision)
}

/// The question about a request without its credential, for a socket that presents one later.
pub(super) fn question(
    method: &str,
    (host, path, query): (&str, &str, &str),
    headers: &[(&str, &str)],
    custom: Option<&str>,
) -> String {
    let signals =
        headers.iter().filter(|(name, _)| !matches!(*name, "authorization" | "cookie" | "origin" | "upgrade"));
    let headers: serde_json::Map<String, Value> =
        gather(signals.map(|(name, value)| ((*name).to_owned(), (*value).into())));
    json!({ "method": method, "host": host, "path": path, "query": query, "headers": headers, "custom": custom })
        .to_string()
}

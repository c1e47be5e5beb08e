//! Features for other evaluators: `/_gate/v1/features` for pages, `/_gate/ofrep/…` for OpenFeature
//! SDKs.
//!
//! Both endpoints identify the tenant as for a gated request. They disclose only features marked
//! `client`. OFREP requests with the operator token may ask for every feature of every tenant.
//!
//! A page keeps a snapshot of its features and polls for changes with `If-None-Match`. With
//! `Prefer: wait=N` the request waits for a change (long polling). Waiting requests check again
//! every [`WAIT_STEP_MS`]; [`LongPollPermit`] bounds their number.

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::gate::{Ask, ClientView, Code, Decision};
use crate::model::bounds::{
    MAX_BODY_BYTES, MAX_CLIENT_SNAPSHOT_CACHE_BYTES, MAX_HELD, MAX_HELD_BY_ONE, MAX_WAIT_S, WAIT_STEP_MS,
};
use crate::model::{TenantId, UnixMillis, WeighedCache};
use crate::wire::{
    ErrorView, OfrepContext, client_snapshot, cors_headers, ofrep_answer, ofrep_failure, www_authenticate,
};
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;

/// The features that a page may know.
pub(crate) const FEATURES: &str = "/_gate/v1/features";
/// The OFREP endpoint of all flags. The path of one flag continues with `/` and its key.
pub(crate) const OFREP: &str = "/_gate/ofrep/v1/evaluate/flags";

thread_local! {
    /// Snapshots that were made recently.
    static SNAPSHOTS: RefCell<WeighedCache<ClientSnapshotKey, Tagged>> = RefCell::new(WeighedCache::new(MAX_CLIENT_SNAPSHOT_CACHE_BYTES));
    /// The number of waiting requests, by the root of the family.
    static HELD: RefCell<FxHashMap<TenantId, usize>> = RefCell::default();
}

/// The key of a snapshot: the serial number of the tenant's compilation, the catalog's version, and
/// whether the caller has a credential.
type ClientSnapshotKey = (u32, u64, bool);
/// An entity tag and the text that it stands for.
type Tagged = (Rc<str>, Rc<str>);

/// The permission of one request to wait. Dropping it frees the place.
///
/// INVARIANT (places are per tenant): a family has at most [`MAX_HELD_BY_ONE`] places, so it cannot
/// use up those of others, whose pages would then have to poll more often.
struct LongPollPermit(TenantId);

impl LongPollPermit {
    fn take(root: &TenantId) -> Option<Self> {
        HELD.with_borrow_mut(|held| {
            let all = held.values().fold(0_usize, |sum, own| sum.saturating_add(*own));
            let own = held.get(root).copied().unwrap_or(0);
            let room = own < MAX_HELD_BY_ONE && all < MAX_HELD;
            room.then(|| {
                held.insert(root.clone(), own.saturating_add(1));
                Self(root.clone())
            })
        })
    }
}

impl Drop for LongPollPermit {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(own) = held.get_mut(&self.0) {
                *own = own.saturating_sub(1);
                if *own == 0 {
                    held.remove(&self.0);
                }
            }
        });
    }
}

/// The snapshot for the caller of a decision, with its tag. Returns `None` if the decision is a
/// denial or has no tenant.
fn snapshot_for(decision: &Decision, now: UnixMillis) -> Option<Tagged> {
    let (tenant, plans) = decision.tenant.as_ref().zip(decision.catalog.as_ref()).filter(|_| decision.allowed())?;
    let key = (tenant.serial(), plans.document().version.0, decision.extras().credential.is_some());
    Some(SNAPSHOTS.with_borrow_mut(|all| {
        if let Some(known) = all.get_mut(&key) {
            return known.clone();
        }
        let text = client_snapshot(&ClientView::new(plans, tenant, now), key.2);
        let made: Tagged = (etag(&text).into(), text.into());
        all.insert(key, Some(tenant.root().clone()), made.1.len(), made.clone());
        made
    }))
}

/// Answers pages and SDKs. The CORS policy of the catalog's route for the endpoint decides which
/// pages of other origins may read the response.
pub(crate) async fn answer(mut call: Call, config: &Rc<Config>) -> Response {
    let is_page = call.path() == FEATURES;
    if call.method() == "OPTIONS" {
        let decision = gateway::identify(&mut call, config, &Ask::default()).await;
        return if decision.cors().is_some()
            && (decision.extras().is_preflight || decision.code == Code::OriginNotAllowed)
        {
            reply::decision(&call, &decision)
        } else if is_page {
            Failure::GET_ONLY.respond(&call)
        } else {
            Failure::POST_ONLY.respond(&call)
        };
    }
    let response = if is_page { features(&mut call, config).await } else { evaluate(&mut call, config).await };
    let headers = call.headers();
    with_gate(|gate| {
        let catalog = gate.current_catalog();
        for (name, value) in catalog
            .and_then(|catalog| catalog.policy(&call.request(&headers, config)))
            .iter()
            .flat_map(|policy| cors_headers(policy, false, &headers))
        {
            // The names and values are constants or were validated, so this cannot fail.
            let _ = response.headers().set(name, &value);
        }
    });
    response
}

/// `GET /_gate/v1/features`: returns the snapshot, or 304 if `If-None-Match` names its tag. With
/// `Prefer: wait=N` (RFC 7240), 304 is returned only after N seconds without a change.
async fn features(call: &mut Call, config: &Rc<Config>) -> Response {
    let known = edge::header(&call.request, "if-none-match");
    let wait_s = edge::header(&call.request, "prefer").and_then(|prefer| wait(&prefer)).unwrap_or(0);
    let deadline = clock::now().plus(wait_s.saturating_mul(1_000));
    let mut place = None;
    loop {
        let decision = gateway::identify(call, config, &Ask::default()).await;
        let now = clock::now();
        let Some((tag, text)) = snapshot_for(&decision, now) else {
            return reply::decision(call, &without_tenant(decision));
        };
        if !is_known(known.as_deref(), &tag) {
            return reply::raw(200, "application/json", &format!("etag: {tag}"), &text);
        }
        // Without a place the request is answered immediately, and so is one whose client has
        // disconnected. `*` matches every snapshot, so waiting for a change would be pointless.
        let waits = now < deadline && known.as_deref().is_some_and(|known| known.trim() != "*");
        if let Some(tenant) = decision.tenant.as_ref().filter(|_| waits && place.is_none()) {
            place = LongPollPermit::take(tenant.root());
        }
        if now >= deadline || place.is_none() || edge::aborted(&call.request) {
            return reply::raw(304, "application/json", &format!("etag: {tag}"), "");
        }
        let left_ms = u32::try_from(deadline.since(now)).unwrap_or(WAIT_STEP_MS).clamp(1, WAIT_STEP_MS);
        let _ = JsFuture::from(edge::sleep(left_ms)).await;
    }
}

/// The seconds of `Prefer: wait=N`, at most [`MAX_WAIT_S`].
fn wait(prefer: &str) -> Option<u64> {
    let seconds = prefer.split(',').find_map(|preference| preference.trim().strip_prefix("wait="))?;
    seconds.trim_matches('"').parse().ok().map(|seconds: u64| seconds.min(MAX_WAIT_S))
}

/// `POST /_gate/ofrep/v1/evaluate/flags[/{key}]`: evaluates all flags, or one, for a context.
async fn evaluate(call: &mut Call, config: &Rc<Config>) -> Response {
    let key = call.path().strip_prefix(OFREP).and_then(|rest| rest.strip_prefix('/')).map(decoded);
    let key = key.as_deref();
    let text = match reply::body(call, MAX_BODY_BYTES).await {
        Ok(text) => text,
        Err(failure) => return failure.respond(call),
    };
    let context = match OfrepContext::parse(&text) {
        Ok(context) => context,
        Err(failure) => return fail(400, key, failure, ""),
    };
    let operator = config.is_operator(call.bearer());
    if operator && context.tenant.is_none() {
        return fail(400, key, ("INVALID_CONTEXT", "the context needs the attribute `tenant`, the tenant's id"), "");
    }
    let ask = Ask { tenant: context.tenant.as_deref().filter(|_| operator), ..Ask::default() };
    let decision = gateway::identify(call, config, &ask).await;
    let found = decision.tenant.as_ref().zip(decision.catalog.as_ref()).filter(|_| decision.allowed());
    let Some((tenant, plans)) = found else { return refuse(key, &without_tenant(decision)) };
    let features = plans.features();
    let attributes = features.slots(&context.attributes());
    let facts = tenant.facts(&attributes, clock::now());
    let may_know = |key: &str| operator || plans.document().features.get(key).is_some_and(|feature| feature.client);
    match key {
        Some(key) if !may_know(key) || features.id(key).is_none() => {
            fail(404, Some(key), ("FLAG_NOT_FOUND", "unknown flag"), "")
        }
        Some(key) => reply::document(200, &ofrep_answer(&features.evaluate_named(key, facts)).to_string()),
        None => {
            let answers = features.evaluate_those(facts, may_know);
            let flags: Vec<Value> = answers.iter().map(ofrep_answer).collect();
            let body = json!({ "flags": flags, "metadata": { "catalog": plans.document().version } }).to_string();
            // The tag depends on the answers alone: contexts with equal answers share it.
            let etag = etag(&body);
            let known = is_known(edge::header(&call.request, "if-none-match").as_deref(), &etag);
            let (status, body) = if known { (304, "") } else { (200, body.as_str()) };
            reply::raw(status, "application/json", &format!("etag: {etag}"), body)
        }
    }
}

/// Decodes a key from a path.
fn decoded(key: &str) -> String {
    percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned()
}

/// Turns an allowed decision without a tenant into a denial: only a tenant has features.
fn without_tenant(decision: Decision) -> Decision {
    if decision.allowed() {
        Decision::refused(
            Code::TenantNotFound,
            "the route needs no tenant, so there are no features",
            decision.decided_at,
        )
    } else {
        decision
    }
}

fn refuse(key: Option<&str>, decision: &Decision) -> Response {
    let ErrorView { code, message, .. } = ErrorView::from(decision);
    let challenge = www_authenticate(decision).map(|challenge| format!("www-authenticate: {challenge}"));
    let failure = ofrep_failure(key, ("GENERAL", &format!("{code}: {message}")));
    reply::refusal(decision, &challenge.unwrap_or_default(), &failure.to_string())
}

fn fail(status: u16, key: Option<&str>, failure: (&str, &str), header: &str) -> Response {
    reply::raw(status, "application/json", header, &ofrep_failure(key, failure).to_string())
}

/// Whether `If-None-Match` names a tag (RFC 9110 §13.1.2). The comparison is weak, because proxies
/// that compress responses make tags weak.
fn is_known(if_none_match: Option<&str>, etag: &str) -> bool {
    let mut tags = if_none_match.into_iter().flat_map(|tags| tags.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn etag(body: &str) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(body).get(..18).unwrap_or_default()))
}

//! The gate of one isolate, and how it comes by what it needs: KV, the custom resolver, the ledger.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Promise};
use rustc_hash::FxHashMap;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Response, console};

use super::call::{self, About, Call, Resolved};
use super::charge;
use super::clock::{self, Patience};
use super::config::Config;
use super::denials;
use super::doors::{self, Door};
use super::edge;
use super::feed;
use super::keys;
use super::reply::{self, Failure};
use super::task;
use crate::gate::{Ask, CallEnd, Code, Decision, Gate, Need, Rejected, Step};
use crate::ledger::{LeaseProgress, LedgerFailure, Question, WaitFailure};
use crate::model::bounds::{CUSTOM_RESOLVER_MS, REFRESH_INTERVAL_MS};
use crate::model::{DataRoute, UnixMillis};

thread_local! {
    static GATE: RefCell<Gate> = RefCell::default();
    /// Fetches under way, and those that have just failed: whoever needs the same does not fetch it too.
    static FETCHES: RefCell<FxHashMap<Need, Fetch>> = RefCell::default();
}

#[derive(Clone, Copy)]
enum Fetch {
    UnderWay(UnixMillis),
    Failed,
}

/// Fetches of which so much is remembered.
const MANY_FETCHES: usize = 4_096;

/// KV keeps what it read for this long; its shortest.
pub(super) const KV_CACHE_S: u32 = 60;

/// Runs `f` on this isolate's gate.
pub(super) fn with_gate<T>(f: impl FnOnce(&mut Gate) -> T) -> T {
    GATE.with_borrow_mut(f)
}

/// How far a request came without waiting.
pub(super) enum Now {
    Answered(Response),
    Waits(Box<Step>),
}

/// Decides a request, and answers it if nothing has to be waited for.
pub(super) fn decide_now(call: &Call, config: &Rc<Config>) -> Now {
    if let Some(need) = feed::due(config, &call.context, clock::now()) {
        return Now::Waits(Box::new(Step::Fetch(need)));
    }
    match step(call, config, None) {
        Step::Done(mut decision) if !is_forwarded(call, config, &decision) => {
            let response = reply::decision(call, &decision);
            after(call, config, &mut decision);
            Now::Answered(response)
        }
        step => Now::Waits(Box::new(step)),
    }
}

fn step(call: &Call, config: &Config, awaited: Option<&WaitFailure>) -> Step {
    let headers = call.headers();
    let now = clock::now();
    // An explanation shows what would happen; it costs the tenant nothing.
    let ask = Ask { dry_run: call.explain, awaited, ..Ask::default() };
    feed::missed(with_gate(|gate| gate.decide(&call.request(&headers, config), &ask, now)), config, now)
}

/// Decides a request with waiting, and answers it.
pub(super) async fn decide(mut call: Call, mut next: Step, config: &Rc<Config>) -> JsValue {
    super::fault(call.fault(), "trap-late");
    let patience = Patience::new();
    let mut awaited = None;
    loop {
        next = match next {
            Step::Done(decision) => return conclude(&call, config, *decision).await,
            Step::Charge(pending) => {
                let decision = charge::charge(pending, config, &call.context, patience).await;
                return conclude(&call, config, decision).await;
            }
            Step::Fetch(need) => {
                if need == Need::Custom {
                    call.custom = resolve(&call, config).await;
                } else {
                    match fetch(need, config, &call.context, patience).await {
                        Had::Yes => {}
                        Had::Awaited(what) => awaited = Some(what),
                        Had::No => return conclude(&call, config, unavailable_to(&call, config)).await,
                    }
                }
                call.read_again(config);
                step(&call, config, awaited.as_ref())
            }
        };
    }
}

/// Finds out whose request it is and whether it may pass, and nothing more: what its route costs or needs beyond that is left
/// alone.
pub(super) async fn identify(call: &mut Call, config: &Rc<Config>, ask: &Ask<'_>) -> Decision {
    let patience = Patience::new();
    feed::catch_up_if_due(config, &call.context, patience).await;
    loop {
        let (headers, now) = (call.headers(), clock::now());
        let ask = Ask { identify: true, ..*ask };
        let step = with_gate(|gate| gate.decide(&call.request(&headers, config), &ask, now));
        match feed::missed(step, config, now) {
            Step::Done(mut decision) => {
                after(call, config, &mut decision);
                return *decision;
            }
            Step::Charge(_) => return unavailable(),
            Step::Fetch(Need::Custom) => call.custom = resolve(call, config).await,
            Step::Fetch(need) => {
                if fetch(need, config, &call.context, patience).await != Had::Yes {
                    return unavailable();
                }
                call.read_again(config);
            }
        }
    }
}

/// The decision where no trustworthy snapshot can be had.
pub(super) fn unavailable() -> Decision {
    Decision::refused(Code::SnapshotUnavailable, "a snapshot could not be fetched", clock::now())
}

/// The same, for a request: pages of other origins may read it as far as the catalog is known.
fn unavailable_to(call: &Call, config: &Config) -> Decision {
    let mut decision = unavailable();
    let headers = call.headers();
    with_gate(|gate| {
        if let Some(plans) = gate.snapshots.current_plans() {
            decision.cors = plans.policy_id(&call.request(&headers, config));
            decision.plans = Some(Arc::clone(plans));
        }
    });
    decision
}

async fn conclude(call: &Call, config: &Rc<Config>, mut decision: Decision) -> JsValue {
    if !is_forwarded(call, config, &decision) {
        charge::ended(&decision, CallEnd::Unknown, config, &call.context);
        let response = reply::decision(call, &decision);
        after(call, config, &mut decision);
        return response.into();
    }
    // How the call ends matters where it holds a slot, or a circuit breaker looks at it.
    let flies = decision.hold.is_some() || decision.guard.is_some();
    let slow_ms = decision.guard.as_ref().and_then(|guard| guard.slow_ms()).unwrap_or(0);
    let millis = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    let flight = flies.then(|| edge::flight(decision.guard.is_some(), millis(slow_ms)));
    if let Some(flight) = flight.as_ref().filter(|_| decision.hold.is_some()) {
        charge::release(&decision, Some(flight.ended()), config, &call.context);
    }
    let forwarded = forward(call, config, &decision, millis(decision.timeout_ms), flight.as_ref());
    if let Some(flight) = &flight {
        // It goes on where the client leaves.
        call.context.wait_until(&forwarded);
        // INVARIANT (a call that hangs counts): what is slow is told when it is, whether or not it ever ends.
        if slow_ms > 0 {
            let _ = JsFuture::from(Promise::race(&Array::of2(&forwarded, &flight.slow()))).await;
            if flight.is_slow() {
                let end = CallEnd::Answered { failed: false, elapsed_ms: slow_ms };
                charge::ended(&decision, end, config, &call.context);
            }
        }
    }
    let forwarded = JsFuture::from(forwarded).await;
    if let Some(flight) = &flight {
        match end_of(&forwarded, flight) {
            CallEnd::Answered { failed: true, .. } if flight.is_slow() => {
                charge::ended(&decision, CallEnd::FailedSince, config, &call.context);
            }
            _ if flight.is_slow() => {}
            end => charge::ended(&decision, end, config, &call.context),
        }
    }
    let response = forwarded.unwrap_or_else(|error| {
        // No reason: the time was over.
        let failure = if error.is_null() { Failure::UPSTREAM_TIMEOUT } else { Failure::UPSTREAM };
        console::error_2(&failure.code.into(), &error);
        reply::failure(call, &decision, &failure).into()
    });
    after(call, config, &mut decision);
    response
}

/// What a call says of the origin. That a client broke off, or was slow, says nothing of it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float is brought into the range")]
fn end_of(forwarded: &Result<JsValue, JsValue>, flight: &edge::Flight) -> CallEnd {
    let response = forwarded.as_ref().ok().and_then(|response| response.dyn_ref::<Response>());
    match response.map(Response::status) {
        None if flight.broken() => CallEnd::Unknown,
        status => CallEnd::Answered {
            failed: status.is_none_or(|status| status >= 500) && !flight.broken(),
            elapsed_ms: flight.origin_ms().max(0.0) as u64,
        },
    }
}

/// Whether a request goes on to the origin. Preflights are answered for it.
fn is_forwarded(call: &Call, config: &Config, decision: &Decision) -> bool {
    decision.allowed() && config.has_upstream() && !decision.preflight && !call.explain
}

/// Hands an allowed request on: the tenant in headers that only the gate sets, the tenant's signals taken away.
fn forward(
    call: &Call,
    config: &Config,
    decision: &Decision,
    timeout_ms: u32,
    flight: Option<&edge::Flight>,
) -> Promise {
    let scheme = call.origin().split_once(':').map_or("https", |(scheme, _)| scheme);
    let mut added = format!("x-forwarded-host\n{}\nx-forwarded-proto\n{scheme}", call.host());
    if let Some(tenant) = &decision.tenant {
        added.push_str(&format!("\nx-tenant-id\n{}\nx-tenant-slug\n{}", tenant.tenant().id, tenant.tenant().slug));
        if let Some(plan) = tenant.plan() {
            added.push_str(&format!("\nx-tenant-plan\n{plan}"));
        }
        if let Some(route) = &tenant.tenant().data_route {
            added.push_str(&format!("\nx-tenant-data-route\n{}", data_route(route)));
        }
        if let Some(assertions) = &config.assertions {
            let assertion = assertions.of(tenant, decision.credential.as_ref(), clock::now());
            added.push_str(&format!("\nx-tenant-assertion\n{assertion}"));
        }
    }
    let mut marks = reply::marks(call, decision);
    let mut removed = vec![JsValue::from("x-gate-explain"), JsValue::from("x-gate-proxy-secret")];
    let mut query = call.query().to_owned();
    let (mut cookie, mut private) = (None, false);
    if let Some(plans) = &decision.plans {
        let resolver = plans.resolver();
        removed.extend(resolver.own_headers().map(JsValue::from));
        // The same URL may answer differently for another tenant: shared caches must know by what, or keep nothing.
        match resolver.varies_by() {
            Some(headers) => headers.for_each(|header| marks.push_str(&format!("vary\n{header}\n"))),
            None => private = true,
        }
        cookie = resolver.hidden_token().map(Option::unwrap_or_default);
        if let Some(param) = resolver.query_param() {
            query = without(&query, |name| name == param);
        }
    }
    let origin = decision.plans.as_ref().and_then(|plans| plans.catalog().origin.as_ref());
    let adds_prefix = origin.is_some_and(|origin| origin.adds_prefix);
    // The route was judged by the method of the request.
    let may_say = query.contains('%') || query.to_ascii_lowercase().contains("_method");
    if may_say && !origin.is_some_and(|origin| origin.method_override) {
        query = without(&query, |name| name.eq_ignore_ascii_case("_method"));
    }
    let behind = decision.behind.as_ref();
    let path = behind.map_or_else(|| call.path(), |behind| behind.path.as_str());
    let prefix = behind.map_or("", |behind| behind.prefix.as_str());
    if !prefix.is_empty() {
        added.push_str(&format!("\nx-forwarded-prefix\n{prefix}"));
    }
    let origin = config.upstream_url.as_deref().unwrap_or_else(|| call.origin());
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{origin}{path}{mark}{query}");
    let removed: Array = removed.into_iter().collect();
    let flight = flight.map_or(JsValue::UNDEFINED, JsValue::from);
    let is_passed = edge::filter(decision.plans.as_ref().map_or("safe", |plans| plans.origin_policy()));
    edge::forward(
        &call.request,
        &config.upstream,
        &url,
        &is_passed,
        &removed,
        cookie,
        &added,
        &marks,
        private,
        if adds_prefix { "" } else { prefix },
        timeout_ms,
        &flight,
    )
}

/// A data route as a dictionary of structured fields (RFC 9651 §3.2): `strategy=schema, shard="eu-1", name="tenant_t_acme"`.
fn data_route(route: &DataRoute) -> String {
    let mut text = format!("strategy={}", route.strategy.as_str());
    for (member, value) in [("shard", &route.shard), ("name", &route.name)] {
        if let Some(value) = value {
            text.push_str(&format!(", {member}=\"{value}\""));
        }
    }
    text
}

/// The query without some parameters; what remains stays as it was written.
fn without(query: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    let named = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| is_left_out(&name));
    query.split('&').filter(|pair| !named(pair)).collect::<Vec<_>>().join("&")
}

/// Has denials noted, and growing-old snapshots fetched again behind the answer.
pub(super) fn after(call: &Call, config: &Rc<Config>, decision: &mut Decision) {
    after_question(call, &call.about(), config, decision);
}

/// The same, for a question about a request.
pub(super) fn after_question(call: &Call, about: &About<'_>, config: &Rc<Config>, decision: &mut Decision) {
    let suspicious = matches!(
        decision.code,
        Code::Unauthenticated
            | Code::InsufficientScope
            | Code::TenantMismatch
            | Code::TenantAmbiguous
            | Code::IssuerUnavailable
    );
    if suspicious {
        log_denial(call, about, decision);
    }
    if !decision.allowed() && !call.explain {
        denials::note(decision, about, config, &call.context);
    }
    for need in std::mem::take(&mut decision.refresh) {
        if let Need::Refill(tenant, _) = &need {
            charge::keep(tenant.clone(), config, &call.context);
        }
        let (config, context) = (Rc::clone(config), call.context.clone());
        call.context.wait_until(&task::promise(async move {
            fetch(need, &config, &context, Patience::new()).await;
            JsValue::UNDEFINED
        }));
    }
}

/// What became of a need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Had {
    /// It is there, or what is held of it will do.
    Yes,
    /// It could not be had; why stands in the log.
    No,
    /// What became of the question that another request asked, and this one waited for.
    Awaited(WaitFailure),
}

/// Fetches what is needed and puts it in, or waits where another request does.
///
/// Requests never wait for a promise of another one: the runtime would take them for hung, and cuts them off together.
pub(super) async fn fetch(
    need: Need,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Had {
    if let Need::Answer(question) = &need {
        return answer(question, patience).await;
    }
    let failed = |need: &Need| {
        let serves = with_gate(|gate| gate.snapshots.put_failure(need, clock::now()));
        if serves { Had::Yes } else { Had::No }
    };
    let mut waited = false;
    loop {
        match FETCHES.with_borrow(|fetches| fetches.get(&need).copied()) {
            // One that takes very long may have died with the request that began it.
            Some(Fetch::UnderWay(begun)) if clock::now().since(begun) < REFRESH_INTERVAL_MS => {
                if !patience.pause(begun).await {
                    return failed(&need);
                }
            }
            // Who has waited shares the outcome; who comes later tries anew.
            Some(Fetch::Failed) if waited => return failed(&need),
            None if waited => return Had::Yes,
            _ => break,
        }
        waited = true;
    }
    let note = |fetch| {
        FETCHES.with_borrow_mut(|fetches| {
            if fetches.len() >= MANY_FETCHES {
                fetches.clear();
            }
            fetches.insert(need.clone(), fetch)
        })
    };
    note(Fetch::UnderWay(clock::now()));
    let Err(reason) = read(&need, config, context).await else {
        FETCHES.with_borrow_mut(|fetches| fetches.remove(&need));
        return Had::Yes;
    };
    log(&need, &reason);
    note(Fetch::Failed);
    failed(&need)
}

/// Waits for the answer to a question that another request asked: sleeps until it is due, and looks at the lease alone.
async fn answer(question: &Question, patience: Patience) -> Had {
    loop {
        match with_gate(|gate| gate.progress(question, clock::now())) {
            LeaseProgress::Again => return Had::Yes,
            LeaseProgress::Over(what) => return Had::Awaited(what),
            LeaseProgress::Due(due) => {
                if !patience.pause(due).await {
                    // Others were served meanwhile: that is overload, not absence.
                    return Had::Awaited(WaitFailure::Unanswered(LedgerFailure::Overloaded));
                }
            }
        }
    }
}

async fn read(need: &Need, config: &Rc<Config>, context: &edge::ExecutionContext) -> Result<(), String> {
    // What is read is as old as the question.
    let now = clock::now();
    match need {
        Need::Feed => {
            feed::read(config).await;
            return Ok(());
        }
        Need::Keys(url) => {
            // Without them the gate says so itself: an issuer that is down is not the gate that is down.
            keys::fetch(need, url, config).await;
            return Ok(());
        }
        Need::Refill(tenant, counter) => {
            let contact = with_gate(|gate| gate.refill(tenant, counter, now));
            let told = charge::talk(tenant, contact, config, context).await;
            return if told { Ok(()) } else { Err(String::from("the ledger gave no answer")) };
        }
        Need::Secret(name) => {
            let value = config.secret(name);
            if value.is_none() {
                console::error_1(
                    &format!("the catalog refers to a secret `{name}`, which this Worker does not have").into(),
                );
            }
            with_gate(|gate| gate.snapshots.put_secret(name, value.as_deref()));
            return Ok(());
        }
        _ => {}
    }
    let taken = |result: Result<(), Rejected>| {
        result.map_err(|rejected| rejected.to_string())?;
        with_gate(|gate| {
            if let Some(plans) = gate.snapshots.current_plans().filter(|_| *need == Need::Catalog) {
                call::read_headers(plans.headers());
            }
        });
        Ok(())
    };
    if let Some(original) = feed::ask(need, config, now).await {
        return taken(with_gate(|gate| gate.snapshots.put_answer(need, original.as_deref(), now)));
    }
    let kv = config.snapshots().ok_or("there is no KV binding `SNAPSHOTS`")?;
    let entry = edge::get_entry(kv, &need.key(), KV_CACHE_S);
    let text = JsFuture::from(entry).await.map_err(|error| format!("{error:?}"))?.as_string();
    match with_gate(|gate| gate.snapshots.put_published(need, text.as_deref(), now)) {
        // What stands in KV is not believed: the system of record is, where there is one.
        Err(Rejected::Unsealed(reason)) => match feed::original_of(need, config).await {
            Some(original) => taken(with_gate(|gate| gate.snapshots.put_answer(need, original.as_deref(), now))),
            None => Err(reason.to_owned()),
        },
        done => taken(done),
    }
}

async fn resolve(call: &Call, config: &Config) -> Resolved {
    if config.resolver.is_undefined() {
        console::error_1(&"the strategy `custom` needs a service binding `RESOLVER`".into());
        return Resolved::Failed;
    }
    let timeout = u32::try_from(CUSTOM_RESOLVER_MS).unwrap_or(u32::MAX);
    let plans = with_gate(|gate| gate.snapshots.current_plans().cloned());
    let reads = plans.as_ref().and_then(|plans| plans.resolver().custom_reads()).map(|names| names.join("\n"));
    match JsFuture::from(edge::resolve_custom(&config.resolver, &call.request, reads.as_deref(), timeout)).await {
        Ok(name) => name.as_string().map_or(Resolved::Nobody, Resolved::Named),
        Err(error) => {
            console::error_2(&"the custom resolver failed".into(), &error);
            Resolved::Failed
        }
    }
}

/// Says to the operator what is not said to the caller. Nothing of what the caller showed stands in it.
fn log_denial(call: &Call, about: &About<'_>, decision: &Decision) {
    // A flood of refusals must not flood the log.
    if doors::knock(Door::Log, Some(&call.request)).is_none() {
        return;
    }
    let key = denials::key(decision);
    let tenant = decision.tenant.as_ref().map(|tenant| &tenant.tenant().id).or(key.map(|(_, tenant)| tenant));
    let line = json!({
        "event": "denied",
        "code": decision.code,
        "reason": decision.reason,
        "method": about.method,
        "host": about.host,
        "path": about.path(),
        "tenant": tenant,
        "key": key.map(|(key, _)| key),
        "catalog": decision.plans.as_ref().map(|plans| plans.catalog().version),
    });
    console::warn_1(&line.to_string().into());
}

fn log(need: &Need, reason: &str) {
    console::error_1(&format!("snapshot `{}`: {reason}", need.key()).into());
}

//! What an isolate says to ledgers: orders of requests, and what becomes of leases.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::LocalKey;

use js_sys::Promise;
use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use super::clock::{self, Patience, now};
use super::config::Config;
use super::edge;
use super::isolate::with_gate;
use super::task;
use crate::gate::{CallEnd, Decision, Exchange, Pending};
use crate::ledger::{LedgerFailure, LedgerRequest, LedgerResponse};
use crate::model::bounds::{MAX_CACHED_TENANTS, PATIENCE_MS};
use crate::model::{TenantId, UnixMillis};

/// Milliseconds before the end of leases at which their ledger hears what became of them.
const AHEAD_MS: u64 = 2_000;
/// For so long one request looks after leases: the runtime lets it go on for half a minute.
const KEEPS_MS: u64 = 20_000;
/// The shortest pause between two looks.
const SHORT_MS: u32 = 100;

thread_local! {
    /// Ledgers whose leases somebody looks after, and since when.
    static KEPT: RefCell<FxHashMap<TenantId, UnixMillis>> = RefCell::default();
    /// Ledgers that somebody tells of calls, and since when.
    static TELLING: RefCell<FxHashMap<TenantId, UnixMillis>> = RefCell::default();
}

/// Takes the charges from the tenant's ledger and ends the decision.
pub(super) async fn charge(
    pending: Pending,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Decision {
    let root = pending.ledger().cloned();
    let asked = match &root {
        Some(root) => {
            let line_ms = u32::try_from(patience.left_ms()).unwrap_or(u32::MAX);
            with_gate(|gate| send(root, &gate.order(&pending), config, context, line_ms))
        }
        None => Err(String::from("no tenant")),
    };
    let answer = outcome(asked).await;
    let unheard = answer.is_err().then(|| pending.slots_name()).flatten();
    let decision = *with_gate(|gate| gate.finish(pending, answer.as_ref().map_err(|why| *why), clock::heard()));
    if !decision.allowed() {
        release(&decision, None, config, context);
    }
    if let Some((root, name)) = root.clone().zip(unheard) {
        // The ledger may have set it aside, and only its answer was lost.
        settle(root, name, None, config, context);
    }
    if let Some(root) = root {
        keep(root, config, context);
    }
    decision
}

/// A question to a ledger that is under way, or why it could not be asked.
pub(super) type Asked = Result<Promise, String>;

/// Asks a ledger; what it answers is for [`outcome`].
pub(super) fn ask(
    root: &TenantId,
    order: &LedgerRequest<'_>,
    config: &Config,
    context: &edge::ExecutionContext,
) -> Asked {
    send(root, order, config, context, u32::try_from(PATIENCE_MS).unwrap_or(u32::MAX))
}

/// `line_ms`: how long the order may stand in the line to its ledger.
fn send(
    root: &TenantId,
    order: &LedgerRequest<'_>,
    config: &Config,
    context: &edge::ExecutionContext,
    line_ms: u32,
) -> Asked {
    if config.ledger.is_undefined() {
        return Err(String::from("there is no Durable Object binding `LEDGER`"));
    }
    let body = serde_json::to_string(order).map_err(|error| error.to_string())?;
    Ok(edge::order(&config.ledger, root.as_str(), &body, context, line_ms))
}

/// What a ledger answers. Why a message failed stands in the log.
pub(super) async fn outcome(asked: Asked) -> Result<LedgerResponse, LedgerFailure> {
    let answer = match asked {
        Ok(promise) => JsFuture::from(promise).await.map_err(|error| format!("{error:?}")),
        Err(reason) => Err(reason),
    };
    let read = answer.and_then(|answer| match answer.as_string() {
        Some(text) => serde_json::from_str(&text).map(Some).map_err(|error| error.to_string()),
        None => Ok(None),
    });
    match read {
        Ok(outcome) => outcome.ok_or(LedgerFailure::Overloaded),
        Err(reason) => {
            console::error_1(&format!("ledger: {reason}").into());
            Err(LedgerFailure::Failed)
        }
    }
}

/// Has a ledger told that what was in flight has ended, when `ended` is settled; behind the request.
pub(super) fn release(
    decision: &Decision,
    ended: Option<Promise>,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
) {
    if let Some((root, name)) = decision.hold_name() {
        settle(root.clone(), name, ended, config, context);
    }
}

fn settle(root: TenantId, name: String, ended: Option<Promise>, config: &Rc<Config>, context: &edge::ExecutionContext) {
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        if let Some(ended) = ended {
            let _ = JsFuture::from(ended).await;
        }
        let order = LedgerRequest { settle: Some(&name), ..LedgerRequest::default() };
        // What nobody hears of ends by itself.
        for pause in [SHORT_MS, 10 * SHORT_MS, 50 * SHORT_MS] {
            if outcome(ask(&root, &order, &config, &own)).await.is_ok() {
                break;
            }
            let _ = JsFuture::from(edge::sleep(pause)).await;
        }
        JsValue::UNDEFINED
    }));
}

/// Notes what became of a request that went to the origin, and has the tenant's ledger told behind it if that is urgent.
pub(super) fn ended(decision: &Decision, end: CallEnd, config: &Rc<Config>, context: &edge::ExecutionContext) {
    let Some(root) = decision.tenant.as_ref().map(|tenant| tenant.root().clone()) else { return };
    let urgent = with_gate(|gate| gate.ended(decision, end, now()));
    let told = TELLING.with_borrow(|telling| telling.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if !urgent || told {
        return;
    }
    let begun = now();
    note_begun(&TELLING, &root, begun);
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        // What comes while something is said is said together, after a moment.
        while now().since(begun) < KEEPS_MS {
            let contact = with_gate(|gate| gate.urgent(&root, now()));
            if contact.is_empty() {
                break;
            }
            talk(&root, contact, &config, &own).await;
            let _ = JsFuture::from(edge::sleep(SHORT_MS)).await;
        }
        TELLING.with_borrow_mut(|telling| telling.remove(&root));
        JsValue::UNDEFINED
    }));
}

/// Notes that a request looks after a ledger. Requests that were cut off leave their entries behind: old ones are removed when
/// there are many.
fn note_begun(map: &'static LocalKey<RefCell<FxHashMap<TenantId, UnixMillis>>>, root: &TenantId, begun: UnixMillis) {
    map.with_borrow_mut(|map| {
        if map.len() >= MAX_CACHED_TENANTS {
            map.retain(|_, since| begun.since(*since) < KEEPS_MS);
        }
        map.insert(root.clone(), begun)
    });
}

/// Says to a ledger what a contact has to say. False: the ledger was not reached, or has too much to do.
pub(super) async fn talk(
    root: &TenantId,
    contact: Exchange,
    config: &Config,
    context: &edge::ExecutionContext,
) -> bool {
    if contact.is_empty() {
        return true;
    }
    let asked = with_gate(|gate| ask(root, &gate.words(root, &contact), config, context));
    let answer = outcome(asked).await;
    with_gate(|gate| gate.heard(root, &contact, answer.as_ref().map_err(|why| *why), clock::heard()));
    answer.is_ok()
}

/// Sees to it that leases do not end unsaid: what is in use goes on, what is not goes back. One keeper a ledger.
pub(super) fn keep(root: TenantId, config: &Rc<Config>, context: &edge::ExecutionContext) {
    let kept = KEPT.with_borrow(|kept| kept.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if kept || with_gate(|gate| gate.next_end(&root)).is_none() {
        return;
    }
    let begun = now();
    note_begun(&KEPT, &root, begun);
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        while let Some(end) = with_gate(|gate| gate.next_end(&root))
            && now().since(begun) < KEEPS_MS
        {
            let pause = end.since(now()).saturating_sub(AHEAD_MS).max(SHORT_MS.into());
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
            let contact = with_gate(|gate| gate.returns(&root, AHEAD_MS, now()));
            talk(&root, contact, &config, &own).await;
        }
        KEPT.with_borrow_mut(|kept| kept.remove(&root));
        JsValue::UNDEFINED
    }));
}

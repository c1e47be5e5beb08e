//! What an isolate says to ledgers: orders of requests, and what becomes of leases.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Date, Promise};
use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use super::config::Config;
use super::edge;
use super::isolate::with_gate;
use super::task;
use crate::gate::{CallEnd, Contact, Decision, Pending};
use crate::ledger::{Order, Outcome};
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

fn now() -> UnixMillis {
    UnixMillis::from_js(Date::now())
}

/// Takes the charges from the tenant's ledger and ends the decision.
pub(super) async fn charge(pending: Pending, config: &Rc<Config>, context: &edge::Context, at: UnixMillis) -> Decision {
    let root = pending.ledger().cloned();
    let asked = match &root {
        Some(root) => with_gate(|gate| ask(root, &gate.order(&pending), config, context)),
        None => Err(String::from("no tenant")),
    };
    let answer = match asked {
        Ok(promise) => outcome(promise).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = &answer {
        console::error_1(&format!("ledger: {reason}").into());
    }
    let unheard = answer.is_err().then(|| pending.slots_name()).flatten();
    let decision = *with_gate(|gate| match answer {
        Ok(Some(outcome)) => gate.finish(pending, Some(&outcome), at),
        Ok(None) => gate.overloaded(pending, at),
        Err(_) => gate.finish(pending, None, at),
    });
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

/// Asks a ledger; what it answers is for [`outcome`].
pub(super) fn ask(
    root: &TenantId,
    order: &Order<'_>,
    config: &Config,
    context: &edge::Context,
) -> Result<Promise, String> {
    if config.ledger.is_undefined() {
        return Err(String::from("there is no Durable Object binding `LEDGER`"));
    }
    let body = serde_json::to_string(order).map_err(|error| error.to_string())?;
    Ok(edge::order(&config.ledger, root.as_str(), &body, context))
}

/// The ledger's outcome; `None` where it has too much to do.
pub(super) async fn outcome(answer: Promise) -> Result<Option<Outcome>, String> {
    let answer = JsFuture::from(answer).await.map_err(|error| format!("{error:?}"))?;
    let Some(text) = answer.as_string() else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| error.to_string())
}

/// Has a ledger told that what was in flight has ended, when `ended` is settled; behind the request.
pub(super) fn release(decision: &Decision, ended: Option<Promise>, config: &Rc<Config>, context: &edge::Context) {
    if let Some((root, name)) = decision.hold_name() {
        settle(root.clone(), name, ended, config, context);
    }
}

fn settle(root: TenantId, name: String, ended: Option<Promise>, config: &Rc<Config>, context: &edge::Context) {
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        if let Some(ended) = ended {
            let _ = JsFuture::from(ended).await;
        }
        let order = Order { settle: Some(&name), ..Order::default() };
        // What nobody hears of ends by itself.
        for pause in [SHORT_MS, 10 * SHORT_MS, 50 * SHORT_MS] {
            let told = match ask(&root, &order, &config, &own) {
                Ok(promise) => outcome(promise).await,
                Err(reason) => Err(reason),
            };
            match told {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(reason) => console::error_1(&format!("ledger: {reason}").into()),
            }
            let _ = JsFuture::from(edge::sleep(pause)).await;
        }
        JsValue::UNDEFINED
    }));
}

/// Notes what became of a request that went to the origin, and has the tenant's ledger told behind it if that is urgent.
pub(super) fn ended(decision: &Decision, end: CallEnd, config: &Rc<Config>, context: &edge::Context) {
    let Some(root) = decision.tenant.as_ref().map(|tenant| tenant.root().clone()) else { return };
    let urgent = with_gate(|gate| gate.ended(decision, end, now()));
    let told = TELLING.with_borrow(|telling| telling.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if !urgent || told {
        return;
    }
    let begun = now();
    TELLING.with_borrow_mut(|telling| telling.insert(root.clone(), begun));
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        // What comes while something is said is said together, after a moment.
        while now().since(begun) < KEEPS_MS {
            let contact = with_gate(|gate| gate.urgent(&root, now()));
            if contact.is_empty() {
                break;
            }
            if let Err(reason) = talk(&root, contact, &config, &own).await {
                console::error_1(&format!("ledger: {reason}").into());
            }
            let _ = JsFuture::from(edge::sleep(SHORT_MS)).await;
        }
        TELLING.with_borrow_mut(|telling| telling.remove(&root));
        JsValue::UNDEFINED
    }));
}

/// Says to a ledger what a contact has to say.
pub(super) async fn talk(
    root: &TenantId,
    contact: Contact,
    config: &Config,
    context: &edge::Context,
) -> Result<(), String> {
    if contact.is_empty() {
        return Ok(());
    }
    let answer = match with_gate(|gate| ask(root, &gate.words(root, &contact), config, context)) {
        Ok(promise) => outcome(promise).await,
        Err(reason) => Err(reason),
    };
    let outcome = answer.as_ref().ok().and_then(Option::as_ref);
    with_gate(|gate| gate.heard(root, &contact, outcome, now()));
    answer.map(|_| ())
}

/// Sees to it that leases do not end unsaid: what is in use goes on, what is not goes back. One keeper a ledger.
pub(super) fn keep(root: TenantId, config: &Rc<Config>, context: &edge::Context) {
    let kept = KEPT.with_borrow(|kept| kept.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if kept || with_gate(|gate| gate.next_end(&root)).is_none() {
        return;
    }
    let begun = now();
    KEPT.with_borrow_mut(|kept| kept.insert(root.clone(), begun));
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        while let Some(end) = with_gate(|gate| gate.next_end(&root))
            && now().since(begun) < KEEPS_MS
        {
            let pause = end.since(now()).saturating_sub(AHEAD_MS).max(SHORT_MS.into());
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
            let contact = with_gate(|gate| gate.returns(&root, AHEAD_MS, now()));
            if let Err(reason) = talk(&root, contact, &config, &own).await {
                console::error_1(&format!("ledger: {reason}").into());
            }
        }
        KEPT.with_borrow_mut(|kept| kept.remove(&root));
        JsValue::UNDEFINED
    }));
}

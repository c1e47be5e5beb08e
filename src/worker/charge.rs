//! What an isolate says to ledgers: orders of requests, and what becomes of leases.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Date;
use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use super::config::Config;
use super::edge;
use super::isolate::with_gate;
use super::task;
use crate::gate::{Contact, Decision, Pending};
use crate::ledger::Outcome;
use crate::model::{TenantId, UnixMillis};

/// Milliseconds before the end of leases at which their ledger hears what became of them.
const AHEAD_MS: u64 = 2_000;
/// For so long one request looks after leases: the runtime lets it go on for half a minute.
const KEEPS_MS: u64 = 20_000;
/// The shortest pause between two looks.
const SHORT_MS: u64 = 100;

thread_local! {
    /// Ledgers whose leases somebody looks after, and since when.
    static KEPT: RefCell<FxHashMap<TenantId, UnixMillis>> = RefCell::default();
}

fn now() -> UnixMillis {
    UnixMillis::from_js(Date::now())
}

/// Takes the charges from the tenant's ledger and ends the decision.
pub(super) async fn charge(pending: Pending, config: &Rc<Config>, context: &edge::Context, at: UnixMillis) -> Decision {
    let body = with_gate(|gate| serde_json::to_string(&gate.order(&pending)));
    let root = pending.ledger().cloned();
    let answer = match (&root, body) {
        (Some(root), Ok(body)) => send(root, &body, config, context).await,
        (None, _) => Err(String::from("no tenant")),
        (_, Err(error)) => Err(error.to_string()),
    };
    if let Err(reason) = &answer {
        console::error_1(&format!("ledger: {reason}").into());
    }
    let decision = *with_gate(|gate| match answer {
        Ok(Some(outcome)) => gate.finish(pending, Some(&outcome), at),
        Ok(None) => gate.overloaded(pending, at),
        Err(_) => gate.finish(pending, None, at),
    });
    if let Some(root) = root {
        keep(root, config, context);
    }
    decision
}

/// The ledger's outcome; `None` where it has too much to do.
async fn send(
    root: &TenantId,
    body: &str,
    config: &Config,
    context: &edge::Context,
) -> Result<Option<Outcome>, String> {
    if config.ledger.is_undefined() {
        return Err(String::from("there is no Durable Object binding `LEDGER`"));
    }
    let answer = JsFuture::from(edge::order(&config.ledger, root.as_str(), body, context)).await;
    let Some(text) = answer.map_err(|error| format!("{error:?}"))?.as_string() else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| error.to_string())
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
    let body = with_gate(|gate| serde_json::to_string(&gate.words(root, &contact)));
    let answer = match body {
        Ok(body) => send(root, &body, config, context).await,
        Err(error) => Err(error.to_string()),
    };
    let outcome = answer.as_ref().ok().and_then(Option::as_ref);
    with_gate(|gate| gate.heard(&contact, outcome, now()));
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
            let pause = end.since(now()).saturating_sub(AHEAD_MS).max(SHORT_MS);
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

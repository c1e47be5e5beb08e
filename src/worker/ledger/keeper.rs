//! Keeps the ledgers informed about this isolate: pending decisions, leases that end, calls that
//! have ended.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::LocalKey;

use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::client::{ask, outcome, release, send, settle};
use crate::gate::{CallEnd, Decision, Exchange, Pending, Step};
use crate::model::bounds::MAX_CACHED_TENANTS;
use crate::model::{TenantId, UnixMillis};
use crate::worker::config::Config;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience, now};
use crate::worker::runtime::{edge, task};

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

/// Ends a decision, with the ledger if it has to be asked.
pub(crate) async fn conclude(
    step: Step,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Decision {
    match step {
        Step::Decided(decision) => *decision,
        Step::Charge(pending) => charge(pending, config, context, patience).await,
    }
}

/// Takes the charges from the tenant's ledger and ends the decision.
async fn charge(
    pending: Pending,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Decision {
    let root = pending.ledger().cloned();
    let asked = match &root {
        Some(root) => {
            let line_ms = u32::try_from(patience.left_ms()).unwrap_or(u32::MAX);
            with_gate(|gate| send(root, &gate.request(&pending), config, context, line_ms))
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

/// Notes what became of a request that went to the origin, and has the tenant's ledger told behind it if that is urgent.
pub(crate) fn ended(decision: &Decision, end: CallEnd, config: &Rc<Config>, context: &edge::ExecutionContext) {
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
            let exchange = with_gate(|gate| gate.urgent(&root, now()));
            if exchange.is_empty() {
                break;
            }
            talk(&root, exchange, &config, &own).await;
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
async fn talk(root: &TenantId, exchange: Exchange, config: &Config, context: &edge::ExecutionContext) -> bool {
    if exchange.is_empty() {
        return true;
    }
    let asked = with_gate(|gate| ask(root, &gate.exchange_request(root, &exchange), config, context));
    let answer = outcome(asked).await;
    with_gate(|gate| gate.receive(root, &exchange, answer.as_ref().map_err(|why| *why), clock::heard()));
    answer.is_ok()
}

/// Claims more units for the lease on `counter`.
pub(crate) async fn refill(
    root: &TenantId,
    counter: &str,
    config: &Config,
    context: &edge::ExecutionContext,
) -> Result<(), String> {
    let exchange = with_gate(|gate| gate.refill(root, counter, now()));
    let answered = talk(root, exchange, config, context).await;
    answered.then_some(()).ok_or_else(|| String::from("the ledger gave no answer"))
}

/// Sees to it that leases do not end unsaid: what is in use goes on, what is not goes back. One keeper a ledger.
pub(crate) fn keep(root: TenantId, config: &Rc<Config>, context: &edge::ExecutionContext) {
    let kept = KEPT.with_borrow(|kept| kept.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if kept || with_gate(|gate| gate.next_lease_end(&root)).is_none() {
        return;
    }
    let begun = now();
    note_begun(&KEPT, &root, begun);
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        while let Some(end) = with_gate(|gate| gate.next_lease_end(&root))
            && now().since(begun) < KEEPS_MS
        {
            let pause = end.since(now()).saturating_sub(AHEAD_MS).max(SHORT_MS.into());
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
            let exchange = with_gate(|gate| gate.renewals(&root, AHEAD_MS, now()));
            talk(&root, exchange, &config, &own).await;
        }
        KEPT.with_borrow_mut(|kept| kept.remove(&root));
        JsValue::UNDEFINED
    }));
}

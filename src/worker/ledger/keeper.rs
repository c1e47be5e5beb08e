//! Sends this isolate's messages to the ledgers: charges of pending decisions, claims of leases,
//! and breaker reports.
//!
//! # Four kinds of messages
//!
//! - **Charges** ([`conclude`]): a decision that leases cannot pay for asks the ledger, and waits.
//! - **Refills** ([`refill`]): a lease that runs low claims more units. The request that caused it
//!   is already answered.
//! - **Renewals** ([`keep`]): shortly before leases end, the ledger learns which of them are in
//!   use. Those are extended; the others are returned. Without the message their units would be
//!   unusable for every isolate until the ledger expires the lease.
//! - **Urgent reports** ([`ended`]): failed calls and ends of trials reach the ledger at once, not
//!   with the next message.
//!
//! # The idea: a request lends its lifetime
//!
//! A Worker has no background thread. Code runs only while a request is served, or after it inside
//! `waitUntil`, which lasts about half a minute. So a request becomes the *keeper* of a ledger: its
//! `waitUntil` task sleeps and sends renewals for [`KEEPS_MS`]. [`KEPT`] and [`REPORTING`] record
//! per ledger when such a task began, so that a ledger has at most one task of each kind. A task
//! removes its entry when it ends. If the runtime cuts a task off, its entry stays, but counts only
//! until it is [`KEEPS_MS`] old. Then the next request begins a new task.
//!
//! # Order of calls for one exchange
//!
//! 1. `Gate::refill`, `renewals` or `urgent` collects the claims and reports as an `Exchange`, and
//!    marks them as in flight.
//! 2. `Gate::exchange_request` makes a ledger request of it, and [`ask`] sends that.
//! 3. `Gate::receive` takes the response *or the failure*.
//!
//! # Invariants
//!
//! - Each exchange ends in `Gate::receive`, and each pending decision in `Gate::finish`, also if
//!   the message failed: otherwise claims would stay in flight.
//! - The time is read again after each wait.
//! - If the response to a request with slots is lost, the ledger may have set the slots aside. The
//!   hold is settled in any case; settling an unknown hold changes nothing.

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

/// Milliseconds before the end of a lease at which it is renewed or returned.
const AHEAD_MS: u64 = 2_000;
/// Milliseconds for which one request keeps a ledger's leases, or sends its urgent reports. The
/// runtime ends work in `waitUntil` after half a minute.
const KEEPS_MS: u64 = 20_000;
/// Milliseconds of the shortest pause between two messages.
const SHORT_MS: u32 = 100;

thread_local! {
    /// Ledgers whose leases a request keeps, with the time when it began.
    static KEPT: RefCell<FxHashMap<TenantId, UnixMillis>> = RefCell::default();
    /// Ledgers to which a request sends urgent reports, with the time when it began.
    static REPORTING: RefCell<FxHashMap<TenantId, UnixMillis>> = RefCell::default();
}

/// Completes a decision. Asks the ledger if the decision needs it.
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

/// Debits the charges in the tenant's ledger and completes the decision.
async fn charge(
    pending: Pending,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
    patience: Patience,
) -> Decision {
    let root = pending.ledger().cloned();
    let asked = match &root {
        Some(root) => {
            let queue_ms = u32::try_from(patience.left_ms()).unwrap_or(u32::MAX);
            with_gate(|gate| send(root, &gate.request(&pending), config, context, queue_ms))
        }
        None => Err(String::from("the decision has no tenant")),
    };
    let answer = outcome(asked).await;
    let unheard = answer.is_err().then(|| pending.slots_name()).flatten();
    let decision = *with_gate(|gate| gate.finish(pending, answer.as_ref().map_err(|why| *why), clock::heard()));
    if !decision.allowed() {
        release(&decision, None, config, context);
    }
    if let Some((root, name)) = root.clone().zip(unheard) {
        // The ledger may have set the slots aside, and only its response was lost.
        settle(root, name, None, config, context);
    }
    if let Some(root) = root {
        keep(root, config, context);
    }
    decision
}

/// Records the result of an allowed request's call to the origin. If it is urgent, reports it to
/// the tenant's ledger in the background.
pub(crate) fn ended(decision: &Decision, end: CallEnd, config: &Rc<Config>, context: &edge::ExecutionContext) {
    let Some(root) = decision.tenant.as_ref().map(|tenant| tenant.root().clone()) else { return };
    let urgent = with_gate(|gate| gate.ended(decision, end, now()));
    let is_reporting =
        REPORTING.with_borrow(|reporting| reporting.get(&root).is_some_and(|since| now().since(*since) < KEEPS_MS));
    if !urgent || is_reporting {
        return;
    }
    let begun = now();
    note_begun(&REPORTING, &root, begun);
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        // Results that arrive while a report is in flight are sent together in the next one.
        while now().since(begun) < KEEPS_MS {
            let exchange = with_gate(|gate| gate.urgent(&root, now()));
            if exchange.is_empty() {
                break;
            }
            talk(&root, exchange, &config, &own).await;
            let _ = JsFuture::from(edge::sleep(SHORT_MS)).await;
        }
        REPORTING.with_borrow_mut(|reporting| reporting.remove(&root));
        JsValue::UNDEFINED
    }));
}

/// Records that a request has begun a task for a ledger. A request that the runtime cuts off leaves
/// its entry behind, so old entries are dropped when there are many.
fn note_begun(map: &'static LocalKey<RefCell<FxHashMap<TenantId, UnixMillis>>>, root: &TenantId, begun: UnixMillis) {
    map.with_borrow_mut(|map| {
        if map.len() >= MAX_CACHED_TENANTS {
            map.retain(|_, since| begun.since(*since) < KEEPS_MS);
        }
        map.insert(root.clone(), begun)
    });
}

/// Sends an exchange to a ledger and receives the response. Returns false if the message failed or
/// the ledger is overloaded.
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
    answered.then_some(()).ok_or_else(|| String::from("the ledger did not respond"))
}

/// Makes this request the keeper of a ledger's leases, unless it has one or no lease needs it. The
/// keeper renews leases in use before they end, and returns the others.
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

//! Sends ledger requests and reads the responses.
//!
//! Sending and reading are two steps, so that a caller can send several requests before it awaits
//! the first response: [`ask`] or [`send`] returns a Promise, and [`outcome`] awaits it.
//!
//! The caller learns two kinds of failure. *Overloaded* means that the ledger serves other
//! requests: the decision is a denial, whatever `on_error` says. *Failed* means that the message
//! itself failed: `on_error` of the limit decides.

use std::rc::Rc;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use crate::gate::Decision;
use crate::ledger::{LedgerFailure, LedgerRequest, LedgerResponse};
use crate::model::TenantId;
use crate::model::bounds::PATIENCE_MS;
use crate::worker::config::Config;
use crate::worker::runtime::{edge, task};

/// Milliseconds before the first retry of a settlement.
const RETRY_MS: u32 = 100;

/// A ledger request in flight, or the reason why it could not be sent.
pub(crate) type Asked = Result<Promise, String>;

/// Sends a ledger request. Pass the result to [`outcome`].
pub(crate) fn ask(
    root: &TenantId,
    request: &LedgerRequest<'_>,
    config: &Config,
    context: &edge::ExecutionContext,
) -> Asked {
    send(root, request, config, context, u32::try_from(PATIENCE_MS).unwrap_or(u32::MAX))
}

/// Like [`ask`]. The request may wait in this isolate's queue for the ledger for at most `queue_ms`
/// milliseconds.
pub(super) fn send(
    root: &TenantId,
    request: &LedgerRequest<'_>,
    config: &Config,
    context: &edge::ExecutionContext,
    queue_ms: u32,
) -> Asked {
    let Some(ledgers) = &config.ledger else {
        return Err(String::from("the Durable Object binding `LEDGER` is missing"));
    };
    let body = serde_json::to_string(request).map_err(|error| error.to_string())?;
    Ok(ledgers.ask(root.as_str(), &body, context, queue_ms))
}

/// Awaits the response of a ledger. The log contains the cause of a failure.
pub(crate) async fn outcome(asked: Asked) -> Result<LedgerResponse, LedgerFailure> {
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

/// Settles the hold of a decision in the background, once `ended` has resolved. Does
/// nothing if the decision holds no units.
pub(crate) fn release(
    decision: &Decision,
    ended: Option<Promise>,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
) {
    if let Some((root, name)) = decision.hold_name() {
        settle(root.clone(), name, ended, config, context);
    }
}

/// Settles the hold called `name` in the background, after the Promise `ended` has settled.
pub(super) fn settle(
    root: TenantId,
    name: String,
    ended: Option<Promise>,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
) {
    let (config, own) = (Rc::clone(config), context.clone());
    context.wait_until(&task::promise(async move {
        if let Some(ended) = ended {
            let _ = JsFuture::from(ended).await;
        }
        let request = LedgerRequest { settle: Some(&name), ..LedgerRequest::default() };
        // If all attempts fail, the hold ends at its end time.
        for pause in [RETRY_MS, 10 * RETRY_MS, 50 * RETRY_MS] {
            if outcome(ask(&root, &request, &config, &own)).await.is_ok() {
                break;
            }
            let _ = JsFuture::from(edge::sleep(pause)).await;
        }
        JsValue::UNDEFINED
    }));
}

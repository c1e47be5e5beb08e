//! Sends requests to ledgers, and reads their responses.

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

/// Milliseconds before a message about a hold is sent again, at first.
const RETRY_MS: u32 = 100;

/// A question to a ledger that is under way, or why it could not be asked.
pub(crate) type Asked = Result<Promise, String>;

/// Asks a ledger; what it answers is for [`outcome`].
pub(crate) fn ask(
    root: &TenantId,
    order: &LedgerRequest<'_>,
    config: &Config,
    context: &edge::ExecutionContext,
) -> Asked {
    send(root, order, config, context, u32::try_from(PATIENCE_MS).unwrap_or(u32::MAX))
}

/// `line_ms`: how long the order may stand in the line to its ledger.
pub(super) fn send(
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

/// Has a ledger told that what was in flight has ended, when `ended` is settled; behind the request.
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
        let order = LedgerRequest { settle: Some(&name), ..LedgerRequest::default() };
        // What nobody hears of ends by itself.
        for pause in [RETRY_MS, 10 * RETRY_MS, 50 * RETRY_MS] {
            if outcome(ask(&root, &order, &config, &own)).await.is_ok() {
                break;
            }
            let _ = JsFuture::from(edge::sleep(pause)).await;
        }
        JsValue::UNDEFINED
    }));
}

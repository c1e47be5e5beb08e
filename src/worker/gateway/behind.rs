//! Work behind the answer: refreshes of snapshots and leases, the log line and the count of a
//! denial.
//!
//! It runs in `waitUntil`, so the client does not wait for it.

use std::rc::Rc;

use serde_json::json;
use wasm_bindgen::prelude::*;
use web_sys::console;

use super::denials;
use crate::gate::{Code, Decision, Refresh};
use crate::worker::config::Config;
use crate::worker::http::call::{About, Call};
use crate::worker::ledger::keeper;
use crate::worker::runtime::clock::Patience;
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::{edge, task};
use crate::worker::sources::coalesce::{SharedWork, coalesce};
use crate::worker::sources::fetch;

/// Records a denial, and starts the refreshes that the decision has found necessary.
pub(crate) fn after(call: &Call, config: &Rc<Config>, decision: &mut Decision) {
    let asker = Asker { request: Some(&call.request), context: &call.context, explain: call.explain };
    after_question(asker, &call.about(), config, decision);
}

/// Who asked.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'c> {
    /// The incoming request. Its address limits the rate of log lines.
    pub(crate) request: Option<&'c JsValue>,
    /// The context of its invocation, in which the work is done.
    pub(crate) context: &'c edge::ExecutionContext,
    /// Whether it asks for an explanation: its denials are not counted.
    pub(crate) explain: bool,
}

/// Like [`after`], for a question about a request that other code serves.
pub(crate) fn after_question(asker: Asker<'_>, about: &About<'_>, config: &Rc<Config>, decision: &mut Decision) {
    let suspicious = matches!(
        decision.code,
        Code::Unauthenticated
            | Code::InsufficientScope
            | Code::TenantMismatch
            | Code::TenantAmbiguous
            | Code::IssuerUnavailable
    );
    if suspicious {
        log_denial(asker, about, decision);
    }
    if !decision.allowed() && !asker.explain {
        denials::note(decision, about, config, asker.context);
    }
    carry_out(decision.take_refresh(), config, asker.context);
}

/// Carries out refreshes of snapshots and leases.
pub(crate) fn carry_out(
    refreshes: impl IntoIterator<Item = Refresh>,
    config: &Rc<Config>,
    context: &edge::ExecutionContext,
) {
    for refresh in refreshes {
        let (config, own) = (Rc::clone(config), context.clone());
        if let Refresh::Lease { root, .. } = &refresh {
            keeper::keep(root.clone(), &config, context);
        }
        context.wait_until(&task::promise(async move {
            match refresh {
                Refresh::Snapshot(key) => {
                    fetch::snapshot(key, &config, Patience::new()).await;
                }
                Refresh::Lease { root, counter } => {
                    let work = SharedWork::Lease(root.clone(), counter.clone());
                    coalesce(work, Patience::new(), keeper::refill(&root, &counter, &config, &own)).await;
                }
            }
            JsValue::UNDEFINED
        }));
    }
}

/// Logs the reason of a denial, which the caller does not receive. The line contains no presented
/// credential.
fn log_denial(asker: Asker<'_>, about: &About<'_>, decision: &Decision) {
    // A flood of denials must not flood the log.
    if doors::knock(Door::Log, asker.request).is_none() {
        return;
    }
    let key = denials::key(decision);
    let tenant = decision.tenant.as_ref().map(|tenant| &tenant.tenant().id).or(key.map(|(_, tenant)| tenant));
    let line = json!({
        "event": "denied",
        "code": decision.code,
        "reason": decision.extras().reason,
        "method": about.method,
        "host": about.host,
        "path": about.path(),
        "tenant": tenant,
        "key": key.map(|(key, _)| key),
        "catalog": decision.catalog.as_ref().map(|catalog| catalog.document().version),
    });
    console::warn_1(&line.to_string().into());
}

//! Denials in the audit trails of tenants: a sample, with how many there were since the one before.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Date;
use rustc_hash::FxHashMap;
use serde_json::json;
use wasm_bindgen::prelude::*;

use super::config::Config;
use super::control::{Actor, Change, Store};
use super::{edge, task};
use crate::gate::{Code, Decision};
use crate::model::bounds::{DENIAL_PAUSE_MS, DENIAL_SAMPLE_MS, MAX_COUNTED_DENIALS};
use crate::model::{TenantId, UnixMillis};

thread_local! {
    /// When the last of all was noted.
    static LAST: Cell<UnixMillis> = const { Cell::new(UnixMillis::new(0)) };
    /// When the last was noted, and how many there were since.
    static COUNTED: RefCell<FxHashMap<(TenantId, Code), (UnixMillis, u64)>> = RefCell::default();
}

/// So often an entry is tried that others have overtaken: it is a sample, none must be there.
const TRIES: usize = 3;

/// Counts a denial, and has it noted behind the answer where none of its kind was noted lately.
pub(super) fn note(decision: &Decision, config: &Rc<Config>, context: &edge::Context) {
    let Some(tenant) = decision.tenant.as_ref().filter(|_| !config.control.is_undefined()) else { return };
    let (id, code, now) = (tenant.tenant().id.clone(), decision.code, UnixMillis::from_js(Date::now()));
    // So many an isolate notes at most, whoever is denied.
    let may_note = now.since(LAST.get()) >= DENIAL_PAUSE_MS;
    let due = COUNTED.with_borrow_mut(|counted| {
        if counted.len() >= MAX_COUNTED_DENIALS {
            counted.clear();
        }
        let (noted_at, since) = counted.entry((id.clone(), code)).or_insert((UnixMillis::default(), 0));
        *since = since.saturating_add(1);
        (may_note && now.since(*noted_at) >= DENIAL_SAMPLE_MS).then(|| {
            *noted_at = now;
            std::mem::take(since)
        })
    });
    let Some(count) = due else { return };
    LAST.set(now);
    let said = json!({ "code": code, "count": count, "feature": decision.denied_feature, "limit": decision.denied_limit.and_then(|index| decision.limits.get(index)).map(|limit| limit.budget.limit.as_str()) });
    let config = Rc::clone(config);
    context.wait_until(&task::promise(async move {
        let (store, actor) = (Store::new(&config.control), Actor::gate());
        for _ in 0..TRIES {
            let mut change = Change::new(&store, &actor, now);
            if change.note(id.as_str(), "decision.denied", None, &said).await.is_err() || change.commit().await.is_ok()
            {
                break;
            }
        }
        JsValue::UNDEFINED
    }));
}

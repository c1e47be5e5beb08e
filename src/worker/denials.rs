//! Denials of tenants, a sample: one row a tenant, code and day, however many isolates see them.
//!
//! They do not stand in the audit trail: a flood of denials could fill the trail, which cannot be shortened, and would delay the
//! changes that it orders.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use serde_json::json;
use wasm_bindgen::prelude::*;

use super::config::Config;
use super::control::{Store, sql};
use super::{clock, edge, task};
use crate::gate::{Code, Decision};
use crate::ledger::{Bucket, Rate};
use crate::model::bounds::{DENIAL_SAMPLE_MS, MAX_COUNTED_DENIALS};
use crate::model::{TenantId, UnixMillis};

/// What one family writes, and what one isolate does: one family's denials keep no other's out.
const FAMILY: Rate = Rate { limit: 1, burst: 3, window_ms: 1_000 };
const ISOLATE: Rate = Rate { limit: 10, burst: 20, window_ms: 1_000 };

#[derive(Default)]
struct Counted {
    /// When a denial was noted last, and how many there were since.
    denials: FxHashMap<(TenantId, Code), (UnixMillis, u64)>,
    families: FxHashMap<TenantId, Bucket>,
    all: Bucket,
}

thread_local! {
    static COUNTED: RefCell<Counted> = RefCell::default();
}

/// Days since 1970.
pub(super) const fn today(now: UnixMillis) -> u64 {
    now.get() / 86_400_000
}

impl Counted {
    /// How many denials of a kind are to be noted now, if any.
    fn due(&mut self, id: &TenantId, root: &TenantId, code: Code, now: UnixMillis) -> Option<u64> {
        if self.denials.len() >= MAX_COUNTED_DENIALS {
            self.denials.clear();
        }
        if self.families.len() >= MAX_COUNTED_DENIALS {
            self.families.clear();
        }
        let (noted_at, since) = self.denials.entry((id.clone(), code)).or_default();
        *since = since.saturating_add(1);
        if now.since(*noted_at) < DENIAL_SAMPLE_MS {
            return None;
        }
        let family = self.families.entry(root.clone()).or_default();
        let (own, own_after) = family.step(FAMILY, 1, now);
        let (all, all_after) = self.all.step(ISOLATE, 1, now);
        if !own.allowed || !all.allowed {
            return None;
        }
        (*family, self.all, *noted_at) = (own_after, all_after, now);
        Some(std::mem::take(since))
    }
}

/// Counts a denial, and has it noted behind the answer where none of its kind was noted lately.
pub(super) fn note(decision: &Decision, config: &Rc<Config>, context: &edge::Context) {
    let Some(tenant) = decision.tenant.as_ref().filter(|_| !config.control.is_undefined()) else { return };
    let (id, code, now) = (tenant.tenant().id.clone(), decision.code, clock::now());
    let due = COUNTED.with_borrow_mut(|counted| counted.due(&id, tenant.root(), code, now));
    let Some(count) = due else { return };
    let limit = decision.denied_limit.and_then(|index| decision.limits.get(index));
    let said = json!({ "feature": decision.denied_feature, "limit": limit.map(|limit| limit.budget.limit.as_str()) });
    let config = Rc::clone(config);
    context.wait_until(&task::promise(async move {
        let noted = sql!(
            "INSERT INTO denials (tenant, code, day, count, said, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
             ON CONFLICT (tenant, code, day) DO UPDATE SET count = count + excluded.count, said = excluded.said, \
             last_at = excluded.last_at",
            id.as_str(),
            code.as_str(),
            today(now),
            count,
            said.to_string(),
            now.get()
        );
        if Store::new(&config.control).run(&[noted]).await.is_err() {
            // They are noted with the next.
            COUNTED.with_borrow_mut(|counted| {
                let (_, since) = counted.denials.entry((id, code)).or_default();
                *since = since.saturating_add(count);
            });
        }
        JsValue::UNDEFINED
    }));
}

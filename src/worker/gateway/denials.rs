//! Denials of tenants, a sample: one row a tenant, code and day, however many isolates see them.
//!
//! They do not stand in the audit trail: a flood of denials could fill the trail, which cannot be shortened, and would delay the
//! changes that it orders.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::gate::{Code, Decision};
use crate::ledger::{Bucket, Rate};
use crate::model::bounds::{DENIAL_GATHER_MS, DENIAL_SAMPLE_MS, MAX_COUNTED_DENIALS};
use crate::model::{KeyId, TenantId, UnixMillis};
use crate::worker::config::Config;
use crate::worker::http::call::About;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;
use crate::worker::runtime::task;
use crate::worker::sources::d1::{Store, sql};

/// What one family writes, and what one isolate does: one family's denials keep no other's out.
const FAMILY: Rate = Rate { limit: 1, burst: 3, window_ms: 1_000 };
const ISOLATE: Rate = Rate { limit: 10, burst: 20, window_ms: 1_000 };

/// Denials of one tenant with one code.
#[derive(Clone, Copy)]
struct DenialCount {
    /// When they were noted last.
    noted_at: UnixMillis,
    /// How many there were since.
    since: u64,
    /// Milliseconds between two notes: longer and longer while they go on.
    interval_ms: u64,
    /// Whether a task is waiting to write them down.
    gathered: bool,
}

impl Default for DenialCount {
    fn default() -> Self {
        Self { noted_at: UnixMillis::default(), since: 0, interval_ms: DENIAL_GATHER_MS, gathered: false }
    }
}

/// When a denial is to be noted.
enum Due {
    /// Now, with so many.
    Now(u64),
    /// After so many milliseconds, with those that come meanwhile.
    Later(u64),
    /// With a later one, or by whoever waits already.
    Never,
}

#[derive(Default)]
struct Counted {
    denials: FxHashMap<(TenantId, Code), DenialCount>,
    families: FxHashMap<TenantId, Bucket>,
    all: Bucket,
}

thread_local! {
    static COUNTED: RefCell<Counted> = RefCell::default();
}

/// Days since 1970.
pub(crate) const fn today(now: UnixMillis) -> u64 {
    now.get() / 86_400_000
}

impl Counted {
    /// Counts `new` denials of a kind, and says when they are to be noted.
    fn due(&mut self, id: &TenantId, root: &TenantId, code: Code, new: u64, now: UnixMillis) -> Due {
        if self.denials.len() >= MAX_COUNTED_DENIALS {
            self.denials.clear();
        }
        if self.families.len() >= MAX_COUNTED_DENIALS {
            self.families.clear();
        }
        let kind = self.denials.entry((id.clone(), code)).or_default();
        kind.since = kind.since.saturating_add(new);
        let passed_ms = now.since(kind.noted_at);
        let left_ms = kind.interval_ms.saturating_sub(passed_ms);
        if left_ms > 0 {
            if kind.gathered || left_ms > DENIAL_GATHER_MS {
                return Due::Never;
            }
            kind.gathered = true;
            return Due::Later(left_ms);
        }
        let family = self.families.entry(root.clone()).or_default();
        let (own, own_after) = family.step(FAMILY, 1, now);
        let (all, all_after) = self.all.step(ISOLATE, 1, now);
        if kind.since == 0 || !own.allowed || !all.allowed {
            return Due::Never;
        }
        (*family, self.all, kind.noted_at) = (own_after, all_after, now);
        kind.interval_ms = if passed_ms > DENIAL_SAMPLE_MS {
            DENIAL_GATHER_MS
        } else {
            kind.interval_ms.saturating_mul(2).min(DENIAL_SAMPLE_MS)
        };
        Due::Now(std::mem::take(&mut kind.since))
    }
}

/// The API key that a caller has shown, and whose it is, where it was one.
pub(crate) fn key(decision: &Decision) -> Option<(&KeyId, &TenantId)> {
    let ended = decision.extras().challenge.as_ref().and_then(|challenge| challenge.refused_key.as_ref());
    let used = decision
        .extras()
        .credential
        .as_ref()
        .and_then(|bearer| Some((bearer.credential.key.as_ref()?, &bearer.tenant)));
    ended.map(|(key, tenant)| (key, tenant)).or(used)
}

/// Counts a denial, and has it noted behind the answer. Those that come shortly after it are noted together.
pub(crate) fn note(decision: &Decision, about: &About<'_>, config: &Rc<Config>, context: &edge::ExecutionContext) {
    if config.control.is_undefined() {
        return;
    }
    let key = key(decision);
    let (id, root) = match (&decision.tenant, key) {
        (Some(tenant), _) => (tenant.tenant().id.clone(), tenant.root().clone()),
        // The tenant of a refused key should learn that it is still in use.
        (None, Some((_, tenant))) => (tenant.clone(), tenant.clone()),
        (None, None) => return,
    };
    let (code, now) = (decision.code, clock::now());
    let (count, wait_ms) = match COUNTED.with_borrow_mut(|counted| counted.due(&id, &root, code, 1, now)) {
        Due::Now(count) => (Some(count), 0),
        Due::Later(wait_ms) => (None, wait_ms),
        Due::Never => return,
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let said = json!({
        "feature": decision.extras().denied_feature,
        "limit": decision.denied_limit().map(|limit| limit.budget.limit.as_str()),
        "method": text(about.method),
        "path": text(&about.path()),
        "key": key.map(|(key, _)| key),
    });
    let config = Rc::clone(config);
    context.wait_until(&task::promise(async move {
        let count = match count {
            Some(count) => count,
            None => match gathered(&id, &root, code, wait_ms).await {
                Some(count) => count,
                None => return JsValue::UNDEFINED,
            },
        };
        let now = clock::now();
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
                let kind = counted.denials.entry((id, code)).or_default();
                kind.since = kind.since.saturating_add(count);
            });
        }
        JsValue::UNDEFINED
    }));
}

/// Waits, and says how many denials of a kind came meanwhile.
async fn gathered(id: &TenantId, root: &TenantId, code: Code, wait_ms: u64) -> Option<u64> {
    let _ = JsFuture::from(edge::sleep(u32::try_from(wait_ms).unwrap_or(u32::MAX))).await;
    COUNTED.with_borrow_mut(|counted| {
        if let Some(kind) = counted.denials.get_mut(&(id.clone(), code)) {
            kind.gathered = false;
        }
        match counted.due(id, root, code, 0, clock::now()) {
            Due::Now(count) => Some(count),
            Due::Later(_) | Due::Never => None,
        }
    })
}

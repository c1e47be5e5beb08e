//! A record of denials per tenant: one row in D1 per tenant, code and day, from all isolates
//! together.
//!
//! Each isolate counts its denials in memory and adds the count to the row from time to time. The
//! first denial with a code is written at once; those that follow are gathered for
//! [`DENIAL_GATHER_MS`]. While they continue, the interval doubles up to [`DENIAL_SAMPLE_MS`]. Two
//! rates bound the writes. So the counts are a sample: an
//! isolate that ends takes its unwritten counts with it.
//!
//! Denials are not in the audit trail: a flood of them would fill the trail, which cannot be
//! shortened, and would delay the changes that the trail orders.

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

/// Rates of writes, per family and per isolate. With its own rate, one family's denials cannot
/// prevent those of another family from being recorded.
const FAMILY: Rate = Rate { limit: 1, burst: 3, window_ms: 1_000 };
const ISOLATE: Rate = Rate { limit: 10, burst: 20, window_ms: 1_000 };

/// Denials of one tenant with one code.
#[derive(Clone, Copy)]
struct DenialCount {
    /// When they were last written to D1.
    noted_at: UnixMillis,
    /// The number of denials since then.
    since: u64,
    /// Milliseconds between two writes. It doubles while denials continue.
    interval_ms: u64,
    /// Whether a task is waiting to write them.
    gathered: bool,
}

impl Default for DenialCount {
    fn default() -> Self {
        Self { noted_at: UnixMillis::default(), since: 0, interval_ms: DENIAL_GATHER_MS, gathered: false }
    }
}

/// When denials are to be written.
enum Due {
    /// Now: this number of denials.
    Now(u64),
    /// After this number of milliseconds, with the denials that arrive meanwhile.
    Later(u64),
    /// Not by this call: with a later denial, or by a task that waits already.
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
    /// Counts `new` denials with one tenant and code, and returns when they are to be written.
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

/// The API key that the caller presented, if any, and the tenant that owns it.
pub(crate) fn key(decision: &Decision) -> Option<(&KeyId, &TenantId)> {
    let ended = decision.extras().challenge.as_ref().and_then(|challenge| challenge.refused_key.as_ref());
    let used = decision
        .extras()
        .credential
        .as_ref()
        .and_then(|bearer| Some((bearer.credential.key.as_ref()?, &bearer.tenant)));
    ended.map(|(key, tenant)| (key, tenant)).or(used)
}

/// Counts a denial. If it is due, writes it in the background; denials that follow shortly after it
/// are gathered and written together.
pub(crate) fn note(decision: &Decision, about: &About<'_>, config: &Rc<Config>, context: &edge::ExecutionContext) {
    if config.control.is_undefined() {
        return;
    }
    let key = key(decision);
    let (id, root) = match (&decision.tenant, key) {
        (Some(tenant), _) => (tenant.tenant().id.clone(), tenant.root().clone()),
        // The tenant should learn that a refused key is still in use.
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
            // They are written with the next ones.
            COUNTED.with_borrow_mut(|counted| {
                let kind = counted.denials.entry((id, code)).or_default();
                kind.since = kind.since.saturating_add(count);
            });
        }
        JsValue::UNDEFINED
    }));
}

/// Waits, and returns the number of denials to write. Returns `None` if they are not due.
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

//! What a hub knows, in memory and on disk.
//!
//! - Hibernation keeps sockets and their attachments, the log and the alarm. The rest is made of
//!   them again.
//! - A trap keeps the same, and which sockets are behind (`hub.js`).
//! - A crash or a deployment ends all sockets. Clients return, and the log gives them what they
//!   have missed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::Date;
use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::client::Address;
use crate::gate::Code;
use crate::model::{Key, TenantId, UnixMillis};
use crate::realtime::{Copies, Denied, Hub, HubSlots, LogEntry, LogIndex, Membership, StoredMessage, Trust, Turnstile};
use crate::wire::ErrorView;
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext, Sockets};

/// One tenant's sockets, as the parts of the Durable Object share them.
pub(super) struct HubObject {
    pub(super) state: JsValue,
    pub(super) context: ExecutionContext,
    pub(super) config: Rc<Config>,
    pub(super) sockets: Sockets,
    pub(super) core: RefCell<Core>,
}

#[derive(Default)]
pub(super) struct Core {
    pub(super) hub: Hub,
    pub(super) address: Option<Address>,
    /// The further hubs of the tenant, if this is the first.
    pub(super) copies: Copies,
    /// How this further hub belongs to the first.
    pub(super) membership: Membership,
    pub(super) trust: Trust,
    /// What one message costs.
    pub(super) costs: Vec<(Key, u64)>,
    pub(super) slots: HubSlots,
    /// Whether the list of hubs has this one.
    pub(super) is_listed: bool,
    /// When the list is changed.
    pub(super) list_at: Option<UnixMillis>,
    pub(super) listing: Turnstile,
    pub(super) alarm: Option<UnixMillis>,
    /// Whether a timer watches slow readers.
    pub(super) watches: bool,
    /// The milliseconds of that timer: few while they read, more while they do not.
    pub(super) watch_ms: u64,
}

impl HubObject {
    /// The hub's tenant and the root of its family.
    pub(super) fn tenant(&self) -> Option<(TenantId, TenantId)> {
        let core = self.core.borrow();
        let address = core.address.as_ref()?;
        TenantId::parse(&address.tenant).zip(TenantId::parse(&address.root))
    }

    /// Ends the object after a failure of its storage.
    pub(super) fn give_up(&self, error: &JsValue) -> JsValue {
        web_sys::console::error_2(&"realtime: the hub's storage failed".into(), error);
        edge::abort(&self.state, "the hub's storage failed");
        refusal(Code::SnapshotUnavailable, None)
    }
}

/// Reads what the runtime and `SQLite` have kept.
pub(super) fn read(state: &JsValue, sockets: &Sockets, config: &Config) -> Result<Core, JsValue> {
    #[derive(Deserialize)]
    struct Remembered {
        facts: BTreeMap<String, String>,
        log: Vec<(u64, u64, usize)>,
    }
    let bad = |error: serde_json::Error| JsValue::from_str(&format!("the hub's tables are unreadable: {error}"));
    let Remembered { facts, log } = serde_json::from_str(&edge::open_hub(state)?).map_err(bad)?;
    let entries: Vec<LogEntry> =
        log.into_iter().map(|(seq, at, bytes)| LogEntry { seq, at: UnixMillis::new(at), bytes }).collect();
    let last = facts.get("last").and_then(|last| last.parse().ok()).unwrap_or(0_u64);
    let last = entries.last().map_or(last, |entry| entry.seq.max(last));
    let epoch = if let Some(epoch) = facts.get("epoch") {
        epoch.clone()
    } else {
        let epoch = edge::unique();
        edge::remember(state, "epoch", Some(&epoch))?;
        epoch
    };
    let mut core = Core { hub: Hub::new(LogIndex::new(epoch, last, entries)), ..Core::default() };
    core.address = facts.get("address").and_then(|text| serde_json::from_str(text).ok());
    if let Some(address) = &core.address {
        core.hub.set_tenant(&address.tenant);
    }
    core.is_listed = facts.contains_key("listed");
    core.membership = Membership::restored(facts.get("joined").map(String::as_str));
    core.copies = Copies::restored(facts.get("replicas").map(String::as_str), &core.hub);
    if let Some(sockets) = config.hub_sockets {
        core.hub.set_room(sockets);
    }
    let now = now();
    let kept: Vec<(u32, String, Option<u64>)> = serde_json::from_str(&sockets.kept()).map_err(bad)?;
    for (who, attachment, seen) in kept {
        if !core.hub.restore(who, &attachment, seen, now) {
            sockets.close(who, 4503, "SNAPSHOT_UNAVAILABLE");
        }
    }
    core.slots = HubSlots::restored(facts.get("held").map(String::as_str), now);
    Ok(core)
}

pub(super) fn now() -> UnixMillis {
    UnixMillis::from_js(Date::now())
}

pub(super) fn reply(status: u16, body: &Value) -> JsValue {
    edge::respond(status, &format!("application/json\n\n\n\n\n{body}")).into()
}

/// A refusal: its status and its document.
pub(super) fn denied((code, retry_after_ms): Denied) -> (u16, Value) {
    let details = json!({ "retry_after_ms": retry_after_ms });
    (code.status(), json!({ "error": ErrorView { code: code.as_str(), message: code.message(), details } }))
}

/// A refusal. The header tells the Worker the code, for clients that read frames.
pub(super) fn refusal(code: Code, retry_after_ms: Option<u64>) -> JsValue {
    let (status, body) = denied((code, retry_after_ms));
    let retry_s = retry_after_ms.map(|ms| ms.div_ceil(1_000).to_string()).unwrap_or_default();
    edge::respond(status, &format!("application/json\n\n\n{retry_s}\nx-code: {}\n{body}", code.as_str())).into()
}

/// A row of the log: number, time, target, frame.
pub(super) type StoredRow = (u64, u64, String, String);

pub(super) fn row_of((seq, at, target, frame): StoredRow) -> StoredMessage {
    StoredMessage { seq, at: UnixMillis::new(at), target, frame }
}

/// The refusal of a hub that has no room: another one may have some.
pub(super) fn full() -> JsValue {
    let code = Code::ConcurrencyLimited;
    let (status, body) = denied((code, Some(1_000)));
    let headers = format!("x-full: 1\tx-code: {}", code.as_str());
    edge::respond(status, &format!("application/json\n\n\n1\n{headers}\n{body}")).into()
}

pub(super) fn units(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A whole number as JavaScript has it. Numbers of messages and times stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(super) const fn js(number: u64) -> f64 {
    number as f64
}

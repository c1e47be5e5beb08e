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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::client::{Address, Denied};
use crate::gate::Code;
use crate::model::{Key, TenantId, UnixMillis};
use crate::realtime::{Hub, LogEntry, LogIndex, StoredMessage};
use crate::wire::ErrorView;
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext, Sockets};

/// Milliseconds after which something that has failed is tried again, and after which a hub gives
/// up what it no longer needs: slots, and its place in the list of hubs.
pub(super) const AGAIN_MS: u64 = 10_000;

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
    /// The further hubs of the tenant, of which this is the first.
    pub(super) replicas: BTreeMap<u32, Replica>,
    /// The name under which this further hub has joined the first.
    pub(super) joined: Option<String>,
    /// The name under which it is joining.
    pub(super) joining: Option<String>,
    /// When the tenant was last judged.
    pub(super) looked_at: Option<UnixMillis>,
    /// The limit that counts connections.
    pub(super) limit: Option<Key>,
    /// What one message costs.
    pub(super) costs: Vec<(Key, u64)>,
    /// The slots that are held in the ledger, and the limit that counts them.
    pub(super) held: u64,
    pub(super) held_by: Option<Key>,
    /// The last refusal of a slot, which others share that ask at the same time.
    pub(super) refused_at: Option<(UnixMillis, Denied)>,
    /// When other hubs were last asked for slots.
    pub(super) reclaimed_at: Option<UnixMillis>,
    /// When they are held again.
    pub(super) hold_at: Option<UnixMillis>,
    pub(super) holding: Turnstile,
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

/// A further hub, as the first one knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Replica {
    /// The name under which it has joined.
    pub(super) name: String,
    /// The number of the last message that it has confirmed.
    #[serde(default, skip)]
    pub(super) confirmed: u64,
    /// When its pump was last at work.
    #[serde(default, skip)]
    pub(super) pumped_at: Option<UnixMillis>,
}

/// Milliseconds after which an exchange is no longer waited for: the runtime may have cut the event
/// off that began it.
const EXCHANGE_MS: u64 = 10_000;

/// Lets one exchange with another service through at a time.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    /// The number of the last exchange.
    last: u64,
    since: Option<UnixMillis>,
}

impl Turnstile {
    /// Begins an exchange. Returns its number, or `None` if there is one.
    pub(super) fn begin(&mut self, now: UnixMillis) -> Option<u64> {
        if self.since.is_some_and(|since| now.since(since) < EXCHANGE_MS) {
            return None;
        }
        self.last = self.last.saturating_add(1);
        self.since = Some(now);
        Some(self.last)
    }

    /// Ends an exchange. Returns false if another one has begun since, so that its outcome is out
    /// of date.
    pub(super) fn end(&mut self, number: u64) -> bool {
        if self.last == number {
            self.since = None;
        }
        self.last == number
    }
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
    core.joined = facts.get("joined").cloned();
    core.replicas = facts.get("replicas").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    // What they have is not remembered. They leave out what they have already.
    let start = core.hub.start().seq;
    core.replicas.values_mut().for_each(|replica| replica.confirmed = start);
    if let Some((key, held)) = facts.get("held").and_then(|held| held.split_once(' ')) {
        (core.held_by, core.held) = (Key::parse(key), held.parse().unwrap_or(0));
    }
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
    // A crash has ended sockets whose slots are still held.
    core.hold_at = (core.held > 0).then_some(now);
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
    let body = json!({ "error": { "code": code.as_str(), "message": code.message(), "details": {} } });
    let headers = format!("x-full: 1\tx-code: {}", code.as_str());
    edge::respond(429, &format!("application/json\n\n\n1\n{headers}\n{body}")).into()
}

pub(super) fn units(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A whole number as JavaScript has it. Numbers of messages and times stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(super) const fn js(number: u64) -> f64 {
    number as f64
}

//! Asks hubs. A hub has the name of its tenant, and the jurisdiction of the family's ledger.

use js_sys::{Array, Promise};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use crate::model::TenantId;
use crate::model::bounds::MAX_LOBBIES;
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext};
use crate::worker::sources::d1::{Row, Store, StoreError, number, sql, text};

/// Hubs that one invocation tells of a change. Each of them tells others if there are more.
const TOGETHER: usize = 100;

/// Lobbies that are tried for one client.
const LOBBIES_OF_ONE: usize = 3;

/// Milliseconds before each attempt to tell a hub of a change.
const RETRIES_MS: [u32; 3] = [0, 500, 1_500];

/// A hub of a tenant, and the root of its family. The first one has the shard 0: it numbers the
/// tenant's messages. The others hold the sockets for which it has no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) tenant: String,
    pub(super) root: String,
    #[serde(default, skip_serializing_if = "is_first")]
    pub(super) shard: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_first(shard: &u32) -> bool {
    *shard == 0
}

impl Address {
    pub(super) fn new(tenant: &TenantId, root: &TenantId) -> Self {
        Self { tenant: tenant.to_string(), root: root.to_string(), shard: 0 }
    }

    fn of(row: &Row) -> Self {
        let shard = u32::try_from(number(row, "shard")).unwrap_or(u32::MAX);
        Self { tenant: text(row, "tenant").to_owned(), root: text(row, "root").to_owned(), shard }
    }

    /// The lobbies of a client, in the order in which they are tried. All clients of one network
    /// share them, so a flood from one network fills few others. No tenant's id has a colon.
    pub(super) fn lobbies(client: &str) -> impl Iterator<Item = Self> {
        let digest: Vec<u8> = Sha256::digest(client).iter().copied().take(LOBBIES_OF_ONE).collect();
        let name = |byte: u8| format!("lobby:{}", u32::from(byte) % MAX_LOBBIES);
        digest.into_iter().map(move |byte| Self { tenant: name(byte), root: String::new(), shard: 0 })
    }

    /// Another hub of the same tenant.
    pub(super) fn at(&self, shard: u32) -> Self {
        Self { shard, ..self.clone() }
    }

    /// The name of the Durable Object.
    fn name(&self) -> String {
        if self.shard == 0 { self.tenant.clone() } else { format!("{}#{}", self.tenant, self.shard) }
    }
}

/// A question to a hub in flight.
pub(super) type AskedHub = Result<Promise, JsValue>;

/// Asks a hub for something. Pass the result to [`answer`].
pub(super) fn ask(config: &Config, address: &Address, path: &str, body: &str) -> AskedHub {
    let about = json!(address).to_string();
    send(config, address, path, &about, Some(body)).map(|response| edge::hub_answer(&response))
}

/// Awaits the answer of a hub: its status and its text. `None`: it failed; the log has the cause.
pub(super) async fn answer(asked: AskedHub) -> Option<(u16, String)> {
    let heard = match asked {
        Ok(promise) => JsFuture::from(promise).await,
        Err(error) => Err(error),
    };
    let answer: Array =
        heard.map_err(|error| web_sys::console::error_2(&"realtime: a hub failed".into(), &error)).ok()?.into();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an HTTP status")]
    let status = answer.get(0).as_f64().unwrap_or_default() as u16;
    Some((status, answer.get(1).as_string().unwrap_or_default()))
}

/// What became of messages that a hub was to publish.
pub(super) enum Publication {
    /// The hub answered with this status and text.
    Answered(u16, String),
    /// The hub, or the queue to it, is overloaded.
    Overloaded,
    /// It failed; the console has the cause.
    Failed,
}

/// Has the first hub of a tenant publish messages, together with those of other requests.
pub(super) async fn publish(
    config: &Config,
    address: &Address,
    messages: &str,
    context: &ExecutionContext,
) -> Publication {
    let failed = |reason: &JsValue| {
        web_sys::console::error_2(&"realtime: a hub failed".into(), reason);
        Publication::Failed
    };
    let Some(hubs) = &config.hubs else { return failed(&"the Durable Object binding `HUBS` is missing".into()) };
    match JsFuture::from(hubs.publish(&json!(address).to_string(), messages, context)).await {
        // INVARIANT (overload is not absence): a flood is not taken for a failure.
        Ok(heard) if heard.is_null() => Publication::Overloaded,
        Ok(heard) if heard.is_undefined() => {
            failed(&"the isolate is overloaded: the answer may have been missed".into())
        }
        Ok(heard) => match heard.as_string().as_deref().and_then(read_line) {
            Some((status, text)) => Publication::Answered(status, text),
            None => failed(&heard),
        },
        Err(error) => failed(&error),
    }
}

/// The answer to one group of messages: its status and its text.
pub(super) fn read_line(text: &str) -> Option<(u16, String)> {
    let (status, answer): (u16, Box<RawValue>) = serde_json::from_str(text).ok()?;
    Some((status, answer.get().to_owned()))
}

/// Sends an upgrade to a hub (`body` is `None`), or a question. Resolves to its response.
pub(super) fn send(config: &Config, address: &Address, path: &str, about: &str, body: Option<&str>) -> AskedHub {
    let hubs = config.hubs.as_ref().ok_or_else(|| JsValue::from_str("the Durable Object binding `HUBS` is missing"))?;
    hubs.ask(&address.root, &address.name(), path, about, body)
}

/// A change, as one hub is told of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Change {
    /// Names in KV of snapshots that have changed, with epochs.
    pub(super) changes: Vec<(String, u64)>,
    /// The hubs that this one tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) others: Vec<Address>,
}

/// Tells hubs with sockets that snapshots have changed: names in KV, with epochs. Returns once they
/// have acted on it; false if one of them has not. `families`: the roots whose hubs are told;
/// `None`: all.
pub(crate) async fn tell(
    config: &Config,
    store: &Store,
    families: Option<&[&str]>,
    changes: &[(String, u64)],
) -> Result<bool, StoreError> {
    if config.hubs.is_none() || families.is_some_and(<[&str]>::is_empty) {
        return Ok(true);
    }
    let of = |roots: &[&str]| {
        sql!("SELECT * FROM hubs WHERE root IN (SELECT value FROM json_each(?))", json!(roots).to_string())
    };
    let statement = families.map_or_else(|| sql!("SELECT * FROM hubs"), of);
    let mut hubs: Vec<Address> = store.rows(statement).await?.iter().map(Address::of).collect();
    for pause_ms in RETRIES_MS {
        if pause_ms > 0 {
            let _ = JsFuture::from(edge::sleep(pause_ms)).await;
        }
        hubs = tell_each(config, &hubs, changes).await;
        if hubs.is_empty() {
            break;
        }
    }
    Ok(hubs.is_empty())
}

/// Tells each hub of a change. Returns those that have not acted on it. One invocation may ask only
/// a limited number of objects, so if there are many hubs, some of them tell the others.
pub(super) async fn tell_each(config: &Config, hubs: &[Address], changes: &[(String, u64)]) -> Vec<Address> {
    let mut failed = Vec::new();
    let groups: Vec<&[Address]> = hubs.chunks(hubs.len().div_ceil(TOGETHER).max(1)).collect();
    let asked = groups.iter().filter_map(|group| {
        let (head, others) = group.split_first()?;
        let change = Change { changes: changes.to_vec(), others: others.to_vec() };
        Some(ask(config, head, "/changed", &json!(change).to_string()))
    });
    for (group, one) in groups.iter().zip(asked.collect::<Vec<_>>()) {
        match answer(one).await {
            Some((200, text)) => failed.extend(serde_json::from_str::<Vec<Address>>(&text).unwrap_or_default()),
            _ => failed.extend_from_slice(group),
        }
    }
    failed
}

/// The other hubs of a family.
pub(super) async fn siblings(config: &Config, address: &Address) -> Vec<Address> {
    if config.control.is_undefined() {
        return Vec::new();
    }
    let others = "SELECT * FROM hubs WHERE root = ? AND NOT (tenant = ? AND shard = ?)";
    let statement = sql!(others, address.root, address.tenant, address.shard);
    let rows = Store::new(&config.control).rows(statement).await.unwrap_or_default();
    rows.iter().map(Address::of).collect()
}

/// Records that a hub has sockets, or has none any more. Returns whether that succeeded.
pub(super) async fn register(config: &Config, address: &Address, has_sockets: bool) -> bool {
    if config.control.is_undefined() {
        return true;
    }
    let statement = if has_sockets {
        sql!(
            "INSERT INTO hubs (tenant, shard, root) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET root = excluded.root",
            address.tenant,
            address.shard,
            address.root
        )
    } else {
        sql!("DELETE FROM hubs WHERE tenant = ? AND shard = ?", address.tenant, address.shard)
    };
    Store::new(&config.control).run(&[statement]).await.is_ok()
}

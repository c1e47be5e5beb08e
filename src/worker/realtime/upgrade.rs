//! Has a hub open a socket.

use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use super::client::{Address, send};
use crate::gate::Code;
use crate::model::bounds::MAX_SHARDS_OF_HUB;
use crate::realtime::{Admission, Denied, Opening};
use crate::worker::config::Config;

/// What the Worker tells a hub about an upgrade.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Upgrade {
    #[serde(flatten)]
    pub(super) address: Address,
    /// The admission, if the request had a credential or needed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) admission: Option<Admission>,
    /// When the gate was asked about its credential, in milliseconds since 1970.
    #[serde(default)]
    pub(super) decided_at: u64,
    /// Otherwise the request, to be decided once the client has presented a credential.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) question: String,
    /// The client's network, by which sockets without a credential are counted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) client: String,
    #[serde(flatten)]
    pub(super) opening: Opening,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<String>,
}

impl Upgrade {
    /// The same for another hub of the tenant.
    pub(super) fn at(&self, shard: u32) -> Self {
        Self { address: self.address.at(shard), ..self.clone() }
    }
}

/// A hub that has not opened a socket: its answer, if it gave one, and the denial in it.
pub(super) struct Unopened {
    pub(super) response: Option<Response>,
    pub(super) denied: Denied,
}

/// Opens a socket at the first hub of a tenant that has room. Returns the response with the socket.
pub(super) async fn open(config: &Config, upgrade: &Upgrade) -> Result<Response, Unopened> {
    for shard in 0..MAX_SHARDS_OF_HUB {
        let response = knock(config, &upgrade.at(shard), "/connect").await?;
        if response.status() == 101 {
            return Ok(response);
        }
        if is_full(&response) {
            continue;
        }
        let denied = denial(&response);
        return Err(Unopened { response: Some(response), denied });
    }
    Err(Unopened { response: None, denied: (Code::ConcurrencyLimited, None) })
}

/// The denial in a response that opens no socket.
pub(super) fn denial(response: &Response) -> Denied {
    let header = |name| response.headers().get(name).ok().flatten();
    let named = header("x-code");
    let known = Code::ALL.into_iter().find(|known| Some(known.as_str()) == named.as_deref());
    let wait_ms = header("retry-after").and_then(|text| text.parse::<u64>().ok()).map(|s| s.saturating_mul(1_000));
    (known.unwrap_or(Code::SnapshotUnavailable), wait_ms)
}

/// Whether a hub or a lobby has no room, so that another one may have some.
pub(super) fn is_full(response: &Response) -> bool {
    response.headers().has("x-full").unwrap_or(false)
}

/// Asks one hub (`/connect`) or a lobby (`/wait`) to open a socket.
pub(super) async fn knock(config: &Config, upgrade: &Upgrade, path: &str) -> Result<Response, Unopened> {
    let about = json!(upgrade).to_string();
    let response = match send(config, &upgrade.address, path, &about, None) {
        Ok(promise) => JsFuture::from(promise).await,
        Err(error) => Err(error),
    };
    response.map(JsCast::unchecked_into).map_err(|error| {
        web_sys::console::error_2(&"realtime: the hub failed".into(), &error);
        Unopened { response: None, denied: (Code::SnapshotUnavailable, None) }
    })
}

//! Sockets that name no tenant: neither their request nor its host does, so the credential of the
//! first message has to.
//!
//! They wait in another Durable Object, the *lobby*, and not in the isolate that took the
//! request: there, what one client sends could cost all others. Once the gate has accepted a
//! credential, the lobby opens a second socket at the tenant's hub, as a member's, and passes
//! messages between the two (`lobby.js`). To the hub it is a connection like any other.

use std::rc::Rc;

use js_sys::{Array, Promise};
use serde_json::json;
use wasm_bindgen::prelude::*;

use super::judge;
use super::state::{full, refusal};
use super::upgrade::{self, Unopened, Upgrade};
use crate::gate::Code;
use crate::model::bounds::{
    AUTH_MS, MAX_AUTH_MESSAGE_BYTES, MAX_CLIENT_UNSENT_BYTES, MAX_EARLY_MESSAGES, MAX_HUB_UNSENT_BYTES,
    MAX_SOCKET_MESSAGE_BYTES, MAX_SOCKETS, MAX_UNSENT_BYTES, MAX_WAITING_BY_ONE, MAX_WAITING_SOCKETS,
};
use crate::realtime::{Arrival, CloseCode, Denied, Presented, SocketFailure, refused};
use crate::worker::config::Config;
use crate::worker::isolate;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge::ExecutionContext;
use crate::worker::runtime::fault::fault;
use crate::worker::runtime::task;

/// What a lobby asks the gate. It keeps nothing, so that a trap loses nothing.
#[wasm_bindgen]
pub struct Lobby {
    config: Rc<Config>,
    context: ExecutionContext,
}

#[wasm_bindgen]
impl Lobby {
    /// What decides in the object of this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: &JsValue) -> Self {
        Self { config: isolate::load(env), context: state.unchecked_into() }
    }

    /// The bounds of a lobby, and how it closes sockets, as JSON.
    pub fn rules() -> String {
        let close = |CloseCode { status, reason }: CloseCode| json!([status, reason]);
        let rules = json!({
            "authMs": AUTH_MS,
            "maxWaiting": MAX_WAITING_SOCKETS,
            "maxWaitingByOne": MAX_WAITING_BY_ONE,
            "maxSockets": MAX_SOCKETS,
            "maxEarly": MAX_EARLY_MESSAGES,
            "maxAuthMessage": MAX_AUTH_MESSAGE_BYTES,
            "maxMessage": MAX_SOCKET_MESSAGE_BYTES,
            "maxUnsentOfSocket": MAX_UNSENT_BYTES,
            "maxUnsentByOne": MAX_CLIENT_UNSENT_BYTES,
            "maxUnsent": MAX_HUB_UNSENT_BYTES,
            "late": close(CloseCode::UNAUTHENTICATED),
            "unreadable": close(CloseCode::UNREADABLE),
            "large": close(CloseCode::TOO_LARGE),
            "many": close(CloseCode::TOO_MANY),
            "slow": close(CloseCode::TOO_SLOW),
            "lost": close(CloseCode::by(Code::SnapshotUnavailable)),
        });
        rules.to_string()
    }

    /// The refusal of a socket by a lobby that is full: another one may have room.
    pub fn full() -> JsValue {
        full()
    }

    /// The refusal of a socket of a client that has too many.
    pub fn crowded() -> JsValue {
        refusal(Code::ConcurrencyLimited, Some(1_000))
    }

    /// Reads a message that comes before a credential. Resolves to `[frame, close, socket]`: a
    /// frame to send, how to close the socket, and the socket of the hub, if it is admitted.
    pub fn message(&self, upgrade: String, text: String) -> Promise {
        let (config, context) = (Rc::clone(&self.config), self.context.clone());
        fault(Some(&text), "{\"action\":\"trap\"}");
        task::promise(async move {
            if text.len() > MAX_AUTH_MESSAGE_BYTES {
                return answer(None, Some(CloseCode::TOO_LARGE), &JsValue::UNDEFINED);
            }
            match Arrival::read(&text) {
                Arrival::Answer(frame) => answer(Some(&frame), None, &JsValue::UNDEFINED),
                Arrival::Close(why) => answer(None, Some(why), &JsValue::UNDEFINED),
                Arrival::Authenticate(presented) => {
                    let id = presented.opening.reply_id.clone();
                    match join(&upgrade, *presented, &config, &context).await {
                        Ok(socket) => answer(None, None, &socket),
                        Err((code, wait_ms)) => {
                            let frame = refused(SocketFailure::by(code), wait_ms, id.as_deref());
                            answer(Some(&frame), Some(CloseCode::by(code)), &JsValue::UNDEFINED)
                        }
                    }
                }
            }
        })
    }
}

/// Opens the socket of a client at its tenant's hub.
async fn join(
    upgrade: &str,
    presented: Presented,
    config: &Rc<Config>,
    context: &ExecutionContext,
) -> Result<JsValue, Denied> {
    let upgrade: Upgrade = serde_json::from_str(upgrade).map_err(|_| (Code::BadRequest, None))?;
    let decided_at = clock::now().get();
    let (admission, address) = judge::admission(&upgrade.question, &presented, config, context).await?;
    // INVARIANT (residency): the messages of a tenant that must stay in a jurisdiction do not pass
    // through an object outside of it.
    if config.jurisdiction(&address.root).is_some() {
        return Err((Code::ResidencyViolation, None));
    }
    let admitted = Upgrade {
        address,
        admission: Some(admission),
        decided_at,
        question: String::new(),
        client: String::new(),
        opening: presented.opening,
        protocol: None,
    };
    let response = upgrade::open(config, &admitted).await.map_err(|Unopened { denied, .. }| denied)?;
    js_sys::Reflect::get(&response, &"webSocket".into()).map_err(|_| (Code::SnapshotUnavailable, None))
}

fn answer(frame: Option<&str>, close: Option<CloseCode>, socket: &JsValue) -> JsValue {
    let close = close.map(|why| Array::of2(&why.status.into(), &why.reason.into()));
    Array::of3(&frame.into(), &close.into(), socket).into()
}

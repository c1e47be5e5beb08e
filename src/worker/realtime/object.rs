//! The Durable Object that holds the sockets of one tenant.
//!
//! # The idea: one synchronous turn for each event
//!
//! [`Hub`] decides, and this file carries its effects out: rows of the log, then frames, in one
//! turn of the event loop. The runtime holds frames back until the rows are on disk (the output
//! gate), so nobody has seen a message that is not in the log.
//!
//! What has to wait, waits before the turn: whether the tenant may still be served
//! ([`HubObject::look`]), whether a credential is accepted, whether the limits allow a message, and
//! whether there is a slot for a connection. After each wait the hub is asked anew.
//!
//! # What survives
//!
//! - Hibernation keeps sockets and their attachments, the log and the alarm. The rest is made of
//!   them again.
//! - A trap keeps the same, and which sockets are behind (`hub.js`).
//! - A crash or a deployment ends all sockets. Clients return, and the log gives them what they
//!   have missed.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Date, Promise, Uint32Array};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::client::{Address, register};
use super::judge::{self, Judgement};
use super::replicas::Replica;
use super::slots::{self, Denied, Place, Turnstile};
use crate::gate::{Code, Intent, SnapshotKey};
use crate::ledger::CounterOp;
use crate::model::bounds::{
    AUTH_MS, DRAIN_MS, HUB_HOLD_MS, HUB_TRUST_MS, MAX_HUB_UNSENT_BYTES, MAX_PACKED, MAX_PUBLISHED,
    MAX_SOCKET_MESSAGE_BYTES, MAX_UNSENT_BYTES, MIN_DRAIN_MS,
};
use crate::model::{ChannelName, Key, TenantId, UnixMillis};
use crate::realtime::{
    Admission, Authentication, Draft, Effect, Guest, Hub, LogEntry, LogIndex, Next, Opening, Position, StoredMessage,
    Target, Turn,
};
use crate::wire::ErrorView;
use crate::worker::config::Config;
use crate::worker::isolate;
use crate::worker::runtime::edge::{self, ExecutionContext, Sockets};
use crate::worker::runtime::fault::fault;
use crate::worker::runtime::task;
use crate::worker::sources::feed;

/// Milliseconds after which something that has failed is tried again, and after which a hub gives
/// up what it no longer needs: slots, and its place in the list of hubs.
const AGAIN_MS: u64 = 10_000;

/// Milliseconds for which a connection waits for a slot.
const SLOT_MS: u64 = 8_000;

/// Milliseconds between two times at which other hubs are asked for slots.
const RECLAIM_MS: u64 = 2_000;

/// The least number of milliseconds until an alarm.
const SOON_MS: u64 = 20;

/// Connections in one page of a list.
const MAX_LISTED: usize = 500;

/// One tenant's sockets.
#[wasm_bindgen]
pub struct TenantHub {
    object: Rc<HubObject>,
}

pub(super) struct HubObject {
    pub(super) state: JsValue,
    pub(super) context: ExecutionContext,
    pub(super) config: Rc<Config>,
    sockets: Sockets,
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
    looked_at: Option<UnixMillis>,
    /// The limit that counts connections.
    limit: Option<Key>,
    /// What one message costs.
    costs: Vec<(Key, u64)>,
    /// The slots that are held in the ledger, and the limit that counts them.
    held: u64,
    held_by: Option<Key>,
    /// The last refusal of a slot, which others share that ask at the same time.
    refused_at: Option<(UnixMillis, Denied)>,
    /// When other hubs were last asked for slots.
    reclaimed_at: Option<UnixMillis>,
    /// When they are held again.
    hold_at: Option<UnixMillis>,
    holding: Turnstile,
    /// Whether the list of hubs has this one.
    is_listed: bool,
    /// When the list is changed.
    list_at: Option<UnixMillis>,
    listing: Turnstile,
    alarm: Option<UnixMillis>,
    /// Whether a timer watches slow readers.
    watches: bool,
    /// The milliseconds of that timer: few while they read, more while they do not.
    watch_ms: u64,
}

/// What the Worker tells a hub about an upgrade.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Upgrade {
    #[serde(flatten)]
    pub(super) address: Address,
    /// The admission, if the request had a credential or needed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) admission: Option<Admission>,
    /// Otherwise the request, to be decided once there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) question: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Position>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) channels: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) packed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<String>,
}

impl Upgrade {
    /// The same for another hub of the tenant.
    pub(super) fn at(&self, shard: u32) -> Self {
        Self { address: self.address.at(shard), ..self.clone() }
    }
}

/// A message of the operator's own code.
#[derive(Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) target: String,
    /// JSON.
    pub(super) data: String,
}

#[wasm_bindgen]
impl TenantHub {
    /// Opens a hub with the sockets that the runtime has kept. `sockets`: those of the instance
    /// before, after a trap.
    ///
    /// # Errors
    /// If `SQLite` cannot be read. The runtime then constructs the object again.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: &JsValue, sockets: JsValue) -> Result<TenantHub, JsValue> {
        let config = isolate::load(env);
        let sockets: Sockets = if sockets.is_undefined() { edge::sockets(&state)? } else { sockets.unchecked_into() };
        let core = RefCell::new(read(&state, &sockets, &config)?);
        let context = state.clone().unchecked_into();
        let object = Rc::new(HubObject { state, context, config, sockets, core });
        object.turn(|_, _| Vec::new());
        Ok(Self { object })
    }

    /// The sockets, for the next instance after a trap.
    #[wasm_bindgen(getter)]
    pub fn sockets(&self) -> JsValue {
        self.object.sockets.clone().into()
    }

    /// Answers the Worker. Resolves to a response.
    pub fn ask(&self, path: String, about: String, body: String) -> Promise {
        let object = Rc::clone(&self.object);
        task::promise(async move { object.answer(&path, &about, &body).await })
    }

    /// A client has sent a message of this many characters; `None`: a binary one. Returns whether
    /// the message itself is wanted: what is too long is never copied.
    pub fn screen(&self, who: u32, characters: Option<u32>) -> bool {
        let characters = characters.map(|characters| usize::try_from(characters).unwrap_or(usize::MAX));
        self.object.screen(who, characters)
    }

    /// A client has sent a message that [`Self::screen`] wants.
    pub fn message(&self, who: u32, text: String) -> Promise {
        fault(Some(&text), "{\"action\":\"trap\"}");
        let object = Rc::clone(&self.object);
        task::promise(async move {
            object.message(who, &text).await;
            JsValue::UNDEFINED
        })
    }

    /// A socket has closed.
    pub fn closed(&self, who: u32) {
        self.object.turn(|core, now| core.hub.closed(who, now));
    }

    /// Does what is due.
    pub fn alarm(&self) -> Promise {
        let object = Rc::clone(&self.object);
        task::promise(async move {
            object.alarm().await;
            JsValue::UNDEFINED
        })
    }
}

/// Reads what the runtime and `SQLite` have kept.
fn read(state: &JsValue, sockets: &Sockets, config: &Config) -> Result<Core, JsValue> {
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

/// A refusal. The header tells the Worker the code, for clients that read frames.
pub(super) fn refusal(code: Code, retry_after_ms: Option<u64>) -> JsValue {
    let error = ErrorView {
        code: code.as_str(),
        message: code.message(),
        details: json!({ "retry_after_ms": retry_after_ms }),
    };
    let retry_s = retry_after_ms.map(|ms| ms.div_ceil(1_000).to_string()).unwrap_or_default();
    let body = json!({ "error": error });
    edge::respond(code.status(), &format!("application/json\n\n\n{retry_s}\nx-code: {}\n{body}", code.as_str())).into()
}

impl HubObject {
    // Events.

    async fn answer(self: &Rc<Self>, path: &str, about: &str, body: &str) -> JsValue {
        let address = |about: &str| serde_json::from_str::<Address>(about).ok();
        match path {
            "/connect" => match serde_json::from_str::<Upgrade>(about) {
                Ok(upgrade) => self.connect(upgrade).await,
                Err(_) => refusal(Code::BadRequest, None),
            },
            "/publish" => self.publish(address(about), body).await,
            "/changed" => self.changed(body).await,
            "/join" => self.admit_replica(body),
            "/leave" => self.dismiss_replica(body),
            "/relay" => self.relay(address(about), body).await,
            "/apply" => self.apply(body),
            "/shards" => reply(200, &json!(self.core.borrow().replicas.keys().collect::<Vec<_>>())),
            "/settle" => {
                self.settle().await;
                reply(200, &json!({}))
            }
            "/list" => self.list(body),
            "/present" => self.present(body),
            "/close" => self.dismiss(body),
            _ => refusal(Code::BadRequest, None),
        }
    }

    /// Opens a socket.
    async fn connect(self: &Rc<Self>, upgrade: Upgrade) -> JsValue {
        let Upgrade { address, admission, question, client, since, channels, packed, protocol } = upgrade;
        if let Err(code) = self.settle_in(&address).await {
            return refusal(code, None);
        }
        if !self.core.borrow().hub.has_room() {
            return full();
        }
        if !self.join().await {
            return refusal(Code::SnapshotUnavailable, None);
        }
        let id: Arc<str> = edge::unique().into();
        if let Some(admission) = admission {
            if let Err((code, wait_ms)) = self.slot().await {
                return refusal(code, wait_ms);
            }
            // Everything may have changed while it waited. If that waits too, the slot is asked for
            // again.
            if !self.is_fresh() {
                if let Err(code) = self.look(HUB_TRUST_MS).await {
                    return refusal(code, None);
                }
                if let Err((code, wait_ms)) = self.slot().await {
                    return refusal(code, wait_ms);
                }
            }
            let Some(who) = self.accept(Hub::has_room) else { return full() };
            let opening = Opening { since, channels, packed };
            self.turn(|core, now| core.hub.open(who, id, admission, &opening, now));
        } else {
            let Some(who) = self.accept(|hub| hub.has_room_for_guest(&client)) else {
                return refusal(Code::ConcurrencyLimited, Some(1_000));
            };
            let until = now().plus(AUTH_MS).get();
            let guest = Guest { until, question, address: client };
            self.turn(|core, now| core.hub.open_guest(who, id, guest, now));
        }
        self.be_listed();
        self.sockets.upgraded(protocol.as_deref())
    }

    fn screen(self: &Rc<Self>, who: u32, length: Option<usize>) -> bool {
        let mut is_wanted = false;
        self.turn(|core, now| {
            let (wanted, effects) = core.hub.screen(who, length, now);
            is_wanted = wanted;
            effects
        });
        is_wanted
    }

    /// A client has sent a message.
    async fn message(self: &Rc<Self>, who: u32, text: &str) {
        if let Err(code) = self.look(HUB_TRUST_MS).await {
            // Nothing enters while it is unknown whether the tenant may be served.
            self.turn(|core, now| core.hub.dismiss(who, code, now));
            return;
        }
        let mut next = Next::Nothing;
        self.turn(|core, now| {
            let Turn { effects, next: asks } = core.hub.message(who, text, now);
            next = asks;
            effects
        });
        match next {
            Next::Nothing => {}
            Next::Authenticate(asked) => self.authenticate(&asked).await,
            Next::Publish(draft) => match self.charge(1).await {
                Ok(()) if self.is_replica() => match self.relay_to_first(&draft).await {
                    Ok(seq) => self.turn(|core, _| core.hub.published(&draft, seq)),
                    Err(code) => self.turn(|core, _| core.hub.refuse(&draft, code, None)),
                },
                Ok(()) => {
                    self.turn(|core, now| core.hub.publish(vec![*draft], now));
                    self.pump_all();
                }
                Err((code, wait_ms)) => self.turn(|core, _| core.hub.refuse(&draft, code, wait_ms)),
            },
        }
    }

    async fn authenticate(self: &Rc<Self>, asked: &Authentication) {
        let Some((tenant, _)) = self.tenant() else { return };
        let Authentication { token, tenant: named, question, .. } = asked;
        let (config, context) = (&self.config, &self.context);
        let answer = match question {
            Some(question) => {
                match judge::admission(question, token, named.as_deref(), &tenant, config, context).await {
                    Ok(admission) => self.slot().await.map(|()| admission),
                    refused => refused,
                }
            }
            None => judge::renewal(token, named.as_deref(), &tenant, config, context).await,
        };
        self.turn(|core, now| core.hub.authenticated(asked, answer, now));
    }

    /// Publishes messages of the operator's own code.
    async fn publish(self: &Rc<Self>, address: Option<Address>, body: &str) -> JsValue {
        let (Some(address), Ok(messages)) = (address, serde_json::from_str::<Vec<Published>>(body)) else {
            return refusal(Code::BadRequest, None);
        };
        if messages.len() > MAX_PUBLISHED || messages.iter().any(|one| one.data.len() > MAX_SOCKET_MESSAGE_BYTES) {
            return refusal(Code::BadRequest, None);
        }
        if let Err(code) = self.settle_in(&address).await {
            return refusal(code, None);
        }
        let draft = |one: Published| Some(Draft::from_elsewhere(None, Target::parse(&one.target)?, one.data));
        let drafts: Vec<Draft> = messages.into_iter().filter_map(draft).collect();
        if !drafts.iter().all(|draft| self.core.borrow().hub.knows(&draft.target)) {
            let error = json!({ "code": "NOT_FOUND", "message": "the catalog has no such channel", "details": {} });
            return reply(404, &json!({ "error": error }));
        }
        let units = u64::try_from(drafts.len()).unwrap_or(u64::MAX);
        if let Err((code, wait_ms)) = self.charge(units).await {
            return refusal(code, wait_ms);
        }
        self.turn(|core, now| core.hub.publish(drafts, now));
        self.pump_all();
        reply(200, &json!(self.core.borrow().hub.end()))
    }

    /// Snapshots have changed.
    async fn changed(self: &Rc<Self>, body: &str) -> JsValue {
        let changes: Vec<(String, u64)> = serde_json::from_str(body).unwrap_or_default();
        for (key, epoch) in changes {
            if let Some(key) = SnapshotKey::parse(&key) {
                feed::changed(&key, epoch, now());
            }
        }
        match self.look(0).await {
            // It is not known yet: tell me again.
            Err(Code::SnapshotUnavailable) if !self.core.borrow().hub.is_empty() => {
                refusal(Code::SnapshotUnavailable, None)
            }
            // Sockets that may not stay are closed.
            Err(_) => reply(200, &json!({})),
            Ok(()) => {
                self.turn(|core, _| core.hub.tell_changed());
                reply(200, &json!({}))
            }
        }
    }

    fn list(&self, body: &str) -> JsValue {
        let members = self.core.borrow().hub.list(body, MAX_LISTED);
        let cursor = members.last().filter(|_| members.len() == MAX_LISTED).map(|last| last.id.to_string());
        let shown: Vec<Value> = members
            .iter()
            .map(|one| {
                json!({ "connectionId": one.id, "userId": one.user, "connectedAt": one.since, "channels": one.channels })
            })
            .collect();
        reply(200, &json!({ "connections": shown, "cursor": cursor }))
    }

    fn present(&self, body: &str) -> JsValue {
        let Some(channel) = ChannelName::parse(body) else { return refusal(Code::BadRequest, None) };
        let (users, total) = self.core.borrow().hub.present(&channel);
        reply(200, &json!({ "channel": channel, "users": users, "total": total }))
    }

    fn dismiss(self: &Rc<Self>, id: &str) -> JsValue {
        let found = self.core.borrow().hub.find(id);
        if let Some(who) = found {
            self.turn(|core, now| core.hub.dismiss(who, Code::Unauthenticated, now));
        }
        reply(200, &json!({ "closed": found.is_some() }))
    }

    async fn alarm(self: &Rc<Self>) {
        self.core.borrow_mut().alarm = None;
        // Who has left is told to members, so they have to be members still.
        if self.core.borrow().hub.has_left(now()) {
            let _ = self.look(HUB_TRUST_MS).await;
        }
        self.turn(|core, now| core.hub.due(now));
        // What is due is tried once. If it fails it is due again, a little later.
        let take = |at: &mut Option<UnixMillis>| at.take_if(|at| *at <= now()).is_some();
        let (holds, lists) = {
            let mut core = self.core.borrow_mut();
            (take(&mut core.hold_at), take(&mut core.list_at))
        };
        if holds {
            self.settle().await;
        }
        if lists {
            self.change_list().await;
        }
        if self.has_late_replica() {
            self.pump_all();
        }
        self.turn(|core, now| {
            if holds && core.held > 0 && core.hold_at.is_none() {
                core.hold_at = Some(now.plus(AGAIN_MS));
            }
            if lists && core.hub.is_empty() == core.is_listed && core.list_at.is_none() {
                core.list_at = Some(now.plus(AGAIN_MS));
            }
            Vec::new()
        });
    }

    // Waits.

    /// Judges the tenant and its members again if that was done more than `trust_ms` milliseconds
    /// ago. Members that are no longer admitted are closed. `Err`: the tenant is not served.
    async fn look(self: &Rc<Self>, trust_ms: u64) -> Result<(), Code> {
        let asked_at = now();
        let is_fresh = |at: UnixMillis| asked_at.since(at) < trust_ms;
        if self.core.borrow().looked_at.is_some_and(is_fresh) {
            return Ok(());
        }
        let Some((tenant, root)) = self.tenant() else { return Err(Code::TenantNotFound) };
        let members: Vec<(u32, String)> = {
            let core = self.core.borrow();
            core.hub.admissions().map(|(who, admission)| (who, admission.credential.clone())).collect()
        };
        let judged = judge::standing(&tenant, &members, &self.config, &self.context).await;
        let Some(Judgement { tenant: found, denied, rules, connections, costs }) = judged else {
            return Err(Code::SnapshotUnavailable);
        };
        let verdict = match &found {
            Some(Ok(_)) if rules.is_none() => Err(Code::TenantNotFound),
            // It has moved to another family, whose ledger counts from now on.
            Some(Ok(now)) if *now.root() != root => {
                self.move_to(now.root());
                Err(Code::SnapshotUnavailable)
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(code)) => Err(*code),
            None => Err(Code::SnapshotUnavailable),
        };
        self.turn(|core, now| {
            let mut effects = Vec::new();
            match verdict {
                Ok(()) => {
                    // What was asked about before other events counts from when it was asked.
                    core.looked_at = Some(asked_at);
                    (core.limit, core.costs) = (connections, costs);
                    for (who, code) in denied {
                        effects.extend(core.hub.dismiss(who, code, now));
                    }
                    effects.extend(rules.map(|rules| core.hub.set_rules(rules, now)).into_iter().flatten());
                }
                Err(code) => {
                    core.looked_at = None;
                    for who in core.hub.all() {
                        effects.extend(core.hub.dismiss(who, code, now));
                    }
                }
            }
            effects
        });
        verdict
    }

    /// Judges again if the last judgement is too old to rely on.
    pub(super) async fn look_now(self: &Rc<Self>) -> Result<(), Code> {
        self.look(HUB_TRUST_MS).await
    }

    /// Makes sure of a slot for one connection more. It is the caller's if it opens the connection
    /// before it waits again.
    async fn slot(self: &Rc<Self>) -> Result<(), Denied> {
        let deadline = now().plus(SLOT_MS);
        let asked_at = now();
        loop {
            let Some(place) = self.place() else { return Ok(()) };
            let used = units(self.core.borrow().hub.members());
            if used < self.core.borrow().held && self.core.borrow().held_by.as_ref() == Some(&place.limit) {
                return Ok(());
            }
            // Who has waited for the same answer shares it.
            if let Some((_, denied)) = self.core.borrow().refused_at.filter(|(at, _)| *at > asked_at) {
                return Err(denied);
            }
            if now() > deadline {
                return Err((Code::LedgerUnavailable, Some(AGAIN_MS)));
            }
            let (begun, reclaims) = {
                let mut core = self.core.borrow_mut();
                let reclaims = core.reclaimed_at.is_none_or(|at| now().since(at) >= RECLAIM_MS);
                (core.holding.begin(now()), reclaims)
            };
            let Some(number) = begun else {
                slots::pause().await;
                continue;
            };
            let grown = place.grow(used, reclaims).await;
            if let Err(denied) = grown {
                let mut core = self.core.borrow_mut();
                core.refused_at = Some((now(), denied));
                if reclaims {
                    core.reclaimed_at = Some(now());
                }
            }
            self.hold(number, &place.limit, grown.as_ref().ok().copied());
            grown?;
        }
    }

    /// Holds as many slots as there are connections. What is held ahead is free again.
    async fn settle(self: &Rc<Self>) {
        // A hub that has just been read knows no limit yet.
        if self.core.borrow().looked_at.is_none() {
            let _ = self.look(HUB_TRUST_MS).await;
        }
        let limit = {
            let core = self.core.borrow();
            core.limit.clone().or_else(|| core.held_by.clone())
        };
        let (Some(place), Some(number)) = (self.place_of(limit), self.core.borrow_mut().holding.begin(now())) else {
            return;
        };
        let used = {
            let mut core = self.core.borrow_mut();
            // Without the limit nothing is counted.
            let used = if core.limit.is_some() { units(core.hub.members()) } else { 0 };
            // INVARIANT (no more than stated): while the ledger is told, none of what it takes back
            // is given away.
            core.held = core.held.min(used);
            used
        };
        let held = place.hold(used).await;
        let was_dropped = self.core.borrow().limit.is_none();
        self.hold(number, &place.limit, if was_dropped { Some(0) } else { held.ok() });
    }

    /// Records how many slots are held after an exchange, `None` if that is as before.
    fn hold(self: &Rc<Self>, number: u64, limit: &Key, held: Option<u64>) {
        let is_latest = self.core.borrow_mut().holding.end(number);
        if !is_latest {
            return;
        }
        self.turn(|core, now| {
            if let Some(held) = held {
                core.held = held;
                core.held_by = (held > 0).then(|| limit.clone());
                core.hold_at = (held > 0).then(|| now.plus(HUB_HOLD_MS / 2));
            }
            Vec::new()
        });
        let text = {
            let core = self.core.borrow();
            core.held_by.as_ref().map(|key| format!("{key} {}", core.held))
        };
        // Only a crash needs it, and then the hub counts its sockets.
        let _ = edge::remember(&self.state, "held", text.as_deref());
    }

    /// What questions about slots need to know. `None`: connections are not counted.
    fn place(&self) -> Option<Place> {
        let limit = self.core.borrow().limit.clone();
        self.place_of(limit)
    }

    fn place_of(&self, limit: Option<Key>) -> Option<Place> {
        let address = self.core.borrow().address.clone()?;
        let tenant = TenantId::parse(&address.tenant)?;
        let (config, context) = (Rc::clone(&self.config), self.context.clone());
        Some(Place { tenant, address, limit: limit?, config, context })
    }

    /// Takes what messages cost.
    async fn charge(&self, messages: u64) -> Result<(), Denied> {
        let costs = self.core.borrow().costs.clone();
        let Some((tenant, _)) = self.tenant() else { return Err((Code::TenantNotFound, None)) };
        if costs.is_empty() || messages == 0 {
            return Ok(());
        }
        let limits: Vec<(&str, CounterOp)> =
            costs.iter().map(|(key, cost)| (key.as_str(), CounterOp::Take(cost.saturating_mul(messages)))).collect();
        let decision = judge::charge(&tenant, &limits, Intent::Decide, &self.config, &self.context).await;
        if decision.allowed() { Ok(()) } else { Err((decision.code, decision.extras().retry_after_ms)) }
    }

    /// Has the list of hubs show whether this one has sockets.
    async fn change_list(self: &Rc<Self>) {
        loop {
            let Some(address) = self.core.borrow().address.clone() else { return };
            let has_sockets = !self.core.borrow().hub.is_empty();
            if has_sockets == self.core.borrow().is_listed {
                self.core.borrow_mut().list_at = None;
                return;
            }
            let Some(number) = self.core.borrow_mut().listing.begin(now()) else { return };
            if !has_sockets {
                // Whatever becomes of the removal, the hub does not count on being listed.
                self.core.borrow_mut().is_listed = false;
                let _ = edge::remember(&self.state, "listed", None);
            }
            let is_done = register(&self.config, &address, has_sockets).await;
            if !self.core.borrow_mut().listing.end(number) {
                return;
            }
            if has_sockets && is_done {
                self.core.borrow_mut().is_listed = true;
                let _ = edge::remember(&self.state, "listed", Some("1"));
                // Until now nobody could tell it of a change.
                let _ = self.look(0).await;
            }
            if !has_sockets && self.core.borrow().hub.is_empty() {
                self.leave().await;
            }
            if !is_done {
                self.turn(|core, now| {
                    core.list_at = Some(now.plus(AGAIN_MS));
                    Vec::new()
                });
                return;
            }
        }
    }

    /// Enters the hub into the list of hubs, behind the answer.
    fn be_listed(self: &Rc<Self>) {
        if self.core.borrow().is_listed {
            return;
        }
        let object = Rc::clone(self);
        self.context.wait_until(&task::promise(async move {
            object.change_list().await;
            JsValue::UNDEFINED
        }));
    }

    // Turns.

    /// Takes an event, and carries out what it leads to.
    pub(super) fn turn(self: &Rc<Self>, event: impl FnOnce(&mut Core, UnixMillis) -> Vec<Effect>) {
        let now = now();
        let effects = event(&mut self.core.borrow_mut(), now);
        if let Err(error) = self.carry_out(effects.into(), now) {
            // What memory and log say differs. The log is right.
            self.give_up(&error);
            return;
        }
        self.schedule(now);
        self.watch_slow_readers();
    }

    fn carry_out(&self, mut effects: VecDeque<Effect>, now: UnixMillis) -> Result<(), JsValue> {
        let sockets = &self.sockets;
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => {
                    if !sockets.send(to, &frame, MAX_UNSENT_BYTES) {
                        effects.extend(self.core.borrow_mut().hub.too_slow(to, now));
                    }
                }
                Effect::Store(StoredMessage { seq, at, target, frame }) => {
                    edge::store_message(&self.state, js(seq), js(at.get()), &target, &frame)?;
                }
                Effect::Fan { to, frame, first } => {
                    let to = Uint32Array::from(to.as_slice());
                    let skipped = sockets.fan(&to, &frame, js(first), MAX_UNSENT_BYTES, MAX_HUB_UNSENT_BYTES);
                    if skipped.length() > 0 {
                        self.core.borrow_mut().hub.skipped(&skipped.to_vec(), first, now);
                    }
                }
                Effect::CatchUp { who, after } => effects.extend(self.catch_up(who, after)?),
                Effect::Attach { who, text } => {
                    if !sockets.attach(who, &text) {
                        // Nothing that follows reaches it.
                        for effect in self.core.borrow_mut().hub.dismiss(who, Code::BadRequest, now) {
                            effects.push_front(effect);
                        }
                    }
                }
                Effect::Close { who, why } => sockets.close(who, why.status, why.reason),
                Effect::Trim { through } => {
                    let last = self.core.borrow().hub.end().seq;
                    edge::trim_log(&self.state, js(through), js(last))?;
                }
            }
        }
        Ok(())
    }

    /// Sends a socket the next messages that it has missed. Returns the effect for those after
    /// them, unless the client has to read first.
    fn catch_up(&self, who: u32, after: u64) -> Result<Vec<Effect>, JsValue> {
        self.sockets.seen(who, js(after));
        if self.sockets.unsent(who) > MAX_UNSENT_BYTES {
            return Ok(Vec::new());
        }
        let (rows, is_all) = self.rows_after(after, MAX_PACKED, MAX_UNSENT_BYTES)?;
        let messages: Vec<StoredMessage> = rows.into_iter().map(row_of).collect();
        for effect in self.core.borrow_mut().hub.missed(who, &messages, is_all) {
            if let Effect::Send { to, frame } = effect {
                self.sockets.send(to, &frame, u32::MAX);
            }
        }
        let after = messages.last().map_or(after, |last| last.seq);
        self.sockets.seen(who, if is_all { -1.0 } else { js(after) });
        Ok(if is_all { Vec::new() } else { vec![Effect::CatchUp { who, after }] })
    }

    /// The next rows of the log after a number, and whether they are all.
    pub(super) fn rows_after(&self, after: u64, limit: usize, bytes: u32) -> Result<(Vec<StoredRow>, bool), JsValue> {
        let text = edge::messages_after(&self.state, js(after), limit, bytes)?;
        serde_json::from_str(&text).map_err(|error| JsValue::from_str(&error.to_string()))
    }

    /// Sets the alarm for what is due next.
    fn schedule(&self, now: UnixMillis) {
        let is_late = self.has_late_replica();
        let mut core = self.core.borrow_mut();
        let used = units(core.hub.members());
        if slots::is_much(core.held, used) {
            let soon = now.plus(AGAIN_MS);
            core.hold_at = Some(core.hold_at.map_or(soon, |at| at.min(soon)));
        }
        if core.hub.is_empty() && core.is_listed && core.list_at.is_none() {
            core.list_at = Some(now.plus(AGAIN_MS));
        }
        let copies = is_late.then(|| core.alarm.filter(|at| *at > now).unwrap_or_else(|| now.plus(AGAIN_MS)));
        let due = [core.hub.next_due(), core.hold_at, core.list_at, copies].into_iter().flatten().min();
        // An alarm that is set for a time that has passed, while one is running, does not fire.
        let due = due.map(|at| at.max(now.plus(SOON_MS)));
        // One that fires too early does no harm.
        let is_set = match (core.alarm, due) {
            (Some(set), Some(due)) => now < set && set <= due,
            (set, due) => set == due,
        };
        if is_set {
            return;
        }
        core.alarm = due;
        if let Err(error) = edge::set_alarm(&self.state, js(due.map_or(0, UnixMillis::get))) {
            web_sys::console::error_2(&"realtime: no alarm".into(), &error);
            core.alarm = None;
        }
    }

    /// Looks after sockets that are behind, or that were closed with bytes unsent, while there are
    /// any: a timer keeps the hub from hibernation.
    fn watch_slow_readers(self: &Rc<Self>) {
        let is_needed = self.core.borrow().hub.behind().next().is_some() || self.sockets.lingers(MAX_HUB_UNSENT_BYTES);
        if !is_needed || std::mem::replace(&mut self.core.borrow_mut().watches, true) {
            return;
        }
        let object = Rc::clone(self);
        let _ = task::promise(async move {
            let pause = object.core.borrow().watch_ms.clamp(MIN_DRAIN_MS, DRAIN_MS);
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
            object.core.borrow_mut().watches = false;
            object.turn(|core, now| {
                core.watch_ms = pause.saturating_mul(2);
                let mut behind: Vec<(u32, u32)> =
                    core.hub.behind().map(|who| (object.sockets.unsent(who), who)).collect();
                behind.sort_unstable();
                let mut unsent = behind.iter().fold(0_u32, |sum, (bytes, _)| sum.saturating_add(*bytes));
                let mut effects = core.hub.due(now);
                // The sockets with the most unsent bytes come last.
                while let Some((bytes, who)) = behind.pop() {
                    if unsent > MAX_HUB_UNSENT_BYTES {
                        unsent = unsent.saturating_sub(bytes);
                        effects.extend(core.hub.too_slow(who, now));
                    } else if bytes <= MAX_UNSENT_BYTES / 2 {
                        effects.extend(core.hub.drained(who, now));
                        core.watch_ms = 0;
                    }
                }
                effects
            });
            JsValue::UNDEFINED
        });
    }

    // Helpers.

    /// The hub's tenant and the root of its family.
    fn tenant(&self) -> Option<(TenantId, TenantId)> {
        let core = self.core.borrow();
        let address = core.address.as_ref()?;
        TenantId::parse(&address.tenant).zip(TenantId::parse(&address.root))
    }

    /// Learns whose hub this is, and makes sure that the tenant is served. A tenant that has moved
    /// has another root, which the system of record knows, and not every caller.
    async fn settle_in(self: &Rc<Self>, address: &Address) -> Result<(), Code> {
        if self.core.borrow().address.is_none() {
            self.adopt(address.clone());
        }
        let is_known = self.core.borrow().address.as_ref() == Some(address);
        if !is_known {
            let _ = self.look(0).await;
            if self.core.borrow().address.as_ref() != Some(address) {
                return Err(Code::SnapshotUnavailable);
            }
        }
        self.look(HUB_TRUST_MS).await
    }

    /// Belongs to another family from now on.
    fn move_to(&self, root: &TenantId) {
        let address = self.core.borrow().address.clone();
        if let Some(address) = address {
            self.adopt(Address { root: root.to_string(), ..address });
        }
    }

    fn adopt(&self, address: Address) {
        let mut core = self.core.borrow_mut();
        core.hub.set_tenant(&address.tenant);
        // The ledger of the other family counts from now on, and the list has the old one.
        (core.looked_at, core.held, core.held_by, core.hold_at, core.is_listed) = (None, 0, None, None, false);
        let written = edge::remember(&self.state, "address", Some(&json!(address).to_string()));
        let forgotten = written.and_then(|()| edge::remember(&self.state, "listed", None));
        core.address = Some(address);
        drop(core);
        if let Err(error) = forgotten {
            self.give_up(&error);
        }
    }

    /// Whether the last judgement is young enough to rely on.
    fn is_fresh(&self) -> bool {
        self.core.borrow().looked_at.is_some_and(|at| now().since(at) < HUB_TRUST_MS)
    }

    /// Opens a socket, if there is room.
    fn accept(&self, has_room: impl FnOnce(&Hub) -> bool) -> Option<u32> {
        if !has_room(&self.core.borrow().hub) {
            return None;
        }
        self.sockets.accept().map_err(|error| web_sys::console::error_2(&"realtime: no socket".into(), &error)).ok()
    }

    /// Ends the object after a failure of its storage.
    pub(super) fn give_up(&self, error: &JsValue) -> JsValue {
        web_sys::console::error_2(&"realtime: the hub's storage failed".into(), error);
        edge::abort(&self.state, "the hub's storage failed");
        refusal(Code::SnapshotUnavailable, None)
    }
}

/// A row of the log: number, time, target, frame.
pub(super) type StoredRow = (u64, u64, String, String);

pub(super) fn row_of((seq, at, target, frame): StoredRow) -> StoredMessage {
    StoredMessage { seq, at: UnixMillis::new(at), target, frame }
}

/// The refusal of a hub that has no room: another one may have some.
fn full() -> JsValue {
    let code = Code::ConcurrencyLimited;
    let body = json!({ "error": { "code": code.as_str(), "message": code.message(), "details": {} } });
    let headers = format!("x-full: 1\tx-code: {}", code.as_str());
    edge::respond(429, &format!("application/json\n\n\n1\n{headers}\n{body}")).into()
}

fn units(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A whole number as JavaScript has it. Numbers of messages and times stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn js(number: u64) -> f64 {
    number as f64
}

//! The Durable Object that holds the sockets of one tenant: its events.
//!
//! # The idea: one synchronous turn for each event
//!
//! [`Hub`] decides, and `turns` carries its effects out. What has to wait, waits before the turn:
//! whether the tenant may still be served (`standing`), whether a credential is accepted and the
//! limits allow a message (`judge`), and whether there is a slot for a connection (`slots`). After
//! each wait the hub is asked anew.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::Promise;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address, Change};
use super::judge;
use super::state::{HubObject, denied, full, now, read, refusal, reply, units};
use super::upgrade::Upgrade;
use crate::gate::{Code, Intent, SnapshotKey};
use crate::ledger::CounterOp;
use crate::model::bounds::{AUTH_MS, HUB_RETRY_MS, HUB_TRUST_MS, MAX_PUBLISHED, MAX_SOCKET_MESSAGE_BYTES};
use crate::model::{ChannelName, UnixMillis};
use crate::realtime::{Authentication, Denied, Draft, Guest, Hub, Next, Target, Turn};
use crate::worker::isolate;
use crate::worker::runtime::edge::{self, Sockets};
use crate::worker::runtime::fault::fault;
use crate::worker::runtime::task;
use crate::worker::sources::feed;

/// Times that a connection is prepared before it is refused.
const MAX_ROUNDS: u32 = 8;

/// Connections in one page of a list.
const MAX_LISTED: usize = 500;

/// One tenant's sockets.
#[wasm_bindgen]
pub struct TenantHub {
    object: Rc<HubObject>,
}

/// A message of the operator's own code.
#[derive(Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) target: String,
    /// JSON.
    pub(super) data: String,
}

/// The answer to a group of messages: a status and a document.
type Line = (u16, Value);

/// Messages that are published together, or why they are refused.
type Group = Result<Vec<Draft>, Line>;

fn refuse_all(groups: Vec<Group>, refused: Denied) -> Vec<Group> {
    groups.into_iter().map(|group| group.and_then(|_| Err(denied(refused)))).collect()
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

    /// The characters of the longest message. A longer one is not passed on, and so never copied.
    #[wasm_bindgen(getter, js_name = maxMessage)]
    pub fn max_message(&self) -> usize {
        MAX_SOCKET_MESSAGE_BYTES
    }

    /// A client has sent something that is no message: binary data, or a text of this many
    /// characters.
    pub fn refuse(&self, who: u32, characters: Option<u32>) {
        let length = characters.map(|characters| usize::try_from(characters).unwrap_or(usize::MAX));
        self.object.screen(who, length);
    }

    /// A client has sent a message. Returns a Promise if something has to be waited for.
    pub fn message(&self, who: u32, text: String) -> JsValue {
        fault(Some(&text), "{\"action\":\"trap\"}");
        if !self.object.screen(who, Some(text.len())) {
            return JsValue::UNDEFINED;
        }
        let next = if self.object.is_fresh() { Some(self.object.act(who, &text)) } else { None };
        if matches!(next, Some(Next::Nothing)) {
            return JsValue::UNDEFINED;
        }
        let object = Rc::clone(&self.object);
        let answered = task::promise(async move {
            object.message(who, &text, next).await;
            JsValue::UNDEFINED
        });
        answered.into()
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

impl HubObject {
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
            "/relay" => self.relay(body).await,
            "/apply" => self.apply(body).await,
            "/shards" => reply(200, &json!(self.core.borrow().copies.shards())),
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
        let Upgrade { address, admission, decided_at, question, client, opening, protocol } = upgrade;
        let decided_at = UnixMillis::new(decided_at).min(now());
        if let Err(code) = self.confirm_address(&address).await {
            return refusal(code, None);
        }
        if !self.core.borrow().hub.has_room() {
            return full();
        }
        let is_ready = self.prepare(admission.as_ref().map(|_| decided_at)).await;
        if let Err((code, wait_ms)) = is_ready {
            return refusal(code, wait_ms);
        }
        let id: Arc<str> = edge::unique().into();
        if let Some(admission) = admission {
            let Some(who) = self.accept(Hub::has_room) else { return full() };
            self.turn(|core, now| {
                core.trust.admit(decided_at);
                core.hub.open(who, id, admission, &opening, now)
            });
        } else {
            let Some(who) = self.accept(|hub| hub.has_room_for_guest(&client)) else {
                return refusal(Code::ConcurrencyLimited, Some(1_000));
            };
            let until = now().plus(AUTH_MS).get();
            let guest = Guest { until, question, client };
            self.turn(|core, now| core.hub.open_guest(who, id, guest, now));
        }
        self.be_listed();
        self.sockets.upgraded(protocol.as_deref())
    }

    /// Makes sure that a connection may be opened: that the tenant is served, that the log is here,
    /// and for a member that there is a slot. Each of them may change while another one is waited
    /// for, so it ends when none of them had to be. `decided_at`: when the credential of a member
    /// was decided, which may be too long ago by then.
    async fn prepare(self: &Rc<Self>, decided_at: Option<UnixMillis>) -> Result<(), Denied> {
        let is_member = decided_at.is_some();
        for _ in 0..MAX_ROUNDS {
            self.still_served().await?;
            if !self.join().await {
                return Err((Code::SnapshotUnavailable, None));
            }
            if is_member {
                self.slot().await?;
            }
            if decided_at.is_some_and(|at| !now().is_within(HUB_TRUST_MS, at)) {
                break;
            }
            if self.is_fresh() && self.has_log() {
                return Ok(());
            }
        }
        Err((Code::SnapshotUnavailable, None))
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

    fn act(self: &Rc<Self>, who: u32, text: &str) -> Next {
        let mut next = Next::Nothing;
        self.turn(|core, now| {
            let Turn { effects, next: asks } = core.hub.message(who, text, now);
            next = asks;
            effects
        });
        next
    }

    /// Deals with a message that has to wait. `next`: what it waits for; `None` if it is not known
    /// whether the tenant may still be served.
    async fn message(self: &Rc<Self>, who: u32, text: &str, next: Option<Next>) {
        let next = match next {
            Some(next) => next,
            None => match self.look(HUB_TRUST_MS).await {
                Ok(()) => self.act(who, text),
                // Nothing enters while that is unknown.
                Err(code) => {
                    self.turn(|core, now| core.hub.dismiss(who, code, now));
                    return;
                }
            },
        };
        match next {
            Next::Nothing => {}
            Next::Authenticate(asked) => self.authenticate(&asked).await,
            Next::Publish(draft) => match self.charge_and_look(1).await {
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
        let decided_at = now();
        let Authentication { presented, question, .. } = asked;
        let (config, context) = (&self.config, &self.context);
        let answer = match question {
            Some(question) => match judge::admission(question, presented, config, context).await {
                // INVARIANT (agreement): the host and the credential name the same tenant.
                Ok((_, address)) if address.tenant != *tenant.as_str() => Err((Code::TenantMismatch, None)),
                Ok((admission, _)) => self.prepare(Some(decided_at)).await.map(|()| admission),
                Err(denied) => Err(denied),
            },
            None => match judge::renewal(presented, &tenant, config, context).await {
                Ok(admission) => self.still_served().await.map(|()| admission),
                Err(denied) => Err(denied),
            },
        };
        self.turn(|core, now| {
            if answer.is_ok() {
                core.trust.admit(decided_at);
            }
            core.hub.authenticated(asked, answer, now)
        });
    }

    /// Publishes messages of the operator's own code: a group in each line of `body`. They share a
    /// write, and for clients that take it a frame. Answers each line by its status and an object.
    async fn publish(self: &Rc<Self>, address: Option<Address>, body: &str) -> JsValue {
        let Some(address) = address else { return refusal(Code::BadRequest, None) };
        let groups: Vec<Group> = match self.confirm_address(&address).await {
            Ok(()) => body.lines().map(|line| self.drafts(line)).collect(),
            Err(code) => body.lines().map(|_| Err(denied((code, None)))).collect(),
        };
        let groups = self.charge_groups(groups).await;
        let groups = match self.still_served().await {
            Ok(()) => groups,
            Err(refused) => refuse_all(groups, refused),
        };
        let mut lines = Vec::new();
        self.turn(|core, now| {
            let mut position = core.hub.end();
            let mut drafts = Vec::new();
            for group in groups {
                lines.push(group.map_or_else(
                    |refused| refused,
                    |group| {
                        position.seq = position.seq.saturating_add(units(group.len()));
                        drafts.extend(group);
                        (200, json!(position))
                    },
                ));
            }
            core.hub.publish(drafts, now)
        });
        self.pump_all();
        let lines: Vec<String> = lines.iter().map(|line| json!(line).to_string()).collect();
        edge::respond(200, &format!("text/plain\n\n\n\n\n{}", lines.join("\n"))).into()
    }

    /// The messages in a line, if all of them can be published.
    fn drafts(&self, line: &str) -> Group {
        let bad = || denied((Code::BadRequest, None));
        let messages: Vec<Published> = serde_json::from_str(line).map_err(|_| bad())?;
        if messages.len() > MAX_PUBLISHED || messages.iter().any(|one| one.data.len() > MAX_SOCKET_MESSAGE_BYTES) {
            return Err(bad());
        }
        let draft = |one: Published| Some(Draft::from_elsewhere(None, Target::parse(&one.target)?, one.data));
        let drafts = messages.into_iter().map(draft).collect::<Option<Vec<Draft>>>().ok_or_else(bad)?;
        if !drafts.iter().all(|draft| self.core.borrow().hub.knows(&draft.target)) {
            let error = json!({ "code": "NOT_FOUND", "message": "the catalog has no such channel", "details": {} });
            return Err((404, json!({ "error": error })));
        }
        Ok(drafts)
    }

    /// Takes what groups of messages cost: all together, and if a limit does not allow that, each
    /// by itself.
    async fn charge_groups(self: &Rc<Self>, groups: Vec<Group>) -> Vec<Group> {
        let sizes = groups.iter().map(|group| group.as_ref().map_or(0, |drafts| units(drafts.len())));
        match self.charge(sizes.sum()).await {
            Ok(()) => groups,
            Err((Code::RateLimited | Code::QuotaExceeded, _)) if groups.len() > 1 => self.charge_each(groups).await,
            Err(refused) => refuse_all(groups, refused),
        }
    }

    /// Takes what each group costs. All are asked about at once, so that they share a message to
    /// the ledger.
    async fn charge_each(self: &Rc<Self>, groups: Vec<Group>) -> Vec<Group> {
        let outcomes = Rc::new(RefCell::new(Vec::new()));
        let mut asked = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let Ok(drafts) = group else { continue };
            let (object, outcomes, size) = (Rc::clone(self), Rc::clone(&outcomes), units(drafts.len()));
            asked.push(task::promise(async move {
                let outcome = object.charge(size).await;
                outcomes.borrow_mut().push((place, outcome));
                JsValue::UNDEFINED
            }));
        }
        for one in asked {
            let _ = JsFuture::from(one).await;
        }
        let mut groups = groups;
        for (place, outcome) in outcomes.take() {
            if let (Some(group), Err(refused)) = (groups.get_mut(place), outcome) {
                *group = Err(denied(refused));
            }
        }
        groups
    }

    /// Snapshots have changed. Answers with the hubs that have not acted on it.
    async fn changed(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(Change { changes, others }) = serde_json::from_str::<Change>(body) else {
            return refusal(Code::BadRequest, None);
        };
        for (key, epoch) in &changes {
            if let Some(key) = SnapshotKey::parse(key) {
                feed::changed(&key, *epoch, now());
            }
        }
        let looked = self.look(0).await;
        if looked.is_ok() {
            self.turn(|core, _| core.hub.tell_changed());
        }
        let mut failed = client::tell_each(&self.config, &others, &changes).await;
        // It could not be judged, and it has sockets. Otherwise it has acted on the change.
        let is_undecided = looked == Err(Code::SnapshotUnavailable) && !self.core.borrow().hub.is_empty();
        failed.extend(self.core.borrow().address.clone().filter(|_| is_undecided));
        reply(200, &json!(failed))
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
        // Members may be told something, so they have to be members still.
        if self.core.borrow().hub.members() > 0 {
            let _ = self.look(HUB_TRUST_MS).await;
        }
        self.turn(|core, now| core.hub.due(now));
        // What is due is tried once. If it fails it is due again, a little later.
        let (holds, lists) = {
            let mut core = self.core.borrow_mut();
            (core.slots.is_due(now()), core.list_at.take_if(|at| *at <= now()).is_some())
        };
        if holds {
            self.settle().await;
        }
        if lists {
            self.change_list().await;
        }
        let is_late = {
            let core = self.core.borrow();
            core.copies.is_late(&core.hub)
        };
        if is_late {
            self.pump_all();
        }
        self.turn(|core, now| {
            if lists && core.hub.is_empty() == core.is_listed && core.list_at.is_none() {
                core.list_at = Some(now.plus(HUB_RETRY_MS));
            }
            Vec::new()
        });
    }

    /// Takes what messages cost. Refuses them if the tenant may no longer be served by then.
    async fn charge_and_look(self: &Rc<Self>, messages: u64) -> Result<(), Denied> {
        self.charge(messages).await?;
        self.still_served().await
    }

    /// Looks again, after a wait, if the last look is too old to be trusted.
    async fn still_served(self: &Rc<Self>) -> Result<(), Denied> {
        self.look(HUB_TRUST_MS).await.map_err(|code| (code, None))
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

    /// Opens a socket, if there is room.
    fn accept(&self, has_room: impl FnOnce(&Hub) -> bool) -> Option<u32> {
        if !has_room(&self.core.borrow().hub) {
            return None;
        }
        self.sockets.accept().map_err(|error| web_sys::console::error_2(&"realtime: no socket".into(), &error)).ok()
    }
}

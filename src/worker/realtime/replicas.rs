//! Several hubs of one tenant. [`crate::realtime::Copies`] decides; this talks to the other hubs.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address};
use super::state::{HubObject, StoredRow, now, refusal, reply, row_of};
use crate::gate::Code;
use crate::model::bounds::{HUB_TRUST_MS, MAX_PACKED, MAX_UNSENT_BYTES};
use crate::realtime::{Addressed, Applied, Draft, Joined, Joining, Lack, Position, Pump, Target};
use crate::worker::runtime::{edge, task};

/// Milliseconds for which a hub that joins waits for the log.
const JOIN_MS: u64 = 3_000;

/// Messages for a further hub.
#[derive(Serialize, Deserialize)]
struct Copied {
    name: String,
    begin: Option<Position>,
    messages: Vec<StoredRow>,
}

/// A message of a member of another hub, to be numbered.
#[derive(Serialize, Deserialize)]
struct Relayed {
    user: Option<Arc<str>>,
    target: String,
    data: String,
}

/// Waits a moment for another event of the hub.
async fn pause() {
    let _ = JsFuture::from(edge::sleep(5)).await;
}

impl HubObject {
    // The first hub.

    /// A further hub joins.
    pub(super) fn admit_replica(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(joining) = serde_json::from_str::<Joining>(body) else { return refusal(Code::BadRequest, None) };
        let shard = joining.shard;
        let joined = {
            let mut core = self.core.borrow_mut();
            let core = &mut *core;
            core.copies.join(joining, &core.hub)
        };
        if let Err(error) = self.remember_replicas() {
            return self.give_up(&error);
        }
        self.pump(shard);
        reply(200, &json!(joined))
    }

    /// A further hub has no sockets any more.
    pub(super) fn dismiss_replica(self: &Rc<Self>, body: &str) -> JsValue {
        if let Ok((shard, name)) = serde_json::from_str::<(u32, String)>(body)
            && self.core.borrow_mut().copies.leave(shard, &name)
        {
            let _ = self.remember_replicas();
        }
        reply(200, &json!({}))
    }

    fn remember_replicas(&self) -> Result<(), JsValue> {
        let text = json!(self.core.borrow().copies).to_string();
        edge::remember(&self.state, "replicas", Some(&text))
    }

    /// Numbers messages of another hub's members.
    pub(super) async fn relay(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(messages) = serde_json::from_str::<Vec<Relayed>>(body) else {
            return refusal(Code::BadRequest, None);
        };
        if let Err(code) = self.look(HUB_TRUST_MS).await {
            return refusal(code, None);
        }
        let drafts = messages.into_iter().filter_map(|Relayed { user, target, data }| {
            Some(Draft::from_elsewhere(user, Target::parse(&target)?, data))
        });
        let drafts: Vec<Draft> = drafts.collect();
        self.turn(|core, now| core.hub.publish(drafts, now));
        self.pump_all();
        reply(200, &json!(self.core.borrow().hub.end().seq))
    }

    /// Sends all further hubs what they lack.
    pub(super) fn pump_all(self: &Rc<Self>) {
        let shards = self.core.borrow().copies.shards();
        for shard in shards {
            self.pump(shard);
        }
    }

    /// Sends a further hub what it lacks, behind the event.
    fn pump(self: &Rc<Self>, shard: u32) {
        if !self.core.borrow_mut().copies.begin_pump(shard, now()) {
            return;
        }
        let object = Rc::clone(self);
        self.context.wait_until(&task::promise(async move {
            object.pump_until_level(shard).await;
            object.core.borrow_mut().copies.end_pump(shard);
            object.turn(|_, _| Vec::new());
            JsValue::UNDEFINED
        }));
    }

    async fn pump_until_level(&self, shard: u32) {
        while let Some((address, lack, copied)) = self.next_copy(shard) {
            let asked = client::ask(&self.config, &address.at(shard), "/apply", &json!(copied).to_string());
            let answer = match client::answer(asked).await {
                Some((200, text)) => text.parse().map_or(Applied::Failed, Applied::Through),
                Some((409, text)) => serde_json::from_str(&text).map_or(Applied::Failed, Applied::Renamed),
                Some((410, _)) => Applied::Foreign,
                _ => Applied::Failed,
            };
            let changes = matches!(answer, Applied::Renamed(_) | Applied::Foreign);
            let next = {
                let mut core = self.core.borrow_mut();
                let core = &mut *core;
                core.copies.applied(shard, &lack, answer, &core.hub, now())
            };
            if changes {
                let _ = self.remember_replicas();
            }
            match next {
                Pump::Again => {}
                Pump::After(pause_ms) => {
                    let _ = JsFuture::from(edge::sleep(u32::try_from(pause_ms).unwrap_or(u32::MAX))).await;
                }
                Pump::Stop => return,
            }
        }
    }

    /// What a further hub lacks, and the next messages of it.
    fn next_copy(&self, shard: u32) -> Option<(Address, Lack, Copied)> {
        let core = self.core.borrow();
        let lack = core.copies.lack(shard, &core.hub)?;
        let (messages, _) = self.rows_after(lack.after, MAX_PACKED, MAX_UNSENT_BYTES).ok()?;
        let copied = Copied { name: lack.name.clone(), begin: lack.begin.clone(), messages };
        Some((core.address.clone()?, lack, copied))
    }

    // A further hub.

    /// Whether this is not the first hub of its tenant.
    pub(super) fn is_replica(&self) -> bool {
        self.core.borrow().address.as_ref().is_some_and(|address| address.shard > 0)
    }

    /// Whether it has the log: it is the first hub, or has joined it and caught up.
    pub(super) fn has_log(&self) -> bool {
        let core = self.core.borrow();
        !self.is_replica() || core.membership.is_level(&core.hub.end())
    }

    /// Joins the first hub, and waits until the log is here. Returns false if that fails.
    pub(super) async fn join(self: &Rc<Self>) -> bool {
        if self.has_log() {
            return true;
        }
        if self.core.borrow().membership.has_joined() {
            return self.catch_up_with_first().await;
        }
        let Some(address) = self.core.borrow().address.clone() else { return false };
        let deadline = now().plus(JOIN_MS);
        let name = edge::unique();
        while !self.core.borrow_mut().membership.begin(&name, now()) {
            if now() > deadline {
                return false;
            }
            pause().await;
            if self.core.borrow().membership.has_joined() {
                return self.catch_up_with_first().await;
            }
        }
        let joining = Joining { shard: address.shard, name: name.clone(), position: self.core.borrow().hub.end() };
        let asked = client::ask(&self.config, &address.at(0), "/join", &json!(joining).to_string());
        let joined = match client::answer(asked).await {
            Some((200, text)) => serde_json::from_str::<Joined>(&text).ok(),
            _ => None,
        };
        let Some(Joined { begin, end }) = joined else {
            self.core.borrow_mut().membership.give_up(&name);
            return false;
        };
        if let Err(error) = self.begin_at(begin) {
            self.core.borrow_mut().membership.give_up(&name);
            self.give_up(&error);
            return false;
        }
        let end = Position { seq: end, ..self.core.borrow().hub.end() };
        if !self.core.borrow_mut().membership.join(&name, end) {
            return false;
        }
        let joined = self.core.borrow().membership.remembered();
        if let Err(error) = edge::remember(&self.state, "joined", joined.as_deref()) {
            self.give_up(&error);
            return false;
        }
        self.catch_up_with_first().await
    }

    /// Waits until the log is here. Returns false if that takes too long.
    async fn catch_up_with_first(&self) -> bool {
        let deadline = now().plus(JOIN_MS);
        while !self.has_log() {
            if now() > deadline {
                return false;
            }
            pause().await;
        }
        true
    }

    /// Leaves the first hub: there are no sockets.
    pub(super) async fn leave(self: &Rc<Self>) {
        let Some(name) = self.core.borrow_mut().membership.leave() else { return };
        let _ = edge::remember(&self.state, "joined", None);
        let Some(address) = self.core.borrow().address.clone() else { return };
        let body = json!((address.shard, name)).to_string();
        let _ = client::answer(client::ask(&self.config, &address.at(0), "/leave", &body)).await;
    }

    /// Takes in messages of the first hub. Returns the number of the last one that is here.
    pub(super) async fn apply(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(Copied { name, begin, messages }) = serde_json::from_str::<Copied>(body) else {
            return refusal(Code::BadRequest, None);
        };
        // The first hub knows the tenant, but not the members here.
        if self.look(HUB_TRUST_MS).await == Err(Code::SnapshotUnavailable) {
            return refusal(Code::SnapshotUnavailable, None);
        }
        let (addressed, stated) = {
            let core = self.core.borrow();
            let shard = core.address.as_ref().map_or(0, |address| address.shard);
            (core.membership.addressed(&name), core.membership.stated(shard, core.hub.end()))
        };
        match (addressed, stated) {
            (Addressed::Here, _) => {}
            (Addressed::Soon, _) => return reply(503, &json!({})),
            (Addressed::Elsewhere, Some(stated)) => return reply(409, &json!(stated)),
            (Addressed::Elsewhere, None) => return reply(410, &json!({})),
        }
        if let Err(error) = self.begin_at(begin) {
            return self.give_up(&error);
        }
        let messages = messages.into_iter().map(row_of).collect();
        self.turn(|core, now| core.hub.apply(messages, now));
        reply(200, &json!(self.core.borrow().hub.end().seq))
    }

    /// Begins the log anew, if it has to.
    fn begin_at(self: &Rc<Self>, position: Option<Position>) -> Result<(), JsValue> {
        if let Some(position) = position {
            edge::remember(&self.state, "epoch", Some(&position.epoch))?;
            self.turn(|core, now| core.hub.begin_at(position, now));
        }
        Ok(())
    }

    /// Has the first hub number a message. Returns its number.
    pub(super) async fn relay_to_first(&self, draft: &Draft) -> Result<u64, Code> {
        let Some(address) = self.core.borrow().address.clone() else { return Err(Code::SnapshotUnavailable) };
        let message = Relayed { user: draft.user.clone(), target: draft.target.to_string(), data: draft.data.clone() };
        let asked = client::ask(&self.config, &address.at(0), "/relay", &json!([message]).to_string());
        match client::answer(asked).await {
            Some((200, text)) => text.parse().map_err(|_| Code::SnapshotUnavailable),
            _ => Err(Code::SnapshotUnavailable),
        }
    }
}

//! Several hubs of one tenant, for more sockets than one can hold.
//!
//! The first hub numbers all messages. Each further one holds sockets and a copy of the log: the
//! first hub sends it what comes after the number that it has last confirmed, again and again until
//! it confirms. So every hub has the same messages in the same order, and a message that is lost,
//! repeated or overtaken changes nothing.
//!
//! A hub *joins* before it opens its first socket, under a name that it has made up. Messages to it
//! carry that name, and so does its leave: one that is late concerns nobody.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address};
use super::state::{HubObject, Replica, StoredRow, now, refusal, reply, row_of};
use crate::gate::Code;
use crate::model::bounds::{HUB_TRUST_MS, MAX_PACKED, MAX_UNSENT_BYTES};
use crate::realtime::{Draft, Position, Target};
use crate::worker::runtime::{edge, task};

/// Milliseconds before a replica that did not answer is asked again, at first and at most.
const RETRY_MS: (u64, u64) = (10, 2_000);
/// Failures in a row after which the alarm goes on.
const MAX_FAILURES: u32 = 8;
/// Milliseconds after which a pump that says nothing has been cut off by the runtime.
const SILENT_MS: u64 = 15_000;
/// Milliseconds for which a hub that joins waits for the log.
const JOIN_MS: u64 = 3_000;

/// A hub that joins.
#[derive(Serialize, Deserialize)]
struct Joining {
    shard: u32,
    name: String,
    position: Position,
}

/// What the first hub answers to it.
#[derive(Serialize, Deserialize)]
struct Joined {
    /// Where its log has to begin anew.
    begin: Option<Position>,
    /// The number of the last message.
    end: u64,
}

/// Messages for a replica.
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

impl HubObject {
    // The first hub.

    /// A further hub joins.
    pub(super) fn admit_replica(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(Joining { shard, name, position }) = serde_json::from_str::<Joining>(body) else {
            return refusal(Code::BadRequest, None);
        };
        let (begin, end) = {
            let mut core = self.core.borrow_mut();
            let begin = (!core.hub.reaches(&position)).then(|| core.hub.start());
            let confirmed = begin.as_ref().map_or(position.seq, |begin| begin.seq);
            core.replicas.insert(shard, Replica { name, confirmed, pumped_at: None });
            (begin, core.hub.end().seq)
        };
        if let Err(error) = self.remember_replicas() {
            return self.give_up(&error);
        }
        self.pump(shard);
        reply(200, &json!(Joined { begin, end }))
    }

    /// A further hub has no sockets any more.
    pub(super) fn dismiss_replica(self: &Rc<Self>, body: &str) -> JsValue {
        if let Ok((shard, name)) = serde_json::from_str::<(u32, String)>(body) {
            self.forget_replica(shard, &name);
        }
        reply(200, &json!({}))
    }

    fn forget_replica(&self, shard: u32, name: &str) {
        {
            let mut core = self.core.borrow_mut();
            if core.replicas.get(&shard).is_some_and(|replica| replica.name == name) {
                core.replicas.remove(&shard);
            }
        }
        let _ = self.remember_replicas();
    }

    fn remember_replicas(&self) -> Result<(), JsValue> {
        let text = json!(self.core.borrow().replicas).to_string();
        edge::remember(&self.state, "replicas", Some(&text))
    }

    /// Numbers messages of another hub's members.
    pub(super) async fn relay(self: &Rc<Self>, address: Option<Address>, body: &str) -> JsValue {
        let (Some(_), Ok(messages)) = (address, serde_json::from_str::<Vec<Relayed>>(body)) else {
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

    /// Sends all replicas what they lack.
    pub(super) fn pump_all(self: &Rc<Self>) {
        let shards: Vec<u32> = self.core.borrow().replicas.keys().copied().collect();
        for shard in shards {
            self.pump(shard);
        }
    }

    /// Whether a replica lacks messages, and nothing is under way to it.
    pub(super) fn has_late_replica(&self) -> bool {
        let core = self.core.borrow();
        let last = core.hub.end().seq;
        core.replicas.values().any(|one| one.confirmed < last && one.pumped_at.is_none())
    }

    /// Sends a replica what it lacks, behind the event.
    fn pump(self: &Rc<Self>, shard: u32) {
        {
            let mut core = self.core.borrow_mut();
            let Some(replica) = core.replicas.get_mut(&shard) else { return };
            if replica.pumped_at.is_some_and(|at| now().since(at) < SILENT_MS) {
                return;
            }
            replica.pumped_at = Some(now());
        }
        let object = Rc::clone(self);
        self.context.wait_until(&task::promise(async move {
            object.pump_until_level(shard).await;
            if let Some(replica) = object.core.borrow_mut().replicas.get_mut(&shard) {
                replica.pumped_at = None;
            }
            object.turn(|_, _| Vec::new());
            JsValue::UNDEFINED
        }));
    }

    async fn pump_until_level(&self, shard: u32) {
        let mut failures = 0_u32;
        while failures < MAX_FAILURES {
            let Some((address, copied, end)) = self.next_copy(shard) else { return };
            if copied.begin.is_none() && copied.messages.is_empty() {
                return;
            }
            let body = json!(copied).to_string();
            let heard = client::answer(client::ask(&self.config, &address.at(shard), "/apply", &body)).await;
            let confirmed = match heard {
                Some((200, text)) => text.parse::<u64>().ok(),
                Some((410, _)) => {
                    self.forget_replica(shard, &copied.name);
                    return;
                }
                _ => None,
            };
            {
                let mut core = self.core.borrow_mut();
                let replica = core.replicas.get_mut(&shard).filter(|one| one.name == copied.name);
                let Some(replica) = replica else { return };
                replica.pumped_at = Some(now());
                replica.confirmed = confirmed.map_or(replica.confirmed, |confirmed| confirmed.min(end));
            }
            if confirmed.is_some() {
                failures = 0;
                continue;
            }
            failures = failures.saturating_add(1);
            let pause = RETRY_MS.0.saturating_mul(1 << failures).min(RETRY_MS.1);
            let _ = JsFuture::from(edge::sleep(u32::try_from(pause).unwrap_or(u32::MAX))).await;
        }
    }

    /// The next messages for a replica, and the number of the last one of all.
    fn next_copy(&self, shard: u32) -> Option<(Address, Copied, u64)> {
        let core = self.core.borrow();
        let replica = core.replicas.get(&shard)?;
        let confirmed = Position { seq: replica.confirmed, ..core.hub.end() };
        // It has been away for longer than the log reaches.
        let begin = (!core.hub.reaches(&confirmed)).then(|| core.hub.start());
        let after = begin.as_ref().map_or(replica.confirmed, |begin| begin.seq);
        let (messages, _) = self.rows_after(after, MAX_PACKED, MAX_UNSENT_BYTES).ok()?;
        Some((core.address.clone()?, Copied { name: replica.name.clone(), begin, messages }, core.hub.end().seq))
    }

    // A further hub.

    /// Whether this is not the first hub of its tenant.
    pub(super) fn is_replica(&self) -> bool {
        self.core.borrow().address.as_ref().is_some_and(|address| address.shard > 0)
    }

    /// Joins the first hub, and waits until the log is here. Returns false if that fails.
    pub(super) async fn join(self: &Rc<Self>) -> bool {
        if !self.is_replica() || self.core.borrow().joined.is_some() {
            return true;
        }
        let Some(address) = self.core.borrow().address.clone() else { return false };
        let name = edge::unique();
        // Copies may arrive before the answer. They are sent again.
        self.core.borrow_mut().joining = Some(name.clone());
        let joining = Joining { shard: address.shard, name: name.clone(), position: self.core.borrow().hub.end() };
        let asked = client::ask(&self.config, &address.at(0), "/join", &json!(joining).to_string());
        let joined = match client::answer(asked).await {
            Some((200, text)) => serde_json::from_str::<Joined>(&text).ok(),
            _ => None,
        };
        let Some(Joined { begin, end }) = joined else { return false };
        if self.begin_at(begin).is_err() || edge::remember(&self.state, "joined", Some(&name)).is_err() {
            return false;
        }
        self.core.borrow_mut().joined = Some(name);
        let deadline = now().plus(JOIN_MS);
        while self.core.borrow().hub.end().seq < end {
            if now() > deadline {
                return false;
            }
            let _ = JsFuture::from(edge::sleep(5)).await;
        }
        true
    }

    /// Leaves the first hub: there are no sockets.
    pub(super) async fn leave(self: &Rc<Self>) {
        let Some(name) = self.core.borrow_mut().joined.take() else { return };
        let _ = edge::remember(&self.state, "joined", None);
        let Some(address) = self.core.borrow().address.clone() else { return };
        let body = json!((address.shard, name)).to_string();
        let _ = client::answer(client::ask(&self.config, &address.at(0), "/leave", &body)).await;
    }

    /// Takes in messages of the first hub. Returns the number of the last one that is here.
    pub(super) fn apply(self: &Rc<Self>, body: &str) -> JsValue {
        let Ok(Copied { name, begin, messages }) = serde_json::from_str::<Copied>(body) else {
            return refusal(Code::BadRequest, None);
        };
        let (is_joined, is_joining) = {
            let core = self.core.borrow();
            (core.joined.as_ref() == Some(&name), core.joining.as_ref() == Some(&name))
        };
        if !is_joined {
            return reply(if is_joining { 503 } else { 410 }, &json!({}));
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

//! What a hub does that has to wait, in the order in which the adapter does it
//! (`src/worker/realtime`).

use std::rc::Rc;

use tenantgate::gate::Code;
use tenantgate::ledger::Renewal;
use tenantgate::model::UnixMillis;
use tenantgate::model::bounds::{HUB_TRUST_MS, MAX_PACKED};
use tenantgate::realtime::{
    Addressed, Applied, Denied, Draft, Growth, Joined, Joining, Lack, Opening, Position, Pump, Slot, StoredMessage,
    Target,
};

use super::client::admission;
use super::object::Memory;
use super::world::Rooms;

/// A question of one hub to another.
#[derive(Debug, Clone)]
pub enum Question {
    Join(Joining),
    Leave(u32, String),
    Apply(String, Option<Position>, Vec<StoredMessage>),
    Relay(String),
    Publish(Vec<String>),
    /// A change was published.
    Changed,
    Settle,
}

/// Its answer.
#[derive(Debug, Clone)]
pub enum Answer {
    Done,
    Joined(Joined),
    /// The number of a message.
    Seq(u64),
    /// A hub has joined under another name.
    Renamed(Joining),
    /// The status of a refusal.
    Refused(u16),
}

impl Rooms {
    /// Answers a question of another hub, or of the operator.
    pub async fn answer(self: Rc<Self>, hub: usize, question: Question) -> Answer {
        match question {
            Question::Join(joining) => {
                let shard = joining.shard;
                let joined = self.with(hub, |core, _| core.copies.join(joining, &core.hub));
                self.remember_copies(hub);
                self.pump(hub, shard);
                Answer::Joined(joined)
            }
            Question::Leave(shard, name) => {
                self.with(hub, |core, _| core.copies.leave(shard, &name));
                self.remember_copies(hub);
                Answer::Done
            }
            Question::Apply(name, begin, messages) => self.apply(hub, &name, begin, messages).await,
            Question::Relay(data) => match self.look(hub, HUB_TRUST_MS).await {
                Err(_) => Answer::Refused(503),
                Ok(()) => {
                    self.publish_here(hub, vec![data]);
                    Answer::Seq(self.with(hub, |core, _| core.hub.end().seq))
                }
            },
            Question::Publish(data) => match self.look(hub, HUB_TRUST_MS).await {
                Err(_) => Answer::Refused(503),
                Ok(()) => {
                    self.publish_here(hub, data);
                    Answer::Done
                }
            },
            Question::Changed => match self.look(hub, 0).await {
                Err(Code::SnapshotUnavailable) if self.with(hub, |core, _| !core.hub.is_empty()) => {
                    Answer::Refused(503)
                }
                _ => Answer::Done,
            },
            Question::Settle => {
                self.settle(hub).await;
                Answer::Done
            }
        }
    }

    // Standing.

    /// Judges the tenant again, unless that was done a moment ago.
    pub async fn look(self: &Rc<Self>, hub: usize, trust_ms: u64) -> Result<(), Code> {
        if self.with(hub, |core, now| core.trust.is_fresh(trust_ms, now)) {
            return Ok(());
        }
        let judging = self.with(hub, |core, now| core.trust.ask(now));
        let (tenant, asked) = {
            let hubs = self.hubs.borrow();
            (hubs[hub].tenant, hubs[hub].sockets.keys().copied().collect::<Vec<_>>())
        };
        let Some((is_served, revoked)) = self.ask_the_record(tenant).await else {
            return Err(Code::SnapshotUnavailable);
        };
        // Of those who were members when it asked.
        let denied: Vec<u32> = {
            let hubs = self.hubs.borrow();
            let is_denied = |who: &u32| hubs[hub].sockets.get(who).is_some_and(|one| revoked.contains(&one.client));
            asked.into_iter().filter(is_denied).collect()
        };
        let rules = self.rules.clone();
        self.turn(hub, |core, now| {
            if is_served {
                core.trust.judged(&judging);
                core.slots.set_limit(Some(Self::limit_key()));
                let mut effects = core.hub.set_rules(rules, now);
                effects.extend(denied.into_iter().flat_map(|who| core.hub.dismiss(who, Code::Unauthenticated, now)));
                return effects;
            }
            core.trust.lose();
            core.hub.all().into_iter().flat_map(|who| core.hub.dismiss(who, Code::TenantSuspended, now)).collect()
        });
        if is_served { Ok(()) } else { Err(Code::TenantSuspended) }
    }

    fn is_fresh(&self, hub: usize) -> bool {
        self.with(hub, |core, now| core.trust.is_fresh(HUB_TRUST_MS, now))
    }

    // Sockets.

    /// Opens a socket for a client. Returns whether that succeeded.
    pub async fn connect(self: Rc<Self>, hub: usize, client: usize, since: Option<Position>) -> bool {
        // The gateway has decided a moment ago.
        let decided_at = self.now();
        if self.revoked.borrow()[client].is_some() {
            return false;
        }
        if self.look(hub, HUB_TRUST_MS).await.is_err() || !self.with(hub, |core, _| core.hub.has_room()) {
            return false;
        }
        if !self.prepare(hub, decided_at).await || !self.with(hub, |core, _| core.hub.has_room()) {
            return false;
        }
        let who = self.accept(hub, client);
        let opening = Opening { since, packed: client % 2 == 0, ..Opening::default() };
        self.turn(hub, |core, now| {
            core.trust.admit(decided_at);
            core.hub.open(who, format!("c{hub}-{who}").into(), admission(client), &opening, now)
        });
        true
    }

    /// Makes sure that a member may be let in, until none of it had to be waited for.
    async fn prepare(self: &Rc<Self>, hub: usize, decided_at: UnixMillis) -> bool {
        for _ in 0..8 {
            if self.look(hub, HUB_TRUST_MS).await.is_err() || !self.join(hub).await || self.slot(hub).await.is_err() {
                return false;
            }
            if !self.now().is_within(HUB_TRUST_MS, decided_at) {
                return false;
            }
            if self.is_fresh(hub) && self.has_log(hub) {
                return true;
            }
        }
        false
    }

    /// A client has sent a message.
    pub async fn hear(self: Rc<Self>, hub: usize, who: u32, data: String) {
        if !self.is_fresh(hub)
            && let Err(code) = self.look(hub, HUB_TRUST_MS).await
        {
            self.turn(hub, |core, now| core.hub.dismiss(who, code, now));
            return;
        }
        if !self.hubs.borrow()[hub].sockets.contains_key(&who) {
            return;
        }
        if self.hubs.borrow()[hub].shard > 0 {
            let first = self.first(self.hubs.borrow()[hub].tenant);
            let _ = self.ask(first, Question::Relay(data)).await;
        } else {
            self.publish_here(hub, vec![data]);
        }
    }

    fn publish_here(self: &Rc<Self>, hub: usize, data: Vec<String>) {
        self.check_entry(hub);
        let drafts = data.into_iter().map(|data| Draft::from_elsewhere(None, Target::All, data)).collect();
        self.turn(hub, |core, now| core.hub.publish(drafts, now));
        for shard in self.with(hub, |core, _| core.copies.shards()) {
            self.pump(hub, shard);
        }
    }

    /// A socket has closed.
    pub fn hang_up(self: &Rc<Self>, hub: usize, who: u32) {
        if self.hubs.borrow_mut()[hub].sockets.remove(&who).is_some() {
            self.turn(hub, |core, now| core.hub.closed(who, now));
        }
    }

    /// Does what is due.
    pub fn alarm(self: &Rc<Self>, hub: usize) {
        let rooms = Rc::clone(self);
        let owner = Some((hub, self.hubs.borrow()[hub].life));
        self.tasks.spawn(owner, async move {
            rooms.with(hub, |core, _| core.alarm = None);
            if rooms.with(hub, |core, _| core.hub.members() > 0) {
                let _ = rooms.look(hub, HUB_TRUST_MS).await;
            }
            rooms.turn(hub, |core, now| core.hub.due(now));
            if rooms.with(hub, |core, now| core.slots.is_due(now)) {
                rooms.settle(hub).await;
            }
            if rooms.with(hub, |core, _| core.copies.is_late(&core.hub)) {
                for shard in rooms.with(hub, |core, _| core.copies.shards()) {
                    rooms.pump(hub, shard);
                }
            }
            if rooms.hubs.borrow()[hub].shard > 0 && rooms.with(hub, |core, _| core.hub.is_empty()) {
                rooms.leave(hub).await;
            }
            rooms.turn(hub, |_, _| Vec::new());
        });
    }

    /// Looks after sockets that are behind, while there are any.
    pub fn watch_slow_readers(self: &Rc<Self>, hub: usize) {
        let begins =
            self.with(hub, |core, _| core.hub.behind().next().is_some() && !std::mem::replace(&mut core.watches, true));
        if !begins {
            return;
        }
        let rooms = Rc::clone(self);
        let owner = Some((hub, self.hubs.borrow()[hub].life));
        self.tasks.spawn(owner, async move {
            rooms.sleep(500).await;
            rooms.with(hub, |core, _| core.watches = false);
            let is_served = rooms.look(hub, HUB_TRUST_MS).await.is_ok();
            let stuck: Vec<u32> = {
                let hubs = rooms.hubs.borrow();
                hubs[hub].sockets.iter().filter(|(_, socket)| socket.is_stuck).map(|(who, _)| *who).collect()
            };
            rooms.turn(hub, |core, now| {
                let mut effects = core.hub.due(now);
                let behind: Vec<u32> = core.hub.behind().filter(|who| is_served && !stuck.contains(who)).collect();
                effects.extend(behind.into_iter().flat_map(|who| core.hub.drained(who, now)));
                effects
            });
        });
    }

    // Slots.

    async fn slot(self: &Rc<Self>, hub: usize) -> Result<(), Denied> {
        let since = self.now();
        loop {
            let found = self.with(hub, |core, now| {
                let members = u64::try_from(core.hub.members()).unwrap();
                core.slots.find(members, since, now)
            });
            match found {
                Slot::Free => return Ok(()),
                Slot::Denied(denied) => return Err(denied),
                Slot::Pending => self.sleep(2).await,
                Slot::Grow(growth) => {
                    self.remember_slots(hub);
                    let grown = self.grow(hub, &growth).await;
                    self.turn(hub, |core, now| {
                        core.slots.grown(&growth, grown, now);
                        Vec::new()
                    });
                    self.remember_slots(hub);
                    grown?;
                }
            }
        }
    }

    async fn grow(self: &Rc<Self>, hub: usize, growth: &Growth) -> Result<u64, Denied> {
        if let Ok(held) = self.hold(hub, growth.number, growth.wanted).await {
            return Ok(held);
        }
        if growth.reclaims {
            if let Ok(held) = self.hold(hub, growth.number, growth.needed).await {
                return Ok(held);
            }
            let count = self.hubs.borrow().len();
            for other in 0..count {
                if other != hub {
                    let _ = self.ask(other, Question::Settle).await;
                }
            }
        }
        self.hold(hub, growth.number, growth.needed).await
    }

    async fn settle(self: &Rc<Self>, hub: usize) {
        if self.with(hub, |core, _| !core.trust.is_known()) {
            let _ = self.look(hub, HUB_TRUST_MS).await;
        }
        let statement = self.with(hub, |core, now| {
            let members = u64::try_from(core.hub.members()).unwrap();
            core.slots.settle(members, now)
        });
        let Some(statement) = statement else { return };
        let held = self.hold(hub, statement.number, statement.units).await.ok();
        self.turn(hub, |core, now| {
            core.slots.stated(&statement, held, now);
            Vec::new()
        });
        self.remember_slots(hub);
    }

    fn remember_slots(&self, hub: usize) {
        let kept = self.with(hub, |core, _| core.slots.kept());
        self.hubs.borrow_mut()[hub].disk.held = kept;
    }

    async fn hold(self: &Rc<Self>, hub: usize, number: Renewal, units: u64) -> Result<u64, Denied> {
        match self.ask_the_ledger(hub, number, units).await {
            Some(true) => Ok(units),
            Some(false) => Err((Code::ConcurrencyLimited, None)),
            None => Err((Code::LedgerUnavailable, None)),
        }
    }

    // Several hubs.

    fn remember_copies(&self, hub: usize) {
        let text = self.with(hub, |core, _| serde_json::to_string(&core.copies).unwrap());
        self.hubs.borrow_mut()[hub].disk.replicas = Some(text);
    }

    fn pump(self: &Rc<Self>, hub: usize, shard: u32) {
        if !self.with(hub, |core, now| core.copies.begin_pump(shard, now)) {
            return;
        }
        let rooms = Rc::clone(self);
        let owner = Some((hub, self.hubs.borrow()[hub].life));
        self.tasks.spawn(owner, async move {
            while let Some(lack) = rooms.with(hub, |core, _| core.copies.lack(shard, &core.hub)) {
                match rooms.send_copy(hub, shard, &lack).await {
                    Pump::Again => {}
                    Pump::After(pause_ms) => rooms.sleep(pause_ms).await,
                    Pump::Stop => break,
                }
            }
            rooms.with(hub, |core, _| core.copies.end_pump(shard));
            rooms.turn(hub, |_, _| Vec::new());
        });
    }

    async fn send_copy(self: &Rc<Self>, hub: usize, shard: u32, lack: &Lack) -> Pump {
        let (to, messages) = {
            let hubs = self.hubs.borrow();
            let log = hubs[hub].disk.log.iter().filter(|one| one.seq > lack.after);
            (self.hub_of(hubs[hub].tenant, shard), log.take(MAX_PACKED / 8).cloned().collect())
        };
        let question = Question::Apply(lack.name.clone(), lack.begin.clone(), messages);
        let answer = match self.ask(to, question).await {
            Some(Answer::Seq(seq)) => Applied::Through(seq),
            Some(Answer::Renamed(joining)) => Applied::Renamed(joining),
            Some(Answer::Refused(410)) => Applied::Foreign,
            _ => Applied::Failed,
        };
        let next = self.with(hub, |core, now| core.copies.applied(shard, lack, answer, &core.hub, now));
        self.remember_copies(hub);
        next
    }

    fn has_log(&self, hub: usize) -> bool {
        let is_level = |core: &mut Memory, _| core.membership.is_level(&core.hub.end());
        self.hubs.borrow()[hub].shard == 0 || self.with(hub, is_level)
    }

    async fn join(self: &Rc<Self>, hub: usize) -> bool {
        let (tenant, shard) = {
            let hubs = self.hubs.borrow();
            (hubs[hub].tenant, hubs[hub].shard)
        };
        if self.has_log(hub) {
            return true;
        }
        if self.has_joined(hub) {
            return self.catch_up_with_first(hub).await;
        }
        let deadline = self.now().plus(3_000);
        let name = format!("join-{}", self.unique());
        while !self.with(hub, |core, now| core.membership.begin(&name, now)) {
            if self.now() > deadline {
                return false;
            }
            self.sleep(5).await;
            if self.has_joined(hub) {
                return self.catch_up_with_first(hub).await;
            }
        }
        let position = self.with(hub, |core, _| core.hub.end());
        let joining = Joining { shard, name: name.clone(), position };
        let answer = self.ask(self.first(tenant), Question::Join(joining)).await;
        let Some(Answer::Joined(Joined { begin, end })) = answer else {
            self.with(hub, |core, _| core.membership.give_up(&name));
            return false;
        };
        self.begin_at(hub, begin);
        let join = |core: &mut Memory, _| {
            let end = Position { seq: end, ..core.hub.end() };
            core.membership.join(&name, end)
        };
        if !self.with(hub, join) {
            return false;
        }
        let joined = self.with(hub, |core, _| core.membership.remembered());
        self.hubs.borrow_mut()[hub].disk.joined = joined;
        self.catch_up_with_first(hub).await
    }

    fn has_joined(&self, hub: usize) -> bool {
        self.with(hub, |core, _| core.membership.has_joined())
    }

    async fn catch_up_with_first(self: &Rc<Self>, hub: usize) -> bool {
        let deadline = self.now().plus(3_000);
        while !self.has_log(hub) {
            if self.now() > deadline {
                return false;
            }
            self.sleep(5).await;
        }
        true
    }

    async fn leave(self: &Rc<Self>, hub: usize) {
        let Some(name) = self.with(hub, |core, _| core.membership.leave()) else { return };
        let (tenant, shard) = {
            let mut hubs = self.hubs.borrow_mut();
            hubs[hub].disk.joined = None;
            (hubs[hub].tenant, hubs[hub].shard)
        };
        let _ = self.ask(self.first(tenant), Question::Leave(shard, name)).await;
    }

    async fn apply(
        self: &Rc<Self>,
        hub: usize,
        name: &str,
        begin: Option<Position>,
        messages: Vec<StoredMessage>,
    ) -> Answer {
        if self.look(hub, HUB_TRUST_MS).await == Err(Code::SnapshotUnavailable) {
            return Answer::Refused(503);
        }
        let shard = self.hubs.borrow()[hub].shard;
        let state =
            |core: &mut Memory| (core.membership.addressed(name), core.membership.stated(shard, core.hub.end()));
        match self.with(hub, |core, _| state(core)) {
            (Addressed::Here, _) => {}
            (Addressed::Soon, _) => return Answer::Refused(503),
            (Addressed::Elsewhere, Some(stated)) => return Answer::Renamed(stated),
            (Addressed::Elsewhere, None) => return Answer::Refused(410),
        }
        self.begin_at(hub, begin);
        self.turn(hub, |core, now| core.hub.apply(messages, now));
        Answer::Seq(self.with(hub, |core, _| core.hub.end().seq))
    }

    fn begin_at(self: &Rc<Self>, hub: usize, position: Option<Position>) {
        if let Some(position) = position {
            self.hubs.borrow_mut()[hub].disk.epoch.clone_from(&position.epoch);
            self.turn(hub, |core, now| core.hub.begin_at(position, now));
        }
    }
}

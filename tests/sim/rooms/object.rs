//! A hub as its Durable Object has it: what is on disk, what is in memory, and its sockets.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tenantgate::model::{Key, UnixMillis};
use tenantgate::realtime::{
    Copies, Effect, Hub, HubSlots, LogEntry, LogIndex, Membership, Position, StoredMessage, Trust,
};

use super::world::Rooms;

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub epoch: String,
    pub last: u64,
    pub log: Vec<StoredMessage>,
    pub joined: Option<String>,
    pub replicas: Option<String>,
    pub held: Option<String>,
}

/// What the next instance makes again.
#[derive(Debug)]
pub struct Memory {
    pub hub: Hub,
    pub copies: Copies,
    pub membership: Membership,
    pub slots: HubSlots,
    pub trust: Trust,
    pub alarm: Option<UnixMillis>,
    pub watches: bool,
}

/// The side of a socket that the hub has.
#[derive(Debug)]
pub struct Socket {
    pub client: usize,
    pub attachment: String,
    /// The number of the last message that it was sent, if it is behind.
    pub seen: Option<u64>,
    /// Whether the client does not read.
    pub is_stuck: bool,
}

/// One hub.
#[derive(Debug)]
pub struct Object {
    pub tenant: usize,
    pub shard: u32,
    pub life: u64,
    pub disk: Disk,
    pub memory: Option<Memory>,
    pub sockets: BTreeMap<u32, Socket>,
    pub last_socket: u32,
}

impl Object {
    /// The sockets whose clients are admitted.
    pub fn members(&self) -> usize {
        self.sockets.values().filter(|socket| !socket.attachment.is_empty()).count()
    }

    /// The instance in memory, made from what the disk and the sockets have.
    fn wake(&mut self, room: usize, now: UnixMillis) -> &mut Memory {
        let Self { disk, sockets, memory, .. } = self;
        memory.get_or_insert_with(|| {
            let entry = |one: &StoredMessage| LogEntry { seq: one.seq, at: one.at, bytes: one.frame.len() };
            let index = LogIndex::new(disk.epoch.clone(), disk.last, disk.log.iter().map(entry).collect());
            let mut hub = Hub::new(index);
            hub.set_room(room);
            for (who, socket) in sockets.iter() {
                assert!(hub.restore(*who, &socket.attachment, socket.seen, now), "an attachment of its own");
            }
            let copies = Copies::restored(disk.replicas.as_deref(), &hub);
            let membership = Membership::restored(disk.joined.as_deref());
            let slots = HubSlots::restored(disk.held.as_deref(), now);
            Memory { hub, copies, membership, slots, trust: Trust::default(), alarm: None, watches: false }
        })
    }
}

impl Rooms {
    /// Uses what a hub has in memory.
    pub fn with<T>(&self, hub: usize, work: impl FnOnce(&mut Memory, UnixMillis) -> T) -> T {
        let (room, now) = (self.options.room, self.now());
        work(self.hubs.borrow_mut()[hub].wake(room, now), now)
    }

    /// One turn of a hub: an event, and its effects. Rows and frames of a turn go together: if the
    /// hub crashes in it, either nothing has happened, or the rows are on disk, and some frames are
    /// on their way.
    pub fn turn(self: &Rc<Self>, hub: usize, event: impl FnOnce(&mut Memory, UnixMillis) -> Vec<Effect>) {
        let before = self.hubs.borrow()[hub].disk.clone();
        let mut frames = Vec::new();
        let effects = self.with(hub, event);
        self.carry_out(hub, effects.into(), &mut frames);
        if !self.is_quiet() && self.chance(self.options.crashes) {
            if self.chance(500_000) {
                self.hubs.borrow_mut()[hub].disk = before;
                frames.clear();
            } else {
                frames.truncate(self.index(frames.len() + 1));
            }
            self.deliver(hub, frames);
            self.crash(hub);
            return;
        }
        self.deliver(hub, frames);
        self.schedule_alarm(hub);
        self.watch_slow_readers(hub);
    }

    fn carry_out(&self, hub: usize, mut effects: VecDeque<Effect>, frames: &mut Vec<(u32, Option<String>)>) {
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send { to, frame } => {
                    if self.is_stuck(hub, to) {
                        effects.extend(self.with(hub, |core, now| core.hub.too_slow(to, now)));
                    } else {
                        frames.push((to, Some(frame)));
                    }
                }
                Effect::Store(message) => {
                    let disk = &mut self.hubs.borrow_mut()[hub].disk;
                    disk.last = message.seq;
                    disk.log.push(message);
                }
                Effect::Fan { to, frame, first } => {
                    let mut skipped = Vec::new();
                    for who in to {
                        let mut hubs = self.hubs.borrow_mut();
                        let Some(socket) = hubs[hub].sockets.get_mut(&who) else { continue };
                        if socket.seen.is_some() {
                            continue;
                        }
                        if !socket.is_stuck {
                            frames.push((who, Some(frame.clone())));
                        } else if first > 0 {
                            socket.seen = Some(first - 1);
                            skipped.push(who);
                        }
                    }
                    self.with(hub, |core, now| core.hub.skipped(&skipped, first, now));
                }
                Effect::CatchUp { who, after } => {
                    if let Some(after) = self.catch_up(hub, who, after, frames) {
                        effects.push_back(Effect::CatchUp { who, after });
                    }
                }
                Effect::Behind { who, after } => {
                    if let Some(socket) = self.hubs.borrow_mut()[hub].sockets.get_mut(&who) {
                        socket.seen = Some(after);
                    }
                }
                Effect::Attach { who, text } => {
                    if let Some(socket) = self.hubs.borrow_mut()[hub].sockets.get_mut(&who) {
                        socket.attachment = text;
                    }
                }
                Effect::Close { who, .. } => frames.push((who, None)),
                Effect::Trim { through } => {
                    let mut hubs = self.hubs.borrow_mut();
                    let Object { disk, memory, .. } = &mut hubs[hub];
                    disk.last = memory.as_ref().unwrap().hub.end().seq;
                    disk.log.retain(|one| one.seq > through);
                }
            }
        }
    }

    /// Sends the next messages that a socket has missed. Returns the number after which there are
    /// more.
    fn catch_up(&self, hub: usize, who: u32, after: u64, frames: &mut Vec<(u32, Option<String>)>) -> Option<u64> {
        let (rows, is_all, is_stuck) = {
            let mut hubs = self.hubs.borrow_mut();
            let Object { disk, sockets, .. } = &mut hubs[hub];
            let socket = sockets.get_mut(&who)?;
            socket.seen = Some(after);
            let rows: Vec<StoredMessage> = disk.log.iter().filter(|one| one.seq > after).take(3).cloned().collect();
            let is_all = rows.last().map_or(after, |last| last.seq) == disk.last;
            (rows, is_all, socket.is_stuck)
        };
        if is_stuck {
            return None;
        }
        for effect in self.with(hub, |core, _| core.hub.missed(who, &rows, is_all)) {
            if let Effect::Send { to, frame } = effect {
                frames.push((to, Some(frame)));
            }
        }
        let after = rows.last().map_or(after, |last| last.seq);
        if let Some(socket) = self.hubs.borrow_mut()[hub].sockets.get_mut(&who) {
            socket.seen = if is_all { None } else { Some(after) };
        }
        (!is_all).then_some(after)
    }

    fn is_stuck(&self, hub: usize, who: u32) -> bool {
        self.hubs.borrow()[hub].sockets.get(&who).is_some_and(|socket| socket.is_stuck)
    }

    /// Gives clients their frames; `None` closes a socket.
    fn deliver(self: &Rc<Self>, hub: usize, frames: Vec<(u32, Option<String>)>) {
        for (who, frame) in frames {
            let Some(client) = self.hubs.borrow()[hub].sockets.get(&who).map(|socket| socket.client) else { continue };
            if let Some(frame) = frame {
                self.receive(client, hub, &frame);
            } else {
                self.hubs.borrow_mut()[hub].sockets.remove(&who);
                self.lose(client);
            }
        }
    }

    /// Ends a hub: its memory, its tasks and its sockets. Its disk stays.
    pub fn crash(self: &Rc<Self>, hub: usize) {
        let clients = {
            let mut hubs = self.hubs.borrow_mut();
            let object = &mut hubs[hub];
            self.tasks.end(Some((hub, object.life)));
            object.life += 1;
            object.memory = None;
            std::mem::take(&mut object.sockets)
        };
        for socket in clients.values() {
            self.lose(socket.client);
        }
        self.happened.borrow_mut().crashes += 1;
        // The alarm is on disk.
        let (rooms, pause) = (Rc::clone(self), self.options.alarm_ms);
        self.after(pause, move |_| rooms.alarm(hub));
    }

    /// Puts a hub to sleep, if nothing keeps it awake. Its sockets stay.
    pub fn hibernate(&self, hub: usize) {
        let mut hubs = self.hubs.borrow_mut();
        let object = &mut hubs[hub];
        let is_quiet =
            object.memory.as_ref().is_some_and(|memory| !memory.watches && memory.hub.behind().next().is_none());
        if is_quiet && !self.tasks.has(Some((hub, object.life))) {
            object.memory = None;
            self.happened.borrow_mut().hibernations += 1;
        }
    }

    fn schedule_alarm(self: &Rc<Self>, hub: usize) {
        let due = self.with(hub, |core, now| {
            let members = u64::try_from(core.hub.members()).unwrap();
            let slots = core.slots.plan(members, now);
            let copies = core.copies.is_late(&core.hub).then(|| now.plus(10_000));
            let due = [core.hub.next_due(), slots, copies].into_iter().flatten().min();
            let due = due.map(|at| at.max(now.plus(20)))?;
            if core.alarm.is_some_and(|set| now < set && set <= due) {
                return None;
            }
            core.alarm = Some(due);
            Some(due.since(now))
        });
        if let Some(ms) = due {
            let rooms = Rc::clone(self);
            self.after(ms, move |_| rooms.alarm(hub));
        }
    }

    /// The limit that counts connections.
    pub fn limit_key() -> Key {
        Key::parse("connections").unwrap()
    }

    /// The position of the first hub's log.
    pub fn end_of(&self, tenant: usize) -> Position {
        self.with(self.first(tenant), |core, _| core.hub.end())
    }
}

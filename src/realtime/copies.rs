//! Copies of a log, for a tenant with more sockets than one hub can hold.
//!
//! The first hub numbers all messages. Each further one holds sockets and a copy of the log: the
//! first hub sends it what comes after the number that it has last confirmed, again and again until
//! it confirms. So every hub has the same messages in the same order, and a message that is lost,
//! repeated or overtaken changes nothing.
//!
//! A hub *joins* before it opens its first socket, under a name that it makes up. Messages to it,
//! and the one with which it leaves, carry that name, so a late one has no effect. A *pump* is the
//! task that sends one further hub (a *replica*, numbered by its *shard*) what it lacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frame::Position;
use super::hub::Hub;
use crate::model::UnixMillis;

/// Milliseconds before a further hub that did not answer is asked again, at first and at most.
const RETRY_MS: (u64, u64) = (20, 2_000);
/// Failures in a row after which the alarm goes on.
const MAX_FAILURES: u32 = 8;
/// Milliseconds after which a hub that is joining has been cut off by the runtime.
const JOINING_MS: u64 = 15_000;
/// Milliseconds after which a pump that says nothing has been cut off by the runtime.
const SILENT_MS: u64 = 15_000;

/// The further hubs of a tenant, as the first one knows them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Copies(BTreeMap<u32, Replica>);

/// One further hub.
#[derive(Debug, Serialize, Deserialize)]
struct Replica {
    /// The name under which it has joined.
    name: String,
    /// The number of the last message that it has confirmed.
    #[serde(skip)]
    confirmed: u64,
    /// Whether its log has to begin anew.
    #[serde(skip)]
    must_begin: bool,
    /// When its pump was last at work.
    #[serde(skip)]
    pumped_at: Option<UnixMillis>,
    /// The times in a row that it did not answer.
    #[serde(skip)]
    failures: u32,
}

/// A hub that joins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joining {
    /// Its number.
    pub shard: u32,
    /// The name that it has made up.
    pub name: String,
    /// The position of its log.
    pub position: Position,
}

/// What the first hub answers to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// Where its log has to begin anew.
    pub begin: Option<Position>,
    /// The number of the last message.
    pub end: u64,
}

/// What a further hub lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The name under which it has joined.
    pub name: String,
    /// Where its log has to begin anew.
    pub begin: Option<Position>,
    /// It lacks the messages after this number.
    pub after: u64,
    /// The number of the last message of all.
    pub end: u64,
}

/// How a further hub has answered to messages.
#[derive(Debug, Clone)]
pub enum Applied {
    /// It has everything up to this number.
    Through(u64),
    /// It has joined under another name: a message of an earlier one was late.
    Renamed(Joining),
    /// It has not joined.
    Foreign,
    /// It did not answer.
    Failed,
}

/// What the pump of a further hub does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pump {
    /// It looks at once for what is lacking.
    Again,
    /// It waits this many milliseconds first.
    After(u64),
    /// It ends.
    Stop,
}

impl Copies {
    /// The hubs that were remembered. How far they have confirmed is not remembered: each is sent
    /// the whole log, and leaves out what it has.
    pub fn restored(text: Option<&str>, hub: &Hub) -> Self {
        let mut copies: Self = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        copies.0.values_mut().for_each(|replica| replica.confirmed = hub.start().seq);
        copies
    }

    /// Their numbers.
    pub fn shards(&self) -> Vec<u32> {
        self.0.keys().copied().collect()
    }

    /// A further hub joins.
    pub fn join(&mut self, joining: Joining, hub: &Hub) -> Joined {
        let Joining { shard, name, position } = joining;
        let begin = (!hub.reaches(&position)).then(|| hub.start());
        let (confirmed, must_begin) = begin.as_ref().map_or((position.seq, false), |begin| (begin.seq, true));
        self.0.insert(shard, Replica { name, confirmed, must_begin, pumped_at: None, failures: 0 });
        Joined { begin, end: hub.end().seq }
    }

    /// A further hub has no sockets any more. Returns whether it was known by this name.
    pub fn leave(&mut self, shard: u32, name: &str) -> bool {
        let is_known = self.0.get(&shard).is_some_and(|replica| replica.name == name);
        if is_known {
            self.0.remove(&shard);
        }
        is_known
    }

    /// Whether one of them lacks messages, and nothing is under way to it.
    pub fn is_late(&self, hub: &Hub) -> bool {
        let last = hub.end().seq;
        self.0.values().any(|replica| replica.confirmed < last && replica.pumped_at.is_none())
    }

    /// Begins to send a further hub what it lacks. Returns false if its pump is at work.
    pub fn begin_pump(&mut self, shard: u32, now: UnixMillis) -> bool {
        let Some(replica) = self.0.get_mut(&shard) else { return false };
        if replica.pumped_at.is_some_and(|at| now.is_within(SILENT_MS, at)) {
            return false;
        }
        (replica.pumped_at, replica.failures) = (Some(now), 0);
        true
    }

    /// The pump of a further hub has ended.
    pub fn end_pump(&mut self, shard: u32) {
        if let Some(replica) = self.0.get_mut(&shard) {
            replica.pumped_at = None;
        }
    }

    /// What a further hub lacks. `None`: nothing.
    pub fn lack(&self, shard: u32, hub: &Hub) -> Option<Lack> {
        let replica = self.0.get(&shard)?;
        let end = hub.end();
        if replica.confirmed >= end.seq && !replica.must_begin {
            return None;
        }
        // It has another log, or has been away for longer than this one reaches.
        let position = Position { seq: replica.confirmed, epoch: end.epoch };
        let is_reached = !replica.must_begin && hub.reaches(&position);
        let begin = (!is_reached).then(|| hub.start());
        let after = begin.as_ref().map_or(replica.confirmed, |begin| begin.seq);
        Some(Lack { name: replica.name.clone(), begin, after, end: end.seq })
    }

    /// A further hub has answered to messages.
    pub fn applied(&mut self, shard: u32, lack: &Lack, answer: Applied, hub: &Hub, now: UnixMillis) -> Pump {
        let Some(replica) = self.0.get_mut(&shard).filter(|replica| replica.name == lack.name) else {
            return Pump::Stop;
        };
        replica.pumped_at = Some(now);
        match answer {
            Applied::Through(seq) => {
                // It cannot have more than there was.
                replica.confirmed = seq.min(lack.end);
                (replica.must_begin, replica.failures) = (false, 0);
                Pump::Again
            }
            Applied::Renamed(joining) => {
                self.join(Joining { shard, ..joining }, hub);
                Pump::Again
            }
            Applied::Foreign => {
                self.0.remove(&shard);
                Pump::Stop
            }
            Applied::Failed => {
                replica.failures = replica.failures.saturating_add(1);
                if replica.failures >= MAX_FAILURES {
                    return Pump::Stop;
                }
                Pump::After(RETRY_MS.0.saturating_mul(1 << replica.failures.saturating_sub(1)).min(RETRY_MS.1))
            }
        }
    }
}

/// How a further hub belongs to the first one.
#[derive(Debug, Default)]
pub struct Membership {
    /// The name under which it has joined, and the end of the log of the first hub at that time.
    joined: Option<(String, Position)>,
    /// The name under which it is joining, and since when.
    joining: Option<(String, UnixMillis)>,
}

/// Whether messages are for a further hub, by the name that they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// They are.
    Here,
    /// Not yet: it is joining. They are sent again.
    Soon,
    /// They are for another one, or for an earlier instance.
    Elsewhere,
}

impl Membership {
    /// That of a hub which has remembered this text.
    pub fn restored(remembered: Option<&str>) -> Self {
        Self { joined: remembered.and_then(|text| serde_json::from_str(text).ok()), joining: None }
    }

    /// Whether it has joined.
    pub const fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// The text to remember.
    pub fn remembered(&self) -> Option<String> {
        self.joined.as_ref().and_then(|joined| serde_json::to_string(joined).ok())
    }

    /// Whether it has joined, and its log, which ends at `own`, has what the first hub had when it
    /// joined. If the first hub has begun a new log since then, there is nothing to catch up with.
    pub fn is_level(&self, own: &Position) -> bool {
        self.joined.as_ref().is_some_and(|(_, end)| own.epoch != end.epoch || own.seq >= end.seq)
    }

    /// Begins to join under a name. Messages may arrive before the answer. Returns false if it is
    /// joining already: under two names at a time, it would be forgotten under the one that counts.
    pub fn begin(&mut self, name: &str, now: UnixMillis) -> bool {
        if self.joining.as_ref().is_some_and(|(_, since)| now.is_within(JOINING_MS, *since)) {
            return false;
        }
        self.joining = Some((name.to_owned(), now));
        true
    }

    /// Has failed to join under a name.
    pub fn give_up(&mut self, name: &str) {
        self.joining.take_if(|(own, _)| own == name);
    }

    /// Has joined under a name; the log of the first hub ended at `end`. Returns false if that came
    /// too late.
    pub fn join(&mut self, name: &str, end: Position) -> bool {
        let Some((own, _)) = self.joining.take_if(|(own, _)| own == name) else { return false };
        self.joined = Some((own, end));
        true
    }

    /// How it has joined, for a first hub that believes otherwise.
    pub fn stated(&self, shard: u32, position: Position) -> Option<Joining> {
        self.joined.as_ref().map(|(name, _)| Joining { shard, name: name.clone(), position })
    }

    /// Leaves. Returns the name under which it had joined.
    pub fn leave(&mut self) -> Option<String> {
        self.joined.take().map(|(name, _)| name)
    }

    /// Whether messages under a name are for it.
    pub fn addressed(&self, name: &str) -> Addressed {
        match (&self.joined, &self.joining) {
            (Some((joined, _)), _) if joined == name => Addressed::Here,
            (_, Some((joining, _))) if joining == name => Addressed::Soon,
            _ => Addressed::Elsewhere,
        }
    }
}

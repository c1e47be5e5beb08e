//! Connections as units of a limit of kind `concurrency`.
//!
//! A hub holds slots in the family's ledger under one name: as many as it has connections, and a
//! few ahead, so that most connections open without asking. Each message to the ledger states how
//! many the hub holds from now on, so a message that is lost or repeated does no harm. Statements
//! are numbered, so that the ledger refuses one that was overtaken. After a crash the hub counts
//! its sockets and states their number again.
//!
//! [`HubSlots`] decides what is stated and who may connect. The adapter talks to the ledger.

use super::turnstile::Turnstile;
use crate::gate::Code;
use crate::ledger::Renewal;
use crate::model::bounds::{HUB_HOLD_MS, HUB_RETRY_MS, HUB_SLOTS};
use crate::model::{Key, UnixMillis};

/// The code of a denial, and the milliseconds after which it may pass.
pub type Denied = (Code, Option<u64>);

/// Milliseconds for which a connection waits for a slot.
const SLOT_MS: u64 = 8_000;

/// Milliseconds between two times at which other hubs are asked for slots.
const RECLAIM_MS: u64 = 2_000;

/// The slots of one hub.
#[derive(Debug, Default)]
pub struct HubSlots {
    /// The limit that counts connections. `None`: they are not counted.
    limit: Option<Key>,
    /// The slots that are held in the ledger, and the limit that counts them.
    held: u64,
    held_by: Option<Key>,
    /// The limit of which the ledger may have given slots that the hub does not know of.
    asks: Option<Key>,
    exchange: Turnstile,
    /// The last refusal, which others share that ask at the same time.
    refused: Option<(UnixMillis, Denied)>,
    /// When other hubs were last asked for slots.
    reclaimed_at: Option<UnixMillis>,
    /// When the slots are stated again.
    due: Option<UnixMillis>,
}

/// Whether there is a slot for one connection more.
#[derive(Debug)]
pub enum Slot {
    /// There is one. It is the caller's if it opens the connection before anything else happens.
    Free,
    /// There is none, for this reason.
    Denied(Denied),
    /// The ledger is being asked. Ask again in a moment.
    Pending,
    /// Ask the ledger for more. The answer goes to [`HubSlots::grown`].
    Grow(Growth),
}

/// More slots to be had from the ledger.
#[derive(Debug)]
pub struct Growth {
    /// The number of the exchange.
    pub number: Renewal,
    /// The limit that counts them.
    pub limit: Key,
    /// The slots for all connections, the new one, and a few ahead.
    pub wanted: u64,
    /// The slots without which there is no new connection.
    pub needed: u64,
    /// Whether to ask other hubs of the family, if the ledger refuses, to give back what they do
    /// not use.
    pub reclaims: bool,
}

/// A number of slots to be stated to the ledger.
#[derive(Debug)]
pub struct Statement {
    /// The number of the exchange.
    pub number: Renewal,
    /// The limit that counts them.
    pub limit: Key,
    /// The slots that the hub holds from now on.
    pub units: u64,
    is_dropped: bool,
}

impl HubSlots {
    /// The slots of a hub that has just been made, from what [`Self::kept`] returned. A crash may
    /// have ended sockets whose slots are still held, or an exchange of which nothing is known.
    pub fn restored(kept: Option<&str>, now: UnixMillis) -> Self {
        let (key, held) = kept.and_then(|text| text.split_once(' ')).unwrap_or_default();
        let held_by = Key::parse(key);
        let due = held_by.is_some().then_some(now);
        Self { held_by, held: held.parse().unwrap_or(0), due, ..Self::default() }
    }

    /// What has to be remembered for the next instance: before the ledger is asked for more, and
    /// after each of its answers.
    pub fn kept(&self) -> Option<String> {
        let key = self.held_by.as_ref().or(self.asks.as_ref());
        key.map(|key| format!("{key} {}", self.held))
    }

    /// Learns which limit counts connections.
    pub fn set_limit(&mut self, limit: Option<Key>) {
        self.limit = limit;
    }

    /// Forgets what is held: the ledger of another family counts from now on.
    pub fn forget(&mut self) {
        (self.held, self.held_by, self.due) = (0, None, None);
    }

    /// Looks for a slot for one connection more than `members`. `since`: since when the caller has
    /// been asking.
    pub fn find(&mut self, members: u64, since: UnixMillis, now: UnixMillis) -> Slot {
        let Some(limit) = self.limit.clone() else { return Slot::Free };
        if members < self.held && self.held_by.as_ref() == Some(&limit) {
            return Slot::Free;
        }
        if let Some((_, denied)) = self.refused.filter(|(at, _)| *at > since) {
            return Slot::Denied(denied);
        }
        if now.since(since) > SLOT_MS {
            return Slot::Denied((Code::LedgerUnavailable, Some(HUB_RETRY_MS)));
        }
        let Some(number) = self.exchange.begin(now) else { return Slot::Pending };
        self.asks = Some(limit.clone());
        let reclaims = self.reclaimed_at.is_none_or(|at| !now.is_within(RECLAIM_MS, at));
        let (wanted, needed) = (members.saturating_add(HUB_SLOTS), members.saturating_add(1));
        Slot::Grow(Growth { number, limit, wanted, needed, reclaims })
    }

    /// The ledger has answered: how many slots are held, or why there are no more.
    pub fn grown(&mut self, growth: &Growth, answer: Result<u64, Denied>, now: UnixMillis) {
        if let Err(denied) = answer {
            self.refused = Some((now, denied));
            if growth.reclaims {
                self.reclaimed_at = Some(now);
            }
        }
        self.conclude(growth.number, &growth.limit, answer.ok(), now);
    }

    /// States as many slots as there are members: what is held ahead is free again. `None`: there
    /// is nothing to state, or an exchange is under way. The answer goes to [`Self::stated`].
    pub fn settle(&mut self, members: u64, now: UnixMillis) -> Option<Statement> {
        let limit = self.limit.as_ref().or(self.held_by.as_ref()).or(self.asks.as_ref()).cloned()?;
        let number = self.exchange.begin(now)?;
        // Without the limit nothing is counted.
        let is_dropped = self.limit.is_none();
        let units = if is_dropped { 0 } else { members };
        // INVARIANT (no more than stated): while the ledger is told, none of what it takes back is
        // given away.
        self.held = self.held.min(units);
        Some(Statement { number, limit, units, is_dropped })
    }

    /// The ledger has answered to a statement: how many slots are held, or `None` if it failed.
    pub fn stated(&mut self, statement: &Statement, held: Option<u64>, now: UnixMillis) {
        let held = if statement.is_dropped { Some(0) } else { held };
        self.conclude(statement.number, &statement.limit, held, now);
    }

    /// An exchange has ended. `held`: how many slots are held, or `None` if it has failed. The
    /// ledger may have taken a message of it all the same, so the number is stated again.
    fn conclude(&mut self, number: Renewal, limit: &Key, held: Option<u64>, now: UnixMillis) {
        if !self.exchange.end(number) {
            return;
        }
        let again_ms = if held.is_some() { HUB_HOLD_MS / 2 } else { HUB_RETRY_MS };
        if let Some(held) = held {
            self.held = held;
            self.held_by = (held > 0).then(|| limit.clone());
            self.asks = None;
        }
        self.due = (held != Some(0)).then(|| now.plus(again_ms));
    }

    /// Plans to give spare slots back soon, if there are many, and returns when the slots are to be
    /// stated again.
    pub fn plan(&mut self, members: u64, now: UnixMillis) -> Option<UnixMillis> {
        let is_much = self.held > members.saturating_add(HUB_SLOTS.saturating_mul(2));
        if is_much || members == 0 && self.held > 0 {
            let soon = now.plus(HUB_RETRY_MS);
            self.due = Some(self.due.map_or(soon, |at| at.min(soon)));
        }
        self.due
    }

    /// Whether the slots are to be stated again now. If that fails, they are due again a little
    /// later.
    pub fn is_due(&mut self, now: UnixMillis) -> bool {
        let is_due = self.due.is_some_and(|at| at <= now);
        if is_due {
            self.due = Some(now.plus(HUB_RETRY_MS));
        }
        is_due
    }
}

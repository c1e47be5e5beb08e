//! What happens in the rooms, and what must hold at every step. Numbers are those of the invariants
//! in ARCHITECTURE.md.

use serde_json::Value;
use tenantgate::model::bounds::{HUB_SLOTS, HUB_TRUST_MS};

use super::world::Rooms;

/// What has happened.
#[derive(Debug, Default)]
pub struct Happened {
    pub messages: u64,
    pub seen: u64,
    pub recovered: u64,
    pub gaps: u64,
    pub crashes: u64,
    pub hibernations: u64,
    pub suspensions: u64,
    pub revocations: u64,
    pub most_members: u64,
}

impl Rooms {
    /// A client sees a message.
    pub fn see(&self, client: usize, hub: usize, frame: &Value) {
        let seq = frame["seq"].as_u64().unwrap();
        let (tenant, epoch) = {
            let hubs = self.hubs.borrow();
            (hubs[hub].tenant, hubs[hub].disk.epoch.clone())
        };
        let first = self.first(tenant);
        // Nobody has seen what is not in the log of the hub that numbers (invariant 64), and all
        // hubs have the same (invariant 68).
        {
            let hubs = self.hubs.borrow();
            let disk = &hubs[first].disk;
            self.require(disk.epoch == epoch && seq <= disk.last, || {
                format!("{seq} seen, the log ends at {}", disk.last)
            });
            if let Some(stored) = disk.log.iter().find(|one| one.seq == seq) {
                let stored: Value = serde_json::from_str(&stored.frame).unwrap();
                self.require(stored == *frame, || format!("{frame} seen, {stored} in the log"));
            }
        }
        self.check_is_within(self.revoked.borrow()[client], "seen");
        let mut clients = self.clients.borrow_mut();
        let client = &mut clients[client];
        self.require(client.tenant == tenant, || format!("a message of tenant {tenant}"));
        self.require(client.is_greeted, || String::from("a message before the greeting"));
        let position = client.position.as_mut().expect("the greeting has one");
        // Each message once, in order, without a gap (invariant 64).
        self.require(position.epoch == epoch && seq == position.seq + 1, || format!("{seq} seen after {position:?}"));
        position.seq = seq;
        self.happened.borrow_mut().seen += 1;
        drop(clients);
        self.check_served(tenant, "seen");
    }

    /// A message is about to be numbered.
    pub fn check_entry(&self, hub: usize) {
        self.happened.borrow_mut().messages += 1;
        self.check_served(self.hubs.borrow()[hub].tenant, "published");
    }

    /// Nothing passes for a tenant that was suspended longer ago than a hub trusts (invariant 65).
    fn check_served(&self, tenant: usize, what: &str) {
        self.check_is_within(self.suspended.borrow()[tenant], what);
    }

    fn check_is_within(&self, ended_at: Option<u64>, what: &str) {
        let since_ms = ended_at.map_or(0, |at| self.now().get() - at);
        self.require(since_ms < HUB_TRUST_MS, || format!("a message was {what} {since_ms} ms after the end"));
    }

    /// No more members than the limit (invariant 66).
    pub fn check_members(&self) {
        let members: usize = self.hubs.borrow().iter().map(super::object::Object::members).sum();
        let members = u64::try_from(members).unwrap();
        let mut happened = self.happened.borrow_mut();
        happened.most_members = happened.most_members.max(members);
        self.require(members <= self.options.limit, || format!("{members} members of {}", self.options.limit));
    }

    /// Everything has come to rest: every client that reads has all messages, and the ledger has as
    /// many slots as there are members, and the few that hubs hold ahead.
    pub fn check_rest(&self) {
        for (number, client) in self.clients.borrow().iter().enumerate() {
            let Some((hub, who)) = client.socket else { continue };
            if self.hubs.borrow()[hub].sockets[&who].is_stuck {
                continue;
            }
            let end = self.end_of(client.tenant);
            self.require(client.position.as_ref() == Some(&end), || {
                format!("client {number} at hub {hub} is at {:?} of {end:?}", client.position)
            });
        }
        let (mut members, mut ahead) = (0, 0);
        for object in self.hubs.borrow().iter() {
            let own = u64::try_from(object.members()).unwrap();
            members += own;
            ahead += if own == 0 { 0 } else { 2 * HUB_SLOTS };
        }
        let held = self.held();
        let holds = held >= members && held <= members + ahead;
        self.require(holds, || format!("{held} slots for {members} members"));
    }

    #[track_caller]
    pub fn require(&self, holds: bool, detail: impl FnOnce() -> String) {
        assert!(holds, "{} (step {}, seed {}, {:?})", detail(), self.steps.get(), self.seed, self.options);
    }
}

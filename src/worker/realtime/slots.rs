//! Connections as units of a limit of kind `concurrency`.
//!
//! A hub holds slots in the family's ledger under one name: as many as it has connections, and a
//! few ahead, so that most connections open without asking. Each message to the ledger states how
//! many the hub holds from now on, so a message that is lost or repeated does no harm. After a
//! crash the hub counts its sockets and states their number again.

use std::rc::Rc;

use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address, Denied};
use super::judge;
use super::state::{AGAIN_MS, HubObject, now, units};
use crate::gate::{Code, Intent};
use crate::ledger::CounterOp;
use crate::model::bounds::{HUB_HOLD_MS, HUB_SLOTS, HUB_TRUST_MS};
use crate::model::{Key, TenantId};
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext};

/// The id of a hub's hold. Ids that callers choose contain no blank.
fn hold_id(shard: u32) -> String {
    format!("realtime hub {shard}")
}

/// Hubs that one refused hub asks for slots.
const MAX_RECLAIMED: usize = 50;

/// What a question about slots needs to know of its hub.
struct Place {
    tenant: TenantId,
    address: Address,
    limit: Key,
    config: Rc<Config>,
    context: ExecutionContext,
}

/// Milliseconds for which a connection waits for a slot.
const SLOT_MS: u64 = 8_000;

/// Milliseconds between two times at which other hubs are asked for slots.
const RECLAIM_MS: u64 = 2_000;

impl HubObject {
    /// Makes sure of a slot for one connection more. It is the caller's if it opens the connection
    /// before it waits again.
    pub(super) async fn slot(self: &Rc<Self>) -> Result<(), Denied> {
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
                pause().await;
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
    pub(super) async fn settle(self: &Rc<Self>) {
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
}

impl Place {
    /// Holds slots for one connection more than `used`, a few ahead if the limit allows it. Returns
    /// how many are held. `reclaims`: whether other hubs are asked to give back what they do not
    /// use.
    async fn grow(&self, used: u64, reclaims: bool) -> Result<u64, Denied> {
        if let Ok(held) = self.hold(used.saturating_add(HUB_SLOTS)).await {
            return Ok(held);
        }
        let needed = used.saturating_add(1);
        if let Ok(held) = self.hold(needed).await {
            return Ok(held);
        }
        if !reclaims {
            return self.hold(needed).await;
        }
        // Other hubs of the family may hold more than they use.
        let siblings = client::siblings(&self.config, &self.address).await;
        let siblings = siblings.iter().take(MAX_RECLAIMED);
        let asked: Vec<_> = siblings.map(|one| client::ask(&self.config, one, "/settle", "")).collect();
        for one in asked {
            let _ = client::answer(one).await;
        }
        self.hold(needed).await
    }

    /// States how many slots the hub holds.
    async fn hold(&self, units: u64) -> Result<u64, Denied> {
        let id = &hold_id(self.address.shard);
        let taken = [(self.limit.as_str(), CounterOp::Take(units))];
        let (limits, intent) = match units {
            0 => (&taken[..0], Intent::Settle { id }),
            _ => (&taken[..], Intent::Reserve { id, for_ms: HUB_HOLD_MS, renews: true }),
        };
        let decision = judge::charge(&self.tenant, limits, intent, &self.config, &self.context).await;
        if decision.allowed() { Ok(units) } else { Err((decision.code, decision.extras().retry_after_ms)) }
    }
}

/// Waits a moment for another event of the hub to hear from the ledger.
async fn pause() {
    let _ = JsFuture::from(edge::sleep(2)).await;
}

/// Whether the hub holds enough spare slots to give some back.
pub(super) const fn is_much(held: u64, used: u64) -> bool {
    held > used.saturating_add(HUB_SLOTS.saturating_mul(2)) || used == 0 && held > 0
}

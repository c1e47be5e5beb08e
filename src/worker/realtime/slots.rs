//! Slots of a limit for connections. [`crate::realtime::HubSlots`] decides; this talks to the
//! ledger.

use std::rc::Rc;

use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address};
use super::judge;
use super::state::{Core, HubObject, now, units};
use crate::gate::{Code, Intent};
use crate::ledger::{CounterOp, Renewal};
use crate::model::bounds::{HUB_HOLD_MS, HUB_TRUST_MS};
use crate::model::{Key, TenantId, UnixMillis};
use crate::realtime::{Denied, Growth, Slot};
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
    config: Rc<Config>,
    context: ExecutionContext,
}

impl HubObject {
    /// Makes sure of a slot for one connection more. It is the caller's if it opens the connection
    /// before it waits again.
    pub(super) async fn slot(self: &Rc<Self>) -> Result<(), Denied> {
        let since = now();
        loop {
            let found = {
                let mut core = self.core.borrow_mut();
                let used = units(core.hub.members());
                core.slots.find(used, since, now())
            };
            match found {
                Slot::Free => return Ok(()),
                Slot::Denied(denied) => return Err(denied),
                Slot::Pending => {
                    let _ = JsFuture::from(edge::sleep(2)).await;
                }
                Slot::Grow(growth) => {
                    self.remember_slots(|_, _| ());
                    let grown = match self.place() {
                        Some(place) => place.grow(&growth).await,
                        None => Err((Code::TenantNotFound, None)),
                    };
                    self.remember_slots(|core, now| core.slots.grown(&growth, grown, now));
                    grown?;
                }
            }
        }
    }

    /// Holds as many slots as there are connections. What is held ahead is free again.
    pub(super) async fn settle(self: &Rc<Self>) {
        // A hub that has just been read knows no limit yet.
        if !self.core.borrow().trust.is_known() {
            let _ = self.look(HUB_TRUST_MS).await;
        }
        let statement = {
            let mut core = self.core.borrow_mut();
            let used = units(core.hub.members());
            core.slots.settle(used, now())
        };
        let (Some(place), Some(statement)) = (self.place(), statement) else { return };
        let held = place.hold(statement.number, &statement.limit, statement.units).await.ok();
        self.remember_slots(|core, now| core.slots.stated(&statement, held, now));
    }

    /// Records what is known of the slots after a change. Only a crash needs it, and then the hub
    /// counts its sockets.
    fn remember_slots(self: &Rc<Self>, change: impl FnOnce(&mut Core, UnixMillis)) {
        self.turn(|core, now| {
            change(core, now);
            Vec::new()
        });
        let kept = self.core.borrow().slots.kept();
        let _ = edge::remember(&self.state, "held", kept.as_deref());
    }

    /// What questions about slots need to know.
    fn place(&self) -> Option<Place> {
        let address = self.core.borrow().address.clone()?;
        let tenant = TenantId::parse(&address.tenant)?;
        let (config, context) = (Rc::clone(&self.config), self.context.clone());
        Some(Place { tenant, address, config, context })
    }
}

impl Place {
    /// Holds more slots, a few ahead if the limit allows it. Returns how many are held.
    async fn grow(&self, growth: &Growth) -> Result<u64, Denied> {
        let Growth { number, limit, wanted, needed, reclaims } = growth;
        if let Ok(held) = self.hold(*number, limit, *wanted).await {
            return Ok(held);
        }
        if *reclaims {
            if let Ok(held) = self.hold(*number, limit, *needed).await {
                return Ok(held);
            }
            // Other hubs of the family may hold more than they use.
            let siblings = client::siblings(&self.config, &self.address).await;
            let siblings = siblings.iter().take(MAX_RECLAIMED);
            let asked: Vec<_> = siblings.map(|one| client::ask(&self.config, one, "/settle", "")).collect();
            for one in asked {
                let _ = client::answer(one).await;
            }
        }
        self.hold(*number, limit, *needed).await
    }

    /// States how many slots the hub holds.
    async fn hold(&self, number: Renewal, limit: &Key, units: u64) -> Result<u64, Denied> {
        let id = &hold_id(self.address.shard);
        let taken = [(limit.as_str(), CounterOp::Take(units))];
        let intent = Intent::Reserve { id, for_ms: HUB_HOLD_MS, renewal: Some(number) };
        let decision = judge::charge(&self.tenant, &taken, intent, &self.config, &self.context).await;
        if decision.allowed() { Ok(units) } else { Err((decision.code, decision.extras().retry_after_ms)) }
    }
}

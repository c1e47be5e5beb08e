//! Connections as units of a limit of kind `concurrency`.
//!
//! A hub holds slots in the family's ledger under one name: as many as it has connections, and a
//! few ahead, so that most connections open without asking. Each message to the ledger states how
//! many the hub holds from now on, so a message that is lost or repeated does no harm. After a
//! crash the hub counts its sockets and states their number again.

use std::rc::Rc;

use wasm_bindgen_futures::JsFuture;

use super::client::{self, Address};
use super::judge;
use crate::gate::{Code, Intent};
use crate::ledger::CounterOp;
use crate::model::bounds::{HUB_HOLD_MS, HUB_SLOTS};
use crate::model::{Key, TenantId, UnixMillis};
use crate::worker::config::Config;
use crate::worker::runtime::edge::{self, ExecutionContext};

/// The id of a hub's hold. Ids that callers choose contain no blank.
fn hold_id(shard: u32) -> String {
    format!("realtime hub {shard}")
}

/// Hubs that one refused hub asks for slots.
const MAX_RECLAIMED: usize = 50;

/// Milliseconds after which an exchange is no longer waited for: the runtime may have cut the event
/// off that began it.
const EXCHANGE_MS: u64 = 10_000;

/// Lets one exchange with another service through at a time.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    /// The number of the last exchange.
    last: u64,
    since: Option<UnixMillis>,
}

impl Turnstile {
    /// Begins an exchange. Returns its number, or `None` if there is one.
    pub(super) fn begin(&mut self, now: UnixMillis) -> Option<u64> {
        if self.since.is_some_and(|since| now.since(since) < EXCHANGE_MS) {
            return None;
        }
        self.last = self.last.saturating_add(1);
        self.since = Some(now);
        Some(self.last)
    }

    /// Ends an exchange. Returns false if another one has begun since, so that its outcome is out of
    /// date.
    pub(super) fn end(&mut self, number: u64) -> bool {
        if self.last == number {
            self.since = None;
        }
        self.last == number
    }
}

/// What a question about slots needs to know of its hub.
pub(super) struct Place {
    pub(super) tenant: TenantId,
    pub(super) address: Address,
    pub(super) limit: Key,
    pub(super) config: Rc<Config>,
    pub(super) context: ExecutionContext,
}

/// The code of a denial, and the milliseconds after which it may pass.
pub(super) type Denied = (Code, Option<u64>);

impl Place {
    /// Holds slots for one connection more than `used`, a few ahead if the limit allows it. Returns
    /// how many are held. `reclaims`: whether other hubs are asked to give back what they do not use.
    pub(super) async fn grow(&self, used: u64, reclaims: bool) -> Result<u64, Denied> {
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
    pub(super) async fn hold(&self, units: u64) -> Result<u64, Denied> {
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
pub(super) async fn pause() {
    let _ = JsFuture::from(edge::sleep(2)).await;
}

/// Whether so many slots are held that the hub gives some back.
pub(super) const fn is_much(held: u64, used: u64) -> bool {
    held > used.saturating_add(HUB_SLOTS.saturating_mul(2)) || used == 0 && held > 0
}

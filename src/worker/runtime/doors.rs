//! Rate limits for endpoints that anybody can reach without a valid credential.
//!
//! Each request to such a door is a visit. A visit is counted before D1, KV or a ledger is read,
//! once for the client's address and once for all clients together, so a flood costs a bounded
//! number of reads. If the look-up finds the secret valid, the visit is uncounted, and later visits
//! with the same secret are not counted. The rates hold per isolate.

use std::cell::RefCell;

use wasm_bindgen::JsValue;

use crate::ledger::{Bucket, Rate};
use crate::model::Cache;
use crate::model::bounds::{MAX_GUESTS, MAX_KNOCKING};
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;

/// An endpoint, or a read that a request can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    /// Support tickets, looked up in D1.
    Tickets,
    /// Licence keys, looked up in D1.
    Licences,
    /// Admin tokens, looked up in D1.
    AdminTokens,
    /// Health checks of an isolate that holds no catalog: each reads KV.
    Health,
    /// Log lines about denials.
    Log,
    /// Index entries that are read from D1 while KV may be stale.
    Unknown,
}

/// The rate of one client address at one door.
const ONE: Rate = Rate { limit: 5, burst: 30, window_ms: 1_000 };
/// The rate of all clients together at one door.
const ALL: Rate = Rate { limit: 50, burst: 200, window_ms: 1_000 };

thread_local! {
    /// Hashes of secrets that were valid. Whether they still are is looked up on every visit.
    static GUESTS: RefCell<Cache<String, ()>> = RefCell::new(Cache::new(MAX_GUESTS));
    static KNOCKS: RefCell<Cache<Knock, Bucket>> = RefCell::new(Cache::new(MAX_KNOCKING));
}

/// A counted visit: the rates that it was counted in.
pub(crate) struct Visit(Vec<Knock>);

/// Counts a visit that presents a secret. Returns `None` if the rate is exceeded. A visit with a
/// secret that was valid before is not counted.
///
/// INVARIANT (counted first): the visit is counted before the look-up, so concurrent visits cannot
/// exceed the rate.
pub(crate) fn enter(door: Door, request: &JsValue, secret_hash: &str) -> Option<Visit> {
    if GUESTS.with_borrow_mut(|guests| guests.get_mut(secret_hash).is_some()) {
        return Some(Visit(Vec::new()));
    }
    knock(door, Some(request))
}

/// Counts a visit. Returns `None` if a rate is exceeded. Without a `request`, only the rate of all
/// clients together applies.
pub(crate) fn knock(door: Door, request: Option<&JsValue>) -> Option<Visit> {
    let own = request.and_then(edge::address).map(|address| ((door, Some(address)), ONE));
    let mut visit = Visit(Vec::new());
    // The address's own rate comes first: a client beyond it uses up nothing of the shared rate.
    for (key, rate) in own.into_iter().chain([((door, None), ALL)]) {
        let (verdict, after) = KNOCKS.with_borrow_mut(|knocks| bucket(knocks, &key).step(rate, 1, clock::now()));
        if !verdict.allowed {
            visit.give_back();
            return None;
        }
        KNOCKS.with_borrow_mut(|knocks| knocks.insert(key.clone(), after));
        visit.0.push(key);
    }
    Some(visit)
}

impl Visit {
    /// Records the result of the look-up. If the secret is valid, the visit is uncounted, and later
    /// visits with it are not counted. Otherwise the visit stays counted, and so do later ones.
    pub(crate) fn judged(self, secret_hash: &str, is_valid: bool) {
        if is_valid {
            GUESTS.with_borrow_mut(|guests| guests.insert(secret_hash.to_owned(), ()));
            self.give_back();
        } else {
            GUESTS.with_borrow_mut(|guests| guests.remove(secret_hash));
        }
    }

    fn give_back(self) {
        KNOCKS.with_borrow_mut(|knocks| {
            for key in self.0 {
                let before = bucket(knocks, &key).without(1);
                knocks.insert(key, before);
            }
        });
    }
}

/// The key of one rate: a door, and a client's address or `None` for all clients together.
type Knock = (Door, Option<String>);

fn bucket(knocks: &mut Cache<Knock, Bucket>, key: &Knock) -> Bucket {
    knocks.get_mut(key).copied().unwrap_or_default()
}

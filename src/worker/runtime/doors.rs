//! Rates of the endpoints that are open to strangers. A visit is counted before D1, KV or a ledger is asked; one that shows a valid
//! secret is given back.

use std::cell::RefCell;

use wasm_bindgen::JsValue;

use crate::ledger::{Bucket, Rate};
use crate::model::Cache;
use crate::model::bounds::{MAX_GUESTS, MAX_KNOCKING};
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;

/// An endpoint, or what a request makes the isolate ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Door {
    /// Tickets of support, in D1.
    Tickets,
    /// Licence keys, in D1.
    Licences,
    /// Admin tokens, in D1.
    AdminTokens,
    /// The catalog, in KV, where there is none yet.
    Health,
    /// Lines about refusals, in the log.
    Log,
    /// Unknown names, looked up in D1 while KV may be stale.
    Unknown,
}

/// The rate of one address at one door.
const ONE: Rate = Rate { limit: 5, burst: 30, window_ms: 1_000 };
/// The rate of all addresses together at one door.
const ALL: Rate = Rate { limit: 50, burst: 200, window_ms: 1_000 };

thread_local! {
    /// Secrets that were good, by their hashes. Whether they still are is looked up each time.
    static GUESTS: RefCell<Cache<String, ()>> = RefCell::new(Cache::new(MAX_GUESTS));
    static KNOCKS: RefCell<Cache<Knock, Bucket>> = RefCell::new(Cache::new(MAX_KNOCKING));
}

/// A visit that has been counted.
pub(crate) struct Visit(Vec<Knock>);

/// Counts a visit with a secret; `None` if there are too many. INVARIANT (counted first): however many visits arrive at once, no more
/// pass than the rate allows. A secret that was valid before is not counted.
pub(crate) fn enter(door: Door, request: &JsValue, secret_hash: &str) -> Option<Visit> {
    if GUESTS.with_borrow_mut(|guests| guests.get_mut(secret_hash).is_some()) {
        return Some(Visit(Vec::new()));
    }
    knock(door, Some(request))
}

/// Counts a visit; `None` if there are too many. Without a `request` only the rate of all applies.
pub(crate) fn knock(door: Door, request: Option<&JsValue>) -> Option<Visit> {
    let own = request.and_then(edge::address).map(|address| ((door, Some(address)), ONE));
    let mut visit = Visit(Vec::new());
    // An address beyond its own rate takes nothing of what all may.
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
    /// Notes what the look-up said of the secret. If it is valid, the visit is given back, and later ones with it are not counted. If it
    /// is not, or no longer, they are counted again.
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

/// A door and a client's address; `None` stands for all clients together.
type Knock = (Door, Option<String>);

fn bucket(knocks: &mut Cache<Knock, Bucket>, key: &Knock) -> Bucket {
    knocks.get_mut(key).copied().unwrap_or_default()
}

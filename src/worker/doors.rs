//! The doors that stand open to strangers: each lets so many knock, by address, before anything outside of this isolate is asked.

use std::cell::RefCell;

use wasm_bindgen::JsValue;

use super::{clock, edge};
use crate::ledger::{Bucket, Rate, Verdict};
use crate::model::Cache;
use crate::model::bounds::{MAX_GUESTS, MAX_KNOCKING};

/// A door: what is asked behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Door {
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
    /// Names that nobody has, in D1 where KV is not believed.
    Unknown,
}

/// What one address may, a door: enough for a person and a program, too little for a flood.
const ONE: Rate = Rate { limit: 5, burst: 30, window_ms: 1_000 };
/// What all may, a door.
const ALL: Rate = Rate { limit: 50, burst: 200, window_ms: 1_000 };

thread_local! {
    /// Secrets that were good, by their hashes. Whether they still are is looked up each time.
    static GUESTS: RefCell<Cache<String, ()>> = RefCell::new(Cache::new(MAX_GUESTS));
    static KNOCKS: RefCell<Cache<Knock, Bucket>> = RefCell::new(Cache::new(MAX_KNOCKING));
}

/// Whether the holder of a secret may pass: one that was good before needs no door, however many others knock.
pub(super) fn lets_in(door: Door, request: &JsValue, secret_hash: &str) -> bool {
    GUESTS.with_borrow_mut(|guests| guests.get_mut(secret_hash).is_some()) || may_pass(door, Some(request))
}

/// Notes whether a secret was good.
pub(super) fn seen(door: Door, request: &JsValue, secret_hash: &str, good: bool) {
    if good {
        GUESTS.with_borrow_mut(|guests| guests.insert(secret_hash.to_owned(), ()));
    } else {
        knocked(door, Some(request));
    }
}

/// Whether `request` may pass; without one, whoever asks.
pub(super) fn may_pass(door: Door, request: Option<&JsValue>) -> bool {
    let judge = |key: &Knock, rate| KNOCKS.with_borrow_mut(|knocks| step(knocks, key, rate).0.allowed);
    // An address beyond its own rate takes nothing of what all may.
    own(door, request).is_none_or(|key| judge(&key, ONE)) && judge(&(door, None), ALL)
}

/// Counts a knock that led to nothing. What is good is not counted: nobody is kept from using what is theirs.
pub(super) fn knocked(door: Door, request: Option<&JsValue>) {
    let keys = [own(door, request).map(|key| (key, ONE)), Some(((door, None), ALL))];
    KNOCKS.with_borrow_mut(|knocks| {
        for (key, rate) in keys.into_iter().flatten() {
            let (_, after) = step(knocks, &key, rate);
            knocks.insert(key, after);
        }
    });
}

type Knock = (Door, Option<String>);

fn own(door: Door, request: Option<&JsValue>) -> Option<Knock> {
    request.and_then(edge::address).map(|address| (door, Some(address)))
}

fn step(knocks: &mut Cache<Knock, Bucket>, key: &Knock, rate: Rate) -> (Verdict, Bucket) {
    knocks.get_mut(key).copied().unwrap_or_default().step(rate, 1, clock::now())
}

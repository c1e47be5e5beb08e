//! The feed: the list of recent changes in D1, from which an isolate learns which snapshots are
//! stale.
//!
//! # Why
//!
//! KV may serve a stale snapshot for a minute, and for longer if a publication has failed. Each
//! isolate therefore polls the feed every few seconds. It reads a changed snapshot from D1, the
//! system of record, until KV is certain to have it ([`STRONG_MS`]).
//!
//! # State
//!
//! - `last` is the number of the last change that this isolate has read: its position in the feed.
//! - `read_through` contains the keys that are read from D1, each with an end time; `all` is the
//!   end time for all keys, used if it is unknown which keys have changed, or if too many have.
//!
//! # Order of calls
//!
//! 1. Before a question to the gate, [`is_due`] checks the age of the last successful read. Past
//!    [`FEED_SOFT_MS`] it starts a read in the background. Past [`FEED_FIRM_MS`] it returns true,
//!    and the request waits for [`read`].
//! 2. A read ([`catch_up`]) takes all changes since `last`, page by page, and calls [`changed`] for
//!    each. That marks the held snapshot stale in the gate and adds the key to `read_through`.
//! 3. When the gate needs a snapshot, [`read_through`] decides between D1 and KV.
//! 4. If the gate answers that a tenant is unknown, [`may_know_more`] decides whether one more read
//!    is worthwhile.
//!
//! A read marks all snapshots stale in three cases: the feed has more than [`MAX_FEED_PAGES`] new
//! pages; its numbers went backwards, because the database was restored; or an isolate that holds
//! snapshots has no valid position, because its last read is too old.
//!
//! # Invariants
//!
//! - A change goes unnoticed for at most [`FEED_FIRM_MS`] plus the time of one read, unless D1
//!   fails.
//! - If a read fails, the held snapshots continue to serve and no request waits for the next read:
//!   an outage of D1 is not an outage of the gate.
//! - The age of a read counts from the moment when it was requested, not from its response.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::coalesce::{Ended, SharedWork, Unavailable, coalesce};
use super::d1::{Row, Store, number, sql, text};
use super::originals;
use crate::gate::SnapshotKey;
use crate::model::UnixMillis;
use crate::model::bounds::{
    FEED_DEADLINE_MS, FEED_FIRM_MS, FEED_KEPT_MS, FEED_LATELY_MS, FEED_MISS_MS, FEED_SOFT_MS, MAX_FEED,
    MAX_FEED_MISS_MS, MAX_FEED_PAGES, MAX_STRONG, STRONG_MS,
};
use crate::worker::config::Config;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::{edge, task};

#[derive(Default)]
struct Feed {
    /// The number of the last change that was read. `None` before the first read.
    last: Option<u64>,
    /// When the last successful read was requested.
    read_at: UnixMillis,
    /// When the last read was requested.
    asked_at: UnixMillis,
    /// When the last read ended, successfully or not.
    ended_at: UnixMillis,
    /// Whether a request is reading the feed.
    reading: bool,
    /// Whether the last read failed. Held snapshots then continue to serve, and no request waits
    /// for the next read.
    failed: bool,
    /// Consecutive reads that found no change.
    quiet: u32,
    /// Keys that are read from D1, with the end of that period.
    read_through: FxHashMap<String, UnixMillis>,
    /// The time until which all keys are read from D1.
    all: UnixMillis,
}

impl Feed {
    /// Whether an unknown name justifies a read of the feed: one is in progress, so that the
    /// request can share it, or the last one is long enough ago.
    fn is_worth_a_look(&self, now: UnixMillis) -> bool {
        let pause_ms = if self.failed {
            FEED_SOFT_MS
        } else {
            FEED_MISS_MS.saturating_mul(1 << self.quiet.min(4)).min(MAX_FEED_MISS_MS)
        };
        self.reading && !self.failed || now.since(self.ended_at) > pause_ms
    }
}

thread_local! {
    static FEED: RefCell<Feed> = RefCell::default();
}

/// Whether the feed must be read before a decision. If the last read is only somewhat old, this
/// starts a read in the background and returns false.
pub(crate) fn is_due(config: &Rc<Config>, context: &edge::ExecutionContext, now: UnixMillis) -> bool {
    if config.control.is_undefined() {
        return false;
    }
    let (age_ms, asked_ms, reading, failed) =
        FEED.with_borrow(|feed| (now.since(feed.read_at), now.since(feed.asked_at), feed.reading, feed.failed));
    // INVARIANT (bounded staleness): requests that arrive during a read wait for it too. After a
    // failed read no request waits.
    if age_ms > FEED_FIRM_MS && !failed {
        return reading || asked_ms > FEED_SOFT_MS;
    }
    if age_ms > FEED_SOFT_MS && asked_ms > FEED_SOFT_MS {
        read_behind(config, context);
    }
    false
}

/// Whether the feed may contain a tenant that the gate does not know. A flood of unknown names
/// causes at most one read every [`FEED_MISS_MS`]. The interval doubles while reads find no change,
/// up to [`MAX_FEED_MISS_MS`].
pub(crate) fn may_know_more(config: &Config, now: UnixMillis) -> bool {
    !config.control.is_undefined() && FEED.with_borrow(|feed| feed.is_worth_a_look(now))
}

/// Reads the feed, once for all requests that wait for it. A failed read is not an error: the held
/// snapshots continue to serve. The error is that this request may not wait any longer.
pub(crate) async fn read(config: &Rc<Config>, patience: Patience) -> Result<(), Unavailable> {
    let work = async {
        read_now(config).await;
        Ok(())
    };
    match coalesce(SharedWork::Feed, patience, work).await {
        Ended::Done | Ended::Failed => Ok(()),
        Ended::TimedOut => Err(Unavailable),
    }
}

async fn read_now(config: &Rc<Config>) {
    FEED.with_borrow_mut(|feed| feed.reading = true);
    let read = catch_up(config).await;
    FEED.with_borrow_mut(|feed| {
        (feed.reading, feed.failed) = (false, !read);
        feed.ended_at = clock::now();
    });
}

/// Selects the changes after the last one that was read, and all changes that are not published
/// yet: KV lacks those, however old they are. Each half of the union uses an index of its own.
const SINCE: &str = "SELECT number, key, epoch FROM publications WHERE number > max(?1, ?2) AND anew = 0 UNION \
     SELECT number, key, epoch FROM publications WHERE done_at IS NULL AND anew = 0 AND number > ?1 ORDER BY number LIMIT ?3";
/// Selects the same for an isolate without a position: recent publications, and unpublished
/// changes.
const LATELY: &str = "SELECT number, key, epoch FROM publications WHERE done_at > ?2 AND anew = 0 AND number > ?1 UNION \
     SELECT number, key, epoch FROM publications WHERE done_at IS NULL AND anew = 0 AND number > ?1 ORDER BY number LIMIT ?3";

/// Reads all changes since the last one that was read, and applies them. Returns false if D1
/// failed, so that it is unknown what has changed.
async fn catch_up(config: &Rc<Config>) -> bool {
    // The age of the result counts from before the read.
    let asked = clock::now();
    let store = Store::new(&config.control);
    let known = FEED.with_borrow_mut(|feed| {
        feed.asked_at = asked;
        // After a long pause the feed may no longer contain every change since the last read.
        feed.last.filter(|_| asked.since(feed.read_at) < FEED_KEPT_MS / 2)
    });
    // Without a position, snapshots that are held already may be stale. A new isolate holds none.
    let holds = with_gate(|gate| gate.current_catalog().is_some());
    let (query, from) = match known {
        Some(last) => (SINCE, last),
        None => (LATELY, asked.get().saturating_sub(FEED_LATELY_MS)),
    };
    let (mut cursor, mut last, mut whole) = (0, 0, false);
    // INVARIANT (one actor's changes are that actor's): a long list of changes is read to its end,
    // page by page, so that one actor's many changes do not mark the snapshots of others stale.
    for _ in 0..MAX_FEED_PAGES {
        let page = sql!(query, cursor, from, MAX_FEED);
        let asked = [page, sql!("SELECT coalesce(max(number), 0) AS last FROM publications")];
        let answers = store.run_within(FEED_DEADLINE_MS, &asked).await;
        let Ok(Ok([changes, newest])) = answers.map(<[Vec<Row>; 2]>::try_from) else { return false };
        last = newest.first().map_or(0, |row| number(row, "last"));
        for change in &changes {
            cursor = number(change, "number");
            if let Some(key) = SnapshotKey::parse(text(change, "key")) {
                changed(&key, number(change, "epoch"), clock::now());
            }
        }
        whole = u64::try_from(changes.len()).unwrap_or(u64::MAX) < MAX_FEED;
        if whole {
            break;
        }
    }
    // Numbers that go backwards show that the database was restored.
    let restored = known.is_some_and(|known| last < known);
    if !whole || restored || known.is_none() && holds {
        let now = clock::now();
        with_gate(|gate| gate.invalidate_all(now));
        FEED.with_borrow_mut(|feed| feed.all = now.plus(STRONG_MS));
    }
    FEED.with_borrow_mut(|feed| {
        feed.quiet = if known == Some(last) { feed.quiet.saturating_add(1) } else { 0 };
        (feed.last, feed.read_at) = (Some(last), asked);
    });
    true
}

/// Records a change of a snapshot: the held one is stale, and the key is read from D1 for
/// [`STRONG_MS`].
pub(crate) fn changed(key: &SnapshotKey, epoch: u64, now: UnixMillis) {
    // This isolate already holds that epoch.
    if !with_gate(|gate| gate.changed(key, epoch, now)) {
        return;
    }
    FEED.with_borrow_mut(|feed| {
        if feed.read_through.len() >= MAX_STRONG {
            feed.read_through.retain(|_, until| *until > now);
        }
        if feed.read_through.len() >= MAX_STRONG {
            feed.all = now.plus(STRONG_MS);
        } else {
            feed.read_through.insert(key.in_kv(), now.plus(STRONG_MS));
        }
    });
}

/// Reads a snapshot's original from D1 if KV may be stale. The outer `None` means that KV is to be
/// read; the inner `None` means that the document does not exist.
pub(crate) async fn read_through(key: &SnapshotKey, config: &Config, now: UnixMillis) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let in_kv = key.in_kv();
    let read_through = FEED.with_borrow(|feed| {
        feed.read_through.get(&in_kv).is_some_and(|until| *until > now)
            // Requests can contain any number of unknown names. While all keys are read from D1,
            // look-ups of index entries are limited by a rate; records and the catalog are not.
            || feed.all > now && (key.is_sealed() || doors::knock(Door::Unknown, None).is_some())
    });
    if !read_through && !with_gate(|gate| gate.lags(key)) {
        return None;
    }
    original(key, config).await
}

/// Reads a snapshot's original from D1. The outer `None` means that D1 has no such kind of document
/// or failed; the inner `None` means that the document does not exist.
pub(crate) async fn original(key: &SnapshotKey, config: &Config) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let asked = [originals::statement(key)?];
    let answers = Store::new(&config.control).run_within(FEED_DEADLINE_MS, &asked).await.ok()?;
    Some(originals::joined(&answers.into_iter().next().unwrap_or_default()))
}

/// Reads the feed in the background of a request.
fn read_behind(config: &Rc<Config>, context: &edge::ExecutionContext) {
    FEED.with_borrow_mut(|feed| feed.asked_at = clock::now());
    let config = Rc::clone(config);
    context.wait_until(&task::promise(async move {
        read_now(&config).await;
        wasm_bindgen::JsValue::UNDEFINED
    }));
}

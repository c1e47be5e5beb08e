//! The feed of changes: which snapshots are old, read from the system of record itself.
//!
//! KV may say for a minute, and longer where a publication failed, what is no longer true. So isolates read every few seconds
//! what has changed since they read last, at most one reading for all requests of an isolate, and take what has changed from
//! D1 until KV must have it. That bounds how long any change goes unseen, wherever: by `FEED_FIRM_MS`.

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
    /// The last change that was read; `None`: none was yet.
    last: Option<u64>,
    read_at: UnixMillis,
    asked_at: UnixMillis,
    /// When the last reading ended, well or not.
    ended_at: UnixMillis,
    /// Whether somebody reads right now.
    reading: bool,
    /// Whether the last reading failed: then what is held serves on, and nobody waits for the next one.
    failed: bool,
    /// Readings in a row that brought nothing new.
    quiet: u32,
    /// Keys that are read from D1, until when.
    read_through: FxHashMap<String, UnixMillis>,
    /// Until when everything is.
    all: UnixMillis,
}

impl Feed {
    /// Whether a name that nobody has is looked for in the feed.
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

/// Whether the feed has to be read before anything is decided. If it is only somewhat old, it is read
/// behind the request.
pub(crate) fn is_due(config: &Rc<Config>, context: &edge::ExecutionContext, now: UnixMillis) -> bool {
    if config.control.is_undefined() {
        return false;
    }
    let (age_ms, asked_ms, reading, failed) =
        FEED.with_borrow(|feed| (now.since(feed.read_at), now.since(feed.asked_at), feed.reading, feed.failed));
    // INVARIANT (bounded staleness): requests that arrive during a reading wait for it too. After a
    // failed reading nobody waits.
    if age_ms > FEED_FIRM_MS && !failed {
        return reading || asked_ms > FEED_SOFT_MS;
    }
    if age_ms > FEED_SOFT_MS && asked_ms > FEED_SOFT_MS {
        read_behind(config, context);
    }
    false
}

/// Whether the feed may know a tenant that the gate does not. A flood of unknown names has it read at
/// most every [`FEED_MISS_MS`], and less often the longer it brings nothing.
pub(crate) fn may_know_more(config: &Config, now: UnixMillis) -> bool {
    !config.control.is_undefined() && FEED.with_borrow(|feed| feed.is_worth_a_look(now))
}

/// Reads the changes, once for all requests that wait for them. If that fails, the held snapshots
/// serve on.
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

/// Changes since the last that was read, and those that are not published yet, which KV does not have however old they are. Each half
/// by an index of its own.
const SINCE: &str = "SELECT number, key, epoch FROM publications WHERE number > max(?1, ?2) AND anew = 0 UNION \
     SELECT number, key, epoch FROM publications WHERE done_at IS NULL AND anew = 0 AND number > ?1 ORDER BY number LIMIT ?3";
/// The same, for an isolate that starts: what was published lately.
const LATELY: &str = "SELECT number, key, epoch FROM publications WHERE done_at > ?2 AND anew = 0 AND number > ?1 UNION \
     SELECT number, key, epoch FROM publications WHERE done_at IS NULL AND anew = 0 AND number > ?1 ORDER BY number LIMIT ?3";

/// False: what has changed is not known.
async fn catch_up(config: &Rc<Config>) -> bool {
    // What is read is as old as the question.
    let asked = clock::now();
    let store = Store::new(&config.control);
    let known = FEED.with_borrow_mut(|feed| {
        feed.asked_at = asked;
        // Who has not read for very long may have missed what is no longer in the feed.
        feed.last.filter(|_| asked.since(feed.read_at) < FEED_KEPT_MS / 2)
    });
    // Snapshots held from before are marked stale; a new isolate holds none.
    let holds = with_gate(|gate| gate.current_catalog().is_some());
    let (query, from) = match known {
        Some(last) => (SINCE, last),
        None => (LATELY, asked.get().saturating_sub(FEED_LATELY_MS)),
    };
    let (mut cursor, mut last, mut whole) = (0, 0, false);
    // INVARIANT (one actor's changes are that actor's): however much has changed, it is read to its end, page by page, and nothing
    // else is doubted.
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
    // Numbers that go back are those of a database that was restored.
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

/// Takes it that something has changed: what is held of it is doubted, and read from D1.
pub(crate) fn changed(key: &SnapshotKey, epoch: u64, now: UnixMillis) {
    // What this isolate holds already is no news.
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

/// The system of record's word on `need`, where KV may not have it yet. `None`: KV is asked.
pub(crate) async fn read_through(key: &SnapshotKey, config: &Config, now: UnixMillis) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let in_kv = key.in_kv();
    let read_through = FEED.with_borrow(|feed| {
        feed.read_through.get(&in_kv).is_some_and(|until| *until > now)
            // There is no end of unknown names: while everything is doubted, D1 is asked about them at a bounded rate.
            || feed.all > now && (key.is_sealed() || doors::knock(Door::Unknown, None).is_some())
    });
    if !read_through && !with_gate(|gate| gate.lags(key)) {
        return None;
    }
    original(key, config).await
}

/// What the system of record says. `None`: it says nothing.
pub(crate) async fn original(key: &SnapshotKey, config: &Config) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let asked = [originals::statement(key)?];
    let answers = Store::new(&config.control).run_within(FEED_DEADLINE_MS, &asked).await.ok()?;
    Some(originals::joined(&answers.into_iter().next().unwrap_or_default()))
}

/// A reading behind the request.
fn read_behind(config: &Rc<Config>, context: &edge::ExecutionContext) {
    FEED.with_borrow_mut(|feed| feed.asked_at = clock::now());
    let config = Rc::clone(config);
    context.wait_until(&task::promise(async move {
        read_now(&config).await;
        wasm_bindgen::JsValue::UNDEFINED
    }));
}

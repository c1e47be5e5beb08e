//! The feed of changes: which snapshots are old, read from the system of record itself.
//!
//! KV may say for a minute, and longer where a publication failed, what is no longer true. So isolates read every few seconds
//! what has changed since they read last, at most one reading for all requests of an isolate, and take what has changed from
//! D1 until KV must have it. That bounds how long any change goes unseen, wherever: by `FEED_FIRM_MS`.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::clock::Patience;
use super::config::Config;
use super::control::{Row, Store, joined, number, original, sql, text};
use super::doors::{self, Door};
use super::isolate::{self, with_gate};
use super::{clock, edge};
use crate::gate::{Code, Need, Step};
use crate::model::UnixMillis;
use crate::model::bounds::{
    FEED_DEADLINE_MS, FEED_FIRM_MS, FEED_KEPT_MS, FEED_LATELY_MS, FEED_MISS_MS, FEED_SOFT_MS, MAX_FEED,
    MAX_FEED_MISS_MS, MAX_FEED_PAGES, MAX_STRONG, STRONG_MS,
};

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

/// What is to be read before anything is decided. What is only somewhat old is read behind the request.
pub(super) fn due(config: &Rc<Config>, context: &edge::ExecutionContext, now: UnixMillis) -> Option<Need> {
    if config.control.is_undefined() {
        return None;
    }
    let (age_ms, asked_ms, reading, failed) =
        FEED.with_borrow(|feed| (now.since(feed.read_at), now.since(feed.asked_at), feed.reading, feed.failed));
    match age_ms {
        // INVARIANT (bounded staleness): who comes while it is read waits for it too. Where it has just failed, nobody waits.
        age_ms if age_ms > FEED_FIRM_MS && !failed => (reading || asked_ms > FEED_SOFT_MS).then_some(Need::Feed),
        age_ms => {
            if age_ms > FEED_SOFT_MS && asked_ms > FEED_SOFT_MS {
                behind(config, context);
            }
            None
        }
    }
}

/// Reads what has changed, if that is to be done before anything is decided.
pub(super) async fn catch_up_if_due(config: &Rc<Config>, context: &edge::ExecutionContext, patience: Patience) {
    if let Some(need) = due(config, context, clock::now()) {
        isolate::fetch(need, config, context, patience).await;
    }
}

/// Who is not known may have come a moment ago: then it is looked for once more, which no flood of names does more often than
/// every [`FEED_MISS_MS`], and less often the longer nothing comes of it.
pub(super) fn missed(step: Step, config: &Config, now: UnixMillis) -> Step {
    match step {
        Step::Done(decision)
            if decision.code == Code::TenantNotFound
                && !config.control.is_undefined()
                && FEED.with_borrow(|feed| feed.is_worth_a_look(now)) =>
        {
            Step::Fetch(Need::Feed)
        }
        step => step,
    }
}

/// Reads what has changed. Where that fails, what is held serves on.
pub(super) async fn read(config: &Rc<Config>) {
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
    let holds = with_gate(|gate| gate.snapshots.current_plans().is_some());
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
            if let Some(need) = Need::under(text(change, "key")) {
                changed(&need, number(change, "epoch"), clock::now());
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
        with_gate(|gate| gate.snapshots.doubt_all(now));
        FEED.with_borrow_mut(|feed| feed.all = now.plus(STRONG_MS));
    }
    FEED.with_borrow_mut(|feed| {
        feed.quiet = if known == Some(last) { feed.quiet.saturating_add(1) } else { 0 };
        (feed.last, feed.read_at) = (Some(last), asked);
    });
    true
}

/// Takes it that something has changed: what is held of it is doubted, and read from D1.
pub(super) fn changed(need: &Need, epoch: u64, now: UnixMillis) {
    // What this isolate holds already is no news.
    if !with_gate(|gate| gate.snapshots.changed(need, epoch, now)) {
        return;
    }
    FEED.with_borrow_mut(|feed| {
        if feed.read_through.len() >= MAX_STRONG {
            feed.read_through.retain(|_, until| *until > now);
        }
        if feed.read_through.len() >= MAX_STRONG {
            feed.all = now.plus(STRONG_MS);
        } else {
            feed.read_through.insert(need.key(), now.plus(STRONG_MS));
        }
    });
}

/// The system of record's word on `need`, where KV may not have it yet. `None`: KV is asked.
pub(super) async fn ask(need: &Need, config: &Config, now: UnixMillis) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let key = need.key();
    let read_through = FEED.with_borrow(|feed| {
        feed.read_through.get(&key).is_some_and(|until| *until > now)
            // There is no end of unknown names: while everything is doubted, D1 is asked about them at a bounded rate.
            || feed.all > now && (need.is_sealed() || doors::knock(Door::Unknown, None).is_some())
    });
    if !read_through && !with_gate(|gate| gate.snapshots.lags(need)) {
        return None;
    }
    original_of(need, config).await
}

/// What the system of record says. `None`: it says nothing.
pub(super) async fn original_of(need: &Need, config: &Config) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let asked = [original(&need.key())?];
    let answers = Store::new(&config.control).run_within(FEED_DEADLINE_MS, &asked).await.ok()?;
    Some(joined(&answers.into_iter().next().unwrap_or_default()))
}

/// A reading behind the request.
fn behind(config: &Rc<Config>, context: &edge::ExecutionContext) {
    FEED.with_borrow_mut(|feed| feed.asked_at = clock::now());
    let config = Rc::clone(config);
    context.wait_until(&super::task::promise(async move {
        read(&config).await;
        wasm_bindgen::JsValue::UNDEFINED
    }));
}

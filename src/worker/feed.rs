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
use super::isolate::{self, with_gate};
use super::{clock, edge};
use crate::gate::{Code, Need, Step};
use crate::model::UnixMillis;
use crate::model::bounds::{
    FEED_DEADLINE_MS, FEED_FIRM_MS, FEED_KEPT_MS, FEED_LATELY_MS, FEED_MISS_MS, FEED_SOFT_MS, MAX_FEED, MAX_STRONG,
    STRONG_MS,
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
    /// Keys that are read from D1, until when.
    strong: FxHashMap<String, UnixMillis>,
    /// Until when everything is.
    all: UnixMillis,
}

thread_local! {
    static FEED: RefCell<Feed> = RefCell::default();
}

/// What is to be read before anything is decided. What is only somewhat old is read behind the request.
pub(super) fn due(config: &Rc<Config>, context: &edge::Context, now: UnixMillis) -> Option<Need> {
    if config.control.is_undefined() {
        return None;
    }
    let (age_ms, asked_ms, reading) =
        FEED.with_borrow(|feed| (now.since(feed.read_at), now.since(feed.asked_at), feed.reading));
    match age_ms {
        // INVARIANT (bounded staleness): who comes while it is read waits for it too. Where it has just failed, nobody waits.
        age_ms if age_ms > FEED_FIRM_MS => (reading || asked_ms > FEED_SOFT_MS).then_some(Need::Feed),
        age_ms => {
            if age_ms > FEED_SOFT_MS && asked_ms > FEED_SOFT_MS {
                behind(config, context);
            }
            None
        }
    }
}

/// Reads what has changed, if that is to be done before anything is decided.
pub(super) async fn catch_up_if_due(config: &Rc<Config>, context: &edge::Context, patience: Patience) {
    if let Some(need) = due(config, context, clock::now()) {
        isolate::fetch(need, config, context, patience).await;
    }
}

/// Who is not known may have come a moment ago: then it is looked for once more, which no flood of names does more often than
/// every [`FEED_MISS_MS`].
pub(super) fn missed(step: Step, config: &Config, now: UnixMillis) -> Step {
    match step {
        Step::Done(decision)
            if decision.code == Code::TenantNotFound
                && !config.control.is_undefined()
                && FEED.with_borrow(|feed| feed.reading || now.since(feed.ended_at) > FEED_MISS_MS) =>
        {
            Step::Fetch(Need::Feed)
        }
        step => step,
    }
}

/// Reads what has changed. Where that fails, what is held serves on.
pub(super) async fn read(config: &Rc<Config>) {
    FEED.with_borrow_mut(|feed| feed.reading = true);
    catch_up(config).await;
    FEED.with_borrow_mut(|feed| {
        feed.reading = false;
        feed.ended_at = clock::now();
    });
}

async fn catch_up(config: &Rc<Config>) {
    let now = clock::now();
    let store = Store::new(&config.control);
    let known = FEED.with_borrow_mut(|feed| {
        feed.asked_at = now;
        // Who has not read for very long may have missed what is no longer in the feed.
        feed.last.filter(|_| now.since(feed.read_at) < FEED_KEPT_MS / 2)
    });
    // What is held from before is doubted; who starts holds nothing.
    let holds = with_gate(|gate| gate.snapshots.current_plans().is_some());
    // What is not published yet is read again each time: KV does not have it, however long ago it changed.
    // Each half by an index of its own.
    let open = "SELECT number, key, epoch FROM publications WHERE done_at IS NULL AND anew = 0";
    let since = match known {
        Some(last) => sql!(
            format!(
                "SELECT number, key, epoch FROM publications WHERE number > ? AND anew = 0 UNION {open} ORDER BY number LIMIT ?"
            ),
            last,
            MAX_FEED
        ),
        None => sql!(
            format!(
                "SELECT number, key, epoch FROM publications WHERE done_at > ? AND anew = 0 UNION {open} ORDER BY number DESC LIMIT ?"
            ),
            now.get().saturating_sub(FEED_LATELY_MS),
            MAX_FEED
        ),
    };
    let answers = store
        .run_within(FEED_DEADLINE_MS, &[since, sql!("SELECT coalesce(max(number), 0) AS last FROM publications")])
        .await;
    let Ok(Ok([changes, last])) = answers.map(<[Vec<Row>; 2]>::try_from) else { return };
    let last = last.first().map_or(0, |row| number(row, "last"));
    let many = u64::try_from(changes.len()).unwrap_or(u64::MAX) >= MAX_FEED;
    // Numbers that go back are those of a database that was restored.
    let restored = known.is_some_and(|known| last < known);
    if many || restored || known.is_none() && holds {
        with_gate(|gate| gate.snapshots.doubt_all(now));
        FEED.with_borrow_mut(|feed| feed.all = now.plus(STRONG_MS));
    }
    for change in &changes {
        if let Some(need) = Need::under(text(change, "key")) {
            changed(&need, number(change, "epoch"), now);
        }
    }
    FEED.with_borrow_mut(|feed| {
        // What is not read yet, because there was too much of it, is covered by the doubt in everything.
        feed.last = Some(last);
        feed.read_at = now;
    });
}

/// Takes it that something has changed: what is held of it is doubted, and read from D1.
pub(super) fn changed(need: &Need, epoch: u64, now: UnixMillis) {
    // What this isolate holds already is no news.
    if !with_gate(|gate| gate.snapshots.changed(need, epoch, now)) {
        return;
    }
    FEED.with_borrow_mut(|feed| {
        if feed.strong.len() >= MAX_STRONG {
            feed.strong.retain(|_, until| *until > now);
        }
        if feed.strong.len() >= MAX_STRONG {
            feed.all = now.plus(STRONG_MS);
        } else {
            feed.strong.insert(need.key(), now.plus(STRONG_MS));
        }
    });
}

/// The system of record's word on `need`, where KV may not have it yet. `None`: KV is asked.
pub(super) async fn ask(need: &Need, config: &Config, now: UnixMillis) -> Option<Option<String>> {
    if config.control.is_undefined() {
        return None;
    }
    let key = need.key();
    let strong = FEED.with_borrow(|feed| feed.all > now || feed.strong.get(&key).is_some_and(|until| *until > now));
    if !strong && !with_gate(|gate| gate.snapshots.lags(need)) {
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
fn behind(config: &Rc<Config>, context: &edge::Context) {
    FEED.with_borrow_mut(|feed| feed.asked_at = clock::now());
    let config = Rc::clone(config);
    context.wait_until(&super::task::promise(async move {
        read(&config).await;
        wasm_bindgen::JsValue::UNDEFINED
    }));
}

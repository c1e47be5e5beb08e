//! The Durable Object that counts for one family of tenants.
//!
//! Orders that arrive together are decided in memory, written in one transaction, and answered after it: the runtime
//! holds every answer back until the write is on disk (output gate). What is in memory is a cache of `SQLite`, rebuilt
//! at construction and after a failed write. Usage is not kept in memory: a group reads the buckets that it adds to.

use std::collections::{BTreeMap, BTreeSet};

use js_sys::{Date, Function, Promise};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;
use web_sys::console;

use crate::ledger::{
    Changes, CircuitBreaker, Counter, HeldUnits, Lease, LedgerRequest, LedgerState, Tally, UsageEntry,
};
use crate::model::UnixMillis;
use crate::model::bounds::{
    EVENT_ONCE_MS, MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE, MAX_OUTBOX_BATCH, MAX_OUTBOX_BYTES, MAX_SLICE_BYTES,
    ONCE_MS,
};
use crate::worker::runtime::edge;
use crate::worker::runtime::fault::fault;

/// One family's ledger.
#[wasm_bindgen]
pub struct TenantLedger {
    serve: Function,
    state: JsValue,
    env: JsValue,
}

#[wasm_bindgen]
impl TenantLedger {
    /// Opens the ledger and reads what it keeps in memory.
    ///
    /// # Errors
    /// Where `SQLite` cannot be read; the runtime then builds the object anew.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: JsValue) -> Result<TenantLedger, JsValue> {
        let mut book = Some(read_book(&state)?);
        edge::revive_outbox(&state)?;
        let own = state.clone();
        let commit = Closure::<dyn FnMut(String) -> Result<String, JsValue>>::new(move |orders: String| {
            commit(&own, &mut book, &orders)
        });
        let serve = edge::serve_ledger(&commit.into_js_value(), MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE);
        Ok(Self { serve, state, env })
    }

    /// Takes [`LedgerRequest`]s as JSON, one a line; answers [`crate::ledger::LedgerResponse`]s as JSON, one a line, in a Promise.
    ///
    /// # Errors
    /// Never by itself; a trap is the Promise's rejection.
    pub fn fetch(&self, request: &JsValue) -> Result<JsValue, JsValue> {
        self.serve.call1(&JsValue::UNDEFINED, request)
    }

    /// Hands events of usage on.
    pub fn alarm(&self) -> Promise {
        edge::empty_outbox(&self.state, &self.env, MAX_OUTBOX_BATCH, MAX_OUTBOX_BYTES)
    }
}

/// Decides a group of orders, one a line, writes what changed, and returns the answers, one a line. An order that cannot be
/// read has an empty answer.
///
/// `held` is empty after a failed write, until what is written could be read again: what could not be written did not happen.
fn commit(state: &JsValue, held: &mut Option<LedgerState>, texts: &str) -> Result<String, JsValue> {
    let now = UnixMillis::from_js(Date::now());
    let mut book = match held.take() {
        Some(book) => book,
        None => read_book(state)?,
    };
    let orders: Vec<Option<LedgerRequest<'_>>> =
        texts.split('\n').map(|text| serde_json::from_str(text).ok()).collect();
    let mut keys = KeyTable::read(state, "keys", &orders, now)?;
    let mut events = KeyTable::read(state, "events", &orders, now)?;
    read_usage(state, &mut book, &orders, now)?;
    let mut answers = Vec::with_capacity(orders.len());
    for order in &orders {
        let Some(order) = order else {
            answers.push(String::new());
            continue;
        };
        fault(order.charges.first().map(|charge| charge.counter), "t_trap_ledger/few");
        let memory = if order.once.is_some_and(|once| once.event) { &mut events } else { &mut keys };
        let before = order.once.and_then(|once| memory.known.get(once.id)).map(String::as_str);
        let outcome = book.answer_once(order, before, now);
        if let (Some(once), true) = (order.once, outcome.stores_key(order)) {
            memory.note(once.id, once.fingerprint);
        }
        // An outcome holds numbers and booleans: it always has a JSON form.
        answers.push(serde_json::to_string(&outcome).unwrap_or_default());
    }
    let changes = book.take_changes();
    let mut page = WriteBatch::of(&book, changes);
    keys.write(&mut page);
    events.write(&mut page);
    book.forget_usage();
    if let Err(error) = page.save(state) {
        console::error_2(&"ledger: not written".into(), &error);
        return Err(error);
    }
    *held = Some(book);
    Ok(answers.join("\n"))
}

/// Names that are remembered for a while: in generations, of which this one and the last are looked at.
struct KeyTable {
    kind: &'static str,
    generation: u32,
    known: BTreeMap<String, String>,
    noted: Map<String, Value>,
}

impl KeyTable {
    /// Of what orders must count once, what is known.
    fn read(
        state: &JsValue,
        kind: &'static str,
        orders: &[Option<LedgerRequest<'_>>],
        now: UnixMillis,
    ) -> Result<Self, JsValue> {
        let event = kind == "events";
        let span_ms = if event { EVENT_ONCE_MS } else { ONCE_MS };
        let generation = u32::try_from(now.get().checked_div(span_ms).unwrap_or(0)).unwrap_or(u32::MAX);
        let once = orders.iter().flatten().filter_map(|order| order.once).filter(|once| once.event == event);
        let known = in_slices(once.map(|once| once.id), |names| edge::remembered(state, kind, names, generation))?;
        Ok(Self { kind, generation, known, noted: Map::new() })
    }

    fn note(&mut self, id: &str, fingerprint: &str) {
        self.known.insert(id.to_owned(), fingerprint.to_owned());
        self.noted.insert(id.to_owned(), fingerprint.into());
    }

    fn write(self, page: &mut WriteBatch) {
        page.table(&format!("{}_{}", self.kind, self.generation % 2), self.noted);
    }
}

/// Puts in the usage that orders add to, or ask for: first the periods, which say what the buckets are called.
fn read_usage(
    state: &JsValue,
    book: &mut LedgerState,
    orders: &[Option<LedgerRequest<'_>>],
    now: UnixMillis,
) -> Result<(), JsValue> {
    let entries = || orders.iter().flatten().flat_map(|order| &order.usage);
    let asked = || orders.iter().flatten().flat_map(|order| &order.report);
    let leaves = || orders.iter().flatten().filter_map(|order| order.leave.as_ref());
    let leaving = || leaves().flat_map(|leave| leave.tenants.keys()).map(String::as_str);
    let named = entries().map(|entry| entry.series.as_ref()).chain(asked().map(|inquiry| inquiry.series.as_ref()));
    let mut series = in_slices(named, |names| edge::stored(state, "series", names))?;
    series.extend(in_slices(leaving(), |names| edge::stored_below(state, "series", names))?);
    for (name, text) in series {
        book.put_series(&name, parsed(&text)?);
    }
    for entry in entries() {
        book.note_setting(entry, now);
    }
    let closed = orders.iter().flatten().filter_map(|order| order.quotas).map(|inquiry| inquiry.tenant);
    for (name, text) in in_slices(closed.chain(leaving()), |names| edge::stored_below(state, "closed", names))? {
        book.put_closed(name, parsed(&text)?);
    }
    let buckets: Vec<(&UsageEntry<'_>, String)> =
        entries().flat_map(|entry| book.buckets(entry).map(|bucket| (entry, bucket))).collect();
    let asked: Vec<String> = asked().map(|inquiry| book.period_of(inquiry, now).2).collect();
    let distinct: Vec<String> = buckets.iter().filter_map(|(entry, bucket)| entry.distinct_name(bucket)).collect();
    let known = in_slices(distinct.iter().map(String::as_str), |names| edge::stored(state, "distinct_values", names))?;
    let below = in_slices(leaving(), |names| edge::stored_below(state, "distinct_values", names))?;
    for name in known.into_keys().chain(below.into_keys()) {
        book.put_distinct(name);
    }
    let added = buckets.iter().map(|(_, bucket)| bucket.as_str());
    let mut tallies = in_slices(added, |names| edge::stored(state, "tallies", names))?;
    let asked = asked.iter().map(String::as_str).chain(leaving());
    tallies.extend(in_slices(asked, |names| edge::stored_below(state, "tallies", names))?);
    for (bucket, text) in tallies {
        let tally: Tally = parsed(&text)?;
        book.put_tally(&bucket, tally);
    }
    Ok(())
}

/// What `read` has under these names, each asked for once, in slices: `SQLite` takes no text of any length.
fn in_slices<'a>(
    names: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Result<String, JsValue>,
) -> Result<BTreeMap<String, String>, JsValue> {
    let names: BTreeSet<&str> = names.collect();
    let (mut found, mut slice, mut bytes) = (BTreeMap::new(), Vec::new(), 0_usize);
    for (index, name) in names.iter().enumerate() {
        slice.push(*name);
        bytes = bytes.saturating_add(name.len());
        if bytes > MAX_SLICE_BYTES || index.saturating_add(1) == names.len() {
            let text = read(&Value::from(std::mem::take(&mut slice)).to_string())?;
            found.extend(parsed::<BTreeMap<String, String>>(&text)?);
            bytes = 0;
        }
    }
    Ok(found)
}

/// What is written together: in slices, since `SQLite` takes no text of any length.
#[derive(Default)]
struct WriteBatch {
    full: Vec<Slice>,
    slice: Slice,
    tells: bool,
}

/// Texts by name, by table; null where the name is to be deleted. Of the outbox a list.
#[derive(Default)]
struct Slice {
    changes: Map<String, Value>,
    bytes: usize,
}

impl WriteBatch {
    fn of(book: &LedgerState, changes: Changes) -> Self {
        let mut page = Self::default();
        let texts = |names: &BTreeSet<std::sync::Arc<str>>, text: &dyn Fn(&str) -> Option<String>| {
            names.iter().map(|name| (name.to_string(), text(name).into())).collect::<Map<String, Value>>()
        };
        page.table("counters", texts(&changes.counters, &|name| serde_json::to_string(book.get(name)?).ok()));
        page.table("leases", texts(&changes.leases, &|name| serde_json::to_string(book.lease(name)?).ok()));
        page.table("holds", texts(&changes.holds, &|name| serde_json::to_string(book.hold(name)?).ok()));
        page.table("breakers", texts(&changes.breakers, &|name| serde_json::to_string(book.breaker(name)?).ok()));
        page.table("epochs", texts(&changes.epochs, &|name| serde_json::to_string(&book.epoch(name)?).ok()));
        let gone = changes.gone.into_iter().map(|tenant| {
            let text = book.is_gone(&tenant).then(|| "".into());
            (tenant, text.unwrap_or(Value::Null))
        });
        page.table("gone", gone.collect());
        page.table("tallies", texts(&changes.tallies, &|name| serde_json::to_string(book.tally(name)?).ok()));
        let closed = changes
            .closed
            .iter()
            .filter_map(|(name, one)| Some((name.clone(), serde_json::to_string(one).ok()?.into())));
        page.table("closed", closed.collect());
        page.table("series", texts(&changes.series, &|name| serde_json::to_string(book.series(name)?).ok()));
        page.table("distinct_values", changes.distinct.into_iter().map(|name| (name, "".into())).collect());
        page.tells = !changes.events.is_empty();
        for event in changes.events {
            page.room(event.len());
            if let Value::Array(events) = page.slice.changes.entry("outbox").or_insert_with(|| Value::Array(Vec::new()))
            {
                events.push(event.into());
            }
        }
        page
    }

    /// Makes room for so many bytes.
    fn room(&mut self, bytes: usize) {
        if self.slice.bytes > 0 && self.slice.bytes.saturating_add(bytes) > MAX_SLICE_BYTES {
            self.full.push(std::mem::take(&mut self.slice));
        }
        self.slice.bytes = self.slice.bytes.saturating_add(bytes);
    }

    /// Texts by name; null where the name is to be deleted.
    fn table(&mut self, table: &str, texts: Map<String, Value>) {
        for (name, text) in texts {
            self.room(name.len().saturating_add(text.as_str().map_or(4, str::len)));
            if let Value::Object(texts) = self.slice.changes.entry(table).or_insert_with(|| Value::Object(Map::new())) {
                texts.insert(name, text);
            }
        }
    }

    fn save(mut self, state: &JsValue) -> Result<(), JsValue> {
        self.full.push(self.slice);
        let slices: Vec<String> = self.full.iter().filter(|slice| slice.bytes > 0).map(Slice::lines).collect();
        if slices.is_empty() {
            return Ok(());
        }
        edge::save_book(state, &slices.join("\n"))?;
        if self.tells {
            // The output gate waits for the alarm as for the write.
            let _ = edge::wake_outbox(state);
        }
        Ok(())
    }
}

impl Slice {
    /// Names of tables that something is written to, and from which something is deleted; then the changes, as JSON.
    fn lines(&self) -> String {
        let with = |null: bool| {
            let has = |texts: &Value| match texts {
                Value::Object(texts) => texts.values().any(|text| text.is_null() == null),
                _ => !null,
            };
            self.changes
                .iter()
                .filter(|(_, texts)| has(texts))
                .map(|(table, _)| table.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        // Texts by name always have a JSON form.
        let changes = serde_json::to_string(&self.changes).unwrap_or_default();
        format!("{}\n{}\n{changes}", with(false), with(true))
    }
}

fn read_book(state: &JsValue) -> Result<LedgerState, JsValue> {
    type Rows = Vec<(String, String)>;
    let (counters, leases, holds, breakers, epochs, gone): (Rows, Rows, Rows, Rows, Rows, Rows) =
        parsed(&edge::open_book(state)?)?;
    let mut book = LedgerState::journaled();
    for (name, text) in leases {
        let lease: Lease = parsed(&text)?;
        book.put_lease(&name, lease);
    }
    for (name, text) in holds {
        let held: HeldUnits = parsed(&text)?;
        book.put_hold(&name, held);
    }
    for (tenant, _) in gone {
        book.put_gone(&tenant);
    }
    for (name, text) in breakers {
        let breaker: CircuitBreaker = parsed(&text)?;
        book.put_breaker(&name, breaker);
    }
    for (name, text) in epochs {
        book.put_epoch(&name, parsed(&text)?);
    }
    for (name, text) in counters {
        let counter: Counter = parsed(&text)?;
        book.put(&name, counter);
    }
    Ok(book)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, JsValue> {
    // What was written by this code is read by it; whoever finds something else should see what.
    serde_json::from_str(text).map_err(|error| format!("the ledger has `{text}`: {error}").into())
}

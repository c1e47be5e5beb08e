//! The Durable Object that counts for one family of tenants.
//!
//! # The idea: group commit
//!
//! The state machine is [`LedgerState`], in memory; the durable copy is in the object's `SQLite`
//! database. Ledger requests that arrive within one turn of the event loop form a group. A group is
//! decided in memory, written in one transaction, and only then answered. The runtime holds each
//! response back until the write is on disk (the output gate), so a response is never sent for a
//! change that could still be lost.
//!
//! # Order of calls
//!
//! 1. [`TenantLedger::new`] reads the tables that are kept in memory (`read_state`).
//! 2. [`TenantLedger::fetch`] passes a message to `serveLedger` in `ledger.js`. That collects the
//!    group and calls [`commit`] once for it.
//! 3. [`commit`] reads from `SQLite` what is not kept in memory (idempotency keys, event ids, usage
//!    of the buckets that the group adds to), lets the state machine answer each ledger request,
//!    writes the changes, and returns the responses.
//! 4. Usage events to be handed on are written to the outbox in the same transaction.
//!    [`TenantLedger::alarm`] sends them later, at least once.
//!
//! # Invariants
//!
//! - [`commit`] never waits. No other request can therefore see a state that is not written yet.
//! - The memory is only a cache. [`commit`] takes the state out of `held` and puts it back after a
//!   successful write. If it fails or traps in between, the next group reads the state from
//!   `SQLite`: a change that was not written has not happened.
//! - Responses have the order of the requests, one per line. A request that cannot be parsed
//!   has an empty response, and does not affect the others.

use std::collections::{BTreeMap, BTreeSet};

use js_sys::{Date, Function, Promise};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;
use web_sys::console;

use crate::ledger::{
    Changes, CircuitBreaker, Counter, HeldUnits, Lease, LedgerRequest, LedgerState, Tally, UsageEntry,
};
use crate::model::bounds::{
    EVENT_ONCE_MS, MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE, MAX_OUTBOX_BATCH, MAX_OUTBOX_BYTES, MAX_SLICE_BYTES,
    ONCE_MS,
};
use crate::model::{UnixMillis, gather};
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
    /// Opens the ledger and reads the tables that it keeps in memory.
    ///
    /// # Errors
    /// If `SQLite` cannot be read. The runtime then constructs the object again.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, env: JsValue) -> Result<TenantLedger, JsValue> {
        let mut ledger = Some(read_state(&state)?);
        edge::revive_outbox(&state)?;
        let own = state.clone();
        let commit = Closure::<dyn FnMut(String) -> Result<String, JsValue>>::new(move |requests: String| {
            commit(&own, &mut ledger, &requests)
        });
        let serve = edge::serve_ledger(&commit.into_js_value(), MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE);
        Ok(Self { serve, state, env })
    }

    /// Takes [`LedgerRequest`]s as JSON, one per line. Returns a Promise of a response with
    /// [`crate::ledger::LedgerResponse`]s as JSON, one per line.
    ///
    /// # Errors
    /// None synchronously. A failure or a trap rejects the Promise.
    pub fn fetch(&self, request: &JsValue) -> Result<JsValue, JsValue> {
        self.serve.call1(&JsValue::UNDEFINED, request)
    }

    /// Hands on the usage events in the outbox.
    pub fn alarm(&self) -> Promise {
        edge::empty_outbox(&self.state, &self.env, MAX_OUTBOX_BATCH, MAX_OUTBOX_BYTES)
    }
}

/// Decides a group of ledger requests, one per line, writes the changes, and returns the responses,
/// one per line. A request that cannot be parsed has an empty response.
///
/// `held` is `None` after a failure. The state is then read from `SQLite` first, so a change that
/// was not written has no effect.
fn commit(state: &JsValue, held: &mut Option<LedgerState>, texts: &str) -> Result<String, JsValue> {
    let now = UnixMillis::from_js(Date::now());
    let mut ledger = match held.take() {
        Some(ledger) => ledger,
        None => read_state(state)?,
    };
    let requests: Vec<Option<LedgerRequest<'_>>> =
        texts.split('\n').map(|text| serde_json::from_str(text).ok()).collect();
    let mut keys = KeyTable::read(state, "keys", &requests, now)?;
    let mut events = KeyTable::read(state, "events", &requests, now)?;
    read_usage(state, &mut ledger, &requests, now)?;
    let mut answers = Vec::with_capacity(requests.len());
    for request in &requests {
        let Some(request) = request else {
            answers.push(String::new());
            continue;
        };
        fault(request.charges.first().map(|charge| charge.counter), "t_trap_ledger/few");
        let table = if request.once.is_some_and(|once| once.event) { &mut events } else { &mut keys };
        let before = request.once.and_then(|once| table.known.get(once.id)).map(String::as_str);
        let outcome = ledger.answer_once(request, before, now);
        if let (Some(once), true) = (request.once, outcome.stores_key(request)) {
            table.note(once.id, once.fingerprint);
        }
        // A response contains only numbers, booleans and texts, so serialization cannot fail.
        answers.push(serde_json::to_string(&outcome).unwrap_or_default());
    }
    let changes = ledger.take_changes();
    let mut batch = WriteBatch::of(&ledger, changes);
    keys.write(&mut batch);
    events.write(&mut batch);
    ledger.forget_usage();
    if let Err(error) = batch.save(state) {
        console::error_2(&"ledger: changes could not be written".into(), &error);
        return Err(error);
    }
    *held = Some(ledger);
    Ok(answers.join("\n"))
}

/// Names that the ledger remembers for a limited time, with their fingerprints: idempotency keys
/// (`keys`) or ids of usage events (`events`). They are stored by generation; the current and the
/// previous generation count.
struct KeyTable {
    kind: &'static str,
    generation: u32,
    known: BTreeMap<String, String>,
    noted: Map<String, Value>,
}

impl KeyTable {
    /// Reads the names in these requests that the ledger remembers.
    fn read(
        state: &JsValue,
        kind: &'static str,
        requests: &[Option<LedgerRequest<'_>>],
        now: UnixMillis,
    ) -> Result<Self, JsValue> {
        let event = kind == "events";
        let span_ms = if event { EVENT_ONCE_MS } else { ONCE_MS };
        let generation = u32::try_from(now.get().checked_div(span_ms).unwrap_or(0)).unwrap_or(u32::MAX);
        let once = requests.iter().flatten().filter_map(|request| request.once).filter(|once| once.event == event);
        let known = in_slices(once.map(|once| once.id), |names| edge::remembered(state, kind, names, generation))?;
        Ok(Self { kind, generation, known, noted: Map::new() })
    }

    fn note(&mut self, id: &str, fingerprint: &str) {
        self.known.insert(id.to_owned(), fingerprint.to_owned());
        self.noted.insert(id.to_owned(), fingerprint.into());
    }

    fn write(self, batch: &mut WriteBatch) {
        batch.table(&format!("{}_{}", self.kind, self.generation % 2), self.noted);
    }
}

/// Reads the usage that these requests change or ask for into the state. The periods come first:
/// the names of the buckets depend on them.
fn read_usage(
    state: &JsValue,
    ledger: &mut LedgerState,
    requests: &[Option<LedgerRequest<'_>>],
    now: UnixMillis,
) -> Result<(), JsValue> {
    let entries = || requests.iter().flatten().flat_map(|request| &request.usage);
    let asked = || requests.iter().flatten().flat_map(|request| &request.report);
    let leaves = || requests.iter().flatten().filter_map(|request| request.leave.as_ref());
    let leaving = || leaves().flat_map(|leave| leave.tenants.keys()).map(String::as_str);
    let named = entries().map(|entry| entry.series.as_ref()).chain(asked().map(|inquiry| inquiry.series.as_ref()));
    let mut series = in_slices(named, |names| edge::stored(state, "series", names))?;
    series.extend(in_slices(leaving(), |names| edge::stored_below(state, "series", names))?);
    for (name, text) in series {
        ledger.put_series(&name, parsed(&text)?);
    }
    for entry in entries() {
        ledger.note_setting(entry, now);
    }
    let closed = requests.iter().flatten().filter_map(|request| request.quotas).map(|inquiry| inquiry.tenant);
    for (name, text) in in_slices(closed.chain(leaving()), |names| edge::stored_below(state, "closed", names))? {
        ledger.put_closed(name, parsed(&text)?);
    }
    let buckets: Vec<(&UsageEntry<'_>, String)> =
        entries().flat_map(|entry| ledger.buckets(entry).map(|bucket| (entry, bucket))).collect();
    let asked: Vec<String> = asked().map(|inquiry| ledger.period_of(inquiry, now).2).collect();
    let distinct: Vec<String> = buckets.iter().filter_map(|(entry, bucket)| entry.distinct_name(bucket)).collect();
    let known = in_slices(distinct.iter().map(String::as_str), |names| edge::stored(state, "distinct_values", names))?;
    let below = in_slices(leaving(), |names| edge::stored_below(state, "distinct_values", names))?;
    for name in known.into_keys().chain(below.into_keys()) {
        ledger.put_distinct(name);
    }
    let added = buckets.iter().map(|(_, bucket)| bucket.as_str());
    let mut tallies = in_slices(added, |names| edge::stored(state, "tallies", names))?;
    let asked = asked.iter().map(String::as_str).chain(leaving());
    tallies.extend(in_slices(asked, |names| edge::stored_below(state, "tallies", names))?);
    for (bucket, text) in tallies {
        let tally: Tally = parsed(&text)?;
        ledger.put_tally(&bucket, tally);
    }
    Ok(())
}

/// Reads the values of these names by `read`, each name once. Does so in slices, because `SQLite`
/// limits the size of a text.
fn in_slices<'a>(
    names: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Result<String, JsValue>,
) -> Result<BTreeMap<String, String>, JsValue> {
    let names: BTreeSet<&str> = gather(names);
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

/// The changes of one transaction, in slices, because `SQLite` limits the size of a text.
#[derive(Default)]
struct WriteBatch {
    full: Vec<Slice>,
    slice: Slice,
    /// Whether the outbox gets events.
    exports: bool,
}

/// The changes of each table: texts by name, or null to delete the name. The changes of the outbox
/// are a list of events.
#[derive(Default)]
struct Slice {
    changes: Map<String, Value>,
    bytes: usize,
}

impl WriteBatch {
    fn of(ledger: &LedgerState, changes: Changes) -> Self {
        let mut batch = Self::default();
        let texts = |names: &BTreeSet<std::sync::Arc<str>>, text: &dyn Fn(&str) -> Option<String>| {
            gather(names.iter().map(|name| (name.to_string(), text(name).into())))
        };
        batch.table("counters", texts(&changes.counters, &|name| serde_json::to_string(ledger.get(name)?).ok()));
        batch.table("leases", texts(&changes.leases, &|name| serde_json::to_string(ledger.lease(name)?).ok()));
        batch.table("holds", texts(&changes.holds, &|name| serde_json::to_string(ledger.hold(name)?).ok()));
        batch.table("breakers", texts(&changes.breakers, &|name| serde_json::to_string(ledger.breaker(name)?).ok()));
        batch.table("epochs", texts(&changes.epochs, &|name| serde_json::to_string(&ledger.epoch(name)?).ok()));
        let gone = changes.gone.into_iter().map(|tenant| {
            let text = ledger.is_gone(&tenant).then(|| "".into());
            (tenant, text.unwrap_or(Value::Null))
        });
        batch.table("gone", gather(gone));
        batch.table("tallies", texts(&changes.tallies, &|name| serde_json::to_string(ledger.tally(name)?).ok()));
        let closed = changes
            .closed
            .iter()
            .filter_map(|(name, one)| Some((name.clone(), serde_json::to_string(one).ok()?.into())));
        batch.table("closed", gather(closed));
        batch.table("series", texts(&changes.series, &|name| serde_json::to_string(ledger.series(name)?).ok()));
        batch.table("distinct_values", gather(changes.distinct.into_iter().map(|name| (name, "".into()))));
        batch.exports = !changes.events.is_empty();
        for event in changes.events {
            batch.room(event.len());
            if let Value::Array(events) =
                batch.slice.changes.entry("outbox").or_insert_with(|| Value::Array(Vec::new()))
            {
                events.push(event.into());
            }
        }
        batch
    }

    /// Begins a new slice if the current one has no room for `bytes`.
    fn room(&mut self, bytes: usize) {
        if self.slice.bytes > 0 && self.slice.bytes.saturating_add(bytes) > MAX_SLICE_BYTES {
            self.full.push(std::mem::take(&mut self.slice));
        }
        self.slice.bytes = self.slice.bytes.saturating_add(bytes);
    }

    /// Adds changes of a table: texts by name, or null to delete the name.
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
        edge::save_state(state, &slices.join("\n"))?;
        if self.exports {
            // Not awaited: the output gate holds responses back until the alarm is set, as for
            // writes.
            let _ = edge::wake_outbox(state);
        }
        Ok(())
    }
}

impl Slice {
    /// Three lines: the tables with texts to write, the tables with names to delete, and the
    /// changes as JSON.
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
        // Maps of texts can always be serialized.
        let changes = serde_json::to_string(&self.changes).unwrap_or_default();
        format!("{}\n{}\n{changes}", with(false), with(true))
    }
}

/// Reads the tables that are kept in memory.
fn read_state(state: &JsValue) -> Result<LedgerState, JsValue> {
    type Rows = Vec<(String, String)>;
    let (counters, leases, holds, breakers, epochs, gone): (Rows, Rows, Rows, Rows, Rows, Rows) =
        parsed(&edge::open_state(state)?)?;
    let mut ledger = LedgerState::journaled();
    for (name, text) in leases {
        let lease: Lease = parsed(&text)?;
        ledger.put_lease(&name, lease);
    }
    for (name, text) in holds {
        let held: HeldUnits = parsed(&text)?;
        ledger.put_hold(&name, held);
    }
    for (tenant, _) in gone {
        ledger.put_gone(&tenant);
    }
    for (name, text) in breakers {
        let breaker: CircuitBreaker = parsed(&text)?;
        ledger.put_breaker(&name, breaker);
    }
    for (name, text) in epochs {
        ledger.put_epoch(&name, parsed(&text)?);
    }
    for (name, text) in counters {
        let counter: Counter = parsed(&text)?;
        ledger.put(&name, counter);
    }
    Ok(ledger)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, JsValue> {
    // Only this code writes the tables. The error shows the text, because it reveals a bug here.
    serde_json::from_str(text).map_err(|error| format!("the ledger contains the invalid text `{text}`: {error}").into())
}

//! The Durable Object that counts for one family of tenants.
//!
//! Orders that arrive together are decided in memory, written in one statement, and answered after it: the runtime
//! holds every answer back until the write is on disk (output gate). What is in memory is a cache of `SQLite`, rebuilt
//! at construction and after a failed write.

use std::collections::BTreeMap;

use js_sys::{Date, Function};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;
use web_sys::console;

use super::edge;
use crate::ledger::{Book, Changes, Counter, Lease, Order};
use crate::model::UnixMillis;
use crate::model::bounds::{MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE, ONCE_MS};

/// One family's ledger.
#[wasm_bindgen]
pub struct TenantLedger(Function);

#[wasm_bindgen]
impl TenantLedger {
    /// Opens the ledger and reads its counters.
    ///
    /// # Errors
    /// Where `SQLite` cannot be read; the runtime then builds the object anew.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, _env: JsValue) -> Result<TenantLedger, JsValue> {
        let mut book = read_book(&state)?;
        let commit = Closure::<dyn FnMut(String) -> Result<String, JsValue>>::new(move |orders: String| {
            commit(&state, &mut book, &orders)
        });
        Ok(Self(edge::serve_ledger(&commit.into_js_value(), MAX_LEDGER_MESSAGE_BYTES, MAX_LEDGER_QUEUE)))
    }

    /// Takes [`Order`]s as JSON, one a line; answers [`crate::ledger::Outcome`]s as JSON, one a line, in a Promise.
    ///
    /// # Errors
    /// Never by itself; a trap is the Promise's rejection.
    pub fn fetch(&self, request: &JsValue) -> Result<JsValue, JsValue> {
        self.0.call1(&JsValue::UNDEFINED, request)
    }
}

/// Decides a group of orders, one a line, writes what changed, and returns the answers, one a line. An order that cannot be
/// read has an empty answer.
fn commit(state: &JsValue, book: &mut Book, texts: &str) -> Result<String, JsValue> {
    let now = UnixMillis::from_js(Date::now());
    let generation = u32::try_from(now.get() / ONCE_MS).unwrap_or(u32::MAX);
    let orders: Vec<Option<Order<'_>>> = texts.split('\n').map(|text| serde_json::from_str(text).ok()).collect();
    let mut known = known(state, &orders, generation)?;
    let mut events = Map::new();
    let mut answers = Vec::with_capacity(orders.len());
    for order in &orders {
        let Some(order) = order else {
            answers.push(String::new());
            continue;
        };
        super::fault(order.charges.first().map(|charge| charge.counter), "t_trap_ledger/few");
        let before = order.once.and_then(|once| known.get(once.id)).map(String::as_str);
        let outcome = book.answer_once(order, before, now);
        if let (Some(once), true) = (order.once, outcome.is_news(order)) {
            known.insert(once.id.to_owned(), once.print.to_owned());
            events.insert(once.id.to_owned(), once.print.into());
        }
        // An outcome holds numbers and booleans: it always has a JSON form.
        answers.push(serde_json::to_string(&outcome).unwrap_or_default());
    }
    let changes = book.take_changes();
    if changes != Changes::default() || !events.is_empty() {
        let events = Value::from(events).to_string();
        if let Err(error) =
            edge::save_book(state, &counters(book, &changes), &leases(book, &changes), &events, generation)
        {
            console::error_2(&"ledger: not written".into(), &error);
            // What could not be written did not happen.
            *book = read_book(state)?;
            return Err(error);
        }
    }
    Ok(answers.join("\n"))
}

/// Digests of events that were told before, by their ids.
fn known(state: &JsValue, orders: &[Option<Order<'_>>], generation: u32) -> Result<BTreeMap<String, String>, JsValue> {
    let ids: Vec<&str> = orders.iter().flatten().filter_map(|order| order.once.map(|once| once.id)).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let known = edge::known_events(state, &Value::from(ids).to_string(), generation)?;
    Ok(serde_json::from_str(&known).map_err(|error| error.to_string())?)
}

/// An object of counters by name, each as JSON text.
fn counters(book: &Book, changes: &Changes) -> String {
    let texts = changes.counters.iter().filter_map(|name| {
        let text = serde_json::to_string(&book.get(name)?).ok()?;
        Some((name.to_string(), Value::from(text)))
    });
    Value::from(texts.collect::<Map<String, Value>>()).to_string()
}

/// An object of leases by name, each as JSON text; null for one that has ended.
fn leases(book: &Book, changes: &Changes) -> String {
    let text = |lease: &Lease| serde_json::to_string(lease).ok();
    let texts = changes.leases.iter().map(|name| (name.to_string(), book.lease(name).and_then(text).into()));
    Value::from(texts.collect::<Map<String, Value>>()).to_string()
}

fn read_book(state: &JsValue) -> Result<Book, JsValue> {
    type Rows = Vec<(String, String)>;
    let (counters, leases): (Rows, Rows) =
        serde_json::from_str(&edge::open_book(state)?).map_err(|error| error.to_string())?;
    let mut book = Book::journaled();
    for (name, text) in leases {
        let lease = serde_json::from_str(&text).map_err(|error| format!("lease `{name}`: {error}"))?;
        book.put_lease(&name, lease);
    }
    for (name, text) in counters {
        let counter: Counter = serde_json::from_str(&text).map_err(|error| format!("counter `{name}`: {error}"))?;
        book.put(&name, counter);
    }
    Ok(book)
}

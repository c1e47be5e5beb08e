//! The Durable Object that counts for one family of tenants.
//!
//! Orders that arrive together are decided in memory, written in one statement, and answered after it: the runtime
//! holds every answer back until the write is on disk (output gate). What is in memory is a cache of SQLite, rebuilt
//! at construction and after a failed write.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use js_sys::{Date, Function, Promise};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::console;

use super::edge;
use crate::ledger::{Book, Counter, Order, Outcome};
use crate::model::UnixMillis;
use crate::model::bounds::{MAX_BODY_BYTES, MAX_LEDGER_QUEUE};

/// One family's ledger.
#[wasm_bindgen]
pub struct TenantLedger(Rc<Inner>);

struct Inner {
    state: JsValue,
    book: RefCell<Book>,
    waiting: RefCell<Vec<(String, Function)>>,
}

#[wasm_bindgen]
impl TenantLedger {
    /// Opens the ledger and reads its counters.
    ///
    /// # Errors
    /// Where SQLite cannot be read; the runtime then builds the object anew.
    #[wasm_bindgen(constructor)]
    pub fn new(state: JsValue, _env: JsValue) -> Result<TenantLedger, JsValue> {
        let book = read_book(&state)?;
        Ok(Self(Rc::new(Inner { state, book: RefCell::new(book), waiting: RefCell::default() })))
    }

    /// Takes an [`Order`] as JSON, answers an [`Outcome`] as JSON.
    pub fn fetch(&self, request: JsValue) -> Promise {
        let inner = Rc::clone(&self.0);
        future_to_promise(async move {
            let max = u32::try_from(MAX_BODY_BYTES).unwrap_or(u32::MAX);
            let text = JsFuture::from(edge::text(&request, max)).await?.as_string().unwrap_or_default();
            #[cfg(feature = "faults")]
            if edge::facts(&request, &js_sys::Array::of1(&"x-fault".into())).ends_with("trap-ledger") {
                core::arch::wasm32::unreachable();
            }
            JsFuture::from(Inner::enqueue(&inner, &text)).await
        })
    }
}

impl Inner {
    /// Adds an order to the group that the next turn decides.
    fn enqueue(this: &Rc<Self>, order: &str) -> Promise {
        let first = this.waiting.borrow().is_empty();
        if this.waiting.borrow().len() >= MAX_LEDGER_QUEUE {
            return Promise::resolve(&JsValue::from(edge::respond(503, "", "retry-after\n1")));
        }
        let promise = Promise::new(&mut |resolve, _| this.waiting.borrow_mut().push((order.to_owned(), resolve)));
        if first {
            let this = Rc::clone(this);
            let commit = Closure::once_into_js(move || this.commit());
            edge::next_turn(commit.unchecked_ref());
        }
        promise
    }

    /// Decides all that wait, writes what changed, and answers.
    fn commit(&self) {
        let waiting = self.waiting.take();
        let now = UnixMillis::from_js(Date::now());
        let mut changed = BTreeSet::new();
        let orders: Vec<Option<Order<'_>>> = waiting.iter().map(|(text, _)| serde_json::from_str(text).ok()).collect();
        let mut book = self.book.borrow_mut();
        let outcomes: Vec<Option<Outcome>> = orders.iter().map(|order| {
            let order = order.as_ref()?;
            let outcome = book.answer(order, now);
            if outcome.allowed && !order.look {
                changed.extend(order.charges.iter().map(|charge| charge.counter));
            }
            Some(outcome)
        }).collect();
        let written = if changed.is_empty() { Ok(()) } else { edge::save_book(&self.state, &counters(&book, &changed)) };
        if let Err(error) = &written {
            console::error_2(&"ledger: not written".into(), error);
            // What could not be written did not happen.
            match read_book(&self.state) {
                Ok(stored) => *book = stored,
                Err(error) => console::error_2(&"ledger: not read".into(), &error),
            }
        }
        for ((_, resolve), outcome) in waiting.iter().zip(outcomes) {
            let response = match (&written, outcome.map(|outcome| serde_json::to_string(&outcome))) {
                (Ok(()), Some(Ok(body))) => edge::respond(200, &body, ""),
                (_, None) => edge::respond(400, "", ""),
                _ => edge::respond(503, "", "retry-after\n1"),
            };
            // A resolve function does not throw.
            let _ = resolve.call1(&JsValue::UNDEFINED, &response);
        }
    }
}

/// An object of counters by name, each as JSON text.
fn counters(book: &Book, names: &BTreeSet<&str>) -> String {
    let texts = names.iter().filter_map(|name| {
        let text = serde_json::to_string(&book.get(name)?).ok()?;
        Some((String::from(*name), Value::from(text)))
    });
    Value::from(texts.collect::<Map<String, Value>>()).to_string()
}

fn read_book(state: &JsValue) -> Result<Book, JsValue> {
    let rows: Vec<(String, String)> = serde_json::from_str(&edge::open_book(state)?).map_err(|error| error.to_string())?;
    let mut book = Book::default();
    for (name, text) in rows {
        let counter: Counter = serde_json::from_str(&text).map_err(|error| format!("counter `{name}`: {error}"))?;
        book.put(&name, counter);
    }
    Ok(book)
}

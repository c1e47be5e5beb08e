//! Futures of requests, each driven by what it waits for itself.
//!
//! `wasm-bindgen-futures` runs all futures of an instance from one queue, by a microtask of whichever request came first.
//! When that request's client goes away the microtask can be late: the others then hang, or go on in a context that is not
//! theirs, where the runtime refuses their streams. Here a future is polled by the callback that wakes it, which the
//! runtime calls in the context of its own request.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use js_sys::{Date, Promise};
use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;

/// Tasks past which those are given up that nobody has woken for so long: their requests were cut off.
const MANY: usize = 4_096;
const FORGOTTEN_MS: f64 = 900_000.0;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Absent while it runs.
    work: Option<Work>,
    woken: bool,
    last_ms: f64,
}

thread_local! {
    static TASKS: RefCell<FxHashMap<u64, Task>> = RefCell::default();
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// Wakes a task by running it.
struct Number(u64);

impl Wake for Number {
    fn wake(self: Arc<Self>) {
        run(self.0);
    }
}

/// Runs a future at once, as far as it goes; the Promise resolves to what it comes to.
pub(crate) fn promise(future: impl Future<Output = JsValue> + 'static) -> Promise {
    let mut future = Some(future);
    let mut number = 0;
    let promise = Promise::new(&mut |resolve, _| {
        let Some(future) = future.take() else { return };
        number = spawn(Box::pin(async move {
            let value = future.await;
            let _ = resolve.call1(&JsValue::UNDEFINED, &value);
        }));
    });
    run(number);
    promise
}

fn spawn(work: Work) -> u64 {
    let number = LAST.get().wrapping_add(1);
    LAST.set(number);
    let now = Date::now();
    TASKS.with_borrow_mut(|tasks| {
        if tasks.len() >= MANY {
            tasks.retain(|_, task| now - task.last_ms < FORGOTTEN_MS);
        }
        tasks.insert(number, Task { work: Some(work), woken: false, last_ms: now });
    });
    number
}

fn run(number: u64) {
    let take = |task: &mut Task| {
        // Whoever wakes a task that runs has it run once more.
        task.woken = task.work.is_none();
        task.last_ms = Date::now();
        task.work.take()
    };
    let Some(mut work) = TASKS.with_borrow_mut(|tasks| tasks.get_mut(&number).and_then(take)) else { return };
    let waker = Waker::from(Arc::new(Number(number)));
    while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let again =
            TASKS.with_borrow_mut(|tasks| tasks.get_mut(&number).is_some_and(|task| std::mem::take(&mut task.woken)));
        if !again {
            TASKS.with_borrow_mut(|tasks| {
                if let Some(task) = tasks.get_mut(&number) {
                    task.work = Some(work);
                }
            });
            return;
        }
    }
    TASKS.with_borrow_mut(|tasks| tasks.remove(&number));
}

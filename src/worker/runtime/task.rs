//! The executor of the Worker's futures.
//!
//! # Why not `wasm-bindgen-futures`
//!
//! The runtime ties every Promise, stream and timer to the request that created it. The executor of
//! `wasm-bindgen-futures` polls all futures of an instance from one queue, in a microtask of
//! whichever request woke first. If that request's client disconnects, the microtask can be late:
//! other requests then hang, or continue in the wrong request's context, where the runtime refuses
//! their streams.
//!
//! # The idea
//!
//! This executor has no queue. A future is polled in the callback that wakes it, that is, in the
//! callback of the Promise that it awaits. The runtime calls that callback in the context of the
//! future's own request.
//!
//! # Order of calls
//!
//! 1. [`promise`] stores the future as a task and polls it once, synchronously.
//! 2. If the future waits, its Promise has a waker that holds the number of the task.
//! 3. When the Promise settles, its callback calls the waker, and [`run`] polls the task again.
//! 4. When the future is ready, the task is removed, and the Promise resolves to its result.
//!
//! # Invariants
//!
//! - A task is never polled recursively: while it is polled, its future is out of the table. A wake
//!   during that time only sets `woken`, and the task is polled again afterwards.
//! - No borrow of the table is held while a future is polled, so a future may start or wake tasks.
//! - A request that the runtime cuts off never wakes its task. Such tasks are dropped once the
//!   table is full and they have been idle for [`FORGOTTEN_MS`].

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use js_sys::{Date, Function, Promise};
use rustc_hash::FxHashMap;
use wasm_bindgen::prelude::*;

/// Number of tasks from which a new task first drops those that have been idle for
/// [`FORGOTTEN_MS`]: the runtime has cut their requests off.
const MANY: usize = 4_096;
/// Milliseconds without a wake after which a task is considered abandoned.
const FORGOTTEN_MS: f64 = 900_000.0;

type Work = Pin<Box<dyn Future<Output = JsValue>>>;

struct Task {
    /// The future. Absent while it is polled.
    work: Option<Work>,
    /// Resolves the Promise.
    resolve: Function,
    /// Whether the task was woken while it was polled.
    woken: bool,
    /// When it was last polled, in milliseconds since 1970.
    last_ms: f64,
}

thread_local! {
    static TASKS: RefCell<FxHashMap<u64, Task>> = RefCell::default();
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// The waker of a task, by the number of the task. It polls the task at once.
struct Number(u64);

impl Wake for Number {
    fn wake(self: Arc<Self>) {
        run(self.0);
    }
}

/// Starts a future, and polls it once before this returns. The Promise resolves to its result.
pub(crate) fn promise(future: impl Future<Output = JsValue> + 'static) -> Promise {
    start(Box::pin(future))
}

// Not generic, so that it is compiled once, not for each type of future.
fn start(work: Work) -> Promise {
    let (mut work, mut number) = (Some(work), 0);
    let promise = Promise::new(&mut |resolve, _| {
        if let Some(work) = work.take() {
            number = store(work, resolve);
        }
    });
    run(number);
    promise
}

fn store(work: Work, resolve: Function) -> u64 {
    let number = LAST.get().wrapping_add(1);
    LAST.set(number);
    let now = Date::now();
    TASKS.with_borrow_mut(|tasks| {
        if tasks.len() >= MANY {
            tasks.retain(|_, task| now - task.last_ms < FORGOTTEN_MS);
        }
        tasks.insert(number, Task { work: Some(work), resolve, woken: false, last_ms: now });
    });
    number
}

/// Polls a task, and again for each wake that arrived meanwhile. Does nothing if the task has
/// ended.
fn run(number: u64) {
    let take = |task: &mut Task| {
        // The task is being polled: record the wake, so that it is polled once more.
        task.woken = task.work.is_none();
        task.last_ms = Date::now();
        task.work.take()
    };
    let Some(mut work) = TASKS.with_borrow_mut(|tasks| tasks.get_mut(&number).and_then(take)) else { return };
    let waker = Waker::from(Arc::new(Number(number)));
    let value = loop {
        if let Poll::Ready(value) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            break value;
        }
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
    };
    if let Some(task) = TASKS.with_borrow_mut(|tasks| tasks.remove(&number)) {
        let _ = task.resolve.call1(&JsValue::UNDEFINED, &value);
    }
}

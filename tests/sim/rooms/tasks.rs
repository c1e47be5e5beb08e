//! Tasks that wait for each other in simulated time. What a hub does is written as the adapter
//! writes it, with `await`; a task of a hub that has crashed is never resumed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Whose a task is: a hub in one of its lives, or nobody's.
pub type Owner = Option<(usize, u64)>;

struct Task {
    owner: Owner,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// The tasks of a world.
#[derive(Default)]
pub struct Tasks {
    all: RefCell<BTreeMap<u64, Task>>,
    woken: RefCell<Vec<u64>>,
    last: Cell<u64>,
    current: Cell<u64>,
}

impl Tasks {
    /// Starts a task. It runs when [`Self::run`] is called.
    pub fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + 'static) {
        self.last.set(self.last.get() + 1);
        self.all.borrow_mut().insert(self.last.get(), Task { owner, future: Box::pin(future) });
        self.woken.borrow_mut().push(self.last.get());
    }

    /// Whether a hub's life has a task that is not done.
    pub fn has(&self, owner: Owner) -> bool {
        self.all.borrow().values().any(|task| task.owner == owner)
    }

    /// Ends the tasks of a hub's life.
    pub fn end(&self, owner: Owner) {
        self.all.borrow_mut().retain(|_, task| task.owner != owner);
    }

    /// Runs every task that has been woken, until all of them wait.
    pub fn run(&self) {
        loop {
            let Some(number) = ({
                let mut woken = self.woken.borrow_mut();
                if woken.is_empty() { None } else { Some(woken.remove(0)) }
            }) else {
                return;
            };
            let Some(mut task) = self.all.borrow_mut().remove(&number) else { continue };
            self.current.set(number);
            let mut context = Context::from_waker(Waker::noop());
            if task.future.as_mut().poll(&mut context).is_pending() {
                self.all.borrow_mut().insert(number, task);
            }
        }
    }
}

/// Something that a task waits for.
pub struct Signal<T> {
    state: Rc<RefCell<(Option<T>, Option<u64>)>>,
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self { state: Rc::clone(&self.state) }
    }
}

impl<T> Signal<T> {
    pub fn new() -> Self {
        Self { state: Rc::new(RefCell::new((None, None))) }
    }

    /// Gives the task its value. Only the first one counts.
    pub fn set(&self, tasks: &Tasks, value: T) {
        let mut state = self.state.borrow_mut();
        if state.0.is_none() {
            state.0 = Some(value);
            tasks.woken.borrow_mut().extend(state.1.take());
        }
    }

    /// Waits for the value.
    pub async fn wait(self, tasks: &Tasks) -> T {
        std::future::poll_fn(|_| {
            let mut state = self.state.borrow_mut();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(tasks.current.get());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

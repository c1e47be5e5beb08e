//! The gate of this isolate. All requests of the isolate share it.
//!
//! Rust code runs on one thread, so a borrow that ends before the next wait never conflicts with
//! another request.

use std::cell::RefCell;

use crate::gate::Gate;

thread_local! {
    static GATE: RefCell<Gate> = RefCell::default();
}

/// Runs `f` on this isolate's gate. `f` must not call `with_gate` again: that panics.
pub(crate) fn with_gate<T>(f: impl FnOnce(&mut Gate) -> T) -> T {
    GATE.with_borrow_mut(f)
}

//! The one gate of this isolate.

use std::cell::RefCell;

use crate::gate::Gate;

thread_local! {
    static GATE: RefCell<Gate> = RefCell::default();
}

/// Runs `f` on this isolate's gate. `f` must not wait and must not call this again.
pub(crate) fn with_gate<T>(f: impl FnOnce(&mut Gate) -> T) -> T {
    GATE.with_borrow_mut(f)
}

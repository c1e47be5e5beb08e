//! The base of the Worker: the isolate's gate, the executor of futures, the clock, rate limits for
//! strangers, and the bindings to JavaScript.

pub(crate) mod cell;
pub(crate) mod clock;
pub(crate) mod doors;
pub(crate) mod edge;
pub(crate) mod fault;
pub(crate) mod header_names;
pub(crate) mod task;

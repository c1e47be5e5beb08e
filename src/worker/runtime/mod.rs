//! What everything in the Worker stands on: the gate of the isolate, futures, the clock, JavaScript.

pub(crate) mod cell;
pub(crate) mod clock;
pub(crate) mod doors;
pub(crate) mod edge;
pub(crate) mod fault;
pub(crate) mod header_names;
pub(crate) mod task;

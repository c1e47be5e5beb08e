//! One HTTP request to the Worker, and responses to it.

pub(crate) mod call;
pub(crate) mod reply;

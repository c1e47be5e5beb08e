//! HTTP at the Worker: incoming requests and the responses to them.

pub(crate) mod call;
pub(crate) mod reply;

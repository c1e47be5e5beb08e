//! The ledgers: the Durable Object itself ([`object`]), and how an isolate talks to it.

pub(crate) mod client;
pub(crate) mod keeper;
mod object;

pub use object::TenantLedger;

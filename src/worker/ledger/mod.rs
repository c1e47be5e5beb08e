//! The ledgers: the Durable Object itself ([`object`]), and the isolate's side of the conversation.
//!
//! [`client`] sends one ledger request and reads its response. [`keeper`] decides when messages
//! about charges, leases and breakers are sent.

pub(crate) mod client;
pub(crate) mod keeper;
mod object;

pub use object::TenantLedger;

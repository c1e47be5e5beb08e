//! Where the data comes from that the gate lacks: KV, D1, issuers, secrets, the custom resolver.
//!
//! [`drive`] is the loop of every question to the gate: ask, fetch what it lacks, ask again.
//! [`fetch`] fetches one piece of data, once for all requests that need it.

pub(crate) mod coalesce;
pub(crate) mod custom_resolver;
pub(crate) mod d1;
pub(crate) mod drive;
pub(crate) mod feed;
pub(crate) mod fetch;
pub(crate) mod issuer_keys;
pub(crate) mod kv;
pub(crate) mod originals;

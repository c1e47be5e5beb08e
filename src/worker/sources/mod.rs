//! The sources of the data that the gate lacks: KV, D1, issuers, secrets, the platform's
//! cryptography, the custom resolver.
//!
//! [`drive`] is the loop of every question to the gate: ask, fetch what it lacks, ask again.
//! [`fetch`] fetches one piece of data, and [`coalesce`] makes concurrent requests share that
//! fetch. [`feed`] reports which snapshots have changed, so that stale copies in KV are not used.

pub(crate) mod coalesce;
pub(crate) mod custom_resolver;
pub(crate) mod d1;
pub(crate) mod drive;
pub(crate) mod feed;
pub(crate) mod fetch;
pub(crate) mod issuer_keys;
pub(crate) mod kv;
pub(crate) mod originals;
pub(crate) mod signatures;

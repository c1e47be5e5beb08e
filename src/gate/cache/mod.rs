//! The cache of one isolate: the catalog, tenant records, the index of names, and keys.
//!
//! This room owns the age of everything it holds, and knows no stage of the decision. A look-up
//! returns what it has, or the [`Need`](super::need::Need) that an adapter must fetch first.

mod freshness;
mod host_cache;
mod invalidation;
mod key_store;
mod lookup;
mod rejected;
mod snapshots;

pub(super) use host_cache::{HostCache, KnownTenant};
pub(super) use key_store::KeyStore;
pub use rejected::Rejected;
pub use snapshots::Snapshots;
pub(super) use snapshots::{Found, owns};

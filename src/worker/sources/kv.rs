//! Reads from KV.

use worker::kv::KvStore;

/// The seconds for which KV caches what it has read. This is its minimum.
const KV_CACHE_S: u64 = 60;

/// The value of a key. `Ok(None)`: there is no such key.
pub(crate) async fn read(kv: &KvStore, key: &str) -> Result<Option<String>, String> {
    kv.get(key).cache_ttl(KV_CACHE_S).text().await.map_err(|error| error.to_string())
}

//! Reads from KV.

use worker::kv::KvStore;

/// Seconds for which KV may serve a value from its cache: the minimum that KV allows.
const KV_CACHE_S: u64 = 60;

/// Reads the value of a key. Returns `Ok(None)` if KV has no such key.
pub(crate) async fn read(kv: &KvStore, key: &str) -> Result<Option<String>, String> {
    kv.get(key).cache_ttl(KV_CACHE_S).text().await.map_err(|error| error.to_string())
}

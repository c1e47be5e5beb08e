//! The keys that issuers publish.
//!
//! An isolate first reads the key set that another isolate has stored in KV, and asks the issuer
//! only if that is too old. So an issuer receives few requests, however many isolates there are. If
//! the issuer cannot be reached, the stored keys serve until their hard age.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;
use web_sys::console;
use worker::kv::KvStore;

use super::kv;
use crate::gate::SnapshotKey;
use crate::model::bounds::{
    DEFAULT_LEEWAY_MS, JWKS_COOLDOWN_MS, JWKS_HARD_AGE_MS, JWKS_SOFT_AGE_MS, JWKS_TIMEOUT_MS, MAX_JWKS_BYTES,
};
use crate::model::{KeySet, UnixMillis};
use crate::worker::config::Config;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;

/// When a key set was fetched, and the key set.
type Kept = (UnixMillis, String);

/// Puts the key set published at `url` into the gate, or records there that it could not be
/// fetched. The log contains the cause of a failure.
pub(crate) async fn fetch(key: &SnapshotKey, url: &str, config: &Config) {
    // The age of the keys counts from before the read.
    let now = clock::now();
    let held = with_gate(|gate| gate.issuer_keys_fetched_at(url));
    let kept = match &config.snapshots {
        Some(kv) => read(kv, key, config, now).await,
        None => None,
    };
    let newer = kept.filter(|(at, _)| held.is_none_or(|held| *at > held));
    // A set that another isolate fetched within the cooldown serves: the issuer is not asked again.
    let fresh_ms = if held.is_some() { JWKS_COOLDOWN_MS } else { JWKS_SOFT_AGE_MS };
    if let Some((at, text)) = newer.as_ref().filter(|(at, _)| now.since(*at) <= fresh_ms)
        && with_gate(|gate| gate.put_issuer_keys(url, text, *at)).is_ok()
    {
        return;
    }
    match ask(url).await {
        Ok(text) => {
            if with_gate(|gate| gate.put_issuer_keys(url, &text, now)).is_ok() {
                // An unchanged set is written only when the stored one ages: KV accepts one write
                // per second and key.
                let sent = serde_json::from_str::<Value>(&text).unwrap_or_default().to_string();
                let known =
                    newer.as_ref().is_some_and(|(at, kept)| now.since(*at) <= JWKS_SOFT_AGE_MS / 2 && *kept == sent);
                if let Some(kv) = config.snapshots.as_ref().filter(|_| !known) {
                    write(kv, key, &text, config, now).await;
                }
                return;
            }
            log(url, "the response is not a valid key set, or it is too large");
        }
        Err(reason) => log(url, &reason),
    }
    if let Some((at, text)) = newer.filter(|(at, _)| now.since(*at) <= JWKS_HARD_AGE_MS)
        && with_gate(|gate| gate.put_issuer_keys(url, &text, at)).is_ok()
    {
        log(url, "the key set in KV is used instead");
    }
    // Records the failure, which starts the cooldown.
    let _ = with_gate(|gate| gate.put_trusted(key, None, now));
}

async fn ask(url: &str) -> Result<String, String> {
    let bytes = u32::try_from(MAX_JWKS_BYTES).unwrap_or(u32::MAX);
    let timeout = u32::try_from(JWKS_TIMEOUT_MS).unwrap_or(u32::MAX);
    let answer = JsFuture::from(edge::fetch_keys(url, bytes, timeout)).await.map_err(|error| format!("{error:?}"))?;
    let text = answer.as_string().ok_or("the response is too large")?;
    if let Ok(set) = KeySet::parse(&text) {
        for problem in set.left_out {
            log(url, &format!("a key is ignored: {problem}"));
        }
    }
    Ok(text)
}

/// Reads the key set that KV has.
///
/// INVARIANT (seals): write access to KV is not enough to inject keys, or keys with a future date:
/// the entry needs a valid seal where seals are trusted, and a time that is not in the future.
async fn read(store: &KvStore, key: &SnapshotKey, config: &Config, now: UnixMillis) -> Option<Kept> {
    let text = kv::read(store, &key.in_kv()).await.ok()??;
    let text = match &config.seals {
        Some(seals) => seals.open(&key.in_kv(), &text).ok()?,
        None => &text,
    };
    let kept: Value = serde_json::from_str(text).ok()?;
    let fetched_at = UnixMillis::new(kept.get("fetched_at")?.as_u64()?);
    Some((fetched_at, kept.get("jwks")?.to_string())).filter(|_| fetched_at <= now.plus(DEFAULT_LEEWAY_MS))
}

async fn write(kv: &KvStore, key: &SnapshotKey, text: &str, config: &Config, now: UnixMillis) {
    let keys: Value = serde_json::from_str(text).unwrap_or_default();
    let kept = json!({ "fetched_at": now.get(), "jwks": keys }).to_string();
    let kept = match (&config.sealer, &config.seals) {
        (Some(sealer), _) => sealer.seal(&key.in_kv(), &kept),
        // This Worker trusts seals but cannot seal, so other isolates would reject the entry.
        (None, Some(_)) => return,
        (None, None) => kept,
    };
    let written = match kv.put(&key.in_kv(), kept) {
        Ok(put) => put.expiration_ttl(JWKS_HARD_AGE_MS / 1_000).execute().await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        console::error_1(&format!("a key set could not be written to KV: {error}").into());
    }
}

fn log(url: &str, reason: &str) {
    console::error_1(&format!("keys of `{url}`: {reason}").into());
}

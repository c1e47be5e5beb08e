//! Keys that issuers publish: fetched seldom, shared by all isolates through KV, kept while their issuer is down.

use serde_json::{Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use super::config::Config;
use super::isolate::{KV_CACHE_S, with_gate};
use super::{clock, edge};
use crate::gate::Need;
use crate::model::bounds::{
    DEFAULT_LEEWAY_MS, JWKS_COOLDOWN_MS, JWKS_HARD_AGE_MS, JWKS_SOFT_AGE_MS, JWKS_TIMEOUT_MS, MAX_JWKS_BYTES,
};
use crate::model::{KeySet, UnixMillis};

/// Published keys, and when they were fetched.
type Kept = (UnixMillis, String);

/// Has the gate know the keys behind `need`, or know that they could not be had. Why stands in the log.
pub(super) async fn fetch(need: &Need, url: &str, config: &Config) {
    // Keys are as old as the question for them.
    let now = clock::now();
    let held = with_gate(|gate| gate.snapshots.keys_fetched_at(url));
    let kept = match config.snapshots() {
        Some(kv) => read(kv, need, config, now).await,
        None => None,
    };
    let newer = kept.filter(|(at, _)| held.is_none_or(|held| *at > held));
    // What another isolate has just fetched is as new as it gets: nobody asks the issuer more often than that.
    let fresh_ms = if held.is_some() { JWKS_COOLDOWN_MS } else { JWKS_SOFT_AGE_MS };
    if let Some((at, text)) = newer.as_ref().filter(|(at, _)| now.since(*at) <= fresh_ms)
        && with_gate(|gate| gate.snapshots.put_keys(url, text, *at)).is_ok()
    {
        return;
    }
    match ask(url).await {
        Ok(text) => {
            if with_gate(|gate| gate.snapshots.put_keys(url, &text, now)).is_ok() {
                // Others learn nothing by the same set again, and KV takes one write a second.
                let sent = serde_json::from_str::<Value>(&text).unwrap_or_default().to_string();
                let known =
                    newer.as_ref().is_some_and(|(at, kept)| now.since(*at) <= JWKS_SOFT_AGE_MS / 2 && *kept == sent);
                if let Some(kv) = config.snapshots().filter(|_| !known) {
                    write(kv, need, &text, config, now).await;
                }
                return;
            }
            log(url, "what was sent is no set of keys, or too large");
        }
        Err(reason) => log(url, &reason),
    }
    if let Some((at, text)) = newer.filter(|(at, _)| now.since(*at) <= JWKS_HARD_AGE_MS)
        && with_gate(|gate| gate.snapshots.put_keys(url, &text, at)).is_ok()
    {
        log(url, "the keys that KV has are used instead");
    }
    // From here the cooldown counts.
    let _ = with_gate(|gate| gate.snapshots.put_answer(need, None, now));
}

async fn ask(url: &str) -> Result<String, String> {
    let bytes = u32::try_from(MAX_JWKS_BYTES).unwrap_or(u32::MAX);
    let timeout = u32::try_from(JWKS_TIMEOUT_MS).unwrap_or(u32::MAX);
    let answer = JsFuture::from(edge::fetch_keys(url, bytes, timeout)).await.map_err(|error| format!("{error:?}"))?;
    let text = answer.as_string().ok_or("the answer is too large")?;
    if let Ok(set) = KeySet::parse(&text) {
        for problem in set.left_out {
            log(url, &format!("left out: {problem}"));
        }
    }
    Ok(text)
}

/// INVARIANT (seals): whoever writes to KV makes up no keys, and none that are from the future.
async fn read(kv: &JsValue, need: &Need, config: &Config, now: UnixMillis) -> Option<Kept> {
    let text = JsFuture::from(edge::get_entry(kv, &need.key(), KV_CACHE_S)).await.ok()?.as_string()?;
    let text = match &config.seals {
        Some(seals) => seals.open(&need.key(), &text).ok()?,
        None => &text,
    };
    let kept: Value = serde_json::from_str(text).ok()?;
    let fetched_at = UnixMillis::new(kept.get("fetched_at")?.as_u64()?);
    Some((fetched_at, kept.get("jwks")?.to_string())).filter(|_| fetched_at <= now.plus(DEFAULT_LEEWAY_MS))
}

async fn write(kv: &JsValue, need: &Need, text: &str, config: &Config, now: UnixMillis) {
    let keys: Value = serde_json::from_str(text).unwrap_or_default();
    let kept = json!({ "fetched_at": now.get(), "jwks": keys }).to_string();
    let kept = match (&config.sealer, &config.seals) {
        (Some(sealer), _) => sealer.seal(&need.key(), &kept),
        // Who believes seals and has none to give keeps its keys to itself.
        (None, Some(_)) => return,
        (None, None) => kept,
    };
    let ttl = u32::try_from(JWKS_HARD_AGE_MS / 1_000).unwrap_or(u32::MAX);
    if let Err(error) = JsFuture::from(edge::put_entry(kv, &need.key(), &kept, ttl)).await {
        console::error_1(&format!("keys could not be kept in KV: {error:?}").into());
    }
}

fn log(url: &str, reason: &str) {
    console::error_1(&format!("keys of `{url}`: {reason}").into());
}

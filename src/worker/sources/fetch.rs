//! Fetches one piece of data that the gate lacks, and puts it into the gate.
//!
//! A snapshot is read from D1 if the feed has reported a recent change of it, and from KV
//! otherwise. If a fetch fails, the held snapshot may still serve: the gate decides that by its
//! age.

use std::rc::Rc;

use sha2::{Digest as _, Sha256};
use web_sys::console;

use super::coalesce::{Ended, SharedWork, coalesce};
use super::{feed, issuer_keys, kv, signatures};
use crate::gate::{Need, Rejected, SnapshotKey};
use crate::ledger::{LeaseProgress, LedgerFailure, Question, WaitFailure};
use crate::worker::config::Config;
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::header_names;

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The data is available, or the held data may serve.
    Yes,
    /// The data is not available. The log contains the cause.
    No,
    /// The ledger's response to another request does not serve this one.
    Awaited(WaitFailure),
}

/// Fetches what the gate lacks, or waits while another request fetches it. The custom resolver is
/// not asked here, because its answer belongs to one request ([`super::drive`] asks it).
pub(crate) async fn fetch(need: Need, config: &Rc<Config>, patience: Patience) -> Fetched {
    match need {
        Need::LedgerAnswer(question) => answer(&question, patience).await,
        Need::Snapshot(key) => snapshot(key, config, patience).await,
        Need::Signature(signature) => {
            let token = Sha256::new().chain_update(&signature.message).chain_update(&signature.signature);
            let work = SharedWork::Signature(token.finalize().into());
            match coalesce(work, patience, signatures::verify(*signature)).await {
                Ended::Done => Fetched::Yes,
                Ended::Failed | Ended::TimedOut => Fetched::No,
            }
        }
        Need::Secret(name) => {
            secret(&name, config);
            Fetched::Yes
        }
        // The custom resolver is asked by `drive`, and no question of this loop rules out ledgers.
        Need::CustomResolver | Need::Ledger => Fetched::No,
    }
}

/// Fetches a snapshot. If that fails, the held one serves until its hard age.
pub(crate) async fn snapshot(key: SnapshotKey, config: &Rc<Config>, patience: Patience) -> Fetched {
    match coalesce(SharedWork::Snapshot(key.clone()), patience, read(&key, config)).await {
        Ended::Done => Fetched::Yes,
        Ended::Failed | Ended::TimedOut => {
            let serves = with_gate(|gate| gate.put_failure(&key, clock::now()));
            if serves { Fetched::Yes } else { Fetched::No }
        }
    }
}

/// Waits for the ledger's response to a question of another request. Sleeps until the response is
/// due, and then checks only the state of the lease, not the whole decision.
async fn answer(question: &Question, patience: Patience) -> Fetched {
    loop {
        match with_gate(|gate| gate.progress(question, clock::now())) {
            LeaseProgress::Again => return Fetched::Yes,
            LeaseProgress::Over(why) => return Fetched::Awaited(why),
            LeaseProgress::Due(due) => {
                if !patience.pause(due).await {
                    // The ledger is serving other requests: this is overload, not a failed message.
                    return Fetched::Awaited(WaitFailure::Unanswered(LedgerFailure::Overloaded));
                }
            }
        }
    }
}

fn secret(name: &str, config: &Config) {
    let value = config.secret(name);
    if value.is_none() {
        let line = format!("the catalog refers to the secret `{name}`, which this Worker does not have");
        console::error_1(&line.into());
    }
    with_gate(|gate| gate.put_secret(name, value.as_deref()));
}

async fn read(key: &SnapshotKey, config: &Rc<Config>) -> Result<(), String> {
    // The age of the data counts from before the read.
    let now = clock::now();
    if let SnapshotKey::IssuerKeys(url) = key {
        // A failure is recorded in the gate, which then denies tokens of this issuer only.
        issuer_keys::fetch(key, url, config).await;
        return Ok(());
    }
    if let Some(original) = feed::read_through(key, config, now).await {
        return taken(key, with_gate(|gate| gate.put_trusted(key, original.as_deref(), now)));
    }
    let store = config.snapshots.as_ref().ok_or("the KV binding `SNAPSHOTS` is missing")?;
    let text = kv::read(store, &key.in_kv()).await?;
    match with_gate(|gate| gate.put_published(key, text.as_deref(), now)) {
        // A document without a valid seal is not trusted. D1 is.
        Err(Rejected::Unsealed(reason)) => match feed::original(key, config).await {
            Some(original) => taken(key, with_gate(|gate| gate.put_trusted(key, original.as_deref(), now))),
            None => Err(reason.to_owned()),
        },
        result => taken(key, result),
    }
}

fn taken(key: &SnapshotKey, result: Result<(), Rejected>) -> Result<(), String> {
    result.map_err(|rejected| rejected.to_string())?;
    with_gate(|gate| {
        if let Some(catalog) = gate.current_catalog().filter(|_| *key == SnapshotKey::Catalog) {
            header_names::read_also(catalog.headers());
        }
    });
    Ok(())
}

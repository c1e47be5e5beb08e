//! Publication: announces a change to the ledger and to hubs, then writes the snapshot to KV.
//!
//! A change leaves rows in `publications`, in its own transaction. A publication that fails stays
//! open and is retried by the scheduled run. The value for KV is read from the system of record at
//! the time of writing, so a late publication never brings an old state back.

use std::collections::{BTreeMap, BTreeSet};

use js_sys::Date;
use serde_json::{Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::error::AdminError;
use super::request::{AdminRequest, AdminResponse};
use crate::gate::SnapshotKey;
use crate::ledger::{LedgerRequest, Migration};
use crate::model::{TenantId, UnixMillis, gather};
use crate::worker::config::Config;
use crate::worker::ledger::client;
use crate::worker::realtime::client as client_of_hubs;
use crate::worker::runtime::edge;
use crate::worker::runtime::fault;
use crate::worker::sources::d1::{Row, number, sql, text};
use crate::worker::sources::{feed, originals};

/// Maximum number of publications in one slice, those with the fewest failures first. It bounds the
/// requests to D1, ledgers and KV in one invocation.
const SLICE: u64 = 200;

/// Maximum number of snapshots of a slice in memory at once, since records may be large.
const TOGETHER: usize = 25;

/// The outcome of a slice.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    pub(super) done: usize,
    pub(super) failed: usize,
}

/// Publishes a change after its commit. What fails is retried by the scheduled run.
pub(super) async fn after(request: &AdminRequest<'_>) {
    // Tests stop the isolate here, to check that a committed change is still published later.
    fault::fault(request.fault.as_deref(), "publish");
    if let Err(refusal) = flush(request).await {
        web_sys::console::error_1(&format!("control: not published yet: {}", refusal.code()).into());
    }
}

/// The value for KV, sealed if a snapshot key is set and entries of this kind are sealed.
fn sealed(key: &str, value: &str, config: &Config) -> String {
    match &config.sealer {
        Some(sealer) if SnapshotKey::parse(key).is_some_and(|key| key.is_sealed()) => sealer.seal(key, value),
        _ => value.to_owned(),
    }
}

/// Publishes one slice of the open publications.
pub(super) async fn flush(request: &AdminRequest<'_>) -> Result<Flushed, AdminError> {
    let store = &request.store;
    let rows = store
        .rows(sql!(
            "SELECT number, key, epoch, ledger, anew FROM publications WHERE done_at IS NULL ORDER BY anew, failures, number LIMIT ?",
            SLICE
        ))
        .await?;
    if rows.is_empty() {
        return Ok(Flushed::default());
    }
    let unheard = notify_ledgers(request, &rows).await?;
    let hubs_know = notify_hubs(request, &rows).await?;
    let mut epochs: BTreeMap<&str, u64> = BTreeMap::new();
    let is_unheard = |row: &Row| unheard.contains(text(row, "ledger"));
    for row in rows.iter().filter(|row| !is_unheard(row)) {
        let latest = epochs.entry(text(row, "key")).or_default();
        *latest = (*latest).max(number(row, "epoch"));
    }
    let wanted: Vec<(&str, Value)> =
        epochs.keys().filter_map(|key| Some((*key, originals::statement(&SnapshotKey::parse(key)?)?))).collect();
    // This isolate learns about the changes at once, without waiting for the feed.
    for (key, epoch) in &epochs {
        if let Some(key) = SnapshotKey::parse(key) {
            feed::changed(&key, *epoch, request.now);
        }
    }
    let mut failed = BTreeSet::new();
    for group in wanted.chunks(TOGETHER) {
        let statements: Vec<Value> = group.iter().map(|(_, statement)| statement.clone()).collect();
        let found = store.run(&statements).await?;
        let sealed = |((key, _), rows): (&(&str, Value), &Vec<Row>)| {
            ((*key).to_owned(), originals::joined(rows).map(|value| sealed(key, &value, request.config)))
        };
        let entries: Vec<(String, Option<String>)> = group.iter().zip(&found).map(sealed).collect();
        failed.extend(put(&request.config.snapshots_binding, &entries).await?);
    }
    let (mut done, mut open) = (Vec::new(), Vec::new());
    for row in &rows {
        let late = is_unheard(row) || failed.contains(text(row, "key")) || !hubs_know && is_news(row);
        if late { &mut open } else { &mut done }.push(number(row, "number"));
    }
    // INVARIANT (the last word): a snapshot that changed while it was written is written again,
    // since the order in which the two writes reached KV is unknown.
    let last = rows.iter().map(|row| number(row, "number")).max().unwrap_or(0);
    let again = "EXISTS (SELECT 1 FROM publications AS later WHERE later.key = publications.key AND later.number > ?2 AND later.anew = 0)";
    store
        .run(&[
            sql!(
                format!("UPDATE publications SET done_at = iif({again}, NULL, ?1) WHERE number IN (SELECT value FROM json_each(?3))"),
                now_ms(),
                last,
                json!(done).to_string()
            ),
            sql!(
                "UPDATE publications SET failures = failures + 1 WHERE number IN (SELECT value FROM json_each(?))",
                json!(open).to_string()
            ),
        ])
        .await?;
    Ok(Flushed { done: done.len(), failed: open.len() })
}

/// Writes entries to KV. Returns the keys that failed.
async fn put(kv: &JsValue, entries: &[(String, Option<String>)]) -> Result<BTreeSet<String>, AdminError> {
    let written = JsFuture::from(edge::put_entries(kv, &json!(entries).to_string())).await;
    match written {
        Ok(failed) => Ok(gather(failed.as_string().unwrap_or_default().lines().map(String::from))),
        Err(error) => {
            web_sys::console::error_2(&"control: KV failed".into(), &error);
            Err(AdminError::UNAVAILABLE)
        }
    }
}

/// Announces new epochs to the ledgers. Returns the roots whose ledger did not answer.
async fn notify_ledgers(request: &AdminRequest<'_>, rows: &[Row]) -> Result<BTreeSet<String>, AdminError> {
    let mut news: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    if request.config.ledger.is_none() {
        return Ok(BTreeSet::new());
    }
    for row in rows.iter().filter(|row| !text(row, "ledger").is_empty()) {
        let tenant = text(row, "key").strip_prefix("tenant:").unwrap_or_default();
        news.entry(text(row, "ledger")).or_default().push((tenant, number(row, "epoch")));
    }
    let asked: Vec<_> = news
        .into_iter()
        .map(|(root, epochs)| {
            let epochs = epochs.into_iter().map(|(tenant, epoch)| (tenant.into(), epoch)).collect();
            let question = LedgerRequest { epochs, ..LedgerRequest::default() };
            let asked = TenantId::parse(root).ok_or_else(|| String::from("invalid tenant id"));
            (root, asked.and_then(|root| client::ask(&root, &question, request.config, &request.context)))
        })
        .collect();
    let mut unheard = end_levels(request, rows).await?;
    for (root, asked) in asked {
        if client::outcome(asked).await.is_err() {
            unheard.insert(root.to_owned());
        }
    }
    Ok(unheard)
}

/// Whether a publication is one of a change, not of an unchanged snapshot.
fn is_news(row: &Row) -> bool {
    number(row, "anew") == 0
}

/// Tells the hubs of the families concerned, so that sockets close which may not stay. Returns
/// whether all have acted on it.
async fn notify_hubs(request: &AdminRequest<'_>, rows: &[Row]) -> Result<bool, AdminError> {
    let news = || rows.iter().filter(|row| is_news(row));
    let changes: Vec<(String, u64)> = news().map(|row| (text(row, "key").to_owned(), number(row, "epoch"))).collect();
    if changes.iter().any(|(key, _)| key == "catalog") {
        return Ok(client_of_hubs::tell(request.config, &request.store, None, &changes).await?);
    }
    let keys: Vec<&str> = news().filter_map(|row| text(row, "key").strip_prefix("key:")).collect();
    let owners = if keys.is_empty() || request.config.hubs.is_none() {
        Vec::new()
    } else {
        let owners = "SELECT DISTINCT root FROM tenants JOIN api_keys ON api_keys.tenant = tenants.id \
             WHERE api_keys.id IN (SELECT value FROM json_each(?))";
        request.store.rows(sql!(owners, json!(keys).to_string())).await?
    };
    let own = news().map(|row| text(row, "ledger")).filter(|root| !root.is_empty());
    let roots: BTreeSet<&str> = gather(own.chain(owners.iter().map(|row| text(row, "root"))));
    let roots: Vec<&str> = roots.into_iter().collect();
    Ok(client_of_hubs::tell(request.config, &request.store, Some(&roots), &changes).await?)
}

/// Removes deleted tenants from their families' ledgers, so that the gauges that they used, such as
/// seats, are free again for their ancestors. Returns the roots whose ledger did not answer; other
/// families do not wait for them.
async fn end_levels(request: &AdminRequest<'_>, rows: &[Row]) -> Result<BTreeSet<String>, AdminError> {
    let in_ledgers = rows.iter().filter(|row| !text(row, "ledger").is_empty());
    let ids: Vec<&str> = in_ledgers.filter_map(|row| text(row, "key").strip_prefix("tenant:")).collect();
    let mut unheard = BTreeSet::new();
    let deleted = sql!(
        "SELECT id, root FROM tenants WHERE id IN (SELECT value FROM json_each(?)) AND status = 'deleted' AND parent IS NOT NULL",
        json!(ids).to_string()
    );
    for row in request.store.rows(deleted).await? {
        let line = request.store.line(text(&row, "id")).await?;
        let above = line.iter().skip(1).map(|above| above.id.clone()).collect();
        let leave = Some(Migration { tenants: [(text(&row, "id").to_owned(), None)].into(), ancestors: above });
        if request.ask_ledger(text(&row, "root"), &LedgerRequest { leave, ..LedgerRequest::default() }).await.is_err() {
            unheard.insert(text(&row, "root").to_owned());
        }
    }
    Ok(unheard)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
fn now_ms() -> u64 {
    Date::now() as u64
}

/// `GET /publications`
pub(super) async fn state(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    request.only(&[])?;
    let row = request
        .store
        .row(sql!("SELECT count(*) AS waiting, min(at) AS oldest_at, max(failures) AS failures FROM publications WHERE done_at IS NULL"))
        .await?
        .unwrap_or_default();
    let oldest = row.get("oldest_at").and_then(Value::as_u64).map(UnixMillis::new);
    let key = request.config.sealer.as_ref().map(crate::identity::Sealer::jwk);
    Ok(AdminResponse::json(
        200,
        &json!({ "waiting": number(&row, "waiting"), "oldest_at": oldest, "failures": number(&row, "failures"), "key": key }),
    ))
}

//! Reconciliation: compares KV with the system of record, one slice of tenants at a time, and
//! publishes again what differs.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::error::AdminError;
use super::publish;
use super::request::{AdminRequest, AdminResponse};
use crate::identity::Seals;
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{number, sql, text};

/// Maximum number of tenants in a slice, and of their latest API keys. A Worker may send at most
/// 1,000 requests to KV per invocation.
const COMPARED: u64 = 100;
const MAX_KEYS: u64 = 300;

/// Compares one slice and publishes again what differs. Returns the number of such entries.
pub(super) async fn slice(request: &AdminRequest<'_>) -> Result<usize, AdminError> {
    let store = &request.store;
    let cursor = store.row(sql!("SELECT value FROM cursors WHERE name = 'reconcile'")).await?.unwrap_or_default();
    let rows = store
        .rows(sql!(
            "SELECT id, slug, epoch, root, status FROM tenants WHERE id > ? ORDER BY id LIMIT ?",
            text(&cursor, "value"),
            COMPARED
        ))
        .await?;
    let ids: Vec<&str> = rows.iter().map(|row| text(row, "id")).collect();
    let keys = store
        .rows(sql!(
            "SELECT id, epoch FROM api_keys WHERE tenant IN (SELECT value FROM json_each(?)) ORDER BY created_at DESC LIMIT ?",
            json!(ids).to_string(),
            MAX_KEYS
        ))
        .await?;
    let version = store.row(sql!("SELECT max(version) AS version FROM catalogs")).await?.unwrap_or_default();
    // The key in KV, its expected epoch, and the ledger to inform.
    let mut expected: Vec<(String, u64, Option<&str>)> = Vec::new();
    if number(&version, "version") > 0 {
        expected.push((String::from("catalog"), number(&version, "version"), None));
    }
    for row in &rows {
        expected.push((format!("tenant:{}", text(row, "id")), number(row, "epoch"), Some(text(row, "root"))));
    }
    for row in &keys {
        expected.push((format!("key:{}", text(row, "id")), number(row, "epoch"), None));
    }
    let mut names: Vec<String> = expected.iter().map(|(key, ..)| key.clone()).collect();
    names.extend(
        rows.iter().filter(|row| text(row, "status") != "deleted").map(|row| format!("slug:{}", text(row, "slug"))),
    );
    let found = JsFuture::from(edge::get_entries(&request.config.snapshots_binding, &json!(names).to_string())).await;
    let found = found.ok().and_then(|found| found.as_string()).ok_or(AdminError::UNAVAILABLE)?;
    let found: Vec<Option<String>> = serde_json::from_str(&found).map_err(|_| AdminError::UNAVAILABLE)?;
    let mut change = request.transaction();
    let mut mended = 0_usize;
    for ((key, epoch, ledger), found) in expected.iter().zip(&found) {
        let good = found.as_deref().is_some_and(|found| {
            let trusted = match &request.config.seals {
                Some(seals) => seals.open(key, found).ok(),
                None => Some(Seals::believe(found)),
            };
            let document: Value = trusted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let member = if key == "catalog" { "version" } else { "epoch" };
            document.get(member).and_then(Value::as_u64) == Some(*epoch)
        });
        if !good {
            change.publish(key, *epoch, *ledger);
            mended = mended.saturating_add(1);
        }
    }
    let slugs = rows.iter().filter(|row| text(row, "status") != "deleted").zip(found.iter().skip(expected.len()));
    for (row, found) in slugs {
        if found.as_deref() != Some(text(row, "id")) {
            change.publish(&format!("slug:{}", text(row, "slug")), number(row, "epoch"), None);
            mended = mended.saturating_add(1);
        }
    }
    let next =
        if u64::try_from(rows.len()).unwrap_or(0) < COMPARED { "" } else { ids.last().copied().unwrap_or_default() };
    change.run(sql!("INSERT INTO cursors (name, value) VALUES ('reconcile', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", next));
    change.commit().await?;
    if mended > 0 {
        publish::flush(request).await?;
    }
    Ok(mended)
}

/// `POST /publications`: publishes a slice of what waits and reconciles a slice. `?all=true` first
/// marks everything for publication, for example after `SNAPSHOT_KEY` has changed.
pub(super) async fn now(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    request.only(&["all"])?;
    if request.flag("all")? {
        let at = request.now.get();
        request.store
            .run(&[
                sql!("INSERT INTO publications (anew, key, epoch, at) SELECT 1, 'tenant:' || id, epoch, ? FROM tenants", at),
                sql!("INSERT INTO publications (anew, key, epoch, at) SELECT 1, 'slug:' || slug, 0, ? FROM slugs", at),
                sql!("INSERT INTO publications (anew, key, epoch, at) SELECT 1, 'domain:' || host, 0, ? FROM domains WHERE verified_at IS NOT NULL", at),
                sql!("INSERT INTO publications (anew, key, epoch, at) SELECT 1, 'key:' || id, epoch, ? FROM api_keys", at),
                sql!("INSERT INTO publications (anew, key, epoch, at) SELECT 1, 'catalog', max(version), ? FROM catalogs HAVING max(version) IS NOT NULL", at),
            ])
            .await?;
    }
    let flushed = publish::flush(request).await?;
    let mended = slice(request).await?;
    let waiting = request.store.row(sql!("SELECT count(*) AS waiting FROM publications WHERE done_at IS NULL")).await?;
    let waiting = number(&waiting.unwrap_or_default(), "waiting");
    Ok(AdminResponse::json(
        200,
        &json!({ "published": flushed.done, "failed": flushed.failed, "mended": mended, "waiting": waiting }),
    ))
}

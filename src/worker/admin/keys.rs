//! API keys of tenants: issue, rotation, revocation, deletion.
//!
//! Only the hash of a key is stored. The response that creates a key is the only one that contains
//! it.

use serde_json::{Value, json};

use super::error::AdminError;
use super::page::ListQuery;
use super::publish;
use super::request::{AdminRequest, AdminResponse, checked};
use super::transaction::Transaction;
use crate::control::{Issue, Rotate};
use crate::model::bounds::{ENDED_KEY_KEPT_MS, ENDED_KEYS_TOGETHER, MAX_ISSUED, MAX_SCOPES};
use crate::model::{ApiKey, ENTROPY_BYTES, Environment, KeyId, TenantId, UnixMillis};
use crate::wire::api_key_record;
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{document, number, sql, text};

/// Random bytes for one secret.
pub(super) fn entropy() -> [u8; ENTROPY_BYTES] {
    let digits = edge::random(u32::try_from(ENTROPY_BYTES).unwrap_or(0));
    let mut bytes = [0; ENTROPY_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let start = index.saturating_mul(2);
        *byte =
            digits.get(start..start.saturating_add(2)).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    bytes
}

/// Adds a new API key to a change. Returns the key's text and its record.
pub(super) async fn make(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    tenant: &str,
    asked: &Issue,
) -> Result<(String, Value), AdminError> {
    request.require_future("$.expires_at", asked.expires_at)?;
    let tenant = TenantId::parse(tenant).ok_or(AdminError::NOT_FOUND)?;
    let issued = ApiKey::issue(tenant, asked.environment, &entropy(), request.now).ok_or(AdminError::UNAVAILABLE)?;
    let record = ApiKey {
        name: asked.name.clone(),
        scopes: asked.scopes.clone(),
        expires_at: asked.expires_at,
        ..issued.record
    };
    let value = api_key_record(&record);
    change.run(sql!(
        "INSERT INTO api_keys (id, tenant, epoch, record, created_at) VALUES (?, ?, ?, ?, ?)",
        record.id.as_str(),
        record.tenant.as_str(),
        record.epoch.0,
        value.to_string(),
        request.now.get()
    ));
    let said = json!({ "api_key": { "after": shown(&value) } });
    change.audit(record.tenant.as_str(), "key.issue", None, &said).await?;
    change.publish(&format!("key:{}", record.id), record.epoch.0, None);
    Ok((issued.text, value))
}

/// A response with a secret. INVARIANT (shown once): the response that is stored under an
/// idempotency key has `null` in place of the secret.
pub(super) fn once_shown(mut body: Value, name: &str, secret: String) -> AdminResponse {
    if let Value::Object(members) = &mut body {
        members.insert(name.to_owned(), secret.into());
    }
    AdminResponse::json(201, &body)
}

/// A record without its hash.
pub(super) fn shown(record: &Value) -> Value {
    let mut shown = record.clone();
    if let Value::Object(members) = &mut shown {
        members.remove("hash");
    }
    shown
}

pub(super) async fn issue(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let asked: Issue = request.read()?;
    if asked.scopes.len() > MAX_SCOPES {
        return Err(AdminError::problem("$.scopes", format!("{} entries", asked.scopes.len()), "at most 64"));
    }
    if !request.actor.may_give(asked.scopes.iter()) {
        return Err(AdminError::FORBIDDEN);
    }
    let mut change = request.transaction();
    change.expect_head(&record.id, &record.head);
    has_room(request, &record.id).await?;
    let (key, value) = make(request, &mut change, &record.id, &asked).await?;
    let body = json!({ "key": null, "record": shown(&value) });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    publish::after(request).await;
    Ok(once_shown(body, "key", key))
}

/// Refuses a further key. INVARIANT (bounded): a tenant has at most [`MAX_ISSUED`] valid keys,
/// whether issued or rotated.
async fn has_room(request: &AdminRequest<'_>, tenant: &str) -> Result<(), AdminError> {
    let working = sql!(
        "SELECT count(*) AS working FROM api_keys WHERE tenant = ? AND json_extract(record, '$.revoked_at') IS NULL \
         AND coalesce(unixepoch(json_extract(record, '$.expires_at')) * 1000 > ?, 1)",
        tenant,
        request.now.get()
    );
    let working = number(&request.store.row(working).await?.unwrap_or_default(), "working");
    if working >= MAX_ISSUED { Err(AdminError::TOO_MANY.with(json!({ "limit": MAX_ISSUED }))) } else { Ok(()) }
}

pub(super) async fn list(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let record = request.tenant(id).await?;
    page(&record.id, &cursor, limit).answer(&request.store, |row| shown(&document(&row, "record"))).await
}

/// A page of a tenant's keys, after the id `after`.
pub(super) fn page(tenant: &str, after: &str, limit: u64) -> ListQuery {
    ListQuery::of(
        "SELECT id, record FROM api_keys WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        ("id", "record"),
        vec![tenant.into(), after.into()],
        limit,
    )
}

/// Reads a tenant's key and its stored document. The change fails if another one comes first.
async fn find(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    tenant: &str,
    key: &str,
) -> Result<(ApiKey, Value), AdminError> {
    if KeyId::parse(key).is_none() {
        return Err(AdminError::NOT_FOUND);
    }
    let record = request.tenant(tenant).await?;
    change.expect_head(&record.id, &record.head);
    let row =
        request.store.row(sql!("SELECT record FROM api_keys WHERE id = ? AND tenant = ?", key, record.id)).await?;
    let value = document(&row.ok_or(AdminError::NOT_FOUND)?, "record");
    Ok((checked(ApiKey::parse(&value.to_string()))?, value))
}

/// Writes the next epoch of a key. `end` is the member to set, `expires_at` or `revoked_at`, with
/// its time. Returns the new record.
async fn replace(
    change: &mut Transaction<'_>,
    key: &ApiKey,
    before: &Value,
    action: &str,
    end: (&str, UnixMillis),
) -> Result<Value, AdminError> {
    let mut after = before.clone();
    let epoch = key.epoch.0.saturating_add(1);
    if let Value::Object(members) = &mut after {
        members.insert(end.0.to_owned(), end.1.to_string().into());
        members.insert(String::from("epoch"), epoch.into());
    }
    change.run(sql!(
        "UPDATE api_keys SET record = ?, epoch = ? WHERE id = ?",
        after.to_string(),
        epoch,
        key.id.as_str()
    ));
    let said = json!({ "api_key": { "before": shown(before), "after": shown(&after) } });
    change.audit(key.tenant.as_str(), action, None, &said).await?;
    change.publish(&format!("key:{}", key.id), epoch, None);
    Ok(after)
}

pub(super) async fn rotate(request: &AdminRequest<'_>, tenant: &str, id: &str) -> Result<AdminResponse, AdminError> {
    let asked: Rotate = request.read()?;
    let mut change = request.transaction();
    let (key, before) = find(request, &mut change, tenant, id).await?;
    if !request.actor.may_give(key.scopes.iter()) {
        return Err(AdminError::FORBIDDEN);
    }
    if key.refusal(key.environment, request.now).is_some() {
        return Err(AdminError::WRONG_STATUS.with(json!({ "api_key": shown(&before) })));
    }
    has_room(request, key.tenant.as_str()).await?;
    let until = request.now.plus(asked.overlap_ms.0);
    let until = key.expires_at.map_or(until, |at| at.min(until));
    let old = replace(&mut change, &key, &before, "key.rotate", ("expires_at", until)).await?;
    let new = Issue {
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        environment: key.environment,
        expires_at: key.expires_at,
    };
    let (text, value) = make(request, &mut change, key.tenant.as_str(), &new).await?;
    let body = json!({ "key": null, "record": shown(&value), "replaced": shown(&old) });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    publish::after(request).await;
    Ok(once_shown(body, "key", text))
}

pub(super) async fn revoke(request: &AdminRequest<'_>, tenant: &str, id: &str) -> Result<AdminResponse, AdminError> {
    let mut change = request.transaction();
    let (key, before) = find(request, &mut change, tenant, id).await?;
    if key.revoked_at.is_some() {
        return Ok(AdminResponse::json(200, &shown(&before)));
    }
    let after = replace(&mut change, &key, &before, "key.revoke", ("revoked_at", request.now)).await?;
    request.remember(&mut change, 200, &shown(&after).to_string());
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::json(200, &shown(&after)))
}

/// Revokes all keys of a tenant that is deleted, as a part of that change.
///
/// Isolates learn only about the tenant's change, since keys of a deleted tenant are invalid
/// anyway. The keys themselves are published to KV with the lowest priority.
pub(super) fn end_all(request: &AdminRequest<'_>, change: &mut Transaction<'_>, tenant: &str) {
    change.run(sql!(
        "UPDATE api_keys SET epoch = epoch + 1, record = json_set(record, '$.revoked_at', ?, '$.epoch', epoch + 1) \
         WHERE tenant = ? AND json_extract(record, '$.revoked_at') IS NULL",
        request.now.to_string(),
        tenant
    ));
    change.run(sql!(
        "INSERT INTO publications (key, epoch, at, anew) SELECT 'key:' || id, epoch, ?, 1 FROM api_keys \
         WHERE tenant = ? AND json_extract(record, '$.revoked_at') = ?",
        request.now.get(),
        tenant,
        request.now.to_string()
    ));
}

/// Deletes keys that ended more than [`ENDED_KEY_KEPT_MS`] milliseconds ago, and their entries in
/// KV.
pub(super) async fn purge(request: &AdminRequest<'_>) -> Result<(), AdminError> {
    let before = UnixMillis::new(request.now.get().saturating_sub(ENDED_KEY_KEPT_MS)).to_string();
    let ended = sql!(
        "SELECT id, epoch FROM api_keys WHERE coalesce(json_extract(record, '$.revoked_at'), json_extract(record, '$.expires_at')) < ? LIMIT ?",
        before,
        ENDED_KEYS_TOGETHER
    );
    let mut change = request.transaction();
    for row in request.store.rows(ended).await? {
        let (id, epoch) = (text(&row, "id"), number(&row, "epoch").saturating_add(1));
        change.run(sql!("DELETE FROM api_keys WHERE id = ?", id));
        change.publish(&format!("key:{id}"), epoch, None);
    }
    Ok(change.commit().await?)
}

/// The request for the first API key of a new tenant.
pub(super) fn first(scopes: Vec<crate::model::Scope>, environment: Environment) -> Issue {
    Issue { name: Some(String::from("first key")), scopes, environment, expires_at: None }
}

//! Admin tokens: issue, list, revocation.
//!
//! Only the hash of a token is stored. The response that creates a token is the only one that
//! contains it. A token may issue further tokens with at most its own permissions and lifetime.

use serde_json::{Value, json};

use super::actor::TOKEN_PREFIX;
use super::error::AdminError;
use super::keys::{entropy, once_shown};
use super::request::{AdminRequest, AdminResponse, paged};
use super::{catalog, page};
use crate::control::{NewToken, Permission};
use crate::model::bounds::MAX_TOKEN_GENERATIONS;
use crate::model::{KeyId, SecretText};
use crate::worker::sources::d1::{document, sql, text};

pub(super) async fn issue(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let asked: NewToken = request.read()?;
    // INVARIANT (no more than one has): an actor gives only permissions that it has.
    if let Some(more) = asked.permissions.iter().find(|permission| !request.actor.permits(**permission)) {
        return Err(AdminError::FORBIDDEN.with(json!({ "permission": more })));
    }
    let maker = request.actor.token.as_ref();
    if maker.is_some_and(|maker| maker.generation >= MAX_TOKEN_GENERATIONS) {
        return Err(AdminError::TOO_MANY.with(json!({ "limit": MAX_TOKEN_GENERATIONS })));
    }
    request.require_future("$.expires_at", asked.expires_at)?;
    // INVARIANT (children end with their makers): the default end is that of the issuing token.
    let end = maker.and_then(|maker| maker.ends_at);
    if let Some((later, end)) = asked.expires_at.zip(end).filter(|(asked, end)| asked > end) {
        let expected = format!("at most {end}, the end of the issuing token");
        return Err(AdminError::problem("$.expires_at", later.to_string(), &expected));
    }
    let expires_at = asked.expires_at.or(end);
    let secret = SecretText::make(TOKEN_PREFIX, &entropy()).ok_or(AdminError::UNAVAILABLE)?;
    let (id, hash) = (secret.id().to_string(), secret.hash());
    let permissions: Vec<&str> = asked.permissions.iter().map(|permission| permission.as_str()).collect();
    let mut change = request.transaction();
    change.run(sql!(
        "INSERT INTO admin_tokens (id, hash, name, permissions, created_at, expires_at, maker) VALUES (?, ?, ?, ?, ?, ?, ?)",
        id,
        hash,
        asked.name,
        json!(permissions).to_string(),
        request.now.get(),
        expires_at.map(crate::model::UnixMillis::get),
        maker.map(|maker| maker.id.as_str())
    ));
    let said = json!({ "token": { "after": { "id": id, "name": asked.name, "permissions": permissions } } });
    change.audit(catalog::CHAIN, "token.issue", None, &said).await?;
    let body = json!({
        "token": null, "id": id, "name": asked.name, "permissions": permissions, "expires_at": expires_at,
    });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    Ok(once_shown(body, "token", secret.into_text()))
}

pub(super) async fn list(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let statement = sql!(
        "SELECT id, name, permissions, created_at, expires_at, revoked_at, maker FROM admin_tokens WHERE id > ? ORDER BY id LIMIT ?",
        cursor,
        limit.saturating_add(1)
    );
    let rows = request.store.rows(statement).await?;
    let entries = rows.into_iter().map(|mut row| {
        let permissions = document(&row, "permissions");
        row.insert(String::from("permissions"), permissions);
        page::timed(row)
    });
    Ok(AdminResponse::json(200, &paged(limit, entries.collect(), "/id")))
}

pub(super) async fn revoke(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    if KeyId::parse(id).is_none() {
        return Err(AdminError::NOT_FOUND);
    }
    let row = request.store.row(sql!("SELECT name, permissions FROM admin_tokens WHERE id = ?", id)).await?;
    let row = row.ok_or(AdminError::NOT_FOUND)?;
    // INVARIANT (no more than one has): an actor revokes only tokens that it could have issued.
    let permissions = document(&row, "permissions");
    let mut permissions = permissions.as_array().into_iter().flatten().filter_map(Value::as_str);
    let own =
        |permission: &str| Permission::ALL.iter().any(|own| own.as_str() == permission && request.actor.permits(*own));
    if let Some(more) = permissions.find(|permission| !own(permission)) {
        return Err(AdminError::FORBIDDEN.with(json!({ "permission": more })));
    }
    let mut change = request.transaction();
    change.run(sql!(
        "UPDATE admin_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?",
        request.now.get(),
        id
    ));
    change
        .audit(
            catalog::CHAIN,
            "token.revoke",
            None,
            &json!({ "token": { "before": { "id": id, "name": text(&row, "name") } } }),
        )
        .await?;
    let body = json!({ "id": id, "revoked": true });
    request.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(AdminResponse::json(200, &body))
}

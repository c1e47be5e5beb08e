//! Admin tokens: issued, listed, revoked. Only hashes are kept; a token is shown once.

use serde_json::json;

use super::actor::TOKEN_PREFIX;
use super::desk::{Answer, Desk, paged};
use super::keys::entropy;
use super::refusal::Refusal;
use super::store::{document, sql, text};
use super::{catalog, tenants};
use crate::control::NewToken;
use crate::model::{KeyId, SecretText};

pub(super) async fn issue(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let asked: NewToken = desk.read()?;
    // INVARIANT (no more than one has): nobody gives away what it was not given.
    if let Some(more) = asked.permissions.iter().find(|permission| !desk.actor.permits(**permission)) {
        return Err(Refusal::FORBIDDEN.with(json!({ "permission": more })));
    }
    let secret = SecretText::make(TOKEN_PREFIX, &entropy()).ok_or(Refusal::UNAVAILABLE)?;
    let (id, hash) = (secret.id().to_string(), secret.hash());
    let permissions: Vec<&str> = asked.permissions.iter().map(|permission| permission.as_str()).collect();
    let mut change = desk.change();
    change.run(sql!(
        "INSERT INTO admin_tokens (id, hash, name, permissions, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        id,
        hash,
        asked.name,
        json!(permissions).to_string(),
        desk.now.get(),
        asked.expires_at.map(crate::model::UnixMillis::get)
    ));
    let said = json!({ "token": { "after": { "id": id, "name": asked.name, "permissions": permissions } } });
    change.note(catalog::CHAIN, "token.issue", None, &said).await?;
    change.commit().await?;
    Ok(Answer::json(
        201,
        &json!({ "token": secret.into_text(), "id": id, "name": asked.name, "permissions": permissions }),
    ))
}

pub(super) async fn list(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&[])?;
    let statement = sql!(
        "SELECT id, name, permissions, created_at, expires_at, revoked_at FROM admin_tokens WHERE id > ? ORDER BY id LIMIT ?",
        cursor,
        limit.saturating_add(1)
    );
    let rows = desk.store.rows(statement).await?;
    let entries = rows.into_iter().map(|mut row| {
        let permissions = document(&row, "permissions");
        row.insert(String::from("permissions"), permissions);
        tenants::timed(row)
    });
    Ok(Answer::json(200, &paged(limit, entries.collect(), "/id")))
}

pub(super) async fn revoke(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    if KeyId::parse(id).is_none() {
        return Err(Refusal::NOT_FOUND);
    }
    let row =
        desk.store.row(sql!("SELECT name FROM admin_tokens WHERE id = ?", id)).await?.ok_or(Refusal::NOT_FOUND)?;
    let mut change = desk.change();
    change.run(sql!("UPDATE admin_tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", desk.now.get(), id));
    change
        .note(
            catalog::CHAIN,
            "token.revoke",
            None,
            &json!({ "token": { "before": { "id": id, "name": text(&row, "name") } } }),
        )
        .await?;
    let body = json!({ "id": id, "revoked": true });
    desk.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(Answer::json(200, &body))
}

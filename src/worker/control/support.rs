//! Admin tokens, and tickets by which support acts as a tenant for a while, on the record.

use serde_json::{Value, json};
use web_sys::Response;

use super::actor::{Actor, TOKEN_PREFIX};
use super::desk::{Answer, Desk, paged, small_body};
use super::keys::{entropy, make, shown};
use super::refusal::Refusal;
use super::store::{Change, Store, at, document, sql, text};
use super::{catalog, publish, tenants};
use crate::control::{Impersonate, Issue, NewToken, Ticket};
use crate::model::{KeyId, Scope, SecretText};
use crate::worker::call::Call;
use crate::worker::config::Config;

/// How a ticket begins.
const TICKET_PREFIX: &str = "tg_tick_";
/// Milliseconds for which a ticket may be redeemed.
const TICKET_MS: u64 = 60_000;
/// Milliseconds for which the key behind a ticket works.
const SUPPORT_MS: u64 = 15 * 60_000;

pub(super) async fn issue_token(desk: &Desk<'_>) -> Result<Answer, Refusal> {
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

pub(super) async fn list_tokens(desk: &Desk<'_>) -> Result<Answer, Refusal> {
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

pub(super) async fn revoke_token(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
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

/// `POST /tenants/{tenant}/impersonate`: a ticket; what its holder may do, and why, stands in the tenant's trail.
pub(super) async fn impersonate(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let asked: Impersonate = desk.read()?;
    let scopes: Vec<&str> = asked.scopes.iter().map(Scope::as_str).collect();
    let secret = SecretText::make(TICKET_PREFIX, &entropy()).ok_or(Refusal::UNAVAILABLE)?;
    let expires_at = desk.now.plus(TICKET_MS);
    let mut change = desk.change();
    change.run(sql!(
        "INSERT INTO tickets (hash, tenant, actor, scopes, expires_at) VALUES (?, ?, ?, ?, ?)",
        secret.hash(),
        record.id,
        desk.actor.name(),
        json!(scopes).to_string(),
        expires_at.get()
    ));
    change.note(&record.id, "support.ticket", Some(&asked.reason), &json!({ "scopes": { "after": scopes } })).await?;
    change.commit().await?;
    Ok(Answer::json(
        201,
        &json!({ "ticket": secret.into_text(), "expires_at": expires_at, "redeem": "/_gate/v1/tickets" }),
    ))
}

/// `POST /_gate/v1/tickets`: a ticket for an API key, once.
pub(crate) async fn redeem(call: &Call, config: &std::rc::Rc<Config>) -> Response {
    match redeemed(call, config).await {
        Ok(answer) => answer.respond(),
        Err(refusal) => refusal.respond(call),
    }
}

async fn redeemed(call: &Call, config: &std::rc::Rc<Config>) -> Result<Answer, Refusal> {
    if config.control.is_undefined() {
        return Err(Refusal::UNAUTHENTICATED);
    }
    let asked: Ticket = small_body(call).await?;
    let ticket = SecretText::parse(&asked.ticket, TICKET_PREFIX).filter(SecretText::is_whole);
    let ticket = ticket.ok_or(Refusal::UNAUTHENTICATED)?;
    let store = Store::new(&config.control);
    // INVARIANT (once): of all who redeem it, one finds it unused.
    let statement = sql!(
        "UPDATE tickets SET used_at = ?1 WHERE hash = ?2 AND used_at IS NULL AND expires_at > ?1 RETURNING tenant, actor, scopes",
        call.now.get(),
        ticket.hash()
    );
    let row = store.row(statement).await?.ok_or(Refusal::UNAUTHENTICATED)?;
    let desk = Desk::of_clock(config, call.context.clone(), call.now);
    let desk = Desk { actor: Actor::support(text(&row, "actor"), call), ..desk };
    let record = desk.tenant(text(&row, "tenant")).await?;
    let scopes = document(&row, "scopes");
    let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(Scope::parse).collect();
    let asked = Issue {
        name: Some(format!("support: {}", text(&row, "actor"))),
        scopes,
        environment: config.environment,
        expires_at: Some(call.now.plus(SUPPORT_MS)),
    };
    for _ in 0..super::TRIES {
        let mut change: Change<'_> = desk.change();
        let (key, value) = make(&desk, &mut change, &record.id, &asked).await?;
        change.note(&record.id, "support.enter", None, &json!({ "api_key": { "after": at(&value, "/id") } })).await?;
        match change.commit().await.map_err(Refusal::from) {
            Ok(()) => {
                publish::after(&desk).await;
                return Ok(Answer::json(201, &json!({ "key": key, "record": shown(&value) })));
            }
            Err(refusal) if refusal.is_busy() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::BUSY)
}

/// Tickets that nobody can redeem any more.
pub(super) fn forgotten(now_ms: u64) -> Value {
    sql!("DELETE FROM tickets WHERE expires_at < ?", now_ms.saturating_sub(TICKET_MS))
}

//! Tickets: support acts as a tenant for a limited time, recorded in the tenant's audit trail.
//!
//! An actor issues a ticket; its holder redeems it once for an API key that expires after
//! [`SUPPORT_MS`] milliseconds.

use serde_json::{Value, json};
use web_sys::Response;

use super::actor::{ADMIN_SCOPE, Actor, token_line};
use super::error::AdminError;
use super::keys::{entropy, make, once_shown, shown};
use super::publish;
use super::request::{AdminRequest, AdminResponse, small_body};
use super::transaction::Transaction;
use crate::control::{Impersonate, Issue, Ticket};
use crate::model::bounds::{SUPPORT_MS, TICKET_MS};
use crate::model::{Scope, SecretText};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::runtime::clock;
use crate::worker::runtime::doors::{self, Door};
use crate::worker::sources::d1::{Store, at, document, sql, text};

/// Prefix of a ticket.
const TICKET_PREFIX: &str = "tg_tick_";

/// `POST /tenants/{tenant}/impersonate`: issues a ticket. The tenant's audit trail records its
/// scopes and the reason.
pub(super) async fn impersonate(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let asked: Impersonate = request.read()?;
    // Support acts as a user of the tenant, never as its admin.
    if asked.scopes.iter().any(|scope| scope.as_str() == ADMIN_SCOPE) {
        return Err(AdminError::FORBIDDEN.with(json!({ "scope": ADMIN_SCOPE })));
    }
    let scopes: Vec<&str> = asked.scopes.iter().map(Scope::as_str).collect();
    let secret = SecretText::make(TICKET_PREFIX, &entropy()).ok_or(AdminError::UNAVAILABLE)?;
    let expires_at = request.now.plus(TICKET_MS);
    let mut change = request.transaction();
    change.run(sql!(
        "INSERT INTO tickets (hash, tenant, actor, scopes, expires_at) VALUES (?, ?, ?, ?, ?)",
        secret.hash(),
        record.id,
        request.actor.name(),
        json!(scopes).to_string(),
        expires_at.get()
    ));
    change.audit(&record.id, "support.ticket", Some(&asked.reason), &json!({ "scopes": { "after": scopes } })).await?;
    let body = json!({ "ticket": null, "expires_at": expires_at, "redeem": "/_gate/v1/tickets" });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    Ok(once_shown(body, "ticket", secret.into_text()))
}

/// `POST /_gate/v1/tickets`: redeems a ticket for an API key, once.
pub(crate) async fn redeem(call: &Call, config: &std::rc::Rc<Config>) -> Response {
    match redeemed(call, config).await {
        Ok(answer) => answer.respond(),
        Err(refusal) => refusal.respond(call),
    }
}

async fn redeemed(call: &Call, config: &std::rc::Rc<Config>) -> Result<AdminResponse, AdminError> {
    if config.control.is_undefined() {
        return Err(AdminError::UNAUTHENTICATED);
    }
    let asked: Ticket = small_body(call).await?;
    let ticket = SecretText::parse(&asked.ticket, TICKET_PREFIX).filter(SecretText::is_whole);
    let ticket = ticket.ok_or(AdminError::UNAUTHENTICATED)?;
    let store = Store::new(&config.control);
    let now = clock::now();
    let visit = doors::enter(Door::Tickets, &call.request, &ticket.hash()).ok_or(AdminError::TOO_FAST)?;
    // An unknown ticket costs one read and never a write, so strangers cannot cause writes.
    let known =
        sql!("SELECT 1 FROM tickets WHERE hash = ? AND used_at IS NULL AND expires_at > ?", ticket.hash(), now.get());
    let known = store.row(known).await?;
    visit.judged(&ticket.hash(), known.is_some());
    known.ok_or(AdminError::UNAUTHENTICATED)?;
    // INVARIANT (once): of several concurrent redemptions, one finds the ticket unused.
    let statement = sql!(
        "UPDATE tickets SET used_at = ?1 WHERE hash = ?2 AND used_at IS NULL AND expires_at > ?1 RETURNING tenant, actor, scopes",
        now.get(),
        ticket.hash()
    );
    let row = store.row(statement).await?.ok_or(AdminError::UNAUTHENTICATED)?;
    // INVARIANT (children end with their makers): a ticket is invalid once its issuer's token has
    // ended.
    if let Some(maker) = text(&row, "actor").strip_prefix("token ")
        && !token_line(&store, maker).await?.works
    {
        return Err(AdminError::UNAUTHENTICATED);
    }
    let request = AdminRequest::of_clock(config, call.context.clone(), now);
    let request = AdminRequest { actor: Actor::support(text(&row, "actor"), call), ..request };
    let record = request.tenant(text(&row, "tenant")).await?;
    let scopes = document(&row, "scopes");
    let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(Scope::parse).collect();
    let asked = Issue {
        name: Some(format!("support: {}", text(&row, "actor"))),
        scopes,
        environment: config.environment,
        expires_at: Some(now.plus(SUPPORT_MS)),
    };
    for _ in 0..super::transaction::TRIES {
        let mut change: Transaction<'_> = request.transaction();
        let (key, value) = make(&request, &mut change, &record.id, &asked).await?;
        change.audit(&record.id, "support.enter", None, &json!({ "api_key": { "after": at(&value, "/id") } })).await?;
        match change.commit().await.map_err(AdminError::from) {
            Ok(()) => {
                publish::after(&request).await;
                return Ok(AdminResponse::json(201, &json!({ "key": key, "record": shown(&value) })));
            }
            Err(refusal) if refusal.is_busy() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Err(AdminError::BUSY)
}

/// The statement that deletes tickets which expired long ago.
pub(super) fn forgotten(now_ms: u64) -> Value {
    sql!("DELETE FROM tickets WHERE expires_at < ?", now_ms.saturating_sub(TICKET_MS))
}

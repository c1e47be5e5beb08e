//! Who asks the admin API, and what it may do.

use std::rc::Rc;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::store::{Store, document, sql, text};
use crate::control::{Operation, Permission};
use crate::gate::Caller;
use crate::model::{Scope, SecretText, TenantId};
use crate::worker::call::Call;
use crate::worker::clock::{self, Patience};
use crate::worker::config::Config;
use crate::worker::isolate::Had;
use crate::worker::{edge, feed, isolate};

/// How an admin token begins.
pub(super) const TOKEN_PREFIX: &str = "tg_admn_";
/// What a tenant's own admin must be allowed by its token.
pub(super) const ADMIN_SCOPE: &str = "tenantgate:admin";

/// Who asks.
#[derive(Debug)]
pub(crate) struct Actor {
    kind: &'static str,
    id: String,
    /// What its token allows; `None`: everything.
    permissions: Option<Vec<String>>,
    /// The tenant whose admin it is.
    pub(super) tenant: Option<TenantId>,
    /// What its token allows, where it is a tenant's.
    scopes: Vec<Scope>,
    /// From where.
    pub(super) from: Value,
}

impl Actor {
    /// The gate itself, where it goes on with what somebody else began.
    pub(crate) fn gate() -> Self {
        Self::of_kind("gate", String::new(), json!({}))
    }

    /// One that may do everything.
    const fn of_kind(kind: &'static str, id: String, from: Value) -> Self {
        Self { kind, id, permissions: None, tenant: None, scopes: Vec::new(), from }
    }

    /// Whoever redeems a ticket that somebody was given.
    pub(super) fn support(given_to: &str, call: &Call) -> Self {
        Self::of_kind("support", given_to.to_owned(), origin(call))
    }

    /// Who sent a request.
    pub(super) async fn of(call: &Call, store: &Store, config: &Rc<Config>) -> Result<Self, Refusal> {
        let from = origin(call);
        let Some(shown) = call.bearer() else { return Err(Refusal::UNAUTHENTICATED) };
        if config.is_operator(Some(shown)) {
            return Ok(Self::of_kind("operator", String::new(), from));
        }
        if shown.starts_with(TOKEN_PREFIX) {
            return Self::of_token(shown, store, from).await;
        }
        let patience = Patience::new();
        feed::catch_up_if_due(config, &call.context, patience).await;
        loop {
            match isolate::with_gate(|gate| gate.caller(shown, clock::now())) {
                Caller::Known(bearer) => {
                    let allowed = bearer.credential.scopes.iter().any(|scope| scope.as_str() == ADMIN_SCOPE);
                    if !allowed {
                        return Err(Refusal::FORBIDDEN);
                    }
                    let id = bearer.credential.subject.clone().unwrap_or_default();
                    let scopes = bearer.credential.scopes.clone();
                    return Ok(Self { tenant: Some(bearer.tenant), scopes, ..Self::of_kind("tenant", id, from) });
                }
                Caller::Refused => return Err(Refusal::UNAUTHENTICATED),
                Caller::Fetch(need) => {
                    if isolate::fetch(need, config, &call.context, patience).await != Had::Yes {
                        return Err(Refusal::UNAVAILABLE);
                    }
                }
            }
        }
    }

    async fn of_token(shown: &str, store: &Store, from: Value) -> Result<Self, Refusal> {
        let Some(secret) = SecretText::parse(shown, TOKEN_PREFIX).filter(SecretText::is_whole) else {
            return Err(Refusal::UNAUTHENTICATED);
        };
        let statement = sql!("SELECT * FROM admin_tokens WHERE id = ?", secret.id().as_str());
        let Some(row) = store.row(statement).await? else { return Err(Refusal::UNAUTHENTICATED) };
        let now = clock::now();
        let ended = |column: &str| row.get(column).and_then(Value::as_u64).is_some_and(|at| at <= now.get());
        if !secret.has_hash(text(&row, "hash")) || ended("expires_at") || ended("revoked_at") {
            return Err(Refusal::UNAUTHENTICATED);
        }
        let permissions = document(&row, "permissions");
        let permissions = permissions.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from);
        let permissions = Some(permissions.collect());
        Ok(Self { permissions, ..Self::of_kind("token", secret.id().to_string(), from) })
    }

    /// Whether it may ask for an operation at all; whose tenant it is about is judged there.
    pub(super) fn may(&self, operation: &Operation) -> bool {
        if self.tenant.is_some() {
            return operation.tenant_admin;
        }
        self.permits(operation.permission)
    }

    /// Whether it may do everything: the operator.
    pub(super) const fn is_operator(&self) -> bool {
        self.permissions.is_none() && self.tenant.is_none()
    }

    /// INVARIANT (no more than one has): whether it may give these scopes to a key. A tenant's admin gives what it has, and nobody
    /// the power to administrate.
    pub(super) fn may_give<'s>(&self, mut scopes: impl Iterator<Item = &'s Scope>) -> bool {
        self.tenant.is_none() || scopes.all(|scope| scope.as_str() != ADMIN_SCOPE && self.scopes.contains(scope))
    }

    pub(super) fn permits(&self, permission: Permission) -> bool {
        self.permissions.as_ref().is_none_or(|own| own.iter().any(|own| own == permission.as_str()))
    }

    /// As it stands in the audit trail.
    pub(super) fn said(&self) -> Value {
        json!({ "kind": self.kind, "id": self.id, "tenant": self.tenant.as_ref().map(TenantId::as_str) })
    }

    /// Whose idempotency keys are its own.
    pub(super) fn name(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("{} {tenant} {}", self.kind, self.id),
            None => format!("{} {}", self.kind, self.id),
        }
    }
}

/// From where a request comes.
fn origin(call: &Call) -> Value {
    const MAX_CHARS: usize = 200;
    let shorten = |text: Option<String>| text.map(|text| text.chars().take(MAX_CHARS).collect::<String>());
    json!({
        "ip": shorten(edge::header(&call.request, "cf-connecting-ip")),
        "user_agent": shorten(edge::header(&call.request, "user-agent")),
    })
}

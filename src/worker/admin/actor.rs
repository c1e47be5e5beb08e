//! The actor of an admin request, and its permissions.
//!
//! There are three kinds of callers: the operator, who may do everything; an admin token, which has
//! permissions; and a tenant admin, whose credential has the scope [`ADMIN_SCOPE`] and whose
//! operations are confined to its tenant and the tenants below it. The gate itself and support are
//! actors too.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::error::AdminError;
use crate::control::{GUARDED_MEMBERS, Operation, Permission};
use crate::gate::{Bearer, Gate, Progress};
use crate::ledger::WaitFailure;
use crate::model::bounds::MAX_TOKEN_GENERATIONS;
use crate::model::{Scope, SecretText, TenantId, UnixMillis};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::doors::{self, Door};
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{Row, Store, document, sql, text};
use crate::worker::sources::drive::{GateQuestion, drive};

/// Prefix of an admin token.
pub(super) const TOKEN_PREFIX: &str = "tg_admn_";
/// The scope that makes a credential that of a tenant admin.
pub(super) const ADMIN_SCOPE: &str = "tenantgate:admin";

/// The actor of an admin request.
#[derive(Debug)]
pub(crate) struct Actor {
    kind: &'static str,
    id: String,
    /// The permissions of its admin token. Actors without an admin token have `None`.
    permissions: Option<Vec<String>>,
    /// Its admin token, if it has one.
    pub(super) token: Option<AdminTokenRef>,
    /// The issuer of a tenant admin's token, by its name in the catalog.
    issuer: Option<String>,
    /// The tenant of a tenant admin.
    pub(super) tenant: Option<TenantId>,
    /// The scopes of a tenant admin's credential.
    scopes: Vec<Scope>,
    /// Address and user agent of the request, for the audit trail.
    pub(super) from: Value,
}

/// An admin token, and its place in the line of tokens that issued each other.
#[derive(Debug, Clone)]
pub(super) struct AdminTokenRef {
    pub(super) id: String,
    /// The earliest end of the token and of the tokens above it in the line.
    pub(super) ends_at: Option<UnixMillis>,
    /// Number of tokens from the operator to this one, itself included.
    pub(super) generation: usize,
}

/// Selects a token and the tokens that issued it, nearest first.
const LINE: &str = "WITH RECURSIVE line (maker, generation) AS (SELECT ?1, 0 UNION ALL \
     SELECT admin_tokens.maker, generation + 1 FROM line JOIN admin_tokens ON id = line.maker WHERE generation < ?2) \
     SELECT admin_tokens.* FROM line JOIN admin_tokens ON id = line.maker ORDER BY generation";

/// Asks the gate to verify the credential of a tenant admin.
struct TokenQuestion<'t> {
    token: &'t str,
}

impl GateQuestion for TokenQuestion<'_> {
    type Answer = Option<Bearer>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Option<Bearer>> {
        gate.bearer(self.token, now)
    }

    // An invalid token is no sign of a new tenant, so the gate does not look for one.
    fn is_unknown(_: &Option<Bearer>) -> bool {
        false
    }
}

impl Actor {
    /// The gate itself, for changes that no request is waiting for.
    pub(crate) fn gate() -> Self {
        Self::of_kind("gate", String::new(), json!({}))
    }

    /// An actor without any restriction.
    const fn of_kind(kind: &'static str, id: String, from: Value) -> Self {
        Self { kind, id, permissions: None, token: None, issuer: None, tenant: None, scopes: Vec::new(), from }
    }

    /// The holder of a ticket; `given_to` is the actor that the ticket was issued to.
    pub(super) fn support(given_to: &str, call: &Call) -> Self {
        Self::of_kind("support", given_to.to_owned(), origin(call))
    }

    /// Authenticates the sender of a request.
    pub(super) async fn of(call: &Call, store: &Store, config: &Rc<Config>) -> Result<Self, AdminError> {
        let from = origin(call);
        let Some(shown) = call.bearer() else { return Err(AdminError::UNAUTHENTICATED) };
        if config.is_operator(Some(shown)) {
            return Ok(Self::of_kind("operator", String::new(), from));
        }
        if shown.starts_with(TOKEN_PREFIX) {
            return Self::of_token(shown, store, call, from).await;
        }
        let question = TokenQuestion { token: shown };
        let bearer =
            drive(question, config, &call.context, Patience::new()).await.map_err(|_| AdminError::UNAVAILABLE)?;
        let bearer = bearer.ok_or(AdminError::UNAUTHENTICATED)?;
        let credential = &bearer.credential;
        if !credential.scopes.iter().any(|scope| scope.as_str() == ADMIN_SCOPE) {
            return Err(AdminError::FORBIDDEN);
        }
        Ok(Self {
            issuer: credential.issuer.as_ref().map(ToString::to_string),
            scopes: credential.scopes.clone(),
            tenant: Some(bearer.tenant),
            ..Self::of_kind("tenant", credential.subject.clone().unwrap_or_default(), from)
        })
    }

    async fn of_token(shown: &str, store: &Store, call: &Call, from: Value) -> Result<Self, AdminError> {
        let Some(secret) = SecretText::parse(shown, TOKEN_PREFIX).filter(SecretText::is_whole) else {
            return Err(AdminError::UNAUTHENTICATED);
        };
        let hash = secret.hash();
        let visit = doors::enter(Door::AdminTokens, &call.request, &hash).ok_or(AdminError::TOO_FAST)?;
        let line = token_line(store, secret.id().as_str()).await?;
        let good = line.rows.first().filter(|row| line.works && secret.has_hash(text(row, "hash")));
        visit.judged(&hash, good.is_some());
        let row = good.ok_or(AdminError::UNAUTHENTICATED)?;
        let permissions = document(row, "permissions");
        let permissions = permissions.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from);
        let permissions = Some(permissions.collect());
        let id = secret.id().to_string();
        let token = AdminTokenRef { id: id.clone(), ends_at: line.ends_at, generation: line.rows.len() };
        Ok(Self { permissions, token: Some(token), ..Self::of_kind("token", id, from) })
    }

    /// Whether the actor may use an operation at all. The operation itself checks the tenant.
    pub(super) fn may(&self, operation: &Operation) -> bool {
        if self.tenant.is_some() {
            return operation.tenant_admin;
        }
        operation.permissions.iter().all(|permission| self.permits(*permission))
    }

    /// Whether the actor may do everything, as the operator does.
    pub(super) const fn is_operator(&self) -> bool {
        self.permissions.is_none() && self.tenant.is_none()
    }

    /// Whether the actor may give these scopes to an API key. INVARIANT (no more than one has): a
    /// tenant admin gives only scopes that it has, and never [`ADMIN_SCOPE`].
    pub(super) fn may_give<'s>(&self, mut scopes: impl Iterator<Item = &'s Scope>) -> bool {
        self.tenant.is_none() || scopes.all(|scope| scope.as_str() != ADMIN_SCOPE && self.scopes.contains(scope))
    }

    /// Checks whether the actor may set these members of a tenant's record.
    ///
    /// INVARIANT (no more than one has): a guarded member needs its own permission.
    pub(super) fn may_set(&self, members: &Map<String, Value>) -> Result<(), AdminError> {
        let more = GUARDED_MEMBERS.iter().find(|(name, needed)| members.contains_key(*name) && !self.permits(*needed));
        more.map_or(Ok(()), |(name, needed)| {
            Err(AdminError::FORBIDDEN.with(json!({ "member": name, "permission": needed })))
        })
    }

    pub(super) fn permits(&self, permission: Permission) -> bool {
        self.permissions.as_ref().is_none_or(|own| own.iter().any(|own| own == permission.as_str()))
    }

    /// The actor as the audit trail records it.
    pub(super) fn said(&self) -> Value {
        let mut said =
            json!({ "kind": self.kind, "id": self.id, "tenant": self.tenant.as_ref().map(TenantId::as_str) });
        // The issuer chooses `id` freely, so only both together identify the actor.
        if let (Some(issuer), Value::Object(members)) = (&self.issuer, &mut said) {
            members.insert(String::from("issuer"), issuer.as_str().into());
        }
        said
    }

    /// The namespace of the actor's idempotency keys.
    pub(super) fn name(&self) -> String {
        match &self.tenant {
            Some(tenant) => {
                format!("{} {tenant} {} {}", self.kind, self.issuer.as_deref().unwrap_or_default(), self.id)
            }
            None => format!("{} {}", self.kind, self.id),
        }
    }
}

/// A token and the tokens that issued it.
pub(super) struct TokenLine {
    /// Nearest first.
    pub(super) rows: Vec<Row>,
    /// Whether the line is complete and none of its tokens has ended.
    pub(super) works: bool,
    /// The earliest end of any of them.
    ends_at: Option<UnixMillis>,
}

/// Reads the line of a token. INVARIANT (children end with their makers): a token is valid only
/// while all tokens above it in the line are.
pub(super) async fn token_line(store: &Store, id: &str) -> Result<TokenLine, AdminError> {
    let rows = store.rows(sql!(LINE, id, MAX_TOKEN_GENERATIONS)).await?;
    let now = clock::now();
    let time = |row: &Row, column: &str| row.get(column).and_then(Value::as_u64).map(UnixMillis::new);
    let ended =
        |row: &Row| ["expires_at", "revoked_at"].iter().filter_map(|column| time(row, column)).any(|at| at <= now);
    // The operator issued the last token of a complete line. If the row of a maker is missing, the
    // tokens below it are invalid.
    let whole = rows.last().is_some_and(|row| row.get("maker").is_none_or(Value::is_null));
    let ends_at = rows.iter().filter_map(|row| time(row, "expires_at")).min();
    Ok(TokenLine { works: whole && !rows.iter().any(ended), ends_at, rows })
}

/// Address and user agent of a request, shortened.
fn origin(call: &Call) -> Value {
    const MAX_CHARS: usize = 200;
    let shorten = |text: Option<String>| text.map(|text| text.chars().take(MAX_CHARS).collect::<String>());
    json!({
        "ip": shorten(edge::address(&call.request)),
        "user_agent": shorten(edge::header(&call.request, "user-agent")),
    })
}

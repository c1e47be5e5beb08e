//! Who asks the admin API, and what it may do.

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
    /// Its token, where it has one that was issued here.
    pub(super) token: Option<AdminTokenRef>,
    /// Who issued its token, by name in the catalog, where it is a tenant's admin.
    issuer: Option<String>,
    /// The tenant whose admin it is.
    pub(super) tenant: Option<TenantId>,
    /// What its token allows, where it is a tenant's.
    scopes: Vec<Scope>,
    /// From where.
    pub(super) from: Value,
}

/// An admin token, and where it stands among those that made each other.
#[derive(Debug, Clone)]
pub(super) struct AdminTokenRef {
    pub(super) id: String,
    /// When it ends, or one that it was made by.
    pub(super) ends_at: Option<UnixMillis>,
    /// How many there are from the operator to it.
    pub(super) generation: usize,
}

/// A token, and those it was made by, nearest first.
const LINE: &str = "WITH RECURSIVE line (maker, generation) AS (SELECT ?1, 0 UNION ALL \
     SELECT admin_tokens.maker, generation + 1 FROM line JOIN admin_tokens ON id = line.maker WHERE generation < ?2) \
     SELECT admin_tokens.* FROM line JOIN admin_tokens ON id = line.maker ORDER BY generation";

/// Does the token of a tenant's admin hold?
struct TokenQuestion<'t> {
    token: &'t str,
}

impl GateQuestion for TokenQuestion<'_> {
    type Answer = Option<Bearer>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Option<Bearer>> {
        gate.bearer(self.token, now)
    }

    // An invalid token is no reason to look for new tenants.
    fn is_unknown(_: &Option<Bearer>) -> bool {
        false
    }
}

impl Actor {
    /// The gate itself, where it goes on with what somebody else began.
    pub(crate) fn gate() -> Self {
        Self::of_kind("gate", String::new(), json!({}))
    }

    /// One that may do everything.
    const fn of_kind(kind: &'static str, id: String, from: Value) -> Self {
        Self { kind, id, permissions: None, token: None, issuer: None, tenant: None, scopes: Vec::new(), from }
    }

    /// Whoever redeems a ticket that somebody was given.
    pub(super) fn support(given_to: &str, call: &Call) -> Self {
        Self::of_kind("support", given_to.to_owned(), origin(call))
    }

    /// Who sent a request.
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

    /// Whether it may ask for an operation at all; whose tenant it is about is judged there.
    pub(super) fn may(&self, operation: &Operation) -> bool {
        if self.tenant.is_some() {
            return operation.tenant_admin;
        }
        operation.permissions.iter().all(|permission| self.permits(*permission))
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

    /// INVARIANT (no more than one has): whether it may set these members of a tenant's record.
    pub(super) fn may_set(&self, members: &Map<String, Value>) -> Result<(), AdminError> {
        let more = GUARDED_MEMBERS.iter().find(|(name, needed)| members.contains_key(*name) && !self.permits(*needed));
        more.map_or(Ok(()), |(name, needed)| {
            Err(AdminError::FORBIDDEN.with(json!({ "member": name, "permission": needed })))
        })
    }

    pub(super) fn permits(&self, permission: Permission) -> bool {
        self.permissions.as_ref().is_none_or(|own| own.iter().any(|own| own == permission.as_str()))
    }

    /// As it stands in the audit trail.
    pub(super) fn said(&self) -> Value {
        let mut said =
            json!({ "kind": self.kind, "id": self.id, "tenant": self.tenant.as_ref().map(TenantId::as_str) });
        // An issuer says whatever it likes of `id`: who it was stands beside it.
        if let (Some(issuer), Value::Object(members)) = (&self.issuer, &mut said) {
            members.insert(String::from("issuer"), issuer.as_str().into());
        }
        said
    }

    /// Whose idempotency keys are its own.
    pub(super) fn name(&self) -> String {
        match &self.tenant {
            Some(tenant) => {
                format!("{} {tenant} {} {}", self.kind, self.issuer.as_deref().unwrap_or_default(), self.id)
            }
            None => format!("{} {}", self.kind, self.id),
        }
    }
}

/// A token and those it was made by.
pub(super) struct TokenLine {
    /// Nearest first.
    pub(super) rows: Vec<Row>,
    /// Whether none of them has ended.
    pub(super) works: bool,
    /// When the first of them ends.
    ends_at: Option<UnixMillis>,
}

/// INVARIANT (children end with their makers): a token works as long as all that it was made by do.
pub(super) async fn token_line(store: &Store, id: &str) -> Result<TokenLine, AdminError> {
    let rows = store.rows(sql!(LINE, id, MAX_TOKEN_GENERATIONS)).await?;
    let now = clock::now();
    let time = |row: &Row, column: &str| row.get(column).and_then(Value::as_u64).map(UnixMillis::new);
    let ended =
        |row: &Row| ["expires_at", "revoked_at"].iter().filter_map(|column| time(row, column)).any(|at| at <= now);
    // The operator made the last of the line: where a maker's row is missing, the tokens it made are invalid.
    let whole = rows.last().is_some_and(|row| row.get("maker").is_none_or(Value::is_null));
    let ends_at = rows.iter().filter_map(|row| time(row, "expires_at")).min();
    Ok(TokenLine { works: whole && !rows.iter().any(ended), ends_at, rows })
}

/// From where a request comes.
fn origin(call: &Call) -> Value {
    const MAX_CHARS: usize = 200;
    let shorten = |text: Option<String>| text.map(|text| text.chars().take(MAX_CHARS).collect::<String>());
    json!({
        "ip": shorten(edge::address(&call.request)),
        "user_agent": shorten(edge::header(&call.request, "user-agent")),
    })
}

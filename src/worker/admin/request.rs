//! An admin request with its context, and the response to it.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};
use web_sys::Response;

use super::actor::Actor;
use super::error::AdminError;
use super::idempotency::RequestKey;
use super::transaction::Transaction;
use crate::control::{Operation, OperationId};
use crate::ledger::{LedgerRequest, LedgerResponse};
use crate::model::bounds::{MAX_BODY_BYTES, MAX_CATALOG_BYTES, MAX_CATALOG_PART_BYTES, MAX_PAGE, MAX_RECORD_BYTES};
use crate::model::{Problems, Read, Reader, TenantId, UnixMillis};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply;
use crate::worker::ledger::client;
use crate::worker::runtime::clock;
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{Store, at, sql};

/// One admin request.
pub(super) struct AdminRequest<'a> {
    pub(super) config: &'a Rc<Config>,
    pub(super) context: edge::ExecutionContext,
    /// The fault that a test asks for.
    pub(super) fault: Option<String>,
    pub(super) store: Store,
    pub(super) actor: Actor,
    /// The time of the change, taken after the body was read.
    pub(super) now: UnixMillis,
    pub(super) body: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) once: Option<RequestKey>,
    /// The version that `If-Match` names.
    pub(super) if_match: Option<u64>,
}

/// A successful response.
pub(super) struct AdminResponse {
    status: u16,
    kind: &'static str,
    header: String,
    body: String,
}

/// Reads a body, or reports all its problems.
pub(super) fn read<T: Read>(body: &str) -> Result<T, AdminError> {
    let read = Reader::run(|r| {
        // An empty body means an object with all defaults.
        let value = r.json(if body.trim().is_empty() { "{}" } else { body }, usize::MAX)?;
        T::read(&value, r)
    });
    read.map_err(AdminError::Invalid)
}

/// Reads the body of an endpoint that needs no token.
pub(super) async fn small_body<T: Read>(call: &Call) -> Result<T, AdminError> {
    read(&reply::body(call, MAX_BODY_BYTES).await?)
}

/// Reads the body of an admin request, up to the maximum size for its operation.
pub(super) async fn body(call: &Call, operation: &Operation) -> Result<String, AdminError> {
    if call.method() == "GET" {
        return Ok(String::new());
    }
    let max = match operation.route {
        OperationId::PutCatalog | OperationId::CompareCatalog | OperationId::Import => {
            MAX_CATALOG_BYTES.saturating_mul(2)
        }
        OperationId::ChangeTenant => MAX_RECORD_BYTES,
        _ => MAX_BODY_BYTES,
    };
    Ok(reply::body(call, max).await?)
}

impl<'a> AdminRequest<'a> {
    /// Refuses an end in the past, since such a credential would never be valid.
    pub(super) fn require_future(&self, path: &str, end: Option<UnixMillis>) -> Result<(), AdminError> {
        match end.filter(|end| *end <= self.now) {
            Some(end) => Err(AdminError::problem(path, end.to_string(), "a time in the future")),
            None => Ok(()),
        }
    }

    pub(super) fn new(
        call: &Call,
        config: &'a Rc<Config>,
        store: Store,
        actor: Actor,
        body: String,
        once: Option<RequestKey>,
    ) -> Result<Self, AdminError> {
        let query = form_urlencoded::parse(call.query().as_bytes()).into_owned().collect();
        let if_match = match edge::header(&call.request, "if-match") {
            None => None,
            Some(text) if text == "*" => None,
            // A weak validator never matches (RFC 9110 §13.1.1).
            Some(text) => Some(
                text.strip_prefix('"')
                    .and_then(|text| text.strip_suffix('"'))
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| AdminError::problem("If-Match", text.as_str(), "the `ETag` of a response"))?,
            ),
        };
        let (context, fault) = (call.context.clone(), call.fault());
        Ok(Self { config, context, fault, store, actor, now: clock::now(), body, query, once, if_match })
    }

    /// A request of the gate itself, such as that of the scheduled run.
    pub(super) fn of_clock(config: &'a Rc<Config>, context: edge::ExecutionContext, now: UnixMillis) -> Self {
        let (store, actor) = (Store::new(&config.control), Actor::gate());
        let (body, query) = (String::new(), BTreeMap::new());
        Self { config, context, fault: None, store, actor, now, body, query, once: None, if_match: None }
    }

    /// Reads the body.
    pub(super) fn read<T: Read>(&self) -> Result<T, AdminError> {
        read(&self.body)
    }

    /// Sends a ledger request to a family's ledger.
    pub(super) async fn ask_ledger(
        &self,
        root: &str,
        request: &LedgerRequest<'_>,
    ) -> Result<LedgerResponse, AdminError> {
        let root = TenantId::parse(root).ok_or(AdminError::UNAVAILABLE)?;
        let asked = client::ask(&root, request, self.config, &self.context);
        client::outcome(asked).await.map_err(|_| AdminError::UNAVAILABLE)
    }

    /// Begins a transaction.
    pub(super) fn transaction(&self) -> Transaction<'_> {
        Transaction::new(&self.store, &self.actor, self.now)
    }

    /// Refuses the request if `If-Match` names another version.
    pub(super) fn expect(&self, version: u64) -> Result<(), AdminError> {
        match self.if_match {
            Some(expected) if expected != version => Err(AdminError::STALE.with(json!({ "version": version }))),
            _ => Ok(()),
        }
    }

    /// Stores the response under the request's idempotency key, as a part of the change.
    pub(super) fn remember(&self, change: &mut Transaction<'_>, status: u16, body: &str) {
        let Some(once) = &self.once else { return };
        // D1 stores values of at most 2 MB. A repetition of a request with a larger response learns
        // only that it was done.
        let body = if body.len() > MAX_CATALOG_PART_BYTES { r#"{"done":true}"# } else { body };
        change.run(sql!(
            "INSERT INTO answers (actor, key, print, status, body, at) VALUES (?, ?, ?, ?, ?, ?)",
            self.actor.name(),
            once.key(),
            once.fingerprint(),
            status,
            body,
            self.now.get()
        ));
    }

    /// Reads the page parameters `limit` and `cursor` of the query. `known` names its other
    /// parameters.
    pub(super) fn page(&self, known: &[&str]) -> Result<(u64, String), AdminError> {
        self.only(&[known, &["limit", "cursor"]].concat())?;
        let limit = match self.query.get("limit") {
            None => 100,
            Some(text) => match text.parse() {
                Ok(limit) if (1..=MAX_PAGE).contains(&limit) => limit,
                _ => return Err(AdminError::problem("limit", text.as_str(), "1 to 1000")),
            },
        };
        Ok((limit, self.query.get("cursor").cloned().unwrap_or_default()))
    }

    /// Reads a query parameter that is `true` or `false` (default).
    pub(super) fn flag(&self, name: &str) -> Result<bool, AdminError> {
        match self.query.get(name).map_or("false", String::as_str) {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(AdminError::problem(name, other, "`true` or `false`")),
        }
    }

    /// Refuses unknown query parameters.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), AdminError> {
        match self.query.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                Err(AdminError::problem(name, "an unknown parameter", &format!("one of: {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }
}

impl AdminResponse {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string())
    }

    pub(super) fn text(status: u16, body: String) -> Self {
        Self { status, kind: "application/json", header: String::new(), body }
    }

    /// A response with another content type than JSON.
    pub(super) const fn other(kind: &'static str, header: String, body: String) -> Self {
        Self { status: 200, kind, header, body }
    }

    /// Sets the response's header, as `name: value`.
    pub(super) fn with_header(mut self, header: String) -> Self {
        self.header = header;
        self
    }

    /// Sets the `ETag` to a version (RFC 9110 §8.8.3).
    pub(super) fn with_version(self, version: u64) -> Self {
        self.with_header(format!("etag: \"{version}\""))
    }

    pub(super) fn respond(self) -> Response {
        reply::raw(self.status, self.kind, &self.header, &self.body)
    }
}

/// A page of a list: at most `limit` entries, and the cursor of the next page. `cursor` is the JSON
/// pointer of the member that the list is sorted by. `entries` has one more entry than the page if
/// another page follows.
pub(super) fn paged(limit: u64, mut entries: Vec<Value>, cursor: &str) -> Value {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| match at(last, cursor) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    json!({ "items": entries, "next_cursor": next })
}

/// Turns the problems of a document into an [`AdminError`].
pub(super) fn checked<T>(read: Result<T, Problems>) -> Result<T, AdminError> {
    read.map_err(AdminError::Invalid)
}

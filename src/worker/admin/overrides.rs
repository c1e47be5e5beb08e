//! Overrides of tenants, and the list of overrides, contracts and trials that end soon.

use serde_json::{Value, json};

use super::error::AdminError;
use super::page::{ListPage, ListQuery};
use super::request::{AdminRequest, AdminResponse};
use super::tenants::{DAY_MS, edit};
use crate::control::merge;
use crate::model::{Override, UnixMillis};
use crate::worker::sources::d1::{at, document, text};

/// Sets an override. It replaces the one for the same feature or limit with the same start.
pub(super) async fn put(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let _: Override = request.read()?;
    let new: Value = request.read()?;
    let reason = new.get("reason").and_then(Value::as_str).map(String::from);
    // Compares parsed times, since one moment has several notations.
    let starts = |entry: &Value| time(entry.get("starts_at"));
    let same = |entry: &Value| {
        ["feature", "limit"].iter().all(|name| entry.get(*name) == new.get(*name)) && starts(entry) == starts(&new)
    };
    let set = |after: &mut Value| {
        let mut entries = overrides(after);
        entries.retain(|entry| !same(entry));
        entries.push(new.clone());
        merge(after, &json!({ "overrides": entries }));
    };
    edit(request, &record, ("override.set", reason.as_deref()), set, |_| {}).await
}

/// Removes all overrides of a feature or limit.
pub(super) async fn remove(request: &AdminRequest<'_>, id: &str, key: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let is =
        |entry: &Value| ["feature", "limit"].iter().any(|name| entry.get(*name).and_then(Value::as_str) == Some(key));
    let mut entries = overrides(&record.value);
    let before = entries.len();
    entries.retain(|entry| !is(entry));
    if entries.len() == before {
        return Err(AdminError::NOT_FOUND);
    }
    let set = |after: &mut Value| merge(after, &json!({ "overrides": entries }));
    edit(request, &record, ("override.remove", None), set, |_| {}).await
}

/// A time in a document: RFC 3339, or milliseconds since 1970.
fn time(value: Option<&Value>) -> Option<UnixMillis> {
    let value = value?;
    value.as_str().and_then(UnixMillis::parse).or_else(|| value.as_u64().map(UnixMillis::new))
}

fn overrides(record: &Value) -> Vec<Value> {
    record.get("overrides").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// `GET /expiring?before=…`: overrides, contracts and trials that end by then, soonest first.
pub(super) async fn expiring(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let (limit, _) = request.page(&["before"])?;
    let before = match request.query.get("before") {
        None => request.now.plus(DAY_MS.saturating_mul(30)),
        Some(text) => {
            UnixMillis::parse(text).ok_or_else(|| AdminError::problem("before", text.as_str(), "a time (RFC 3339)"))?
        }
    };
    let page = ListQuery::of(
        "SELECT id, slug, record, ends_at FROM tenants WHERE ends_at > ? AND ends_at <= ? ORDER BY ends_at LIMIT ?",
        ("ends_at", "record"),
        vec![request.now.get().into(), before.get().into()],
        limit,
    );
    let ListPage { rows, next } = page.read(&request.store).await?;
    let mut entries = Vec::new();
    for row in &rows {
        let record = document(row, "record");
        let mut ending = |kind: &str, what: &Value| {
            let ends = time(what.get("ends_at"));
            if let Some(ends) = ends.filter(|ends| *ends > request.now && *ends <= before) {
                entries.push(json!({ "tenant": text(row, "id"), "slug": text(row, "slug"), "kind": kind, "ends_at": ends, "what": what }));
            }
        };
        for entry in overrides(&record) {
            ending("override", &entry);
        }
        for kind in ["contract", "trial"] {
            if let Some(what) = record.get(kind) {
                ending(kind, what);
            }
        }
    }
    entries.sort_by(|a, b| at(a, "/ends_at").as_str().cmp(&at(b, "/ends_at").as_str()));
    Ok(AdminResponse::json(200, &json!({ "items": entries, "complete": next.is_none() })))
}

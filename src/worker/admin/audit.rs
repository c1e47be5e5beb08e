//! Reads the audit trail and the recorded denials.
//!
//! The trail has three formats: pages of JSON, the original lines (their hash chain can be
//! verified), and CSV.

use serde_json::{Value, json};

use super::catalog::CHAIN;
use super::error::AdminError;
use super::page::{ListPage, ListQuery};
use super::request::{AdminRequest, AdminResponse};
use crate::control::merge;
use crate::model::{Key, UnixMillis};
use crate::worker::sources::d1::{Row, at, document, number, text};

/// `GET /tenants/{tenant}/audit`, `GET /audit`; `format`: `json` (default), `lines`, `csv`.
pub(super) async fn trail(request: &AdminRequest<'_>, tenant: Option<&str>) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&["format", "action"])?;
    let chain = match tenant {
        None => CHAIN.to_owned(),
        // Operators can read the trail of a deleted tenant, too.
        Some(id) if request.actor.tenant.is_none() => request.store.record(id).await?.ok_or(AdminError::NOT_FOUND)?.id,
        Some(id) => request.tenant(id).await?.id,
    };
    let after = cursor.parse::<u64>().unwrap_or(0);
    let page = ListQuery::of(
        "SELECT number, entry FROM audit WHERE chain = ? AND number > ? ORDER BY number LIMIT ?",
        ("number", "entry"),
        vec![chain.as_str().into(), after.into()],
        limit,
    );
    let ListPage { rows: shown, next } = page.read(&request.store).await?;
    let format = request.query.get("format").map_or("json", String::as_str);
    let link = next
        .as_ref()
        .map(|next| format!("link: <?format={format}&limit={limit}&cursor={next}>; rel=\"next\""))
        .unwrap_or_default();
    match format {
        "json" => {
            let wanted = request.query.get("action");
            if let Some(strange) = wanted.filter(|action| !Key::is_valid(action)) {
                return Err(AdminError::problem("action", strange.as_str(), "an action, such as `tenant.suspend`"));
            }
            let entries = shown.iter().map(|row| document(row, "entry"));
            let entries: Vec<Value> =
                entries.filter(|entry| wanted.is_none_or(|action| at(entry, "/action") == action.as_str())).collect();
            let head = request.store.head(&chain).await?;
            Ok(AdminResponse::json(200, &json!({ "items": entries, "head": head, "next_cursor": next })))
        }
        "lines" => {
            let lines: Vec<&str> = shown.iter().map(|row| text(row, "entry")).chain([""]).collect();
            Ok(AdminResponse::other("application/x-ndjson", link, lines.join("\n")))
        }
        "csv" => {
            let mut lines = String::from("number,at,actor,ip,action,reason,changes\r\n");
            for row in &shown {
                let entry = document(row, "entry");
                let cells = [
                    at(&entry, "/number"),
                    at(&entry, "/at"),
                    at(&entry, "/actor"),
                    at(&entry, "/from/ip"),
                    at(&entry, "/action"),
                    at(&entry, "/reason"),
                    at(&entry, "/changes"),
                ];
                lines.push_str(&cells.map(cell).join(","));
                lines.push_str("\r\n");
            }
            Ok(AdminResponse::other("text/csv; charset=utf-8", link, lines))
        }
        other => Err(AdminError::problem("format", other, "`json`, `lines` or `csv`")),
    }
}

/// `GET /tenants/{tenant}/denials`
pub(super) async fn denials(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let record = request.tenant(id).await?;
    // The cursor combines day and code in one sortable text, the latest day first.
    let page = ListQuery::of(
        "SELECT day, code, count, said, first_at, last_at, printf('%08d %s', 99999999 - day, code) AS cursor FROM denials \
         WHERE tenant = ? AND printf('%08d %s', 99999999 - day, code) > ? ORDER BY cursor LIMIT ?",
        ("cursor", "said"),
        vec![record.id.into(), cursor.into()],
        limit,
    );
    let view = |row: Row| {
        let mut entry = document(&row, "said");
        merge(
            &mut entry,
            &json!({
                "code": text(&row, "code"), "count": number(&row, "count"),
                "first_at": UnixMillis::new(number(&row, "first_at")), "last_at": UnixMillis::new(number(&row, "last_at")),
            }),
        );
        entry
    };
    page.answer(&request.store, view).await
}

/// A cell of CSV (RFC 4180). A leading `'` keeps spreadsheets from reading the text as a formula.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

//! The audit trail, read: as JSON by pages, as lines that verify, as CSV.

use serde_json::{Value, json};

use super::catalog::CHAIN;
use super::desk::{Answer, Desk};
use super::refusal::Refusal;
use super::store::{at, document, sql, text};
use crate::model::Key;

/// `GET /tenants/{tenant}/audit`, `GET /audit`; `format`: `json` (default), `lines`, `csv`.
pub(super) async fn trail(desk: &Desk<'_>, tenant: Option<&str>) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&["format", "action"])?;
    let chain = match tenant {
        None => CHAIN.to_owned(),
        // The trail of a tenant outlives it, for whoever operates.
        Some(id) if desk.actor.tenant.is_none() => desk.store.record(id).await?.ok_or(Refusal::NOT_FOUND)?.id,
        Some(id) => desk.tenant(id).await?.id,
    };
    let after = cursor.parse::<u64>().unwrap_or(0);
    let statement = sql!(
        "SELECT number, entry FROM audit WHERE chain = ? AND number > ? ORDER BY number LIMIT ?",
        chain,
        after,
        limit.saturating_add(1)
    );
    let rows = desk.store.rows(statement).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let shown: Vec<_> = rows.iter().take(size).collect();
    let next =
        (rows.len() > size).then(|| shown.last().and_then(|row| row.get("number")).map(ToString::to_string)).flatten();
    let format = desk.query.get("format").map_or("json", String::as_str);
    let link = next
        .as_ref()
        .map(|next| format!("link: <?format={format}&limit={limit}&cursor={next}>; rel=\"next\""))
        .unwrap_or_default();
    match format {
        "json" => {
            let wanted = desk.query.get("action");
            if let Some(strange) = wanted.filter(|action| !Key::is_valid(action)) {
                return Err(Refusal::problem("action", strange.as_str(), "an action, such as `tenant.suspend`"));
            }
            let entries = shown.iter().map(|row| document(row, "entry"));
            let entries: Vec<Value> =
                entries.filter(|entry| wanted.is_none_or(|action| at(entry, "/action") == action.as_str())).collect();
            let head = desk.store.head(&chain).await?;
            Ok(Answer::json(200, &json!({ "items": entries, "head": head, "next_cursor": next })))
        }
        "lines" => {
            let lines: Vec<&str> = shown.iter().map(|row| text(row, "entry")).chain([""]).collect();
            Ok(Answer::other("application/x-ndjson", link, lines.join("\n")))
        }
        "csv" => {
            let mut lines = String::from("number,at,actor,ip,action,reason,changes\r\n");
            for row in shown {
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
            Ok(Answer::other("text/csv; charset=utf-8", link, lines))
        }
        other => Err(Refusal::problem("format", other, "`json`, `lines` or `csv`")),
    }
}

/// A cell of CSV (RFC 4180). What a spreadsheet would take for a formula is text.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

//! Pages of lists. A page ends at its maximum number of entries or at [`MAX_PAGE_BYTES`] bytes,
//! whichever comes first.

use serde_json::{Map, Value, json};

use super::error::AdminError;
use super::request::AdminResponse;
use crate::model::UnixMillis;
use crate::model::bounds::MAX_PAGE_BYTES;
use crate::worker::sources::d1::{Row, Store, number};

/// The query for one page.
pub(super) struct ListQuery {
    statement: Value,
    /// The column by which the list is sorted. Its last value is the cursor of the next page.
    order: &'static str,
}

/// The rows of one page.
pub(super) struct ListPage {
    pub(super) rows: Vec<Row>,
    /// The cursor of the next page, if there is one.
    pub(super) next: Option<String>,
}

/// Columns that only serve to find the end of the page. Responses do not have them.
const OWN_COLUMNS: [&str; 3] = ["bytes_before", "place", "found"];

impl ListQuery {
    /// A page of `query`, which ends with `ORDER BY … LIMIT ?`. `values` are its parameters without
    /// the limit. `order` is the column by which the list is sorted, `weighed` the large column
    /// whose bytes count.
    pub(super) fn of(
        query: &str,
        (order, weighed): (&'static str, &'static str),
        values: Vec<Value>,
        limit: u64,
    ) -> Self {
        // Entries after the end of the page do not leave the database. The first entry is always on
        // the page, whatever its size, so that a list never gets stuck.
        let sql = format!(
            "SELECT * FROM (SELECT *, sum(length(CAST({weighed} AS BLOB))) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - length(CAST({weighed} AS BLOB)) AS bytes_before, \
             row_number() OVER (ORDER BY {order}) AS place, count(*) OVER () AS found FROM ({query})) \
             WHERE bytes_before < {MAX_PAGE_BYTES} AND place <= {limit} ORDER BY place"
        );
        let mut statement = vec![Value::from(sql)];
        statement.extend(values);
        statement.push(limit.saturating_add(1).into());
        Self { statement: statement.into(), order }
    }

    pub(super) async fn read(self, store: &Store) -> Result<ListPage, AdminError> {
        let mut rows = store.rows(self.statement).await?;
        let more = rows.last().filter(|last| number(last, "found") > number(last, "place"));
        let next = more.and_then(|last| last.get(self.order)).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        for row in &mut rows {
            for column in OWN_COLUMNS {
                row.remove(column);
            }
        }
        Ok(ListPage { rows, next })
    }

    /// The usual response: `items` and `next_cursor`.
    pub(super) async fn answer(self, store: &Store, view: impl Fn(Row) -> Value) -> Result<AdminResponse, AdminError> {
        let ListPage { rows, next } = self.read(store).await?;
        let items: Vec<Value> = rows.into_iter().map(view).collect();
        Ok(AdminResponse::json(200, &json!({ "items": items, "next_cursor": next })))
    }
}

/// A row with its columns `*_at` in RFC 3339 format.
pub(super) fn timed(mut row: Map<String, Value>) -> Value {
    for (column, value) in &mut row {
        if let (true, Some(millis)) = (column.ends_with("_at"), value.as_u64()) {
            *value = UnixMillis::new(millis).to_string().into();
        }
    }
    row.into()
}

//! D1: statements, rows and transactions.
//!
//! `control.js` runs a list of statements as one transaction. See `runtime::edge` for the text
//! protocol between the two.

use serde_json::{Map, Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use crate::worker::runtime::edge;

/// Milliseconds that D1 may take, which gives up by itself after 30 s.
const PATIENCE_MS: u32 = 40_000;

/// A row, by column.
pub(crate) type Row = Map<String, Value>;

/// A statement with its values.
macro_rules! sql {
    ($text:expr $(, $value:expr)* $(,)?) => { ::serde_json::json!([$text $(, $value)*]) };
}
pub(crate) use sql;

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// A constraint refuses it; which, such as `slugs.slug`.
    Taken(String),
    /// The database failed; why stands in the log.
    Failed,
}

/// The database.
#[derive(Clone)]
pub(crate) struct Store(JsValue);

impl Store {
    pub(crate) fn new(db: &JsValue) -> Self {
        Self(db.clone())
    }

    /// Runs statements in one transaction; the rows of each.
    pub(crate) async fn run(&self, statements: &[Value]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.run_within(PATIENCE_MS, statements).await
    }

    /// The same, given up after so many milliseconds: for reading.
    pub(crate) async fn run_within(&self, ms: u32, statements: &[Value]) -> Result<Vec<Vec<Row>>, StoreError> {
        let text = match JsFuture::from(edge::transact(&self.0, &json!(statements).to_string(), ms)).await {
            Ok(text) => text.as_string().unwrap_or_default(),
            Err(error) => {
                web_sys::console::error_2(&"control: the database failed".into(), &error);
                return Err(StoreError::Failed);
            }
        };
        // `!` and the violated constraint, or `!premise`: see `transact` in `control.js`.
        match text.strip_prefix('!') {
            Some(constraint) => Err(StoreError::Taken(constraint.to_owned())),
            None => serde_json::from_str(&text).map_err(|_| StoreError::Failed),
        }
    }

    /// The rows of one statement.
    pub(crate) async fn rows(&self, statement: Value) -> Result<Vec<Row>, StoreError> {
        Ok(self.run(&[statement]).await?.pop().unwrap_or_default())
    }

    /// The first row of one statement.
    pub(crate) async fn row(&self, statement: Value) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }
}

/// SQL that aborts the transaction unless a condition holds. SQLite can raise an error only in a
/// trigger, so this parses malformed JSON instead; `transact` in `control.js` reports that error as
/// `!premise`.
pub(crate) fn fail_unless(condition: &str) -> String {
    format!("SELECT CASE WHEN {condition} THEN 1 ELSE json('no') END AS held")
}

/// What stands in a column.
pub(crate) fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// What stands in a column.
pub(crate) fn number(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

/// The document that stands in a column.
pub(crate) fn document(row: &Row, column: &str) -> Value {
    serde_json::from_str(text(row, column)).unwrap_or_default()
}

/// A member of a document, by its pointer (RFC 6901); null where there is none.
pub(crate) fn at<'v>(document: &'v Value, pointer: &str) -> &'v Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

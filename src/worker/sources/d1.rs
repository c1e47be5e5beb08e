//! D1: statements, rows and transactions.
//!
//! A list of statements always runs as one transaction, in `control.js`. `runtime::edge` describes
//! the text protocol between Rust and JavaScript.

use serde_json::{Map, Value, json};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use crate::worker::runtime::edge;

/// Milliseconds that a transaction may take. D1 itself gives up after 30 seconds.
const PATIENCE_MS: u32 = 40_000;

/// A row: values by column name.
pub(crate) type Row = Map<String, Value>;

/// A statement with the values of its parameters.
macro_rules! sql {
    ($text:expr $(, $value:expr)* $(,)?) => { ::serde_json::json!([$text $(, $value)*]) };
}
pub(crate) use sql;

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// It violates a constraint, which is named by its columns, such as `slugs.slug`.
    Taken(String),
    /// The tables are of an older or a newer version than this Worker can use.
    Schema(&'static str),
    /// The database failed. The log contains the cause.
    Failed,
}

const OLDER: &str = "the tables in `CONTROL_DB` are older than this Worker: apply the migrations (`wrangler d1 migrations apply CONTROL_DB --remote`)";
const NEWER: &str = "the tables in `CONTROL_DB` are newer than this Worker, which cannot use them: deploy the version that they belong to";

impl StoreError {
    /// Logs why, because not every caller can say so.
    fn schema(message: &'static str) -> Self {
        web_sys::console::error_1(&message.into());
        Self::Schema(message)
    }
}

/// The database.
#[derive(Clone)]
pub(crate) struct Store(JsValue);

impl Store {
    pub(crate) fn new(db: &JsValue) -> Self {
        Self(db.clone())
    }

    /// Runs statements in one transaction. Returns the rows of each.
    pub(crate) async fn run(&self, statements: &[Value]) -> Result<Vec<Vec<Row>>, StoreError> {
        self.run_within(PATIENCE_MS, statements).await
    }

    /// Like [`Self::run`], with a timeout of `ms` milliseconds. Only for reads: a transaction that
    /// timed out may still be committed.
    pub(crate) async fn run_within(&self, ms: u32, statements: &[Value]) -> Result<Vec<Vec<Row>>, StoreError> {
        let text = match JsFuture::from(edge::transact(&self.0, &json!(statements).to_string(), ms)).await {
            Ok(text) => text.as_string().unwrap_or_default(),
            Err(error) => {
                web_sys::console::error_2(&"control: the database failed".into(), &error);
                return Err(StoreError::Failed);
            }
        };
        // `!` and the reason: see `transact` in `control.js`.
        match text.strip_prefix('!') {
            Some("schema older") => Err(StoreError::schema(OLDER)),
            Some("schema newer") => Err(StoreError::schema(NEWER)),
            Some(constraint) => Err(StoreError::Taken(constraint.to_owned())),
            None => serde_json::from_str(&text).map_err(|_| StoreError::Failed),
        }
    }

    /// Runs one statement. Returns its rows.
    pub(crate) async fn rows(&self, statement: Value) -> Result<Vec<Row>, StoreError> {
        Ok(self.run(&[statement]).await?.pop().unwrap_or_default())
    }

    /// Runs one statement. Returns its first row.
    pub(crate) async fn row(&self, statement: Value) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }
}

/// SQL that aborts the transaction unless a condition holds. `SQLite` can raise an error only in a
/// trigger, so this statement parses malformed JSON instead. `transact` in `control.js` reports
/// that error as `!premise`.
pub(crate) fn fail_unless(condition: &str) -> String {
    format!("SELECT CASE WHEN {condition} THEN 1 ELSE json('no') END AS held")
}

/// The text in a column; empty if the column is null or missing.
pub(crate) fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// The number in a column; 0 if the column is null or missing.
pub(crate) fn number(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

/// The JSON document in a column; null if the column holds none.
pub(crate) fn document(row: &Row, column: &str) -> Value {
    serde_json::from_str(text(row, column)).unwrap_or_default()
}

/// A member of a document, by its pointer (RFC 6901); null if it is missing.
pub(crate) fn at<'v>(document: &'v Value, pointer: &str) -> &'v Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

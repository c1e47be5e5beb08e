//! A change to the system of record: all of it in one transaction, with its entry in the audit trail
//! and with what is to be published because of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::actor::Actor;
use crate::control::audit::{AuditEntry, Head, hash};
use crate::model::UnixMillis;
use crate::worker::edge;

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
    pub(super) async fn row(&self, statement: Value) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }
}

/// SQL that aborts the transaction unless a condition holds. SQLite can raise an error only in a
/// trigger, so this parses malformed JSON instead; `transact` in `control.js` reports that error as
/// `!premise`.
fn fail_unless(condition: &str) -> String {
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
pub(super) fn document(row: &Row, column: &str) -> Value {
    serde_json::from_str(text(row, column)).unwrap_or_default()
}

/// A member of a document, by its pointer (RFC 6901); null where there is none.
pub(super) fn at<'v>(document: &'v Value, pointer: &str) -> &'v Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

/// A change in the making.
pub(crate) struct Transaction<'a> {
    store: Store,
    actor: &'a Actor,
    now: UnixMillis,
    statements: Vec<Value>,
    heads: BTreeMap<String, Head>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(store: &Store, actor: &'a Actor, now: UnixMillis) -> Self {
        Self { store: store.clone(), actor, now, statements: Vec::new(), heads: BTreeMap::new() }
    }

    /// Goes on from what an audit trail was when something was read: whoever changed it since lets this one fail.
    pub(super) fn expect_head(&mut self, chain: &str, head: &Head) {
        self.heads.entry(chain.to_owned()).or_insert_with(|| head.clone());
    }

    /// One statement of it.
    pub(super) fn run(&mut self, statement: Value) {
        self.statements.push(statement);
    }

    /// Lets the change happen only where this holds at its very moment; otherwise somebody else's came first.
    pub(super) fn precondition(&mut self, condition: &str, values: &[Value]) {
        let statement: Value =
            std::iter::once(Value::from(fail_unless(condition))).chain(values.iter().cloned()).collect();
        if !self.statements.contains(&statement) {
            self.run(statement);
        }
    }

    /// Has something published: under a key of KV, once its ledger was told.
    pub(super) fn publish(&mut self, key: &str, epoch: u64, ledger: Option<&str>) {
        self.run(sql!(
            "INSERT INTO publications (key, epoch, ledger, at) VALUES (?, ?, ?, ?)",
            key,
            epoch,
            ledger,
            self.now.get()
        ));
    }

    /// Notes it in an audit trail. INVARIANT (one after the other): of two changes that go on from the same entry, the
    /// primary key lets one through. What a change depends on is read with, or after, the entry that it goes on from.
    pub(crate) async fn audit(
        &mut self,
        chain: &str,
        action: &str,
        reason: Option<&str>,
        changes: &Value,
    ) -> Result<(), StoreError> {
        let head = match self.heads.remove(chain) {
            Some(head) => head,
            None => self.store.head(chain).await?,
        };
        let number = head.number.saturating_add(1);
        let entry = AuditEntry {
            chain,
            number,
            previous: &head.hash,
            at: self.now,
            actor: &self.actor.said(),
            from: &self.actor.from,
            action,
            reason,
            changes,
        };
        let line = entry.line();
        let hash = hash(&line);
        self.run(sql!("INSERT INTO audit (chain, number, hash, entry) VALUES (?, ?, ?, ?)", chain, number, hash, line));
        self.heads.insert(chain.to_owned(), Head { number, hash });
        Ok(())
    }

    /// Does it, all or nothing.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        if self.statements.is_empty() {
            return Ok(());
        }
        self.store.run(&self.statements).await.map(drop)
    }
}

impl Store {
    /// The end of an audit trail.
    pub(super) async fn head(&self, chain: &str) -> Result<Head, StoreError> {
        let statement = sql!("SELECT number, hash FROM audit WHERE chain = ? ORDER BY number DESC LIMIT 1", chain);
        let row = self.row(statement).await?.unwrap_or_default();
        Ok(Head { number: number(&row, "number"), hash: text(&row, "hash").to_owned() })
    }
}

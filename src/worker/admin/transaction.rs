//! A change to the system of record: all of it in one transaction, with its entry in the audit trail
//! and with what is to be published because of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::actor::Actor;
use crate::control::audit::{AuditEntry, Head, hash};
use crate::model::UnixMillis;
use crate::worker::sources::d1::{Store, StoreError, fail_unless, number, sql, text};

/// How often a change is attempted that another one has overtaken.
pub(super) const TRIES: usize = 4;

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

//! A change to the system of record: one transaction of statements, audit entries and publications.
//!
//! Concurrency is optimistic: the audit trail of a tenant is a chain, and its primary key admits
//! one successor of each entry. A change that read an outdated state fails at the commit and is
//! repeated.

use std::collections::BTreeMap;

use serde_json::Value;

use super::actor::Actor;
use crate::control::audit::{AuditEntry, Head, hash};
use crate::model::UnixMillis;
use crate::worker::sources::d1::{Store, StoreError, fail_unless, number, sql, text};

/// Maximum number of attempts for a change that loses to concurrent ones.
pub(super) const TRIES: usize = 4;

/// A change that is not committed yet.
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

    /// Ties the change to the end of an audit trail as it was read: the commit fails if the trail
    /// has grown since, provided that the change adds an entry to it.
    pub(super) fn expect_head(&mut self, chain: &str, head: &Head) {
        self.heads.entry(chain.to_owned()).or_insert_with(|| head.clone());
    }

    /// Adds a statement.
    pub(super) fn run(&mut self, statement: Value) {
        self.statements.push(statement);
    }

    /// Adds a condition that must hold at the moment of the commit. Otherwise the commit fails as
    /// if a concurrent change came first.
    pub(super) fn precondition(&mut self, condition: &str, values: &[Value]) {
        let statement: Value =
            std::iter::once(Value::from(fail_unless(condition))).chain(values.iter().cloned()).collect();
        if !self.statements.contains(&statement) {
            self.run(statement);
        }
    }

    /// Adds the publication of a snapshot under its key in KV. `ledger` is the root of the family
    /// whose ledger learns the epoch first.
    pub(super) fn publish(&mut self, key: &str, epoch: u64, ledger: Option<&str>) {
        self.run(sql!(
            "INSERT INTO publications (key, epoch, ledger, at) VALUES (?, ?, ?, ?)",
            key,
            epoch,
            ledger,
            self.now.get()
        ));
    }

    /// Adds an entry to an audit trail. INVARIANT (one after the other): of two changes that follow
    /// the same entry, the primary key admits one. A change reads the state that it depends on
    /// together with, or after, the entry that it follows.
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

    /// Commits all statements, or none of them.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        if self.statements.is_empty() {
            return Ok(());
        }
        self.store.run(&self.statements).await.map(drop)
    }
}

impl Store {
    /// The latest entry of an audit trail: its number and hash.
    pub(super) async fn head(&self, chain: &str) -> Result<Head, StoreError> {
        let statement = sql!("SELECT number, hash FROM audit WHERE chain = ? ORDER BY number DESC LIMIT 1", chain);
        let row = self.row(statement).await?.unwrap_or_default();
        Ok(Head { number: number(&row, "number"), hash: text(&row, "hash").to_owned() })
    }
}

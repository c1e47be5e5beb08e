//! Reads the originals of snapshots from D1, the system of record.
//!
//! A snapshot in KV is a copy and may be stale. This module contains the SQL that reads the current
//! document for a key, and turns the rows into the text that KV would have.

use serde_json::Value;

use super::d1::{Row, sql, text};
use crate::gate::SnapshotKey;

/// Returns the statement that reads the original of a snapshot; [`joined`] reads its rows. Returns
/// `None` for issuer keys, which D1 does not have.
pub(crate) fn statement(key: &SnapshotKey) -> Option<Value> {
    Some(match key {
        SnapshotKey::Catalog => {
            sql!("SELECT text AS value FROM catalogs WHERE version = (SELECT max(version) FROM catalogs) ORDER BY part")
        }
        SnapshotKey::Tenant(id) => sql!("SELECT record AS value FROM tenants WHERE id = ?", id.as_str()),
        SnapshotKey::Slug(slug) => {
            sql!("SELECT tenant AS value FROM slugs WHERE slug = ? AND free_at IS NULL", slug.as_str())
        }
        SnapshotKey::Domain(host) => {
            sql!("SELECT tenant AS value FROM domains WHERE host = ? AND verified_at IS NOT NULL", host)
        }
        SnapshotKey::ApiKey(id) => sql!("SELECT record AS value FROM api_keys WHERE id = ?", id.as_str()),
        SnapshotKey::IssuerKeys(_) => return None,
    })
}

/// Joins the parts of a document from the rows of [`statement`]. Returns `None` if there is no row:
/// the document does not exist.
pub(crate) fn joined(rows: &[Row]) -> Option<String> {
    (!rows.is_empty()).then(|| rows.iter().map(|row| text(row, "value")).collect())
}

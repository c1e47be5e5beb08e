//! The statements that read a snapshot's original from D1, the system of record.

use serde_json::Value;

use super::d1::{Row, sql, text};
use crate::gate::SnapshotKey;

/// Reads the original of a snapshot; [`joined`] reads the rows. `None`: D1 has no such document.
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

/// The document that rows of [`statement`] hold in pieces. `None`: it does not exist.
pub(crate) fn joined(rows: &[Row]) -> Option<String> {
    (!rows.is_empty()).then(|| rows.iter().map(|row| text(row, "value")).collect())
}

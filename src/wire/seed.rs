//! Turns a seed, which is a catalog with its tenants and API keys, into KV entries.

use serde_json::Value;

use crate::gate::SnapshotKey;
use crate::model::{DomainState, Problems, Seed, parse_seed};

/// Checks `{"catalog": …, "tenants": […], "api_keys": […]}` and returns the KV entries: the
/// catalog, each record, and the index from slugs and verified domains to ids.
///
/// # Errors
/// All problems, each with its JSON path.
pub fn publication(text: &str) -> Result<Vec<(String, String)>, Problems> {
    let Seed { tenants, api_keys, .. } = parse_seed(text)?;
    // INVARIANT (published as written): records are published exactly as written, including members
    // that this version does not know.
    let seed: Value = serde_json::from_str(text).unwrap_or_default();
    let written = |pointer: &str| seed.pointer(pointer).map(Value::to_string).unwrap_or_default();
    let mut entries = vec![(SnapshotKey::Catalog.in_kv(), written("/catalog"))];
    for (index, tenant) in tenants.into_iter().enumerate() {
        let id = tenant.id.to_string();
        entries.push((SnapshotKey::Slug(tenant.slug).in_kv(), id.clone()));
        for domain in tenant.domains.into_iter().filter(|domain| domain.state == DomainState::Verified) {
            entries.push((SnapshotKey::Domain(domain.host).in_kv(), id.clone()));
        }
        entries.push((SnapshotKey::Tenant(tenant.id).in_kv(), written(&format!("/tenants/{index}"))));
    }
    for (index, key) in api_keys.into_iter().enumerate() {
        entries.push((SnapshotKey::ApiKey(key.id).in_kv(), written(&format!("/api_keys/{index}"))));
    }
    Ok(entries)
}

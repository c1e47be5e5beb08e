//! `POST /import`: imports a catalog with its tenants and API keys.
//!
//! It adds what the control plane lacks. `?overwrite=true` also replaces the catalog and tenants'
//! records that differ. The import runs in several transactions; sending the document again
//! completes an interrupted one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::AdminError;
use super::keys::shown;
use super::records::{next_end, take_data_route, take_slug};
use super::request::{AdminRequest, AdminResponse, checked};
use super::transaction::Transaction;
use super::{catalog, publish};
use crate::control::merge;
use crate::model::{ApiKey, DomainState, Tenant, TenantId, gather, parse_seed};
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{at, document, number, sql, text};

/// Maximum number of documents in one transaction.
const TOGETHER: usize = 50;

pub(super) async fn import(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    request.only(&["overwrite"])?;
    // An import writes the catalog, records and keys, so it is for the operator alone.
    if !request.actor.is_operator() {
        return Err(AdminError::FORBIDDEN);
    }
    let overwrite = request.query.get("overwrite").is_some_and(|text| text == "true");
    let seed = checked(parse_seed(&request.body))?;
    if let Some(index) = seed.tenants.iter().position(|tenant| tenant.id.as_str() == catalog::CHAIN) {
        return Err(AdminError::problem(
            &format!("$.tenants[{index}].id"),
            "`catalog`",
            "an id that is not the catalog's",
        ));
    }
    let written: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let parents: BTreeMap<&str, Option<&str>> =
        gather(seed.tenants.iter().map(|tenant| (tenant.id.as_str(), tenant.parent.as_ref().map(TenantId::as_str))));
    let changed_catalog = take_catalog(request, at(&written, "/catalog"), overwrite).await?;
    let (mut tenants, mut api_keys) = (0_usize, 0_usize);
    let numbered: Vec<_> = seed.tenants.iter().enumerate().collect();
    for group in numbered.chunks(TOGETHER) {
        let mut change = request.transaction();
        for (index, tenant) in group {
            let value = at(&written, &format!("/tenants/{index}"));
            if take_tenant(request, &mut change, tenant, value, &parents, overwrite).await? {
                tenants = tenants.saturating_add(1);
            }
        }
        change.commit().await?;
    }
    let numbered: Vec<_> = seed.api_keys.iter().enumerate().collect();
    for group in numbered.chunks(TOGETHER) {
        let mut change = request.transaction();
        for (index, key) in group {
            if take_key(request, &mut change, key, at(&written, &format!("/api_keys/{index}"))).await? {
                api_keys = api_keys.saturating_add(1);
            }
        }
        change.commit().await?;
    }
    publish::after(request).await;
    Ok(AdminResponse::json(200, &json!({ "catalog": changed_catalog, "tenants": tenants, "api_keys": api_keys })))
}

/// Whether two documents are equal, apart from the member `number` (their version or epoch).
fn same(one: &Value, other: &Value, number: &str) -> bool {
    let without = |value: &Value| {
        let mut value = value.clone();
        merge(&mut value, &json!({ number: null }));
        value
    };
    without(one) == without(other)
}

async fn take_catalog(request: &AdminRequest<'_>, written: &Value, overwrite: bool) -> Result<bool, AdminError> {
    let before = request.store.catalog().await?;
    let old: Value = before.as_ref().and_then(|before| serde_json::from_str(&before.text).ok()).unwrap_or_default();
    if before.is_some() && (!overwrite || same(&old, written, "version")) {
        return Ok(false);
    }
    catalog::replace_with(request, before.as_ref(), written.clone(), ("catalog.import", None)).await?;
    Ok(true)
}

async fn take_tenant(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    tenant: &Tenant,
    written: &Value,
    parents: &BTreeMap<&str, Option<&str>>,
    overwrite: bool,
) -> Result<bool, AdminError> {
    let id = tenant.id.as_str();
    if let Some(record) = request.store.record(id).await? {
        // The present record counts as newer unless `overwrite` is set. A deleted tenant stays
        // deleted.
        if !overwrite || record.status() == "deleted" || same(&record.value, written, "epoch") {
            return Ok(false);
        }
        if at(&record.value, "/parent") != at(written, "/parent") {
            let found = at(written, "/parent").to_string();
            return Err(AdminError::problem(
                &format!("$.tenants: `{id}`.parent"),
                found,
                "its present parent: to change it, move the tenant",
            ));
        }
        let published = request.catalog().await?;
        request.save(change, &record, written.clone(), &published, ("tenant.import", None)).await?;
        let hosts: Vec<&str> = tenant.domains.iter().map(|domain| domain.host.as_str()).collect();
        change.run(sql!(
            "DELETE FROM domains WHERE tenant = ? AND host NOT IN (SELECT value FROM json_each(?))",
            id,
            json!(hosts).to_string()
        ));
    } else {
        let mut root = id;
        // `parse_seed` has checked that all parents are in the document and that no line is a
        // circle.
        while let Some(Some(parent)) = parents.get(root) {
            root = parent;
        }
        let now = request.now.get();
        change.run(sql!(
            "INSERT INTO tenants (id, slug, name, status, plan, parent, root, epoch, record, created_at, changed_at, ends_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            id,
            tenant.slug.as_str(),
            tenant.name,
            tenant.status.as_str(),
            tenant.plan.as_ref().map(crate::model::PlanRef::as_str),
            tenant.parent.as_ref().map(TenantId::as_str),
            root,
            tenant.epoch.0,
            written.to_string(),
            now,
            now,
            next_end(tenant, request.now)
        ));
        take_slug(change, tenant.slug.as_str(), id, request.now);
        take_data_route(change, written, id);
        change.audit(id, "tenant.import", None, &crate::control::changes(&Value::Null, written)).await?;
        change.publish(&format!("tenant:{id}"), tenant.epoch.0, Some(root));
        change.publish(&format!("slug:{}", tenant.slug), tenant.epoch.0, None);
    }
    for domain in &tenant.domains {
        let verified_at = (domain.state == DomainState::Verified).then_some(request.now.get());
        change.run(sql!(
            "INSERT INTO domains (host, tenant, proof, claimed_at, verified_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (host, tenant) DO UPDATE SET verified_at = excluded.verified_at",
            domain.host,
            id,
            edge::random(16),
            request.now.get(),
            verified_at
        ));
        change.publish(&format!("domain:{}", domain.host), tenant.epoch.0, None);
    }
    Ok(true)
}

async fn take_key(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    key: &ApiKey,
    written: &Value,
) -> Result<bool, AdminError> {
    let known =
        request.store.row(sql!("SELECT tenant, epoch, record FROM api_keys WHERE id = ?", key.id.as_str())).await?;
    if let Some(row) = &known {
        if text(row, "tenant") != key.tenant.as_str() {
            return Err(AdminError::BUSY);
        }
        // A key that has ended stays ended, so an older epoch never replaces a newer one.
        if number(row, "epoch") >= key.epoch.0 || same(&document(row, "record"), written, "epoch") {
            return Ok(false);
        }
    }
    change.run(sql!(
        "INSERT INTO api_keys (id, tenant, epoch, record, created_at) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, record = excluded.record",
        key.id.as_str(),
        key.tenant.as_str(),
        key.epoch.0,
        written.to_string(),
        request.now.get()
    ));
    change.audit(key.tenant.as_str(), "key.import", None, &json!({ "api_key": { "after": shown(written) } })).await?;
    change.publish(&format!("key:{}", key.id), key.epoch.0, None);
    Ok(true)
}

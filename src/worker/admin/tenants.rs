//! Tenants: lists, reads, changes and exports them, and moves them through their life cycle.
//!
//! Offboarding sets a purge date; the scheduled run deletes the tenant after it. A deleted tenant
//! leaves a tombstone: its id, which is never reused, and its audit trail.

use serde_json::{Map, Value, json};

use super::error::AdminError;
use super::page::timed;
use super::records::{COLUMNS, TenantRow};
use super::request::{AdminRequest, AdminResponse, paged};
use super::transaction::Transaction;
use super::{keys, licences, publish};
use crate::control::{OperationId, Reasoned, merge};
use crate::ledger::{LedgerRequest, QuotaInquiry};
use crate::model::UnixMillis;
use crate::model::bounds::{MAX_EXPORTED_QUOTAS, MAX_PAGE, SLUG_QUARANTINE_MS};
use crate::wire::QuotaView;
use crate::worker::sources::d1::{document, sql, text};

/// Members of a record that a merge patch cannot change, since they have their own operations.
const GUARDED: [&str; 5] = ["id", "epoch", "status", "parent", "domains"];
const STATUSES: [&str; 6] = ["active", "provisioning", "suspended", "inactive", "maintenance", "deleted"];
pub(super) const DAY_MS: u64 = 86_400_000;

pub(super) async fn list(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&["status", "plan", "parent", "slug"])?;
    let mut filters = String::from("id > ?");
    let mut values = vec![Value::from(cursor)];
    for column in ["status", "plan", "parent", "slug"] {
        if let Some(value) = request.query.get(column) {
            let meant = match column {
                "status" => STATUSES.contains(&value.as_str()),
                "plan" => crate::model::PlanRef::is_valid(value),
                "parent" => crate::model::TenantId::is_valid(value),
                _ => crate::model::Slug::is_valid(value),
            };
            if !meant {
                return Err(AdminError::problem(column, value.as_str(), "a valid value of this parameter"));
            }
            filters.push_str(&format!(" AND {column} = ?"));
            values.push(value.as_str().into());
        }
    }
    if !request.query.contains_key("status") {
        filters.push_str(" AND status <> 'deleted'");
    }
    // INVARIANT (own tenant): see `AdminRequest::tenant`.
    if let Some(own) = &request.actor.tenant {
        let own = own.as_str();
        let below = request.store.below(own).await?;
        let ids: Vec<&str> = below.iter().map(|(id, _)| id.as_str()).chain([own]).collect();
        filters.push_str(" AND id IN (SELECT value FROM json_each(?))");
        values.push(json!(ids).to_string().into());
    }
    values.push(limit.saturating_add(1).into());
    let mut statement = vec![Value::from(format!(
        "SELECT id, slug, name, status, plan, parent, epoch, created_at, changed_at FROM tenants WHERE {filters} ORDER BY id LIMIT ?"
    ))];
    statement.append(&mut values);
    let rows = request.store.rows(Value::from(statement)).await?;
    let entries = rows.into_iter().map(timed).collect();
    Ok(AdminResponse::json(200, &paged(limit, entries, "/id")))
}

pub(super) async fn get(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    request.expect(record.epoch)?;
    Ok(AdminResponse::json(200, &record.value).with_version(record.epoch))
}

/// Edits a record and commits it. `more` adds further statements to the same transaction.
pub(super) async fn edit(
    request: &AdminRequest<'_>,
    record: &TenantRow,
    said: (&str, Option<&str>),
    edit: impl FnOnce(&mut Value),
    more: impl FnOnce(&mut Transaction<'_>),
) -> Result<AdminResponse, AdminError> {
    request.expect(record.epoch)?;
    let published = request.catalog().await?;
    let mut after = record.value.clone();
    edit(&mut after);
    let mut change = request.transaction();
    let after = request.save(&mut change, record, after, &published, said).await?;
    more(&mut change);
    let body = after.to_string();
    request.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, body).with_version(record.epoch.saturating_add(1)))
}

/// `PATCH /tenants/{tenant}`: applies a merge patch to members that have no operation of their own.
pub(super) async fn change(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let patch: Value = request.read()?;
    let Value::Object(members) = &patch else {
        return Err(AdminError::problem("$", "not an object", "a merge patch (RFC 7396)"));
    };
    if let Some(name) = GUARDED.iter().find(|name| members.contains_key(**name)) {
        return Err(AdminError::problem(
            &format!("$.{name}"),
            "a member that has its own operation",
            "members without an operation of their own",
        ));
    }
    request.actor.may_set(members)?;
    edit(request, &record, ("tenant.change", None), |after| merge(after, &patch), |_| {}).await
}

/// Changes a tenant's status.
pub(super) async fn pass(
    request: &AdminRequest<'_>,
    id: &str,
    route: OperationId,
) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let asked: Reasoned = request.read()?;
    let (action, from, to): (_, &[&str], _) = match route {
        OperationId::SuspendTenant => ("tenant.suspend", &["active", "maintenance", "inactive"], "suspended"),
        OperationId::DeactivateTenant => ("tenant.deactivate", &["active", "maintenance"], "inactive"),
        OperationId::MaintainTenant => ("tenant.maintenance", &["active"], "maintenance"),
        OperationId::OffboardTenant => {
            ("tenant.offboard", &["active", "maintenance", "suspended", "inactive"], "inactive")
        }
        _ => ("tenant.reactivate", &["suspended", "inactive", "maintenance"], "active"),
    };
    if !from.contains(&record.status()) {
        return Err(AdminError::WRONG_STATUS.with(json!({ "status": record.status(), "allowed": from })));
    }
    let purge_at = (route == OperationId::OffboardTenant)
        .then(|| request.now.plus(asked.retention_days.0.saturating_mul(DAY_MS)).get());
    let said = (action, asked.reason.as_deref());
    // A tenant that was suspended when it was offboarded is suspended again after reactivation.
    let back =
        record.status_before.as_deref().filter(|_| record.purge_at.is_some() && route == OperationId::ReactivateTenant);
    let to = back.unwrap_or(to);
    let set = |after: &mut Value| merge(after, &json!({ "status": to }));
    edit(request, &record, said, set, |change| {
        // Only offboarding and reactivation change the purge date.
        if matches!(route, OperationId::OffboardTenant | OperationId::ReactivateTenant) {
            let was = (route == OperationId::OffboardTenant && record.status() == "suspended").then_some("suspended");
            let statement = "UPDATE tenants SET purge_at = ?, status_before = ? WHERE id = ?";
            change.run(sql!(statement, purge_at, was, record.id));
        }
    })
    .await
}

/// Deletes a tenant.
pub(super) async fn delete(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    request.only(&["reason"])?;
    let record = request.tenant(id).await?;
    request.expect(record.epoch)?;
    let reason = request.query.get("reason").cloned();
    let mut change = request.transaction();
    bury(request, &mut change, &record, ("tenant.delete", reason.as_deref())).await?;
    let body = json!({ "id": record.id, "status": "deleted" }).to_string();
    request.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, body))
}

/// Adds the deletion of a tenant to a change: writes the tombstone, puts its slug in quarantine,
/// frees its domains and revokes its keys.
pub(super) async fn bury(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    record: &TenantRow,
    (action, reason): (&str, Option<&str>),
) -> Result<(), AdminError> {
    change.expect_head(&record.id, &record.head);
    if !request.store.below(&record.id).await?.is_empty() {
        return Err(AdminError::HAS_CHILDREN);
    }
    let epoch = record.epoch.saturating_add(1);
    let mut stone = json!({ "id": record.id, "slug": record.member("slug"), "status": "deleted", "epoch": epoch });
    for kept in ["plan", "parent", "billing_anchor"] {
        if let (Some(value), Value::Object(members)) = (record.value.get(kept), &mut stone) {
            members.insert(kept.to_owned(), value.clone());
        }
    }
    change.run(sql!(
        "UPDATE tenants SET name = NULL, status = 'deleted', epoch = ?, record = ?, changed_at = ?, ends_at = NULL, purge_at = NULL WHERE id = ?",
        epoch,
        stone.to_string(),
        request.now.get(),
        record.id
    ));
    let free_at = request.now.plus(SLUG_QUARANTINE_MS).get();
    change.run(sql!("UPDATE slugs SET free_at = ? WHERE tenant = ? AND free_at IS NULL", free_at, record.id));
    change.publish(&format!("slug:{}", record.member("slug")), epoch, None);
    for row in request
        .store
        .rows(sql!("SELECT host FROM domains WHERE tenant = ? AND verified_at IS NOT NULL", record.id))
        .await?
    {
        change.publish(&format!("domain:{}", text(&row, "host")), epoch, None);
    }
    change.run(sql!("DELETE FROM domains WHERE tenant = ?", record.id));
    // Ends its provisioning. A tenant that is part of an open move cannot be deleted.
    change.run(sql!(
        "UPDATE provisionings SET state = 'failed', problem = 'it was deleted', question = '{}' WHERE tenant = ?",
        record.id
    ));
    change.precondition("NOT EXISTS (SELECT 1 FROM moving WHERE tenant = ?)", &[record.id.as_str().into()]);
    keys::end_all(request, change, &record.id);
    // The audit trail already has the former record.
    let said = json!({ "status": { "before": record.status(), "after": "deleted" } });
    change.audit(&record.id, action, reason, &said).await?;
    change.publish(&record.key(), epoch, Some(&record.root));
    Ok(())
}

/// Exports everything that is stored about a tenant: its record, slugs, domains, keys without
/// secrets, licences and quotas, and links to its usage and audit trail.
pub(super) async fn export(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    request.only(&[])?;
    let record = request.tenant(id).await?;
    let results = request
        .store
        .run(&[
            sql!("SELECT slug, free_at FROM slugs WHERE tenant = ?", id),
            sql!("SELECT host, claimed_at, verified_at FROM domains WHERE tenant = ?", id),
        ])
        .await?;
    let [slugs, domains] = <[Vec<_>; 2]>::try_from(results).map_err(|_| AdminError::UNAVAILABLE)?;
    let page = keys::page(id, "", MAX_PAGE).read(&request.store).await?;
    let keys: Vec<Value> = page.rows.iter().map(|row| keys::shown(&document(row, "record"))).collect();
    let licences = licences::page(id, "", MAX_PAGE).read(&request.store).await?;
    let more_licences = licences.next.map(|next| format!("/_gate/v1/admin/tenants/{id}/licences?cursor={next}"));
    let licences: Vec<Value> = licences.rows.into_iter().map(licences::shown).collect();
    let more = page.next.map(|next| format!("/_gate/v1/admin/tenants/{id}/api-keys?cursor={next}"));
    let timed = |rows: Vec<Map<String, Value>>| rows.into_iter().map(timed).collect::<Vec<_>>();
    let inquiry = QuotaInquiry { tenant: id, from_ms: 0, to_ms: u64::MAX };
    let asked =
        request.ask_ledger(&record.root, &LedgerRequest { quotas: Some(inquiry), ..LedgerRequest::default() }).await;
    // `null` if the ledger cannot be reached: an empty list would mean that the tenant has used
    // nothing.
    let mut periods = asked.ok().map(|outcome| outcome.quotas);
    if let Some(periods) = &mut periods {
        periods.sort_by_key(|(_, period)| period.starts_ms);
    }
    let latest =
        periods.as_ref().map(|all| all.get(all.len().saturating_sub(MAX_EXPORTED_QUOTAS)..).unwrap_or_default());
    let body = json!({
        "exported_at": request.now,
        "tenant": record.value,
        "purge_at": record.purge_at.map(UnixMillis::new),
        "slugs": timed(slugs),
        "domains": timed(domains),
        "api_keys": keys,
        "more_api_keys": more,
        "licences": licences,
        "more_licences": more_licences,
        "usage": format!("/_gate/v1/usage?tenant={id}"),
        "quotas": latest.map(|latest| QuotaView::list(latest, request.now)),
        "more_quotas": periods.as_ref().is_some_and(|all| all.len() > MAX_EXPORTED_QUOTAS),
        "audit": { "head": request.store.head(id).await?, "lines": format!("/_gate/v1/admin/tenants/{id}/audit?format=lines") },
    });
    Ok(AdminResponse::json(200, &body).with_version(record.epoch))
}

/// Deletes offboarded tenants whose purge date has passed. Returns their number.
pub(super) async fn purge(request: &AdminRequest<'_>) -> Result<usize, AdminError> {
    let rows = request
        .store
        .rows(sql!(
            format!("SELECT {COLUMNS} FROM tenants WHERE purge_at <= ? AND status <> 'deleted' \
                 AND NOT EXISTS (SELECT 1 FROM tenants AS child WHERE child.parent = tenants.id AND child.status <> 'deleted') LIMIT 20"),
            request.now.get()
        ))
        .await?;
    let mut buried = 0_usize;
    for row in &rows {
        let record = TenantRow::of(row);
        let mut change = request.transaction();
        match bury(request, &mut change, &record, ("tenant.purge", None)).await {
            Ok(()) => change.commit().await?,
            Err(refusal) => {
                web_sys::console::error_1(
                    &format!("control: `{}` is not purged yet: {}", record.id, refusal.code()).into(),
                );
                continue;
            }
        }
        buried = buried.saturating_add(1);
    }
    Ok(buried)
}

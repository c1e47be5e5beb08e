//! Moves of a tenant, with its descendants, to another parent.
//!
//! A move within a family changes one record. A move to another family also transfers the counts
//! from one ledger to the other:
//!
//! 1. [`begin`] stores the move in the table `moves`. In the table `moving` it locks the tenant,
//!    its descendants and the new parent.
//! 2. [`finish`] takes the counts from the old ledger, gives them to the new one, and commits the
//!    records.
//!
//! Every step of [`finish`] is idempotent. If the move is interrupted, the same request or the
//! scheduled run finishes it as it was stored. Until then, no other change to the locked tenants
//! commits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::AdminError;
use super::publish;
use super::records::{PublishedCatalog, TenantRow, TreePosition};
use super::request::{AdminRequest, AdminResponse, checked};
use crate::control::{MoveTenant, merge};
use crate::ledger::{IdempotencyKey, LedgerRequest, Migration};
use crate::model::bounds::{MAX_HIERARCHY_DEPTH, MAX_MOVING};
use crate::model::{Tenant, TenantId, gather};
use crate::worker::runtime::edge;
use crate::worker::runtime::fault;
use crate::worker::sources::d1::{Row, at, document, sql, text};

/// Moves a tenant below another parent, or makes it a root.
pub(super) async fn move_to(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let asked: MoveTenant = request.read()?;
    let record = request.tenant(id).await?;
    request.expect(record.epoch)?;
    let parent = asked.parent.as_ref().map(TenantId::as_str);
    if let Some(open) = request.store.row(sql!("SELECT * FROM moves WHERE tenant = ?", id)).await? {
        // A repeated request continues the open move. A different one has to wait for its end.
        let same = at(&document(&open, "question"), "/parent").as_str() == parent;
        return if same { finish(request, &open).await } else { Err(AdminError::BUSY) };
    }
    let published = request.catalog().await?;
    let below = request.store.below(id).await?;
    let place = match &asked.parent {
        None => TreePosition { root: record.id.clone(), above: Vec::new(), owner: None },
        Some(parent) => goal(request, &record, parent, &below, &published).await?,
    };
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "parent": parent }));
    // A move must not begin if its final record is invalid. For example, a root needs its own plan.
    checked(Tenant::parse_against(&after.to_string(), &published.catalog))?;
    // Counts must not leave their jurisdiction.
    if request.config.jurisdiction(&place.root) != request.config.jurisdiction(&record.root) {
        let found = format!("`{}`", place.root);
        return Err(AdminError::problem("$.parent", found, "a tenant whose ledger is in the same jurisdiction"));
    }
    if place.root == record.root {
        within(request, &record, after, asked, &published, place).await
    } else {
        begin(request, &record, &asked, &below, place).await
    }
}

/// The position below a parent, if the tenant may move there.
async fn goal(
    request: &AdminRequest<'_>,
    record: &TenantRow,
    parent: &TenantId,
    below: &[(String, String)],
    published: &PublishedCatalog,
) -> Result<TreePosition, AdminError> {
    let refuse = |expected: &str| Err(AdminError::problem("$.parent", format!("`{parent}`"), expected));
    let place = request.place_below(parent, published, false).await?;
    if place.above.contains(&record.id) {
        return refuse("a tenant that is not below this one");
    }
    if place.above.len().saturating_add(deepest(&record.id, below)) > MAX_HIERARCHY_DEPTH {
        return refuse("a tenant with fewer ancestors: a line has at most 8 generations");
    }
    if record.member("parent") == parent.as_str() {
        Ok(place)
    } else {
        request.place_below(parent, published, true).await
    }
}

/// Adds a precondition: the new parent still has the same root and is not below the moving tenant.
fn still(change: &mut super::transaction::Transaction<'_>, parent: &str, root: &str, moving: &str) {
    change.precondition(
        "(SELECT root FROM tenants WHERE id = ?1 AND status <> 'deleted') = ?2 AND NOT EXISTS (WITH RECURSIVE line (id, depth) AS (SELECT ?1, 0 \
         UNION ALL SELECT tenants.parent, depth + 1 FROM line JOIN tenants ON tenants.id = line.id WHERE tenants.parent IS NOT NULL AND depth < 16) \
         SELECT 1 FROM line WHERE id = ?3)",
        &[parent.into(), root.into(), moving.into()],
    );
}

/// A move within a family.
async fn within(
    request: &AdminRequest<'_>,
    record: &TenantRow,
    after: Value,
    asked: MoveTenant,
    published: &PublishedCatalog,
    place: TreePosition,
) -> Result<AdminResponse, AdminError> {
    let mut change = request.transaction();
    if let Some(parent) = &asked.parent {
        still(&mut change, parent.as_str(), &place.root, &record.id);
    }
    place.audit(&mut change, &record.id).await?;
    let after = request.save(&mut change, record, after, published, ("tenant.move", asked.reason.as_deref())).await?;
    let body = after.to_string();
    request.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, body).with_version(record.epoch.saturating_add(1)))
}

/// Stores a move to another family, then executes it.
async fn begin(
    request: &AdminRequest<'_>,
    record: &TenantRow,
    asked: &MoveTenant,
    below: &[(String, String)],
    place: TreePosition,
) -> Result<AdminResponse, AdminError> {
    if below.len() >= MAX_MOVING {
        return Err(AdminError::TOO_MANY.with(json!({ "limit": MAX_MOVING })));
    }
    let parent = asked.parent.as_ref().map(TenantId::as_str);
    let old_above: Vec<String> =
        request.store.line(&record.id).await?.into_iter().skip(1).map(|above| above.id).collect();
    let question = json!({
        "parent": parent, "reason": asked.reason, "below": below, "old_root": record.root, "old_above": old_above,
        "root": place.root, "above": place.above,
    });
    let id = edge::random(10);
    let stopped: Vec<&str> =
        below.iter().map(|(id, _)| id.as_str()).chain([record.id.as_str()]).chain(parent).collect();
    let mut change = request.transaction();
    if let Some(parent) = parent {
        still(&mut change, parent, &place.root, &record.id);
    }
    // Fails if a descendant was added, deleted or moved away since they were read.
    change.precondition(
        "(WITH RECURSIVE below (id, depth) AS (SELECT id, 1 FROM tenants WHERE parent = ?1 AND status <> 'deleted' UNION ALL \
         SELECT tenants.id, depth + 1 FROM below JOIN tenants ON tenants.parent = below.id WHERE tenants.status <> 'deleted' AND depth < 16) \
         SELECT count(*) FROM below) = ?2",
        &[record.id.as_str().into(), below.len().into()],
    );
    place.audit(&mut change, &record.id).await?;
    change.run(sql!(
        "INSERT INTO moves (tenant, id, question, begun_at, changed_at) VALUES (?, ?, ?, ?, ?)",
        record.id,
        id,
        question.to_string(),
        request.now.get(),
        request.now.get()
    ));
    change.run(sql!(
        "INSERT INTO moving (tenant, move) SELECT value, ? FROM json_each(?)",
        id,
        json!(stopped).to_string()
    ));
    change.commit().await?;
    fault::fault(request.fault.as_deref(), "move-begun");
    let open =
        request.store.row(sql!("SELECT * FROM moves WHERE tenant = ?", record.id)).await?.ok_or(AdminError::BUSY)?;
    finish(request, &open).await
}

/// Executes a stored move. Every step is idempotent.
async fn finish(request: &AdminRequest<'_>, open: &Row) -> Result<AdminResponse, AdminError> {
    let question = document(open, "question");
    let member = |name: &str| at(&question, name).as_str().unwrap_or_default().to_owned();
    let list = |name: &str| serde_json::from_value::<Vec<String>>(at(&question, name).clone()).unwrap_or_default();
    let below: Vec<(String, String)> = serde_json::from_value(at(&question, "/below").clone()).unwrap_or_default();
    let (id, tenant, root, old_root) = (text(open, "id"), text(open, "tenant"), member("/root"), member("/old_root"));
    let record = request.store.record(tenant).await?.ok_or(AdminError::NOT_FOUND)?;
    let epoch = record.epoch.saturating_add(1);
    let mut tenants: BTreeMap<String, Option<String>> =
        gather(below.into_iter().map(|(id, parent)| (id, Some(parent))));
    tenants.insert(tenant.to_owned(), None);
    let leave = LedgerRequest {
        leave: Some(Migration { tenants: tenants.clone(), ancestors: list("/old_above") }),
        epochs: [(tenant.into(), epoch)].into_iter().collect(),
        ..LedgerRequest::default()
    };
    let transfer = request.ask_ledger(&old_root, &leave).await?.transfer.ok_or(AdminError::UNAVAILABLE)?;
    crate::worker::runtime::fault::fault(request.fault.as_deref(), "move-left");
    let arrive = LedgerRequest {
        arrive: Some((Migration { tenants, ancestors: list("/above") }, transfer)),
        once: Some(IdempotencyKey { id, fingerprint: &root, event: false }),
        ..LedgerRequest::default()
    };
    request.ask_ledger(&root, &arrive).await?;
    fault::fault(request.fault.as_deref(), "move-arrived");
    let published = request.catalog().await?;
    let mut change = request.transaction();
    change.run(sql!("DELETE FROM moving WHERE move = ?", id));
    change.run(sql!("DELETE FROM moves WHERE id = ?", id));
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "parent": at(&question, "/parent") }));
    let reason = at(&question, "/reason").as_str();
    // Both ledgers, that of the new family and that of the old one, learn the new epoch.
    let moved = TenantRow { root: root.clone(), ..record };
    let after = request.save(&mut change, &moved, after, &published, ("tenant.move", reason)).await?;
    change.publish(&moved.key(), epoch, Some(&old_root));
    change.run(sql!(
        "UPDATE tenants SET root = ?1 WHERE id IN (WITH RECURSIVE below (id, depth) AS (SELECT ?2, 0 UNION ALL \
         SELECT tenants.id, depth + 1 FROM below JOIN tenants ON tenants.parent = below.id WHERE depth < 16) SELECT id FROM below)",
        root,
        tenant
    ));
    let body = after.to_string();
    request.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, body).with_version(epoch))
}

/// Resumes at most `most` open moves. The move that was tried least recently comes first.
pub(super) async fn resume(request: &AdminRequest<'_>, most: u64) -> Result<(), AdminError> {
    for open in request.store.rows(sql!("SELECT * FROM moves ORDER BY changed_at LIMIT ?", most)).await? {
        let tried = sql!("UPDATE moves SET changed_at = ? WHERE id = ?", request.now.get(), text(&open, "id"));
        request.store.run(&[tried]).await?;
        if let Err(refusal) = finish(request, &open).await {
            let tenant: Value = text(&open, "tenant").into();
            web_sys::console::error_1(&format!("control: {tenant} cannot be moved yet: {}", refusal.code()).into());
        }
    }
    Ok(())
}

/// Number of generations from a tenant to its deepest descendant, both included.
fn deepest(id: &str, below: &[(String, String)]) -> usize {
    let mut depths = BTreeMap::from([(id, 1_usize)]);
    for (child, parent) in below {
        let depth = depths.get(parent.as_str()).copied().unwrap_or(1).saturating_add(1);
        depths.insert(child, depth);
    }
    depths.into_values().max().unwrap_or(1)
}

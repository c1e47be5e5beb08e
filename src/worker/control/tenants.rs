//! Tenants: listed, read, changed, and led through their life.

use serde_json::{Map, Value, json};

use super::desk::{Answer, Desk, paged};
use super::records::{COLUMNS, Record};
use super::refusal::Refusal;
use super::store::{Change, at, document, sql, text};
use super::{jobs, keys, publish};
use crate::control::{MoveTenant, Reasoned, Route, merge};
use crate::ledger::{Move, Order};
use crate::model::bounds::{MAX_HIERARCHY_DEPTH, SLUG_QUARANTINE_MS};
use crate::model::{Override, UnixMillis};
use crate::worker::charge;

/// Members of a record that have operations of their own.
const GUARDED: [&str; 5] = ["id", "epoch", "status", "parent", "domains"];
const STATUSES: [&str; 6] = ["active", "provisioning", "suspended", "inactive", "maintenance", "deleted"];
const DAY_MS: u64 = 86_400_000;

pub(super) async fn list(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&["status", "plan", "parent", "slug"])?;
    let mut filters = String::from("id > ?");
    let mut values = vec![Value::from(cursor)];
    for column in ["status", "plan", "parent", "slug"] {
        if let Some(value) = desk.query.get(column) {
            let meant = match column {
                "status" => STATUSES.contains(&value.as_str()),
                "plan" => crate::model::PlanRef::is_valid(value),
                "parent" => crate::model::TenantId::is_valid(value),
                _ => crate::model::Slug::is_valid(value),
            };
            if !meant {
                return Err(Refusal::problem(column, value.as_str(), "a value of this kind"));
            }
            filters.push_str(&format!(" AND {column} = ?"));
            values.push(value.as_str().into());
        }
    }
    if !desk.query.contains_key("status") {
        filters.push_str(" AND status <> 'deleted'");
    }
    // INVARIANT (own tenant): see `Desk::tenant`.
    if let Some(own) = &desk.actor.tenant {
        let own = own.as_str();
        let below = desk.store.below(own).await?;
        let ids: Vec<&str> = below.iter().map(|(id, _)| id.as_str()).chain([own]).collect();
        filters.push_str(" AND id IN (SELECT value FROM json_each(?))");
        values.push(json!(ids).to_string().into());
    }
    values.push(limit.saturating_add(1).into());
    let mut statement = vec![Value::from(format!(
        "SELECT id, slug, name, status, plan, parent, epoch, created_at, changed_at FROM tenants WHERE {filters} ORDER BY id LIMIT ?"
    ))];
    statement.append(&mut values);
    let rows = desk.store.rows(Value::from(statement)).await?;
    let entries = rows.into_iter().map(timed).collect();
    Ok(Answer::json(200, &paged(limit, entries, "/id")))
}

/// A row with times as people read them.
pub(super) fn timed(mut row: Map<String, Value>) -> Value {
    for (column, value) in &mut row {
        if let (true, Some(millis)) = (column.ends_with("_at"), value.as_u64()) {
            *value = UnixMillis::new(millis).to_string().into();
        }
    }
    row.into()
}

pub(super) async fn get(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    Ok(Answer::json(200, &record.value).with_version(record.epoch))
}

/// Changes a record with an edit of its document.
async fn edit(
    desk: &Desk<'_>,
    record: &Record,
    said: (&str, Option<&str>),
    edit: impl FnOnce(&mut Value),
    more: impl FnOnce(&mut Change<'_>),
) -> Result<Answer, Refusal> {
    desk.expect(record.epoch)?;
    let published = desk.catalog().await?;
    let mut after = record.value.clone();
    edit(&mut after);
    let mut change = desk.change();
    let after = desk.save(&mut change, record, after, &published, said).await?;
    more(&mut change);
    let body = after.to_string();
    desk.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(desk).await;
    Ok(Answer::text(200, body).with_version(record.epoch.saturating_add(1)))
}

/// `PATCH`: a merge patch of what has no operation of its own.
pub(super) async fn change(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let patch: Value = desk.read()?;
    let Value::Object(members) = &patch else {
        return Err(Refusal::problem("$", "no object", "a merge patch (RFC 7396)"));
    };
    if let Some(name) = GUARDED.iter().find(|name| members.contains_key(**name)) {
        return Err(Refusal::problem(&format!("$.{name}"), "a member that has its own operation", "other members"));
    }
    edit(desk, &record, ("tenant.change", None), |after| merge(after, &patch), |_| {}).await
}

/// Leads a tenant from one status to another.
pub(super) async fn pass(desk: &Desk<'_>, id: &str, route: Route) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let asked: Reasoned = desk.read()?;
    let (action, from, to): (_, &[&str], _) = match route {
        Route::SuspendTenant => ("tenant.suspend", &["active", "maintenance", "inactive"], "suspended"),
        Route::DeactivateTenant => ("tenant.deactivate", &["active", "maintenance"], "inactive"),
        Route::MaintainTenant => ("tenant.maintenance", &["active"], "maintenance"),
        Route::OffboardTenant => ("tenant.offboard", &["active", "maintenance", "suspended", "inactive"], "inactive"),
        _ => ("tenant.reactivate", &["suspended", "inactive", "maintenance"], "active"),
    };
    if !from.contains(&record.status()) {
        return Err(Refusal::WRONG_STATUS.with(json!({ "status": record.status(), "allowed": from })));
    }
    let purge_at =
        (route == Route::OffboardTenant).then(|| desk.now.plus(asked.retention_days.0.saturating_mul(DAY_MS)).get());
    let said = (action, asked.reason.as_deref());
    let set = |after: &mut Value| merge(after, &json!({ "status": to }));
    edit(desk, &record, said, set, |change| {
        change.run(sql!("UPDATE tenants SET purge_at = ? WHERE id = ?", purge_at, record.id));
    })
    .await
}

/// Deletes a tenant: what is left is its id, so that nobody gets it again, and the trail.
pub(super) async fn delete(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    desk.expect(record.epoch)?;
    let reason = desk.query.get("reason").cloned();
    let mut change = desk.change();
    bury(desk, &mut change, &record, ("tenant.delete", reason.as_deref())).await?;
    let body = json!({ "id": record.id, "status": "deleted" }).to_string();
    desk.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(desk).await;
    Ok(Answer::text(200, body))
}

/// What deleting a tenant takes: a tombstone, its slug in quarantine, its domains free, its keys revoked.
pub(super) async fn bury(
    desk: &Desk<'_>,
    change: &mut Change<'_>,
    record: &Record,
    (action, reason): (&str, Option<&str>),
) -> Result<(), Refusal> {
    change.follow(&record.id, &record.head);
    if !desk.store.below(&record.id).await?.is_empty() {
        return Err(Refusal::HAS_CHILDREN);
    }
    let epoch = record.epoch.saturating_add(1);
    let mut stone = json!({ "id": record.id, "slug": record.member("slug"), "status": "deleted", "epoch": epoch });
    for kept in ["plan", "parent"] {
        if let (Some(value), Value::Object(members)) = (record.value.get(kept), &mut stone) {
            members.insert(kept.to_owned(), value.clone());
        }
    }
    change.run(sql!(
        "UPDATE tenants SET name = NULL, status = 'deleted', epoch = ?, record = ?, changed_at = ?, ends_at = NULL, purge_at = NULL WHERE id = ?",
        epoch,
        stone.to_string(),
        desk.now.get(),
        record.id
    ));
    let free_at = desk.now.plus(SLUG_QUARANTINE_MS).get();
    change.run(sql!("UPDATE slugs SET free_at = ? WHERE tenant = ? AND free_at IS NULL", free_at, record.id));
    change.publish(&format!("slug:{}", record.member("slug")), epoch, None);
    for row in desk
        .store
        .rows(sql!("SELECT host FROM domains WHERE tenant = ? AND verified_at IS NOT NULL", record.id))
        .await?
    {
        change.publish(&format!("domain:{}", text(&row, "host")), epoch, None);
    }
    change.run(sql!("DELETE FROM domains WHERE tenant = ?", record.id));
    keys::end_all(desk, change, &record.id).await?;
    // What the trail says of people goes with them: names and metadata of the record are not repeated here.
    let said = json!({ "status": { "before": record.status(), "after": "deleted" } });
    change.note(&record.id, action, reason, &said).await?;
    change.publish(&record.key(), epoch, Some(&record.root));
    Ok(())
}

/// Moves a tenant under another one. Where that is of another family, its counts move first.
pub(super) async fn move_to(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let asked: MoveTenant = desk.read()?;
    let record = desk.tenant(id).await?;
    desk.expect(record.epoch)?;
    place(desk, record, &asked).await
}

/// Puts a tenant where it is asked to be; goes on where an earlier try has stopped.
pub(super) async fn place(desk: &Desk<'_>, record: Record, asked: &MoveTenant) -> Result<Answer, Refusal> {
    let id = record.id.as_str();
    let published = desk.catalog().await?;
    let below = desk.store.below(id).await?;
    let mut parent_head = None;
    let (root, above) = match &asked.parent {
        None => (record.id.clone(), Vec::new()),
        Some(parent) => {
            let line = desk.store.line(parent.as_str()).await?;
            let Some(own) = line.first().filter(|own| own.status() != "deleted") else {
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), "the id of a tenant"));
            };
            let deepest = deepest(&record.id, &below);
            if line.iter().any(|above| above.id == record.id) {
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), "a tenant that is not below this one"));
            }
            if line.len().saturating_add(deepest) > MAX_HIERARCHY_DEPTH {
                let expected = format!("a line of at most {MAX_HIERARCHY_DEPTH} generations");
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), &expected));
            }
            if record.member("parent") != parent.as_str() {
                desk.has_room_below(parent.as_str(), &published).await?;
            }
            parent_head = Some((parent.to_string(), own.head.clone()));
            let root = own.root.clone();
            (root, line.iter().map(|above| above.id.clone()).collect())
        }
    };
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "parent": asked.parent.as_ref().map(crate::model::TenantId::as_str) }));
    let mut change = desk.change();
    if let Some((parent, head)) = parent_head.filter(|(parent, _)| record.member("parent") != parent) {
        // One after the other, so that none of two exceeds what the parent may have.
        change.follow(&parent, &head);
        change.note(&parent, "tenant.child", None, &json!({ "child": { "after": record.id } })).await?;
    }
    // It is the new family's ledger that is told of the new record.
    let moved = Record {
        root: root.clone(),
        value: record.value.clone(),
        id: record.id.clone(),
        head: record.head.clone(),
        ..record
    };
    let after = desk.save(&mut change, &moved, after, &published, ("tenant.move", asked.reason.as_deref())).await?;
    if root != record.root {
        let old_above: Vec<String> = desk.store.line(id).await?.into_iter().skip(1).map(|above| above.id).collect();
        // What was begun is finished, by whoever comes: until then no ledger counts for the tenant.
        let job = format!("move {id} to {root} from {}", record.epoch);
        desk.store.run(&[jobs::begun(&job, "move", &json!({ "tenant": id, "parent": asked.parent.as_ref().map(crate::model::TenantId::as_str), "reason": asked.reason }), 1, desk.now)]).await?;
        relocate(desk, &record, &below, old_above, (&root, above), &job).await?;
        change.run(jobs::ended(&job, desk.now));
        change.run(sql!(
            "UPDATE tenants SET root = ? WHERE id IN (SELECT value FROM json_each(?))",
            root,
            family(&record.id, &below)
        ));
        change.publish(&record.key(), moved.epoch.saturating_add(1), Some(&record.root));
    }
    let body = after.to_string();
    desk.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(desk).await;
    Ok(Answer::text(200, body).with_version(record.epoch.saturating_add(1)))
}

/// The ids of a tenant and those below it, as JSON.
fn family(id: &str, below: &[(String, String)]) -> String {
    let ids: Vec<&str> = below.iter().map(|(id, _)| id.as_str()).chain([id]).collect();
    json!(ids).to_string()
}

/// Generations from a tenant down to the last below it.
fn deepest(id: &str, below: &[(String, String)]) -> usize {
    let mut depths = std::collections::BTreeMap::from([(id, 1_usize)]);
    for (child, parent) in below {
        let depth = depths.get(parent.as_str()).copied().unwrap_or(1).saturating_add(1);
        depths.insert(child, depth);
    }
    depths.into_values().max().unwrap_or(1)
}

/// Has the old family's ledger give up the counts of tenants, and the new one take them in. Both may be said again: where this
/// stops half-way, the same request goes on.
async fn relocate(
    desk: &Desk<'_>,
    record: &Record,
    below: &[(String, String)],
    old_above: Vec<String>,
    (root, above): (&str, Vec<String>),
    job: &str,
) -> Result<(), Refusal> {
    let mut tenants: std::collections::BTreeMap<String, Option<String>> =
        below.iter().map(|(id, parent)| (id.clone(), Some(parent.clone()))).collect();
    tenants.insert(record.id.clone(), None);
    let epoch = record.epoch.saturating_add(1);
    let leave = Order {
        leave: Some(Move { tenants: tenants.clone(), above: old_above }),
        epochs: [(record.id.as_str().into(), epoch)].into_iter().collect(),
        ..Order::default()
    };
    crate::worker::fault(desk.fault.as_deref(), "move-begun");
    let luggage = tell(desk, &record.root, &leave).await?.luggage.ok_or(Refusal::UNAVAILABLE)?;
    crate::worker::fault(desk.fault.as_deref(), "move-left");
    let arrive = Order {
        arrive: Some((Move { tenants, above }, luggage)),
        once: Some(crate::ledger::Once { id: job, print: root, event: false }),
        ..Order::default()
    };
    tell(desk, root, &arrive).await?;
    crate::worker::fault(desk.fault.as_deref(), "move-arrived");
    Ok(())
}

async fn tell(desk: &Desk<'_>, root: &str, order: &Order<'_>) -> Result<crate::ledger::Outcome, Refusal> {
    let root = crate::model::TenantId::parse(root).ok_or(Refusal::UNAVAILABLE)?;
    let asked = charge::ask(&root, order, desk.config, &desk.context);
    let heard = match asked {
        Ok(promise) => charge::outcome(promise).await,
        Err(reason) => Err(reason),
    };
    match heard {
        Ok(Some(outcome)) => Ok(outcome),
        Ok(None) => Err(Refusal::UNAVAILABLE),
        Err(reason) => {
            web_sys::console::error_1(&format!("ledger: {reason}").into());
            Err(Refusal::UNAVAILABLE)
        }
    }
}

/// All that is kept of a tenant: its record, names, keys without secrets, and its trail.
pub(super) async fn export(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    desk.only(&[])?;
    let record = desk.tenant(id).await?;
    let results = desk
        .store
        .run(&[
            sql!("SELECT slug, free_at FROM slugs WHERE tenant = ?", id),
            sql!("SELECT host, claimed_at, verified_at FROM domains WHERE tenant = ?", id),
            sql!("SELECT record FROM api_keys WHERE tenant = ?", id),
        ])
        .await?;
    let [slugs, domains, keys] = <[Vec<_>; 3]>::try_from(results).map_err(|_| Refusal::UNAVAILABLE)?;
    let keys: Vec<Value> = keys.iter().map(|row| keys::shown(&document(row, "record"))).collect();
    let timed = |rows: Vec<Map<String, Value>>| rows.into_iter().map(timed).collect::<Vec<_>>();
    let body = json!({
        "exported_at": desk.now,
        "tenant": record.value,
        "purge_at": record.purge_at.map(UnixMillis::new),
        "slugs": timed(slugs),
        "domains": timed(domains),
        "api_keys": keys,
        "audit": { "head": desk.store.head(id).await?, "lines": format!("/_gate/v1/admin/tenants/{id}/audit?format=lines") },
    });
    Ok(Answer::json(200, &body).with_version(record.epoch))
}

/// Sets an override: it takes the place of the one for the same thing that starts at the same time.
pub(super) async fn put_override(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let _: Override = desk.read()?;
    let new: Value = desk.read()?;
    let reason = new.get("reason").and_then(Value::as_str).map(String::from);
    let same = |entry: &Value| ["feature", "limit", "starts_at"].iter().all(|name| entry.get(*name) == new.get(*name));
    let set = |after: &mut Value| {
        let mut entries = overrides(after);
        entries.retain(|entry| !same(entry));
        entries.push(new.clone());
        merge(after, &json!({ "overrides": entries }));
    };
    edit(desk, &record, ("override.set", reason.as_deref()), set, |_| {}).await
}

/// Removes the overrides of a feature or limit.
pub(super) async fn remove_override(desk: &Desk<'_>, id: &str, key: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let is =
        |entry: &Value| ["feature", "limit"].iter().any(|name| entry.get(*name).and_then(Value::as_str) == Some(key));
    let mut entries = overrides(&record.value);
    let before = entries.len();
    entries.retain(|entry| !is(entry));
    if entries.len() == before {
        return Err(Refusal::NOT_FOUND);
    }
    let set = |after: &mut Value| merge(after, &json!({ "overrides": entries }));
    edit(desk, &record, ("override.remove", None), set, |_| {}).await
}

fn overrides(record: &Value) -> Vec<Value> {
    record.get("overrides").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// `GET /expiring?before=…`: what ends by then, soonest first.
pub(super) async fn expiring(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let (limit, _) = desk.page(&["before"])?;
    let before = match desk.query.get("before") {
        None => desk.now.plus(DAY_MS.saturating_mul(30)),
        Some(text) => {
            UnixMillis::parse(text).ok_or_else(|| Refusal::problem("before", text.as_str(), "a time (RFC 3339)"))?
        }
    };
    let statement = sql!(
        "SELECT id, slug, record, ends_at FROM tenants WHERE ends_at IS NOT NULL AND ends_at <= ? ORDER BY ends_at LIMIT ?",
        before.get(),
        limit.saturating_add(1)
    );
    let rows = desk.store.rows(statement).await?;
    let mut entries = Vec::new();
    for row in rows.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        let record = document(row, "record");
        let mut ending = |kind: &str, what: &Value| {
            let ends = what
                .get("ends_at")
                .and_then(|at| at.as_str().and_then(UnixMillis::parse).or_else(|| at.as_u64().map(UnixMillis::new)));
            if let Some(ends) = ends.filter(|ends| *ends > desk.now && *ends <= before) {
                entries.push(json!({ "tenant": text(row, "id"), "slug": text(row, "slug"), "kind": kind, "ends_at": ends, "what": what }));
            }
        };
        for entry in overrides(&record) {
            ending("override", &entry);
        }
        for kind in ["contract", "trial"] {
            if let Some(what) = record.get(kind) {
                ending(kind, what);
            }
        }
    }
    entries.sort_by(|a, b| at(a, "/ends_at").as_str().cmp(&at(b, "/ends_at").as_str()));
    Ok(Answer::json(
        200,
        &json!({ "items": entries, "complete": u64::try_from(rows.len()).unwrap_or(u64::MAX) <= limit }),
    ))
}

/// Deletes tenants whose data has been kept long enough. How many.
pub(super) async fn purge(desk: &Desk<'_>) -> Result<usize, Refusal> {
    let rows = desk
        .store
        .rows(sql!(
            format!("SELECT {COLUMNS} FROM tenants WHERE purge_at <= ? AND status <> 'deleted' LIMIT 20"),
            desk.now.get()
        ))
        .await?;
    let mut buried = 0_usize;
    for row in &rows {
        let record = Record::of(row);
        let mut change = desk.change();
        match bury(desk, &mut change, &record, ("tenant.purge", None)).await {
            Ok(()) => change.commit().await?,
            // Its children go first, each at its own time.
            Err(refusal) if refusal.code() == "HAS_CHILDREN" => continue,
            Err(refusal) => return Err(refusal),
        }
        buried = buried.saturating_add(1);
    }
    Ok(buried)
}

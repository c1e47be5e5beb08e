//! The catalog: reads and replaces it, reports the impact of a change, and kills features.
//!
//! Every replacement gets the next version. Before it is written, three checks protect tenants:
//! their plan versions are unchanged, everything that their records name still exists, and their
//! slugs still lead to them. Preconditions of the transaction repeat these checks at the moment of
//! the commit.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::AdminError;
use super::page::{ListPage, ListQuery};
use super::records::PublishedCatalog;
use super::request::{AdminRequest, AdminResponse, checked, paged};
use super::transaction::Transaction;
use super::{page, publish};
use crate::control::{
    IDENTITY_MEMBERS, ImpactQuestion, Impacts, Permission, ROUTE_IDENTITY_MEMBERS, breaks, changes, compare, merge,
    metrics, replay,
};
use crate::gate::{Ask, Budget, CompiledCatalog, LocalGate};
use crate::ledger::{Charge, CounterOp, LedgerRequest, Verdict};
use crate::model::bounds::MAX_CATALOG_PART_BYTES;
use crate::model::{Catalog, Key, Problem, Problems, Slug, Tenant, TenantId, gather};
use crate::resolve::Request;
use crate::wire::DecideBody;
use crate::worker::sources::d1::{Row, document, number, sql, text};

/// The audit trail of the catalog.
pub(super) const CHAIN: &str = "catalog";

pub(super) async fn get(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    request.only(&["version"])?;
    let published = request.catalog().await?;
    request.expect(published.version)?;
    let Some(asked) = request.query.get("version") else {
        return Ok(AdminResponse::text(200, published.text.to_string()).with_version(published.version));
    };
    let version =
        asked.parse().map_err(|_| AdminError::problem("version", asked.as_str(), "a version of the catalog"))?;
    let text = request.store.catalog_text(version).await?;
    if text.is_empty() { Err(AdminError::NOT_FOUND) } else { Ok(AdminResponse::text(200, text).with_version(version)) }
}

pub(super) async fn versions(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let before = cursor.parse::<u64>().unwrap_or(u64::from(u32::MAX));
    let statement = sql!(
        "SELECT version, created_at, sum(length(text)) AS bytes FROM catalogs WHERE version < ? GROUP BY version ORDER BY version DESC LIMIT ?",
        before,
        limit.saturating_add(1)
    );
    let entries = request.store.rows(statement).await?.into_iter().map(page::timed).collect();
    Ok(AdminResponse::json(200, &paged(limit, entries, "/version")))
}

/// `PUT /catalog`: replaces the catalog. The document gets the next `version`, whatever it says.
/// `?change_terms=true` allows changes to limits that plan versions in use refer to.
pub(super) async fn put(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    request.only(&["change_terms"])?;
    request.flag("change_terms")?;
    let value: Value = request.read()?;
    let before = request.store.catalog().await?;
    request.expect(before.as_ref().map_or(0, |before| before.version))?;
    replace_with(request, before.as_ref(), still_killed(before.as_ref(), value), ("catalog.put", None)).await
}

/// Keeps features killed if the new document does not mention `kill`: a catalog that was written
/// before the kill must not end it by accident.
fn still_killed(before: Option<&PublishedCatalog>, mut value: Value) -> Value {
    let killed = before.iter().flat_map(|before| &before.catalog.features).filter(|(_, feature)| feature.kill);
    for (key, _) in killed {
        if let Some(Value::Object(feature)) = value.pointer_mut(&format!("/features/{key}")) {
            feature.entry("kill").or_insert(Value::Bool(true));
        }
    }
    value
}

/// Replaces the catalog with a document, as the next version.
pub(super) async fn replace_with(
    request: &AdminRequest<'_>,
    before: Option<&PublishedCatalog>,
    mut value: Value,
    said: (&str, Option<&str>),
) -> Result<AdminResponse, AdminError> {
    let version = before.map_or(0, |before| before.version);
    if let Value::Object(members) = &mut value {
        // The first catalog may come from another deployment: its version numbers continue.
        let written = members.get("version").and_then(Value::as_u64).filter(|_| version == 0).unwrap_or(0);
        members.insert(String::from("version"), version.saturating_add(1).max(written).into());
    }
    // Only a catalog that compiles may be published.
    checked(CompiledCatalog::parse(&value.to_string()))?;
    replace(request, before, value, said).await
}

/// The identity settings of a catalog, which say which credentials act for tenants.
fn identity(catalog: &Value) -> Value {
    let part = |document: &Value, names: &[&str]| -> Map<String, Value> {
        gather(names.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone()))))
    };
    let routes = catalog.get("routes").and_then(Value::as_array).into_iter().flatten();
    let routes: Vec<_> = routes.map(|route| part(route, &ROUTE_IDENTITY_MEMBERS)).collect();
    json!({ "members": part(catalog, &IDENTITY_MEMBERS), "routes": routes })
}

/// Plan versions of the old catalog that the new one drops or changes. With `deep`, also those
/// whose limits the new catalog defines differently.
fn altered(old: &Value, new: &Value, deep: bool) -> Vec<String> {
    let members =
        |document: &Value, name: &str| document.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let terms = |document: &Value, plan: &str| {
        let mut plan = document.get("plans").and_then(|plans| plans.get(plan)).cloned().unwrap_or_default();
        merge(&mut plan, &json!({ "title": null, "retired": null }));
        let mut limits = if deep { members(document, "limits") } else { Map::new() };
        limits.retain(|key, limit| {
            let named = plan.get("limits").and_then(|limits| limits.get(key)).is_some();
            merge(limit, &json!({ "description": null, "unit": null }));
            if named {
                merge(limit, &json!({ "default": null }));
            }
            // A new limit, and an unnamed limit whose default is unlimited, are no terms of the
            // plan.
            let was_there = old.get("limits").and_then(|limits| limits.get(key)).is_some();
            was_there && (named || limit.get("default").is_some_and(|allowance| allowance != "unlimited"))
        });
        (plan, limits)
    };
    members(old, "plans").keys().filter(|plan| terms(old, plan) != terms(new, plan)).cloned().collect()
}

/// Names of features, limits and add-ons that the new catalog drops or redefines.
fn dropped(old: &Value, new: &Value) -> Vec<String> {
    let meaning = |document: &Value, part: &str, name: &str| {
        let entry = document.get(part).and_then(|part| part.get(name))?;
        Some(["type", "kind", "variants"].map(|member| entry.get(member).cloned()))
    };
    let names = |part: &'static str| {
        let all = old.get(part).and_then(Value::as_object).into_iter().flat_map(|entries| entries.keys());
        all.filter(move |name| meaning(old, part, name) != meaning(new, part, name)).cloned()
    };
    ["features", "limits", "addons"].into_iter().flat_map(names).collect()
}

/// SQL condition: the record mentions one of the names in `?1`.
const NAMING: &str = "status <> 'deleted' AND EXISTS (SELECT 1 FROM json_tree(record) AS entry \
     WHERE entry.key IN (SELECT value FROM json_each(?1)) OR entry.atom IN (SELECT value FROM json_each(?1)))";
/// Maximum number of tenants that a refusal lists.
const BROKEN_SHOWN: usize = 20;
/// Maximum number of records read at once.
const RECORDS_READ: usize = 50;

/// Refuses a catalog that breaks a record. INVARIANT (no record is broken): the catalog has
/// everything that tenants' records name.
async fn has_all(request: &AdminRequest<'_>, names: &[String], old: &Catalog, new: &Catalog) -> Result<(), AdminError> {
    let (mut broken, mut last) = (Vec::new(), String::new());
    while !names.is_empty() && broken.len() < BROKEN_SHOWN {
        let page = format!("SELECT id, record FROM tenants WHERE {NAMING} AND id > ?2 ORDER BY id LIMIT ?3");
        let rows = request.store.rows(sql!(page, json!(names).to_string(), last, RECORDS_READ)).await?;
        for row in &rows {
            let problems = breaks(&document(row, "record"), old, new, request.now);
            if !problems.is_empty() {
                broken.push(json!({ "tenant": text(row, "id"), "problems": problems }));
            }
        }
        if rows.len() < RECORDS_READ {
            break;
        }
        last = rows.last().map(|row| text(row, "id").to_owned()).unwrap_or_default();
    }
    if broken.is_empty() { Ok(()) } else { Err(AdminError::CATALOG_IN_USE.with(json!({ "tenants": broken }))) }
}

/// Refuses a catalog that reserves the slug of a tenant, since the slug would stop leading to it.
async fn leads_to_all(
    request: &AdminRequest<'_>,
    change: &mut Transaction<'_>,
    old: &Catalog,
    new: &Catalog,
) -> Result<(), AdminError> {
    let kept = new.own_segments().chain(new.resolution.reserved()).filter_map(Slug::parse);
    let names: Vec<Slug> = kept.filter(|slug| new.is_reserved(slug) && !old.is_reserved(slug)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let names = json!(names).to_string();
    let taken = "SELECT id, slug FROM tenants WHERE status <> 'deleted' AND slug IN (SELECT value FROM json_each(?))";
    let rows = request.store.rows(sql!(format!("{taken} LIMIT ?"), names, BROKEN_SHOWN)).await?;
    let problem = |row: &Row| {
        let found = format!("`{}`, which the catalog reserves", text(row, "slug"));
        json!({ "tenant": text(row, "id"), "problems": [{ "path": "$.slug", "found": found, "expected": "a label that is not reserved" }] })
    };
    if rows.is_empty() {
        // A tenant may take one of these slugs concurrently.
        change.precondition(&format!("NOT EXISTS ({taken})"), &[names.into()]);
        return Ok(());
    }
    Err(AdminError::CATALOG_IN_USE.with(json!({ "tenants": rows.iter().map(problem).collect::<Vec<_>>() })))
}

/// Selects the plan versions of a list that tenants have, trials included.
const USED: &str = "SELECT plan, count(*) AS tenants FROM (SELECT plan FROM tenants WHERE status <> 'deleted' UNION ALL \
     SELECT json_extract(record, '$.trial.plan') FROM tenants WHERE ends_at IS NOT NULL AND status <> 'deleted') \
     WHERE plan IN (SELECT value FROM json_each(?)) GROUP BY plan";

/// Refuses changes to plan versions in use. INVARIANT (plan versions are immutable): a plan version
/// that a tenant has, trials included, stays in the catalog unchanged.
async fn stays(request: &AdminRequest<'_>, altered: &[String]) -> Result<(), AdminError> {
    let used = request.store.rows(sql!(USED, json!(altered).to_string())).await?;
    let problem = |row: &Row| {
        let (plan, tenants) = (text(row, "plan"), number(row, "tenants"));
        json!({
            "path": format!("$.plans[\"{plan}\"]"), "found": "a missing or changed plan version, or changed terms of its limits",
            "expected": format!("the unchanged plan version: {tenants} tenants have it"),
        })
    };
    if used.is_empty() {
        return Ok(());
    }
    Err(AdminError::PLAN_IN_USE.with(json!({ "problems": used.iter().map(problem).collect::<Vec<_>>() })))
}

/// Writes the next version of the catalog.
async fn replace(
    request: &AdminRequest<'_>,
    before: Option<&PublishedCatalog>,
    after: Value,
    said: (&str, Option<&str>),
) -> Result<AdminResponse, AdminError> {
    let version = after.get("version").and_then(Value::as_u64).unwrap_or(1);
    let old: Value = before.and_then(|before| serde_json::from_str(&before.text).ok()).unwrap_or_default();
    // INVARIANT (no escalation): `catalog:write` alone does not permit new identity settings.
    if identity(&old) != identity(&after) && !request.actor.permits(Permission::Identity) {
        return Err(AdminError::FORBIDDEN.with(json!({ "permission": Permission::Identity })));
    }
    let text = after.to_string();
    let altered = altered(&old, &after, !request.flag("change_terms")?);
    stays(request, &altered).await?;
    let new = checked(Catalog::parse(&text))?;
    let dropped = dropped(&old, &after);
    let mut change = request.transaction();
    if let Some(before) = before {
        leads_to_all(request, &mut change, &before.catalog, &new).await?;
    }
    if let Some(before) = before.filter(|_| !dropped.is_empty()) {
        has_all(request, &dropped, &before.catalog, &new).await?;
        // A record may begin to name one of them concurrently.
        let names = json!(dropped).to_string();
        change.precondition(
            &format!("NOT EXISTS (SELECT 1 FROM tenants WHERE {NAMING} AND changed_at >= ?2)"),
            &[names.into(), request.now.get().into()],
        );
    }
    // A tenant may get one of these plan versions concurrently.
    change.precondition(&format!("NOT EXISTS ({USED})"), &[json!(altered).to_string().into()]);
    pieces(&mut change, version, &text, request.now.get());
    change.audit(CHAIN, said.0, said.1, &summary(&old, &after)).await?;
    change.publish("catalog", version, None);
    request.remember(&mut change, 200, &text);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, text).with_version(version))
}

/// The changes for the audit trail. A catalog is large, so an entry only names the members that
/// changed. The documents of the versions have the details.
fn summary(old: &Value, new: &Value) -> Value {
    let mut changed = changes(old, new);
    if let Value::Object(members) = &mut changed {
        for (_, change) in members.iter_mut() {
            let (before, after) =
                (change.get("before").cloned().unwrap_or_default(), change.get("after").cloned().unwrap_or_default());
            if before.is_object() || after.is_object() {
                let parts = changes(&before, &after);
                let names: Vec<&String> =
                    parts.as_object().into_iter().flat_map(|parts| parts.keys()).take(100).collect();
                *change = json!({ "members": names });
            } else if change.to_string().len() > 4_096 {
                *change = json!({ "members": ["…"] });
            }
        }
    }
    changed
}

/// Stores a catalog in parts within the size limit of D1, split between characters.
fn pieces(change: &mut Transaction<'_>, version: u64, text: &str, now_ms: u64) {
    let mut rest = text;
    let mut part = 0_u32;
    while !rest.is_empty() {
        let mut end = rest.len().min(MAX_CATALOG_PART_BYTES);
        while !rest.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let (piece, next) = rest.split_at_checked(end).unwrap_or((rest, ""));
        change.run(sql!(
            "INSERT INTO catalogs (version, part, text, created_at) VALUES (?, ?, ?, ?)",
            version,
            part,
            piece,
            now_ms
        ));
        rest = next;
        part = part.saturating_add(1);
    }
}

/// Kills a feature for all tenants, or ends its kill.
pub(super) async fn kill(request: &AdminRequest<'_>, feature: &str, kill: bool) -> Result<AdminResponse, AdminError> {
    let asked: crate::control::Reasoned = request.read()?;
    let published = request.catalog().await?;
    request.expect(published.version)?;
    let known = Key::parse(feature).is_some_and(|key| published.catalog.features.contains_key(&key));
    if !known {
        return Err(AdminError::NOT_FOUND);
    }
    let mut after: Value = serde_json::from_str(&published.text).unwrap_or_default();
    merge(
        &mut after,
        &json!({ "version": published.version.saturating_add(1), "features": { feature: { "kill": kill } } }),
    );
    checked(Catalog::parse(&after.to_string()))?;
    let action = if kill { "feature.kill" } else { "feature.revive" };
    replace(request, Some(&published), after, (action, asked.reason.as_deref())).await
}

/// `POST /catalog/impact`: the impact of a catalog, of moves between plans, or of changes to
/// records, for one page of tenants.
pub(super) async fn impact(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let asked: ImpactQuestion = request.read()?;
    let published = request.catalog().await?;
    let proposed = match &asked.catalog {
        None => published.text.to_string(),
        Some(catalog) => {
            let mut catalog = catalog.clone();
            merge(&mut catalog, &json!({ "version": published.version }));
            catalog.to_string()
        }
    };
    let (mut before, mut after) =
        (LocalGate::with(published.plans()?), LocalGate::with(checked(CompiledCatalog::parse(&proposed))?));
    if let Some((from, to)) = asked
        .plans
        .iter()
        .find(|(_, to)| !after.catalog().is_some_and(|catalog| catalog.document().plans.contains_key(*to)))
    {
        return Err(AdminError::problem(
            &format!("$.plans[\"{from}\"]"),
            format!("`{to}`"),
            "a plan version of the catalog",
        ));
    }
    let page = ListQuery::of(
        "SELECT id, root, record FROM tenants WHERE id > ? AND status <> 'deleted' ORDER BY id LIMIT ?",
        ("id", "record"),
        vec![asked.cursor.clone().unwrap_or_default().into()],
        asked.limit.0,
    );
    let ListPage { rows, next: next_cursor } = page.read(&request.store).await?;
    // The ancestors of a tenant may be on another page, and the comparison needs them.
    let ids: Vec<&str> = rows.iter().map(|row| text(row, "id")).collect();
    let above = request
        .store
        .rows(sql!(
            "WITH RECURSIVE line (id) AS (SELECT parent FROM tenants WHERE id IN (SELECT value FROM json_each(?1)) AND parent IS NOT NULL \
             UNION SELECT parent FROM tenants JOIN line USING (id) WHERE parent IS NOT NULL) \
             SELECT id, record FROM tenants JOIN line USING (id) WHERE id NOT IN (SELECT value FROM json_each(?1))",
            json!(ids).to_string()
        ))
        .await?;
    let mut problems = Vec::new();
    for row in rows.iter().chain(&above) {
        let record = document(row, "record");
        let mut changed = record.clone();
        let id = text(row, "id");
        let plan = record.get("plan").and_then(Value::as_str);
        if let Some((_, to)) = plan.and_then(|plan| asked.plans.iter().find(|(from, _)| from.as_str() == plan)) {
            merge(&mut changed, &json!({ "plan": to.as_str() }));
        }
        if let Some((_, patch)) = asked.patches.iter().find(|(tenant, _)| tenant.as_str() == id) {
            merge(&mut changed, patch);
        }
        let _ = before.put(checked(Tenant::parse(&record.to_string()))?);
        match Tenant::parse(&changed.to_string()) {
            Ok(tenant) => drop(after.put(tenant)),
            Err(found) => problems.extend(found.0.into_iter().map(|problem| Problem {
                path: format!("$.patches[\"{id}\"]{}", problem.path.trim_start_matches('$')),
                ..problem
            })),
        }
    }
    if !problems.is_empty() {
        return Err(AdminError::Invalid(Problems(problems)));
    }
    let (old, new) = (&published.catalog, checked(Catalog::parse(&proposed))?);
    let mut tenants = Vec::new();
    for row in &rows {
        let Some(id) = TenantId::parse(text(row, "id")) else { continue };
        let mut impact = compare(&mut before, &mut after, &id, request.now);
        impact.problems = breaks(&document(row, "record"), old, &new, request.now);
        if impact.limits.values().any(|shift| shift.effect == "loss") {
            impact.over = over(request, &mut after, &id, text(row, "root")).await?;
        }
        if !impact.is_empty() {
            tenants.push(impact);
        }
    }
    let replayed = if asked.log.is_empty() {
        None
    } else {
        let mut log: Vec<(DecideBody, _)> = Vec::with_capacity(asked.log.len());
        for entry in &asked.log {
            let within = |problem: Problem| {
                let path = format!("$.log[{}].question{}", log.len(), problem.path.trim_start_matches('$'));
                Problem { path, ..problem }
            };
            let question = entry.question();
            let question = question.map_err(|problems| Problems(problems.0.into_iter().map(within).collect()));
            log.push((checked(question)?, entry.at));
        }
        Some(replay(&mut before, &mut after, &log))
    };
    let impacts = Impacts { compared: rows.len(), tenants, next_cursor, metrics: metrics(old, &new), replayed };
    Ok(AdminResponse::text(200, serde_json::to_string(&impacts).unwrap_or_default()))
}

/// The limits of which the tenant already uses more than the proposal allows, with the used units.
/// Reads the counters in the tenant's ledger.
async fn over(
    request: &AdminRequest<'_>,
    after: &mut LocalGate,
    id: &TenantId,
    root: &str,
) -> Result<BTreeMap<String, u64>, AdminError> {
    let decision = after.decide(
        &Request::default(),
        &Ask { tenant: Some(id.as_str()), dry_run: true, ..Ask::default() },
        request.now,
    );
    let Some(tenant) = &decision.tenant else { return Ok(BTreeMap::new()) };
    let budgets: Vec<&Budget> = tenant.nearest().collect();
    let charges = budgets.iter().map(|budget| {
        let counter = budget.counter.as_str();
        Charge { counter, meter: budget.meter, op: CounterOp::Take(0), shadow: true }
    });
    let question = LedgerRequest { dry_run: true, charges: charges.collect(), ..LedgerRequest::default() };
    let outcome = request.ask_ledger(root, &question).await?;
    let over = |(budget, verdict): (&&Budget, &Verdict)| {
        (verdict.limit? < verdict.used).then(|| (budget.limit.to_string(), verdict.used))
    };
    Ok(gather(budgets.iter().zip(&outcome.verdicts).filter_map(over)))
}

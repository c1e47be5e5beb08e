//! Jobs: long changes, such as moving all tenants of a plan version to another one.
//!
//! A job runs in slices. Each slice is one transaction that also stores the job's cursor, so an
//! interrupted job continues after the last complete slice. A tenant whose record does not fit the
//! change stays as it is, and is listed in the job's failures.

use serde_json::{Value, json};

use super::error::AdminError;
use super::page::{ListPage, ListQuery};
use super::publish;
use super::records::{COLUMNS, TenantRow};
use super::request::{AdminRequest, AdminResponse};
use crate::control::{MovePlan, Permission, merge};
use crate::model::bounds::JOB_SLICE;
use crate::model::{PlanRef, UnixMillis};
use crate::worker::runtime::edge;
use crate::worker::runtime::fault;
use crate::worker::sources::d1::{Row, at, document, number, sql, text};

/// `POST /plans/{plan}/move`: starts a job that moves all tenants of a plan version to another one.
pub(super) async fn move_plan(request: &AdminRequest<'_>, plan: &str) -> Result<AdminResponse, AdminError> {
    let asked: MovePlan = request.read()?;
    let published = request.catalog().await?;
    let from = PlanRef::parse(plan).ok_or(AdminError::NOT_FOUND)?;
    let sold = published.catalog.plans.get(&asked.to).is_some_and(|plan| !plan.retired);
    if !sold || asked.to.as_str() == plan {
        return Err(AdminError::problem(
            "$.to",
            format!("`{}`", asked.to),
            "another plan version of the catalog that is not retired",
        ));
    }
    let count = request
        .store
        .row(sql!("SELECT count(*) AS total FROM tenants WHERE plan = ? AND status <> 'deleted'", plan))
        .await?;
    let total = number(&count.unwrap_or_default(), "total");
    if total == 0 && !published.catalog.plans.contains_key(&from) {
        return Err(AdminError::NOT_FOUND);
    }
    let id = format!("j_{}", edge::random(10));
    let mut change = request.transaction();
    let question =
        json!({ "from": plan, "to": asked.to.as_str(), "reason": asked.reason, "actor": request.actor.said() });
    change.run(sql!(
        "INSERT INTO jobs (id, kind, question, total, state, created_at, changed_at) VALUES (?, 'plan', ?, ?, 'running', ?, ?)",
        id,
        question.to_string(),
        total,
        request.now.get(),
        request.now.get()
    ));
    change
        .audit(
            super::catalog::CHAIN,
            "plan.move",
            asked.reason.as_deref(),
            &json!({ "plan": { "before": plan, "after": asked.to.as_str() }, "tenants": { "after": total } }),
        )
        .await?;
    let body = json!({ "id": id, "kind": "plan", "state": "running", "total": total, "done": 0, "failed": 0 });
    request.remember(&mut change, 202, &body.to_string());
    change.commit().await?;
    Ok(AdminResponse::json(202, &body))
}

/// A job without its failures.
fn view(row: &Row) -> Value {
    json!({
        "id": text(row, "id"), "kind": text(row, "kind"), "state": text(row, "state"), "total": number(row, "total"),
        "done": number(row, "done"), "failed": number(row, "failed"), "question": document(row, "question"),
        "created_at": UnixMillis::new(number(row, "created_at")), "changed_at": UnixMillis::new(number(row, "changed_at")),
    })
}

async fn find(request: &AdminRequest<'_>, id: &str) -> Result<Row, AdminError> {
    request.store.row(sql!("SELECT * FROM jobs WHERE id = ?", id)).await?.ok_or(AdminError::NOT_FOUND)
}

/// `GET /jobs`: the latest first.
pub(super) async fn list(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    // The cursor combines time and id in one sortable text, the latest job first.
    let page = ListQuery::of(
        "SELECT *, printf('%015d %s', 999999999999999 - created_at, id) AS place_in_list FROM jobs \
         WHERE printf('%015d %s', 999999999999999 - created_at, id) > ? ORDER BY place_in_list LIMIT ?",
        ("place_in_list", "question"),
        vec![cursor.into()],
        limit,
    );
    page.answer(&request.store, |row| view(&row)).await
}

/// `GET /jobs/{job}`: the progress of a job, and a page of its failures.
pub(super) async fn get(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let mut job = view(&find(request, id).await?);
    // Failures name tenants, so only actors that may read tenants see them.
    if !request.actor.permits(Permission::TenantsRead) {
        return Ok(AdminResponse::json(200, &job));
    }
    let page = ListQuery::of(
        "SELECT tenant, problems FROM job_failures WHERE job = ? AND tenant > ? ORDER BY tenant LIMIT ?",
        ("tenant", "problems"),
        vec![id.into(), cursor.into()],
        limit,
    );
    let ListPage { rows, next } = page.read(&request.store).await?;
    let left = |row: &Row| json!({ "tenant": text(row, "tenant"), "problems": document(row, "problems") });
    merge(&mut job, &json!({ "failures": rows.iter().map(left).collect::<Vec<_>>() }));
    if let (Some(next), Value::Object(members)) = (next, &mut job) {
        members.insert(String::from("next_cursor"), next.into());
    }
    Ok(AdminResponse::json(200, &job))
}

/// `POST /jobs/{job}/run`: runs one slice at once.
pub(super) async fn run(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let row = find(request, id).await?;
    if text(&row, "state") == "running" {
        slice(request, &row).await?;
    }
    get(request, id).await
}

/// Runs at most `slices` slices of running jobs. The job that was tried least recently comes first.
pub(super) async fn resume(request: &AdminRequest<'_>, slices: u64) -> Result<(), AdminError> {
    for _ in 0..slices {
        let next = sql!("SELECT * FROM jobs WHERE state = 'running' ORDER BY changed_at LIMIT 1");
        let Some(row) = request.store.row(next).await? else { break };
        if let Err(refusal) = slice(request, &row).await {
            let id = text(&row, "id");
            web_sys::console::error_1(&format!("control: job `{id}` cannot continue yet: {}", refusal.code()).into());
            request.store.run(&[sql!("UPDATE jobs SET changed_at = ? WHERE id = ?", request.now.get(), id)]).await?;
        }
    }
    Ok(())
}

async fn slice(request: &AdminRequest<'_>, row: &Row) -> Result<(), AdminError> {
    let question = document(row, "question");
    let member = |name: &str| question.get(name).and_then(Value::as_str).unwrap_or_default();
    let (from, to) = (member("from"), member("to"));
    let published = request.catalog().await?;
    let statement = sql!(
        format!(
            "SELECT {COLUMNS} FROM tenants WHERE plan = ? AND tenants.id > ? AND status <> 'deleted' ORDER BY tenants.id LIMIT ?"
        ),
        from,
        text(row, "cursor"),
        JOB_SLICE
    );
    let rows = request.store.rows(statement).await?;
    let id = text(row, "id");
    fault::fault(request.fault.as_deref(), "job-slice");
    if rows.is_empty() {
        request
            .store
            .run(&[sql!("UPDATE jobs SET state = 'done', changed_at = ? WHERE id = ?", request.now.get(), id)])
            .await?;
        return Ok(());
    }
    let mut change = request.transaction();
    let (mut done, mut failed) = (0_u64, 0_u64);
    for tenant in &rows {
        let record = TenantRow::of(tenant);
        let mut after = record.value.clone();
        merge(&mut after, &json!({ "plan": to }));
        match request
            .save(&mut change, &record, after, &published, ("tenant.plan", at(&question, "/reason").as_str()))
            .await
        {
            Ok(_) => done = done.saturating_add(1),
            // The record, for example its contract, does not fit the new plan: lists the tenant.
            Err(AdminError::Invalid(problems)) => {
                change.run(sql!(
                    "INSERT INTO job_failures (job, tenant, problems) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    id,
                    record.id,
                    json!(problems).to_string()
                ));
                failed = failed.saturating_add(1);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    let last = rows.last().map(|tenant| text(tenant, "id")).unwrap_or_default();
    change.run(sql!(
        "UPDATE jobs SET cursor = ?, done = done + ?, failed = failed + ?, changed_at = ? WHERE id = ?",
        last,
        done,
        failed,
        request.now.get(),
        id
    ));
    fault::fault(request.fault.as_deref(), "job-commit");
    change.commit().await?;
    publish::after(request).await;
    Ok(())
}

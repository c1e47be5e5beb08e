//! Long runs: done in slices, each a transaction that also says how far it has come. Whoever is killed in between goes on there.

use serde_json::{Value, json};

use super::desk::{Answer, Desk};
use super::page::{Page, Read};
use super::publish;
use super::records::{COLUMNS, Record};
use super::refusal::Refusal;
use super::store::{Row, at, document, number, sql, text};
use crate::control::{MovePlan, Permission, merge};
use crate::model::bounds::JOB_SLICE;
use crate::model::{PlanRef, UnixMillis};
use crate::worker::edge;

/// `POST /plans/{plan}/move`: all tenants of a plan version get another one.
pub(super) async fn move_plan(desk: &Desk<'_>, plan: &str) -> Result<Answer, Refusal> {
    let asked: MovePlan = desk.read()?;
    let published = desk.catalog().await?;
    let from = PlanRef::parse(plan).ok_or(Refusal::NOT_FOUND)?;
    let sold = published.catalog.plans.get(&asked.to).is_some_and(|plan| !plan.retired);
    if !sold || asked.to.as_str() == plan {
        return Err(Refusal::problem(
            "$.to",
            format!("`{}`", asked.to),
            "another plan version of the catalog, which is sold",
        ));
    }
    let count = desk
        .store
        .row(sql!("SELECT count(*) AS total FROM tenants WHERE plan = ? AND status <> 'deleted'", plan))
        .await?;
    let total = number(&count.unwrap_or_default(), "total");
    if total == 0 && !published.catalog.plans.contains_key(&from) {
        return Err(Refusal::NOT_FOUND);
    }
    let id = format!("j_{}", edge::random(10));
    let mut change = desk.change();
    let question = json!({ "from": plan, "to": asked.to.as_str(), "reason": asked.reason, "actor": desk.actor.said() });
    change.run(sql!(
        "INSERT INTO jobs (id, kind, question, total, state, created_at, changed_at) VALUES (?, 'plan', ?, ?, 'running', ?, ?)",
        id,
        question.to_string(),
        total,
        desk.now.get(),
        desk.now.get()
    ));
    change
        .note(
            super::catalog::CHAIN,
            "plan.move",
            asked.reason.as_deref(),
            &json!({ "plan": { "before": plan, "after": asked.to.as_str() }, "tenants": { "after": total } }),
        )
        .await?;
    let body = json!({ "id": id, "kind": "plan", "state": "running", "total": total, "done": 0, "failed": 0 });
    desk.remember(&mut change, 202, &body.to_string());
    change.commit().await?;
    Ok(Answer::json(202, &body))
}

/// A run, without those that it has left as they were.
fn view(row: &Row) -> Value {
    json!({
        "id": text(row, "id"), "kind": text(row, "kind"), "state": text(row, "state"), "total": number(row, "total"),
        "done": number(row, "done"), "failed": number(row, "failed"), "question": document(row, "question"),
        "created_at": UnixMillis::new(number(row, "created_at")), "changed_at": UnixMillis::new(number(row, "changed_at")),
    })
}

async fn find(desk: &Desk<'_>, id: &str) -> Result<Row, Refusal> {
    desk.store.row(sql!("SELECT * FROM jobs WHERE id = ?", id)).await?.ok_or(Refusal::NOT_FOUND)
}

/// `GET /jobs`: the latest first.
pub(super) async fn list(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&[])?;
    // Times and ids of one text, so that a page goes on where the last ended.
    let page = Page::of(
        "SELECT *, printf('%015d %s', 999999999999999 - created_at, id) AS place_in_list FROM jobs \
         WHERE printf('%015d %s', 999999999999999 - created_at, id) > ? ORDER BY place_in_list LIMIT ?",
        ("place_in_list", "question"),
        vec![cursor.into()],
        limit,
    );
    page.answer(&desk.store, |row| view(&row)).await
}

/// `GET /jobs/{job}`: how far it has come, and a page of those that it has left as they were.
pub(super) async fn get(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&[])?;
    let mut job = view(&find(desk, id).await?);
    // Whom it has left, and why, is said to those who may read tenants.
    if !desk.actor.permits(Permission::TenantsRead) {
        return Ok(Answer::json(200, &job));
    }
    let page = Page::of(
        "SELECT tenant, problems FROM job_failures WHERE job = ? AND tenant > ? ORDER BY tenant LIMIT ?",
        ("tenant", "problems"),
        vec![id.into(), cursor.into()],
        limit,
    );
    let Read { rows, next } = page.read(&desk.store).await?;
    let left = |row: &Row| json!({ "tenant": text(row, "tenant"), "problems": document(row, "problems") });
    merge(&mut job, &json!({ "failures": rows.iter().map(left).collect::<Vec<_>>() }));
    if let (Some(next), Value::Object(members)) = (next, &mut job) {
        members.insert(String::from("next_cursor"), next.into());
    }
    Ok(Answer::json(200, &job))
}

/// `POST /jobs/{job}/run`: a slice, now.
pub(super) async fn run(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let row = find(desk, id).await?;
    if text(&row, "state") == "running" {
        slice(desk, &row).await?;
    }
    get(desk, id).await
}

/// Goes on with what runs, so many slices: those first that were not tried for longest.
pub(super) async fn resume(desk: &Desk<'_>, slices: u64) -> Result<(), Refusal> {
    for _ in 0..slices {
        let next = sql!("SELECT * FROM jobs WHERE state = 'running' ORDER BY changed_at LIMIT 1");
        let Some(row) = desk.store.row(next).await? else { break };
        if let Err(refusal) = slice(desk, &row).await {
            let id = text(&row, "id");
            web_sys::console::error_1(&format!("control: job `{id}` does not go on yet: {}", refusal.code()).into());
            desk.store.run(&[sql!("UPDATE jobs SET changed_at = ? WHERE id = ?", desk.now.get(), id)]).await?;
        }
    }
    Ok(())
}

async fn slice(desk: &Desk<'_>, row: &Row) -> Result<(), Refusal> {
    let question = document(row, "question");
    let member = |name: &str| question.get(name).and_then(Value::as_str).unwrap_or_default();
    let (from, to) = (member("from"), member("to"));
    let published = desk.catalog().await?;
    let statement = sql!(
        format!(
            "SELECT {COLUMNS} FROM tenants WHERE plan = ? AND tenants.id > ? AND status <> 'deleted' ORDER BY tenants.id LIMIT ?"
        ),
        from,
        text(row, "cursor"),
        JOB_SLICE
    );
    let rows = desk.store.rows(statement).await?;
    let id = text(row, "id");
    crate::worker::fault(desk.fault.as_deref(), "job-slice");
    if rows.is_empty() {
        desk.store
            .run(&[sql!("UPDATE jobs SET state = 'done', changed_at = ? WHERE id = ?", desk.now.get(), id)])
            .await?;
        return Ok(());
    }
    let mut change = desk.change();
    let (mut done, mut failed) = (0_u64, 0_u64);
    for tenant in &rows {
        let record = Record::of(tenant);
        let mut after = record.value.clone();
        merge(&mut after, &json!({ "plan": to }));
        match desk
            .save(&mut change, &record, after, &published, ("tenant.plan", at(&question, "/reason").as_str()))
            .await
        {
            Ok(_) => done = done.saturating_add(1),
            // Its own agreements do not fit the new plan: it stays, and is named.
            Err(Refusal::Invalid(problems)) => {
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
        desk.now.get(),
        id
    ));
    crate::worker::fault(desk.fault.as_deref(), "job-commit");
    change.commit().await?;
    publish::after(desk).await;
    Ok(())
}

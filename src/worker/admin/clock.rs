//! The scheduled run of the control plane, every minute.
//!
//! It retries open publications, resumes interrupted provisionings, moves and jobs, purges
//! offboarded tenants, deletes expired rows, and reconciles a slice of KV. Tasks are independent:
//! a failure is logged, and the other tasks still run.

use std::rc::Rc;

use js_sys::Date;
use serde_json::Value;

use super::error::AdminError;
use super::records::next_end;
use super::request::AdminRequest;
use super::{jobs, keys, licences, moves, publish, reconcile, saga, tenants, tickets};
use crate::model::bounds::{ADMIN_ONCE_MS, CATALOG_KEPT_MS, CATALOGS_KEPT, DENIALS_KEPT_DAYS, FEED_KEPT_MS};
use crate::model::{Tenant, UnixMillis};
use crate::worker::config::Config;
use crate::worker::gateway::denials::today;
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{Row, Store, sql, text};

/// Maximum slices of publications and of jobs in one run. A Worker may send at most 1,000
/// subrequests per invocation, and each publication needs one to a ledger and one to KV.
const TURNS: usize = 2;
const JOB_TURNS: u64 = 4;
/// Maximum number of tenants whose end dates one run updates.
const DATED: u64 = 100;

/// Runs all tasks once.
pub(in crate::worker) async fn scheduled(config: &Rc<Config>, context: &edge::ExecutionContext) {
    if config.control.is_undefined() {
        return;
    }
    let now = UnixMillis::from_js(Date::now());
    let request = AdminRequest::of_clock(config, context.clone(), now);
    turn(&request).await;
}

async fn turn(request: &AdminRequest<'_>) {
    // A failed task does not keep the others from running.
    let note = |what: &str, done: Result<(), AdminError>| {
        if let Err(refusal) = done {
            web_sys::console::error_1(&format!("control: {what}: {}", refusal.code()).into());
        }
    };
    for _ in 0..TURNS {
        match publish::flush(request).await {
            Ok(flushed) if flushed.done > 0 => {}
            done => {
                note("publication", done.map(drop));
                break;
            }
        }
    }
    note("provisioning", saga::resume(request).await.map(drop));
    note("moves", moves::resume(request, JOB_TURNS).await);
    note("jobs", jobs::resume(request, JOB_TURNS).await);
    note("purging", tenants::purge(request).await.map(drop));
    note("purging keys", keys::purge(request).await);
    note("dates", dates(request).await);
    note("sweeping", sweep(&request.store, request.now).await);
    note("reconciling", reconcile::slice(request).await.map(drop));
}

/// Updates `ends_at` of tenants for which it has passed: it holds the next end of an override,
/// contract or trial.
async fn dates(request: &AdminRequest<'_>) -> Result<(), AdminError> {
    let ended = sql!("SELECT id, record FROM tenants WHERE ends_at <= ? LIMIT ?", request.now.get(), DATED);
    let rows = request.store.rows(ended).await?;
    let next = |row: &Row| Tenant::parse(text(row, "record")).ok().and_then(|tenant| next_end(&tenant, request.now));
    let updates = rows.iter().map(|row| {
        sql!(
            "UPDATE tenants SET ends_at = ? WHERE id = ? AND ends_at <= ?",
            next(row),
            text(row, "id"),
            request.now.get()
        )
    });
    let updates: Vec<Value> = updates.collect();
    if updates.is_empty() { Ok(()) } else { Ok(request.store.run(&updates).await.map(drop)?) }
}

/// Deletes rows whose retention time is over.
async fn sweep(store: &Store, now: UnixMillis) -> Result<(), AdminError> {
    let before = |ms: u64| now.get().saturating_sub(ms);
    store
        .run(&[
            sql!("DELETE FROM publications WHERE done_at IS NOT NULL AND done_at < ?", before(FEED_KEPT_MS)),
            sql!("DELETE FROM answers WHERE at < ?", before(ADMIN_ONCE_MS)),
            sql!("DELETE FROM slugs WHERE free_at IS NOT NULL AND free_at < ?", now.get()),
            tickets::forgotten(now.get()),
            licences::forgotten(now.get()),
            sql!("DELETE FROM denials WHERE day < ?", today(now).saturating_sub(DENIALS_KEPT_DAYS)),
            sql!(
                "DELETE FROM catalogs WHERE created_at < ? AND version <= (SELECT max(version) FROM catalogs) - ?",
                before(CATALOG_KEPT_MS),
                CATALOGS_KEPT
            ),
        ])
        .await?;
    Ok(())
}

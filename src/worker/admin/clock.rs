//! The clock's turn, every minute: what waits is published, what was left is gone on with, what is over is forgotten.

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

/// Slices of what waits, and of long runs: a Worker asks at most 1,000 others in one invocation, and each change is told to a ledger
/// and to KV.
const TURNS: usize = 2;
const JOB_TURNS: u64 = 4;
/// Tenants whose dates one turn looks at.
const DATED: u64 = 100;

/// One turn.
pub(in crate::worker) async fn scheduled(config: &Rc<Config>, context: &edge::ExecutionContext) {
    if config.control.is_undefined() {
        return;
    }
    let now = UnixMillis::from_js(Date::now());
    let request = AdminRequest::of_clock(config, context.clone(), now);
    turn(&request).await;
}

async fn turn(request: &AdminRequest<'_>) {
    // None of them keeps the others from their turn.
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
    note("setting up", saga::resume(request).await.map(drop));
    note("moves", moves::resume(request, JOB_TURNS).await);
    note("long runs", jobs::resume(request, JOB_TURNS).await);
    note("purging", tenants::purge(request).await.map(drop));
    note("purging keys", keys::purge(request).await);
    note("dates", dates(request).await);
    note("sweeping", sweep(&request.store, request.now).await);
    note("reconciling", reconcile::slice(request).await.map(drop));
}

/// Looks again when the next thing of a tenant ends, where the last has ended.
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

/// Forgets what nobody asks for any more.
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

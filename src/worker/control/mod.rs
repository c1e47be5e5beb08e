//! `/_gate/v1/admin`: tenants are set up, plans change, and every edge knows.
//!
//! D1 is the system of record. A change is one transaction: the documents, their entry in the audit trail, and what is to be
//! published because of it. Publication comes after: the ledger is told first, then KV; what fails is tried again.

mod actor;
mod audit;
mod budget;
mod catalog;
mod clock;
mod course;
mod desk;
mod domains;
mod entitlements;
mod import;
mod jobs;
mod keys;
mod licences;
mod moves;
mod overrides;
mod page;
mod provision;
mod publish;
mod reconcile;
mod records;
mod refusal;
mod store;
mod tenants;
mod tickets;
mod tokens;

use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use web_sys::Response;

use self::desk::{Answer, Desk};
use self::refusal::Refusal;
use super::call::Call;
use super::config::Config;
use super::edge;
use super::reply::Failure;
use crate::control::audit::hash;
use crate::control::{Operation, Route, route};
use crate::model::bounds::MAX_IDEMPOTENCY_KEY_BYTES;

pub(super) use actor::Actor;
pub(super) use clock::scheduled;
pub(super) use licences::answer as answer_licence;
pub(super) use publish::{joined, original};
pub(super) use store::{Row, Store, number, sql, text};
pub(super) use tickets::redeem;

/// Where the admin API is.
pub(super) const ADMIN: &str = "/_gate/v1/admin";
/// So often a change is tried again that somebody else's has overtaken.
const TRIES: usize = 4;

/// Answers a request to the admin API.
pub(super) async fn answer(call: &Call, config: &Rc<Config>) -> Response {
    match serve(call, config).await {
        Ok(answer) => answer.respond(),
        Err(refusal) => refusal.respond(call),
    }
}

async fn serve(call: &Call, config: &Rc<Config>) -> Result<Answer, Refusal> {
    if config.control.is_undefined() {
        // Who may not ask does not learn what there is.
        return Err(if config.is_operator(call.bearer()) { Refusal::ABSENT } else { Refusal::UNAUTHENTICATED });
    }
    let store = Store::new(&config.control);
    let actor = Actor::of(call, &store, config).await?;
    let path = call.path().strip_prefix(ADMIN).unwrap_or_default();
    let (operation, segments) = match route(call.method(), path) {
        Ok(found) => found,
        Err(methods) if methods.is_empty() => return Err(Refusal::Failed(Failure::NOT_FOUND, Value::Null)),
        Err(methods) => return Err(Refusal::METHOD.with(json!({ "methods": methods }))),
    };
    if !actor.may(operation) {
        return Err(Refusal::FORBIDDEN);
    }
    let segments = segments.into_iter().map(decoded).collect::<Option<Vec<String>>>().ok_or(Refusal::NOT_FOUND)?;
    let body = desk::body(call, operation).await?;
    let once = once(call, operation, &actor, &segments, &body)?;
    let desk = Desk::new(call, config, store, actor, body, once)?;
    if desk.if_match.is_some() && !operation.versioned {
        return Err(Refusal::STALE.with(json!({ "version": null })));
    }
    if let Some(answer) = repeated(&desk).await? {
        return Ok(answer);
    }
    desk.spend(operation).await?;
    for _ in 1..TRIES {
        match dispatch(&desk, operation, &segments).await {
            // Somebody else's change came first: what it means for this one is judged anew.
            Err(refusal) if refusal.is_busy() => {
                if let Some(answer) = repeated(&desk).await? {
                    return Ok(answer);
                }
            }
            done => return done,
        }
    }
    dispatch(&desk, operation, &segments).await
}

async fn dispatch(desk: &Desk<'_>, operation: &Operation, segments: &[String]) -> Result<Answer, Refusal> {
    let segment = |index: usize| segments.get(index).map(String::as_str).unwrap_or_default();
    let (first, second) = (segment(0), segment(1));
    match operation.route {
        Route::CreateTenant => provision::create(desk).await,
        Route::ListTenants => tenants::list(desk).await,
        Route::GetTenant => tenants::get(desk, first).await,
        Route::ChangeTenant => tenants::change(desk, first).await,
        Route::DeleteTenant => tenants::delete(desk, first).await,
        Route::SuspendTenant
        | Route::ReactivateTenant
        | Route::DeactivateTenant
        | Route::MaintainTenant
        | Route::OffboardTenant => tenants::pass(desk, first, operation.route).await,
        Route::MoveTenant => moves::move_to(desk, first).await,
        Route::GetEntitlements => entitlements::get(desk, first).await,
        Route::RefundUsage => entitlements::refund(desk, first).await,
        Route::ExportTenant => tenants::export(desk, first).await,
        Route::PutOverride => overrides::put(desk, first).await,
        Route::RemoveOverride => overrides::remove(desk, first, second).await,
        Route::ListExpiring => overrides::expiring(desk).await,
        Route::ClaimDomain => domains::claim(desk, first).await,
        Route::VerifyDomain => domains::verify(desk, first, second).await,
        Route::RemoveDomain => domains::remove(desk, first, second).await,
        Route::IssueApiKey => keys::issue(desk, first).await,
        Route::ListApiKeys => keys::list(desk, first).await,
        Route::RotateApiKey => keys::rotate(desk, first, second).await,
        Route::RevokeApiKey => keys::revoke(desk, first, second).await,
        Route::IssueLicence => licences::issue(desk, first).await,
        Route::ListLicences => licences::list(desk, first).await,
        Route::ChangeLicence => licences::change(desk, first, second).await,
        Route::ListActivations => licences::activations(desk, first, second).await,
        Route::EndActivation => licences::end_activation(desk, first, second, segment(2)).await,
        Route::ImpersonateTenant => tickets::impersonate(desk, first).await,
        Route::GetCatalog => catalog::get(desk).await,
        Route::PutCatalog => catalog::put(desk).await,
        Route::ListCatalogs => catalog::versions(desk).await,
        Route::CompareCatalog => catalog::impact(desk).await,
        Route::KillFeature => catalog::kill(desk, first, true).await,
        Route::ReviveFeature => catalog::kill(desk, first, false).await,
        Route::Import => import::import(desk).await,
        Route::MovePlan => jobs::move_plan(desk, first).await,
        Route::ListJobs => jobs::list(desk).await,
        Route::GetJob => jobs::get(desk, first).await,
        Route::RunJob => jobs::run(desk, first).await,
        Route::GetPublication => publish::state(desk).await,
        Route::Publish => publish::now(desk).await,
        Route::GetAudit => audit::trail(desk, Some(first)).await,
        Route::ListDenials => audit::denials(desk, first).await,
        Route::GetCatalogAudit => audit::trail(desk, None).await,
        Route::IssueToken => tokens::issue(desk).await,
        Route::ListTokens => tokens::list(desk).await,
        Route::RevokeToken => tokens::revoke(desk, first).await,
    }
}

/// A request that is done once, however often it is sent.
pub(super) struct Once {
    key: String,
    print: String,
}

fn once(
    call: &Call,
    operation: &Operation,
    actor: &Actor,
    segments: &[String],
    body: &str,
) -> Result<Option<Once>, Refusal> {
    let Some(key) = edge::header(&call.request, "idempotency-key") else { return Ok(None) };
    // What only reads may be asked again.
    if operation.method == "GET" {
        return Ok(None);
    }
    if !operation.once {
        return Err(Refusal::problem("Idempotency-Key", key, "no such header: what this does may be done again"));
    }
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let found = format!("{} bytes", key.len());
        return Err(Refusal::problem("Idempotency-Key", found, "1 to 255 visible ASCII characters"));
    }
    let print = hash(&json!([actor.name(), operation.route.as_str(), segments, body]).to_string());
    Ok(Some(Once { key, print }))
}

/// The answer that was given before under the same idempotency key.
async fn repeated(desk: &Desk<'_>) -> Result<Option<Answer>, Refusal> {
    let Some(once) = &desk.once else { return Ok(None) };
    let statement = sql!("SELECT * FROM answers WHERE actor = ? AND key = ?", desk.actor.name(), once.key);
    let Some(row) = desk.store.row(statement).await? else { return Ok(None) };
    if text(&row, "print") != once.print {
        return Err(Refusal::KEY_REUSED);
    }
    let status = u16::try_from(number(&row, "status")).unwrap_or(200);
    Ok(Some(Answer::text(status, text(&row, "body").to_owned()).with_header("idempotency-replayed: true".into())))
}

/// A path's segment, without its escapes.
fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

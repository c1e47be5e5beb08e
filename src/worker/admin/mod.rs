//! The admin API, `/_gate/v1/admin`: manages tenants, the catalog, keys, licences and jobs.
//!
//! D1 is the system of record. A change is one transaction: the documents, their entries in the
//! audit trail, and the publications that follow from it. Publication comes after the commit: first
//! to the ledger, then to KV. A publication that fails is retried by the scheduled run in
//! [`clock`].
//!
//! An admin request passes these steps in order: actor, operation, permission, body, idempotency
//! key, budget of changes, then the operation itself. An operation that loses to concurrent
//! changes is attempted at most [`transaction::TRIES`] times.

mod actor;
mod audit;
mod budget;
mod catalog;
mod clock;
mod domains;
mod entitlements;
mod error;
mod idempotency;
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
mod request;
mod saga;
mod tenants;
mod tickets;
mod tokens;
mod transaction;

use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use web_sys::Response;

use self::error::AdminError;
use self::idempotency::RequestKey;
use self::request::{AdminRequest, AdminResponse};
use crate::control::{Operation, OperationId, route};
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::http::reply::Failure;
use crate::worker::sources::d1::{Store, number, sql, text};

pub(super) use actor::Actor;
pub(super) use clock::scheduled;
pub(super) use licences::answer as answer_licence;
pub(super) use tickets::redeem;

/// The path of the admin API.
pub(super) const ADMIN: &str = "/_gate/v1/admin";

/// Answers a request to the admin API.
pub(super) async fn answer(call: &Call, config: &Rc<Config>) -> Response {
    match serve(call, config).await {
        Ok(answer) => answer.respond(),
        Err(refusal) => refusal.respond(call),
    }
}

async fn serve(call: &Call, config: &Rc<Config>) -> Result<AdminResponse, AdminError> {
    if config.control.is_undefined() {
        // Only the operator learns that the deployment has no control plane.
        return Err(if config.is_operator(call.bearer()) { AdminError::ABSENT } else { AdminError::UNAUTHENTICATED });
    }
    let store = Store::new(&config.control);
    let actor = Actor::of(call, &store, config).await?;
    let path = call.path().strip_prefix(ADMIN).unwrap_or_default();
    let (operation, segments) = match route(call.method(), path) {
        Ok(found) => found,
        Err(methods) if methods.is_empty() => return Err(AdminError::Failed(Failure::NOT_FOUND, Value::Null)),
        Err(methods) => return Err(AdminError::METHOD.with(json!({ "methods": methods }))),
    };
    if !actor.may(operation) {
        return Err(AdminError::FORBIDDEN);
    }
    let segments = segments.into_iter().map(decoded).collect::<Option<Vec<String>>>().ok_or(AdminError::NOT_FOUND)?;
    let body = request::body(call, operation).await?;
    let once = RequestKey::of(call, operation, &actor, &segments, &body)?;
    let request = AdminRequest::new(call, config, store, actor, body, once)?;
    if request.if_match.is_some() && !operation.versioned {
        return Err(AdminError::STALE.with(json!({ "version": null })));
    }
    if let Some(answer) = repeated(&request).await? {
        return Ok(answer);
    }
    request.spend(operation).await?;
    for _ in 1..transaction::TRIES {
        match dispatch(&request, operation, &segments).await {
            // A concurrent change came first: tries again, unless it was this same request.
            Err(refusal) if refusal.is_busy() => {
                if let Some(answer) = repeated(&request).await? {
                    return Ok(answer);
                }
            }
            done => return done,
        }
    }
    dispatch(&request, operation, &segments).await
}

async fn dispatch(
    request: &AdminRequest<'_>,
    operation: &Operation,
    segments: &[String],
) -> Result<AdminResponse, AdminError> {
    let segment = |index: usize| segments.get(index).map(String::as_str).unwrap_or_default();
    let (first, second) = (segment(0), segment(1));
    match operation.route {
        OperationId::CreateTenant => provision::create(request).await,
        OperationId::ListTenants => tenants::list(request).await,
        OperationId::GetTenant => tenants::get(request, first).await,
        OperationId::ChangeTenant => tenants::change(request, first).await,
        OperationId::DeleteTenant => tenants::delete(request, first).await,
        OperationId::SuspendTenant
        | OperationId::ReactivateTenant
        | OperationId::DeactivateTenant
        | OperationId::MaintainTenant
        | OperationId::OffboardTenant => tenants::pass(request, first, operation.route).await,
        OperationId::MoveTenant => moves::move_to(request, first).await,
        OperationId::GetEntitlements => entitlements::get(request, first).await,
        OperationId::RefundUsage => entitlements::refund(request, first).await,
        OperationId::ExportTenant => tenants::export(request, first).await,
        OperationId::PutOverride => overrides::put(request, first).await,
        OperationId::RemoveOverride => overrides::remove(request, first, second).await,
        OperationId::ListExpiring => overrides::expiring(request).await,
        OperationId::ClaimDomain => domains::claim(request, first).await,
        OperationId::VerifyDomain => domains::verify(request, first, second).await,
        OperationId::RemoveDomain => domains::remove(request, first, second).await,
        OperationId::IssueApiKey => keys::issue(request, first).await,
        OperationId::ListApiKeys => keys::list(request, first).await,
        OperationId::RotateApiKey => keys::rotate(request, first, second).await,
        OperationId::RevokeApiKey => keys::revoke(request, first, second).await,
        OperationId::IssueLicence => licences::issue(request, first).await,
        OperationId::ListLicences => licences::list(request, first).await,
        OperationId::ChangeLicence => licences::change(request, first, second).await,
        OperationId::ListActivations => licences::activations(request, first, second).await,
        OperationId::EndActivation => licences::end_activation(request, first, second, segment(2)).await,
        OperationId::ImpersonateTenant => tickets::impersonate(request, first).await,
        OperationId::GetCatalog => catalog::get(request).await,
        OperationId::PutCatalog => catalog::put(request).await,
        OperationId::ListCatalogs => catalog::versions(request).await,
        OperationId::CompareCatalog => catalog::impact(request).await,
        OperationId::KillFeature => catalog::kill(request, first, true).await,
        OperationId::ReviveFeature => catalog::kill(request, first, false).await,
        OperationId::Import => import::import(request).await,
        OperationId::MovePlan => jobs::move_plan(request, first).await,
        OperationId::ListJobs => jobs::list(request).await,
        OperationId::GetJob => jobs::get(request, first).await,
        OperationId::RunJob => jobs::run(request, first).await,
        OperationId::GetPublication => publish::state(request).await,
        OperationId::Publish => reconcile::now(request).await,
        OperationId::GetAudit => audit::trail(request, Some(first)).await,
        OperationId::ListDenials => audit::denials(request, first).await,
        OperationId::GetCatalogAudit => audit::trail(request, None).await,
        OperationId::IssueToken => tokens::issue(request).await,
        OperationId::ListTokens => tokens::list(request).await,
        OperationId::RevokeToken => tokens::revoke(request, first).await,
    }
}

/// The stored response to an earlier request with the same idempotency key.
async fn repeated(request: &AdminRequest<'_>) -> Result<Option<AdminResponse>, AdminError> {
    let Some(once) = &request.once else { return Ok(None) };
    let statement = sql!("SELECT * FROM answers WHERE actor = ? AND key = ?", request.actor.name(), once.key());
    let Some(row) = request.store.row(statement).await? else { return Ok(None) };
    if text(&row, "print") != once.fingerprint() {
        return Err(AdminError::KEY_REUSED);
    }
    let status = u16::try_from(number(&row, "status")).unwrap_or(200);
    Ok(Some(
        AdminResponse::text(status, text(&row, "body").to_owned()).with_header("idempotency-replayed: true".into()),
    ))
}

/// Decodes the percent escapes of a path segment. Returns `None` if the result is invalid UTF-8.
fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

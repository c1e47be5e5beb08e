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

use std::pin::Pin;
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
    // Boxed, so that each operation is a future of its own and not a part of this one.
    let work: Pin<Box<dyn Future<Output = Result<AdminResponse, AdminError>> + '_>> = match operation.route {
        OperationId::CreateTenant => Box::pin(provision::create(request)),
        OperationId::ListTenants => Box::pin(tenants::list(request)),
        OperationId::GetTenant => Box::pin(tenants::get(request, first)),
        OperationId::ChangeTenant => Box::pin(tenants::change(request, first)),
        OperationId::DeleteTenant => Box::pin(tenants::delete(request, first)),
        OperationId::SuspendTenant
        | OperationId::ReactivateTenant
        | OperationId::DeactivateTenant
        | OperationId::MaintainTenant
        | OperationId::OffboardTenant => Box::pin(tenants::pass(request, first, operation.route)),
        OperationId::MoveTenant => Box::pin(moves::move_to(request, first)),
        OperationId::GetEntitlements => Box::pin(entitlements::get(request, first)),
        OperationId::RefundUsage => Box::pin(entitlements::refund(request, first)),
        OperationId::ExportTenant => Box::pin(tenants::export(request, first)),
        OperationId::PutOverride => Box::pin(overrides::put(request, first)),
        OperationId::RemoveOverride => Box::pin(overrides::remove(request, first, second)),
        OperationId::ListExpiring => Box::pin(overrides::expiring(request)),
        OperationId::ClaimDomain => Box::pin(domains::claim(request, first)),
        OperationId::VerifyDomain => Box::pin(domains::verify(request, first, second)),
        OperationId::RemoveDomain => Box::pin(domains::remove(request, first, second)),
        OperationId::IssueApiKey => Box::pin(keys::issue(request, first)),
        OperationId::ListApiKeys => Box::pin(keys::list(request, first)),
        OperationId::RotateApiKey => Box::pin(keys::rotate(request, first, second)),
        OperationId::RevokeApiKey => Box::pin(keys::revoke(request, first, second)),
        OperationId::IssueLicence => Box::pin(licences::issue(request, first)),
        OperationId::ListLicences => Box::pin(licences::list(request, first)),
        OperationId::ChangeLicence => Box::pin(licences::change(request, first, second)),
        OperationId::ListActivations => Box::pin(licences::activations(request, first, second)),
        OperationId::EndActivation => Box::pin(licences::end_activation(request, first, second, segment(2))),
        OperationId::ImpersonateTenant => Box::pin(tickets::impersonate(request, first)),
        OperationId::GetCatalog => Box::pin(catalog::get(request)),
        OperationId::PutCatalog => Box::pin(catalog::put(request)),
        OperationId::ListCatalogs => Box::pin(catalog::versions(request)),
        OperationId::CompareCatalog => Box::pin(catalog::impact(request)),
        OperationId::KillFeature => Box::pin(catalog::kill(request, first, true)),
        OperationId::ReviveFeature => Box::pin(catalog::kill(request, first, false)),
        OperationId::Import => Box::pin(import::import(request)),
        OperationId::MovePlan => Box::pin(jobs::move_plan(request, first)),
        OperationId::ListJobs => Box::pin(jobs::list(request)),
        OperationId::GetJob => Box::pin(jobs::get(request, first)),
        OperationId::RunJob => Box::pin(jobs::run(request, first)),
        OperationId::GetPublication => Box::pin(publish::state(request)),
        OperationId::Publish => Box::pin(reconcile::now(request)),
        OperationId::GetAudit => Box::pin(audit::trail(request, Some(first))),
        OperationId::ListDenials => Box::pin(audit::denials(request, first)),
        OperationId::GetCatalogAudit => Box::pin(audit::trail(request, None)),
        OperationId::IssueToken => Box::pin(tokens::issue(request)),
        OperationId::ListTokens => Box::pin(tokens::list(request)),
        OperationId::RevokeToken => Box::pin(tokens::revoke(request, first)),
    };
    work.await
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

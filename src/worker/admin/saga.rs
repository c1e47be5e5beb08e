//! The provisioning saga: the steps that set a tenant up after its record was written.
//!
//! Each step is a transaction, or an action that is safe to repeat. If the saga stops, the same
//! request or the scheduled run resumes it at the stored step. If a step cannot succeed, the saga
//! is undone and the tenant deleted.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::error::AdminError;
use super::records::{TenantRow, take_data_route};
use super::request::{AdminRequest, AdminResponse, checked};
use super::transaction::Transaction;
use super::{keys, publish, tenants};
use crate::control::{NewTenant, merge};
use crate::gate::{Ask, LocalGate};
use crate::ledger::LedgerRequest;
use crate::model::{DataRoute, Read, Reader, SettledRoute, Tenant, TenantId};
use crate::resolve::Request;
use crate::worker::runtime::edge;
use crate::worker::runtime::fault;
use crate::worker::sources::d1::{Row, document, number, sql, text};

/// Timeout of the provisioner, which sets up the tenant's data, in milliseconds.
const PROVISIONER_MS: u32 = 20_000;
/// Milliseconds without progress after which the scheduled run resumes a saga.
const ABANDONED_MS: u64 = 60_000;

/// The steps after the record was written, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SagaStep {
    DataRoute,
    Defaults,
    ApiKey,
    Features,
    Ledger,
    Publish,
    Welcome,
    Active,
}

const STEPS: [SagaStep; 8] = [
    SagaStep::DataRoute,
    SagaStep::Defaults,
    SagaStep::ApiKey,
    SagaStep::Features,
    SagaStep::Ledger,
    SagaStep::Publish,
    SagaStep::Welcome,
    SagaStep::Active,
];

/// The state of one tenant's provisioning.
pub(super) struct ProvisioningSaga {
    tenant: String,
    step: usize,
    asked: NewTenant,
    /// The id of the tenant's first API key.
    api_key: Option<String>,
    /// The key's text, if this request created the key.
    text: Option<String>,
    /// The tenant's enabled features, once they are computed.
    features: Option<Vec<String>>,
}

impl ProvisioningSaga {
    /// A new saga.
    pub(super) const fn new(tenant: String, asked: NewTenant) -> Self {
        Self { tenant, step: 0, asked, api_key: None, text: None, features: None }
    }

    /// The saga as its row in `provisionings` stores it.
    pub(super) fn of(row: &Row) -> Result<Self, AdminError> {
        let question = document(row, "question");
        let asked = checked(Reader::run(|r| NewTenant::read(&question, r)))?;
        Ok(Self {
            step: usize::try_from(number(row, "step")).unwrap_or(0),
            api_key: row.get("api_key").and_then(Value::as_str).map(String::from),
            ..Self::new(text(row, "tenant").to_owned(), asked)
        })
    }
}

/// Runs the remaining steps. Undoes the saga if a step cannot succeed.
pub(super) async fn advance(
    request: &AdminRequest<'_>,
    saga: &mut ProvisioningSaga,
) -> Result<AdminResponse, AdminError> {
    while let Some(step) = STEPS.get(saga.step) {
        fault::fault(request.fault.as_deref(), &format!("provision-{}", saga.step));
        match take(request, saga, *step).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => saga.step = saga.step.saturating_add(1),
            Err(refusal) if refusal.code() == "PROVISIONING_FAILED" => return Err(undo(request, saga, refusal).await),
            Err(refusal) => return Err(refusal),
        }
    }
    // The scheduled run or another request has finished the saga, and no response was stored.
    let record = request.tenant(&saga.tenant).await?;
    features(request, saga).await?;
    let mut change = request.transaction();
    change.expect_head(&record.id, &record.head);
    replace_unseen(request, saga, &mut change).await?;
    answered(request, saga, change, &record.value).await?;
    Ok(AdminResponse::json(201, &done(saga, &record.value)).with_version(record.epoch))
}

/// Commits the change with the stored response, then publishes it. The stored response lacks the
/// key's text, since a key is shown once.
async fn answered(
    request: &AdminRequest<'_>,
    saga: &mut ProvisioningSaga,
    mut change: Transaction<'_>,
    record: &Value,
) -> Result<(), AdminError> {
    let text = saga.text.take();
    request.remember(&mut change, 201, &done(saga, record).to_string());
    saga.text = text;
    change.commit().await?;
    publish::after(request).await;
    Ok(())
}

/// Runs one step. Returns the response after the last step, otherwise `None`.
async fn take(
    request: &AdminRequest<'_>,
    saga: &mut ProvisioningSaga,
    step: SagaStep,
) -> Result<Option<AdminResponse>, AdminError> {
    let record = request.store.record(&saga.tenant).await?.ok_or(AdminError::NOT_FOUND)?;
    // The tenant was changed or deleted meanwhile, which ends the saga.
    if record.status() != "provisioning" {
        return Err(AdminError::WRONG_STATUS.with(json!({ "status": record.status() })));
    }
    let published = request.catalog().await?;
    let mut change = request.transaction();
    // If two requests resume the saga concurrently, one runs the step. The other fails on the step
    // or on the audit trail.
    change.expect_head(&record.id, &record.head);
    change.precondition(
        "(SELECT step FROM provisionings WHERE tenant = ? AND state = 'running') = ?",
        &[record.id.as_str().into(), saga.step.into()],
    );
    match step {
        SagaStep::DataRoute => {
            let region = record.value.get("region").and_then(Value::as_str);
            let id = TenantId::parse(&record.id).ok_or(AdminError::NOT_FOUND)?;
            let settled = DataRoute::settle(saga.asked.data_route.as_ref(), &id, region, &published.catalog.shards);
            let Some(route) = settled else {
                return Err(failed("no open shard is in the tenant's region"));
            };
            let mut reserved = request.transaction();
            take_data_route(&mut reserved, &json!({ "data_route": route }), &record.id);
            match reserved.commit().await.map_err(AdminError::from) {
                Err(refusal) if refusal.code() == "DATA_ROUTE_TAKEN" => {
                    return Err(failed("its data route belongs to another tenant, or belonged to one"));
                }
                reserved => reserved?,
            }
            set_up_data(request, &record, &route).await?;
            let mut after = record.value.clone();
            merge(&mut after, &json!({ "data_route": route }));
            request.save(&mut change, &record, after, &published, ("tenant.data_route", None)).await?;
        }
        SagaStep::Defaults => {
            if let Some(defaults) = &published.catalog.tenant_defaults {
                let mut after = defaults.clone();
                merge(&mut after, &record.value);
                match request.save(&mut change, &record, after, &published, ("tenant.defaults", None)).await {
                    Err(AdminError::Invalid(problems)) => {
                        return Err(failed(&format!("the catalog's `tenant_defaults`: {problems}")));
                    }
                    saved => drop(saved?),
                }
            }
        }
        SagaStep::ApiKey => {
            if let Some(scopes) = saga.asked.api_key_scopes.clone() {
                let asked = keys::first(scopes, request.config.environment);
                let (text, value) = keys::make(request, &mut change, &record.id, &asked).await?;
                saga.api_key = value.get("id").and_then(Value::as_str).map(String::from);
                saga.text = Some(text);
                change.run(sql!("UPDATE provisionings SET api_key = ? WHERE tenant = ?", saga.api_key, record.id));
            }
        }
        SagaStep::Features => drop(features(request, saga).await?),
        SagaStep::Ledger => {
            let epochs = [(record.id.as_str().into(), record.epoch)].into_iter().collect();
            if request.config.ledger.is_some() {
                request.ask_ledger(&record.root, &LedgerRequest { epochs, ..LedgerRequest::default() }).await?;
            }
        }
        SagaStep::Publish => publish::after(request).await,
        SagaStep::Welcome => {
            let features = features(request, saga).await?;
            let event = json!({
                "specversion": "1.0", "id": format!("welcome-{}", record.id), "source": "/tenantgate/tenants", "type": "tenant.welcome",
                "subject": record.id, "time": request.now,
                "data": { "slug": record.member("slug"), "name": record.value.get("name"), "plan": record.value.get("plan"), "features": features },
            });
            if !request.config.events.is_undefined()
                && let Err(error) = JsFuture::from(edge::send_event(&request.config.events, &event.to_string())).await
            {
                web_sys::console::error_2(&"control: the welcome event was not accepted".into(), &error);
                return Err(AdminError::UNAVAILABLE);
            }
        }
        SagaStep::Active => return finish(request, saga, &record, change).await.map(Some),
    }
    let next = saga.step.saturating_add(1);
    change.run(sql!(
        "UPDATE provisionings SET step = ?, changed_at = ? WHERE tenant = ?",
        next,
        request.now.get(),
        record.id
    ));
    change.commit().await?;
    Ok(None)
}

/// The last step: activates the tenant and stores the final response.
async fn finish(
    request: &AdminRequest<'_>,
    saga: &mut ProvisioningSaga,
    record: &TenantRow,
    mut change: Transaction<'_>,
) -> Result<AdminResponse, AdminError> {
    features(request, saga).await?;
    let published = request.catalog().await?;
    replace_unseen(request, saga, &mut change).await?;
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "status": "active" }));
    let after = request.save(&mut change, record, after, &published, ("tenant.active", None)).await?;
    change.run(sql!(
        "UPDATE provisionings SET step = ?, state = 'done', question = json_remove(question, '$.metadata', '$.branding'), api_key = ?, changed_at = ? WHERE tenant = ?",
        STEPS.len(),
        saga.api_key,
        request.now.get(),
        record.id
    ));
    answered(request, saga, change, &after).await?;
    Ok(AdminResponse::json(201, &done(saga, &after)).with_version(record.epoch.saturating_add(1)))
}

/// Replaces an API key whose text no response has shown, so that the repeated request gets a usable
/// key. Only requests with an idempotency key can be repeated; the scheduled run keeps the key.
async fn replace_unseen(
    request: &AdminRequest<'_>,
    saga: &mut ProvisioningSaga,
    change: &mut Transaction<'_>,
) -> Result<(), AdminError> {
    let (Some(unseen), Some(scopes), None, Some(_)) =
        (&saga.api_key, saga.asked.api_key_scopes.clone(), &saga.text, &request.once)
    else {
        return Ok(());
    };
    change.run(sql!(
        "UPDATE api_keys SET epoch = epoch + 1, record = json_set(record, '$.revoked_at', ?, '$.epoch', epoch + 1) WHERE id = ?",
        request.now.to_string(),
        unseen
    ));
    change.publish(&format!("key:{unseen}"), 2, None);
    change.audit(&saga.tenant, "key.replace", None, &json!({ "api_key": { "before": { "id": unseen } } })).await?;
    let (text, value) =
        keys::make(request, change, &saga.tenant, &keys::first(scopes, request.config.environment)).await?;
    saga.api_key = value.get("id").and_then(Value::as_str).map(String::from);
    saga.text = Some(text);
    Ok(())
}

fn done(saga: &ProvisioningSaga, record: &Value) -> Value {
    json!({ "tenant": record, "api_key": saga.text, "api_key_id": saga.api_key, "features": saga.features })
}

/// The tenant's enabled features, computed once, as if it were already active.
async fn features(request: &AdminRequest<'_>, saga: &mut ProvisioningSaga) -> Result<Vec<String>, AdminError> {
    if let Some(known) = &saga.features {
        return Ok(known.clone());
    }
    let published = request.catalog().await?;
    let mut gate = LocalGate::with(published.plans()?);
    for record in request.store.line(&saga.tenant).await? {
        let mut record = record.value;
        merge(&mut record, &json!({ "status": null }));
        let _ = gate.put(checked(Tenant::parse(&record.to_string()))?);
    }
    let ask = Ask { tenant: Some(&saga.tenant), all_features: true, dry_run: true, ..Ask::default() };
    let decision = gate.decide(&Request::default(), &ask, request.now);
    let enabled = decision.features.iter().filter(|one| one.enabled);
    Ok(saga.features.insert(enabled.map(|one| one.key.to_string()).collect()).clone())
}

/// Asks the provisioner to set up the tenant's data, if the deployment has one.
async fn set_up_data(request: &AdminRequest<'_>, record: &TenantRow, route: &SettledRoute) -> Result<(), AdminError> {
    if request.config.provisioner.is_undefined() {
        return Ok(());
    }
    let question = json!({ "tenant": record.value, "data_route": route });
    match JsFuture::from(edge::set_up_data(&request.config.provisioner, &question.to_string(), PROVISIONER_MS)).await {
        Ok(answer) => match answer.as_string() {
            None => Ok(()),
            Some(problem) => Err(failed(&problem)),
        },
        Err(error) => {
            web_sys::console::error_2(&"control: the provisioner failed".into(), &error);
            Err(AdminError::UNAVAILABLE)
        }
    }
}

fn failed(problem: &str) -> AdminError {
    AdminError::PROVISIONING_FAILED.with(json!({ "problem": problem }))
}

/// Deletes a tenant that cannot be set up. Its slug is free at once, without quarantine, since it
/// never led to a served tenant. Returns the error to respond with.
async fn undo(request: &AdminRequest<'_>, saga: &ProvisioningSaga, refusal: AdminError) -> AdminError {
    let Ok(Some(record)) = request.store.record(&saga.tenant).await else { return AdminError::UNAVAILABLE };
    let problem = match &refusal {
        AdminError::Failed(_, details) => details.get("problem").and_then(Value::as_str).unwrap_or_default().to_owned(),
        AdminError::Invalid(_) => String::new(),
    };
    let mut change = request.transaction();
    if let Err(refusal) = tenants::bury(request, &mut change, &record, ("tenant.undo", Some(&problem))).await {
        return refusal;
    }
    change.run(sql!("DELETE FROM slugs WHERE tenant = ?", record.id));
    // Once data may have been set up there, the data route stays reserved.
    if STEPS.get(saga.step) == Some(&SagaStep::DataRoute) {
        change.run(sql!("DELETE FROM data_routes WHERE tenant = ?", record.id));
    }
    change.run(sql!(
        "UPDATE provisionings SET state = 'failed', problem = ?, changed_at = ? WHERE tenant = ?",
        problem,
        request.now.get(),
        record.id
    ));
    match change.commit().await {
        Ok(()) => {
            publish::after(request).await;
            refusal
        }
        Err(trouble) => trouble.into(),
    }
}

/// Resumes sagas without recent progress. Returns the number of sagas that have ended.
pub(super) async fn resume(request: &AdminRequest<'_>) -> Result<usize, AdminError> {
    let before = request.now.get().saturating_sub(ABANDONED_MS);
    let left = sql!(
        "SELECT * FROM provisionings WHERE state = 'running' AND changed_at <= ? ORDER BY changed_at LIMIT 10",
        before
    );
    let mut ended = 0_usize;
    for row in &request.store.rows(left).await? {
        let tenant = text(row, "tenant");
        // Moves this saga to the end of the queue, so that it does not block others if it fails
        // again.
        let tried = sql!("UPDATE provisionings SET changed_at = ? WHERE tenant = ?", request.now.get(), tenant);
        request.store.run(&[tried]).await?;
        let gone_on = match ProvisioningSaga::of(row) {
            Ok(mut saga) => advance(request, &mut saga).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        match gone_on {
            Ok(()) => ended = ended.saturating_add(1),
            Err(refusal) if refusal.code() == "PROVISIONING_FAILED" => ended = ended.saturating_add(1),
            Err(refusal) => {
                let said = format!("control: `{tenant}` cannot be set up yet: {}", refusal.code());
                web_sys::console::error_1(&said.into());
            }
        }
    }
    Ok(ended)
}

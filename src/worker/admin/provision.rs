//! The beginning of provisioning: permissions, the record, its id and its slug.
//!
//! One transaction writes the record with the status `provisioning` and a row in `provisionings`.
//! The steps that follow are in [`super::saga`].

use serde_json::{Value, json};

use super::error::AdminError;
use super::records::{PublishedCatalog, TreePosition, next_end, take_data_route, take_slug};
use super::request::{AdminRequest, AdminResponse, checked};
use super::saga::{ProvisioningSaga, advance};
use crate::control::{NewTenant, merge, slug_of};
use crate::model::bounds::MAX_HIERARCHY_DEPTH;
use crate::model::{DataRoute, SettledRoute, Slug, Tenant, TenantId, gather};
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{sql, text};

/// The members that a tenant admin may set on a new sub-tenant: nothing that is sold, and nothing
/// that decides where data lives.
const OWN_MEMBERS: [&str; 6] = ["name", "slug", "parent", "branding", "metadata", "api_key_scopes"];
/// Maximum number of slugs or ids that are tried if the first are taken.
const NAMES: u32 = 20;

/// `POST /tenants`
pub(super) async fn create(request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
    let mut saga = match begun(request).await? {
        Some(saga) => saga,
        None => begin(request).await?,
    };
    advance(request, &mut saga).await
}

/// The saga that an earlier request with the same idempotency key began.
async fn begun(request: &AdminRequest<'_>) -> Result<Option<ProvisioningSaga>, AdminError> {
    let Some(once) = &request.once else { return Ok(None) };
    let statement = sql!("SELECT * FROM provisionings WHERE actor = ? AND key = ?", request.actor.name(), once.key());
    let Some(row) = request.store.row(statement).await? else { return Ok(None) };
    if text(&row, "print") != once.fingerprint() {
        return Err(AdminError::KEY_REUSED);
    }
    if text(&row, "state") == "failed" {
        return Err(AdminError::PROVISIONING_FAILED.with(json!({ "problem": text(&row, "problem") })));
    }
    ProvisioningSaga::of(&row).map(Some)
}

/// The first step: writes the record, its slug and the saga's row in one transaction.
async fn begin(request: &AdminRequest<'_>) -> Result<ProvisioningSaga, AdminError> {
    let asked: NewTenant = request.read()?;
    let question: Value = request.read()?;
    let published = request.catalog().await?;
    may_ask(request, &asked, &question).await?;
    let id = new_id(request, &asked)?;
    let place = match &asked.parent {
        None => TreePosition { root: id.clone(), above: Vec::new(), owner: None },
        Some(parent) => request.place_below(parent, &published, true).await?,
    };
    if place.above.len() >= MAX_HIERARCHY_DEPTH {
        return Err(AdminError::problem(
            "$.parent",
            "a tenant that has 7 ancestors",
            "at most 6 ancestors, since a line has at most 8 generations",
        ));
    }
    let root = place.root.clone();
    let derived = asked.name.as_deref().and_then(slug_of);
    let first = asked.slug.clone().or_else(|| derived.clone()).ok_or(AdminError::SLUG_TAKEN)?;
    for attempt in 1..=NAMES {
        let slug = match attempt {
            1 => Some(first.clone()),
            2..=5 => Slug::parse(&format!("{first}-{attempt}")),
            _ => Slug::parse(&format!("{first}-{}", edge::random(3))),
        };
        let slug = slug.ok_or(AdminError::SLUG_TAKEN)?;
        let record = record(request, &asked, &question, &id, &slug);
        let tenant = match Tenant::parse_against(&record.to_string(), &published.catalog) {
            // The slug that was derived from the name is reserved: tries the next one.
            Err(problems) if asked.slug.is_none() && problems.0.iter().all(|problem| problem.path == "$.slug") => {
                continue;
            }
            tenant => checked(tenant)?,
        };
        let trial = tenant.trial.as_ref().map(|trial| &trial.plan);
        let mut plans = tenant.plan.iter().chain(trial).filter_map(|plan| published.catalog.plans.get(plan));
        if plans.any(|plan| plan.retired) {
            return Err(AdminError::problem("$.plan", "a retired plan version", "a plan version that is not retired"));
        }
        let mut change = request.transaction();
        change.run(sql!(
            "INSERT INTO tenants (id, slug, name, status, plan, parent, root, epoch, record, created_at, changed_at, ends_at) \
             VALUES (?, ?, ?, 'provisioning', ?, ?, ?, 1, ?, ?, ?, ?)",
            id,
            slug.as_str(),
            tenant.name,
            tenant.plan.as_ref().map(crate::model::PlanRef::as_str),
            tenant.parent.as_ref().map(TenantId::as_str),
            root,
            record.to_string(),
            request.now.get(),
            request.now.get(),
            next_end(&tenant, request.now)
        ));
        take_slug(&mut change, slug.as_str(), &id, request.now);
        if let Some(route) = place_of_data(&asked, &tenant, &published) {
            take_data_route(&mut change, &json!({ "data_route": route }), &id);
        }
        let (key, fingerprint) = match &request.once {
            Some(once) => (once.key().to_owned(), once.fingerprint().to_owned()),
            None => (format!(" {id}"), String::new()),
        };
        change.run(sql!(
            "INSERT INTO provisionings (tenant, actor, key, print, step, question, state, changed_at) VALUES (?, ?, ?, ?, 0, ?, 'running', ?)",
            id,
            request.actor.name(),
            key,
            fingerprint,
            question.to_string(),
            request.now.get()
        ));
        let said = crate::control::changes(&Value::Null, &record);
        change.audit(&id, "tenant.create", None, &said).await?;
        change.precondition("(SELECT max(version) FROM catalogs) = ?", &[published.version.into()]);
        if let Some(parent) = &asked.parent {
            change.precondition(
                "(SELECT root FROM tenants WHERE id = ?1 AND status <> 'deleted') = ?2 AND NOT EXISTS (SELECT 1 FROM moving WHERE tenant = ?1)",
                &[parent.as_str().into(), root.as_str().into()],
            );
        }
        place.audit(&mut change, &id).await?;
        change.publish(&format!("tenant:{id}"), 1, Some(&root));
        change.publish(&format!("slug:{slug}"), 1, None);
        match change.commit().await.map_err(AdminError::from) {
            Ok(()) => {
                return Ok(ProvisioningSaga::new(id, asked));
            }
            Err(refusal) if refusal.code() == "SLUG_TAKEN" && asked.slug.is_none() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Err(AdminError::SLUG_TAKEN)
}

/// The data route that the request names. It is reserved in the first step, so that only one of two
/// requests for the same data route succeeds.
fn place_of_data(asked: &NewTenant, tenant: &Tenant, published: &PublishedCatalog) -> Option<SettledRoute> {
    let route = asked.data_route.as_ref().filter(|route| route.name.is_some())?;
    DataRoute::settle(Some(route), &tenant.id, tenant.region.as_deref(), &published.catalog.shards)
}

/// Refuses members that the actor may not set. INVARIANT (no escalation): provisioning needs the
/// same permissions as setting the members later.
async fn may_ask(request: &AdminRequest<'_>, asked: &NewTenant, question: &Value) -> Result<(), AdminError> {
    if request.actor.tenant.is_none() {
        let members = question.as_object().into_iter().flatten();
        // A data route whose name the gate chooses, and an API key without scopes, need no
        // permission.
        let chosen = members.filter(|(name, value)| match name.as_str() {
            "data_route" => value.get("name").is_some_and(|name| !name.is_null()),
            "api_key_scopes" => value.as_array().is_some_and(|scopes| !scopes.is_empty()),
            _ => true,
        });
        request.actor.may_set(&gather(chosen.map(|(name, value)| (name.clone(), value.clone()))))?;
    }
    // INVARIANT (own tenant): a tenant admin creates tenants only below its own, as its plan
    // allows.
    if let Some(own) = &request.actor.tenant {
        let parent = asked.parent.as_ref().ok_or(AdminError::FORBIDDEN)?;
        request.tenant(parent.as_str()).await?;
        let members = question.as_object().into_iter().flat_map(|question| question.keys());
        let more: Vec<&String> = members.filter(|member| !OWN_MEMBERS.contains(&member.as_str())).collect();
        if !more.is_empty() || !request.actor.may_give(asked.api_key_scopes.iter().flatten()) {
            return Err(AdminError::FORBIDDEN.with(json!({ "tenant": own.as_str(), "members": more })));
        }
    }
    Ok(())
}

/// A new, random id. It has the prefix of the requested jurisdiction, or none of the prefixes.
fn new_id(request: &AdminRequest<'_>, asked: &NewTenant) -> Result<String, AdminError> {
    let known = &request.config.jurisdictions;
    let Some(jurisdiction) = &asked.jurisdiction else {
        let mut ids = (0..NAMES).map(|_| format!("t_{}", edge::random(10)));
        return ids.find(|id| !known.iter().any(|(prefix, _)| id.starts_with(prefix))).ok_or(AdminError::UNAVAILABLE);
    };
    match known.iter().find(|(_, known)| known == jurisdiction) {
        Some((prefix, _)) => Ok(format!("{prefix}{}", edge::random(10))),
        None => Err(AdminError::problem("$.jurisdiction", jurisdiction.as_str(), "one of `LEDGER_JURISDICTIONS`")),
    }
}

/// The record of the new tenant, from the body of the request.
fn record(request: &AdminRequest<'_>, asked: &NewTenant, question: &Value, id: &str, slug: &Slug) -> Value {
    let mut record = question.clone();
    let anchor = asked.billing_anchor.unwrap_or(request.now).to_string();
    merge(
        &mut record,
        &json!({
            "id": id, "slug": slug.as_str(), "status": "provisioning", "epoch": 1, "billing_anchor": anchor,
            "api_key_scopes": null, "jurisdiction": null,
        }),
    );
    record
}

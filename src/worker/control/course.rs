//! The course of setting a tenant up: one step after the other, each a transaction or something that may be done twice. Wherever
//! it stops, the same request, or the clock, goes on; what cannot succeed is undone.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::desk::{Answer, Desk, checked};
use super::records::{Record, take_data_route};
use super::refusal::Refusal;
use super::store::{Change, Row, document, number, sql, text};
use super::{keys, publish, tenants};
use crate::control::{NewTenant, merge};
use crate::gate::{Ask, LocalGate};
use crate::ledger::Order;
use crate::model::{DataRoute, Read, Reader, SettledRoute, Tenant, TenantId};
use crate::resolve::Request;
use crate::worker::edge;

/// Milliseconds that whoever sets data up may take.
const PROVISIONER_MS: u32 = 20_000;
/// Milliseconds after which the clock goes on with what nobody does.
const ABANDONED_MS: u64 = 60_000;

/// The steps after the record is there, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    DataRoute,
    Defaults,
    ApiKey,
    Features,
    Ledger,
    Publish,
    Welcome,
    Active,
}

const STEPS: [Step; 8] = [
    Step::DataRoute,
    Step::Defaults,
    Step::ApiKey,
    Step::Features,
    Step::Ledger,
    Step::Publish,
    Step::Welcome,
    Step::Active,
];

/// A tenant on its way.
pub(super) struct Course {
    tenant: String,
    step: usize,
    asked: NewTenant,
    /// The id of its first key.
    api_key: Option<String>,
    /// The key's text, where it was made just now.
    text: Option<String>,
    /// The features that it has, once somebody has asked.
    features: Option<Vec<String>>,
}

impl Course {
    /// One that begins.
    pub(super) const fn new(tenant: String, asked: NewTenant) -> Self {
        Self { tenant, step: 0, asked, api_key: None, text: None, features: None }
    }

    /// One as it was left.
    pub(super) fn of(row: &Row) -> Result<Self, Refusal> {
        let question = document(row, "question");
        let asked = checked(Reader::run(|r| NewTenant::read(&question, r)))?;
        Ok(Self {
            step: usize::try_from(number(row, "step")).unwrap_or(0),
            api_key: row.get("api_key").and_then(Value::as_str).map(String::from),
            ..Self::new(text(row, "tenant").to_owned(), asked)
        })
    }
}

/// Goes on, step by step, to the end.
pub(super) async fn advance(desk: &Desk<'_>, course: &mut Course) -> Result<Answer, Refusal> {
    while let Some(step) = STEPS.get(course.step) {
        crate::worker::fault(desk.fault.as_deref(), &format!("provision-{}", course.step));
        match take(desk, course, *step).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => course.step = course.step.saturating_add(1),
            Err(refusal) if refusal.code() == "PROVISIONING_FAILED" => return Err(undo(desk, course, refusal).await),
            Err(refusal) => return Err(refusal),
        }
    }
    // Somebody else has finished it, and nobody was answered.
    let record = desk.tenant(&course.tenant).await?;
    features(desk, course).await?;
    let mut change = desk.change();
    change.follow(&record.id, &record.head);
    replace_unseen(desk, course, &mut change).await?;
    answered(desk, course, change, &record.value).await?;
    Ok(Answer::json(201, &done(course, &record.value)).with_version(record.epoch))
}

/// Commits, and has the answer remembered. The key is shown once: whoever asks again learns all else.
async fn answered(desk: &Desk<'_>, course: &mut Course, mut change: Change<'_>, record: &Value) -> Result<(), Refusal> {
    let text = course.text.take();
    desk.remember(&mut change, 201, &done(course, record).to_string());
    course.text = text;
    change.commit().await?;
    publish::after(desk).await;
    Ok(())
}

/// Takes one step; the answer after the last.
async fn take(desk: &Desk<'_>, course: &mut Course, step: Step) -> Result<Option<Answer>, Refusal> {
    let record = desk.store.record(&course.tenant).await?.ok_or(Refusal::NOT_FOUND)?;
    // Whoever has ended it meanwhile has ended this too.
    if record.status() != "provisioning" {
        return Err(Refusal::WRONG_STATUS.with(json!({ "status": record.status() })));
    }
    let published = desk.catalog().await?;
    let mut change = desk.change();
    // Of two who go on at the same time, one takes the step: the other finds it taken, or an entry in the trail.
    change.follow(&record.id, &record.head);
    change.require(
        "(SELECT step FROM provisionings WHERE tenant = ? AND state = 'running') = ?",
        &[record.id.as_str().into(), course.step.into()],
    );
    match step {
        Step::DataRoute => {
            let region = record.value.get("region").and_then(Value::as_str);
            let id = TenantId::parse(&record.id).ok_or(Refusal::NOT_FOUND)?;
            let settled = DataRoute::settle(course.asked.data_route.as_ref(), &id, region, &published.catalog.shards);
            let Some(route) = settled else {
                return Err(failed("no open shard stands in the tenant's region"));
            };
            let mut reserved = desk.change();
            take_data_route(&mut reserved, &json!({ "data_route": route }), &record.id);
            match reserved.commit().await.map_err(Refusal::from) {
                Err(refusal) if refusal.code() == "DATA_ROUTE_TAKEN" => {
                    return Err(failed("another tenant's data is, or was, where its data would be"));
                }
                reserved => reserved?,
            }
            set_up_data(desk, &record, &route).await?;
            let mut after = record.value.clone();
            merge(&mut after, &json!({ "data_route": route }));
            desk.save(&mut change, &record, after, &published, ("tenant.data_route", None)).await?;
        }
        Step::Defaults => {
            if let Some(defaults) = &published.catalog.tenant_defaults {
                let mut after = defaults.clone();
                merge(&mut after, &record.value);
                match desk.save(&mut change, &record, after, &published, ("tenant.defaults", None)).await {
                    Err(Refusal::Invalid(problems)) => {
                        return Err(failed(&format!("the catalog's `tenant_defaults`: {problems}")));
                    }
                    saved => drop(saved?),
                }
            }
        }
        Step::ApiKey => {
            if let Some(scopes) = course.asked.api_key_scopes.clone() {
                let asked = keys::first(scopes, desk.config.environment);
                let (text, value) = keys::make(desk, &mut change, &record.id, &asked).await?;
                course.api_key = value.get("id").and_then(Value::as_str).map(String::from);
                course.text = Some(text);
                change.run(sql!("UPDATE provisionings SET api_key = ? WHERE tenant = ?", course.api_key, record.id));
            }
        }
        Step::Features => drop(features(desk, course).await?),
        Step::Ledger => {
            let epochs = [(record.id.as_str().into(), record.epoch)].into_iter().collect();
            if !desk.config.ledger.is_undefined() {
                desk.order(&record.root, &Order { epochs, ..Order::default() }).await?;
            }
        }
        Step::Publish => publish::after(desk).await,
        Step::Welcome => {
            let features = features(desk, course).await?;
            let event = json!({
                "specversion": "1.0", "id": format!("welcome-{}", record.id), "source": "/tenantgate/tenants", "type": "tenant.welcome",
                "subject": record.id, "time": desk.now,
                "data": { "slug": record.member("slug"), "name": record.value.get("name"), "plan": record.value.get("plan"), "features": features },
            });
            if !desk.config.events.is_undefined()
                && let Err(error) = JsFuture::from(edge::tell(&desk.config.events, &event.to_string())).await
            {
                web_sys::console::error_2(&"control: the welcome event was not taken".into(), &error);
                return Err(Refusal::UNAVAILABLE);
            }
        }
        Step::Active => return finish(desk, course, &record, change).await.map(Some),
    }
    let next = course.step.saturating_add(1);
    change.run(sql!(
        "UPDATE provisionings SET step = ?, changed_at = ? WHERE tenant = ?",
        next,
        desk.now.get(),
        record.id
    ));
    change.commit().await?;
    Ok(None)
}

/// The last step: the tenant is active, and the request answered for good.
async fn finish(
    desk: &Desk<'_>,
    course: &mut Course,
    record: &Record,
    mut change: Change<'_>,
) -> Result<Answer, Refusal> {
    features(desk, course).await?;
    let published = desk.catalog().await?;
    replace_unseen(desk, course, &mut change).await?;
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "status": "active" }));
    let after = desk.save(&mut change, record, after, &published, ("tenant.active", None)).await?;
    change.run(sql!(
        "UPDATE provisionings SET step = ?, state = 'done', question = json_remove(question, '$.metadata', '$.branding'), api_key = ?, changed_at = ? WHERE tenant = ?",
        STEPS.len(),
        course.api_key,
        desk.now.get(),
        record.id
    ));
    answered(desk, course, change, &after).await?;
    Ok(Answer::json(201, &done(course, &after)).with_version(record.epoch.saturating_add(1)))
}

/// A key whose text nobody has seen is of no use to anybody: whoever asks again gets another in its place.
async fn replace_unseen(desk: &Desk<'_>, course: &mut Course, change: &mut Change<'_>) -> Result<(), Refusal> {
    let (Some(unseen), Some(scopes), None, Some(_)) =
        (&course.api_key, course.asked.api_key_scopes.clone(), &course.text, &desk.once)
    else {
        return Ok(());
    };
    change.run(sql!(
        "UPDATE api_keys SET epoch = epoch + 1, record = json_set(record, '$.revoked_at', ?, '$.epoch', epoch + 1) WHERE id = ?",
        desk.now.to_string(),
        unseen
    ));
    change.publish(&format!("key:{unseen}"), 2, None);
    change.note(&course.tenant, "key.replace", None, &json!({ "api_key": { "before": { "id": unseen } } })).await?;
    let (text, value) = keys::make(desk, change, &course.tenant, &keys::first(scopes, desk.config.environment)).await?;
    course.api_key = value.get("id").and_then(Value::as_str).map(String::from);
    course.text = Some(text);
    Ok(())
}

fn done(course: &Course, record: &Value) -> Value {
    json!({ "tenant": record, "api_key": course.text, "api_key_id": course.api_key, "features": course.features })
}

/// The features that the tenant's plan gives it, found out once.
async fn features(desk: &Desk<'_>, course: &mut Course) -> Result<Vec<String>, Refusal> {
    if let Some(known) = &course.features {
        return Ok(known.clone());
    }
    let published = desk.catalog().await?;
    let mut gate = LocalGate::with(published.plans()?);
    for record in desk.store.line(&course.tenant).await? {
        let mut record = record.value;
        merge(&mut record, &json!({ "status": null }));
        let _ = gate.put(checked(Tenant::parse(&record.to_string()))?);
    }
    let ask = Ask { tenant: Some(&course.tenant), all_features: true, look: true, ..Ask::default() };
    let decision = gate.decide(&Request::default(), &ask, desk.now);
    let enabled = decision.features.iter().filter(|one| one.enabled);
    Ok(course.features.insert(enabled.map(|one| one.key.to_string()).collect()).clone())
}

/// Has the tenant's data set up, where somebody does that.
async fn set_up_data(desk: &Desk<'_>, record: &Record, route: &SettledRoute) -> Result<(), Refusal> {
    if desk.config.provisioner.is_undefined() {
        return Ok(());
    }
    let question = json!({ "tenant": record.value, "data_route": route });
    match JsFuture::from(edge::set_up_data(&desk.config.provisioner, &question.to_string(), PROVISIONER_MS)).await {
        Ok(answer) => match answer.as_string() {
            None => Ok(()),
            Some(problem) => Err(failed(&problem)),
        },
        Err(error) => {
            web_sys::console::error_2(&"control: the provisioner failed".into(), &error);
            Err(Refusal::UNAVAILABLE)
        }
    }
}

fn failed(problem: &str) -> Refusal {
    Refusal::PROVISIONING_FAILED.with(json!({ "problem": problem }))
}

/// Undoes what was done for a tenant that cannot be set up: its slug is free at once, since nobody has seen it.
async fn undo(desk: &Desk<'_>, course: &Course, refusal: Refusal) -> Refusal {
    let Ok(Some(record)) = desk.store.record(&course.tenant).await else { return Refusal::UNAVAILABLE };
    let problem = match &refusal {
        Refusal::Failed(_, details) => details.get("problem").and_then(Value::as_str).unwrap_or_default().to_owned(),
        Refusal::Invalid(_) => String::new(),
    };
    let mut change = desk.change();
    if let Err(refusal) = tenants::bury(desk, &mut change, &record, ("tenant.undo", Some(&problem))).await {
        return refusal;
    }
    change.run(sql!("DELETE FROM slugs WHERE tenant = ?", record.id));
    // Where its data was set up, that place stays its own.
    if STEPS.get(course.step) == Some(&Step::DataRoute) {
        change.run(sql!("DELETE FROM data_routes WHERE tenant = ?", record.id));
    }
    change.run(sql!(
        "UPDATE provisionings SET state = 'failed', problem = ?, changed_at = ? WHERE tenant = ?",
        problem,
        desk.now.get(),
        record.id
    ));
    match change.commit().await {
        Ok(()) => {
            publish::after(desk).await;
            refusal
        }
        Err(trouble) => trouble.into(),
    }
}

/// Goes on with tenants that somebody began to set up and left. How many have come to their end.
pub(super) async fn resume(desk: &Desk<'_>) -> Result<usize, Refusal> {
    let before = desk.now.get().saturating_sub(ABANDONED_MS);
    let left = sql!(
        "SELECT * FROM provisionings WHERE state = 'running' AND changed_at <= ? ORDER BY changed_at LIMIT 10",
        before
    );
    let mut ended = 0_usize;
    for row in &desk.store.rows(left).await? {
        let tenant = text(row, "tenant");
        // Those that cannot go on yet make room for others.
        let tried = sql!("UPDATE provisionings SET changed_at = ? WHERE tenant = ?", desk.now.get(), tenant);
        desk.store.run(&[tried]).await?;
        let gone_on = match Course::of(row) {
            Ok(mut course) => advance(desk, &mut course).await.map(drop),
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

//! Setting a tenant up: one step after the other, each a transaction or something that may be done twice. Wherever it stops,
//! the same request, or the clock, goes on; what cannot succeed is undone.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::desk::{Answer, Desk, checked};
use super::records::{Place, Record, next_end, take_slug};
use super::refusal::Refusal;
use super::store::{Change, document, number, sql, text};
use super::{keys, publish, tenants};
use crate::control::{NewTenant, merge, slug_of};
use crate::gate::{Ask, LocalGate, Plans};
use crate::ledger::Order;
use crate::model::bounds::MAX_HIERARCHY_DEPTH;
use crate::model::{DataRoute, Read, Reader, Slug, Tenant, TenantId};
use crate::resolve::Request;
use crate::worker::{charge, edge};

/// Milliseconds that whoever sets data up may take.
const PROVISIONER_MS: u32 = 20_000;
/// Milliseconds after which the clock goes on with what nobody does.
const ABANDONED_MS: u64 = 60_000;
/// What a tenant's own admin may say of a tenant below its own: nothing that is sold, and nothing that says where data is.
const OWN_MEMBERS: [&str; 6] = ["name", "slug", "parent", "branding", "metadata", "api_key_scopes"];
/// So many names are tried where the first are taken.
const NAMES: u32 = 20;

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
struct Course {
    tenant: String,
    step: usize,
    asked: NewTenant,
    /// The id of its first key.
    api_key: Option<String>,
    /// The key's text, where it was made just now.
    text: Option<String>,
    features: Vec<String>,
}

/// `POST /tenants`
pub(super) async fn create(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let mut course = match begun(desk).await? {
        Some(course) => course,
        None => begin(desk).await?,
    };
    advance(desk, &mut course).await
}

/// What was begun under the same idempotency key.
async fn begun(desk: &Desk<'_>) -> Result<Option<Course>, Refusal> {
    let Some(once) = &desk.once else { return Ok(None) };
    let statement = sql!("SELECT * FROM provisionings WHERE actor = ? AND key = ?", desk.actor.name(), once.key());
    let Some(row) = desk.store.row(statement).await? else { return Ok(None) };
    if text(&row, "print") != once.print() {
        return Err(Refusal::KEY_REUSED);
    }
    if text(&row, "state") == "failed" {
        return Err(Refusal::PROVISIONING_FAILED.with(json!({ "problem": text(&row, "problem") })));
    }
    Course::of(&row).map(Some)
}

impl Course {
    fn of(row: &super::store::Row) -> Result<Self, Refusal> {
        let question = document(row, "question");
        let asked = checked(Reader::run(|r| NewTenant::read(&question, r)))?;
        Ok(Self {
            tenant: text(row, "tenant").to_owned(),
            step: usize::try_from(number(row, "step")).unwrap_or(0),
            asked,
            api_key: row.get("api_key").and_then(Value::as_str).map(String::from),
            text: None,
            features: Vec::new(),
        })
    }
}

/// The first step: the record, its name, and that it is on its way.
async fn begin(desk: &Desk<'_>) -> Result<Course, Refusal> {
    let asked: NewTenant = desk.read()?;
    let question: Value = desk.read()?;
    let published = desk.catalog().await?;
    // INVARIANT (own tenant): a tenant's admin makes tenants below its own only, as its plan allows.
    if let Some(own) = &desk.actor.tenant {
        let parent = asked.parent.as_ref().ok_or(Refusal::FORBIDDEN)?;
        desk.tenant(parent.as_str()).await?;
        let members = question.as_object().into_iter().flat_map(|question| question.keys());
        let more: Vec<&String> = members.filter(|member| !OWN_MEMBERS.contains(&member.as_str())).collect();
        if !more.is_empty() || !desk.actor.may_give(asked.api_key_scopes.iter().flatten()) {
            return Err(Refusal::FORBIDDEN.with(json!({ "tenant": own.as_str(), "members": more })));
        }
    }
    let id = new_id(desk, &asked)?;
    let place = match &asked.parent {
        None => Place { root: id.clone(), above: Vec::new(), owner: None },
        Some(parent) => desk.place_below(parent, &published, true).await?,
    };
    if place.above.len() >= MAX_HIERARCHY_DEPTH {
        return Err(Refusal::problem("$.parent", "a tenant with 7 above it", "a line of at most 8 generations"));
    }
    let root = place.root.clone();
    let derived = asked.name.as_deref().and_then(slug_of);
    let first = asked.slug.clone().or_else(|| derived.clone()).ok_or(Refusal::SLUG_TAKEN)?;
    for attempt in 1..=NAMES {
        let slug = match attempt {
            1 => Some(first.clone()),
            2..=5 => Slug::parse(&format!("{first}-{attempt}")),
            _ => Slug::parse(&format!("{first}-{}", edge::random(3))),
        };
        let slug = slug.ok_or(Refusal::SLUG_TAKEN)?;
        let record = record(desk, &asked, &question, &id, &slug);
        let tenant = match Tenant::parse_against(&record.to_string(), &published.catalog) {
            // A name that makes a reserved slug makes another one.
            Err(problems) if asked.slug.is_none() && problems.0.iter().all(|problem| problem.path == "$.slug") => {
                continue;
            }
            tenant => checked(tenant)?,
        };
        let trial = tenant.trial.as_ref().map(|trial| &trial.plan);
        let mut plans = tenant.plan.iter().chain(trial).filter_map(|plan| published.catalog.plans.get(plan));
        if plans.any(|plan| plan.retired) {
            return Err(Refusal::problem("$.plan", "a plan version that is retired", "one that is sold"));
        }
        let mut change = desk.change();
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
            desk.now.get(),
            desk.now.get(),
            next_end(&tenant, desk.now)
        ));
        take_slug(&mut change, slug.as_str(), &id, desk.now);
        let (key, print) = match &desk.once {
            Some(once) => (once.key().to_owned(), once.print().to_owned()),
            None => (format!(" {id}"), String::new()),
        };
        change.run(sql!(
            "INSERT INTO provisionings (tenant, actor, key, print, step, question, state, changed_at) VALUES (?, ?, ?, ?, 0, ?, 'running', ?)",
            id,
            desk.actor.name(),
            key,
            print,
            question.to_string(),
            desk.now.get()
        ));
        let said = crate::control::changes(&Value::Null, &record);
        change.note(&id, "tenant.create", None, &said).await?;
        change.require("(SELECT max(version) FROM catalogs) = ?", &[published.version.into()]);
        if let Some(parent) = &asked.parent {
            change.require(
                "(SELECT root FROM tenants WHERE id = ?1 AND status <> 'deleted') = ?2 AND NOT EXISTS (SELECT 1 FROM moving WHERE tenant = ?1)",
                &[parent.as_str().into(), root.as_str().into()],
            );
        }
        place.note(&mut change, &id).await?;
        change.publish(&format!("tenant:{id}"), 1, Some(&root));
        change.publish(&format!("slug:{slug}"), 1, None);
        match change.commit().await.map_err(Refusal::from) {
            Ok(()) => {
                return Ok(Course { tenant: id, step: 0, asked, api_key: None, text: None, features: Vec::new() });
            }
            Err(refusal) if refusal.code() == "SLUG_TAKEN" && asked.slug.is_none() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::SLUG_TAKEN)
}

/// An id that nobody has had. It begins as those of its jurisdiction do, and of no other.
fn new_id(desk: &Desk<'_>, asked: &NewTenant) -> Result<String, Refusal> {
    let known = &desk.config.jurisdictions;
    let Some(jurisdiction) = &asked.jurisdiction else {
        let mut ids = (0..NAMES).map(|_| format!("t_{}", edge::random(10)));
        return ids.find(|id| !known.iter().any(|(prefix, _)| id.starts_with(prefix))).ok_or(Refusal::UNAVAILABLE);
    };
    match known.iter().find(|(_, known)| known == jurisdiction) {
        Some((prefix, _)) => Ok(format!("{prefix}{}", edge::random(10))),
        None => Err(Refusal::problem("$.jurisdiction", jurisdiction.as_str(), "one of `LEDGER_JURISDICTIONS`")),
    }
}

/// The record that was asked for.
fn record(desk: &Desk<'_>, asked: &NewTenant, question: &Value, id: &str, slug: &Slug) -> Value {
    let mut record = question.clone();
    let anchor = asked.billing_anchor.unwrap_or(desk.now).to_string();
    merge(
        &mut record,
        &json!({
            "id": id, "slug": slug.as_str(), "status": "provisioning", "epoch": 1, "billing_anchor": anchor,
            "api_key_scopes": null, "jurisdiction": null,
        }),
    );
    record
}

/// Goes on, step by step, to the end.
async fn advance(desk: &Desk<'_>, course: &mut Course) -> Result<Answer, Refusal> {
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
        Step::Features => {
            // Whoever goes on later looks again: see `done`.
            features(desk, course).await?;
        }
        Step::Ledger => {
            let root = TenantId::parse(&record.root).ok_or(Refusal::UNAVAILABLE)?;
            let order =
                Order { epochs: [(record.id.as_str().into(), record.epoch)].into_iter().collect(), ..Order::default() };
            let heard = match charge::ask(&root, &order, desk.config, &desk.context) {
                Ok(promise) => charge::outcome(promise).await,
                Err(reason) => Err(reason),
            };
            if !desk.config.ledger.is_undefined() && !matches!(heard, Ok(Some(_))) {
                return Err(Refusal::UNAVAILABLE);
            }
        }
        Step::Publish => publish::after(desk).await,
        Step::Welcome => {
            features(desk, course).await?;
            let event = json!({
                "specversion": "1.0", "id": format!("welcome-{}", record.id), "source": "/tenantgate/tenants", "type": "tenant.welcome",
                "subject": record.id, "time": desk.now,
                "data": { "slug": record.member("slug"), "name": record.value.get("name"), "plan": record.value.get("plan"), "features": course.features },
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
        "UPDATE provisionings SET step = ?, state = 'done', api_key = ?, changed_at = ? WHERE tenant = ?",
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

/// The features that the tenant's plan gives it.
async fn features(desk: &Desk<'_>, course: &mut Course) -> Result<(), Refusal> {
    let published = desk.catalog().await?;
    let mut gate = LocalGate::with(checked(Plans::parse(&published.text))?);
    for record in desk.store.line(&course.tenant).await? {
        let mut record = record.value;
        merge(&mut record, &json!({ "status": null }));
        let _ = gate.put(checked(Tenant::parse(&record.to_string()))?);
    }
    let ask = Ask { tenant: Some(&course.tenant), all_features: true, look: true, ..Ask::default() };
    let decision = gate.decide(&Request::default(), &ask, desk.now);
    course.features = decision.features.iter().filter(|one| one.enabled).map(|one| one.key.to_string()).collect();
    Ok(())
}

/// Has the tenant's data set up, where somebody does that.
async fn set_up_data(desk: &Desk<'_>, record: &Record, route: &crate::model::SettledRoute) -> Result<(), Refusal> {
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

//! Setting a tenant up: one step after the other, each a transaction or something that may be done twice. Wherever it stops,
//! the same request, or the clock, goes on; what cannot succeed is undone.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::actor::ADMIN_SCOPE;
use super::desk::{Answer, Desk, checked};
use super::records::{Published, Record, next_end, take_slug};
use super::refusal::Refusal;
use super::store::{Change, document, number, sql, text};
use super::{keys, publish, tenants};
use crate::control::audit::Head;
use crate::control::{NewTenant, merge, slug_of};
use crate::gate::{Ask, LocalGate, Plans};
use crate::ledger::Order;
use crate::model::bounds::MAX_HIERARCHY_DEPTH;
use crate::model::{DataRoute, Read, Reader, Scope, Slug, Tenant, TenantId};
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
        let scopes = asked.api_key_scopes.iter().flatten();
        if !more.is_empty() || scopes.map(Scope::as_str).any(|scope| scope == ADMIN_SCOPE) {
            return Err(Refusal::FORBIDDEN.with(json!({ "tenant": own.as_str(), "members": more })));
        }
    }
    let id = new_id(desk, &asked)?;
    let (root, parent_head) = match &asked.parent {
        None => (id.clone(), None),
        Some(parent) => room_below(desk, parent, &published).await.map(|(root, head)| (root, Some(head)))?,
    };
    let derived = asked.name.as_deref().and_then(slug_of);
    let first = asked.slug.clone().or_else(|| derived.clone()).ok_or(Refusal::SLUG_TAKEN)?;
    for attempt in 1..=NAMES {
        let slug = if attempt == 1 { Some(first.clone()) } else { Slug::parse(&format!("{first}-{attempt}")) };
        let slug = slug.ok_or(Refusal::SLUG_TAKEN)?;
        let record = record(desk, &asked, &question, &id, &slug);
        let tenant = match Tenant::parse_against(&record.to_string(), &published.catalog) {
            // A name that makes a reserved slug makes another one.
            Err(problems) if asked.slug.is_none() && problems.0.iter().all(|problem| problem.path == "$.slug") => {
                continue;
            }
            tenant => checked(tenant)?,
        };
        let retired =
            tenant.plan.as_ref().and_then(|plan| published.catalog.plans.get(plan)).is_some_and(|plan| plan.retired);
        if retired {
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
        if let Some((parent, head)) = asked.parent.as_ref().zip(parent_head.as_ref()) {
            change.follow(parent.as_str(), head);
            // One after the other, so that none of two exceeds what the parent may have.
            change.note(parent.as_str(), "tenant.child", None, &json!({ "child": { "after": id } })).await?;
        }
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

/// The root of a parent that has room for one more, and the end of its trail at that moment.
async fn room_below(desk: &Desk<'_>, parent: &TenantId, published: &Published) -> Result<(String, Head), Refusal> {
    let line = desk.store.line(parent.as_str()).await?;
    let Some(above) = line.first().filter(|above| above.status() != "deleted") else {
        return Err(Refusal::problem("$.parent", format!("`{parent}`"), "the id of a tenant"));
    };
    if line.len() >= MAX_HIERARCHY_DEPTH {
        return Err(Refusal::problem("$.parent", format!("`{parent}`"), "a line of at most 8 generations"));
    }
    desk.has_room_below(parent.as_str(), published).await?;
    Ok((above.root.clone(), above.head.clone()))
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
    let record = desk.store.record(&course.tenant).await?.ok_or(Refusal::NOT_FOUND)?;
    Ok(Answer::json(201, &done(course, &record.value)).with_version(record.epoch))
}

/// Takes one step; the answer after the last.
async fn take(desk: &Desk<'_>, course: &mut Course, step: Step) -> Result<Option<Answer>, Refusal> {
    let record = desk.store.record(&course.tenant).await?.ok_or(Refusal::NOT_FOUND)?;
    let published = desk.catalog().await?;
    let mut change = desk.change();
    // Of two who go on at the same time, one takes the step: the other finds it taken, or its entry in the trail.
    change.follow(&record.id, &record.head);
    let now = desk.store.row(sql!("SELECT step FROM provisionings WHERE tenant = ?", record.id)).await?;
    if now.is_none_or(|row| usize::try_from(number(&row, "step")).ok() != Some(course.step)) {
        return Err(Refusal::BUSY);
    }
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
            if !matches!(heard, Ok(Some(_))) {
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
    // A key whose text nobody has seen is of no use to anybody: whoever asks again gets another.
    if course.text.is_none()
        && let (Some(unseen), Some(scopes), true) =
            (&course.api_key, course.asked.api_key_scopes.clone(), desk.once.is_some())
    {
        change.run(sql!(
            "UPDATE api_keys SET epoch = epoch + 1, record = json_set(record, '$.revoked_at', ?, '$.epoch', epoch + 1) WHERE id = ?",
            desk.now.to_string(),
            unseen
        ));
        change.publish(&format!("key:{unseen}"), 2, None);
        let asked = keys::first(scopes, desk.config.environment);
        let (text, value) = keys::make(desk, &mut change, &record.id, &asked).await?;
        course.api_key = value.get("id").and_then(Value::as_str).map(String::from);
        course.text = Some(text);
    }
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
    // The key is shown once: whoever asks again learns all else.
    let text = course.text.take();
    desk.remember(&mut change, 201, &done(course, &after).to_string());
    course.text = text;
    change.commit().await?;
    publish::after(desk).await;
    Ok(Answer::json(201, &done(course, &after)).with_version(record.epoch.saturating_add(1)))
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
    let rows = desk
        .store
        .rows(sql!("SELECT * FROM provisionings WHERE state = 'running' AND changed_at <= ? LIMIT 10", before))
        .await?;
    let mut ended = 0_usize;
    for row in &rows {
        let mut course = Course::of(row)?;
        match advance(desk, &mut course).await {
            Ok(_) => ended = ended.saturating_add(1),
            Err(refusal) if refusal.code() == "PROVISIONING_FAILED" => ended = ended.saturating_add(1),
            Err(refusal) => {
                web_sys::console::error_1(
                    &format!("control: `{}` cannot be set up yet: {}", course.tenant, refusal.code()).into(),
                );
            }
        }
    }
    Ok(ended)
}

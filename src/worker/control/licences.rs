//! Licences: issued to a tenant, checked by whoever runs its software, counted by the ledger.

use std::rc::Rc;

use serde_json::{Map, Value, json};
use web_sys::Response;

use super::desk::{Answer, Desk, checked, paged, small_body};
use super::keys::entropy;
use super::refusal::Refusal;
use super::store::{Row, Store, at, document, number, sql, text};
use super::tenants::timed;
use crate::control::{Deactivate, LicenceQuestion, changes, merge};
use crate::gate::{Ask, Step};
use crate::identity::Licensed;
use crate::ledger::{Charge, Meter, Once, Op, Order};
use crate::model::{KeyId, LicenceCode, LicenceTerms, Read, Reader, SecretText, TenantId};
use crate::resolve::Request;
use crate::worker::call::Call;
use crate::worker::config::Config;
use crate::worker::{charge, feed, isolate};

/// How a licence key begins.
const PREFIX: &str = "tg_lice_";

fn terms(value: &Value) -> Result<LicenceTerms, Refusal> {
    checked(Reader::run(|r| LicenceTerms::read(value, r)))
}

pub(super) async fn issue(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let asked: Value = desk.read()?;
    terms(&asked)?;
    let secret = SecretText::make(PREFIX, &entropy()).ok_or(Refusal::UNAVAILABLE)?;
    let (licence, hash) = (secret.id().to_string(), secret.hash());
    let mut change = desk.change();
    change.follow(&record.id, &record.head);
    change.run(sql!(
        "INSERT INTO licences (id, tenant, hash, terms, created_at) VALUES (?, ?, ?, ?, ?)",
        licence,
        record.id,
        hash,
        asked.to_string(),
        desk.now.get()
    ));
    let said = json!({ "licence": { "after": { "id": licence, "terms": asked } } });
    change.note(&record.id, "licence.issue", None, &said).await?;
    change.commit().await?;
    Ok(Answer::json(201, &json!({ "key": secret.into_text(), "id": licence, "tenant": record.id, "terms": asked })))
}

pub(super) async fn list(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let (limit, cursor) = desk.page(&[])?;
    let record = desk.tenant(id).await?;
    let statement = sql!(
        "SELECT id, terms, created_at, (SELECT count(*) FROM activations WHERE licence = licences.id AND ended_at IS NULL) AS activations \
         FROM licences WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        record.id,
        cursor,
        limit.saturating_add(1)
    );
    let view = |mut row: Map<String, Value>| {
        let terms = document(&row, "terms");
        row.insert(String::from("terms"), terms);
        timed(row)
    };
    let entries = desk.store.rows(statement).await?.into_iter().map(view).collect();
    Ok(Answer::json(200, &paged(limit, entries, "/id")))
}

pub(super) async fn change(desk: &Desk<'_>, id: &str, licence: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    if KeyId::parse(licence).is_none() {
        return Err(Refusal::NOT_FOUND);
    }
    let row =
        desk.store.row(sql!("SELECT terms FROM licences WHERE id = ? AND tenant = ?", licence, record.id)).await?;
    let before = document(&row.ok_or(Refusal::NOT_FOUND)?, "terms");
    let mut after = before.clone();
    merge(&mut after, &desk.read::<Value>()?);
    terms(&after)?;
    if at(&before, "/status") == "revoked" && at(&after, "/status") != "revoked" {
        return Err(Refusal::WRONG_STATUS.with(json!({ "status": "revoked" })));
    }
    let mut change = desk.change();
    change.follow(&record.id, &record.head);
    change.run(sql!("UPDATE licences SET terms = ? WHERE id = ?", after.to_string(), licence));
    let said = json!({ "licence": { "before": { "id": licence }, "after": changes(&before, &after) } });
    change.note(&record.id, "licence.change", None, &said).await?;
    let body = json!({ "id": licence, "tenant": record.id, "terms": after });
    desk.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(Answer::json(200, &body))
}

/// `POST /_gate/v1/licences/validate` and `/deactivate`: whoever has the key asks.
pub(crate) async fn answer(call: &Call, config: &Rc<Config>) -> Response {
    let asked = ask(call, config).await;
    asked.map_or_else(|refusal| refusal.respond(call), Answer::respond)
}

async fn ask(call: &Call, config: &Rc<Config>) -> Result<Answer, Refusal> {
    if config.control.is_undefined() {
        return Err(Refusal::ABSENT);
    }
    if call.path().ends_with("/deactivate") {
        let asked: Deactivate = small_body(call).await?;
        return match find(config, &asked.key).await? {
            Some((store, row)) => deactivate(call, config, &store, &row, &asked.instance).await,
            None => Ok(refused(LicenceCode::Unknown)),
        };
    }
    let asked: LicenceQuestion = small_body(call).await?;
    match find(config, &asked.key).await? {
        Some((store, row)) => validate(call, config, &store, &row, &asked).await,
        None => Ok(refused(LicenceCode::Unknown)),
    }
}

/// The licence of a key. What nobody issued is not worth a look-up, and looks like what somebody else was issued.
async fn find(config: &Config, key: &str) -> Result<Option<(Store, Row)>, Refusal> {
    let Some(secret) = SecretText::parse(key, PREFIX).filter(SecretText::is_whole) else { return Ok(None) };
    let store = Store::new(&config.control);
    let row =
        store.row(sql!("SELECT id, tenant, hash, terms FROM licences WHERE id = ?", secret.id().as_str())).await?;
    Ok(row.filter(|row| secret.has_hash(text(row, "hash"))).map(|row| (store, row)))
}

fn refused(code: LicenceCode) -> Answer {
    Answer::json(200, &json!({ "valid": false, "code": code }))
}

/// `validate(key, domain)`.
async fn validate(
    call: &Call,
    config: &Rc<Config>,
    store: &Store,
    row: &Row,
    asked: &LicenceQuestion,
) -> Result<Answer, Refusal> {
    let (domain, instance) = (asked.domain.as_deref(), asked.instance.as_deref());
    let terms = terms(&document(row, "terms"))?;
    if let Some(code) = terms.refusal(domain, call.now) {
        return Ok(refused(code));
    }
    let tenant = text(row, "tenant");
    let look = Ask { tenant: Some(tenant), all_features: true, look: true, ..Ask::default() };
    if let Some(need) = feed::due(config, &call.context, call.now) {
        isolate::fetch(need, config, &call.context).await;
    }
    let decision = loop {
        match isolate::with_gate(|gate| {
            gate.decide(&Request { place: config.region.as_deref(), ..Request::default() }, &look, call.now)
        }) {
            Step::Done(decision) => break decision,
            Step::Charge(_) => return Err(Refusal::UNAVAILABLE),
            Step::Fetch(need) => {
                if !isolate::fetch(need, config, &call.context).await {
                    return Err(Refusal::UNAVAILABLE);
                }
            }
        }
    };
    let Some(entitled) = decision.tenant.as_ref().filter(|_| decision.allowed()) else {
        return Ok(refused(LicenceCode::TenantInactive));
    };
    let mut used = None;
    if let (Some(instance), Some(max)) = (instance, terms.max_activations) {
        match activate(call, config, store, (row, instance, domain), (entitled.root(), max.0)).await? {
            Some(count) => used = Some(count),
            None => return Ok(refused(LicenceCode::ActivationsExceeded)),
        }
    } else if terms.max_activations.is_some() {
        return Err(Refusal::problem(
            "$.instance",
            "nothing",
            "the name of the instance: activations of this licence are counted",
        ));
    }
    let features: Vec<&str> = decision.features.iter().filter(|one| one.enabled).map(|one| one.key.as_ref()).collect();
    let plan = entitled.plan().map(crate::model::PlanRef::as_str);
    let until = call.now.plus(terms.offline_ms.0);
    let until = terms.expires_at.map_or(until, |at| at.min(until));
    let said =
        Licensed { licence: text(row, "id"), tenant, plan, features: &features, domains: &terms.domains, instance };
    let token =
        config.licences.as_ref().filter(|_| terms.offline_ms.0 > 0).map(|signer| signer.sign(&said, call.now, until));
    Ok(Answer::json(
        200,
        &json!({
            "valid": true, "code": LicenceCode::Valid, "licence": text(row, "id"), "tenant": tenant, "plan": plan, "features": features,
            "expires_at": terms.expires_at, "activations": used.map(|used| json!({ "used": used, "limit": terms.max_activations.map(|max| max.0) })),
            "offline": token.map(|token| json!({ "token": token, "until": until })),
        }),
    ))
}

/// The counter of a licence's activations, in its family's ledger.
fn counter(tenant: &str, licence: &str) -> String {
    format!("{tenant}/licence.{licence}")
}

/// How often an instance was activated, and whether it is.
async fn turn(store: &Store, licence: &str, instance: &str) -> Result<(u64, bool), Refusal> {
    let statement =
        sql!("SELECT turn, ended_at FROM activations WHERE licence = ? AND instance = ?", licence, instance);
    let row = store.row(statement).await?;
    Ok(row.map_or((0, false), |row| (number(&row, "turn"), row.get("ended_at").is_none_or(Value::is_null))))
}

/// Activates an instance, once however often it asks; how many there are then. `None`: there are as many as may be.
async fn activate(
    call: &Call,
    config: &Rc<Config>,
    store: &Store,
    (row, instance, domain): (&Row, &str, Option<&str>),
    (root, max): (&TenantId, u64),
) -> Result<Option<u64>, Refusal> {
    let (licence, tenant) = (text(row, "id"), text(row, "tenant"));
    let (before, active) = turn(store, licence, instance).await?;
    if active {
        return count(call, config, root, &counter(tenant, licence), (Op::Take(0), max), None).await;
    }
    // Whoever is killed between the ledger and the row asks again, and is counted once.
    let turn = before.saturating_add(1);
    let once = format!("{tenant} activation {licence} {turn} {instance}");
    let used = count(call, config, root, &counter(tenant, licence), (Op::Take(1), max), Some(&once)).await?;
    if used.is_some() {
        store
            .run(&[sql!(
                "INSERT INTO activations (licence, instance, domain, turn, activated_at) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (licence, instance) DO UPDATE SET domain = excluded.domain, turn = excluded.turn, \
                 activated_at = excluded.activated_at, ended_at = NULL WHERE turn < excluded.turn",
                licence,
                instance,
                domain,
                turn,
                call.now.get()
            )])
            .await?;
    }
    Ok(used)
}

/// Asks the ledger to move the counter of a licence; what it is then, `None`: refused.
async fn count(
    call: &Call,
    config: &Rc<Config>,
    root: &TenantId,
    counter: &str,
    (op, max): (Op, u64),
    once: Option<&str>,
) -> Result<Option<u64>, Refusal> {
    let meter = Meter::Gauge { limit: Some(max), over: false };
    let order = Order {
        charges: [Charge { counter, meter, op, shadow: false }].into_iter().collect(),
        once: once.map(|id| Once { id, print: "activation", event: false }),
        ..Order::default()
    };
    let outcome = match charge::ask(root, &order, config, &call.context) {
        Ok(promise) => charge::outcome(promise).await,
        Err(reason) => Err(reason),
    };
    match outcome {
        Ok(Some(outcome)) if outcome.gone => Err(Refusal::UNAVAILABLE),
        Ok(Some(outcome)) => {
            Ok(outcome.verdicts.first().filter(|_| outcome.allowed || op == Op::Take(0)).map(|verdict| verdict.used))
        }
        _ => Err(Refusal::UNAVAILABLE),
    }
}

/// Ends the activation of an instance: another one may take its place.
async fn deactivate(
    call: &Call,
    config: &Rc<Config>,
    store: &Store,
    row: &Row,
    instance: &str,
) -> Result<Answer, Refusal> {
    let (licence, tenant) = (text(row, "id"), text(row, "tenant"));
    let (turn, active) = turn(store, licence, instance).await?;
    if !active {
        return Ok(Answer::json(200, &json!({ "deactivated": false })));
    }
    let record = store.record(tenant).await?.ok_or(Refusal::NOT_FOUND)?;
    let root = TenantId::parse(&record.root).ok_or(Refusal::UNAVAILABLE)?;
    let once = format!("{tenant} deactivation {licence} {turn} {instance}");
    count(call, config, &root, &counter(tenant, licence), (Op::Release(1), u64::MAX), Some(&once)).await?;
    let ended = sql!(
        "UPDATE activations SET ended_at = ? WHERE licence = ? AND instance = ? AND turn = ?",
        call.now.get(),
        licence,
        instance,
        turn
    );
    store.run(&[ended]).await?;
    Ok(Answer::json(200, &json!({ "deactivated": true })))
}

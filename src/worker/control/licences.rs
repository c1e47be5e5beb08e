//! Licences: issued to a tenant, checked by whoever runs its software.

use std::rc::Rc;

use serde_json::{Map, Value, json};
use web_sys::Response;

use super::desk::{Answer, Desk, checked, small_body};
use super::keys::entropy;
use super::page::Page;
use super::refusal::Refusal;
use super::store::{Row, Store, at, document, number, sql, text};
use super::tenants::timed;
use crate::control::{Deactivate, LicenceQuestion, changes, merge};
use crate::gate::{Ask, Step};
use crate::identity::Licensed;
use crate::model::bounds::MAX_ISSUED;
use crate::model::{KeyId, LicenceCode, LicenceTerms, Read, Reader, SecretText, UnixMillis};
use crate::resolve::Request;
use crate::worker::call::Call;
use crate::worker::clock::{self, Patience};
use crate::worker::config::Config;
use crate::worker::doors::{self, Door};
use crate::worker::isolate::Had;
use crate::worker::{feed, isolate};

/// How a licence key begins.
const PREFIX: &str = "tg_lice_";

fn terms(value: &Value) -> Result<LicenceTerms, Refusal> {
    checked(Reader::run(|r| LicenceTerms::read(value, r)))
}

pub(super) async fn issue(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let record = desk.tenant(id).await?;
    let asked: Value = desk.read()?;
    terms(&asked)?;
    let count = desk.store.row(sql!("SELECT count(*) AS licences FROM licences WHERE tenant = ?", record.id)).await?;
    if number(&count.unwrap_or_default(), "licences") >= MAX_ISSUED {
        return Err(Refusal::TOO_MANY.with(json!({ "limit": MAX_ISSUED })));
    }
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
    let page = Page::of(
        "SELECT id, terms, created_at, (SELECT count(*) FROM activations WHERE licence = licences.id AND ended_at IS NULL) AS activations \
         FROM licences WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        ("id", "terms"),
        vec![record.id.into(), cursor.into()],
        limit,
    );
    let view = |mut row: Map<String, Value>| {
        let terms = document(&row, "terms");
        row.insert(String::from("terms"), terms);
        timed(row)
    };
    page.answer(&desk.store, view).await
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
        return match find(call, config, &asked.key).await? {
            Some((store, row)) => deactivate(&store, text(&row, "id"), &asked.instance).await,
            None => Ok(refused(LicenceCode::Unknown)),
        };
    }
    let asked: LicenceQuestion = small_body(call).await?;
    match find(call, config, &asked.key).await? {
        Some((store, row)) => validate(call, config, &store, &row, &asked).await,
        None => Ok(refused(LicenceCode::Unknown)),
    }
}

/// The licence of a key. What nobody issued is not worth a look-up, and looks like what somebody else was issued.
async fn find(call: &Call, config: &Config, key: &str) -> Result<Option<(Store, Row)>, Refusal> {
    let Some(secret) = SecretText::parse(key, PREFIX).filter(SecretText::is_whole) else { return Ok(None) };
    let hash = secret.hash();
    let visit = doors::enter(Door::Licences, &call.request, &hash).ok_or(Refusal::TOO_FAST)?;
    let store = Store::new(&config.control);
    let row =
        store.row(sql!("SELECT id, tenant, hash, terms FROM licences WHERE id = ?", secret.id().as_str())).await?;
    let row = row.filter(|row| secret.has_hash(text(row, "hash")));
    visit.judged(&hash, row.is_some());
    Ok(row.map(|row| (store, row)))
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
    if let Some(code) = terms.refusal(domain, clock::now()) {
        return Ok(refused(code));
    }
    let tenant = text(row, "tenant");
    let look = Ask { tenant: Some(tenant), all_features: true, look: true, ..Ask::default() };
    let patience = Patience::new();
    feed::catch_up_if_due(config, &call.context, patience).await;
    let decision = loop {
        match isolate::with_gate(|gate| {
            gate.decide(&Request { place: config.region.as_deref(), ..Request::default() }, &look, clock::now())
        }) {
            Step::Done(decision) => break decision,
            Step::Charge(_) => return Err(Refusal::UNAVAILABLE),
            Step::Fetch(need) => {
                if isolate::fetch(need, config, &call.context, patience).await != Had::Yes {
                    return Err(Refusal::UNAVAILABLE);
                }
            }
        }
    };
    let Some(entitled) = decision.tenant.as_ref().filter(|_| decision.allowed()) else {
        return Ok(refused(LicenceCode::TenantInactive));
    };
    let signer = config.licences.as_ref().filter(|_| terms.offline_ms.0 > 0);
    let until = clock::now().plus(terms.offline_ms.0);
    let until = terms.expires_at.map_or(until, |at| at.min(until));
    let mut used = None;
    if let (Some(instance), Some(max)) = (instance, terms.max_activations) {
        match activate(store, (text(row, "id"), instance, domain), signer.map(|_| until), max.0).await? {
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
    let said =
        Licensed { licence: text(row, "id"), tenant, plan, features: &features, domains: &terms.domains, instance };
    let token = signer.map(|signer| signer.sign(&said, clock::now(), until));
    Ok(Answer::json(
        200,
        &json!({
            "valid": true, "code": LicenceCode::Valid, "licence": text(row, "id"), "tenant": tenant, "plan": plan, "features": features,
            "expires_at": terms.expires_at, "activations": used.map(|used| json!({ "used": used, "limit": terms.max_activations.map(|max| max.0) })),
            "offline": token.map(|token| json!({ "token": token, "until": until })),
        }),
    ))
}

/// Activations that hold a place: those that are in use, and those whose instance may still go on by a token that was signed for it.
const HOLDING: &str = "(ended_at IS NULL OR until > ?4)";

/// Activates an instance, once however often it asks; how many there are then. `None`: there are as many as may be. `until`: when the
/// token ends that is signed for it.
///
/// INVARIANT (no more than may be): one statement counts and writes, so that of many who ask at once as many pass as there is room for,
/// and whoever is cut off finds itself activated or not. An instance that is active stays so where fewer may be than before, and its
/// place is held as long as its newest token.
async fn activate(
    store: &Store,
    (licence, instance, domain): (&str, &str, Option<&str>),
    until: Option<UnixMillis>,
    max: u64,
) -> Result<Option<u64>, Refusal> {
    let now = clock::now().get();
    let results = store
        .run(&[
            sql!(
                format!(
                    "INSERT INTO activations (licence, instance, domain, activated_at, until) SELECT ?1, ?2, ?3, ?4, ?6 \
                     WHERE EXISTS (SELECT 1 FROM activations WHERE licence = ?1 AND instance = ?2 AND ended_at IS NULL) \
                     OR (SELECT count(*) FROM activations WHERE licence = ?1 AND instance <> ?2 AND {HOLDING}) < ?5 \
                     ON CONFLICT (licence, instance) DO UPDATE SET domain = excluded.domain, ended_at = NULL, \
                     until = nullif(max(coalesce(until, 0), coalesce(excluded.until, 0)), 0)"
                ),
                licence,
                instance,
                domain,
                now,
                max,
                until.map(UnixMillis::get)
            ),
            sql!(
                format!(
                    "SELECT count(*) AS used, coalesce(sum(instance = ?2 AND ended_at IS NULL), 0) AS own FROM activations \
                     WHERE licence = ?1 AND ?3 = ?3 AND {HOLDING}"
                ),
                licence,
                instance,
                0,
                now
            ),
        ])
        .await?;
    let counted = results.last().and_then(|rows| rows.first()).ok_or(Refusal::UNAVAILABLE)?;
    Ok((number(counted, "own") > 0).then(|| number(counted, "used")))
}

/// Ends the activation of an instance. Another one takes its place when the last token has ended that was signed for it: until then
/// both would work.
async fn deactivate(store: &Store, licence: &str, instance: &str) -> Result<Answer, Refusal> {
    let now = clock::now().get();
    let results = store
        .run(&[
            sql!(
                "UPDATE activations SET ended_at = ?3 WHERE licence = ?1 AND instance = ?2 AND ended_at IS NULL RETURNING until",
                licence,
                instance,
                now
            ),
            forgotten(now),
        ])
        .await?;
    let ended = results.first().and_then(|rows| rows.first());
    let free_at = ended.and_then(|row| row.get("until")).and_then(Value::as_u64).filter(|until| *until > now);
    Ok(Answer::json(200, &json!({ "deactivated": ended.is_some(), "free_at": free_at.map(UnixMillis::new) })))
}

/// Activations that have ended and hold no place any more.
pub(super) fn forgotten(now_ms: u64) -> Value {
    sql!("DELETE FROM activations WHERE ended_at IS NOT NULL AND coalesce(until, 0) <= ?", now_ms)
}

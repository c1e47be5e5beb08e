//! Licences: the operator issues them to a tenant; software that runs elsewhere validates them.
//!
//! `POST /_gate/v1/licences/validate` and `/deactivate` take the licence key as their only
//! credential. A licence may bound its activations, and it may allow offline use: then a validation
//! returns a signed token. While such a token is valid, its activation keeps its place even after
//! it has ended.

use std::rc::Rc;

use serde_json::{Map, Value, json};
use web_sys::Response;

use super::error::AdminError;
use super::keys::{entropy, once_shown};
use super::page::{ListQuery, timed};
use super::request::{AdminRequest, AdminResponse, checked, small_body};
use crate::control::{Deactivate, LicenceQuestion, changes, merge};
use crate::gate::{Ask, Gate, Progress, Step};
use crate::identity::Licensed;
use crate::ledger::WaitFailure;
use crate::model::bounds::MAX_ISSUED;
use crate::model::{Catalog, KeyId, LicenceCode, LicenceTerms, Read, Reader, SecretText, UnixMillis};
use crate::resolve::Request;
use crate::worker::config::Config;
use crate::worker::http::call::Call;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::doors::{self, Door};
use crate::worker::sources::d1::{Row, Store, at, document, number, sql, text};
use crate::worker::sources::drive::{GateQuestion, drive};

/// Prefix of a licence key.
const PREFIX: &str = "tg_lice_";

fn terms(value: &Value) -> Result<LicenceTerms, AdminError> {
    checked(Reader::run(|r| LicenceTerms::read(value, r)))
}

pub(super) async fn issue(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    let asked: Value = request.read()?;
    request.require_future("$.expires_at", terms(&asked)?.expires_at)?;
    // Revoked and expired licences do not count.
    let count = sql!(
        "SELECT count(*) AS licences FROM licences WHERE tenant = ? AND coalesce(json_extract(terms, '$.status'), '') <> 'revoked' \
         AND coalesce(unixepoch(json_extract(terms, '$.expires_at')) * 1000 > ?, 1)",
        record.id,
        request.now.get()
    );
    let count = request.store.row(count).await?;
    if number(&count.unwrap_or_default(), "licences") >= MAX_ISSUED {
        return Err(AdminError::TOO_MANY.with(json!({ "limit": MAX_ISSUED })));
    }
    let secret = SecretText::make(PREFIX, &entropy()).ok_or(AdminError::UNAVAILABLE)?;
    let (licence, hash) = (secret.id().to_string(), secret.hash());
    let mut change = request.transaction();
    change.expect_head(&record.id, &record.head);
    change.run(sql!(
        "INSERT INTO licences (id, tenant, hash, terms, created_at) VALUES (?, ?, ?, ?, ?)",
        licence,
        record.id,
        hash,
        asked.to_string(),
        request.now.get()
    ));
    let said = json!({ "licence": { "after": { "id": licence, "terms": asked } } });
    change.audit(&record.id, "licence.issue", None, &said).await?;
    let body = json!({ "key": null, "id": licence, "tenant": record.id, "terms": asked });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    Ok(once_shown(body, "key", secret.into_text()))
}

pub(super) async fn list(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let record = request.tenant(id).await?;
    page(&record.id, &cursor, limit).answer(&request.store, shown).await
}

pub(super) async fn change(request: &AdminRequest<'_>, id: &str, licence: &str) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    if KeyId::parse(licence).is_none() {
        return Err(AdminError::NOT_FOUND);
    }
    let row =
        request.store.row(sql!("SELECT terms FROM licences WHERE id = ? AND tenant = ?", licence, record.id)).await?;
    let before = document(&row.ok_or(AdminError::NOT_FOUND)?, "terms");
    let mut after = before.clone();
    merge(&mut after, &request.read::<Value>()?);
    terms(&after)?;
    if at(&before, "/status") == "revoked" && at(&after, "/status") != "revoked" {
        return Err(AdminError::WRONG_STATUS.with(json!({ "status": "revoked" })));
    }
    let mut change = request.transaction();
    change.expect_head(&record.id, &record.head);
    change.run(sql!("UPDATE licences SET terms = ? WHERE id = ?", after.to_string(), licence));
    let said = json!({ "licence": { "before": { "id": licence }, "after": changes(&before, &after) } });
    change.audit(&record.id, "licence.change", None, &said).await?;
    let body = json!({ "id": licence, "tenant": record.id, "terms": after });
    request.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(AdminResponse::json(200, &body))
}

/// `POST /_gate/v1/licences/validate` and `/deactivate`, for holders of a licence key.
pub(crate) async fn answer(call: &Call, config: &Rc<Config>) -> Response {
    let asked = ask(call, config).await;
    asked.map_or_else(|refusal| refusal.respond(call), AdminResponse::respond)
}

async fn ask(call: &Call, config: &Rc<Config>) -> Result<AdminResponse, AdminError> {
    if config.control.is_undefined() {
        return Err(AdminError::ABSENT);
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

/// Finds the licence of a key. A malformed key costs no query. Malformed and unknown keys get the
/// same answer.
async fn find(call: &Call, config: &Config, key: &str) -> Result<Option<(Store, Row)>, AdminError> {
    let Some(secret) = SecretText::parse(key, PREFIX).filter(SecretText::is_whole) else { return Ok(None) };
    let hash = secret.hash();
    let visit = doors::enter(Door::Licences, &call.request, &hash).ok_or(AdminError::TOO_FAST)?;
    let store = Store::new(&config.control);
    let row =
        store.row(sql!("SELECT id, tenant, hash, terms FROM licences WHERE id = ?", secret.id().as_str())).await?;
    let row = row.filter(|row| secret.has_hash(text(row, "hash")));
    visit.judged(&hash, row.is_some());
    Ok(row.map(|row| (store, row)))
}

fn refused(code: LicenceCode) -> AdminResponse {
    AdminResponse::json(200, &json!({ "valid": false, "code": code }))
}

/// Asks the gate for the entitlements of the licence's tenant.
struct LicenceHolder<'l> {
    tenant: &'l str,
    region: Option<&'l str>,
}

impl GateQuestion for LicenceHolder<'_> {
    type Answer = Step;

    fn ask(&mut self, gate: &mut Gate, awaited: Option<&WaitFailure>, now: UnixMillis) -> Progress<Step> {
        let request = Request { place: self.region, ..Request::default() };
        let ask = Ask {
            tenant: Some(self.tenant),
            all_features: true,
            dry_run: true,
            waiting: awaited.into(),
            ..Ask::default()
        };
        gate.decide(&request, &ask, now)
    }

    fn is_unknown(answer: &Step) -> bool {
        answer.is_unknown_tenant()
    }
}

/// Validates a licence for a domain and an instance, and activates the instance.
async fn validate(
    call: &Call,
    config: &Rc<Config>,
    store: &Store,
    row: &Row,
    asked: &LicenceQuestion,
) -> Result<AdminResponse, AdminError> {
    let (domain, instance) = (asked.domain.as_deref(), asked.instance.as_deref());
    let terms = terms(&document(row, "terms"))?;
    if let Some(code) = terms.refusal(domain, clock::now()) {
        return Ok(refused(code));
    }
    let tenant = text(row, "tenant");
    let question = LicenceHolder { tenant, region: config.region.as_deref() };
    let step = drive(question, config, &call.context, Patience::new()).await;
    let Ok(Step::Decided(decision)) = step else { return Err(AdminError::UNAVAILABLE) };
    let Some(entitled) = decision.tenant.as_ref().filter(|_| decision.allowed()) else {
        return Ok(refused(LicenceCode::TenantInactive));
    };
    let signer = config.licences.as_ref().filter(|_| terms.offline_ms.0 > 0);
    let until = clock::now().plus(terms.offline_ms.0);
    // INVARIANT (no longer than it lasts): a token ends no later than the next date at which
    // something that it states may change.
    let until = terms.expires_at.map_or(until, |at| at.min(until)).min(entitled.agreed_until());
    let until = decision
        .catalog
        .iter()
        .filter_map(|plans| next_rule(plans.document(), clock::now()))
        .fold(until, UnixMillis::min);
    let mut used = None;
    if let (Some(instance), Some(max)) = (instance, terms.max_activations) {
        let place = ActivationTerms {
            max: max.0,
            idle_ms: terms.activation_ms.map(|idle| idle.0),
            until: signer.map(|_| until),
        };
        match activate(store, (text(row, "id"), instance, domain), &place).await? {
            Some(count) => used = Some(count),
            None => return Ok(refused(LicenceCode::ActivationsExceeded)),
        }
    } else if terms.max_activations.is_some() {
        return Err(AdminError::problem(
            "$.instance",
            "nothing",
            "the name of the instance, since the licence bounds its activations",
        ));
    }
    let features: Vec<&str> = decision.features.iter().filter(|one| one.enabled).map(|one| one.key.as_ref()).collect();
    let plan = entitled.plan().map(crate::model::PlanRef::as_str);
    let said =
        Licensed { licence: text(row, "id"), tenant, plan, features: &features, domains: &terms.domains, instance };
    let token = signer.map(|signer| signer.sign(&said, clock::now(), until));
    Ok(AdminResponse::json(
        200,
        &json!({
            "valid": true, "code": LicenceCode::Valid, "licence": text(row, "id"), "tenant": tenant, "plan": plan, "features": features,
            "expires_at": terms.expires_at, "activations": used.map(|used| json!({ "used": used, "limit": terms.max_activations.map(|max| max.0) })),
            "offline": token.map(|token| json!({ "token": token, "until": until })),
        }),
    ))
}

/// The next time at which a rule of any feature begins or ends.
fn next_rule(catalog: &Catalog, now: UnixMillis) -> Option<UnixMillis> {
    let rules = catalog.features.values().flat_map(|feature| &feature.rules);
    rules.flat_map(|rule| [rule.starts_at, rule.ends_at]).flatten().filter(|date| *date > now).min()
}

/// SQL condition: the activation holds a place at the time `?3`. It does while it is in use, and
/// while an offline token that was signed for it is valid. With `?4`, an activation that was not
/// validated for that number of milliseconds is no longer in use.
const HOLDING: &str =
    "(ended_at IS NULL AND coalesce(coalesce(seen_at, activated_at) + ?4 > ?3, 1) OR coalesce(until > ?3, 0))";
/// SQL: counts the places that are held by other instances and come before instance `?2`: those
/// that were activated earlier, or all of them if `?2` is not active.
const BEFORE: &str = "SELECT count(*) FROM activations AS other WHERE licence = ?1 AND instance <> ?2 AND {holding} AND coalesce( \
     (activated_at, instance) < (SELECT activated_at, instance FROM activations WHERE licence = ?1 AND instance = ?2 AND {holding}), 1)";

/// The terms of a licence that matter to an activation.
struct ActivationTerms {
    /// Maximum number of activations.
    max: u64,
    /// Milliseconds without a validation after which an activation ends by itself.
    idle_ms: Option<u64>,
    /// The end of the offline token that is signed with this activation.
    until: Option<UnixMillis>,
}

/// Activates an instance. A repetition keeps its place. Returns the number of held places, or
/// `None` if the instance got none.
///
/// INVARIANT (no more than may be): one statement counts and writes, so concurrent activations
/// never exceed the maximum. A caller that loses the connection is either activated or not. If the
/// maximum was lowered, the instances that were activated first keep their places.
async fn activate(
    store: &Store,
    (licence, instance, domain): (&str, &str, Option<&str>),
    place: &ActivationTerms,
) -> Result<Option<u64>, AdminError> {
    let now = clock::now().get();
    let before = BEFORE.replace("{holding}", HOLDING);
    let results = store
        .run(&[
            sql!(
                format!(
                    "INSERT INTO activations (licence, instance, domain, activated_at, seen_at, until) SELECT ?1, ?2, ?6, ?3, ?3, ?7 \
                     WHERE ({before}) < ?5 \
                     ON CONFLICT (licence, instance) DO UPDATE SET domain = excluded.domain, seen_at = excluded.seen_at, \
                     activated_at = iif({HOLDING}, activated_at, excluded.activated_at), ended_at = NULL, \
                     until = nullif(max(coalesce(until, 0), coalesce(excluded.until, 0)), 0)"
                ),
                licence,
                instance,
                now,
                place.idle_ms,
                place.max,
                domain,
                place.until.map(UnixMillis::get)
            ),
            sql!(
                format!(
                    "SELECT count(*) AS used, coalesce(sum(instance = ?2 AND seen_at = ?3 AND ended_at IS NULL), 0) AS own \
                     FROM activations WHERE licence = ?1 AND {HOLDING}"
                ),
                licence,
                instance,
                now,
                place.idle_ms
            ),
        ])
        .await?;
    let counted = results.last().and_then(|rows| rows.first()).ok_or(AdminError::UNAVAILABLE)?;
    Ok((number(counted, "own") > 0).then(|| number(counted, "used")))
}

/// `GET …/licences/{licence}/activations`: the instances that use the licence or still hold a
/// place.
pub(super) async fn activations(
    request: &AdminRequest<'_>,
    id: &str,
    licence: &str,
) -> Result<AdminResponse, AdminError> {
    let (limit, cursor) = request.page(&[])?;
    let record = request.tenant(id).await?;
    own(request, &record.id, licence).await?;
    let page = ListQuery::of(
        "SELECT instance, domain, activated_at, seen_at, ended_at, until AS holds_until_at FROM activations \
         WHERE licence = ? AND instance > ? ORDER BY instance LIMIT ?",
        ("instance", "instance"),
        vec![licence.into(), cursor.into()],
        limit,
    );
    page.answer(&request.store, timed).await
}

/// `DELETE …/licences/{licence}/activations/{instance}`: ends an activation, with an audit entry.
pub(super) async fn end_activation(
    request: &AdminRequest<'_>,
    id: &str,
    licence: &str,
    instance: &str,
) -> Result<AdminResponse, AdminError> {
    let record = request.tenant(id).await?;
    own(request, &record.id, licence).await?;
    let known = sql!(
        "SELECT until FROM activations WHERE licence = ? AND instance = ? AND ended_at IS NULL",
        licence,
        instance
    );
    let row = request.store.row(known).await?.ok_or(AdminError::NOT_FOUND)?;
    let free_at =
        row.get("until").and_then(Value::as_u64).filter(|until| *until > request.now.get()).map(UnixMillis::new);
    let mut change = request.transaction();
    change.expect_head(&record.id, &record.head);
    change.run(sql!(
        "UPDATE activations SET ended_at = ? WHERE licence = ? AND instance = ? AND ended_at IS NULL",
        request.now.get(),
        licence,
        instance
    ));
    let said = json!({ "activation": { "before": { "licence": licence, "instance": instance } } });
    change.audit(&record.id, "licence.deactivate", None, &said).await?;
    let body = json!({ "instance": instance, "deactivated": true, "free_at": free_at });
    request.remember(&mut change, 200, &body.to_string());
    change.commit().await?;
    Ok(AdminResponse::json(200, &body))
}

/// Refuses a licence that belongs to another tenant.
async fn own(request: &AdminRequest<'_>, tenant: &str, licence: &str) -> Result<(), AdminError> {
    let row = request.store.row(sql!("SELECT id FROM licences WHERE id = ? AND tenant = ?", licence, tenant)).await?;
    row.map(drop).ok_or(AdminError::NOT_FOUND)
}

/// A page of a tenant's licences, after the id `cursor`.
pub(super) fn page(tenant: &str, cursor: &str, limit: u64) -> ListQuery {
    ListQuery::of(
        "SELECT id, terms, created_at, (SELECT count(*) FROM activations WHERE licence = licences.id AND ended_at IS NULL) AS activations, \
         (SELECT json_group_array(instance) FROM (SELECT instance FROM activations WHERE licence = licences.id AND ended_at IS NULL \
          ORDER BY activated_at, instance LIMIT 20)) AS instances FROM licences WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
        ("id", "terms"),
        vec![tenant.into(), cursor.into()],
        limit,
    )
}

/// A row of [`page`] as responses show it.
pub(super) fn shown(mut row: Map<String, Value>) -> Value {
    for name in ["terms", "instances"] {
        let parsed = document(&row, name);
        row.insert(name.to_owned(), parsed);
    }
    timed(row)
}

/// Ends the activation of an instance. Its place becomes free when the last offline token that was
/// signed for it ends, since the instance keeps working until then.
async fn deactivate(store: &Store, licence: &str, instance: &str) -> Result<AdminResponse, AdminError> {
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
    Ok(AdminResponse::json(200, &json!({ "deactivated": ended.is_some(), "free_at": free_at.map(UnixMillis::new) })))
}

/// The statement that deletes activations that have ended and hold no place any more.
pub(super) fn forgotten(now_ms: u64) -> Value {
    sql!("DELETE FROM activations WHERE ended_at IS NOT NULL AND coalesce(until, 0) <= ?", now_ms)
}

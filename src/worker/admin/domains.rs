//! Domains of tenants: claim, verification by a TXT record, removal.
//!
//! Several tenants may claim a domain; it belongs to the one that proves it. Each claim has a proof
//! of its own, so a domain that was removed and claimed again needs a new TXT record.

use serde_json::{Value, json};
use wasm_bindgen_futures::JsFuture;

use super::error::AdminError;
use super::publish;
use super::records::TenantRow;
use super::request::{AdminRequest, AdminResponse};
use crate::control::{NewDomain, merge};
use crate::model::bounds::MAX_PENDING_DOMAINS;
use crate::worker::runtime::edge;
use crate::worker::sources::d1::{number, sql, text};

/// The label below a domain at which its TXT record is published.
const LABEL: &str = "_tenantgate";
/// Timeout of the DNS resolver, in milliseconds.
const DNS_MS: u32 = 5_000;

/// A host in the form in which it is stored: lower case, without the trailing dot.
fn plain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map_or(host.clone(), String::from)
}

/// The DNS record that proves a domain, as responses show it.
fn proof_of(host: &str, proof: &str) -> Value {
    json!({ "type": "TXT", "name": format!("{LABEL}.{host}"), "value": format!("tenantgate-proof={proof}") })
}

/// The record with one domain set to `state`, or removed if `state` is `None`.
fn with(record: &Value, host: &str, state: Option<&str>) -> Value {
    let mut domains = record.get("domains").and_then(Value::as_array).cloned().unwrap_or_default();
    domains.retain(|domain| domain.get("host").and_then(Value::as_str) != Some(host));
    if let Some(state) = state {
        domains.push(json!({ "host": host, "state": state }));
    }
    let mut after = record.clone();
    merge(&mut after, &json!({ "domains": domains }));
    after
}

pub(super) async fn claim(request: &AdminRequest<'_>, id: &str) -> Result<AdminResponse, AdminError> {
    let asked: NewDomain = request.read()?;
    let record = request.tenant(id).await?;
    request.expect(record.epoch)?;
    let published = request.catalog().await?;
    let host = &plain(&asked.host);
    // Another tenant may have the domain. `release` moves it once that tenant's proof is no longer
    // published.
    let own = sql!("SELECT proof, verified_at FROM domains WHERE host = ? AND tenant = ?", host, record.id);
    if let Some(row) = &request.store.row(own).await? {
        let state = if row.get("verified_at").is_some_and(Value::is_u64) { "verified" } else { "pending" };
        let body = json!({ "host": host, "state": state, "proof": proof_of(host, text(row, "proof")) });
        return Ok(AdminResponse::json(201, &body).with_version(record.epoch));
    }
    let count = request
        .store
        .row(sql!("SELECT count(*) AS open FROM domains WHERE tenant = ? AND verified_at IS NULL", record.id))
        .await?;
    if number(&count.unwrap_or_default(), "open") >= MAX_PENDING_DOMAINS {
        return Err(AdminError::TOO_MANY.with(json!({ "limit": MAX_PENDING_DOMAINS })));
    }
    let proof = edge::random(16);
    let mut change = request.transaction();
    let after = with(&record.value, host, Some("pending"));
    // `save` checks the record, so it also refuses invalid hosts and hosts at or below a base
    // domain.
    request.save(&mut change, &record, after, &published, ("domain.claim", None)).await?;
    change.run(sql!(
        "INSERT INTO domains (host, tenant, proof, claimed_at) VALUES (?, ?, ?, ?)",
        host,
        record.id,
        proof,
        request.now.get()
    ));
    let body = json!({ "host": host, "state": "pending", "proof": proof_of(host, &proof) });
    request.remember(&mut change, 201, &body.to_string());
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::json(201, &body).with_version(record.epoch.saturating_add(1)))
}

pub(super) async fn verify(request: &AdminRequest<'_>, id: &str, host: &str) -> Result<AdminResponse, AdminError> {
    let host = &plain(host);
    let record = request.tenant(id).await?;
    let row = request
        .store
        .row(sql!("SELECT proof, verified_at FROM domains WHERE host = ? AND tenant = ?", host, record.id))
        .await?;
    let row = row.ok_or(AdminError::NOT_FOUND)?;
    let body = json!({ "host": host, "state": "verified" });
    if row.get("verified_at").is_some_and(Value::is_u64) {
        return Ok(AdminResponse::json(200, &body).with_version(record.epoch));
    }
    let asked = format!("{LABEL}.{host}");
    let found = match JsFuture::from(edge::txt_records(&request.config.dns_url, &asked, DNS_MS)).await {
        Ok(found) => found.as_string().unwrap_or_default(),
        Err(error) => {
            web_sys::console::error_2(&"control: the DNS resolver failed".into(), &error);
            return Err(AdminError::UNAVAILABLE);
        }
    };
    let expected = format!("tenantgate-proof={}", text(&row, "proof"));
    if !found.lines().any(|line| line == expected) {
        return Err(AdminError::DOMAIN_UNPROVEN.with(json!({ "proof": proof_of(host, text(&row, "proof")) })));
    }
    release(request, &record, host, &found).await?;
    serve(request, &record, host).await?;
    Ok(AdminResponse::json(200, &body).with_version(record.epoch.saturating_add(1)))
}

/// Takes a domain from its present tenant if that tenant's proof is no longer published, since
/// domains change owners. If both proofs are published, the present tenant keeps the domain.
async fn release(request: &AdminRequest<'_>, winner: &TenantRow, host: &str, found: &str) -> Result<(), AdminError> {
    let statement = sql!(
        "SELECT tenant, proof FROM domains WHERE host = ? AND tenant <> ? AND verified_at IS NOT NULL",
        host,
        winner.id
    );
    let Some(row) = request.store.row(statement).await? else { return Ok(()) };
    let expected = format!("tenantgate-proof={}", text(&row, "proof"));
    if found.lines().any(|line| line == expected) {
        return Err(AdminError::DOMAIN_TAKEN);
    }
    // The gate is the actor, so that neither audit trail reveals the other tenant.
    let gate = AdminRequest::of_clock(request.config, request.context.clone(), request.now);
    let record = gate.store.record(text(&row, "tenant")).await?.ok_or(AdminError::BUSY)?;
    let published = gate.catalog().await?;
    let mut change = gate.transaction();
    change.run(sql!("UPDATE domains SET verified_at = NULL WHERE host = ? AND tenant = ?", host, record.id));
    let after = with(&record.value, host, Some("pending"));
    gate.save(&mut change, &record, after, &published, ("domain.lost", None)).await?;
    change.publish(&format!("domain:{host}"), record.epoch.saturating_add(1), None);
    change.commit().await?;
    publish::after(&gate).await;
    Ok(())
}

/// Marks a proven domain as verified and publishes it. If two tenants have proven it, the unique
/// index admits one.
async fn serve(request: &AdminRequest<'_>, record: &TenantRow, host: &str) -> Result<(), AdminError> {
    let published = request.catalog().await?;
    let mut change = request.transaction();
    change.run(sql!(
        "UPDATE domains SET verified_at = ? WHERE host = ? AND tenant = ?",
        request.now.get(),
        host,
        record.id
    ));
    let after = with(&record.value, host, Some("verified"));
    request.save(&mut change, record, after, &published, ("domain.verify", None)).await?;
    change.publish(&format!("domain:{host}"), record.epoch.saturating_add(1), None);
    change.commit().await?;
    publish::after(request).await;
    Ok(())
}

pub(super) async fn remove(request: &AdminRequest<'_>, id: &str, host: &str) -> Result<AdminResponse, AdminError> {
    let host = &plain(host);
    let record = request.tenant(id).await?;
    request.expect(record.epoch)?;
    let known =
        request.store.row(sql!("SELECT host FROM domains WHERE host = ? AND tenant = ?", host, record.id)).await?;
    known.ok_or(AdminError::NOT_FOUND)?;
    let published = request.catalog().await?;
    let mut change = request.transaction();
    change.run(sql!("DELETE FROM domains WHERE host = ? AND tenant = ?", host, record.id));
    let after = with(&record.value, host, None);
    let after = request.save(&mut change, &record, after, &published, ("domain.remove", None)).await?;
    change.publish(&format!("domain:{host}"), record.epoch.saturating_add(1), None);
    let body = after.to_string();
    request.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(request).await;
    Ok(AdminResponse::text(200, body).with_version(record.epoch.saturating_add(1)))
}

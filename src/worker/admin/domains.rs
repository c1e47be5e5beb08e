//! Domains of tenants: claimed, proven by a TXT record, served, given up.
//!
//! Many may claim a domain, one may have it: who proves it. Given up and claimed anew it needs a new proof.

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

/// Where the proof of a domain stands: this label, below the domain.
const LABEL: &str = "_tenantgate";
/// Milliseconds that the resolver may take.
const DNS_MS: u32 = 5_000;

/// The record that proves a domain.
/// A host as it is kept: in lower case, without the dot of the root.
fn plain(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').map_or(host.clone(), String::from)
}

fn proof_of(host: &str, proof: &str) -> Value {
    json!({ "type": "TXT", "name": format!("{LABEL}.{host}"), "value": format!("tenantgate-proof={proof}") })
}

/// The record's domains with one more, changed or gone.
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
    // Another tenant may hold it: the domain passes to the tenant that proves it once the old proof is gone.
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
    // Hosts at or under a base domain, and what is no host at all, are refused with the record.
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

/// Takes a domain from the tenant that holds it if that tenant's proof is no longer published: domains are sold. If both proofs are
/// published, the present holder keeps it.
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
    // The gate itself does it: neither trail shows who the other is.
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

/// Has a proven domain served. Where two have proven it, the index lets one through.
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

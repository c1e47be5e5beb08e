//! Bodies of the admin API. One declaration per body reads it, collects all its problems and
//! describes it in the `OpenAPI` document.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Permission;
use crate::model::bounds::{
    DEFAULT_RETENTION_DAYS, MAX_IMPACT_PAGE, MAX_INSTANCE_BYTES, MAX_NAME_BYTES, MAX_OVERLAP_MS, MAX_REPLAYED,
    MAX_RETENTION_DAYS, MAX_SCOPES, MAX_SLUG_BYTES, MAX_TOKEN_NAME_BYTES,
};
use crate::model::{
    Branding, DataRoute, Environment, Key, PlanRef, Problems, Quantity, Reader, Scope, Slug, TenantId, Trial,
    UnixMillis, document,
};
use crate::wire::DecideBody;

document! {
    /// A tenant to create.
    pub struct NewTenant {
        /// A name for people.
        name: Option<String> = None,
        /// The tenant's name in hosts and paths. Default: derived from `name`.
        slug: Option<Slug> = None,
        /// The plan version of the tenant. Required unless it has a parent, whose plan it then
        /// shares.
        plan: Option<PlanRef> = None,
        /// A trial of another plan version.
        trial: Option<Trial> = None,
        /// The tenant's parent.
        parent: Option<TenantId> = None,
        /// The start of the tenant's billing periods. Default: now.
        billing_anchor: Option<UnixMillis> = None,
        /// The region of the tenant's data.
        region: Option<String> = None,
        /// The places that may serve the tenant. Default: everywhere.
        residency: Vec<String> = Vec::new(),
        /// The jurisdiction of the tenant's ledger: one of `LEDGER_JURISDICTIONS`. Only for roots;
        /// sub-tenants use their root's ledger. It is part of the tenant's id and never changes.
        /// Default: no particular jurisdiction.
        jurisdiction: Option<String> = None,
        /// Where the tenant's data is stored. Default: shared, on a shard of its region.
        data_route: Option<DataRoute> = None,
        /// The tenant's branding.
        branding: Option<Branding> = None,
        /// Any other data, which is stored and not interpreted.
        metadata: Option<Value> = None,
        /// The scopes of the tenant's first API key; null creates no key. Default: a key without
        /// scopes.
        api_key_scopes: Option<Vec<Scope>> = Some(Vec::new()),
    } => NewTenant::check
}

document! {
    /// The reason for an operation.
    pub struct Reasoned {
        /// The reason, for the audit trail.
        reason: Option<String> = None,
        /// For `offboard`: the number of days for which the tenant's data is kept. Default 30.
        retention_days: Quantity = Quantity(DEFAULT_RETENTION_DAYS),
    } => Reasoned::check
}

document! {
    /// The new place of a tenant.
    pub struct MoveTenant {
        /// The tenant's new parent; null makes it a root.
        parent: Option<TenantId> = None,
        /// The reason, for the audit trail.
        reason: Option<String> = None,
    }
}

document! {
    /// A domain that a tenant claims.
    pub struct NewDomain {
        /// The exact host, as A-labels.
        host: String,
    }
}

document! {
    /// An API key to issue.
    pub struct Issue {
        /// A name for people.
        name: Option<String> = None,
        /// The scopes that the key grants.
        scopes: Vec<Scope> = Vec::new(),
        /// The environment in which the key is valid. Default `live`.
        environment: Environment = Environment::Live,
        /// When the key expires, exclusive. Default: never.
        expires_at: Option<UnixMillis> = None,
    } => Issue::check
}

document! {
    /// The replacement of an API key.
    pub struct Rotate {
        /// Milliseconds for which the old key remains valid. Default 86400000, a day.
        overlap_ms: Quantity = Quantity(86_400_000),
    } => Rotate::check
}

document! {
    /// The new plan of a plan version's tenants.
    pub struct MovePlan {
        /// The plan version that the tenants get.
        to: PlanRef,
        /// The reason, for the audit trail.
        reason: Option<String> = None,
    }
}

document! {
    /// An admin token to issue.
    pub struct NewToken {
        /// A name for people.
        name: String,
        /// The permissions that the token grants.
        permissions: Vec<Permission>,
        /// When the token expires, exclusive. Default: never.
        expires_at: Option<UnixMillis> = None,
    } => NewToken::check
}

document! {
    /// A request of support to act as a tenant.
    pub struct Impersonate {
        /// The reason, for the audit trail.
        reason: String,
        /// The scopes that support gets.
        scopes: Vec<Scope> = Vec::new(),
    } => Impersonate::check
}

document! {
    /// A ticket to exchange for an API key.
    pub struct Ticket {
        /// The ticket.
        ticket: String,
    }
}

document! {
    /// A licence to check.
    pub struct LicenceQuestion {
        /// The licence key.
        key: String,
        /// The host that uses the licence. Required if the licence is bound to domains.
        domain: Option<String> = None,
        /// A name that you choose for the instance, 1 to 128 bytes. Required if the licence limits
        /// activations.
        instance: Option<String> = None,
    } => LicenceQuestion::check
}

document! {
    /// An activation to end.
    pub struct Deactivate {
        /// The licence key.
        key: String,
        /// The name of the instance.
        instance: String,
    }
}

document! {
    /// Units of a quota to refund.
    pub struct Refund {
        /// The quota.
        limit: Key,
        /// The number of units: at least 1, at most the units used in the current period.
        units: Quantity,
        /// The reason, for the audit trail.
        reason: String,
    } => Refund::check
}

document! {
    /// A change whose impact to compute, and what to compute it for.
    pub struct ImpactQuestion {
        /// The new catalog. Default: the current one.
        catalog: Option<Value> = None,
        /// New plan versions for tenants, by their current plan version.
        plans: BTreeMap<PlanRef, PlanRef> = BTreeMap::new(),
        /// Merge patches (RFC 7396) of records, by tenant.
        patches: BTreeMap<TenantId, Value> = BTreeMap::new(),
        /// The start of the page: the `next_cursor` of the previous one.
        cursor: Option<String> = None,
        /// The number of tenants per page, 1 to 1000. Default 500.
        limit: Quantity = Quantity(500),
        /// Recorded requests to decide again.
        log: Vec<Replayed> = Vec::new(),
    } => ImpactQuestion::check
}

document! {
    /// A recorded request.
    pub struct Replayed {
        /// When it was decided.
        at: UnixMillis,
        /// The request: a body of `POST /_gate/v1/decide`.
        question: Value,
    }
}

impl NewTenant {
    fn check(&self, r: &mut Reader) {
        if self.name.is_none() && self.slug.is_none() {
            r.problem("neither `name` nor `slug`", "at least one of them");
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            r.at("name", |r| r.problem("text of invalid length", format!("1 to {MAX_NAME_BYTES} bytes")));
        }
        if self.slug.is_none() && self.name.as_deref().is_some_and(|name| slug_of(name).is_none()) {
            r.at("slug", |r| r.problem("nothing, and a `name` that yields no slug", "a slug"));
        }
        if self.plan.is_none() && self.parent.is_none() {
            r.at("plan", |r| {
                r.problem("nothing", "a plan version such as `pro@1`, or a `parent` whose plan the tenant shares")
            });
        }
        if self.jurisdiction.is_some() && self.parent.is_some() {
            r.at("jurisdiction", |r| {
                r.problem("a jurisdiction with a `parent`", "no jurisdiction: the root's ledger counts")
            });
        }
        if self.api_key_scopes.as_ref().is_some_and(|scopes| scopes.len() > MAX_SCOPES) {
            r.at("api_key_scopes", |r| r.problem("too many scopes", format!("at most {MAX_SCOPES}")));
        }
    }
}

impl Issue {
    fn check(&self, r: &mut Reader) {
        if self.name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            r.at("name", |r| r.problem("text that is too long", format!("at most {MAX_NAME_BYTES} bytes")));
        }
    }
}

impl Rotate {
    fn check(&self, r: &mut Reader) {
        if self.overlap_ms.0 > MAX_OVERLAP_MS {
            let found = self.overlap_ms.0.to_string();
            r.at("overlap_ms", |r| r.problem(found, format!("0 to {MAX_OVERLAP_MS}, which is 90 days")));
        }
    }
}

impl Reasoned {
    fn check(&self, r: &mut Reader) {
        if self.retention_days.0 > MAX_RETENTION_DAYS {
            let found = self.retention_days.0.to_string();
            r.at("retention_days", |r| r.problem(found, format!("0 to {MAX_RETENTION_DAYS}")));
        }
    }
}

impl NewToken {
    fn check(&self, r: &mut Reader) {
        if self.name.is_empty() || self.name.len() > MAX_TOKEN_NAME_BYTES {
            r.at("name", |r| r.problem("text of invalid length", format!("1 to {MAX_TOKEN_NAME_BYTES} bytes")));
        }
        if self.permissions.is_empty() {
            r.at("permissions", |r| r.problem("an empty list", "at least one permission"));
        }
    }
}

impl Impersonate {
    fn check(&self, r: &mut Reader) {
        if self.reason.is_empty() {
            r.at("reason", |r| r.problem("nothing", "the reason for acting as the tenant"));
        }
        r.at("scopes", |r| r.at_most(self.scopes.len(), MAX_SCOPES));
    }
}

impl Refund {
    fn check(&self, r: &mut Reader) {
        if self.units.0 == 0 {
            r.at("units", |r| r.problem("0", "at least 1"));
        }
        if self.reason.is_empty() {
            r.at("reason", |r| r.problem("nothing", "the reason for the refund"));
        }
    }
}

impl LicenceQuestion {
    fn check(&self, r: &mut Reader) {
        let length = self.instance.as_ref().map_or(1, String::len);
        if length == 0 || length > MAX_INSTANCE_BYTES {
            r.at("instance", |r| r.problem(format!("{length} bytes"), format!("1 to {MAX_INSTANCE_BYTES} bytes")));
        }
    }
}

impl ImpactQuestion {
    fn check(&self, r: &mut Reader) {
        if self.limit.0 == 0 || self.limit.0 > MAX_IMPACT_PAGE {
            r.at("limit", |r| r.problem(self.limit.0.to_string(), format!("1 to {MAX_IMPACT_PAGE}")));
        }
        r.at("log", |r| r.at_most(self.log.len(), MAX_REPLAYED));
    }
}

impl Replayed {
    /// Parses the request.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn question(&self) -> Result<DecideBody, Problems> {
        DecideBody::parse(&self.question.to_string())
    }
}

/// Derives a slug from a name: its ASCII letters and digits, separated by `-`. Returns `None` if
/// that is not a valid slug.
///
/// # Examples
/// ```
/// use tenantgate::control::slug_of;
/// assert_eq!(slug_of("Acme, Inc.").unwrap().as_str(), "acme-inc");
/// assert!(slug_of("日本").is_none());
/// ```
pub fn slug_of(name: &str) -> Option<Slug> {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        // Leaves room for a number, which makes the slug unique.
        if slug.len() >= MAX_SLUG_BYTES.saturating_sub(8) {
            break;
        }
    }
    Slug::parse(slug.trim_end_matches('-'))
}

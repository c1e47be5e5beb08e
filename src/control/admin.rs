//! Bodies of the admin API: read with all their problems, described by the same declaration.

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
    /// A tenant to set up.
    pub struct NewTenant {
        /// For people.
        name: Option<String> = None,
        /// Its name in hosts and paths. Default: made of `name`.
        slug: Option<Slug> = None,
        /// The plan version it bought. Required unless it has a parent, whose plan it then shares.
        plan: Option<PlanRef> = None,
        /// A plan version that it tries instead for a while.
        trial: Option<Trial> = None,
        /// The tenant it belongs to.
        parent: Option<TenantId> = None,
        /// Where its billing periods start. Default: now.
        billing_anchor: Option<UnixMillis> = None,
        /// Where its data lives.
        region: Option<String> = None,
        /// Places that may serve it. Default: everywhere.
        residency: Vec<String> = Vec::new(),
        /// The jurisdiction that its ledger is kept in: one of `LEDGER_JURISDICTIONS`. For roots; others share their root's ledger.
        /// It shows in the tenant's id, and never changes. Default: none in particular.
        jurisdiction: Option<String> = None,
        /// Where its data lives. Default: shared, on a shard of its region.
        data_route: Option<DataRoute> = None,
        /// How it looks.
        branding: Option<Branding> = None,
        /// Anything else; kept, not read.
        metadata: Option<Value> = None,
        /// What its first API key allows; null: no key. Default: a key that allows nothing that needs a scope.
        api_key_scopes: Option<Vec<Scope>> = Some(Vec::new()),
    } => NewTenant::check
}

document! {
    /// Why something is done.
    pub struct Reasoned {
        /// Why: for the audit trail.
        reason: Option<String> = None,
        /// For `offboard`: days for which its data is kept. Default 30.
        retention_days: Quantity = Quantity(DEFAULT_RETENTION_DAYS),
    } => Reasoned::check
}

document! {
    /// Where a tenant goes.
    pub struct MoveTenant {
        /// The tenant that it will belong to; null: none, it becomes a root.
        parent: Option<TenantId> = None,
        /// Why: for the audit trail.
        reason: Option<String> = None,
    }
}

document! {
    /// A domain that a tenant says is its own.
    pub struct NewDomain {
        /// The exact host, as A-labels.
        host: String,
    }
}

document! {
    /// An API key to issue.
    pub struct Issue {
        /// For people.
        name: Option<String> = None,
        /// What its holder may do.
        scopes: Vec<Scope> = Vec::new(),
        /// Where it works. Default `live`.
        environment: Environment = Environment::Live,
        /// Until when it works, exclusive. Default: for ever.
        expires_at: Option<UnixMillis> = None,
    } => Issue::check
}

document! {
    /// How an API key is replaced.
    pub struct Rotate {
        /// Milliseconds for which the old key works on. Default 86400000, a day.
        overlap_ms: Quantity = Quantity(86_400_000),
    } => Rotate::check
}

document! {
    /// Where tenants of a plan version go.
    pub struct MovePlan {
        /// The plan version that they get.
        to: PlanRef,
        /// Why: for the audit trail.
        reason: Option<String> = None,
    }
}

document! {
    /// An admin token to issue.
    pub struct NewToken {
        /// For people.
        name: String,
        /// What its holder may do.
        permissions: Vec<Permission>,
        /// Until when it works, exclusive. Default: for ever.
        expires_at: Option<UnixMillis> = None,
    } => NewToken::check
}

document! {
    /// What support is let in for.
    pub struct Impersonate {
        /// Why: for the audit trail.
        reason: String,
        /// What support may do.
        scopes: Vec<Scope> = Vec::new(),
    } => Impersonate::check
}

document! {
    /// A ticket, for an API key.
    pub struct Ticket {
        /// The ticket.
        ticket: String,
    }
}

document! {
    /// Whether a licence is good.
    pub struct LicenceQuestion {
        /// The licence key.
        key: String,
        /// The host that it is used on. Required where the licence is bound to domains.
        domain: Option<String> = None,
        /// The name of the instance, of your own, 1 to 128 bytes. Required where activations are counted.
        instance: Option<String> = None,
    } => LicenceQuestion::check
}

document! {
    /// An activation that ends.
    pub struct Deactivate {
        /// The licence key.
        key: String,
        /// The name of the instance.
        instance: String,
    }
}

document! {
    /// Units of a quota that are given back.
    pub struct Refund {
        /// The quota.
        limit: Key,
        /// How many units, at least 1 and at most what was used in the current period.
        units: Quantity,
        /// Why: it stands in the audit trail.
        reason: String,
    } => Refund::check
}

document! {
    /// A change to try: a catalog, and what to compare it for.
    pub struct ImpactQuestion {
        /// The catalog that would be. Default: the one that is.
        catalog: Option<Value> = None,
        /// Plan versions that tenants would have instead of theirs: from, to.
        plans: BTreeMap<PlanRef, PlanRef> = BTreeMap::new(),
        /// Merge patches (RFC 7396) of records, by tenant.
        patches: BTreeMap<TenantId, Value> = BTreeMap::new(),
        /// Where the page begins; as the page before said.
        cursor: Option<String> = None,
        /// Tenants of a page, 1 to 1000. Default 500.
        limit: Quantity = Quantity(500),
        /// Recorded questions to ask again.
        log: Vec<Replayed> = Vec::new(),
    } => ImpactQuestion::check
}

document! {
    /// A recorded question.
    pub struct Replayed {
        /// When it was asked.
        at: UnixMillis,
        /// What was asked: a body of `POST /_gate/v1/decide`.
        question: Value,
    }
}

impl NewTenant {
    fn check(&self, r: &mut Reader) {
        if self.name.is_none() && self.slug.is_none() {
            r.problem("neither `name` nor `slug`", "one of them");
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            r.at("name", |r| r.problem("a text of another length", format!("1 to {MAX_NAME_BYTES} bytes")));
        }
        if self.slug.is_none() && self.name.as_deref().is_some_and(|name| slug_of(name).is_none()) {
            r.at("slug", |r| r.problem("nothing, and a `name` that makes none", "a slug"));
        }
        if self.plan.is_none() && self.parent.is_none() {
            r.at("plan", |r| r.problem("nothing", "a plan version such as `pro@1`, or a parent whose plan it shares"));
        }
        if self.jurisdiction.is_some() && self.parent.is_some() {
            r.at("jurisdiction", |r| r.problem("one beside a `parent`", "none: the root's ledger counts"));
        }
        if self.api_key_scopes.as_ref().is_some_and(|scopes| scopes.len() > MAX_SCOPES) {
            r.at("api_key_scopes", |r| r.problem("too many scopes", format!("at most {MAX_SCOPES}")));
        }
    }
}

impl Issue {
    fn check(&self, r: &mut Reader) {
        if self.name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            r.at("name", |r| r.problem("a text that is too long", format!("at most {MAX_NAME_BYTES} bytes")));
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
            r.at("name", |r| r.problem("a text of another length", format!("1 to {MAX_TOKEN_NAME_BYTES} bytes")));
        }
        if self.permissions.is_empty() {
            r.at("permissions", |r| r.problem("none", "one at least"));
        }
    }
}

impl Impersonate {
    fn check(&self, r: &mut Reader) {
        if self.reason.is_empty() {
            r.at("reason", |r| r.problem("nothing", "why support acts as the tenant"));
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
            r.at("reason", |r| r.problem("nothing", "why the units are given back"));
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
    /// The question.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn question(&self) -> Result<DecideBody, Problems> {
        DecideBody::parse(&self.question.to_string())
    }
}

/// The slug that a name makes: its ASCII letters and digits, with `-` between.
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
        // Room for a number behind it.
        if slug.len() >= MAX_SLUG_BYTES.saturating_sub(8) {
            break;
        }
    }
    Slug::parse(slug.trim_end_matches('-'))
}

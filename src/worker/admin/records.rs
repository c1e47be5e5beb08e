//! Tenants' records in the system of record: reads them, checks them against the catalog, and
//! writes them.
//!
//! Every change to a record goes through [`AdminRequest::save`], which writes the next epoch with
//! its audit entry and publications. Its preconditions make the commit fail if the record or the
//! catalog has changed since it was read, or if the tenant is part of an open move.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::AdminError;
use super::request::{AdminRequest, checked};
use super::transaction::Transaction;
use crate::control::audit::Head;
use crate::control::changes;
use crate::gate::{Ask, CompiledCatalog, LocalGate};
use crate::ledger::Meter;
use crate::model::bounds::{MAX_CHILDREN, MAX_HIERARCHY_DEPTH, SLUG_QUARANTINE_MS};
use crate::model::{Catalog, Tenant, TenantId, UnixMillis};
use crate::resolve::Request;
use crate::worker::sources::d1::{Row, Store, at, document, number, sql, text};

/// A tenant's row with its record.
pub(super) struct TenantRow {
    pub(super) id: String,
    pub(super) epoch: u64,
    pub(super) root: String,
    pub(super) value: Value,
    pub(super) purge_at: Option<u64>,
    /// The status that a reactivation restores: set if the tenant was suspended before offboarding.
    pub(super) status_before: Option<String>,
    /// The end of its audit trail, read together with the record.
    pub(super) head: Head,
}

/// The columns of a [`TenantRow`]. One statement reads the record and the end of its trail, so that
/// they are consistent.
pub(super) const COLUMNS: &str = "tenants.id, epoch, root, record, purge_at, status_before, \
     (SELECT number FROM audit WHERE chain = tenants.id ORDER BY number DESC LIMIT 1) AS number, \
     (SELECT hash FROM audit WHERE chain = tenants.id ORDER BY number DESC LIMIT 1) AS hash";

/// The current version of the catalog.
#[derive(Clone)]
pub(super) struct PublishedCatalog {
    pub(super) version: u64,
    pub(super) text: Rc<str>,
    pub(super) catalog: Rc<Catalog>,
    /// The compiled catalog, filled on first use.
    plans: Rc<OnceCell<Arc<CompiledCatalog>>>,
}

impl PublishedCatalog {
    /// The compiled catalog. Compiling is expensive for large catalogs, so it happens once per
    /// version.
    pub(super) fn plans(&self) -> Result<Arc<CompiledCatalog>, AdminError> {
        if let Some(plans) = self.plans.get() {
            return Ok(Arc::clone(plans));
        }
        let plans = Arc::new(checked(CompiledCatalog::parse(&self.text))?);
        Ok(Arc::clone(self.plans.get_or_init(|| plans)))
    }
}

thread_local! {
    /// The catalog that was read last. It stays valid, since a version never changes.
    static LATEST: RefCell<Option<PublishedCatalog>> = const { RefCell::new(None) };
}

impl Store {
    /// The current catalog. Returns `None` if the control plane has none yet.
    pub(super) async fn catalog(&self) -> Result<Option<PublishedCatalog>, AdminError> {
        let row = self.row(sql!("SELECT max(version) AS version FROM catalogs")).await?.unwrap_or_default();
        let version = number(&row, "version");
        if version == 0 {
            return Ok(None);
        }
        if let Some(known) = LATEST.with_borrow(|known| known.clone().filter(|known| known.version == version)) {
            return Ok(Some(known));
        }
        let text: Rc<str> = self.catalog_text(version).await?.into();
        let catalog = Rc::new(checked(Catalog::parse(&text))?);
        let published = PublishedCatalog { version, text, catalog, plans: Rc::default() };
        LATEST.with_borrow_mut(|known| *known = Some(published.clone()));
        Ok(Some(published))
    }

    /// The text of a catalog version. Returns an empty text if the version is unknown.
    pub(super) async fn catalog_text(&self, version: u64) -> Result<String, AdminError> {
        let parts = self.rows(sql!("SELECT text FROM catalogs WHERE version = ? ORDER BY part", version)).await?;
        Ok(parts.iter().map(|row| text(row, "text")).collect())
    }

    /// Reads a tenant's record, also that of a deleted tenant.
    pub(super) async fn record(&self, id: &str) -> Result<Option<TenantRow>, AdminError> {
        let row = self.row(sql!(format!("SELECT {COLUMNS} FROM tenants WHERE id = ?"), id)).await?;
        Ok(row.as_ref().map(TenantRow::of))
    }

    /// The records of a tenant's line: the tenant and its ancestors, nearest first.
    pub(super) async fn line(&self, id: &str) -> Result<Vec<TenantRow>, AdminError> {
        let rows = self
            .rows(sql!(
                format!(
                    "WITH RECURSIVE line (id, depth) AS (SELECT ?, 0 UNION ALL SELECT tenants.parent, depth + 1 FROM line \
                     JOIN tenants ON tenants.id = line.id WHERE tenants.parent IS NOT NULL AND depth < ?) \
                     SELECT {COLUMNS} FROM line JOIN tenants ON tenants.id = line.id ORDER BY depth"
                ),
                id,
                MAX_HIERARCHY_DEPTH
            ))
            .await?;
        Ok(rows.iter().map(TenantRow::of).collect())
    }

    /// The ids of a tenant's descendants, each with its parent, nearest first.
    pub(super) async fn below(&self, id: &str) -> Result<Vec<(String, String)>, AdminError> {
        let rows = self
            .rows(sql!(
                "WITH RECURSIVE below (id, parent, depth) AS (SELECT id, parent, 1 FROM tenants WHERE parent = ? AND status <> 'deleted' \
                 UNION ALL SELECT tenants.id, tenants.parent, depth + 1 FROM below JOIN tenants ON tenants.parent = below.id \
                 WHERE tenants.status <> 'deleted' AND depth < ?) SELECT id, parent, depth FROM below ORDER BY depth LIMIT ?",
                id,
                MAX_HIERARCHY_DEPTH,
                MAX_CHILDREN
            ))
            .await?;
        Ok(rows.iter().map(|row| (text(row, "id").to_owned(), text(row, "parent").to_owned())).collect())
    }
}

impl TenantRow {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            id: text(row, "id").to_owned(),
            epoch: number(row, "epoch"),
            root: text(row, "root").to_owned(),
            value: document(row, "record"),
            purge_at: row.get("purge_at").and_then(Value::as_u64),
            status_before: row.get("status_before").and_then(Value::as_str).map(String::from),
            head: Head { number: number(row, "number"), hash: text(row, "hash").to_owned() },
        }
    }

    pub(super) fn member(&self, name: &str) -> &str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn status(&self) -> &str {
        match self.member("status") {
            "" => "active",
            status => status,
        }
    }

    pub(super) fn key(&self) -> String {
        format!("tenant:{}", self.id)
    }
}

impl AdminRequest<'_> {
    /// Reads a tenant that is not deleted and that the actor may see.
    pub(super) async fn tenant(&self, id: &str) -> Result<TenantRow, AdminError> {
        if TenantId::parse(id).is_none() {
            return Err(AdminError::NOT_FOUND);
        }
        if let Some(own) = &self.actor.tenant {
            let line = self.store.line(id).await?;
            // INVARIANT (own tenant): a tenant admin sees its own tenant and the tenants below it.
            // To it, all others look unknown.
            if !line.iter().any(|record| record.id == own.as_str()) {
                return Err(AdminError::NOT_FOUND);
            }
        }
        let record = self.store.record(id).await?.ok_or(AdminError::NOT_FOUND)?;
        if record.status() == "deleted" { Err(AdminError::NOT_FOUND) } else { Ok(record) }
    }

    /// The current catalog, or an error if the control plane has none yet.
    pub(super) async fn catalog(&self) -> Result<PublishedCatalog, AdminError> {
        self.store.catalog().await?.ok_or(AdminError::NO_CATALOG)
    }

    /// Adds a record's next epoch to a change: the row, its slug and data route, the audit entry
    /// and the publications. Returns the new record.
    pub(super) async fn save(
        &self,
        change: &mut Transaction<'_>,
        record: &TenantRow,
        mut after: Value,
        published: &PublishedCatalog,
        (action, reason): (&str, Option<&str>),
    ) -> Result<Value, AdminError> {
        change.expect_head(&record.id, &record.head);
        // The record was checked against this version of the catalog, and must not be part of a
        // move.
        change.precondition("(SELECT max(version) FROM catalogs) = ?", &[published.version.into()]);
        change.precondition("NOT EXISTS (SELECT 1 FROM moving WHERE tenant = ?)", &[record.id.as_str().into()]);
        let epoch = record.epoch.saturating_add(1);
        if let Value::Object(members) = &mut after {
            members.insert(String::from("epoch"), epoch.into());
        }
        let (old, new) = (record.value.to_string(), after.to_string());
        let tenant = checked(Tenant::parse_changed(&old, &new, &published.catalog))?;
        let sold = |plan: &crate::model::PlanRef| published.catalog.plans.get(plan).is_none_or(|plan| !plan.retired);
        let trial = tenant.trial.as_ref().map(|trial| &trial.plan);
        let had = |plan: &crate::model::PlanRef| {
            plan.as_str() == record.member("plan") || Some(plan.as_str()) == at(&record.value, "/trial/plan").as_str()
        };
        if let Some(plan) = tenant.plan.iter().chain(trial).find(|plan| !had(plan) && !sold(plan)) {
            return Err(AdminError::problem(
                "$.plan",
                format!("`{plan}`, which is retired"),
                "a plan version that is not retired",
            ));
        }
        change.run(sql!(
            "UPDATE tenants SET slug = ?, name = ?, status = ?, plan = ?, parent = ?, epoch = ?, record = ?, changed_at = ?, ends_at = ? WHERE id = ?",
            tenant.slug.as_str(),
            tenant.name,
            tenant.status.as_str(),
            tenant.plan.as_ref().map(crate::model::PlanRef::as_str),
            tenant.parent.as_ref().map(TenantId::as_str),
            epoch,
            new,
            self.now.get(),
            next_end(&tenant, self.now),
            record.id
        ));
        if at(&record.value, "/data_route") != at(&after, "/data_route") {
            take_data_route(change, &after, &record.id);
        }
        let old_slug = record.member("slug");
        if tenant.slug.as_str() != old_slug {
            take_slug(change, tenant.slug.as_str(), &record.id, self.now);
            let free_at = self.now.plus(SLUG_QUARANTINE_MS).get();
            change.run(sql!(
                "UPDATE slugs SET free_at = ? WHERE slug = ? AND tenant = ?",
                free_at,
                old_slug,
                record.id
            ));
            for slug in [old_slug, tenant.slug.as_str()] {
                change.publish(&format!("slug:{slug}"), epoch, None);
            }
        }
        change.audit(&record.id, action, reason, &changes(&record.value, &after)).await?;
        change.publish(&record.key(), epoch, Some(&record.root));
        Ok(after)
    }

    /// The position below a parent. With `joins`, a tenant is added there, so the allowance for
    /// sub-tenants must have room.
    pub(super) async fn place_below(
        &self,
        parent: &TenantId,
        published: &PublishedCatalog,
        joins: bool,
    ) -> Result<TreePosition, AdminError> {
        let line = self.store.line(parent.as_str()).await?;
        let Some(own) = line.first().filter(|own| own.status() != "deleted") else {
            return Err(AdminError::problem("$.parent", format!("`{parent}`"), "the id of a tenant"));
        };
        let owner = if joins { Some(self.owner_of_room(parent.as_str(), &line, published).await?) } else { None };
        Ok(TreePosition { root: own.root.clone(), owner, above: line.iter().map(|above| above.id.clone()).collect() })
    }

    /// Finds the tenant whose allowance for sub-tenants a new tenant below `parent` uses, and
    /// checks that it has room. Returns that tenant and the end of its audit trail.
    ///
    /// INVARIANT (one allowance): tenants that share a plan share one allowance, which counts the
    /// descendants of the plan's owner at any depth.
    async fn owner_of_room(
        &self,
        parent: &str,
        line: &[TenantRow],
        published: &PublishedCatalog,
    ) -> Result<(String, Head), AdminError> {
        let mut owner = parent.to_owned();
        // INVARIANT (what nobody allowed is blocked): if the catalog has no `sub_tenants`, only
        // operators create sub-tenants.
        let mut most = if self.actor.tenant.is_some() { 0 } else { MAX_CHILDREN };
        if let Some(key) = &published.catalog.sub_tenants {
            let mut gate = LocalGate::with(published.plans()?);
            for record in line {
                let _ = gate.put(checked(Tenant::parse(&record.value.to_string()))?);
            }
            let ask = Ask { tenant: Some(parent), dry_run: true, ..Ask::default() };
            let decision = gate.decide(&Request::default(), &ask, self.now);
            let mut budgets = decision.tenant.iter().flat_map(|tenant| tenant.nearest());
            if let Some(budget) = budgets.find(|budget| budget.limit == *key) {
                owner = budget.tenant.to_string();
                if let Meter::Gauge { limit: Some(limit), .. } = budget.meter {
                    most = limit.min(MAX_CHILDREN);
                } else if matches!(budget.meter, Meter::Gauge { limit: None, .. }) {
                    most = MAX_CHILDREN;
                }
            }
        }
        let used = u64::try_from(self.store.below(&owner).await?.len()).unwrap_or(u64::MAX);
        if used >= most {
            // A tenant admin must not learn the numbers of a tenant above its own.
            let place = |id: &str| line.iter().position(|record| record.id == id);
            let seen = self.actor.tenant.as_ref().is_none_or(|own| place(&owner) <= place(own.as_str()));
            let details = if seen { json!({ "limit": most, "used": used }) } else { Value::Null };
            return Err(AdminError::TOO_MANY.with(details));
        }
        let head = line.iter().find(|record| record.id == owner).map(|record| record.head.clone());
        Ok((owner, head.ok_or(AdminError::BUSY)?))
    }
}

/// A position in the tree of tenants.
pub(super) struct TreePosition {
    /// The root of the family, whose ledger counts there.
    pub(super) root: String,
    /// The ids of the ancestors, nearest first.
    pub(super) above: Vec<String>,
    /// The tenant whose allowance a joining tenant uses, and the end of its audit trail.
    pub(super) owner: Option<(String, Head)>,
}

impl TreePosition {
    /// Records in the owner's audit trail that a tenant joins. The trail serializes concurrent
    /// joins, so they never exceed the allowance.
    pub(super) async fn audit(&self, change: &mut Transaction<'_>, joined: &str) -> Result<(), AdminError> {
        if let Some((owner, head)) = &self.owner {
            change.expect_head(owner, head);
            change.audit(owner, "tenant.child", None, &json!({ "child": { "after": joined } })).await?;
        }
        Ok(())
    }
}

/// Takes a slug for a tenant: a free one, or one in quarantine that was the tenant's own.
pub(super) fn take_slug(change: &mut Transaction<'_>, slug: &str, tenant: &str, now: UnixMillis) {
    change.run(sql!(
        "DELETE FROM slugs WHERE slug = ? AND free_at IS NOT NULL AND (free_at <= ? OR tenant = ?)",
        slug,
        now.get(),
        tenant
    ));
    change.run(sql!("INSERT INTO slugs (slug, tenant) VALUES (?, ?)", slug, tenant));
}

/// Reserves a data route for a tenant. INVARIANT (data routes are unique): a data route that
/// belonged to one tenant never passes to another, even after the first tenant is deleted.
pub(super) fn take_data_route(change: &mut Transaction<'_>, record: &Value, tenant: &str) {
    let member = |name: &str| at(record, &format!("/data_route/{name}")).as_str().unwrap_or_default().to_owned();
    if !member("name").is_empty() {
        change.run(sql!(
            "INSERT INTO data_routes (shard, name, tenant) VALUES (?1, ?2, ?3) ON CONFLICT (shard, name) \
             DO UPDATE SET tenant = CASE WHEN tenant = excluded.tenant THEN tenant END",
            member("shard"),
            member("name"),
            tenant
        ));
    }
}

/// The next end of an override, contract or trial, in milliseconds since 1970.
pub(super) fn next_end(tenant: &Tenant, now: UnixMillis) -> Option<u64> {
    let overrides = tenant.overrides.iter().filter_map(|entry| entry.ends_at);
    let contract = tenant.contract.as_ref().and_then(|contract| contract.ends_at);
    let trial = tenant.trial.as_ref().map(|trial| trial.ends_at);
    overrides.chain(contract).chain(trial).filter(|end| *end > now).map(UnixMillis::get).min()
}

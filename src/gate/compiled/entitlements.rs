//! A tenant, compiled: what its tiers grant and allow, resolved down to array accesses.
//!
//! Dated terms and billing periods are resolved at compile time. The result holds until a known
//! time ([`Entitlements::holds`]); after that the tenant is compiled again.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::breaker_ref::BreakerRef;
use super::budget::Budget;
use super::catalog::CompiledCatalog;
use super::charge_plan::{ChargePlan, LimitCheck};
use super::dates::{Dates, Standing};
use super::route::CompiledRoute;
use crate::flags::{Facts, Grant, Subject, Tier};
use crate::gate::code::Code;
use crate::ledger::CounterOp;
use crate::model::{Epoch, Key, Kind, PlanRef, Status, Tenant, TenantId, UnixMillis, json_bytes};
use crate::resolve::Attribute;

/// A tenant with its ancestors, compiled against one catalog at one time.
#[derive(Debug)]
pub struct Entitlements {
    /// The tenant first, its root last. Never empty.
    line: Vec<Arc<Tenant>>,
    plan: Option<PlanRef>,
    trial_ends_at: Option<UnixMillis>,
    grace_ends_at: Option<UnixMillis>,
    plan_missing: bool,
    /// By the number of the feature.
    grants: Vec<Option<Grant>>,
    /// By the number of the limit; of each the tenant's own counter before its ancestors'.
    budgets: Vec<Vec<Arc<Budget>>>,
    /// By the number of the group.
    breakers: Vec<Arc<BreakerRef>>,
    /// By the number of the list of costs: without leases, and with leases.
    charge_plans: Vec<[OnceLock<ChargePlan>; 2]>,
    /// The number of checks in all charge plans of one kind.
    planned_checks: usize,
    barrier: Option<Code>,
    catalog_version: Epoch,
    valid: (UnixMillis, UnixMillis),
    agreed_until: UnixMillis,
    serial: u32,
}

/// Roughly the bytes of a budget, or of a breaker, beside the counter's name.
const BUDGET_BYTES: usize = 320;

impl Entitlements {
    /// Compiles `line` (the tenant first, its root last) at `now`. Returns `None` only if `line` is
    /// empty. `serial` distinguishes this compilation from all others of the same gate.
    pub(in crate::gate) fn new(
        catalog: &CompiledCatalog,
        line: Vec<Arc<Tenant>>,
        serial: u32,
        now: UnixMillis,
    ) -> Option<Self> {
        let own = line.first()?;
        let document = &catalog.document;
        let mut dates = Dates::at(now);
        let mut trial_ends_at = None;
        let mut plan = None;
        let mut plans_of: Vec<Option<PlanRef>> = Vec::with_capacity(line.len());
        for tenant in &line {
            let trial = tenant.trial.as_ref().filter(|trial| dates.standing(*trial) == Standing::Active);
            let own = trial.map(|trial| trial.plan.clone()).or_else(|| tenant.plan.clone());
            // The nearest plan of the line is the tenant's.
            if plan.is_none() && own.is_some() {
                plan.clone_from(&own);
                trial_ends_at = trial.map(|trial| trial.ends_at);
            }
            plans_of.push(own);
        }
        let grants = grants(catalog, &line, plan.as_ref(), &mut dates);
        // Quota periods end too, but nothing that was agreed changes then.
        let agreed_until = dates.valid.1;
        let budgets = budgets(catalog, &line, &plans_of, &mut dates);
        let planned =
            catalog.cost_lists().iter().flatten().filter_map(|(limit, _)| budgets.get(usize::try_from(*limit).ok()?));
        let planned_checks = planned.map(Vec::len).fold(0_usize, usize::saturating_add);
        let breakers = document.breakers.iter().map(|(group, breaker)| {
            let mode = line.iter().find_map(|tenant| tenant.breakers.get(group).copied());
            Arc::new(BreakerRef::new(&own.id, group, breaker, mode))
        });
        Some(Self {
            breakers: breakers.collect(),
            plan_missing: plan.as_ref().is_none_or(|plan| !document.plans.contains_key(plan)),
            barrier: line.iter().find_map(|tenant| barrier(tenant.status)),
            catalog_version: document.version,
            valid: dates.valid,
            grace_ends_at: dates.grace_ends_at,
            charge_plans: catalog.cost_lists().iter().map(|_| Default::default()).collect(),
            planned_checks,
            agreed_until,
            serial,
            grants,
            budgets,
            trial_ends_at,
            plan,
            line,
        })
    }

    /// The tenant's record.
    #[expect(clippy::indexing_slicing, reason = "INVARIANT (line): `new` refuses an empty line")]
    pub fn tenant(&self) -> &Tenant {
        &self.line[0]
    }

    /// The records of the tenant and its ancestors, nearest first.
    pub fn line(&self) -> &[Arc<Tenant>] {
        &self.line
    }

    /// The ids of the ancestors, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.line.iter().skip(1).map(|tenant| tenant.id.as_str())
    }

    /// The tenant whose ledger counts for the whole family.
    pub fn root(&self) -> &TenantId {
        self.line.last().map_or_else(|| &self.tenant().id, |root| &root.id)
    }

    /// The plan in force: the tenant's own, or that of its nearest ancestor with one.
    pub const fn plan(&self) -> Option<&PlanRef> {
        self.plan.as_ref()
    }

    /// Whether the catalog lacks the plan, so that defaults apply in its place.
    pub const fn plan_missing(&self) -> bool {
        self.plan_missing
    }

    /// When the trial ends that gives the tenant its plan.
    pub const fn trial_ends_at(&self) -> Option<UnixMillis> {
        self.trial_ends_at
    }

    /// When the first grace period ends that the tenant depends on.
    pub const fn grace_ends_at(&self) -> Option<UnixMillis> {
        self.grace_ends_at
    }

    /// Until when the agreed terms stay as they are: the next start or end of a trial, a contract,
    /// an override or a grace period.
    pub const fn agreed_until(&self) -> UnixMillis {
        self.agreed_until
    }

    /// The serial number, which distinguishes the last 2^32 compilations of the same gate.
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// Until when the compilation holds if no document changes.
    pub(in crate::gate) const fn valid_until(&self) -> UnixMillis {
        self.valid.1
    }

    /// Whether the compilation still holds: the same catalog, and no date has passed.
    pub(in crate::gate) fn holds(&self, catalog: &CompiledCatalog, now: UnixMillis) -> bool {
        self.catalog_version == catalog.document.version && self.valid.0 <= now && now < self.valid.1
    }

    /// The code with which requests of the tenant are denied because of its status or an
    /// ancestor's.
    pub(in crate::gate) const fn barrier(&self) -> Option<Code> {
        self.barrier
    }

    /// Whether the tenant and all its ancestors allow this place to serve it.
    pub fn may_be_served_from(&self, place: Option<&str>) -> bool {
        self.line
            .iter()
            .filter(|tenant| !tenant.residency.is_empty())
            .all(|tenant| place.is_some_and(|place| tenant.residency.iter().any(|allowed| allowed == place)))
    }

    /// The grants of its tiers, by the number of the feature.
    pub(in crate::gate) fn grants(&self) -> &[Option<Grant>] {
        &self.grants
    }

    /// The facts by which features are evaluated for this tenant.
    pub fn facts<'a>(&'a self, context: &'a [Option<Attribute<'a>>], now: UnixMillis) -> Facts<'a> {
        let tenant = self.tenant();
        let plan = self.plan.as_ref().map(PlanRef::as_str);
        let subject =
            Subject { id: tenant.id.as_str(), slug: tenant.slug.as_str(), plan, region: tenant.region.as_deref() };
        Facts { subject, grants: &self.grants, context, now }
    }

    /// Every budget, limit by limit; of each the tenant's own before its ancestors'.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.iter().flatten()
    }

    pub(in crate::gate) fn budgets_of(&self, limit: u32) -> &[Arc<Budget>] {
        usize::try_from(limit).ok().and_then(|limit| self.budgets.get(limit)).map_or(&[], Vec::as_slice)
    }

    /// The nearest budget of every limit: the tenant's own, or the one it shares with an ancestor.
    pub fn nearest(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter_map(|budgets| budgets.first().map(AsRef::as_ref))
    }

    /// The counters that a request to this route debits. Compiled when it is first asked for.
    pub(in crate::gate) fn charge_plan(&self, route: &CompiledRoute, leases: bool) -> Option<&ChargePlan> {
        let slot = self.charge_plans.get(route.cost_list)?.get(usize::from(leases))?;
        Some(slot.get_or_init(|| {
            let checks = route.costs.iter().flat_map(|(limit, cost)| self.checks(*limit, CounterOp::Take(*cost)));
            ChargePlan::new(checks.collect(), leases)
        }))
    }

    /// The checks of one limit along the line, for a request that does `op` to it.
    pub(in crate::gate) fn checks(&self, limit: u32, op: CounterOp) -> impl Iterator<Item = LimitCheck> {
        self.budgets_of(limit).iter().enumerate().map(move |(index, budget)| {
            let op = match op {
                // A level moves where it is set. The levels above it follow.
                CounterOp::Release(_) | CounterOp::Set(_) if index > 0 => CounterOp::Follow,
                // A slot is held until its request ends.
                CounterOp::Take(units) if budget.kind == Kind::Concurrency => CounterOp::Hold(units),
                op => op,
            };
            LimitCheck::new(budget, op)
        })
    }

    pub(in crate::gate) fn breaker(&self, group: u32) -> Option<&Arc<BreakerRef>> {
        self.breakers.get(usize::try_from(group).ok()?)
    }

    /// Roughly how many bytes the compilation takes, without the records.
    pub(in crate::gate) fn bytes(&self) -> usize {
        let own = self.grants.iter().flatten().filter(|grant| grant.tier != Tier::Plan);
        let values = own.map(|grant| json_bytes(&grant.value)).fold(0_usize, usize::saturating_add);
        let budgets = self.budgets.iter().flatten();
        let budgets = budgets.map(|budget| budget.counter.len().saturating_add(BUDGET_BYTES));
        let slots = self.grants.len().saturating_mul(size_of::<Option<Grant>>());
        let lists = self.budgets.len().saturating_mul(size_of::<Vec<Arc<Budget>>>());
        let breakers = self.breakers.len().saturating_mul(BUDGET_BYTES);
        // As if all charge plans were compiled.
        let checks = self.planned_checks.saturating_mul(2).saturating_mul(size_of::<LimitCheck>());
        let plans = self.charge_plans.len().saturating_mul(size_of::<[OnceLock<ChargePlan>; 2]>());
        [values, slots, lists, breakers, plans, checks]
            .into_iter()
            .chain(budgets)
            .fold(size_of::<Self>(), usize::saturating_add)
    }
}

/// The tiers, weakest first: a later grant replaces an earlier one. Within a tier the tenant itself
/// comes last.
fn grants(
    catalog: &CompiledCatalog,
    line: &[Arc<Tenant>],
    plan: Option<&PlanRef>,
    dates: &mut Dates,
) -> Vec<Option<Grant>> {
    let mut grants = vec![None; catalog.features.len()];
    for (id, value) in plan.map_or([].as_slice(), |plan| catalog.grants_of(plan)) {
        if let Some(slot) = grants.get_mut(*id) {
            *slot = Some(value.clone());
        }
    }
    // INVARIANT (grace revives nothing): a term in its grace period is weaker than every term of
    // its tier that is in force.
    for standing in [Standing::Grace, Standing::Active] {
        for contract in line.iter().rev().filter_map(|tenant| tenant.contract.as_ref()) {
            if dates.standing(contract) == standing {
                grant(&mut grants, catalog, contract.features.0.iter(), Tier::Contract);
            }
        }
    }
    for tenant in line.iter().rev() {
        for addon in tenant.addons.iter().filter_map(|addon| catalog.document.addons.get(addon)) {
            grant(&mut grants, catalog, addon.features.0.iter(), Tier::Addon);
        }
    }
    for standing in [Standing::Grace, Standing::Active] {
        for entry in line.iter().rev().flat_map(|tenant| &tenant.overrides) {
            if dates.standing(entry) == standing {
                grant(&mut grants, catalog, entry.feature.iter().zip(entry.value.as_deref()), Tier::Override);
            }
        }
    }
    grants
}

fn grant<'a>(
    grants: &mut [Option<Grant>],
    catalog: &CompiledCatalog,
    values: impl Iterator<Item = (&'a Key, &'a Value)>,
    tier: Tier,
) {
    for (key, value) in values {
        let slot = catalog.feature_id(key.as_str()).and_then(|id| grants.get_mut(usize::try_from(id).ok()?));
        if let Some(slot) = slot {
            *slot = Some(Grant::new(value, tier));
        }
    }
}

fn budgets(
    catalog: &CompiledCatalog,
    line: &[Arc<Tenant>],
    plans_of: &[Option<PlanRef>],
    dates: &mut Dates,
) -> Vec<Vec<Arc<Budget>>> {
    let last = line.len().saturating_sub(1);
    let mut budgets = Vec::with_capacity(catalog.limits.len());
    for ((key, limit), id) in catalog.limits.iter().zip(0..) {
        let along_the_line = line.iter().zip(plans_of).enumerate().filter_map(|(index, (tenant, plan))| {
            Budget::new(&catalog.document, (key, limit, id), (tenant, plan.as_ref()), index == last, dates)
        });
        budgets.push(along_the_line.map(Arc::new).collect());
    }
    budgets
}

const fn barrier(status: Status) -> Option<Code> {
    match status {
        Status::Active => None,
        Status::Provisioning => Some(Code::TenantProvisioning),
        Status::Maintenance => Some(Code::TenantMaintenance),
        Status::Suspended => Some(Code::TenantSuspended),
        Status::Inactive => Some(Code::TenantInactive),
        Status::Deleted => Some(Code::TenantNotFound),
    }
}

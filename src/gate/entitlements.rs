//! A tenant, compiled: what its tiers grant and allow, resolved down to an array access.
//!
//! Dated overrides, contracts and billing periods are resolved at compile time; the result says until when it holds.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;

use super::breakers::BreakerRef;
use super::code::Code;
use super::plans::CompiledCatalog;
use crate::flags::{Facts, Grant, Subject, Tier};
use crate::ledger::Meter;
use crate::model::period::bounds;
use crate::model::{
    Allowance, Catalog, Contract, Epoch, Key, Kind, Limit, Mode, OnError, Overage, Override, Plan, PlanRef, Status,
    Tenant, TenantId, Trial, UnixMillis, json_bytes,
};
use crate::resolve::Attribute;

/// A tenant with its ancestors, compiled against one catalog.
#[derive(Debug)]
pub struct Entitlements {
    /// The tenant first, its root last. Never empty.
    line: Vec<Arc<Tenant>>,
    plan: Option<PlanRef>,
    /// When the trial ends by whose plan it lives.
    trial_ends_at: Option<UnixMillis>,
    /// When the first thing ends that serves beyond its end.
    grace_ends_at: Option<UnixMillis>,
    /// Whether `plan` is not in the catalog, so that defaults stand in for it.
    plan_missing: bool,
    grants: Vec<Option<Grant>>,
    budgets: Vec<Vec<Arc<Budget>>>,
    /// By the number of the group.
    guards: Vec<Arc<BreakerRef>>,
    barrier: Option<Code>,
    catalog_version: Epoch,
    valid: (UnixMillis, UnixMillis),
    agreed_until: UnixMillis,
    serial: u32,
}

/// One counter that a limit debits, and how much it allows.
#[derive(Debug)]
pub struct Budget {
    /// The limit.
    pub limit: Key,
    /// The limit's number.
    pub id: u32,
    /// What it bounds.
    pub kind: Kind,
    /// Where it is counted.
    pub mode: Mode,
    /// What happens when the ledger cannot be reached.
    pub on_error: OnError,
    /// Whether it only counts and never denies.
    pub shadow: bool,
    /// What happens beyond the limit.
    pub overage: Overage,
    /// Milliseconds for which something in flight holds its slot at most.
    pub max_duration_ms: u64,
    /// The tenant whose counter it is: the request's own, or an ancestor.
    pub tenant: TenantId,
    /// The counter's name.
    pub counter: String,
    /// The allowance.
    pub meter: Meter,
    /// Whether the catalog does not know the plan that would say how much is allowed, and nothing else says it.
    pub unplanned: bool,
    /// Where a book in this process found the counter last.
    pub(super) hint: AtomicUsize,
}

/// About the bytes of a budget, and of a guard, beside its counter's name: names, numbers, what the allocator adds.
const BUDGET_BYTES: usize = 320;

impl Entitlements {
    /// Compiles `line` (the tenant first, its root last) at `now`. `None` only if `line` is empty.
    pub(super) fn new(plans: &CompiledCatalog, line: Vec<Arc<Tenant>>, serial: u32, now: UnixMillis) -> Option<Self> {
        let own = line.first()?;
        let catalog = &plans.catalog;
        let mut dates = Dates { now, valid: (UnixMillis::default(), UnixMillis::MAX), grace_ends_at: None };
        let trial = |tenant: &Tenant, dates: &mut Dates| {
            tenant.trial.clone().filter(|trial| dates.hold(trial.starts_at, Some(trial.ends_at)))
        };
        let trials: Vec<_> = line.iter().map(|tenant| trial(tenant, &mut dates)).collect();
        let plan_of = |(tenant, trial): (&Arc<Tenant>, &Option<Trial>)| {
            trial.as_ref().map(|trial| trial.plan.clone()).or_else(|| tenant.plan.clone())
        };
        let plans_of: Vec<Option<PlanRef>> = line.iter().zip(&trials).map(plan_of).collect();
        let plan_at = plans_of.iter().position(Option::is_some);
        let plan = plan_at.and_then(|index| plans_of.get(index)).cloned().flatten();
        let trial_ends_at = plan_at.and_then(|index| trials.get(index)?.as_ref()).map(|trial| trial.ends_at);
        let own_plan = plan.as_ref().and_then(|plan| catalog.plans.get(plan));

        let mut grants = vec![None; plans.features.len()];
        // Weakest first: what comes later is stronger and replaces it. Within a tier the nearest relative comes last.
        // Tenants of one plan share its values.
        for (id, value) in plan.as_ref().map_or([].as_slice(), |plan| plans.grants_of(plan)) {
            if let Some(slot) = grants.get_mut(*id) {
                *slot = Some(value.clone());
            }
        }
        // INVARIANT (grace revives nothing): what serves beyond its end is weaker than whatever of its tier is in force.
        for serves in [Serves::InGrace, Serves::InForce] {
            for contract in line.iter().rev().filter_map(|tenant| tenant.contract.as_ref()) {
                if dates.serves(contract) == serves {
                    grant(&mut grants, plans, contract.features.0.iter(), Tier::Contract);
                }
            }
        }
        for tenant in line.iter().rev() {
            for addon in tenant.addons.iter().filter_map(|addon| catalog.addons.get(addon)) {
                grant(&mut grants, plans, addon.features.0.iter(), Tier::Addon);
            }
        }
        for serves in [Serves::InGrace, Serves::InForce] {
            for entry in line.iter().rev().flat_map(|tenant| &tenant.overrides) {
                if dates.serves(entry) == serves {
                    grant(&mut grants, plans, entry.feature.iter().zip(entry.value.as_deref()), Tier::Override);
                }
            }
        }
        // Periods of quotas end too, and nothing else changes then.
        let agreed_until = dates.valid.1;
        let budgets = plans
            .limits
            .iter()
            .zip(0..)
            .map(|((key, limit), id)| {
                let last = line.len().saturating_sub(1);
                line.iter()
                    .zip(&plans_of)
                    .enumerate()
                    .filter_map(|(index, (tenant, plan))| {
                        Budget::new(catalog, (key, limit, id), (tenant, plan.as_ref()), index == last, &mut dates)
                    })
                    .map(Arc::new)
                    .collect()
            })
            .collect();
        let guards = catalog.breakers.iter().map(|(group, breaker)| {
            let mode = line.iter().find_map(|tenant| tenant.breakers.get(group).copied());
            Arc::new(BreakerRef::new(&own.id, group, breaker, mode))
        });
        Some(Self {
            guards: guards.collect(),
            plan_missing: own_plan.is_none(),
            barrier: line.iter().find_map(|tenant| barrier(tenant.status)),
            catalog_version: catalog.version,
            valid: dates.valid,
            agreed_until,
            serial,
            grants,
            budgets,
            trial_ends_at,
            grace_ends_at: dates.grace_ends_at,
            plan,
            line,
        })
    }

    /// The tenant's record.
    #[expect(clippy::indexing_slicing, reason = "INVARIANT (line): `new` refuses an empty line")]
    pub fn tenant(&self) -> &Tenant {
        &self.line[0]
    }

    /// About how many bytes it holds, its records aside.
    pub(super) fn bytes(&self) -> usize {
        let own = self.grants.iter().flatten().filter(|grant| grant.tier != Tier::Plan);
        let values = own.map(|grant| json_bytes(&grant.value)).fold(0_usize, usize::saturating_add);
        let budgets = self.budgets.iter().flatten();
        let budgets = budgets.map(|budget| budget.counter.len().saturating_add(BUDGET_BYTES));
        let slots = self.grants.len().saturating_mul(size_of::<Option<Grant>>());
        let lists = self.budgets.len().saturating_mul(size_of::<Vec<Arc<Budget>>>());
        let guards = self.guards.len().saturating_mul(BUDGET_BYTES);
        [values, slots, lists, guards].into_iter().chain(budgets).fold(size_of::<Self>(), usize::saturating_add)
    }

    /// Tells this compilation from all others of the same gate, until 2^32 have passed.
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// The plan it lives by: its own, or that of the nearest ancestor who has one.
    pub const fn plan(&self) -> Option<&PlanRef> {
        self.plan.as_ref()
    }

    /// Until when what was agreed stays as it is: when the next trial, contract or override begins or ends, or what serves beyond its end.
    pub const fn agreed_until(&self) -> UnixMillis {
        self.agreed_until
    }

    /// When the trial ends by whose plan it lives, if it does.
    pub const fn trial_ends_at(&self) -> Option<UnixMillis> {
        self.trial_ends_at
    }

    /// When the first thing ends that serves beyond its end, if anything does.
    pub const fn grace_ends_at(&self) -> Option<UnixMillis> {
        self.grace_ends_at
    }

    /// Whether the catalog does not know its plan.
    pub const fn plan_missing(&self) -> bool {
        self.plan_missing
    }

    /// The tenant whose ledger counts for the whole family.
    pub fn root(&self) -> &TenantId {
        self.line.last().map_or_else(|| &self.tenant().id, |root| &root.id)
    }

    /// Why the tenant is not served, if it is not.
    pub(super) const fn barrier(&self) -> Option<Code> {
        self.barrier
    }

    /// Places that may serve it: those that it and all its ancestors allow. `None` where nobody says anything.
    pub(super) fn may_be_served_from(&self, place: Option<&str>) -> bool {
        self.line
            .iter()
            .filter(|tenant| !tenant.residency.is_empty())
            .all(|tenant| place.is_some_and(|place| tenant.residency.iter().any(|allowed| allowed == place)))
    }

    /// What its tiers grant, by the number of the feature.
    pub(super) fn grants(&self) -> &[Option<Grant>] {
        &self.grants
    }

    /// What features are evaluated by for this tenant.
    pub fn facts<'a>(&'a self, context: &'a [Option<Attribute<'a>>], now: UnixMillis) -> Facts<'a> {
        let tenant = self.tenant();
        let plan = self.plan.as_ref().map(PlanRef::as_str);
        let subject =
            Subject { id: tenant.id.as_str(), slug: tenant.slug.as_str(), plan, region: tenant.region.as_deref() };
        Facts { subject, grants: &self.grants, context, now }
    }

    /// Until when it says the truth, if nothing is changed.
    pub(super) const fn valid_until(&self) -> UnixMillis {
        self.valid.1
    }

    /// Every budget, limit by limit; of each the tenant's own before those above it.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.budgets.iter().flatten()
    }

    pub(super) fn budgets_of(&self, limit: u32) -> &[Arc<Budget>] {
        usize::try_from(limit).ok().and_then(|limit| self.budgets.get(limit)).map_or(&[], Vec::as_slice)
    }

    /// Of every limit the budget that is nearest: the tenant's own, or that of the ancestor it shares one with.
    pub fn nearest(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter_map(|budgets| budgets.first().map(AsRef::as_ref))
    }

    pub(super) fn guard(&self, group: u32) -> Option<&Arc<BreakerRef>> {
        self.guards.get(usize::try_from(group).ok()?)
    }

    /// Whether it still says the truth: the same catalog, the same records, and no date passed in between.
    pub(super) fn holds(&self, plans: &CompiledCatalog, now: UnixMillis) -> bool {
        self.catalog_version == plans.catalog.version && self.valid.0 <= now && now < self.valid.1
    }

    /// The ids of the tenants above it, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.line.iter().skip(1).map(|tenant| tenant.id.as_str())
    }

    /// The records of the tenant and those above it, nearest first.
    pub fn line(&self) -> &[Arc<Tenant>] {
        &self.line
    }
}

fn barrier(status: Status) -> Option<Code> {
    match status {
        Status::Active => None,
        Status::Provisioning => Some(Code::TenantProvisioning),
        Status::Maintenance => Some(Code::TenantMaintenance),
        Status::Suspended => Some(Code::TenantSuspended),
        Status::Inactive => Some(Code::TenantInactive),
        Status::Deleted => Some(Code::TenantNotFound),
    }
}

fn grant<'a>(
    grants: &mut [Option<Grant>],
    plans: &CompiledCatalog,
    values: impl Iterator<Item = (&'a Key, &'a Value)>,
    tier: Tier,
) {
    for (key, value) in values {
        let slot = plans.feature_id(key.as_str()).and_then(|id| grants.get_mut(usize::try_from(id).ok()?));
        if let Some(slot) = slot {
            *slot = Some(Grant::new(value, tier));
        }
    }
}

impl Budget {
    /// The counter of `limit` that belongs to `tenant`. A tenant without a plan of its own shares its ancestors'
    /// counters, unless an override or a contract bounds it separately.
    fn new(
        catalog: &Catalog,
        (key, limit, id): (&Key, &Limit, u32),
        (tenant, plan): (&Tenant, Option<&PlanRef>),
        root: bool,
        dates: &mut Dates,
    ) -> Option<Self> {
        let own = tenant.overrides.iter().filter(|entry| entry.limit.as_ref() == Some(key));
        let own: Vec<_> = own.map(|entry| (dates.serves(entry), entry.allowance)).collect();
        // The last one in force; where there is none, the last in grace.
        let agreed = [Serves::InForce, Serves::InGrace]
            .iter()
            .find_map(|serves| own.iter().rev().find(|(own, _)| own == serves).and_then(|(_, allowance)| *allowance));
        let contract = tenant.contract.as_ref().filter(|contract| dates.serves(*contract) != Serves::Not);
        let contract = contract.and_then(|contract| contract.limits.get(key).copied());
        if agreed.is_none() && contract.is_none() && plan.is_none() && !root {
            return None;
        }
        let plan = plan.and_then(|plan| catalog.plans.get(plan));
        let planned = plan.and_then(|plan| plan.limits.get(key).copied()).or(limit.default);
        let unplanned = plan.is_none() && contract.or(planned).or(agreed).is_none();
        // INVARIANT (absence blocks): what nobody allowed is not allowed.
        let base = contract.or(planned).unwrap_or(Allowance::Limited { limit: 0, burst: None, overage: None });
        let addons = tenant.addons.iter().filter_map(|addon| catalog.addons.get(addon));
        let more = addons.filter_map(|addon: &Plan| addon.limits.get(key).copied());
        let allowance = agreed.unwrap_or_else(|| more.fold(base, Allowance::plus));
        let overage = match allowance {
            Allowance::Limited { overage: Some(overage), .. } => overage,
            _ => limit.overage,
        };
        Some(Self {
            meter: meter(limit, allowance, overage != Overage::Hard, tenant.billing_anchor, dates)?,
            overage,
            max_duration_ms: limit.max_duration_ms(),
            counter: format!("{}/{key}", tenant.id),
            tenant: tenant.id.clone(),
            limit: key.clone(),
            hint: AtomicUsize::new(usize::MAX),
            unplanned,
            kind: limit.kind,
            mode: limit.mode,
            on_error: limit.on_error,
            shadow: limit.shadow,
            id,
        })
    }
}

/// `None` for a rate without a bound: there is nothing to count.
fn meter(limit: &Limit, allowance: Allowance, over: bool, anchor: UnixMillis, dates: &mut Dates) -> Option<Meter> {
    let bound = match allowance {
        Allowance::Unlimited => None,
        Allowance::Limited { limit, .. } => Some(limit),
    };
    let window_ms = limit.window_ms.map_or(1, |window| window.0);
    Some(match limit.kind {
        Kind::Rate => match allowance {
            Allowance::Unlimited => return None,
            Allowance::Limited { limit: cells, burst, .. } => Meter::rate(cells, burst.unwrap_or(cells), window_ms),
        },
        Kind::Window => Meter::Window { limit: bound, window_ms },
        Kind::Quota => {
            let (starts, ends) = limit
                .period
                .map_or((UnixMillis::default(), UnixMillis::MAX), |period| bounds(period, anchor, dates.now));
            dates.narrow(starts, ends);
            Meter::Quota { limit: bound, starts_ms: starts.get(), ends_ms: ends.get(), over }
        }
        Kind::Gauge => Meter::Gauge { limit: bound, over },
        Kind::Concurrency => Meter::Concurrency { limit: bound },
    })
}

/// Judges dates at `now`, and remembers for how long the judgements hold.
struct Dates {
    now: UnixMillis,
    valid: (UnixMillis, UnixMillis),
    grace_ends_at: Option<UnixMillis>,
}

/// Whether something dated serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// Not yet, or not any more.
    Not,
    /// Beyond its end.
    InGrace,
    /// Between its dates.
    InForce,
}

/// When something starts and ends, and for how long it serves beyond its end.
trait Dated {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64);
}

impl Dated for Override {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64) {
        (self.starts_at, self.ends_at, self.grace_ms.0)
    }
}

impl Dated for Contract {
    fn dates(&self) -> (Option<UnixMillis>, Option<UnixMillis>, u64) {
        (self.starts_at, self.ends_at, self.grace_ms.0)
    }
}

impl Dates {
    fn serves(&mut self, dated: &impl Dated) -> Serves {
        let (starts_at, ends_at, grace_ms) = dated.dates();
        if self.hold(starts_at, ends_at) {
            return Serves::InForce;
        }
        match ends_at.filter(|_| grace_ms > 0) {
            Some(ends_at) if self.hold(Some(ends_at), Some(ends_at.plus(grace_ms))) => {
                let until = ends_at.plus(grace_ms);
                self.grace_ends_at = Some(self.grace_ends_at.map_or(until, |first| first.min(until)));
                Serves::InGrace
            }
            _ => Serves::Not,
        }
    }

    fn hold(&mut self, starts_at: Option<UnixMillis>, ends_at: Option<UnixMillis>) -> bool {
        let starts = starts_at.unwrap_or_default();
        let ends = ends_at.unwrap_or(UnixMillis::MAX);
        for date in [starts, ends] {
            if date <= self.now {
                self.narrow(date, UnixMillis::MAX);
            } else {
                self.narrow(UnixMillis::default(), date);
            }
        }
        starts <= self.now && self.now < ends
    }

    fn narrow(&mut self, from: UnixMillis, until: UnixMillis) {
        self.valid = (self.valid.0.max(from), self.valid.1.min(until));
    }
}

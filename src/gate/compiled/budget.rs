//! One counter of one limit of one tenant, and how much it allows.

use std::sync::atomic::AtomicUsize;

use super::dates::{Dates, Standing};
use crate::ledger::Meter;
use crate::model::period::bounds;
use crate::model::{
    Allowance, Catalog, Key, Kind, Limit, Mode, OnError, Overage, Plan, PlanRef, Tenant, TenantId, UnixMillis,
};

/// One counter that a limit debits, and how much it allows.
#[derive(Debug)]
pub struct Budget {
    /// The limit.
    pub limit: Key,
    /// The number of the limit.
    pub id: u32,
    /// The kind of the limit.
    pub kind: Kind,
    /// The mode of the limit: where it is counted.
    pub mode: Mode,
    /// What happens when the ledger cannot be reached.
    pub on_error: OnError,
    /// Whether it only counts and never denies.
    pub shadow: bool,
    /// What happens beyond the limit.
    pub overage: Overage,
    /// The milliseconds for which a request in flight holds its slot at most.
    pub max_duration_ms: u64,
    /// The tenant that owns the counter: the request's own tenant, or an ancestor.
    pub tenant: TenantId,
    /// The name of the counter.
    pub counter: String,
    /// The rule that the counter follows, with the allowance.
    pub meter: Meter,
    /// Whether the allowance is unknown: the catalog lacks the tenant's plan, and nothing else says
    /// how much is allowed.
    pub unplanned: bool,
    /// Where a ledger in this process found the counter last.
    pub(in crate::gate) hint: AtomicUsize,
}

impl Budget {
    /// The counter of `limit` that belongs to `tenant`. A tenant without a plan of its own shares
    /// its ancestors' counters, unless an override or a contract bounds it separately.
    pub(super) fn new(
        catalog: &Catalog,
        (key, limit, id): (&Key, &Limit, u32),
        (tenant, plan): (&Tenant, Option<&PlanRef>),
        is_root: bool,
        dates: &mut Dates,
    ) -> Option<Self> {
        let own = tenant.overrides.iter().filter(|entry| entry.limit.as_ref() == Some(key));
        let own: Vec<_> = own.map(|entry| (dates.standing(entry), entry.allowance)).collect();
        // The last override in force; without one, the last in grace.
        let agreed = [Standing::Active, Standing::Grace].iter().find_map(|standing| {
            own.iter().rev().find(|(own, _)| own == standing).and_then(|(_, allowance)| *allowance)
        });
        let contract = tenant.contract.as_ref().filter(|contract| dates.standing(*contract) != Standing::None);
        let contract = contract.and_then(|contract| contract.limits.get(key).copied());
        if agreed.is_none() && contract.is_none() && plan.is_none() && !is_root {
            return None;
        }
        let plan = plan.and_then(|plan| catalog.plans.get(plan));
        let planned = plan.and_then(|plan| plan.limits.get(key).copied()).or(limit.default);
        let unplanned = plan.is_none() && contract.or(planned).or(agreed).is_none();
        // INVARIANT (absence blocks): what no document allows is not allowed.
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

/// Returns `None` for an unlimited rate: there is nothing to count.
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

//! Leases, as the ledger keeps them: units set aside for one isolate, which spends them without
//! asking.
//!
//! A lease debits the budgets of one limit along the tenant's whole line by the same units in one
//! step, so a parent's usage always includes that of its children. Leased units count as used until
//! the isolate reports what became of them, so no unit is granted twice.
//!
//! Both sides exchange totals that only grow: units granted, spent and returned since the lease
//! began. The next message repairs a lost one; a message that arrives late or twice changes
//! nothing. A lease ends at a fixed time. Units that the isolate has not accounted for by then
//! count as spent.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::expiring_map::ExpiringMap;
use super::{Meter, Verdict};
use crate::model::UnixMillis;
use crate::model::bounds::LEASE_GRACE_MS;

/// A counter that a lease debits, with its meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRef<'a> {
    /// The name of the counter: tenant and limit.
    pub counter: &'a str,
    /// The meter, with the tenant's current allowance.
    pub meter: Meter,
}

/// What an isolate reports of one lease, and the units that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseClaim<'a> {
    /// The name of the lease, which its isolate has never used before.
    pub lease: &'a str,
    /// The budgets that it debits: the tenant's own first, then its ancestors'.
    #[serde(borrow, rename = "levels")]
    pub budgets: SmallVec<[BudgetRef<'a>; 2]>,
    /// Units spent since the lease began.
    pub spent: u64,
    /// Units returned since the lease began.
    pub returned: u64,
    /// Units that must be available to spend; otherwise the request is denied. A claim of 0 only
    /// reports.
    pub need: u64,
    /// Units that other requests of the isolate wait for, granted as far as they are available.
    #[serde(default, skip_serializing_if = "super::verdict::is_zero")]
    pub waiting: u64,
    /// Units that the isolate would like to have in total, for the requests to come.
    pub want: u64,
}

/// The state of a lease after a ledger request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Units granted since the lease began. `None` if the ledger does not know the lease; its units
    /// are then void.
    pub granted: Option<u64>,
    /// When the units expire, in milliseconds since 1970, exclusive.
    pub ends_ms: u64,
    /// How the counters stand, with leased units counted as used.
    pub verdicts: SmallVec<[Verdict; 2]>,
}

/// A lease, as its ledger stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    #[serde(rename = "levels")]
    pub(super) budgets: Vec<(Arc<str>, Meter)>,
    pub(super) granted: u64,
    pub(super) spent: u64,
    pub(super) returned: u64,
    pub(super) ends_ms: u64,
}

/// All leases of one ledger.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) leases: ExpiringMap<Lease>,
    /// The number of leases on each counter.
    pub(super) holders: FxHashMap<Arc<str>, u64>,
}

impl Lease {
    /// Units granted but not accounted for yet.
    pub(super) const fn open(&self) -> u64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.returned)
    }
}

impl Leases {
    pub(super) fn get(&self, name: &str) -> Option<&Lease> {
        self.leases.get(name)
    }

    pub(super) fn put(&mut self, name: &str, lease: Lease) {
        for (counter, _) in &lease.budgets {
            let holders = self.holders.entry(Arc::clone(counter)).or_default();
            *holders = holders.saturating_add(1);
        }
        self.leases.put(name, lease.ends_ms.saturating_add(LEASE_GRACE_MS), lease);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Lease> {
        let lease = self.leases.remove(name)?;
        self.drop_holders(&lease);
        Some(lease)
    }

    pub(super) fn drop_holders(&mut self, lease: &Lease) {
        for (counter, _) in &lease.budgets {
            if let Some(holders) = self.holders.get_mut(counter) {
                *holders = holders.saturating_sub(1);
                if *holders == 0 {
                    self.holders.remove(counter);
                }
            }
        }
    }

    /// Removes and returns the leases on matching counters.
    pub(super) fn take_where(&mut self, concerns: &dyn Fn(&str) -> bool) -> Vec<(Arc<str>, Lease)> {
        let taken = self.leases.take_where(|lease| lease.budgets.iter().any(|(counter, _)| concerns(counter)));
        for (_, lease) in &taken {
            self.drop_holders(lease);
        }
        taken
    }

    /// Removes and returns the leases that have expired.
    pub(super) fn over(&mut self, now: UnixMillis) -> Vec<(Arc<str>, Lease)> {
        let over = self.leases.over(now.get());
        for (_, lease) in &over {
            self.drop_holders(lease);
        }
        over
    }
}

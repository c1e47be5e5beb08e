//! What this isolate spends on leases, and what it says to ledgers beside what a request takes: of leases, of circuit
//! breakers, of snapshots. The state machines are in [`crate::ledger`].

use std::borrow::Cow;

use smallvec::SmallVec;

use super::breakers::{BreakerRef, Said};
use super::decision::LimitCheck;
use super::pipeline::Gate;
use super::snapshots::CATALOG;
use crate::ledger::{
    CounterOp, LeaseCache, LeaseClaim, LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, Level, Question,
};
use crate::model::bounds::{MAX_CACHED_TENANTS, MAX_CLAIMS};
use crate::model::{HeardAt, Kind, Mode, TenantId, UnixMillis};

/// What is said to a ledger: of leases which are asked for, and which have ended here; and what became of calls.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Questions, with the leases' names.
    asked: Vec<(Question, String)>,
    /// Names of leases.
    farewells: Vec<String>,
    /// What is said to breakers.
    pub(super) said: Vec<Said>,
}

/// A limit of a request that is paid from a lease: neighbours in the list of limits, by the same units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) cost: u64,
    /// Whether it has been spent.
    pub(super) paid: bool,
    /// The number of the lease that it was spent from.
    pub(super) lease: u64,
    /// Whether its ledger has refused as much a moment ago.
    pub(super) dry: bool,
}

impl Exchange {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.farewells.is_empty() && self.said.is_empty()
    }
}

impl Gate {
    /// From now on, limits of mode `leased` are spent on leases. `isolate`: a name that no other isolate has.
    pub fn lease_as(&mut self, isolate: String) {
        self.name.clone_from(&isolate);
        self.leases.get_or_insert_with(|| LeaseCache::new(isolate));
    }

    /// What is to be said to the ledger of `tenant` about the leases on `counters`, each needing so many units, and about
    /// those that have ended here; and to its breakers, of which the one of `asks` is asked to pass.
    pub(super) fn contact<'a>(
        &mut self,
        tenant: &TenantId,
        counters: impl Iterator<Item = (&'a str, u64)>,
        asks: Option<&BreakerRef>,
        now: UnixMillis,
    ) -> Exchange {
        let mut contact = Exchange { said: self.breakers.say(tenant, asks, now), ..Exchange::default() };
        let Some(leases) = &mut self.leases else { return contact };
        leases.forget(now);
        for (counter, need) in counters.take(MAX_CLAIMS) {
            if let Some((question, claim)) = leases.begin(counter, need, now).zip(leases.claim(counter)) {
                contact.asked.push((question, claim.lease.to_owned()));
            }
        }
        // Those that find no room are said next time.
        let farewells = leases.farewells(tenant.as_str()).take(MAX_CLAIMS);
        contact.farewells = farewells.map(|claim| claim.lease.to_owned()).collect();
        contact
    }

    /// The claims of a contact, in its order.
    pub(super) fn claims(&self, tenant: &TenantId, contact: &Exchange) -> SmallVec<[LeaseClaim<'_>; 2]> {
        let Some(leases) = &self.leases else { return SmallVec::new() };
        let asked = contact.asked.iter().filter_map(|(question, _)| leases.claim(&question.counter));
        let said = |claim: &LeaseClaim<'_>| contact.farewells.iter().any(|lease| lease == claim.lease);
        asked.chain(leases.farewells(tenant.as_str()).filter(said)).collect()
    }

    /// Takes the answer of the ledger of `tenant` to a contact.
    pub fn heard(
        &mut self,
        tenant: &TenantId,
        contact: &Exchange,
        answer: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
    ) {
        if let Ok(outcome) = answer {
            self.breakers.hear(tenant, &contact.said, &outcome.breakers, heard);
            self.learn(tenant, outcome, heard.get());
        }
        let Some(leases) = &mut self.leases else { return };
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(why) => {
                for (question, _) in &contact.asked {
                    leases.unanswered(question, why);
                }
                return;
            }
        };
        let mut grants = outcome.grants.iter();
        for (question, lease) in &contact.asked {
            match grants.next() {
                Some(grant) => leases.hear(question, lease, grant, outcome.allowed, heard),
                // A ledger that refuses the order as a whole says nothing of leases.
                None => leases.ignored(question),
            }
        }
        for lease in &contact.farewells {
            leases.gone(lease);
        }
    }

    /// Takes it that somebody has seen later snapshots than this isolate: those that it holds are fetched again.
    fn learn(&mut self, tenant: &TenantId, outcome: &LedgerResponse, now: UnixMillis) {
        for (name, epoch) in &outcome.newer {
            self.snapshots.observe_epoch(name, *epoch, now);
        }
        if outcome.told > 0 && self.heard.get(tenant) != Some(&outcome.told) {
            if self.heard.len() >= MAX_CACHED_TENANTS {
                self.heard.clear();
            }
            self.heard.insert(tenant.clone(), outcome.told);
        }
    }

    /// How far the question has come that a request waits for.
    pub fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        let leases = self.leases.as_ref();
        leases.map_or(LeaseProgress::Again, |leases| leases.progress(question, now))
    }

    /// What to send to the ledger of `tenant` of calls that should not wait for another reason to speak to it.
    pub fn urgent(&mut self, tenant: &TenantId, now: UnixMillis) -> Exchange {
        if self.breakers.urge(tenant, now) {
            self.contact(tenant, std::iter::empty(), None, now)
        } else {
            Exchange::default()
        }
    }

    /// What to send to the ledger of `tenant` so that the lease on `counter` does not run out.
    pub fn refill(&mut self, tenant: &TenantId, counter: &str, now: UnixMillis) -> Exchange {
        self.contact(tenant, [(counter, 0)].into_iter(), None, now)
    }

    /// What to send to the ledger of `tenant` before leases end: those in use go on, the others are given back.
    pub fn returns(&mut self, tenant: &TenantId, within_ms: u64, now: UnixMillis) -> Exchange {
        let Some(leases) = &mut self.leases else { return Exchange::default() };
        let (busy, idle): (Vec<_>, Vec<_>) = leases
            .ending(tenant.as_str(), within_ms, now)
            .into_iter()
            .partition(|counter| leases.is_busy(counter, within_ms, now));
        for counter in &idle {
            leases.leave(counter);
        }
        self.contact(tenant, busy.iter().map(|counter| (counter.as_str(), 0)), None, now)
    }

    /// The order that carries a contact alone.
    pub fn words<'a>(&'a self, tenant: &TenantId, contact: &'a Exchange) -> LedgerRequest<'a> {
        let catalog = self.snapshots.current_plans().map(|plans| plans.catalog().version.0);
        LedgerRequest {
            claims: self.claims(tenant, contact),
            breakers: contact.said.iter().map(Said::word).collect(),
            epochs: catalog.map(|version| (Cow::Borrowed(CATALOG), version)).into_iter().collect(),
            heard: self.heard.get(tenant).copied().unwrap_or(0),
            ..LedgerRequest::default()
        }
    }

    /// When the first lease from the ledger of `tenant` ends of which anything is left.
    pub fn next_end(&self, tenant: &TenantId) -> Option<UnixMillis> {
        self.leases.as_ref()?.next_end_ms(tenant.as_str()).map(UnixMillis::new)
    }
}

/// Whether a limit can be paid from a lease: looks, levels and what only counts ask the ledger itself.
pub(super) fn is_leasable(gauged: &LimitCheck) -> bool {
    gauged.budget.mode == Mode::Leased
        && !matches!(gauged.budget.kind, Kind::Gauge | Kind::Concurrency)
        && !gauged.budget.shadow
        && matches!(gauged.op, CounterOp::Take(1..))
}

/// The counters that a limit debits.
pub(super) fn levels(limits: &[LimitCheck]) -> SmallVec<[Level<'_>; 2]> {
    limits.iter().map(|gauged| Level { counter: &gauged.budget.counter, meter: gauged.budget.meter }).collect()
}

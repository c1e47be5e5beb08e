//! The parts of a ledger request besides charges: lease claims, breaker reports and seen epochs;
//! and what this isolate learns from the response. The state machines are in [`crate::ledger`].

use std::borrow::Cow;

use smallvec::SmallVec;

use super::Spender;
use super::breakers::{CallEnd, SentReport};
use crate::gate::answer::Decision;
use crate::gate::cache::Snapshots;
use crate::gate::compiled::BreakerRef;
use crate::gate::need::CATALOG;
use crate::ledger::{
    BreakerReport, BreakerStatus, LeaseClaim, LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, Question,
};
use crate::model::bounds::{MAX_CACHED_TENANTS, MAX_CLAIMS};
use crate::model::{HeardAt, TenantId, UnixMillis};

/// The parts of one ledger request besides charges.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The leases that ask for units, by question, with the name of the lease.
    asked: Vec<(Question, String)>,
    /// The names of leases that have ended here.
    released: Vec<String>,
    reports: Vec<SentReport>,
}

impl Exchange {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.released.is_empty() && self.reports.is_empty()
    }

    pub(super) fn breaker_reports(&self) -> SmallVec<[BreakerReport<'_>; 1]> {
        self.reports.iter().map(SentReport::message).collect()
    }

    /// The reply to the report that asked for a trial.
    pub(super) fn asked_breaker<'r>(&self, response: &'r LedgerResponse) -> Option<&'r BreakerStatus> {
        let mut replies = self.reports.iter().zip(&response.breakers);
        replies.find(|(report, _)| report.asks).map(|(_, status)| status)
    }
}

impl Spender {
    /// What to send to the ledger of `root`: claims for leases on `counters`, each with the units
    /// that it needs; the leases that have ended here; and breaker reports. `trial` is the breaker
    /// that is asked for a trial.
    pub(super) fn exchange<'a>(
        &mut self,
        root: &TenantId,
        counters: impl Iterator<Item = (&'a str, u64)>,
        trial: Option<&BreakerRef>,
        now: UnixMillis,
    ) -> Exchange {
        let mut exchange = Exchange { reports: self.breakers.take_reports(root, trial, now), ..Exchange::default() };
        let Some(leases) = &mut self.leases else { return exchange };
        leases.forget_expired(now);
        for (counter, need) in counters.take(MAX_CLAIMS) {
            if let Some((question, claim)) = leases.begin(counter, need, now).zip(leases.claim(counter)) {
                exchange.asked.push((question, claim.lease.to_owned()));
            }
        }
        // The rest are sent with the next exchange.
        let released = leases.released(root.as_str()).take(MAX_CLAIMS);
        exchange.released = released.map(|claim| claim.lease.to_owned()).collect();
        exchange
    }

    /// The claims of an exchange, in its order.
    pub(super) fn claims(&self, root: &TenantId, exchange: &Exchange) -> SmallVec<[LeaseClaim<'_>; 2]> {
        let Some(leases) = &self.leases else { return SmallVec::new() };
        let asked = exchange.asked.iter().filter_map(|(question, _)| leases.claim(&question.counter));
        let is_released = |claim: &LeaseClaim<'_>| exchange.released.iter().any(|lease| lease == claim.lease);
        asked.chain(leases.released(root.as_str()).filter(is_released)).collect()
    }

    /// Receives the response of the ledger of `root` to an exchange.
    pub(in crate::gate) fn receive(
        &mut self,
        root: &TenantId,
        exchange: &Exchange,
        response: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
        snapshots: &mut Snapshots,
    ) {
        if let Ok(response) = response {
            self.breakers.receive(root, &exchange.reports, &response.breakers, heard);
            for (name, epoch) in &response.newer {
                snapshots.observe_epoch(name, *epoch, heard.get());
            }
            self.advance_cursor(root, response.cursor);
        }
        let Some(leases) = &mut self.leases else { return };
        let response = match response {
            Ok(response) => response,
            Err(why) => {
                for (question, _) in &exchange.asked {
                    leases.receive_failure(question, why);
                }
                return;
            }
        };
        let mut grants = response.grants.iter();
        for (question, lease) in &exchange.asked {
            match grants.next() {
                Some(grant) => leases.receive(question, lease, grant, response.allowed, heard),
                // A ledger that rejects the whole request does not answer its claims.
                None => leases.receive_no_grant(question),
            }
        }
        for lease in &exchange.released {
            leases.confirm_release(lease);
        }
    }

    /// Records how far this isolate has read the ledger's log of published epochs.
    fn advance_cursor(&mut self, root: &TenantId, cursor: u64) {
        if cursor > 0 && self.cursors.get(root) != Some(&cursor) {
            if self.cursors.len() >= MAX_CACHED_TENANTS {
                self.cursors.clear();
            }
            self.cursors.insert(root.clone(), cursor);
        }
    }

    /// The ledger request that carries an exchange alone.
    pub(in crate::gate) fn exchange_request<'a>(
        &'a self,
        root: &TenantId,
        exchange: &'a Exchange,
        catalog_version: Option<u64>,
    ) -> LedgerRequest<'a> {
        LedgerRequest {
            claims: self.claims(root, exchange),
            breakers: exchange.breaker_reports(),
            epochs: catalog_version.map(|version| (Cow::Borrowed(CATALOG), version)).into_iter().collect(),
            cursor: self.cursors.get(root).copied().unwrap_or(0),
            ..LedgerRequest::default()
        }
    }

    /// Records the result of a call to the origin; see [`super::Breakers::ended`].
    pub(in crate::gate) fn ended(&mut self, decision: &Decision, end: CallEnd, now: UnixMillis) -> bool {
        self.breakers.ended(decision, end, now)
    }

    /// The progress of the question that a request waits for.
    pub(in crate::gate) fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        self.leases.as_ref().map_or(LeaseProgress::Again, |leases| leases.progress(question, now))
    }

    /// The breaker reports that should reach the ledger of `root` at once.
    pub(in crate::gate) fn urgent(&mut self, root: &TenantId, now: UnixMillis) -> Exchange {
        if self.breakers.is_urgent(root, now) {
            self.exchange(root, std::iter::empty(), None, now)
        } else {
            Exchange::default()
        }
    }

    /// A claim for more units, so that the lease on `counter` does not run out.
    pub(in crate::gate) fn refill(&mut self, root: &TenantId, counter: &str, now: UnixMillis) -> Exchange {
        self.exchange(root, [(counter, 0)].into_iter(), None, now)
    }

    /// What to send to the ledger of `root` before leases end: those in use are extended, the
    /// others are returned.
    pub(in crate::gate) fn renewals(&mut self, root: &TenantId, within_ms: u64, now: UnixMillis) -> Exchange {
        let Some(leases) = &mut self.leases else { return Exchange::default() };
        let (busy, idle): (Vec<_>, Vec<_>) = leases
            .ending(root.as_str(), within_ms, now)
            .into_iter()
            .partition(|counter| leases.is_busy(counter, within_ms, now));
        for counter in &idle {
            leases.release(counter);
        }
        self.exchange(root, busy.iter().map(|counter| (counter.as_str(), 0)), None, now)
    }

    /// When the first lease with units from the ledger of `root` ends.
    pub(in crate::gate) fn next_lease_end(&self, root: &TenantId) -> Option<UnixMillis> {
        self.leases.as_ref()?.next_end_ms(root.as_str()).map(UnixMillis::new)
    }
}

//! The gate of one isolate, driven as an adapter drives it. All tests that play an adapter call the
//! gate through this file alone.

use tenantgate::gate::{
    Ask, Decision, Exchange, Gate, Metered, Need, Pending, Progress, Rejected, SnapshotKey, Step, UsageEvent,
};
use tenantgate::ledger::{LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, Question};
use tenantgate::model::{DomainState, HeardAt, Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

/// Where a request stands once the gate needs no more snapshots.
#[derive(Debug)]
pub enum Stand {
    /// It is decided.
    Done(Box<Decision>),
    /// It waits for a lease that another request of the isolate has asked for.
    Waits(Question),
    /// The ledger is to be asked.
    Asks(Pending),
}

/// The ledger's response, or the reason why there is no response.
pub type Answer<'a> = Result<&'a LedgerResponse, LedgerFailure>;

/// The gate of one isolate.
#[derive(Debug, Default)]
pub struct Driver {
    gate: Gate,
}

/// Requests.
impl Driver {
    /// Creates an isolate that spends units from leases. `name` is unique among isolates.
    pub fn with_leases(name: String) -> Self {
        let mut gate = Gate::default();
        gate.lease_as(name);
        Self { gate }
    }

    /// Takes a request as far as it gets without the ledger. `fetch` puts in the snapshots that the
    /// gate needs.
    pub fn decide(
        &mut self,
        request: &Request<'_>,
        ask: &Ask<'_>,
        now: UnixMillis,
        mut fetch: impl FnMut(&mut Self, SnapshotKey),
    ) -> Stand {
        loop {
            match self.step(request, ask, now) {
                Progress::Ready(Step::Decided(decision)) => return Stand::Done(decision),
                Progress::Ready(Step::Charge(pending)) => return Stand::Asks(pending),
                Progress::Need(Need::LedgerAnswer(question)) => return Stand::Waits(question),
                Progress::Need(Need::Snapshot(key)) => fetch(self, key),
                Progress::Need(need) => panic!("{need:?}"),
            }
        }
    }

    /// Takes a request one step further.
    pub fn step(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Progress<Step> {
        self.gate.decide(request, ask, now)
    }

    /// Returns the ledger request of a pending request.
    pub fn ledger_request<'a>(&'a self, pending: &'a Pending) -> LedgerRequest<'a> {
        self.gate.request(pending)
    }

    /// Decides a request by the ledger's answer, which arrives at `now`.
    pub fn finish(&mut self, pending: Pending, answer: Answer<'_>, now: UnixMillis) -> Box<Decision> {
        self.gate.finish(pending, answer, HeardAt::now(now))
    }

    /// Meters a usage event. Panics if the event is refused.
    pub fn meter(
        &mut self,
        event: &UsageEvent,
        now: UnixMillis,
        mut fetch: impl FnMut(&mut Self, SnapshotKey),
    ) -> Metered {
        loop {
            match self.gate.meter(event, false, now) {
                Progress::Ready(metered) => return metered.unwrap_or_else(|problems| panic!("{problems:?}")),
                Progress::Need(Need::Snapshot(key)) => fetch(self, key),
                Progress::Need(need) => panic!("{need:?}"),
            }
        }
    }
}

/// Leases.
impl Driver {
    /// Returns whether the question that a request waits for is answered.
    pub fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        self.gate.progress(question, now)
    }

    /// Asks for more units of a lease before it runs out. `None` if there is no reason to ask.
    pub fn refill(&mut self, root: &TenantId, counter: &str, now: UnixMillis) -> Option<Exchange> {
        Some(self.gate.refill(root, counter, now)).filter(|exchange| !exchange.is_empty())
    }

    /// Renews or returns the leases that end within so many milliseconds. `None` if no lease does.
    pub fn renew(&mut self, root: &TenantId, within_ms: u64, now: UnixMillis) -> Option<Exchange> {
        Some(self.gate.renewals(root, within_ms, now)).filter(|exchange| !exchange.is_empty())
    }

    /// Returns the message to the ledger that carries an exchange alone.
    pub fn exchange_request<'a>(&'a self, root: &TenantId, exchange: &'a Exchange) -> LedgerRequest<'a> {
        self.gate.exchange_request(root, exchange)
    }

    /// Takes the ledger's answer to an exchange, which arrives at `now`.
    pub fn hear(&mut self, root: &TenantId, exchange: &Exchange, answer: Answer<'_>, now: UnixMillis) {
        self.gate.receive(root, exchange, answer, HeardAt::now(now));
    }

    /// Takes news that comes with an answer of the ledger to something else.
    pub fn hear_news(&mut self, root: &TenantId, news: &LedgerResponse, now: UnixMillis) {
        self.hear(root, &Exchange::default(), Ok(news), now);
    }
}

/// Snapshots.
impl Driver {
    /// Puts in the snapshot that was fetched. `None` if the store has no entry under this key.
    pub fn put(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.gate.put_trusted(key, text, now)
    }

    /// Puts in a catalog. Panics if it is rejected.
    pub fn put_catalog(&mut self, text: &str, now: UnixMillis) {
        self.put(&SnapshotKey::Catalog, Some(text), now).unwrap();
    }

    /// Puts in a tenant record with the slug and the domains that lead to it. Panics if it is
    /// rejected.
    pub fn put_tenant(&mut self, record: &str, now: UnixMillis) {
        let tenant = Tenant::parse(record).unwrap();
        let id = tenant.id.to_string();
        self.put(&SnapshotKey::Tenant(tenant.id), Some(record), now).unwrap();
        self.put(&SnapshotKey::Slug(tenant.slug), Some(&id), now).unwrap();
        for domain in tenant.domains.into_iter().filter(|domain| domain.state == DomainState::Verified) {
            self.put(&SnapshotKey::Domain(domain.host), Some(&id), now).unwrap();
        }
    }

    /// Notes that a fetch failed. Returns whether the held copy may serve instead.
    pub fn put_failure(&mut self, key: &SnapshotKey, now: UnixMillis) -> bool {
        self.gate.put_failure(key, now)
    }

    /// Takes an entry of the feed: the snapshot under this key has changed.
    pub fn hear_change(&mut self, key: &SnapshotKey, epoch: u64, now: UnixMillis) {
        self.gate.changed(key, epoch, now);
    }

    /// Notes that entries of the feed may be missing, so that any snapshot may have changed.
    pub fn hear_gap(&mut self, now: UnixMillis) {
        self.gate.invalidate_all(now);
    }
}

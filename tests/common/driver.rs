//! The gate of one isolate, driven as an adapter drives it. All tests that play an adapter call the
//! gate through this file alone.

use tenantgate::gate::{Ask, Decision, Exchange, Gate, Metered, Metering, Need, Pending, Rejected, Step, UsageEvent};
use tenantgate::ledger::{LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, Question};
use tenantgate::model::{HeardAt, Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

/// Where a request stands once the gate needs no more snapshots.
#[derive(Debug)]
pub enum Progress {
    /// It is decided.
    Done(Box<Decision>),
    /// It waits for a lease that another request of the isolate has asked for.
    Waits(Question),
    /// The ledger is to be asked.
    Asks(Pending),
}

/// What the ledger says, or why it says nothing.
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

    /// Takes a request as far as it gets without the ledger. `fetch` puts in what the gate needs.
    pub fn decide(
        &mut self,
        request: &Request<'_>,
        ask: &Ask<'_>,
        now: UnixMillis,
        mut fetch: impl FnMut(&mut Self, Need),
    ) -> Progress {
        loop {
            match self.step(request, ask, now) {
                Step::Done(decision) => return Progress::Done(decision),
                Step::Charge(pending) => return Progress::Asks(pending),
                Step::Fetch(Need::Answer(question)) => return Progress::Waits(question),
                Step::Fetch(need) => fetch(self, need),
            }
        }
    }

    /// Takes a request one step further.
    pub fn step(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Step {
        self.gate.decide(request, ask, now)
    }

    /// Returns what a request asks the ledger for.
    pub fn ledger_request<'a>(&'a self, pending: &'a Pending) -> LedgerRequest<'a> {
        self.gate.order(pending)
    }

    /// Decides a request by the ledger's answer, which arrives at `now`.
    pub fn finish(&mut self, pending: Pending, answer: Answer<'_>, now: UnixMillis) -> Box<Decision> {
        self.gate.finish(pending, answer, HeardAt::now(now))
    }

    /// Returns what a ledger is to be told of a usage event. Panics if the event is refused.
    pub fn meter(&mut self, event: &UsageEvent, now: UnixMillis, mut fetch: impl FnMut(&mut Self, Need)) -> Metered {
        loop {
            match self.gate.meter(event, false, now) {
                Metering::Ready(metered) => return metered,
                Metering::Fetch(need) => fetch(self, need),
                Metering::Refused(problems) => panic!("{problems:?}"),
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

    /// Asks for more units of a lease before it runs out. `None`: there is no reason to ask.
    pub fn refill(&mut self, root: &TenantId, counter: &str, now: UnixMillis) -> Option<Exchange> {
        Some(self.gate.refill(root, counter, now)).filter(|exchange| !exchange.is_empty())
    }

    /// Renews or returns the leases that end within so many milliseconds. `None`: there are none.
    pub fn renew(&mut self, root: &TenantId, within_ms: u64, now: UnixMillis) -> Option<Exchange> {
        Some(self.gate.returns(root, within_ms, now)).filter(|exchange| !exchange.is_empty())
    }

    /// Returns the message to the ledger that carries an exchange alone.
    pub fn exchange_request<'a>(&'a self, root: &TenantId, exchange: &'a Exchange) -> LedgerRequest<'a> {
        self.gate.words(root, exchange)
    }

    /// Takes the ledger's answer to an exchange, which arrives at `now`.
    pub fn hear(&mut self, root: &TenantId, exchange: &Exchange, answer: Answer<'_>, now: UnixMillis) {
        self.gate.heard(root, exchange, answer, HeardAt::now(now));
    }

    /// Takes news that comes with an answer of the ledger to something else.
    pub fn hear_news(&mut self, root: &TenantId, news: &LedgerResponse, now: UnixMillis) {
        self.hear(root, &Exchange::default(), Ok(news), now);
    }
}

/// Snapshots.
impl Driver {
    /// Puts in what was fetched. `None`: there is nothing under this key.
    pub fn put(&mut self, need: &Need, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.gate.snapshots.put_answer(need, text, now)
    }

    /// Puts in a catalog. Panics if it is rejected.
    pub fn put_catalog(&mut self, text: &str, now: UnixMillis) {
        self.put(&Need::Catalog, Some(text), now).unwrap();
    }

    /// Puts in a tenant record with the slug and the domains that lead to it. Panics if it is
    /// rejected.
    pub fn put_tenant(&mut self, record: &str, now: UnixMillis) {
        self.gate.snapshots.put(Tenant::parse(record).unwrap(), now).unwrap();
    }

    /// Notes that a fetch failed. Returns whether the held copy may serve instead.
    pub fn put_failure(&mut self, need: &Need, now: UnixMillis) -> bool {
        self.gate.snapshots.put_failure(need, now)
    }

    /// Takes an entry of the feed: what is under this key has changed.
    pub fn hear_change(&mut self, need: &Need, epoch: u64, now: UnixMillis) {
        self.gate.snapshots.changed(need, epoch, now);
    }

    /// Takes it that entries of the feed may have been missed: anything may have changed.
    pub fn hear_gap(&mut self, now: UnixMillis) {
        self.gate.snapshots.doubt_all(now);
    }
}

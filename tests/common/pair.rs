//! One isolate and the ledger of its only tenant. A test says which requests arrive, and which
//! messages between the two arrive or are lost.

use tenantgate::gate::{Ask, Code, Pending, SnapshotKey};
use tenantgate::ledger::{
    CounterOp, LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, LedgerState, Question, WaitFailure,
};
use tenantgate::model::{TenantId, UnixMillis};
use tenantgate::resolve::Request;

use super::driver::{Driver, Stand};

/// The tenant's id, which the documents of a pair use too.
pub const TENANT: &str = "t1";

/// A request of the pair, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(usize);

/// A request, with the limits that it takes one unit each of.
#[derive(Debug)]
struct Sent {
    limits: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It waits for a lease that another request has asked for.
    Waits(Question),
    /// Its message to the ledger is on the way.
    Asks(Pending),
    Decided(Code),
    /// Being moved from one state to the next.
    Moving,
}

/// One isolate, one ledger, and the time.
#[derive(Debug)]
pub struct Pair {
    isolate: Driver,
    ledger: LedgerState,
    requests: Vec<Sent>,
    catalog: &'static str,
    record: &'static str,
    now: UnixMillis,
}

impl Pair {
    /// Creates a pair whose isolate fetches these documents when it needs them.
    pub fn new(catalog: &'static str, record: &'static str, now: UnixMillis) -> Self {
        let isolate = Driver::with_leases(String::from("isolate"));
        Self { isolate, ledger: LedgerState::default(), requests: Vec::new(), catalog, record, now }
    }

    /// Lets so many milliseconds pass.
    pub fn advance(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    /// A request arrives that takes one unit of each of `limits`.
    pub fn request(&mut self, limits: &[&str]) -> Id {
        let state = self.decide(limits, None);
        self.requests.push(Sent { limits: limits.iter().map(ToString::to_string).collect(), state });
        Id(self.requests.len() - 1)
    }

    /// The message of a request reaches the ledger, and the answer reaches the isolate at once.
    pub fn deliver(&mut self, id: Id) -> Code {
        self.deliver_after(id, 0)
    }

    /// The message of a request reaches the ledger; the answer takes so many milliseconds.
    pub fn deliver_after(&mut self, id: Id, ms: u64) -> Code {
        let pending = self.take_pending(id);
        let answer = self.ledger.answer(&self.isolate.ledger_request(&pending), self.now);
        self.advance(ms);
        self.finish(id, pending, Ok(&answer))
    }

    /// The message of a request, or the answer to it, is lost.
    pub fn lose(&mut self, id: Id) -> Code {
        let pending = self.take_pending(id);
        self.finish(id, pending, Err(LedgerFailure::Failed))
    }

    /// A waiting request looks for its answer. Panics if the answer is still due.
    pub fn look(&mut self, id: Id) {
        let State::Waits(question) = std::mem::replace(&mut self.requests[id.0].state, State::Moving) else {
            panic!("{id:?} does not wait")
        };
        let awaited = match self.isolate.progress(&question, self.now) {
            LeaseProgress::Due(due) => panic!("{id:?} is still waiting, until {due}"),
            LeaseProgress::Again => None,
            LeaseProgress::Over(failure) => Some(failure),
        };
        let limits = std::mem::take(&mut self.requests[id.0].limits);
        let names: Vec<_> = limits.iter().map(String::as_str).collect();
        self.requests[id.0].state = self.decide(&names, awaited.as_ref());
        self.requests[id.0].limits = limits;
    }

    /// The latest message is delivered, with an answer that takes so many milliseconds; then all
    /// requests that wait look for it. Returns whether there was a message.
    pub fn step(&mut self, ms: u64) -> bool {
        let Some(id) = self.ids(|state| matches!(state, State::Asks(_))).pop() else { return false };
        self.deliver_after(id, ms);
        for id in self.ids(|state| matches!(state, State::Waits(_))) {
            self.look(id);
        }
        true
    }

    /// Steps until no message is on the way.
    pub fn drive(&mut self, ms: u64) {
        while self.step(ms) {}
    }

    /// Returns the code of a request that is decided.
    pub fn code(&self, id: Id) -> Option<Code> {
        if let State::Decided(code) = &self.requests[id.0].state { Some(*code) } else { None }
    }

    /// Returns whether a request waits for an answer that is still due.
    pub fn waits(&self, id: Id) -> bool {
        let State::Waits(question) = &self.requests[id.0].state else { return false };
        matches!(self.isolate.progress(question, self.now), LeaseProgress::Due(_))
    }

    /// Returns how many units of other requests travel with the message of this one.
    pub fn units_for_others(&self, id: Id) -> u64 {
        let State::Asks(pending) = &self.requests[id.0].state else { panic!("{id:?} does not ask") };
        self.isolate.ledger_request(pending).claims[0].waiting
    }

    /// The isolate asks for more units of the lease that a request asks for, ahead of need. Returns
    /// how many units of waiting requests that message carries. `None` if it sends no message.
    pub fn refill(&mut self, counter: &str) -> Option<u64> {
        let root = TenantId::parse(TENANT).unwrap();
        let exchange = self.isolate.refill(&root, counter, self.now)?;
        Some(self.isolate.exchange_request(&root, &exchange).claims[0].waiting)
    }

    /// Returns the counter of the lease that a request asks for.
    pub fn counter(&self, id: Id) -> String {
        let State::Asks(pending) = &self.requests[id.0].state else { panic!("{id:?} does not ask") };
        counter_of(&self.isolate.ledger_request(pending))
    }

    fn decide(&mut self, limits: &[&str], awaited: Option<&WaitFailure>) -> State {
        let limits: Vec<_> = limits.iter().map(|limit| (*limit, CounterOp::Take(1))).collect();
        let ask = Ask { tenant: Some(TENANT), limits: &limits, waiting: awaited.into(), ..Ask::default() };
        let (catalog, record, now) = (self.catalog, self.record, self.now);
        let progress = self.isolate.decide(&Request::default(), &ask, now, |isolate, key| {
            let text = if key == SnapshotKey::Catalog { catalog } else { record };
            isolate.put(&key, Some(text), now).unwrap();
        });
        match progress {
            Stand::Done(decision) => State::Decided(decision.code),
            Stand::Waits(question) => State::Waits(question),
            Stand::Asks(pending) => State::Asks(pending),
        }
    }

    fn take_pending(&mut self, id: Id) -> Pending {
        match std::mem::replace(&mut self.requests[id.0].state, State::Moving) {
            State::Asks(pending) => pending,
            state => panic!("{id:?} does not ask: {state:?}"),
        }
    }

    fn finish(&mut self, id: Id, pending: Pending, answer: Result<&LedgerResponse, LedgerFailure>) -> Code {
        let code = self.isolate.finish(pending, answer, self.now).code;
        self.requests[id.0].state = State::Decided(code);
        code
    }

    fn ids(&self, test: impl Fn(&State) -> bool) -> Vec<Id> {
        let found = self.requests.iter().enumerate().filter(|(_, request)| test(&request.state));
        found.map(|(index, _)| Id(index)).collect()
    }
}

fn counter_of(request: &LedgerRequest<'_>) -> String {
    request.claims[0].budgets[0].counter.to_string()
}

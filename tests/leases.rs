//! Leases over messages that are slow or lost: the gate and the book are real, and each test carries the messages by hand.

#![cfg(not(target_family = "wasm"))]

use tenantgate::gate::{Ask, Code, Decision, Gate, Need, Pending, Step};
use tenantgate::ledger::{CounterOp, LeaseProgress, LedgerFailure, LedgerResponse, LedgerState, Question, WaitFailure};
use tenantgate::model::bounds::LEASE_ANSWER_MS;
use tenantgate::model::{HeardAt, TenantId, UnixMillis};
use tenantgate::resolve::Request;

const CATALOG: &str = r#"{"version": 1, "resolution": {"strategies": [{"strategy": "header"}]},
    "limits": {"few": {"kind": "quota", "period": "month", "on_error": "closed"}, "many": {"kind": "quota", "period": "month", "on_error": "closed"}},
    "plans": {"p@1": {"limits": {"few": 5, "many": 1000}}}}"#;
const RECORD: &str = r#"{"id": "t1", "slug": "acme", "plan": "p@1", "epoch": 1}"#;
const START: UnixMillis = UnixMillis::new(1_780_000_000_000);

/// One isolate, and the ledger of its only tenant.
struct World {
    gate: Gate,
    book: LedgerState,
    now: UnixMillis,
}

/// Where a request stands.
#[derive(Debug)]
enum State {
    Done(Box<Decision>),
    Waits(Question),
    Asks(Pending),
}

impl State {
    fn question(self) -> Question {
        if let Self::Waits(question) = self { question } else { panic!("{self:?} does not wait") }
    }
    fn order(self) -> Pending {
        if let Self::Asks(pending) = self { pending } else { panic!("{self:?} does not ask") }
    }
}

impl World {
    fn new() -> Self {
        let mut gate = Gate::default();
        gate.lease_as(String::from("isolate"));
        Self { gate, book: LedgerState::default(), now: START }
    }

    /// A request that takes one unit of each of `limits`.
    fn request(&mut self, limits: &[&str], awaited: Option<&WaitFailure>) -> State {
        let limits: Vec<_> = limits.iter().map(|limit| (*limit, CounterOp::Take(1))).collect();
        let ask = Ask { tenant: Some("t1"), limits: &limits, awaited, ..Ask::default() };
        loop {
            match self.gate.decide(&Request::default(), &ask, self.now) {
                Step::Done(decision) => return State::Done(decision),
                Step::Charge(pending) => return State::Asks(pending),
                Step::Fetch(Need::Answer(question)) => return State::Waits(question),
                Step::Fetch(need) => {
                    let answer = if need == Need::Catalog { CATALOG } else { RECORD };
                    self.gate.snapshots.put_answer(&need, Some(answer), self.now).unwrap();
                }
            }
        }
    }

    /// The ledger's answer, which the isolate has not heard yet.
    fn answer(&mut self, pending: &Pending) -> LedgerResponse {
        self.book.answer(&self.gate.order(pending), self.now)
    }

    fn finish(&mut self, pending: Pending, answer: Result<&LedgerResponse, LedgerFailure>) -> Code {
        self.gate.finish(pending, answer, HeardAt::now(self.now)).code
    }

    /// What a request does that waited for a question.
    fn go_on(&mut self, limits: &[&str], question: &Question) -> State {
        let awaited = match self.gate.progress(question, self.now) {
            LeaseProgress::Due(due) => panic!("still under way, until {due}"),
            LeaseProgress::Again => None,
            LeaseProgress::Over(what) => Some(what),
        };
        self.request(limits, awaited.as_ref())
    }
}

#[test]
fn a_limit_that_is_short_does_not_refuse_another_one() {
    let both = ["few", "many"];
    let mut world = World::new();
    let mut asking = vec![world.request(&["few"], None).order()];
    let mut waiting: Vec<_> = (0..9).map(|_| world.request(&both, None).question()).collect();
    let mut codes = Vec::new();
    while let Some(pending) = asking.pop() {
        let answer = world.answer(&pending);
        world.now = world.now.plus(50);
        codes.push(world.finish(pending, Ok(&answer)));
        for question in std::mem::take(&mut waiting) {
            match world.go_on(&both, &question) {
                State::Waits(question) => waiting.push(question),
                State::Asks(pending) => asking.push(pending),
                State::Done(decision) => codes.push(decision.code),
            }
        }
    }
    assert_eq!(waiting, []);
    assert_eq!(codes.len(), 10);
    // As many as `few` has. `many` has refused nobody, though it was asked for one unit alone.
    assert_eq!(codes.iter().filter(|code| **code == Code::Allowed).count(), 5, "{codes:?}");
}

#[test]
fn a_late_failure_says_nothing_to_requests_that_wait_for_a_later_question() {
    let mut world = World::new();
    let first = world.request(&["many"], None).order();
    world.now = world.now.plus(LEASE_ANSWER_MS);
    let second = world.request(&["many"], None).order();
    let waits = world.request(&["many"], None).question();
    assert_eq!(world.finish(first, Err(LedgerFailure::Failed)), Code::LedgerUnavailable);
    assert!(matches!(world.gate.progress(&waits, world.now), LeaseProgress::Due(_)));
    let answer = world.answer(&second);
    assert_eq!(world.finish(second, Ok(&answer)), Code::Allowed);
    let third = world.go_on(&["many"], &waits).order();
    let answer = world.answer(&third);
    assert_eq!(world.finish(third, Ok(&answer)), Code::Allowed);
}

#[test]
fn units_of_requests_that_were_served_are_not_asked_for_again() {
    let mut world = World::new();
    let first = world.request(&["many"], None).order();
    let mut waiting: Vec<_> = (0..100).map(|_| world.request(&["many"], None).question()).collect();
    let answer = world.answer(&first);
    assert_eq!(world.finish(first, Ok(&answer)), Code::Allowed);
    // One of them asks, and the units of the others travel with its question.
    let second = world.go_on(&["many"], &waiting.remove(0)).order();
    let counter = world.gate.order(&second).claims[0].levels[0].counter.to_owned();
    assert_eq!(world.gate.order(&second).claims[0].waiting, 99);
    let waiting: Vec<_> = waiting.iter().map(|question| world.go_on(&["many"], question).question()).collect();
    let answer = world.answer(&second);
    assert_eq!(world.finish(second, Ok(&answer)), Code::Allowed);
    for question in &waiting {
        assert!(matches!(world.go_on(&["many"], question), State::Done(decision) if decision.allowed()));
    }
    let root = TenantId::parse("t1").unwrap();
    let contact = world.gate.refill(&root, &counter, world.now);
    assert_eq!(world.gate.words(&root, &contact).claims[0].waiting, 0);
}

#[test]
fn one_question_at_a_time_is_asked_for_a_lease() {
    let mut world = World::new();
    let first = world.request(&["many"], None).order();
    let counter = world.gate.order(&first).claims[0].levels[0].counter.to_owned();
    let waits = world.request(&["many"], None).question();
    let root = TenantId::parse("t1").unwrap();
    assert!(world.gate.refill(&root, &counter, world.now).is_empty());
    assert!(matches!(world.gate.progress(&waits, world.now), LeaseProgress::Due(_)));
    let answer = world.answer(&first);
    assert_eq!(world.finish(first, Ok(&answer)), Code::Allowed);
    assert!(!world.gate.refill(&root, &counter, world.now).is_empty());
}

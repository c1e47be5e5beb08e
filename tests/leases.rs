//! Leases when messages are slow or lost. The gate and the ledger are the real ones; each test says
//! which messages arrive.

#![cfg(not(target_family = "wasm"))]

mod common;

use common::pair::Pair;
use tenantgate::gate::{Ask, Code, Gate, Need, Progress, SnapshotKey, Step, Waiting};
use tenantgate::ledger::{CounterOp, LedgerState};
use tenantgate::model::bounds::LEASE_ANSWER_MS;
use tenantgate::model::{HeardAt, UnixMillis};
use tenantgate::resolve::Request;

const CATALOG: &str = r#"{"version": 1, "resolution": {"strategies": [{"strategy": "header"}]},
    "limits": {"few": {"kind": "quota", "period": "month", "on_error": "closed"}, "many": {"kind": "quota", "period": "month", "on_error": "closed"},
        "dozen": {"kind": "quota", "period": "month", "on_error": "closed"}},
    "plans": {"p@1": {"limits": {"few": 5, "many": 1000, "dozen": 12}}}}"#;
const RECORD: &str = r#"{"id": "t1", "slug": "acme", "plan": "p@1", "epoch": 1}"#;
const START: UnixMillis = UnixMillis::new(1_780_000_000_000);

fn pair() -> Pair {
    Pair::new(CATALOG, RECORD, START)
}

#[test]
fn a_scarce_limit_does_not_make_another_limit_refuse() {
    let mut pair = pair();
    let mut ids = vec![pair.request(&["few"])];
    ids.extend((0..9).map(|_| pair.request(&["few", "many"])));
    assert!(ids[1..].iter().all(|id| pair.waits(*id)));
    pair.drive(50);
    let codes: Vec<_> = ids.iter().map(|id| pair.code(*id).expect("all are answered")).collect();
    // `few` has five units. `many` refuses no request, although each claim asks for one unit of it.
    assert_eq!(codes.iter().filter(|code| **code == Code::Allowed).count(), 5, "{codes:?}");
}

#[test]
fn a_late_failure_does_not_reach_requests_that_wait_for_a_newer_question() {
    let mut pair = pair();
    let first = pair.request(&["many"]);
    pair.advance(LEASE_ANSWER_MS);
    let second = pair.request(&["many"]);
    let third = pair.request(&["many"]);
    assert!(pair.waits(third));
    assert_eq!(pair.lose(first), Code::LedgerUnavailable);
    assert!(pair.waits(third));
    assert_eq!(pair.deliver(second), Code::Allowed);
    pair.look(third);
    assert_eq!(pair.deliver(third), Code::Allowed);
}

#[test]
fn units_of_served_requests_are_not_claimed_again() {
    let mut pair = pair();
    let first = pair.request(&["many"]);
    let waiting: Vec<_> = (0..100).map(|_| pair.request(&["many"])).collect();
    assert_eq!(pair.deliver(first), Code::Allowed);
    // One of them asks for all: its question carries the units of the others.
    let (second, waiting) = waiting.split_first().unwrap();
    pair.look(*second);
    let counter = pair.counter(*second);
    assert_eq!(pair.units_for_others(*second), 99);
    for id in waiting {
        pair.look(*id);
        assert!(pair.waits(*id));
    }
    assert_eq!(pair.deliver(*second), Code::Allowed);
    for id in waiting {
        pair.look(*id);
        assert_eq!(pair.code(*id), Some(Code::Allowed));
    }
    assert_eq!(pair.refill(&counter), Some(0));
}

#[test]
fn a_lease_has_at_most_one_question_in_flight() {
    let mut pair = pair();
    let first = pair.request(&["many"]);
    let counter = pair.counter(first);
    let second = pair.request(&["many"]);
    assert_eq!(pair.refill(&counter), None);
    assert!(pair.waits(second));
    assert_eq!(pair.deliver(first), Code::Allowed);
    assert!(pair.refill(&counter).is_some());
}

#[test]
fn a_request_that_waits_is_not_refused_while_the_ledger_has_returned_units() {
    let mut pair = pair();
    let first = pair.request(&["dozen"]);
    let waiting: Vec<_> = (0..20).map(|_| pair.request(&["dozen"])).collect();
    assert_eq!(pair.deliver(first), Code::Allowed);
    // The grant has all units of the limit, and is short of what waits.
    pair.look(waiting[0]);
    let counter = pair.counter(waiting[0]);
    assert_eq!(pair.deliver(waiting[0]), Code::Allowed);
    // A slow isolate spends little, and returns what seems to be a surplus.
    pair.advance(5_000);
    pair.look(waiting[1]);
    assert_eq!(pair.code(waiting[1]), Some(Code::Allowed));
    assert!(pair.refill(&counter).is_some());
    pair.look(waiting[2]);
    assert_eq!(pair.code(waiting[2]), None, "it waits for the ledger");
    pair.advance(LEASE_ANSWER_MS);
    pair.look(waiting[2]);
    assert_eq!(pair.deliver(waiting[2]), Code::Allowed);
}

#[test]
fn a_decision_that_may_not_wait_takes_from_leases_or_takes_nothing() {
    let mut gate = Gate::default();
    gate.lease_as(String::from("isolate"));
    gate.put_trusted(&SnapshotKey::Catalog, Some(CATALOG), START).unwrap();
    gate.put_trusted(&SnapshotKey::parse("tenant:t1").unwrap(), Some(RECORD), START).unwrap();
    let mut ledger = LedgerState::default();
    let limits = [("many", CounterOp::Take(1))];
    let never = Ask { tenant: Some("t1"), limits: &limits, waiting: Waiting::Never, ..Ask::default() };
    let may = Ask { waiting: Waiting::Allowed, ..never };
    let mut taken = 0;
    for _ in 0..20 {
        // Without a lease nothing is taken, however often it is tried.
        for _ in 0..3 {
            let progress = gate.decide(&Request::default(), &never, START);
            match progress {
                Progress::Ready(Step::Decided(decision)) => taken += u64::from(decision.allowed()),
                Progress::Need(Need::Ledger) => {}
                other => panic!("{other:?}"),
            }
        }
        let step = match gate.decide(&Request::default(), &may, START) {
            Progress::Ready(step) => step,
            other @ Progress::Need(_) => panic!("{other:?}"),
        };
        let decision = match step {
            Step::Decided(decision) => decision,
            Step::Charge(pending) => {
                let answer = ledger.answer(&gate.request(&pending), START);
                gate.finish(pending, Ok(&answer), HeardAt::now(START))
            }
        };
        assert!(decision.allowed());
        taken += 1;
        assert_eq!(decision.limits[0].verdict.unwrap().used, taken, "each allowed decision took one unit");
    }
    assert!(taken > 30, "leases paid for {taken}");
}

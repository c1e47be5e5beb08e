//! Leases over messages that are slow or lost. The gate and the ledger are the real ones; each test
//! says which messages arrive.

#![cfg(not(target_family = "wasm"))]

mod common;

use common::pair::Pair;
use tenantgate::gate::Code;
use tenantgate::model::UnixMillis;
use tenantgate::model::bounds::LEASE_ANSWER_MS;

const CATALOG: &str = r#"{"version": 1, "resolution": {"strategies": [{"strategy": "header"}]},
    "limits": {"few": {"kind": "quota", "period": "month", "on_error": "closed"}, "many": {"kind": "quota", "period": "month", "on_error": "closed"}},
    "plans": {"p@1": {"limits": {"few": 5, "many": 1000}}}}"#;
const RECORD: &str = r#"{"id": "t1", "slug": "acme", "plan": "p@1", "epoch": 1}"#;
const START: UnixMillis = UnixMillis::new(1_780_000_000_000);

fn pair() -> Pair {
    Pair::new(CATALOG, RECORD, START)
}

#[test]
fn a_limit_that_is_short_does_not_refuse_another_one() {
    let mut pair = pair();
    let mut ids = vec![pair.request(&["few"])];
    ids.extend((0..9).map(|_| pair.request(&["few", "many"])));
    assert!(ids[1..].iter().all(|id| pair.waits(*id)));
    pair.drive(50);
    let codes: Vec<_> = ids.iter().map(|id| pair.code(*id).expect("all are answered")).collect();
    // As many as `few` has. `many` has refused nobody, though it was asked for one unit alone.
    assert_eq!(codes.iter().filter(|code| **code == Code::Allowed).count(), 5, "{codes:?}");
}

#[test]
fn a_late_failure_says_nothing_to_requests_that_wait_for_a_later_question() {
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
fn units_of_requests_that_were_served_are_not_asked_for_again() {
    let mut pair = pair();
    let first = pair.request(&["many"]);
    let waiting: Vec<_> = (0..100).map(|_| pair.request(&["many"])).collect();
    assert_eq!(pair.deliver(first), Code::Allowed);
    // One of them asks, and the units of the others travel with its question.
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
fn one_question_at_a_time_is_asked_for_a_lease() {
    let mut pair = pair();
    let first = pair.request(&["many"]);
    let counter = pair.counter(first);
    let second = pair.request(&["many"]);
    assert_eq!(pair.refill(&counter), None);
    assert!(pair.waits(second));
    assert_eq!(pair.deliver(first), Code::Allowed);
    assert!(pair.refill(&counter).is_some());
}

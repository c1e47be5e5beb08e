//! Which snapshots an isolate keeps, for how long, and which it rejects.

#![cfg(not(target_family = "wasm"))]

mod common;

use common::driver::{Driver, Stand};
use common::store::Isolate;
use tenantgate::gate::{Ask, Code, Decision, Pending, Refresh, Rejected, SnapshotKey};
use tenantgate::ledger::{LedgerFailure, LedgerState};
use tenantgate::model::bounds::{FIRM_AGE_MS, HARD_AGE_MS, NEGATIVE_AGE_MS, REFRESH_INTERVAL_MS, SOFT_AGE_MS};
use tenantgate::model::{Slug, TenantId, UnixMillis};
use tenantgate::resolve::Request;

const CATALOG: &str = r#"{"version": 5, "resolution": {"strategies": [{"strategy": "subdomain", "base_domains": ["a.example"]}]}, "plans": {"p@1": {}}}"#;
const RECORD: &str = r#"{"id": "t1", "slug": "acme", "plan": "p@1", "epoch": 5}"#;
const START: UnixMillis = UnixMillis::new(1_780_000_000_000);

fn isolate() -> Isolate {
    Isolate::new(&[("catalog", CATALOG), ("slug:acme", "t1"), ("tenant:t1", RECORD)])
}

fn refreshes(decision: &Decision) -> Vec<String> {
    let in_kv = |refresh: &Refresh| match refresh {
        Refresh::Snapshot(key) => key.in_kv(),
        Refresh::Lease { .. } => panic!("{refresh:?}"),
    };
    decision.extras().refresh.iter().map(in_kv).collect()
}

fn t1() -> SnapshotKey {
    SnapshotKey::Tenant(TenantId::parse("t1").unwrap())
}

#[test]
fn the_first_request_fetches_its_snapshots_and_the_next_fetches_nothing() {
    let mut isolate = isolate();
    assert_eq!(isolate.request("acme.a.example", START).code, Code::Allowed);
    let keys: Vec<_> = isolate.fetched.iter().map(SnapshotKey::in_kv).collect();
    assert_eq!(keys, ["catalog", "slug:acme", "tenant:t1"]);
    assert_eq!(isolate.request("acme.a.example", START.plus(1)).code, Code::Allowed);
    assert!(isolate.fetched.is_empty());
}

#[test]
fn a_snapshot_past_its_soft_age_is_refreshed_in_the_background() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    let young = isolate.request("acme.a.example", START.plus(SOFT_AGE_MS));
    assert!(young.extras().refresh.is_empty());
    let late = START.plus(SOFT_AGE_MS + 1);
    let old = isolate.request("acme.a.example", late);
    assert!(isolate.fetched.is_empty(), "nobody waits");
    assert_eq!(old.extras().refresh.len(), 3);
    assert_eq!(old.age_ms, SOFT_AGE_MS + 1);
    assert!(
        isolate.request("acme.a.example", late.plus(REFRESH_INTERVAL_MS)).extras().refresh.is_empty(),
        "the refresh is under way"
    );
    assert_eq!(isolate.request("acme.a.example", late.plus(REFRESH_INTERVAL_MS + 1)).extras().refresh.len(), 3);
    isolate.refresh(&old, late);
    let fresh = isolate.request("acme.a.example", late.plus(1));
    assert!(fresh.extras().refresh.is_empty());
    assert_eq!(fresh.age_ms, 1);
}

#[test]
fn a_snapshot_past_its_firm_age_is_fetched_first_and_serves_if_that_fails() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    isolate.request("acme.a.example", START.plus(FIRM_AGE_MS));
    assert!(isolate.fetched.is_empty(), "not yet");
    let late = START.plus(FIRM_AGE_MS + REFRESH_INTERVAL_MS + 1);
    isolate.request("acme.a.example", late);
    assert_eq!(isolate.fetched.len(), 3, "nobody asked for a while: what the store says by now comes first");

    // The store is down. Held snapshots serve until their hard age, and the store is asked again
    // once per interval.
    let end = late.plus(HARD_AGE_MS);
    let decision = isolate.request_without_store("acme.a.example", end).unwrap();
    assert_eq!((decision.code, isolate.fetched.len()), (Code::Allowed, 3));
    let decision = isolate.request_without_store("acme.a.example", end).unwrap();
    assert_eq!((decision.age_ms, isolate.fetched.len()), (HARD_AGE_MS, 0), "once for each, not at every request");
    assert!(isolate.request_without_store("acme.a.example", end.plus(1)).is_none(), "a day is enough");
    assert_eq!(isolate.fetched.len(), 1);
    isolate.request("acme.a.example", end.plus(1));
    assert_eq!(isolate.fetched.len(), 3);
}

#[test]
fn an_absent_name_is_remembered_for_a_bounded_time() {
    let mut isolate = isolate();
    assert_eq!(isolate.request("nobody.a.example", START).code, Code::TenantNotFound);
    assert_eq!(isolate.fetched.len(), 2);
    isolate.request("nobody.a.example", START.plus(NEGATIVE_AGE_MS));
    assert!(isolate.fetched.is_empty());
    isolate.request("nobody.a.example", START.plus(NEGATIVE_AGE_MS + 1));
    assert_eq!(isolate.fetched.len(), 1);
}

#[test]
fn older_altered_and_foreign_snapshots_are_rejected() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    let mut receive = |need: &SnapshotKey, text: &str| isolate.receive(need, Some(text), START);
    let older = receive(&t1(), &RECORD.replace("\"epoch\": 5", "\"epoch\": 4"));
    assert_eq!(older, Err(Rejected::Older { found: 4, held: 5 }));
    let older = receive(&SnapshotKey::Catalog, &CATALOG.replace("\"version\": 5", "\"version\": 4"));
    assert_eq!(older, Err(Rejected::Older { found: 4, held: 5 }));
    let changed = CATALOG.replace("\"p@1\": {}", "\"p@1\": {}, \"q@1\": {}");
    assert_eq!(receive(&SnapshotKey::Catalog, &changed), Err(Rejected::Changed(5)));
    assert!(matches!(receive(&SnapshotKey::Catalog, "{"), Err(Rejected::Problems(_))));
    assert_eq!(receive(&t1(), &RECORD.replace("t1", "t2")), Err(Rejected::Foreign));
    assert_eq!(isolate.receive(&SnapshotKey::Catalog, None, START), Err(Rejected::Absent));
    assert_eq!(isolate.request("acme.a.example", START).code, Code::Allowed);

    let suspended = RECORD.replace("\"epoch\": 5", "\"epoch\": 6, \"status\": \"suspended\"");
    isolate.receive(&t1(), Some(&suspended), START).unwrap();
    assert_eq!(isolate.request("acme.a.example", START).code, Code::TenantSuspended);
    isolate.receive(&t1(), None, START).unwrap();
    assert_eq!(isolate.request("acme.a.example", START).code, Code::TenantNotFound);
}

#[test]
fn a_flood_of_names_does_not_evict_snapshots_in_use() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    for index in 0..50_000 {
        isolate.request(&format!("flood-{index}.a.example"), START);
        if index % 1_000 == 0 {
            assert_eq!(isolate.request("acme.a.example", START).code, Code::Allowed);
            assert!(isolate.fetched.is_empty(), "after {index}");
        }
    }
}

#[test]
fn a_former_slug_leads_to_no_tenant() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    let renamed = RECORD.replace("\"epoch\": 5", "\"epoch\": 6").replace("\"slug\": \"acme\"", "\"slug\": \"acme2\"");
    isolate.receive(&t1(), Some(&renamed), START).unwrap();
    let mut refreshed = |after_ms| {
        let decision = isolate.request("acme.a.example", START.plus(after_ms));
        assert_eq!(decision.code, Code::TenantNotFound);
        refreshes(&decision)
    };
    // The stale entry is fetched again, but only once per interval, because a flood of requests for
    // the former slug must not cause a flood of fetches.
    assert!(refreshed(REFRESH_INTERVAL_MS).is_empty());
    assert_eq!(refreshed(REFRESH_INTERVAL_MS + 1), ["slug:acme"]);
    assert!(refreshed(REFRESH_INTERVAL_MS + 2).is_empty());
}

#[test]
fn a_request_that_fetches_still_asks_for_its_refreshes() {
    let mut isolate = isolate();
    isolate.request("acme.a.example", START);
    let late = START.plus(SOFT_AGE_MS + 1);
    let decision = isolate.request("nobody.a.example", late);
    assert_eq!(decision.extras().refresh, [Refresh::Snapshot(SnapshotKey::Catalog)]);
}

/// Two requests of one isolate, interleaved. A request takes local units before it waits for the
/// ledger, and gives them back if the ledger refuses.
#[test]
fn a_local_limit_and_the_ledger_consume_together_or_not_at_all() {
    let catalog = r#"{"version": 1, "resolution": {"strategies": [{"strategy": "header"}]},
        "routes": [{"path": "/", "limits": {"local": 1, "month": 1}}],
        "limits": {"local": {"kind": "rate", "window_ms": 1000, "mode": "local", "default": 1}, "month": {"kind": "quota", "period": "month", "default": 1}},
        "plans": {"p@1": {}}}"#;
    let mut driver = Driver::default();
    driver.put_catalog(catalog, START);
    driver.put_tenant(RECORD, START);
    let mut ledger = LedgerState::default();
    let later = START.plus(1_000);

    let first = charge(&mut driver, START).expect("the ledger is needed");
    assert_eq!(charge(&mut driver, START).unwrap_err(), Code::RateLimited, "the local limit is used up");
    let answer = ledger.answer(&driver.ledger_request(&first), START);
    assert!(driver.finish(first, Ok(&answer), START).allowed());

    let second = charge(&mut driver, later).expect("the local limit is whole again");
    let answer = ledger.answer(&driver.ledger_request(&second), later);
    assert_eq!(driver.finish(second, Ok(&answer), later).code, Code::QuotaExceeded);
    let third = charge(&mut driver, later).expect("the refusal gave the local unit back");
    let overloaded = Err(LedgerFailure::Overloaded);
    assert_eq!(driver.finish(third, overloaded, later).code, Code::LedgerUnavailable);
    assert!(charge(&mut driver, later).is_ok(), "so did the overload");
}

/// A request of `acme`, as far as it gets without the ledger.
fn charge(driver: &mut Driver, now: UnixMillis) -> Result<Pending, Code> {
    let headers = [("x-tenant-id", "acme")];
    let request = Request { path: "/", headers: &headers, ..Request::default() };
    match driver.decide(&request, &Ask::default(), now, |_, need| panic!("{need:?} is held")) {
        Stand::Done(decision) => Err(decision.code),
        Stand::Asks(pending) => Ok(pending),
        Stand::Waits(question) => panic!("nothing is leased: {question:?}"),
    }
}

/// An isolate that hears of a newer epoch fetches the record until it has it, but the number of
/// fetches is bounded, because the record may not exist.
#[test]
fn news_of_a_newer_epoch_refetches_a_record_once_per_interval() {
    let mut isolate = isolate();
    let root = TenantId::parse("t1").unwrap();
    assert_eq!(isolate.request("acme.a.example", START).code, Code::Allowed);
    isolate.hear_epochs(&root, &[("t1", 6), ("t2", 1)], START.plus(1));
    // The record was fetched a moment ago, so it serves. While it is behind, each interval allows
    // one more fetch.
    assert_eq!((isolate.request("acme.a.example", START.plus(2)).code, isolate.fetched.len()), (Code::Allowed, 0));
    for round in 1..4 {
        let now = START.plus(round * (REFRESH_INTERVAL_MS + 1) + 1);
        assert_eq!(isolate.request("acme.a.example", now).code, Code::Allowed);
        assert_eq!(isolate.fetched, [t1()], "round {round}");
        assert_eq!((isolate.request("acme.a.example", now.plus(1)).code, isolate.fetched.len()), (Code::Allowed, 0));
    }
    // `t2` does not exist, although the ledger has reported an epoch of it.
    assert_eq!(isolate.request_as("t2", 4, START.plus(60_000)).code, Code::TenantNotFound);
}

/// An event that affects the snapshots of an isolate.
#[derive(Debug, Clone, Copy)]
enum Event {
    Record { slug: &'static str, status: &'static str },
    Slug(Option<&'static str>),
    Catalog,
    Changed,
    ChangedSlug,
    DoubtAll,
    Later(u64),
}

fn happen(isolate: &mut Isolate, event: Event, epoch: u64, now: &mut UnixMillis) {
    let acme = SnapshotKey::Slug(Slug::parse("acme").unwrap());
    match event {
        Event::Record { slug, status } => {
            let text =
                format!(r#"{{"id": "t1", "slug": "{slug}", "plan": "p@1", "epoch": {epoch}, "status": "{status}"}}"#);
            isolate.receive(&t1(), Some(&text), *now).unwrap();
        }
        Event::Slug(id) => isolate.receive(&acme, id, *now).unwrap(),
        Event::Catalog => {
            let text = CATALOG.replace("\"version\": 5", &format!("\"version\": {epoch}"));
            isolate.receive(&SnapshotKey::Catalog, Some(&text), *now).unwrap();
        }
        Event::Changed => isolate.hear_change(&t1(), epoch, *now),
        Event::ChangedSlug => isolate.hear_change(&acme, epoch, *now),
        Event::DoubtAll => isolate.hear_gap(*now),
        Event::Later(ms) => *now = now.plus(ms),
    }
}

/// The outcome of a request to `acme`: a fetch, or the code, epoch and age of its decision.
fn outcome(isolate: &mut Isolate, now: UnixMillis) -> String {
    match isolate.step("acme.a.example", now) {
        Ok(decision) => {
            let epoch = decision.tenant.as_ref().map(|tenant| tenant.tenant().epoch.0);
            format!("{:?} {epoch:?} {}", decision.code, decision.age_ms)
        }
        Err(need) => format!("fetch {}", need.in_kv()),
    }
}

#[test]
fn a_cached_host_has_the_same_outcome_as_a_fresh_one() {
    let events = [
        Event::Record { slug: "acme", status: "active" },
        Event::Record { slug: "acme", status: "suspended" },
        Event::Record { slug: "acme", status: "deleted" },
        Event::Record { slug: "other", status: "active" },
        Event::Slug(Some("t1")),
        Event::Slug(Some("t2")),
        Event::Slug(None),
        Event::Catalog,
        Event::Changed,
        Event::ChangedSlug,
        Event::DoubtAll,
        Event::Later(1),
        Event::Later(SOFT_AGE_MS / 2),
    ];
    let mut random = 1_u64;
    let mut served = 0;
    for _ in 0..2_000 {
        let start = [Event::Catalog, Event::Slug(Some("t1")), Event::Record { slug: "acme", status: "active" }];
        let mut history: Vec<Event> = start.to_vec();
        let mut asked = Isolate::default();
        let mut now = START;
        for (epoch, event) in (5..).zip(start) {
            happen(&mut asked, event, epoch, &mut now);
        }
        for epoch in 8..16 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let event = events[(random >> 33) as usize % events.len()];
            history.push(event);
            // The request before the event fills the cache, which the event must invalidate.
            outcome(&mut asked, now);
            happen(&mut asked, event, epoch, &mut now);
            let found = outcome(&mut asked, now);
            let (mut anew, mut then) = (Isolate::default(), START);
            for (epoch, event) in (5..).zip(&history) {
                happen(&mut anew, *event, epoch, &mut then);
            }
            assert_eq!(found, outcome(&mut anew, then), "{history:?}");
            served += u32::from(found.starts_with("Allowed"));
        }
    }
    assert!(served > 1_000, "{served}");
}

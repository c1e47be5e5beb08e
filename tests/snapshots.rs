//! What an isolate keeps, for how long, and what it refuses: driven step by step, as an adapter would.

#![cfg(not(target_family = "wasm"))]

use tenantgate::gate::{Ask, Code, Decision, Exchange, Gate, Need, Progress, Rejected, SnapshotKey, Step};
use tenantgate::ledger::{LedgerFailure, LedgerResponse};
use tenantgate::model::bounds::{FIRM_AGE_MS, HARD_AGE_MS, NEGATIVE_AGE_MS, REFRESH_INTERVAL_MS, SOFT_AGE_MS};
use tenantgate::model::{HeardAt, TenantId, UnixMillis};
use tenantgate::resolve::{Custom, Request};

const CATALOG: &str = r#"{"version": 5, "resolution": {"strategies": [{"strategy": "subdomain", "base_domains": ["a.example"]}]}, "plans": {"p@1": {}}}"#;
const RECORD: &str = r#"{"id": "t1", "slug": "acme", "plan": "p@1", "epoch": 5}"#;
const START: UnixMillis = UnixMillis::new(1_780_000_000_000);

struct World {
    gate: Gate,
    fetched: Vec<Need>,
}

impl World {
    fn new() -> Self {
        Self { gate: Gate::default(), fetched: Vec::new() }
    }

    fn read(need: &Need) -> Option<&'static str> {
        match need {
            SnapshotKey::Catalog => Some(CATALOG),
            SnapshotKey::Slug(slug) if slug.as_str() == "acme" => Some("t1"),
            SnapshotKey::Tenant(id) if id.as_str() == "t1" => Some(RECORD),
            _ => None,
        }
    }

    /// Decides as an adapter does: fetches what is needed, and counts the fetches.
    fn decide(&mut self, host: &str, now: UnixMillis) -> Box<Decision> {
        self.fetched.clear();
        let request = Request { host, path: "/", custom: Custom::Nobody, ..Request::default() };
        loop {
            match self.gate.decide(&request, &Ask::default(), now) {
                Progress::Ready(Step::Decided(decision)) => return decision,
                Progress::Need(need) => {
                    self.gate.put_trusted(&need, Self::read(&need), now).unwrap();
                    self.fetched.push(need);
                }
                Progress::Ready(Step::Charge(_)) => panic!("the catalog has no limits"),
            }
        }
    }
}

#[test]
fn the_first_request_fetches_what_it_needs_and_the_next_nothing() {
    let mut world = World::new();
    assert_eq!(world.decide("acme.a.example", START).code, Code::Allowed);
    let keys: Vec<_> = world.fetched.iter().map(Need::key).collect();
    assert_eq!(keys, ["catalog", "slug:acme", "tenant:t1"]);
    assert_eq!(world.decide("acme.a.example", START.plus(1)).code, Code::Allowed);
    assert!(world.fetched.is_empty());
}

#[test]
fn soft_age_refreshes_behind_the_request_and_not_too_often() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    let young = world.decide("acme.a.example", START.plus(SOFT_AGE_MS));
    assert!(young.refresh.is_empty());
    let late = START.plus(SOFT_AGE_MS + 1);
    let old = world.decide("acme.a.example", late);
    assert!(world.fetched.is_empty(), "nobody waits");
    assert_eq!(old.refresh.len(), 3);
    assert_eq!(old.age_ms, SOFT_AGE_MS + 1);
    assert!(
        world.decide("acme.a.example", late.plus(REFRESH_INTERVAL_MS)).refresh.is_empty(),
        "the refresh is under way"
    );
    assert_eq!(world.decide("acme.a.example", late.plus(REFRESH_INTERVAL_MS + 1)).refresh.len(), 3);
    for need in &old.refresh {
        world.gate.put_trusted(need, World::read(need), late).unwrap();
    }
    let fresh = world.decide("acme.a.example", late.plus(1));
    assert!(fresh.refresh.is_empty());
    assert_eq!(fresh.age_ms, 1);
}

#[test]
fn what_is_old_is_fetched_first_and_serves_where_that_fails() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    world.decide("acme.a.example", START.plus(FIRM_AGE_MS));
    assert!(world.fetched.is_empty(), "not yet");
    let late = START.plus(FIRM_AGE_MS + REFRESH_INTERVAL_MS + 1);
    world.decide("acme.a.example", late);
    assert_eq!(world.fetched.len(), 3, "nobody asked for a while: what KV says by now comes first");

    // KV is down: what is held serves until it is too old, and KV is asked now and then.
    let mut asked = 0;
    let mut decide = |world: &mut World, now| loop {
        let request = Request { host: "acme.a.example", path: "/", ..Request::default() };
        match world.gate.decide(&request, &Ask::default(), now) {
            Progress::Ready(Step::Decided(decision)) => return Some(decision),
            Progress::Need(need) if world.gate.put_failure(&need, now) => asked += 1,
            _ => return None,
        }
    };
    let end = late.plus(HARD_AGE_MS);
    assert_eq!(decide(&mut world, end).unwrap().code, Code::Allowed);
    assert_eq!(decide(&mut world, end).unwrap().age_ms, HARD_AGE_MS);
    assert!(decide(&mut world, end.plus(1)).is_none(), "a day is enough");
    assert_eq!(asked, 3, "once for each, not at every request");
    world.decide("acme.a.example", end.plus(1));
    assert_eq!(world.fetched.len(), 3);
}

#[test]
fn absence_is_remembered_for_a_while() {
    let mut world = World::new();
    assert_eq!(world.decide("nobody.a.example", START).code, Code::TenantNotFound);
    assert_eq!(world.fetched.len(), 2);
    world.decide("nobody.a.example", START.plus(NEGATIVE_AGE_MS));
    assert!(world.fetched.is_empty());
    world.decide("nobody.a.example", START.plus(NEGATIVE_AGE_MS + 1));
    assert_eq!(world.fetched.len(), 1);
}

#[test]
fn publications_never_go_back() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    let id = TenantId::parse("t1").unwrap();
    let snapshots = &mut world.gate.snapshots;
    let older = snapshots.put_tenant(&id, Some(&RECORD.replace("\"epoch\": 5", "\"epoch\": 4")), START);
    assert_eq!(older, Err(Rejected::Older { found: 4, held: 5 }));
    assert_eq!(
        snapshots.put_catalog(&CATALOG.replace("\"version\": 5", "\"version\": 4"), START),
        Err(Rejected::Older { found: 4, held: 5 })
    );
    let changed = CATALOG.replace("\"p@1\": {}", "\"p@1\": {}, \"q@1\": {}");
    assert_eq!(snapshots.put_catalog(&changed, START), Err(Rejected::Changed(5)));
    assert!(matches!(snapshots.put_catalog("{", START), Err(Rejected::Problems(_))));
    assert_eq!(snapshots.put_tenant(&id, Some(&RECORD.replace("t1", "t2")), START), Err(Rejected::Foreign));
    assert_eq!(snapshots.put_answer(&SnapshotKey::Catalog, None, START), Err(Rejected::Absent));
    assert_eq!(world.decide("acme.a.example", START).code, Code::Allowed);

    let suspended = RECORD.replace("\"epoch\": 5", "\"epoch\": 6, \"status\": \"suspended\"");
    world.gate.snapshots.put_tenant(&id, Some(&suspended), START).unwrap();
    assert_eq!(world.decide("acme.a.example", START).code, Code::TenantSuspended);
    world.gate.snapshots.put_tenant(&id, None, START).unwrap();
    assert_eq!(world.decide("acme.a.example", START).code, Code::TenantNotFound);
}

#[test]
fn a_flood_of_names_does_not_push_out_who_is_in_use() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    for index in 0..50_000 {
        world.decide(&format!("flood-{index}.a.example"), START);
        if index % 1_000 == 0 {
            assert_eq!(world.decide("acme.a.example", START).code, Code::Allowed);
            assert!(world.fetched.is_empty(), "after {index}");
        }
    }
}

#[test]
fn a_name_that_was_given_up_leads_nowhere() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    let renamed = RECORD.replace("\"epoch\": 5", "\"epoch\": 6").replace("\"slug\": \"acme\"", "\"slug\": \"acme2\"");
    world.gate.snapshots.put_tenant(&TenantId::parse("t1").unwrap(), Some(&renamed), START).unwrap();
    let mut refreshed = |after_ms| {
        let decision = world.decide("acme.a.example", START.plus(after_ms));
        assert_eq!(decision.code, Code::TenantNotFound);
        decision.extras().refresh.iter().map(Need::key).collect::<Vec<_>>()
    };
    // The entry that led astray is fetched again, and not at every request: a flood of them must cost nothing.
    assert!(refreshed(REFRESH_INTERVAL_MS).is_empty());
    assert_eq!(refreshed(REFRESH_INTERVAL_MS + 1), ["slug:acme"]);
    assert!(refreshed(REFRESH_INTERVAL_MS + 2).is_empty());
}

#[test]
fn a_refresh_is_not_lost_where_the_request_has_to_fetch() {
    let mut world = World::new();
    world.decide("acme.a.example", START);
    let late = START.plus(SOFT_AGE_MS + 1);
    let decision = world.decide("nobody.a.example", late);
    assert_eq!(decision.extras().refresh, [SnapshotKey::Catalog]);
}

/// Two requests of one isolate, interleaved: what one took while it waited for the ledger goes back if that refuses.
#[test]
fn a_local_limit_and_the_ledger_consume_together_or_not_at_all() {
    use tenantgate::ledger::LedgerState;
    let catalog = r#"{"version": 1, "resolution": {"strategies": [{"strategy": "header"}]},
        "routes": [{"path": "/", "limits": {"local": 1, "month": 1}}],
        "limits": {"local": {"kind": "rate", "window_ms": 1000, "mode": "local", "default": 1}, "month": {"kind": "quota", "period": "month", "default": 1}},
        "plans": {"p@1": {}}}"#;
    let mut gate = Gate::default();
    gate.snapshots.put_catalog(catalog, START).unwrap();
    gate.snapshots.put(tenantgate::model::Tenant::parse(RECORD).unwrap(), START).unwrap();
    let headers = [("x-tenant-id", "acme")];
    let request = Request { path: "/", headers: &headers, ..Request::default() };
    let mut ledger = LedgerState::default();
    let (ask, later) = (Ask::default(), START.plus(1_000));

    let Progress::Ready(Step::Charge(first)) = gate.decide(&request, &ask, START) else {
        panic!("the ledger is needed")
    };
    let Progress::Ready(Step::Decided(second)) = gate.decide(&request, &ask, START) else {
        panic!("the local limit is used up")
    };
    assert_eq!(second.code, Code::RateLimited);
    let outcome = ledger.answer(&gate.order(&first), START);
    assert!(gate.finish(first, Ok(&outcome), HeardAt::now(START)).allowed());

    let Progress::Ready(Step::Charge(third)) = gate.decide(&request, &ask, later) else {
        panic!("the local limit is whole again")
    };
    let outcome = ledger.answer(&gate.order(&third), later);
    assert_eq!(gate.finish(third, Ok(&outcome), HeardAt::now(later)).code, Code::QuotaExceeded);
    let Progress::Ready(Step::Charge(fourth)) = gate.decide(&request, &ask, later) else {
        panic!("the refusal gave the local unit back")
    };
    assert_eq!(gate.finish(fourth, Err(LedgerFailure::Overloaded), HeardAt::now(later)).code, Code::LedgerUnavailable);
    assert!(matches!(gate.decide(&request, &ask, later), Progress::Ready(Step::Charge(_))), "so did the overload");
}

/// What a ledger tells of a record is believed, and looked for, and what is not there is not looked for without end.
#[test]
fn news_of_a_record_has_it_read_again_now_and_then() {
    let mut world = World::new();
    let root = TenantId::parse("t1").unwrap();
    assert_eq!(world.decide("acme.a.example", START).code, Code::Allowed);
    let news =
        LedgerResponse { newer: vec![("t1".into(), 6), ("t2".into(), 1)], cursor: 2, ..LedgerResponse::default() };
    world.gate.heard(&root, &Exchange::default(), Ok(&news), HeardAt::now(START.plus(1)));
    // It was read a moment ago: it serves, and is read again as soon as it may be, as long as it is behind.
    assert_eq!((world.decide("acme.a.example", START.plus(2)).code, world.fetched.len()), (Code::Allowed, 0));
    for round in 1..4 {
        let now = START.plus(round * (REFRESH_INTERVAL_MS + 1) + 1);
        assert_eq!(world.decide("acme.a.example", now).code, Code::Allowed);
        assert_eq!(world.fetched, [SnapshotKey::Tenant(root.clone())], "round {round}");
        assert_eq!((world.decide("acme.a.example", now.plus(1)).code, world.fetched.len()), (Code::Allowed, 0));
    }
    // `t2` is not there, whatever anybody has seen.
    let ask = Ask { tenant: Some("t2"), ..Ask::default() };
    let mut fetches = 0;
    let code = loop {
        match world.gate.decide(&Request::default(), &ask, START.plus(60_000)) {
            Progress::Ready(Step::Decided(decision)) => break decision.code,
            Progress::Need(need) => {
                fetches += 1;
                assert!(fetches < 5, "{need:?} is fetched without end");
                world.gate.put_trusted(&need, World::read(&need), START.plus(60_000)).unwrap();
            }
            Progress::Ready(Step::Charge(_)) => panic!("nothing is taken"),
        }
    };
    assert_eq!(code, Code::TenantNotFound);
}

/// Something that happens to what an isolate holds.
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

fn happen(gate: &mut Gate, event: Event, epoch: u64, now: &mut UnixMillis) {
    let (t1, acme) = (TenantId::parse("t1").unwrap(), tenantgate::model::Slug::parse("acme").unwrap());
    match event {
        Event::Record { slug, status } => {
            let text =
                format!(r#"{{"id": "t1", "slug": "{slug}", "plan": "p@1", "epoch": {epoch}, "status": "{status}"}}"#);
            gate.snapshots.put_tenant(&t1, Some(&text), *now).unwrap();
        }
        Event::Slug(id) => gate.snapshots.put_slug(acme, id.and_then(TenantId::parse), *now),
        Event::Catalog => {
            let text = CATALOG.replace("\"version\": 5", &format!("\"version\": {epoch}"));
            gate.snapshots.put_catalog(&text, *now).unwrap();
        }
        Event::Changed => {
            gate.changed(&SnapshotKey::Tenant(t1), epoch, *now);
        }
        Event::ChangedSlug => {
            gate.changed(&SnapshotKey::Slug(acme), epoch, *now);
        }
        Event::DoubtAll => gate.invalidate_all(*now),
        Event::Later(ms) => *now = now.plus(ms),
    }
}

/// What a request to `acme` comes to: a fetch, or who is served and how.
fn outcome(gate: &mut Gate, now: UnixMillis) -> String {
    let request = Request { host: "acme.a.example", path: "/", custom: Custom::Nobody, ..Request::default() };
    match gate.decide(&request, &Ask::default(), now) {
        Progress::Ready(Step::Decided(decision)) => {
            let epoch = decision.tenant.as_ref().map(|tenant| tenant.tenant().epoch.0);
            format!("{:?} {epoch:?} {}", decision.code, decision.age_ms)
        }
        Progress::Need(need) => format!("fetch {}", need.key()),
        Progress::Ready(Step::Charge(_)) => panic!("the catalog has no limits"),
    }
}

#[test]
fn a_host_that_was_asked_before_leads_where_it_would_lead_anew() {
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
        let mut asked = Gate::default();
        let mut now = START;
        for (epoch, event) in (5..).zip(start) {
            happen(&mut asked, event, epoch, &mut now);
        }
        for epoch in 8..16 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let event = events[(random >> 33) as usize % events.len()];
            history.push(event);
            // Asked before and after: what it has learnt must not outlast the event.
            outcome(&mut asked, now);
            happen(&mut asked, event, epoch, &mut now);
            let found = outcome(&mut asked, now);
            let (mut anew, mut then) = (Gate::default(), START);
            for (epoch, event) in (5..).zip(&history) {
                happen(&mut anew, *event, epoch, &mut then);
            }
            assert_eq!(found, outcome(&mut anew, then), "{history:?}");
            served += u32::from(found.starts_with("Allowed"));
        }
    }
    assert!(served > 1_000, "{served}");
}

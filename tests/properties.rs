//! Property tests: no input makes the core panic, and its guarantees hold for all inputs.

#![cfg(not(target_family = "wasm"))]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tenantgate::flags::{Murmur3, bucket};
use tenantgate::gate::{Ask, Code, LocalGate};
use tenantgate::ledger::{Charge, Counter, CounterOp, Hold, LedgerRequest, LedgerState, Meter};
use tenantgate::model::period::{Period, bounds};
use tenantgate::model::{Catalog, Slug, Tenant, TenantId, UnixMillis, parse_seed};
use tenantgate::resolve::{Attribute, EvalContext, Request, host};
use tenantgate::wire::{DecideBody, transcript};

fn order<'a>(charges: &[Charge<'a>]) -> LedgerRequest<'a> {
    LedgerRequest { charges: charges.iter().copied().collect(), ..LedgerRequest::default() }
}

fn demo() -> Value {
    serde_json::from_str(include_str!("../examples/demo.json")).unwrap()
}

fn demo_gate() -> LocalGate {
    let demo = demo();
    let mut gate = LocalGate::new(&demo["catalog"].to_string()).unwrap();
    for tenant in demo["tenants"].as_array().unwrap() {
        gate.put(Tenant::parse(&tenant.to_string()).unwrap()).unwrap();
    }
    gate
}

/// Text that resembles parts of requests, and arbitrary text.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "acme",
        "globex",
        ".",
        "..",
        "app.example.com",
        "localhost",
        "/t/",
        "/",
        "%2f",
        "%2e",
        "%",
        "\\",
        "@",
        ":",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "xn--",
        "ü",
        "\0",
        " ",
        ",",
        "?",
        "#",
        "_",
        "-",
        "A",
        "0x7f",
        "tenant=",
        "&",
        "=",
        "api",
        "webhooks",
        "\u{202e}",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat()), any::<String>()]
}

/// JSON of any shape, with member names that occur in documents.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        hostile().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let name = prop::sample::select(vec![
            "version",
            "resolution",
            "strategies",
            "strategy",
            "features",
            "limits",
            "plans",
            "routes",
            "id",
            "slug",
            "plan",
            "rules",
            "when",
            "value",
            "default",
            "kind",
            "window_ms",
            "limit",
            "overrides",
            "domains",
            "pro@1",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// The document with the value at `path` replaced.
fn damaged(mut document: Value, path: &[prop::sample::Index], by: Value) -> Value {
    let Some((step, rest)) = path.split_first() else { return by };
    match &mut document {
        Value::Object(members) if !members.is_empty() => {
            let key = members.keys().nth(step.index(members.len())).unwrap().clone();
            members[&key] = damaged(members[&key].take(), rest, by);
        }
        Value::Array(entries) if !entries.is_empty() => {
            let index = step.index(entries.len());
            entries[index] = damaged(entries[index].take(), rest, by);
        }
        _ => return by,
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_document_makes_a_parser_panic(document in any_json()) {
        let text = document.to_string();
        let _ = Catalog::parse(&text);
        let _ = Tenant::parse(&text);
        let _ = DecideBody::parse(&text);
        let _ = parse_seed(&text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = Catalog::parse(&text);
        let _ = Tenant::parse(&text);
        let _ = DecideBody::parse(&text);
    }

    #[test]
    fn a_damaged_document_is_rejected_with_paths_or_works(path in prop::collection::vec(any::<prop::sample::Index>(), 1..7), by in any_json()) {
        let text = damaged(demo(), &path, by).to_string();
        match parse_seed(&text) {
            Err(problems) => prop_assert!(!problems.0.is_empty() && problems.0.iter().all(|problem| problem.path.starts_with('$'))),
            Ok(tenantgate::model::Seed { catalog, tenants, .. }) => {
                let mut gate = LocalGate::with(tenantgate::gate::CompiledCatalog::new(catalog));
                for tenant in tenants {
                    let id = tenant.id.to_string();
                    gate.put(tenant).unwrap();
                    let ask = Ask { tenant: Some(&id), all_features: true, ..Ask::default() };
                    let _ = transcript(&gate.decide(&Request::default(), &ask, UnixMillis::new(1_780_000_000_000)));
                }
            }
        }
    }

    #[test]
    fn no_request_makes_the_gate_panic(host in hostile(), path in hostile(), query in hostile(), header in hostile(), method in hostile(), attribute in hostile(), number in any::<f64>(), now in any::<u64>()) {
        let headers = [("x-tenant-id", header.as_str())];
        let context = [("targeting_key", Attribute::Text(&attribute)), ("n", Attribute::Number(number))];
        let mut gate = demo_gate();
        for headers in [&headers[..], &[]] {
            let request = Request { method: &method, host: &host, path: &path, query: &query, headers, context: EvalContext::Named(&context), explain: true, ..Request::default() };
            let ask = Ask { all_features: true, ..Ask::default() };
            let decision = gate.decide(&request, &ask, UnixMillis::new(now));
            let _ = transcript(&decision);
            // A request without a tenant is allowed only on central and public routes.
            if decision.tenant.is_none() && decision.allowed() {
                let folded = path.replace("//", "/");
                prop_assert!(folded.contains("pricing") || folded.contains("well-known"), "{host} {path}");
            }
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_decision(host in hostile(), path in hostile(), now in 0..UnixMillis::MAX.get()) {
        let request = Request { host: &host, path: &path, explain: true, ..Request::default() };
        let decide = || transcript(&demo_gate().decide(&request, &Ask::default(), UnixMillis::new(now)));
        prop_assert_eq!(decide(), decide());
    }

    #[test]
    fn parsing_a_parsed_host_changes_nothing(text in hostile()) {
        if let Some(host) = host::parse(&text) {
            let again = host::parse(host.as_str());
            prop_assert_eq!(again.as_ref().map(host::Host::as_str), Some(host.as_str()));
            prop_assert!(host.as_str().len() <= 253 && host.as_str().is_ascii());
        }
    }

    #[test]
    fn parsed_names_match_their_patterns(text in "[a-zA-Z0-9_.@-]{0,70}") {
        if let Some(slug) = Slug::parse(&text) {
            prop_assert!(!slug.as_str().starts_with("xn--") && !slug.as_str().starts_with('-') && slug.as_str().len() <= 63);
        }
        if let Some(id) = TenantId::parse(&text) {
            prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        }
    }

    /// A rate allows `burst` units at once, and in any span of time at most burst + limit × span /
    /// window.
    #[test]
    fn a_rate_never_exceeds_its_limit_and_its_retry_times_are_exact(limit in 1_u64..200, burst in 1_u64..50, window_ms in 1_u64..100_000, gaps in prop::collection::vec(0_u64..5_000, 1..200)) {
        let meter = Meter::rate(limit, burst, window_ms);
        let (mut now, mut counter, mut admitted) = (1_780_000_000_000_u64, None, 0_u64);
        let start = now;
        for gap in gaps {
            now += gap;
            loop {
                let (verdict, next) = Counter::step(counter.as_ref(), meter, CounterOp::Take(1), UnixMillis::new(now));
                if !verdict.allowed {
                    // The request is allowed after `retry_after_ms`, and not a millisecond earlier.
                    let retry = verdict.retry_after_ms.unwrap();
                    prop_assert!(retry > 0);
                    prop_assert!(Counter::step(counter.as_ref(), meter, CounterOp::Take(1), UnixMillis::new(now + retry)).0.allowed);
                    prop_assert!(!Counter::step(counter.as_ref(), meter, CounterOp::Take(1), UnixMillis::new(now + retry - 1)).0.allowed);
                    break;
                }
                counter = Some(next);
                admitted += 1;
                let most = u128::from(burst) * u128::from(window_ms) + u128::from(limit) * u128::from(now - start);
                prop_assert!(u128::from(admitted) * u128::from(window_ms) <= most);
            }
        }
        // Each step takes units until a refusal, so at least the burst was admitted.
        prop_assert!(admitted >= burst);
    }

    #[test]
    fn counter_steps_never_panic_or_exceed_a_quota(ops in prop::collection::vec((0_u8..6, any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 1..40)) {
        let mut book = LedgerState::default();
        for (kind, limit, burst, span, cost, now) in ops {
            let now = UnixMillis::new(now);
            let meter = match kind {
                0 => Meter::rate(limit, burst, span),
                1 => Meter::Quota { limit: (limit % 3 > 0).then_some(limit), starts_ms: span, ends_ms: span.saturating_add(burst), over: false },
                2 => Meter::Gauge { limit: Some(limit), over: cost % 7 == 0 },
                3 => Meter::Window { limit: Some(limit), window_ms: span },
                4 => Meter::Concurrency { limit: Some(limit) },
                _ => Meter::Quota { limit: Some(limit), starts_ms: span, ends_ms: span.saturating_add(burst), over: true },
            };
            let op = match cost % 5 { 0 => CounterOp::Release(cost), 1 => CounterOp::Set(cost), 2 => CounterOp::Hold(cost), 3 => CounterOp::Settle(cost), _ => CounterOp::Take(cost) };
            let name = format!("t h{}", burst % 3);
            let outcome = book.answer(&LedgerRequest {
                hold: (cost % 5 == 2).then_some(Hold { name: &name, for_ms: limit, renewal: None }),
                settle: (cost % 5 == 3).then_some(&name),
                ..order(&[Charge { counter: "c", meter, op, shadow: false }])
            }, now);
            let verdict = outcome.verdicts[0];
            if verdict.allowed && kind == 1 && !matches!(op, CounterOp::Settle(_) | CounterOp::Release(_)) && outcome.seen.is_none() {
                prop_assert!(verdict.limit.is_none_or(|limit| verdict.used <= limit));
            }
        }
    }

    /// Compares a window with a log of all units. It never allows more than the limit in any
    /// window, and denies nothing that would fit if windows were a 32nd longer.
    #[test]
    fn a_window_never_exceeds_its_limit_and_its_retry_times_are_exact(limit in 1_u64..60, window_ms in 1_u64..100_000, gaps in prop::collection::vec((0_u64..4_000, 1_u64..4), 1..300)) {
        let meter = Meter::Window { limit: Some(limit), window_ms };
        let (mut now, mut counter, mut log) = (1_780_000_000_000_u64, None, Vec::<(u64, u64)>::new());
        let part_ms = window_ms.div_ceil(32);
        for (gap, cost) in gaps {
            now += gap;
            let (verdict, next) = Counter::step(counter.as_ref(), meter, CounterOp::Take(cost), UnixMillis::new(now));
            let within = |span: u64| log.iter().filter(|(at, _)| now - at < span).map(|(_, cost)| cost).sum::<u64>();
            if verdict.allowed {
                prop_assert!(within(window_ms) + cost <= limit, "{} and {cost} of {limit}", within(window_ms));
                log.push((now, cost));
            } else {
                prop_assert!(within(33 * part_ms) + cost > limit, "{} and {cost} of {limit} was denied", within(33 * part_ms));
                match verdict.retry_after_ms {
                    None => prop_assert!(cost > limit),
                    Some(retry) => {
                        prop_assert!(Counter::step(Some(&next), meter, CounterOp::Take(cost), UnixMillis::new(now + retry)).0.allowed);
                        prop_assert!(!Counter::step(Some(&next), meter, CounterOp::Take(cost), UnixMillis::new(now + retry - 1)).0.allowed);
                    }
                }
            }
            counter = Some(next);
        }
    }

    /// In any order of holds, renewals, settlements and expiries, the used units are the settled
    /// ones, and only open holds set units aside.
    #[test]
    fn every_hold_ends_by_settlement_or_at_its_end_time(steps in prop::collection::vec((0_u8..4, 0_u8..6, 1_u64..8, 0_u64..400), 1..80)) {
        let limit = 20;
        let quota = Meter::Quota { limit: Some(limit), starts_ms: 0, ends_ms: 10_000_000, over: false };
        let slots = Meter::Concurrency { limit: Some(3) };
        let mut book = LedgerState::default();
        let mut open: std::collections::BTreeMap<String, (u64, u64)> = std::collections::BTreeMap::new();
        let (mut now, mut used) = (1_000_u64, 0);
        for (what, name, units, gap) in steps {
            now += gap;
            open.retain(|_, (_, ends)| *ends > now);
            let name = format!("t {name}");
            let held: u64 = open.values().map(|(units, _)| units).sum();
            let charge = |op| Charge { counter: "t/quota", meter: quota, op, shadow: false };
            let slot = |op| Charge { counter: "t/slots", meter: slots, op, shadow: false };
            if what < 2 {
                let renews = what == 1;
                let hold = Some(Hold { name: &name, for_ms: 500, renewal: renews.then_some(0) });
                let outcome = book.answer(&LedgerRequest { hold, ..order(&[charge(CounterOp::Hold(units)), slot(CounterOp::Hold(1))]) }, UnixMillis::new(now));
                match open.get(&name) {
                    // A renewal takes what it lacks, and frees what it has too much. A refused one
                    // leaves the hold as it is.
                    Some((own, _)) if renews => {
                        prop_assert_eq!(outcome.seen, None);
                        prop_assert_eq!(outcome.verdicts.len(), 2);
                        prop_assert_eq!(outcome.allowed, units <= *own || used + held - own + units <= limit);
                    }
                    Some(_) => prop_assert!(outcome.allowed),
                    None => prop_assert_eq!(outcome.allowed, used + held + units <= limit && open.len() < 3),
                }
                if outcome.allowed && outcome.seen.is_none() {
                    prop_assert_eq!(outcome.ends_ms, Some(now + 500));
                    open.insert(name, (units, now + 500));
                }
            } else {
                let outcome = book.answer(&LedgerRequest { settle: Some(&name), ..order(&[charge(CounterOp::Settle(units))]) }, UnixMillis::new(now));
                prop_assert_eq!(outcome.lapsed, open.remove(&name).is_none());
                used += units;
            }
            let held: u64 = open.values().map(|(units, _)| units).sum();
            let dry_run = book.answer(&LedgerRequest { dry_run: true, ..order(&[charge(CounterOp::Take(0)), slot(CounterOp::Take(0))]) }, UnixMillis::new(now));
            prop_assert_eq!((dry_run.verdicts[0].used, dry_run.verdicts[1].used), (used + held, open.len() as u64));
        }
    }

    #[test]
    fn a_denial_consumes_nothing(limits in prop::collection::vec((1_u64..20, 0_u64..30), 1..6), rounds in 1_usize..20) {
        let mut book = LedgerState::default();
        let now = UnixMillis::new(1_000_000);
        let names: Vec<String> = (0..limits.len()).map(|index| format!("t/{index}")).collect();
        let charges: Vec<_> = limits.iter().zip(&names).map(|((limit, cost), counter)| {
            let meter = Meter::Quota { limit: Some(*limit), starts_ms: 0, ends_ms: 10_000_000, over: false };
            Charge { counter, meter, op: CounterOp::Take(*cost), shadow: false }
        }).collect();
        for _ in 0..rounds {
            let before: Vec<_> = names.iter().map(|name| book.get(name).cloned()).collect();
            let outcome = book.answer(&order(&charges), now);
            let after: Vec<_> = names.iter().map(|name| book.get(name).cloned()).collect();
            prop_assert_eq!(outcome.allowed, outcome.verdicts.iter().all(|verdict| verdict.allowed));
            if !outcome.allowed {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn a_period_contains_its_time_and_adjoins_the_next(anchor in 0_u64..4_102_444_800_000, now in 0_u64..4_102_444_800_000, index in 0_usize..5) {
        let period = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year][index];
        let (anchor, now) = (UnixMillis::new(anchor), UnixMillis::new(now));
        let (start, end) = bounds(period, anchor, now);
        prop_assert!(start <= now && now < end, "{start} {now} {end}");
        prop_assert_eq!(bounds(period, anchor, start), (start, end));
        let (next, _) = bounds(period, anchor, end);
        prop_assert_eq!(next, end);
    }

    #[test]
    fn rollouts_are_proportional(share in 1_u32..100, salt in "[a-z]{1,12}") {
        let inside = (0..2_000_u32).filter(|user| bucket(Murmur3::default().and(salt.as_bytes()).and(format!("user-{user}").as_bytes()).finish(), 100) < share).count();
        let expected = 20.0 * f64::from(share);
        // Five standard deviations of the binomial distribution. A fair hash stays within them.
        let deviation = 5.0 * (2_000.0 * f64::from(share) / 100.0 * (1.0 - f64::from(share) / 100.0)).sqrt();
        prop_assert!((f64::from(u32::try_from(inside).unwrap()) - expected).abs() <= deviation, "{inside} of 2000 at {share} %");
    }
}

/// Values of the reference implementation (SMHasher, `MurmurHash3_x86_32`, seed 0).
#[test]
fn hashes_match_the_reference_implementation() {
    for (text, expected) in
        [("", 0_u32), ("a", 0x3C25_69B2), ("abc", 0xB3DD_93FA), ("abcd", 0x43ED_676A), ("Hello, world!", 0xC036_3E43)]
    {
        assert_eq!(Murmur3::default().and(text.as_bytes()).finish(), expected, "{text}");
    }
}

#[test]
fn rollout_buckets_match_flagd() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/rollout/buckets.json")).unwrap();
    for vector in vectors["buckets"].as_array().unwrap() {
        let (key, user, total) = (
            vector[0].as_str().unwrap(),
            vector[1].as_str().unwrap(),
            u32::try_from(vector[2].as_u64().unwrap()).unwrap(),
        );
        let found = bucket(Murmur3::default().and(key.as_bytes()).and(user.as_bytes()).finish(), total);
        assert_eq!(json!(found), vector[3], "{key} {user}");
    }
}

#[test]
fn every_bound_of_requests_is_enforced() {
    use tenantgate::model::bounds::*;
    let mut gate = demo_gate();
    let mut code = |request: &Request<'_>| gate.decide(request, &Ask::default(), UnixMillis::new(0)).code;
    let base = Request { host: "acme.localhost", path: "/.well-known", ..Request::default() };

    let path = |bytes: usize| format!("/.well-known/{}", "a".repeat(bytes - 13));
    assert_eq!(code(&Request { path: &path(MAX_PATH_BYTES), ..base }), Code::Allowed);
    assert_eq!(code(&Request { path: &path(MAX_PATH_BYTES + 1), ..base }), Code::BadRequest);

    assert_eq!(code(&Request { query: &"a".repeat(MAX_QUERY_BYTES), ..base }), Code::Allowed);
    assert_eq!(code(&Request { query: &"a".repeat(MAX_QUERY_BYTES + 1), ..base }), Code::BadRequest);

    let header = "a".repeat(MAX_SIGNAL_BYTES + 1);
    let named = |name: &str| code(&Request { host: "localhost", path: "/", headers: &[("x-tenant-id", name)], ..base });
    assert_eq!([&header, &header[..MAX_SLUG_BYTES]].map(named), [Code::BadRequest, Code::TenantNotFound]);

    let name = |bytes: usize| format!("{}.{}", vec!["a"; 100].join("."), "b".repeat(bytes - 200));
    assert!(host::parse(&name(MAX_HOST_BYTES)).is_some() && host::parse(&name(MAX_HOST_BYTES + 1)).is_none());

    assert!(Slug::is_valid(&"a".repeat(MAX_SLUG_BYTES)) && !Slug::is_valid(&"a".repeat(MAX_SLUG_BYTES + 1)));
    assert!(
        TenantId::is_valid(&"a".repeat(MAX_TENANT_ID_BYTES))
            && !TenantId::is_valid(&"a".repeat(MAX_TENANT_ID_BYTES + 1))
    );

    let attributes: Vec<_> = (0..=MAX_ATTRIBUTES).map(|_| ("a", Attribute::Bool(true))).collect();
    assert_eq!(code(&Request { context: EvalContext::Named(&attributes[1..]), ..base }), Code::Allowed);
    assert_eq!(code(&Request { context: EvalContext::Named(&attributes), ..base }), Code::BadRequest);

    let spaces = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
    assert!(
        DecideBody::parse(&spaces(MAX_BODY_BYTES)).is_ok() && DecideBody::parse(&spaces(MAX_BODY_BYTES + 1)).is_err()
    );
    let bytes = |problems: tenantgate::model::Problems, max: usize| {
        problems.0.iter().any(|problem| problem.expected == format!("at most {max} bytes"))
    };
    assert!(bytes(Tenant::parse(&spaces(MAX_RECORD_BYTES + 1)).unwrap_err(), MAX_RECORD_BYTES));
    assert!(!bytes(Tenant::parse(&spaces(MAX_RECORD_BYTES)).unwrap_err(), MAX_RECORD_BYTES));
    assert!(bytes(Catalog::parse(&spaces(MAX_CATALOG_BYTES + 1)).unwrap_err(), MAX_CATALOG_BYTES));
    assert!(!bytes(Catalog::parse(&spaces(MAX_CATALOG_BYTES)).unwrap_err(), MAX_CATALOG_BYTES));
}

/// The bounds of documents. A value at its bound is accepted, and a larger one is rejected by name.
#[test]
fn every_bound_of_documents_is_enforced() {
    use tenantgate::model::bounds::*;
    let catalog = |changes: Value| {
        let mut catalog = json!({ "version": 1, "resolution": { "strategies": [{ "strategy": "header" }] } });
        catalog.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Catalog::parse(&catalog.to_string())
    };
    let keyed = |count: usize, prefix: &str, suffix: &str, value: Value| -> Value {
        (0..count)
            .map(|index| (format!("{prefix}{index}{suffix}"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let listed =
        |count: usize, value: &dyn Fn(usize) -> Value| -> Value { (0..count).map(value).collect::<Vec<_>>().into() };
    let feature = |changes: Value| catalog(json!({ "features": { "f": changes } }));
    let rule = |when: Value| json!({ "name": "r", "value": true, "when": when });
    type Case<'a> = (&'a str, usize, Box<dyn Fn(usize) -> Result<Catalog, tenantgate::model::Problems> + 'a>);
    let cases: Vec<Case<'_>> = vec![
        ("features", MAX_FEATURES, Box::new(|n| catalog(json!({ "features": keyed(n, "f", "", json!({})) })))),
        (
            "limits",
            MAX_LIMITS,
            Box::new(|n| catalog(json!({ "limits": keyed(n, "l", "", json!({ "kind": "gauge", "default": 1 })) }))),
        ),
        (
            "metrics",
            MAX_METRICS,
            Box::new(|n| catalog(json!({ "metrics": keyed(n, "m", "", json!({ "event": "e" })) }))),
        ),
        ("breakers", MAX_BREAKERS, Box::new(|n| catalog(json!({ "breakers": keyed(n, "b", "", json!({})) })))),
        ("cors", MAX_CORS, Box::new(|n| catalog(json!({ "cors": keyed(n, "c", "", json!({ "origins": ["*"] })) })))),
        (
            "cors.c.origins",
            MAX_CORS_ORIGINS,
            Box::new(|n| {
                catalog(
                    json!({ "cors": { "c": { "origins": (0..n).map(|i| format!("https://o{i}.example.com")).collect::<Vec<_>>() } } }),
                )
            }),
        ),
        ("plans", MAX_PLANS, Box::new(|n| catalog(json!({ "plans": keyed(n, "p", "@1", json!({})) })))),
        (
            "routes",
            MAX_ROUTES,
            Box::new(|n| catalog(json!({ "routes": listed(n, &|i| json!({ "path": format!("/{i}") })) }))),
        ),
        (
            "central_hosts",
            MAX_HOSTS,
            Box::new(|n| {
                catalog(
                    json!({ "resolution": { "strategies": [{ "strategy": "header" }], "central_hosts": listed(n, &|i| json!(format!("h{i}"))) } }),
                )
            }),
        ),
        ("variants", MAX_VARIANTS, Box::new(|n| feature(json!({ "variants": keyed(n, "v", "", json!(true)) })))),
        ("rules", MAX_RULES, Box::new(|n| feature(json!({ "rules": listed(n, &|_| rule(json!([]))) })))),
        (
            "when",
            MAX_CONDITIONS,
            Box::new(|n| {
                feature(json!({ "rules": [rule(listed(n, &|_| json!({ "attribute": "a", "op": "exists" })))] }))
            }),
        ),
        (
            "value",
            MAX_CONDITION_VALUES,
            Box::new(|n| {
                feature(
                    json!({ "rules": [rule(json!([{ "attribute": "a", "op": "in", "value": listed(n, &|i| json!(i)) }]))] }),
                )
            }),
        ),
        (
            "split",
            MAX_VARIANTS,
            Box::new(|n| {
                feature(
                    json!({ "rules": [{ "name": "r", "rollout": { "split": listed(n, &|_| json!({ "weight": 1, "value": true })) } }] }),
                )
            }),
        ),
    ];
    for (name, max, parse) in cases {
        assert_eq!(parse(max).err(), None, "{name} at {max}");
        let problems = parse(max + 1).expect_err(name).to_string();
        assert!(problems.contains(&format!("at most {max}")) && problems.contains(name), "{name}: {problems}");
    }
    let prerequisites = |n: usize| {
        let mut features = keyed(n, "g", "", json!({}));
        features["f"] = json!({ "requires": listed(n, &|i| json!(format!("g{i}"))) });
        catalog(json!({ "features": features }))
    };
    assert!(prerequisites(MAX_PREREQUISITES).is_ok() && prerequisites(MAX_PREREQUISITES + 1).is_err());
    let strategies = [json!({ "strategy": "header" }), json!({ "strategy": "header" })];
    assert!(
        catalog(json!({ "resolution": { "strategies": strategies } }))
            .unwrap_err()
            .to_string()
            .contains("each strategy once")
    );
    let cycle =
        json!({ "features": { "a": { "requires": ["b"] }, "b": { "requires": ["c"] }, "c": { "requires": ["a"] } } });
    assert_eq!(catalog(cycle).unwrap_err().0.len(), 1, "reported where the cycle closes");
    let chain = |n: usize| {
        let next = |i: usize| if i == 0 { json!({}) } else { json!({ "requires": [format!("g{}", i - 1)] }) };
        catalog(json!({ "features": (0..=n).map(|i| (format!("g{i}"), next(i))).collect::<Map<_, _>>() }))
    };
    assert!(chain(MAX_REQUIRED).is_ok());
    let long = chain(MAX_REQUIRED + 1).unwrap_err().to_string();
    assert!(long.contains(&format!("at most {MAX_REQUIRED} in all")), "{long}");
    // The maximum number of features, each with the maximum number of prerequisites. The test would
    // not end if features were visited more than once.
    let many = (0..MAX_FEATURES).map(|i| {
        let requires: Vec<_> = (1..=MAX_PREREQUISITES).map(|n| format!("g{}", (i + n) % MAX_FEATURES)).collect();
        (format!("g{i}"), json!({ "requires": requires }))
    });
    assert!(catalog(json!({ "features": many.collect::<Map<_, _>>() })).is_err());

    let tenant = |changes: Value| {
        let mut tenant = json!({ "id": "t", "slug": "t", "plan": "p@1" });
        tenant.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Tenant::parse(&tenant.to_string())
    };
    let domains = |n: usize| tenant(json!({ "domains": listed(n, &|i| json!({ "host": format!("h{i}.example") })) }));
    assert!(domains(MAX_DOMAINS).is_ok() && domains(MAX_DOMAINS + 1).is_err());
    let overrides = |n: usize| tenant(json!({ "overrides": listed(n, &|_| json!({ "feature": "f", "value": true })) }));
    assert!(overrides(MAX_OVERRIDES).is_ok() && overrides(MAX_OVERRIDES + 1).is_err());
    let addons = |n: usize| tenant(json!({ "addons": listed(n, &|i| json!(format!("a{i}"))) }));
    assert!(addons(MAX_ADDONS).is_ok() && addons(MAX_ADDONS + 1).is_err());
    let family = |n: usize| {
        let tenants = listed(n, &|i| {
            if i == 0 {
                json!({ "id": "t0", "slug": "t0", "plan": "p@1" })
            } else {
                json!({ "id": format!("t{i}"), "slug": format!("t{i}"), "parent": format!("t{}", i - 1) })
            }
        });
        parse_seed(&json!({ "catalog": { "version": 1, "resolution": { "strategies": [{ "strategy": "header" }] }, "plans": { "p@1": {} } }, "tenants": tenants }).to_string())
    };
    assert_eq!(family(MAX_HIERARCHY_DEPTH).err(), None);
    assert!(family(MAX_HIERARCHY_DEPTH + 1).unwrap_err().to_string().contains("generations"));
    // Quantities, times and names, at the bound and beyond it.
    let good = |what: &str,
                at: Result<Catalog, tenantgate::model::Problems>,
                past: Result<Catalog, tenantgate::model::Problems>| {
        assert_eq!(at.err(), None, "{what} at its bound");
        assert!(past.is_err(), "{what} beyond its bound");
    };
    let limit = |limit: Value| catalog(json!({ "limits": { "l": limit } }));
    let rate = |window: u64, allowed: u64| limit(json!({ "kind": "rate", "window_ms": window, "default": allowed }));
    good("a window", rate(MAX_WINDOW_MS, 1), rate(MAX_WINDOW_MS + 1, 1));
    good("a window, from below", rate(1, 1), rate(0, 1));
    good("a rate", rate(1, MAX_RATE), rate(1, MAX_RATE + 1));
    let burst =
        |burst: u64| limit(json!({ "kind": "rate", "window_ms": 1, "default": { "limit": 1, "burst": burst } }));
    good("a burst", burst(MAX_RATE), burst(MAX_RATE + 1));
    let quota = |allowed: u64| limit(json!({ "kind": "quota", "period": "day", "default": allowed }));
    good("a quantity", quota(MAX_QUANTITY), quota(MAX_QUANTITY + 1));
    let key = |bytes: usize| catalog(json!({ "features": { "k".repeat(bytes): {} } }));
    good("a key", key(MAX_KEY_BYTES), key(MAX_KEY_BYTES + 1));
    let nested = |depth: usize| {
        feature(json!({ "type": "json", "default": (0..depth).fold(json!(1), |inner, _| json!([inner])) }))
    };
    good("nesting", nested(MAX_JSON_DEPTH), nested(MAX_JSON_DEPTH + 1));
    let weight = |weight: u64| {
        feature(json!({ "rules": [{ "name": "r", "rollout": { "split": [{ "weight": weight, "value": true }] } }] }))
    };
    good("weights", weight(0x7FFF_FFFF), weight(0x8000_0000));
    good("weights, from below", weight(1), weight(0));
    let subdomain = |option: &str, n: usize| {
        let mut strategy = json!({ "strategy": "subdomain", "base_domains": ["a.example"] });
        strategy[option] = listed(n, &|i| json!(format!("h{i}.example")));
        catalog(json!({ "resolution": { "strategies": [strategy] } }))
    };
    good("base domains", subdomain("base_domains", MAX_HOSTS), subdomain("base_domains", MAX_HOSTS + 1));
    good("reserved labels", subdomain("reserved", MAX_HOSTS), subdomain("reserved", MAX_HOSTS + 1));
    let addons = |n: usize| catalog(json!({ "addons": keyed(n, "a", "", json!({})) }));
    good("add-ons", addons(MAX_PLANS), addons(MAX_PLANS + 1));
    let plan = |plan: Value| catalog(json!({ "limits": { "l": { "kind": "gauge" } }, "plans": { "p@1": plan } }));
    good("a plan that forgets a limit", plan(json!({ "limits": { "l": 1 } })), plan(json!({})));

    let by_token = |changes: Value| {
        let resolution = json!({ "strategies": [{ "strategy": "jwt" }] });
        catalog(json!({ "resolution": resolution, "issuers": changes }))
    };
    let issuer = |changes: Value| {
        let mut issuer = json!({ "issuer": "i", "audience": ["a"], "algorithms": ["HS256"], "tenants": "all", "keys": [{ "secret": "S" }] });
        issuer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        issuer
    };
    let issued = |changes: Value| by_token(json!({ "i": issuer(changes) }));
    let issuers = |n: usize| {
        let named = |i: usize| (format!("i{i}"), issuer(json!({ "issuer": format!("i{i}") })));
        by_token((0..n).map(named).collect::<serde_json::Map<_, _>>().into())
    };
    good("issuers", issuers(MAX_ISSUERS), issuers(MAX_ISSUERS + 1));
    let of = |name: &str, n: usize, value: &dyn Fn(usize) -> Value| issued(json!({ name: listed(n, value) }));
    let text = |i: usize| json!(format!("t{i}"));
    good("audiences", of("audience", MAX_AUDIENCES, &text), of("audience", MAX_AUDIENCES + 1, &text));
    good("named tenants", of("tenants", MAX_NAMED_TENANTS, &text), of("tenants", MAX_NAMED_TENANTS + 1, &text));
    let secret = |i: usize| json!({ "secret": "S", "kid": format!("k{i}") });
    good("keys of an issuer", of("keys", MAX_ISSUER_KEYS, &secret), of("keys", MAX_ISSUER_KEYS + 1, &secret));
    let sized = |name: &str, bytes: usize| issued(json!({ name: "x".repeat(bytes) }));
    for (name, max) in [("issuer", MAX_URL_BYTES), ("typ", MAX_CLAIM_BYTES), ("tenant_claim", MAX_CLAIM_BYTES)] {
        good(name, sized(name, max), sized(name, max + 1));
        good(name, sized(name, 1), sized(name, 0));
    }
    let kid = |bytes: usize| issued(json!({ "keys": [{ "secret": "S", "kid": "k".repeat(bytes) }] }));
    good("a kid", kid(MAX_KEY_ID_BYTES), kid(MAX_KEY_ID_BYTES + 1));
    let leeway = |ms: u64| issued(json!({ "leeway_ms": ms }));
    good("leeway", leeway(MAX_LEEWAY_MS), leeway(MAX_LEEWAY_MS + 1));
    let url = |bytes: usize| {
        let start = "https://id.example/";
        let url = format!("{start}{}", "k".repeat(bytes - start.len()));
        let mut published = issuer(json!({ "algorithms": ["EdDSA"], "jwks_url": url }));
        published.as_object_mut().unwrap().remove("keys");
        by_token(json!({ "i": published }))
    };
    good("a URL of keys", url(MAX_URL_BYTES), url(MAX_URL_BYTES + 1));
    let scoped = |n: usize, bytes: usize| {
        let scope = |i: usize| json!(format!("{i:0>bytes$}"));
        let resolution = json!({ "strategies": [{ "strategy": "api_key" }] });
        catalog(json!({ "resolution": resolution, "routes": [{ "path": "/", "scopes": listed(n, &scope) }] }))
    };
    good("scopes", scoped(MAX_SCOPES, 4), scoped(MAX_SCOPES + 1, 4));
    good("a scope", scoped(1, MAX_SCOPE_BYTES), scoped(1, MAX_SCOPE_BYTES + 1));

    let many = keyed(MAX_PROBLEMS + 50, "unknown", "", json!(1));
    assert_eq!(catalog(many).unwrap_err().0.len(), MAX_PROBLEMS + 1);
}

/// The bounds of one decision: features, charges, and the length of an attribute.
#[test]
fn every_bound_of_decisions_is_enforced() {
    use tenantgate::model::bounds::*;
    let now = UnixMillis::new(0);
    let limits: serde_json::Map<_, _> =
        (0..=MAX_CHARGES).map(|i| (format!("l{i}"), json!({ "kind": "gauge", "default": 9 }))).collect();
    let long = "a".repeat(MAX_ATTRIBUTE_BYTES);
    let rule = json!({ "name": "r", "value": true, "when": [{ "attribute": "a", "op": "starts_with", "value": "a" }] });
    let catalog = json!({
        "version": 1, "resolution": { "strategies": [{ "strategy": "header" }] },
        "limits": limits, "features": { "f": { "rules": [rule] } }, "plans": { "p@1": {} },
    });
    let mut gate = LocalGate::new(&catalog.to_string()).unwrap();
    gate.put(Tenant::parse(r#"{"id": "t", "slug": "t", "plan": "p@1"}"#).unwrap()).unwrap();
    let names: Vec<String> = (0..=MAX_CHARGES).map(|i| format!("l{i}")).collect();
    let charges: Vec<_> = names.iter().map(|name| (name.as_str(), CounterOp::Take(1))).collect();
    let mut ask = |ask: Ask<'_>, value: &str| {
        let context = [("a", Attribute::Text(value))];
        gate.decide(
            &Request { context: EvalContext::Named(&context), ..Request::default() },
            &Ask { tenant: Some("t"), ..ask },
            now,
        )
    };
    assert_eq!(ask(Ask { limits: &charges[1..], ..Ask::default() }, "").code, Code::Allowed);
    assert_eq!(ask(Ask { limits: &charges, ..Ask::default() }, "").code, Code::BadRequest);
    let features = vec!["f"; MAX_ASKED_FEATURES + 1];
    assert_eq!(ask(Ask { features: &features[1..], ..Ask::default() }, "").code, Code::Allowed);
    assert_eq!(ask(Ask { features: &features, ..Ask::default() }, "").code, Code::BadRequest);
    let f = Ask { features: &["f"], ..Ask::default() };
    assert!(ask(f, &long).features[0].enabled, "an attribute at its bound is evaluated");
    assert!(!ask(f, &format!("{long}a")).features[0].enabled, "a longer attribute counts as absent");
}

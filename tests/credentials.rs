//! Credentials in time: what is fetched when, how long it is believed, and that nothing else opens a door.

#![cfg(not(target_family = "wasm"))]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac as _};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use tenantgate::gate::{Ask, Code, Decision, Gate, LocalGate, Need, Rejected, Step};
use tenantgate::model::bounds::*;
use tenantgate::model::{ApiKey, Environment, IssuedKey, Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

const START: UnixMillis = UnixMillis::new(1_780_000_000_000);
const URL: &str = "https://id.example.com/keys";
const SECRET: &str = "a-secret-of-at-least-32-bytes-in-all";

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token by a signature of any kind.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

fn seconds(at: UnixMillis) -> u64 {
    at.get() / 1_000
}

fn claims(iss: &str, tenant: &str) -> Value {
    json!({ "iss": iss, "aud": "api", "tenant_id": tenant, "iat": seconds(START), "exp": seconds(START) + 86_400 * 7, "scope": "read" })
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn by(seed: u8, kid: &str, claims: &Value) -> String {
    token(&json!({ "alg": "EdDSA", "kid": kid }), claims, |signed| key(seed).sign(signed).to_vec())
}

fn by_secret(secret: &str, claims: &Value) -> String {
    token(&json!({ "alg": "HS256" }), claims, |signed| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed);
        mac.finalize().into_bytes().to_vec()
    })
}

fn jwks(keys: &[(u8, &str)]) -> String {
    let jwk = |&(seed, kid): &(u8, &str)| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(key(seed).verifying_key().as_bytes()) });
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

fn issue(tenant: &str, seed: u8) -> IssuedKey {
    let mut entropy = [0; 96];
    entropy[..32].copy_from_slice(&Sha256::digest([seed, 0]));
    entropy[32..64].copy_from_slice(&Sha256::digest([seed, 1]));
    entropy[64..].copy_from_slice(&Sha256::digest([seed, 2]));
    ApiKey::issue(TenantId::parse(tenant).unwrap(), Environment::Live, &entropy, START).unwrap()
}

fn record(issued: &IssuedKey) -> Value {
    tenantgate::wire::api_key_record(&issued.record)
}

fn catalog(version: u64) -> Value {
    json!({
        "version": version,
        "resolution": { "strategies": [{ "strategy": "jwt" }, { "strategy": "api_key" }, { "strategy": "header" }] },
        "issuers": {
            "main": { "issuer": "main", "audience": ["api"], "algorithms": ["EdDSA"], "tenants": "all", "jwks_url": URL },
            "own": { "issuer": "own", "audience": ["api"], "algorithms": ["HS256"], "tenants": "all", "keys": [{ "secret": "JWT_SECRET" }] },
        },
        "plans": { "p@1": {} },
    })
}

/// An isolate, and what it can fetch.
struct World {
    gate: Gate,
    catalog: Value,
    published: Option<String>,
    secret: Option<&'static str>,
    keys: BTreeMap<String, Value>,
    fetched: Vec<Need>,
}

enum PresentedCredential<'a> {
    Token(&'a str),
    Key(&'a str),
}

impl World {
    fn new() -> Self {
        Self {
            gate: Gate::default(),
            catalog: catalog(1),
            published: Some(jwks(&[(1, "k1")])),
            secret: Some(SECRET),
            keys: BTreeMap::new(),
            fetched: Vec::new(),
        }
    }

    fn answer(&mut self, need: &Need, now: UnixMillis) {
        let text = match need {
            Need::Catalog => Some(self.catalog.to_string()),
            Need::Tenant(id) => {
                Some(json!({ "id": id.as_str(), "slug": id.as_str().replace("t_", ""), "plan": "p@1" }).to_string())
            }
            Need::Keys(_) => self.published.clone(),
            Need::Secret(_) => self.secret.map(String::from),
            Need::ApiKey(id) => self.keys.get(id.as_str()).map(Value::to_string),
            _ => None,
        };
        self.gate.snapshots.put_answer(need, text.as_deref(), now).unwrap();
    }

    /// Decides as an adapter does; what had to be waited for is noted, what is asked for behind the request is fetched.
    fn decide(&mut self, shown: &PresentedCredential<'_>, now: UnixMillis) -> Box<Decision> {
        let decision = self.decide_alone(shown, now);
        for need in &decision.refresh {
            self.answer(need, now);
        }
        decision
    }

    fn decide_alone(&mut self, shown: &PresentedCredential<'_>, now: UnixMillis) -> Box<Decision> {
        let bearer;
        let headers = [match shown {
            PresentedCredential::Token(token) => {
                bearer = format!("Bearer {token}");
                ("authorization", bearer.as_str())
            }
            PresentedCredential::Key(key) => ("x-api-key", *key),
        }];
        let request = Request { path: "/", headers: &headers, ..Request::default() };
        self.fetched.clear();
        loop {
            match self.gate.decide(&request, &Ask::default(), now) {
                Step::Done(decision) => return decision,
                Step::Fetch(need) => {
                    self.answer(&need, now);
                    self.fetched.push(need);
                }
                Step::Charge(_) => panic!("the catalog has no limits"),
            }
        }
    }

    fn code(&mut self, shown: &PresentedCredential<'_>, now: UnixMillis) -> Code {
        self.decide(shown, now).code
    }

    fn fetched_keys(&self) -> bool {
        self.fetched.iter().any(|need| matches!(need, Need::Keys(_)))
    }
}

#[test]
fn published_keys_are_fetched_once_and_refreshed_behind_the_request() {
    let mut world = World::new();
    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    assert_eq!(world.code(&good, START), Code::Allowed);
    assert!(world.fetched_keys());
    assert_eq!(world.code(&good, START.plus(JWKS_SOFT_AGE_MS)), Code::Allowed);
    assert!(world.fetched.is_empty());
    // What the issuer has withdrawn is not believed because nobody asked for long.
    let mut idle = World::new();
    idle.decide(&good, START);
    idle.published = Some(jwks(&[(2, "k2")]));
    assert_eq!(idle.decide_alone(&good, START.plus(JWKS_FIRM_AGE_MS)).code, Code::Allowed);
    assert_eq!(idle.code(&good, START.plus(JWKS_FIRM_AGE_MS + REFRESH_INTERVAL_MS + 1)), Code::Unauthenticated);
    let late = world.decide_alone(&good, START.plus(JWKS_SOFT_AGE_MS + 1));
    assert!(world.fetched.is_empty(), "nobody waits");
    assert_eq!(late.refresh.iter().filter(|need| matches!(need, Need::Keys(_))).count(), 1);
}

#[test]
fn whatever_names_tokens_invent_keys_are_fetched_once_a_cooldown() {
    let mut world = World::new();
    assert_eq!(world.code(&PresentedCredential::Token(&by(1, "k1", &claims("main", "t_acme"))), START), Code::Allowed);
    let mut fetches = 0;
    for step in 0..2_000 {
        let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{step}") });
        let unknown = token(&header, &claims("main", "t_victim"), |_| vec![1; 64]);
        let decision = world.decide(&PresentedCredential::Token(&unknown), START.plus(step * 100));
        assert_eq!(decision.code, Code::Unauthenticated);
        fetches += usize::from(world.fetched_keys());
    }
    // 200 seconds hold six cooldowns of more than 30.
    assert_eq!(fetches, 6);
}

#[test]
fn a_new_key_is_found_by_the_first_token_that_names_it() {
    let mut world = World::new();
    world.decide(&PresentedCredential::Token(&by(1, "k1", &claims("main", "t_acme"))), START);
    world.published = Some(jwks(&[(1, "k1"), (2, "k2")]));
    let new = by(2, "k2", &claims("main", "t_acme"));
    assert_eq!(world.code(&PresentedCredential::Token(&new), START.plus(JWKS_COOLDOWN_MS)), Code::Unauthenticated);
    assert_eq!(world.code(&PresentedCredential::Token(&new), START.plus(JWKS_COOLDOWN_MS + 1)), Code::Allowed);
}

#[test]
fn an_issuer_that_is_down_is_believed_for_a_bounded_time() {
    let mut world = World::new();
    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    world.decide(&good, START);
    world.published = None;
    assert_eq!(world.code(&good, START.plus(JWKS_HARD_AGE_MS)), Code::Allowed);
    let late = START.plus(JWKS_HARD_AGE_MS + JWKS_COOLDOWN_MS + 1);
    assert_eq!(world.code(&good, late), Code::IssuerUnavailable);
    assert!(world.fetched_keys());
    assert_eq!(world.code(&good, late.plus(JWKS_COOLDOWN_MS)), Code::IssuerUnavailable);
    assert!(!world.fetched_keys(), "it is not asked again at every request");
    world.published = Some(jwks(&[(1, "k1")]));
    assert_eq!(world.code(&good, late.plus(JWKS_COOLDOWN_MS + 1)), Code::Allowed);
}

#[test]
fn a_verified_token_is_believed_as_long_as_the_keys_that_did_it() {
    let mut world = World::new();
    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    world.decide(&good, START);
    // The same keys in another order change nothing for it; without its key, it is nobody's.
    world.gate.snapshots.put_keys(URL, &jwks(&[(2, "k2"), (1, "k1")]), START.plus(1)).unwrap();
    assert_eq!(world.code(&good, START.plus(2)), Code::Allowed);
    world.gate.snapshots.put_keys(URL, &jwks(&[(2, "k2")]), START.plus(3)).unwrap();
    world.published = Some(jwks(&[(2, "k2")]));
    assert_eq!(world.code(&good, START.plus(4)), Code::Unauthenticated);
    // Nor does another key under the same name do.
    world.gate.snapshots.put_keys(URL, &jwks(&[(2, "k1")]), START.plus(5)).unwrap();
    assert_eq!(world.code(&good, START.plus(6)), Code::Unauthenticated);
}

#[test]
fn a_verified_token_ends_when_it_says_and_with_its_issuer() {
    let mut world = World::new();
    let mut short = claims("main", "t_acme");
    short["exp"] = json!(seconds(START) + 60);
    let short = by(1, "k1", &short);
    let short = PresentedCredential::Token(&short);
    assert_eq!(world.code(&short, START), Code::Allowed);
    let end = START.plus(60_000 + DEFAULT_LEEWAY_MS);
    assert_eq!(world.code(&short, UnixMillis::new(end.get() - 1)), Code::Allowed);
    assert_eq!(world.code(&short, end), Code::Unauthenticated);

    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    assert_eq!(world.code(&good, START), Code::Allowed);
    let mut without = catalog(2);
    without["issuers"].as_object_mut().unwrap().remove("main");
    world.gate.snapshots.put_catalog(&without.to_string(), START).unwrap();
    assert_eq!(world.code(&good, START), Code::Unauthenticated);
}

#[test]
fn secrets_come_from_the_adapter_and_what_they_signed_goes_with_them() {
    let mut world = World::new();
    let good = by_secret(SECRET, &claims("own", "t_acme"));
    let good = PresentedCredential::Token(&good);
    assert_eq!(world.code(&good, START), Code::Allowed);
    assert!(world.fetched.contains(&Need::Secret("JWT_SECRET".into())));
    assert_eq!(
        world.code(
            &PresentedCredential::Token(&by_secret("another-secret-of-32-bytes-and-more", &claims("own", "t_acme"))),
            START
        ),
        Code::Unauthenticated
    );
    world.gate.snapshots.put_secret("JWT_SECRET", Some("another-secret-of-32-bytes-and-more"));
    world.gate.snapshots.put_catalog(&catalog(2).to_string(), START).unwrap();
    assert_eq!(world.code(&good, START), Code::Unauthenticated);

    for unusable in [None, Some("too short")] {
        let mut world = World { secret: unusable, ..World::new() };
        let by_nothing = by_secret(unusable.unwrap_or_default(), &claims("own", "t_acme"));
        assert_eq!(world.code(&PresentedCredential::Token(&by_nothing), START), Code::IssuerUnavailable, "{unusable:?}");
    }
}

#[test]
fn a_revoked_key_works_no_longer_than_its_record_is_believed() {
    let mut world = World::new();
    let issued = issue("t_acme", 1);
    let id = issued.record.id.as_str().to_owned();
    world.keys.insert(id.clone(), record(&issued));
    let key = PresentedCredential::Key(&issued.text);
    assert_eq!(world.code(&key, START), Code::Allowed);
    let mut revoked = record(&issued);
    revoked["revoked_at"] = json!(START.plus(1).to_string());
    revoked["epoch"] = json!(2);
    world.keys.insert(id.clone(), revoked.clone());
    // A quiet isolate: nothing was refreshed meanwhile.
    assert_eq!(world.code(&key, START.plus(KEY_SOFT_AGE_MS)), Code::Allowed);
    assert_eq!(world.decide_alone(&key, START.plus(KEY_HARD_AGE_MS)).code, Code::Allowed);
    assert_eq!(world.code(&key, START.plus(KEY_HARD_AGE_MS + 1)), Code::Unauthenticated);
    assert_eq!(world.fetched, [Need::ApiKey(issued.record.id.clone())]);
    // What was revoked does not come back with an older record.
    let older = world.gate.snapshots.put_api_key(&issued.record.id, Some(&record(&issued).to_string()), START);
    assert_eq!(older, Err(Rejected::Older { found: 1, held: 2 }));

    // A busy one hears of it sooner.
    let mut busy = World::new();
    busy.keys.insert(id.clone(), record(&issued));
    busy.decide(&key, START);
    busy.keys.insert(id, revoked);
    assert_eq!(busy.code(&key, START.plus(KEY_SOFT_AGE_MS + 1)), Code::Allowed);
    assert_eq!(busy.code(&key, START.plus(KEY_SOFT_AGE_MS + 2)), Code::Unauthenticated);
}

#[test]
fn a_replaced_key_works_beside_the_new_one_until_its_time() {
    let (old, new) = (issue("t_acme", 1), issue("t_acme", 2));
    let until = START.plus(1_000);
    let mut world = World::new();
    let retired = IssuedKey { record: old.record.clone().retired(until), ..old };
    world.keys.insert(retired.record.id.as_str().to_owned(), record(&retired));
    world.keys.insert(new.record.id.as_str().to_owned(), record(&new));
    for (at, left, right) in [(START, Code::Allowed, Code::Allowed), (until, Code::Unauthenticated, Code::Allowed)] {
        assert_eq!(world.code(&PresentedCredential::Key(&retired.text), at), left);
        assert_eq!(world.code(&PresentedCredential::Key(&new.text), at), right);
    }
    // Retiring never gives a key more time than it had.
    assert_eq!(retired.record.retired(until.plus(9_000)).expires_at, Some(until));
}

#[test]
fn unknown_keys_are_remembered_for_a_while_and_push_out_nobody() {
    let mut world = World::new();
    let issued = issue("t_acme", 1);
    world.keys.insert(issued.record.id.as_str().to_owned(), record(&issued));
    let unknown = issue("t_acme", 2);
    assert_eq!(world.code(&PresentedCredential::Key(&unknown.text), START), Code::Unauthenticated);
    assert!(!world.fetched.is_empty());
    world.decide(&PresentedCredential::Key(&unknown.text), START.plus(NEGATIVE_AGE_MS));
    assert!(world.fetched.is_empty());
    world.decide(&PresentedCredential::Key(&unknown.text), START.plus(NEGATIVE_AGE_MS + 1));
    assert!(!world.fetched.is_empty());

    // What nobody issued is told by its checksum, and not looked up.
    let made_up = format!("{}000000", &issue("t_acme", 3).text[..56]);
    assert_eq!(world.code(&PresentedCredential::Key(&made_up), START), Code::Unauthenticated);
    assert!(world.fetched.is_empty());

    assert_eq!(world.code(&PresentedCredential::Key(&issued.text), START), Code::Allowed);
    for index in 0..2 * MAX_KEY_CACHE_BYTES / 256 {
        let id = format!("{index:016}");
        let parsed = tenantgate::model::KeyId::parse(&id).unwrap();
        world.gate.snapshots.put_api_key(&parsed, None, START).unwrap();
        if index % 1_000 == 0 {
            assert_eq!(world.code(&PresentedCredential::Key(&issued.text), START), Code::Allowed);
            assert!(world.fetched.is_empty(), "after {index}");
        }
    }
}

#[test]
fn a_flood_of_good_tokens_does_not_push_out_who_is_in_use() {
    let mut world = World::new();
    let of = |subject: usize| {
        let mut claims = claims("own", "t_acme");
        claims["sub"] = json!(subject.to_string());
        by_secret(SECRET, &claims)
    };
    // That every one of them is believed, more than are remembered, is what can be seen from here.
    for subject in 0..MAX_CACHED_TOKENS + 100 {
        assert_eq!(world.code(&PresentedCredential::Token(&of(subject)), START), Code::Allowed, "{subject}");
    }
    assert_eq!(world.code(&PresentedCredential::Token(&of(0)), START), Code::Allowed);
}

/// What is refused costs no more than what is allowed: a bad signature is judged once, and bad signatures of one issuer have a budget.
#[test]
fn a_refused_token_is_judged_once_and_refusals_have_a_budget() {
    let mut world = World::new();
    let of = |secret: &str, subject: usize| {
        let mut claims = claims("own", "t_acme");
        claims["sub"] = json!(subject.to_string());
        by_secret(secret, &claims)
    };
    let (known, other) = (of(SECRET, 0), of("another secret of thirty-two bytes", 0));
    assert_eq!(world.code(&PresentedCredential::Token(&known), START), Code::Allowed);
    // The very same text, however often: it takes nothing of the budget.
    for _ in 0..1_000 {
        assert_eq!(world.code(&PresentedCredential::Token(&other), START), Code::Unauthenticated);
    }
    let bad = |subject| of("another secret of thirty-two bytes", subject);
    let judged = (1..1_000)
        .take_while(|i| world.code(&PresentedCredential::Token(&bad(*i)), START) == Code::Unauthenticated)
        .count();
    assert!((100..500).contains(&judged), "{judged} were judged");
    let busy = world.decide(&PresentedCredential::Token(&bad(5_000)), START);
    assert_eq!((busy.code, busy.retry_after_ms.is_some_and(|ms| ms > 0)), (Code::RateLimited, true));
    // Whoever was verified before is not kept waiting, nor are tokens of other issuers.
    assert_eq!(world.code(&PresentedCredential::Token(&known), START), Code::Allowed);
    assert_eq!(world.code(&PresentedCredential::Token(&by(1, "k1", &claims("main", "t_acme"))), START), Code::Allowed);
    // It passes by itself, and good tokens take nothing of it.
    let later = START.plus(1_000);
    for subject in 10_000..10_500 {
        assert_eq!(world.code(&PresentedCredential::Token(&of(SECRET, subject)), later), Code::Allowed);
    }
    assert_eq!(world.code(&PresentedCredential::Token(&bad(6_000)), later), Code::Unauthenticated);
}

/// What a request may show, and for whom it is good.
#[derive(Debug, Clone)]
struct Exhibit {
    header: &'static str,
    text: String,
    good_for: Option<(&'static str, &'static str)>,
}

fn exhibits() -> Vec<Exhibit> {
    let bearer = |text: String, good_for| Exhibit { header: "authorization", text: format!("Bearer {text}"), good_for };
    let api_key = |text: String, good_for| Exhibit { header: "x-api-key", text, good_for };
    let changed = |name: &str, value: Value| {
        let mut claims = claims("main", "t_victim");
        claims[name] = value;
        by(1, "k1", &claims)
    };
    let good = by(1, "k1", &claims("main", "t_acme"));
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let (acme, victim, revoked) = (issue("t_acme", 1), issue("t_victim", 2), issue("t_victim", 3));
    let mut wrong = victim.text.clone();
    wrong.replace_range(40..41, if &wrong[40..41] == "A" { "B" } else { "A" });
    vec![
        bearer(good.clone(), Some(("t_acme", "jwt"))),
        bearer(by_secret(SECRET, &claims("own", "t_acme")), Some(("t_acme", "jwt"))),
        api_key(acme.text.clone(), Some(("t_acme", "api_key"))),
        bearer(by(2, "k1", &claims("main", "t_victim")), None),
        bearer(by(1, "k2", &claims("main", "t_victim")), None),
        bearer(by_secret("another-secret-of-32-bytes-and-more", &claims("own", "t_victim")), None),
        bearer(by_secret(SECRET, &claims("main", "t_victim")), None),
        bearer(by(1, "k1", &claims("own", "t_victim")), None),
        bearer(by(1, "k1", &claims("nobody", "t_victim")), None),
        bearer(by(1, "k1", &claims("acme-only", "t_victim")), None),
        bearer(changed("aud", json!("other")), None),
        bearer(changed("exp", json!(seconds(START) - 3_600)), None),
        bearer(changed("nbf", json!(seconds(START) + 3_600)), None),
        bearer(changed("tenant_id", json!(["t_victim"])), None),
        bearer(format!("{head}.{}.{signature}", part(&claims("main", "t_victim"))), None),
        bearer(token(&json!({ "alg": "none" }), &claims("main", "t_victim"), |_| Vec::new()), None),
        bearer(
            token(&json!({ "alg": "HS256", "kid": "k1" }), &claims("main", "t_victim"), |_| {
                key(1).verifying_key().to_bytes().to_vec()
            }),
            None,
        ),
        api_key(wrong, None),
        api_key(revoked.text, None),
        api_key(victim.text.chars().rev().collect(), None),
        Exhibit { header: "x-api-key", text: good, good_for: None },
        Exhibit { header: "authorization", text: format!("Bearer {}", acme.text), good_for: None },
        Exhibit { header: "authorization", text: String::from("Basic dDp2aWN0aW0="), good_for: None },
        Exhibit {
            header: "cookie",
            text: format!("session={}", by(2, "k1", &claims("main", "t_victim"))),
            good_for: None,
        },
        Exhibit { header: "x-tenant-id", text: String::from("victim"), good_for: None },
        Exhibit { header: "x-tenant-id", text: String::from("acme"), good_for: None },
    ]
}

fn closed_gate(mode: &str) -> LocalGate {
    let mut catalog = catalog(1);
    catalog["resolution"] = json!({
        "mode": mode,
        "strategies": [
            { "strategy": "jwt", "cookie_name": "session" }, { "strategy": "api_key" },
            { "strategy": "subdomain", "base_domains": ["a.example"] }, { "strategy": "path" },
            { "strategy": "header" }, { "strategy": "query" },
        ],
        "central_hosts": ["api.example"],
    });
    catalog["issuers"]["bound"] = json!({ "issuer": "acme-only", "audience": ["api"], "algorithms": ["EdDSA"], "tenants": ["t_acme"], "jwks_url": URL });
    catalog["routes"] = json!([
        { "path": "/any" }, { "path": "/jwt", "auth": "jwt" }, { "path": "/key", "auth": "api_key" },
        { "path": "/read", "scopes": ["read"] }, { "path": "/write", "scopes": ["write"] },
        { "path": "/family", "act_for_descendants": true },
    ]);
    let mut gate = LocalGate::new(&catalog.to_string()).unwrap();
    for (id, slug) in [("t_acme", "acme"), ("t_victim", "victim")] {
        gate.put(Tenant::parse(&json!({ "id": id, "slug": slug, "plan": "p@1" }).to_string()).unwrap()).unwrap();
    }
    gate.put_keys(URL, &jwks(&[(1, "k1")])).unwrap();
    gate.put_secret("JWT_SECRET", SECRET);
    for (tenant, seed) in [("t_acme", 1), ("t_victim", 2), ("t_victim", 3)] {
        let mut record = issue(tenant, seed).record;
        if seed == 3 {
            record.revoked_at = Some(START);
        }
        gate.put_api_key(record).unwrap();
    }
    gate
}

#[test]
fn what_is_good_opens_the_doors_that_it_should() {
    let mut gate = closed_gate("agree");
    for exhibit in exhibits().into_iter().filter(|exhibit| exhibit.good_for.is_some()) {
        let headers = [(exhibit.header, exhibit.text.as_str())];
        let request = Request { host: "api.example", path: "/any", headers: &headers, ..Request::default() };
        let decision = gate.decide(&request, &Ask::default(), START);
        assert_eq!(decision.code, Code::Allowed, "{exhibit:?}: {:?}", decision.reason);
        assert_eq!(decision.tenant.as_ref().unwrap().tenant().id.as_str(), "t_acme");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// INVARIANT (no credential, no door): whatever a request shows, it is served as a tenant only with that tenant's own
    /// good credential, of the kind that the route asks for.
    #[test]
    fn nobody_passes_for_a_tenant_without_its_credential(
        shown in prop::collection::vec(prop::sample::select(exhibits()), 0..4),
        host in prop::sample::select(vec!["api.example", "acme.a.example", "victim.a.example", "www.a.example", "else.example", ""]),
        prefix in prop::sample::select(vec!["", "/t/victim", "/t/acme", "/t/t_victim", "/t/%76ictim"]),
        path in prop::sample::select(vec!["/", "/any", "/jwt", "/key", "/read", "/write", "/family", "/jwt/..", "//any"]),
        query in prop::sample::select(vec!["", "tenant=victim", "tenant=acme", "tenant=t_victim", "access_token=x"]),
        mode in prop::sample::select(vec!["agree", "first"]),
        method in prop::sample::select(vec!["GET", "OPTIONS", "HEAD"]),
    ) {
        let mut gate = closed_gate(mode);
        let headers: Vec<_> = shown.iter().map(|exhibit| (exhibit.header, exhibit.text.as_str())).collect();
        let path = format!("{prefix}{path}");
        let request = Request { method, host, path: &path, query, headers: &headers, ..Request::default() };
        // Twice: what is remembered of the first must not open a door to the second.
        for _ in 0..2 {
            let decision = gate.decide(&request, &Ask::default(), START);
            if decision.allowed() {
                // The route is that of the path that goes on to the origin.
                let path = decision.behind.as_ref().map_or(&path, |behind| &behind.path);
                let served = decision.tenant.as_ref().map(|tenant| tenant.tenant().id.as_str().to_owned());
                let kind = if path == "/jwt" { Some("jwt") } else if path == "/key" { Some("api_key") } else { None };
                let opens = shown.iter().any(|exhibit| {
                    exhibit.good_for.is_some_and(|(tenant, of)| Some(tenant) == served.as_deref() && kind.is_none_or(|kind| kind == of))
                });
                prop_assert!(opens, "served as {served:?} on {path}: {shown:?}");
                prop_assert!(path != "/write", "nobody may write");
            }
        }
    }
}

/// Bounds of what is shown: at the bound it is read, past it it is refused.
#[test]
fn every_bound_of_what_is_shown() {
    let code = |header: &str, text: &str| {
        let request = [(header, text)];
        let request = Request { host: "api.example", path: "/any", headers: &request, ..Request::default() };
        closed_gate("agree").decide(&request, &Ask::default(), START).code
    };
    let padded = |bytes: usize| {
        let mut claims = claims("own", "t_acme");
        // Three bytes of claims are four of the token.
        claims["pad"] = json!("");
        let short = by_secret(SECRET, &claims).len();
        claims["pad"] = json!("x".repeat((bytes - short) * 3 / 4));
        by_secret(SECRET, &claims)
    };
    let longest =
        (MAX_TOKEN_BYTES - 8..=MAX_TOKEN_BYTES).rev().map(padded).find(|token| token.len() <= MAX_TOKEN_BYTES);
    let longest = longest.unwrap();
    assert!(longest.len() > MAX_TOKEN_BYTES - 4);
    assert_eq!(code("authorization", &format!("Bearer {longest}")), Code::Allowed);
    let longer = padded(MAX_TOKEN_BYTES + 8);
    assert!(longer.len() > MAX_TOKEN_BYTES);
    assert_eq!(code("authorization", &format!("Bearer {longer}")), Code::Unauthenticated);

    let good = by(1, "k1", &claims("main", "t_acme"));
    let cookies = |bytes: usize| {
        let session = format!("session={good}; pad=");
        format!("{session}{}", "x".repeat(bytes - session.len()))
    };
    assert_eq!(code("cookie", &cookies(MAX_COOKIE_BYTES)), Code::Allowed);
    assert_eq!(code("cookie", &cookies(MAX_COOKIE_BYTES + 1)), Code::BadRequest);

    let claimed = |name: &str, value: Value| {
        let mut claims = claims("own", "t_acme");
        claims[name] = value;
        code("authorization", &format!("Bearer {}", by_secret(SECRET, &claims)))
    };
    let audiences =
        |count: usize| (0..count).map(|i| if i == 0 { json!("api") } else { json!(i.to_string()) }).collect::<Vec<_>>();
    assert_eq!(claimed("aud", json!(audiences(MAX_AUDIENCES))), Code::Allowed);
    assert_eq!(claimed("aud", json!(audiences(MAX_AUDIENCES + 1))), Code::Unauthenticated);
    let scopes = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(claimed("scope", json!(scopes(MAX_SCOPES))), Code::Allowed);
    assert_eq!(claimed("scope", json!(scopes(MAX_SCOPES + 1))), Code::Unauthenticated);

    let named = |bytes: usize| {
        let header = json!({ "alg": "HS256", "kid": "k".repeat(bytes) });
        tenantgate::identity::Jwt::parse(&token(&header, &claims("own", "t_acme"), |_| vec![1; 32])).err()
    };
    assert_eq!(named(MAX_KEY_ID_BYTES), None);
    assert_eq!(named(MAX_KEY_ID_BYTES + 1), Some("the token's `kid` is too long"));

    let keys = |count: usize| {
        let names: Vec<_> = (0..count).map(|index| format!("k{index}")).collect();
        let keys: Vec<_> = names.iter().map(|name| (1, name.as_str())).collect();
        tenantgate::model::KeySet::parse(&jwks(&keys))
    };
    assert_eq!(keys(MAX_JWKS_KEYS).unwrap().keys.len(), MAX_JWKS_KEYS);
    assert!(keys(MAX_JWKS_KEYS + 1).is_err());
    let sized = |bytes: usize| {
        let text = jwks(&[(1, "k1")]);
        tenantgate::model::KeySet::parse(&format!("{text}{}", " ".repeat(bytes - text.len())))
    };
    assert!(sized(MAX_JWKS_BYTES).is_ok() && sized(MAX_JWKS_BYTES + 1).is_err());
    let rsa = |bits: usize| {
        let mut modulus = vec![0xFF; bits.div_ceil(8)];
        if bits % 8 != 0 {
            modulus[0] = 1;
        }
        let set = json!({ "keys": [{ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" }] });
        tenantgate::model::KeySet::parse(&set.to_string()).unwrap().keys.len()
    };
    assert_eq!([rsa(MIN_RSA_BITS), rsa(MIN_RSA_BITS - 7), rsa(MAX_RSA_BITS), rsa(MAX_RSA_BITS + 1)], [1, 0, 1, 0]);
}

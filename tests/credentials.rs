//! Tests of credentials over time: when data is fetched, how long it is trusted, and that only a
//! valid credential of a tenant is accepted for it.

#![cfg(not(target_family = "wasm"))]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac as _};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use tenantgate::gate::{Ask, Code, Decision, Gate, LocalGate, Need, Progress, Refresh, Rejected, SnapshotKey, Step};
use tenantgate::model::bounds::*;
use tenantgate::model::{ApiKey, Environment, IssuedKey, Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

const START: UnixMillis = UnixMillis::new(1_780_000_000_000);
const URL: &str = "https://id.example.com/keys";
const SECRET: &str = "a-secret-of-at-least-32-bytes-in-all";

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with any kind of signature.
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

/// An isolate, and the data that it can fetch.
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
        let key = match need {
            Need::Snapshot(key) => key,
            Need::Secret(name) => return self.gate.put_secret(name, self.secret),
            _ => return,
        };
        let text = match key {
            SnapshotKey::Catalog => Some(self.catalog.to_string()),
            SnapshotKey::Tenant(id) => {
                Some(json!({ "id": id.as_str(), "slug": id.as_str().replace("t_", ""), "plan": "p@1" }).to_string())
            }
            SnapshotKey::IssuerKeys(_) => self.published.clone(),
            SnapshotKey::ApiKey(id) => self.keys.get(id.as_str()).map(Value::to_string),
            _ => None,
        };
        self.gate.put_trusted(key, text.as_deref(), now).unwrap();
    }

    /// Decides like an adapter. Records the data that the decision waited for, and fetches the data
    /// that it requests in the background.
    fn decide(&mut self, shown: &PresentedCredential<'_>, now: UnixMillis) -> Box<Decision> {
        let decision = self.decide_alone(shown, now);
        for refresh in &decision.extras().refresh {
            if let Refresh::Snapshot(key) = refresh {
                self.answer(&key.clone().into(), now);
            }
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
                Progress::Ready(Step::Decided(decision)) => return decision,
                Progress::Need(need) => {
                    self.answer(&need, now);
                    self.fetched.push(need);
                }
                Progress::Ready(Step::Charge(_)) => panic!("the catalog has no limits"),
            }
        }
    }

    fn code(&mut self, shown: &PresentedCredential<'_>, now: UnixMillis) -> Code {
        self.decide(shown, now).code
    }

    fn fetched_keys(&self) -> bool {
        self.fetched.iter().any(|need| matches!(need, Need::Snapshot(SnapshotKey::IssuerKeys(_))))
    }
}

#[test]
fn published_keys_are_fetched_once_and_refreshed_in_the_background() {
    let mut world = World::new();
    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    assert_eq!(world.code(&good, START), Code::Allowed);
    assert!(world.fetched_keys());
    assert_eq!(world.code(&good, START.plus(JWKS_SOFT_AGE_MS)), Code::Allowed);
    assert!(world.fetched.is_empty());
    // A key that its issuer has withdrawn is not trusted merely because the isolate was idle.
    let mut idle = World::new();
    idle.decide(&good, START);
    idle.published = Some(jwks(&[(2, "k2")]));
    assert_eq!(idle.decide_alone(&good, START.plus(JWKS_FIRM_AGE_MS)).code, Code::Allowed);
    assert_eq!(idle.code(&good, START.plus(JWKS_FIRM_AGE_MS + REFRESH_INTERVAL_MS + 1)), Code::Unauthenticated);
    let late = world.decide_alone(&good, START.plus(JWKS_SOFT_AGE_MS + 1));
    assert!(world.fetched.is_empty(), "no request waits");
    assert_eq!(
        late.extras().refresh.iter().filter(|one| matches!(one, Refresh::Snapshot(SnapshotKey::IssuerKeys(_)))).count(),
        1
    );
}

#[test]
fn unknown_kids_fetch_keys_once_per_cooldown() {
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
    // 200 seconds contain six cooldowns of just over 30 seconds.
    assert_eq!(fetches, 6);
}

#[test]
fn a_new_key_is_fetched_after_the_cooldown() {
    let mut world = World::new();
    world.decide(&PresentedCredential::Token(&by(1, "k1", &claims("main", "t_acme"))), START);
    world.published = Some(jwks(&[(1, "k1"), (2, "k2")]));
    let new = by(2, "k2", &claims("main", "t_acme"));
    assert_eq!(world.code(&PresentedCredential::Token(&new), START.plus(JWKS_COOLDOWN_MS)), Code::Unauthenticated);
    assert_eq!(world.code(&PresentedCredential::Token(&new), START.plus(JWKS_COOLDOWN_MS + 1)), Code::Allowed);
}

#[test]
fn keys_of_an_unreachable_issuer_are_trusted_for_a_bounded_time() {
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
    assert!(!world.fetched_keys(), "the issuer is not asked again on every request");
    world.published = Some(jwks(&[(1, "k1")]));
    assert_eq!(world.code(&good, late.plus(JWKS_COOLDOWN_MS + 1)), Code::Allowed);
}

#[test]
fn a_verified_token_is_rejected_once_its_key_is_gone() {
    let mut world = World::new();
    let good = by(1, "k1", &claims("main", "t_acme"));
    let good = PresentedCredential::Token(&good);
    world.decide(&good, START);
    // The same keys in another order have no effect. Without its key, the token is rejected.
    world.gate.put_issuer_keys(URL, &jwks(&[(2, "k2"), (1, "k1")]), START.plus(1)).unwrap();
    assert_eq!(world.code(&good, START.plus(2)), Code::Allowed);
    world.gate.put_issuer_keys(URL, &jwks(&[(2, "k2")]), START.plus(3)).unwrap();
    world.published = Some(jwks(&[(2, "k2")]));
    assert_eq!(world.code(&good, START.plus(4)), Code::Unauthenticated);
    // Another key with the same `kid` does not verify it.
    world.gate.put_issuer_keys(URL, &jwks(&[(2, "k1")]), START.plus(5)).unwrap();
    assert_eq!(world.code(&good, START.plus(6)), Code::Unauthenticated);
}

#[test]
fn a_verified_token_ends_with_its_expiry_and_its_issuer() {
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
    world.gate.put_trusted(&SnapshotKey::Catalog, Some(&without.to_string()), START).unwrap();
    assert_eq!(world.code(&good, START), Code::Unauthenticated);
}

#[test]
fn a_token_ends_with_the_secret_that_signed_it() {
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
    world.gate.put_secret("JWT_SECRET", Some("another-secret-of-32-bytes-and-more"));
    world.gate.put_trusted(&SnapshotKey::Catalog, Some(&catalog(2).to_string()), START).unwrap();
    assert_eq!(world.code(&good, START), Code::Unauthenticated);

    for unusable in [None, Some("too short")] {
        let mut world = World { secret: unusable, ..World::new() };
        let by_nothing = by_secret(unusable.unwrap_or_default(), &claims("own", "t_acme"));
        assert_eq!(
            world.code(&PresentedCredential::Token(&by_nothing), START),
            Code::IssuerUnavailable,
            "{unusable:?}"
        );
    }
}

#[test]
fn a_revoked_key_works_no_longer_than_its_cached_record() {
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
    // An idle isolate: nothing was refreshed in the meantime.
    assert_eq!(world.code(&key, START.plus(KEY_SOFT_AGE_MS)), Code::Allowed);
    assert_eq!(world.decide_alone(&key, START.plus(KEY_HARD_AGE_MS)).code, Code::Allowed);
    assert_eq!(world.code(&key, START.plus(KEY_HARD_AGE_MS + 1)), Code::Unauthenticated);
    assert_eq!(world.fetched, [Need::Snapshot(SnapshotKey::ApiKey(issued.record.id.clone()))]);
    // An older record does not restore a revoked key.
    let older = world.gate.put_trusted(
        &SnapshotKey::ApiKey(issued.record.id.clone()),
        Some(&record(&issued).to_string()),
        START,
    );
    assert_eq!(older, Err(Rejected::Older { found: 1, held: 2 }));

    // A busy isolate learns of the revocation sooner.
    let mut busy = World::new();
    busy.keys.insert(id.clone(), record(&issued));
    busy.decide(&key, START);
    busy.keys.insert(id, revoked);
    assert_eq!(busy.code(&key, START.plus(KEY_SOFT_AGE_MS + 1)), Code::Allowed);
    assert_eq!(busy.code(&key, START.plus(KEY_SOFT_AGE_MS + 2)), Code::Unauthenticated);
}

#[test]
fn a_replaced_key_works_beside_the_new_one_until_it_expires() {
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
    // Retiring a key never extends its validity.
    assert_eq!(retired.record.retired(until.plus(9_000)).expires_at, Some(until));
}

#[test]
fn unknown_keys_are_cached_for_a_while_and_evict_no_known_keys() {
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

    // A made-up key is rejected by its checksum, without a lookup.
    let made_up = format!("{}000000", &issue("t_acme", 3).text[..56]);
    assert_eq!(world.code(&PresentedCredential::Key(&made_up), START), Code::Unauthenticated);
    assert!(world.fetched.is_empty());

    assert_eq!(world.code(&PresentedCredential::Key(&issued.text), START), Code::Allowed);
    for index in 0..2 * MAX_KEY_CACHE_BYTES / 256 {
        let id = format!("{index:016}");
        let parsed = tenantgate::model::KeyId::parse(&id).unwrap();
        world.gate.put_trusted(&SnapshotKey::ApiKey(parsed), None, START).unwrap();
        if index % 1_000 == 0 {
            assert_eq!(world.code(&PresentedCredential::Key(&issued.text), START), Code::Allowed);
            assert!(world.fetched.is_empty(), "after {index}");
        }
    }
}

#[test]
fn a_flood_of_valid_tokens_does_not_evict_tokens_in_use() {
    let mut world = World::new();
    let of = |subject: usize| {
        let mut claims = claims("own", "t_acme");
        claims["sub"] = json!(subject.to_string());
        by_secret(SECRET, &claims)
    };
    // More tokens than the cache holds: each of them is accepted.
    for subject in 0..MAX_CACHED_TOKENS + 100 {
        assert_eq!(world.code(&PresentedCredential::Token(&of(subject)), START), Code::Allowed, "{subject}");
    }
    assert_eq!(world.code(&PresentedCredential::Token(&of(0)), START), Code::Allowed);
}

/// Rejected tokens cost no more than accepted ones: an invalid signature is verified once, and the
/// invalid signatures of one issuer have a budget.
#[test]
fn a_rejected_token_is_verified_once_and_rejections_have_a_budget() {
    let mut world = World::new();
    let of = |secret: &str, subject: usize| {
        let mut claims = claims("own", "t_acme");
        claims["sub"] = json!(subject.to_string());
        by_secret(secret, &claims)
    };
    let (known, other) = (of(SECRET, 0), of("another secret of thirty-two bytes", 0));
    assert_eq!(world.code(&PresentedCredential::Token(&known), START), Code::Allowed);
    // The same invalid token again does not consume budget.
    for _ in 0..1_000 {
        assert_eq!(world.code(&PresentedCredential::Token(&other), START), Code::Unauthenticated);
    }
    let bad = |subject| of("another secret of thirty-two bytes", subject);
    let judged = (1..1_000)
        .take_while(|i| world.code(&PresentedCredential::Token(&bad(*i)), START) == Code::Unauthenticated)
        .count();
    assert!((100..500).contains(&judged), "{judged} were judged");
    let busy = world.decide(&PresentedCredential::Token(&bad(5_000)), START);
    assert_eq!((busy.code, busy.extras().retry_after_ms.is_some_and(|ms| ms > 0)), (Code::RateLimited, true));
    // Tokens that were verified before and tokens of other issuers are not delayed.
    assert_eq!(world.code(&PresentedCredential::Token(&known), START), Code::Allowed);
    assert_eq!(world.code(&PresentedCredential::Token(&by(1, "k1", &claims("main", "t_acme"))), START), Code::Allowed);
    // The budget recovers, and valid tokens do not consume it.
    let later = START.plus(1_000);
    for subject in 10_000..10_500 {
        assert_eq!(world.code(&PresentedCredential::Token(&of(SECRET, subject)), later), Code::Allowed);
    }
    assert_eq!(world.code(&PresentedCredential::Token(&bad(6_000)), later), Code::Unauthenticated);
}

/// A gate whose adapter verifies signatures by ECDSA. `P256` has points on the curve. The tests
/// need no private key, because they answer for the adapter.
mod delegated {
    use super::*;

    const P256: [(&str, &str); 2] = [
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        ("w-wnaBWEvaD6xyrAJ8Xh-2zjE9MMRHTlClA9b6t1YDc", "etKWY6mgK7DVHG-mfSfRSdYNMSoWBcK_kdhUO_io4N0"),
    ];

    fn jwks((x, y): (&str, &str)) -> String {
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k1", "x": x, "y": y }] }).to_string()
    }

    fn token(subject: usize) -> String {
        let mut claims = claims("main", "t_acme");
        claims["sub"] = json!(subject.to_string());
        super::token(&json!({ "alg": "ES256", "kid": "k1" }), &claims, |_| vec![7; 64])
    }

    fn gate() -> Gate {
        let mut catalog = catalog(1);
        catalog["issuers"]["main"]["algorithms"] = json!(["ES256"]);
        let mut gate = Gate::default();
        gate.delegate_signatures();
        let tenant = json!({ "id": "t_acme", "slug": "acme", "plan": "p@1" });
        gate.put_trusted(&SnapshotKey::Catalog, Some(&catalog.to_string()), START).unwrap();
        let acme = SnapshotKey::Tenant(TenantId::parse("t_acme").unwrap());
        gate.put_trusted(&acme, Some(&tenant.to_string()), START).unwrap();
        gate.put_issuer_keys(URL, &jwks(P256[0]), START).unwrap();
        gate
    }

    /// The decision, or the signature that the gate asks about.
    fn ask(gate: &mut Gate, token: &str, now: UnixMillis) -> Result<Code, tenantgate::identity::Signature> {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let request = Request { path: "/", headers: &headers, ..Request::default() };
        match gate.decide(&request, &Ask::default(), now) {
            Progress::Ready(Step::Decided(decision)) => Ok(decision.code),
            Progress::Need(Need::Signature(signature)) => Err(*signature),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_adapter_verifies_a_signature_once_and_its_answer_decides() {
        for (is_valid, code) in [(true, Code::Allowed), (false, Code::Unauthenticated)] {
            let (mut gate, token) = (gate(), token(0));
            let signature = ask(&mut gate, &token, START).unwrap_err();
            assert_eq!(format!("{}.{}", signature.message, signature.signature), token);
            gate.put_signature(signature, is_valid);
            // The second answer comes from the cache.
            assert_eq!([0; 2].map(|_| ask(&mut gate, &token, START)), [Ok(code), Ok(code)]);
        }
    }

    #[test]
    fn an_answer_about_another_key_or_token_does_not_count() {
        let mut gate = gate();
        let old = ask(&mut gate, &token(0), START).unwrap_err();
        gate.put_signature(old.clone(), true);
        assert_ne!(ask(&mut gate, &token(1), START).unwrap_err(), old);
        gate.put_issuer_keys(URL, &jwks(P256[1]), START).unwrap();
        let new = ask(&mut gate, &token(0), START).unwrap_err();
        assert_eq!((new.key == old.key, &new.message), (false, &old.message));
    }

    #[test]
    fn a_signature_that_many_requests_wait_for_is_paid_for_once() {
        for (is_valid, code) in [(true, Code::Allowed), (false, Code::Unauthenticated)] {
            let (mut gate, token) = (gate(), token(0));
            let asked: Vec<_> = (0..1_000).map(|_| ask(&mut gate, &token, START).unwrap_err()).collect();
            gate.put_signature(asked[0].clone(), is_valid);
            assert!((0..1_000).all(|_| ask(&mut gate, &token, START) == Ok(code)));
        }
    }

    #[test]
    fn signatures_in_flight_use_a_budget_that_valid_ones_give_back() {
        let mut gate = gate();
        for subject in 0..1_000 {
            let signature = ask(&mut gate, &token(subject), START).unwrap_err();
            gate.put_signature(signature, true);
            assert_eq!(ask(&mut gate, &token(subject), START), Ok(Code::Allowed));
        }
        // These signatures stay in flight.
        let begun = (1_000..2_000).take_while(|subject| ask(&mut gate, &token(*subject), START).is_err()).count();
        assert!((20..500).contains(&begun), "{begun} were begun");
        assert_eq!(ask(&mut gate, &token(3_000), START), Ok(Code::RateLimited));
        assert_eq!(ask(&mut gate, &token(0), START), Ok(Code::Allowed));
    }
}

/// A credential that a request may present, and the tenant for which it is valid.
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
    gate.put_issuer_keys(URL, &jwks(&[(1, "k1")])).unwrap();
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
fn valid_credentials_are_accepted() {
    let mut gate = closed_gate("agree");
    for exhibit in exhibits().into_iter().filter(|exhibit| exhibit.good_for.is_some()) {
        let headers = [(exhibit.header, exhibit.text.as_str())];
        let request = Request { host: "api.example", path: "/any", headers: &headers, ..Request::default() };
        let decision = gate.decide(&request, &Ask::default(), START);
        assert_eq!(decision.code, Code::Allowed, "{exhibit:?}: {:?}", decision.extras().reason);
        assert_eq!(decision.tenant.as_ref().unwrap().tenant().id.as_str(), "t_acme");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// INVARIANT (no credential, no door): whatever a request presents, it is served as a tenant
    /// only with a valid credential of that tenant, of the kind that the route requires.
    #[test]
    fn a_request_is_served_as_a_tenant_only_with_a_credential_of_that_tenant(
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
        // Decide twice: cached data of the first decision must not let the second one in.
        for _ in 0..2 {
            let decision = gate.decide(&request, &Ask::default(), START);
            if decision.allowed() {
                // The route is that of the path that the origin receives.
                let path = decision.extras().path.as_ref().map_or(&path, |stripped| &stripped.path);
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

/// The bounds of credentials. A credential at its bound is accepted, and a larger one is rejected.
#[test]
fn every_bound_of_credentials_is_enforced() {
    let code = |header: &str, text: &str| {
        let request = [(header, text)];
        let request = Request { host: "api.example", path: "/any", headers: &request, ..Request::default() };
        closed_gate("agree").decide(&request, &Ask::default(), START).code
    };
    let padded = |bytes: usize| {
        let mut claims = claims("own", "t_acme");
        // Three bytes of claims become four bytes of the token.
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

//! Credentials of any shape: five lines of the input are `Authorization`, `Cookie`, `X-API-Key`, the host and the path; the
//! whole of it is also taken for a token, an assertion, an API key and a published set of keys.
//!
//! None of it is signed by anybody, so no tenant may be served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantgate::gate::{Ask, LocalGate};
use tenantgate::identity::{Assertion, Jwt};
use tenantgate::model::{KeySet, PresentedKey, Tenant, UnixMillis};
use tenantgate::resolve::Request;
use tenantgate::wire::transcript;

const JWKS: &str = r#"{"keys": [
    {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "EC", "crv": "P-256", "kid": "k2", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

const CATALOG: &str = r#"{
    "version": 1,
    "resolution": {"strategies": [
        {"strategy": "jwt", "cookie_name": "session"}, {"strategy": "api_key"},
        {"strategy": "subdomain", "base_domains": ["a.example"]}, {"strategy": "path"}
    ]},
    "issuers": {
        "published": {"issuer": "p", "audience": ["api"], "algorithms": ["EdDSA", "ES256"], "tenants": "all", "jwks_url": "https://id.example/keys"},
        "secret": {"issuer": "s", "audience": ["api"], "algorithms": ["HS256"], "tenants": {"prefix": "t_"}, "keys": [{"secret": "S"}]}
    },
    "routes": [{"path": "/api", "auth": "jwt", "scopes": ["read"]}],
    "plans": {"p@1": {}}
}"#;

fuzz_target!(|text: &str| {
    let mut gate = LocalGate::new(CATALOG).expect("the catalog is good");
    gate.put(Tenant::parse(r#"{"id": "t_1", "slug": "t", "plan": "p@1"}"#).expect("the record is good")).expect("nothing is held");
    gate.put_issuer_keys("https://id.example/keys", JWKS).expect("the keys are good");
    gate.put_secret("S", "a secret that the fuzzer does not know: 9f2c");
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let headers = [("authorization", next()), ("cookie", next()), ("x-api-key", next())];
    let request = Request { host: next(), path: next(), headers: &headers, explain: true, ..Request::default() };
    for _ in 0..2 {
        let decision = gate.decide(&request, &Ask::default(), UnixMillis::new(1_780_000_000_000));
        assert!(!decision.allowed(), "served without a credential");
        let _ = transcript(&decision);
    }
    let _ = Jwt::parse(text);
    let _ = PresentedKey::parse(text);
    let keys = KeySet::parse(text).or_else(|_| KeySet::parse(JWKS));
    assert!(Assertion::verify(text, &keys.expect("one of them is good"), "origin", UnixMillis::new(0)).is_err());
});

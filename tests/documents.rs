//! Document tests: the committed JSON Schemas match the types, and invalid documents are rejected
//! with paths. `UPDATE=1 cargo test --test documents` rewrites the schemas.

#![cfg(not(target_family = "wasm"))]

mod common;

use common::{bound_texts, committed};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use tenantgate::gate::Code;
use tenantgate::model::bounds::{CUSTOM_RESOLVER_MS, MAX_ATTRIBUTES, MAX_BODY_BYTES, MAX_TEXT_BYTES, RETRY_AFTER_MS};
use tenantgate::model::{ApiKey, Catalog, Tenant, parse_seed};
use tenantgate::wire::{DecideBody, DecisionView};

fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
}

/// The schema of a document that the core parses, with a bound on every text.
fn read<T: JsonSchema>(max_text_bytes: usize) -> Value {
    let mut schema = schema::<T>();
    bound_texts(&mut schema, max_text_bytes);
    schema
}

#[test]
fn the_committed_schemas_match_the_types() {
    committed("pkg/schema/catalog.json", &read::<Catalog>(MAX_TEXT_BYTES));
    committed("pkg/schema/tenant.json", &read::<Tenant>(MAX_TEXT_BYTES));
    committed("pkg/schema/api_key.json", &read::<ApiKey>(MAX_TEXT_BYTES));
    committed("pkg/schema/decide.json", &read::<DecideBody>(MAX_BODY_BYTES));
    committed("pkg/schema/decision.json", &schema::<DecisionView<'_>>());
}

#[test]
fn the_npm_package_has_the_codes_and_bounds_of_the_core() {
    let table = include_str!("../pkg/codes.js");
    for code in Code::ALL.into_iter().filter(|code| *code != Code::Allowed) {
        let line = format!("\n  {}: [{}, \"{}\"],\n", code.as_str(), code.status(), code.message());
        assert!(table.contains(&line), "pkg/codes.js lacks `{}`", line.trim());
    }
    assert_eq!(table.lines().filter(|line| line.contains(": [")).count(), Code::ALL.len() - 1);
    let bound = |text: &str, name: &str| -> u64 {
        let (_, rest) = text.split_once(&format!("const {name} = ")).unwrap();
        rest.split(';').next().unwrap().replace('_', "").parse().unwrap()
    };
    assert_eq!(bound(include_str!("../pkg/errors.js"), "RETRY_AFTER_MS"), RETRY_AFTER_MS);
    assert_eq!(bound(include_str!("../pkg/tenancy.js"), "CUSTOM_RESOLVER_MS"), CUSTOM_RESOLVER_MS);
    assert_eq!(bound(include_str!("../pkg/input.js"), "MAX_ATTRIBUTES"), MAX_ATTRIBUTES as u64);
}

#[test]
fn the_schemas_accept_the_demo_and_reject_what_the_parser_rejects() {
    let demo = include_str!("../examples/demo.json");
    parse_seed(demo).unwrap();
    let demo: Value = serde_json::from_str(demo).unwrap();
    let (catalog, tenant) = (
        jsonschema::validator_for(&schema::<Catalog>()).unwrap(),
        jsonschema::validator_for(&schema::<Tenant>()).unwrap(),
    );
    let errors: Vec<_> = catalog.iter_errors(&demo["catalog"]).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    for record in demo["tenants"].as_array().unwrap() {
        assert!(tenant.is_valid(record), "{record}");
    }
    for broken in [
        json!({ "version": -1 }),
        json!({ "versoin": 1 }),
        json!({ "plans": { "pro": {} } }),
        json!({ "features": { "f": { "type": "text" } } }),
    ] {
        let mut document = demo["catalog"].clone();
        document.as_object_mut().unwrap().extend(broken.as_object().unwrap().clone());
        assert!(Catalog::parse(&document.to_string()).is_err(), "{broken}");
        assert!(!catalog.is_valid(&document), "{broken}");
    }
    for broken in [
        json!({ "slug": "Acme" }),
        json!({ "slug": "xn--acme" }),
        json!({ "status": "paused" }),
        json!({ "plan": "pro" }),
    ] {
        let mut document = demo["tenants"][0].clone();
        document.as_object_mut().unwrap().extend(broken.as_object().unwrap().clone());
        assert!(Tenant::parse(&document.to_string()).is_err(), "{broken}");
        assert!(!tenant.is_valid(&document), "{broken}");
    }
}

fn with_issuer(changes: Value) -> Value {
    let mut issuer = json!({ "issuer": "https://id.example", "audience": ["api"], "algorithms": ["ES256"], "tenants": "all", "jwks_url": "https://id.example/keys" });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            issuer.as_object_mut().unwrap().remove(name)
        } else {
            issuer.as_object_mut().unwrap().insert(name.clone(), value.clone())
        };
    }
    json!({ "version": 1, "resolution": { "strategies": [{ "strategy": "jwt" }] }, "plans": { "p@1": {} }, "issuers": { "main": issuer } })
}

/// Every mistake in an issuer is reported with its path, because it could let the wrong callers in.
#[test]
fn invalid_issuers_are_rejected_with_paths() {
    assert_eq!(Catalog::parse(&with_issuer(json!({})).to_string()).err(), None);
    let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let mut other_curve = ec.clone();
    other_curve["crv"] = json!("secp256k1");
    let mut off_curve = ec.clone();
    off_curve["y"] = ec["x"].clone();
    let mut private = ec.clone();
    private["d"] = json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    let held = |key: &Value| json!({ "jwks_url": null, "keys": [key] });
    for (changes, path) in [
        (json!({ "issuer": "" }), "issuer"),
        (json!({ "issuer": null }), "issuer"),
        (json!({ "audience": [] }), "audience"),
        (json!({ "audience": null }), "audience"),
        (json!({ "audience": [""] }), "audience"),
        (json!({ "algorithms": [] }), "algorithms"),
        (json!({ "algorithms": ["none"] }), "algorithms[0]"),
        (json!({ "algorithms": ["ES256K"] }), "algorithms[0]"),
        (json!({ "algorithms": ["ES256", "HS256"] }), "algorithms"),
        (json!({ "algorithms": ["HS256"] }), "jwks_url"),
        (json!({ "tenants": null }), "tenants"),
        (json!({ "tenants": [] }), "tenants"),
        (json!({ "tenants": "*" }), "tenants"),
        (json!({ "tenants": { "prefix": "t_acme" } }), "tenants.prefix"),
        (json!({ "tenants": { "prefix": "" } }), "tenants.prefix"),
        (json!({ "jwks_url": "http://id.example/keys" }), "jwks_url"),
        (json!({ "jwks_url": "http://localhost.evil.example/keys" }), "jwks_url"),
        (json!({ "jwks_url": "https://id.example@evil.example/keys" }), "jwks_url"),
        (json!({ "jwks_url": "file:///etc/keys" }), "jwks_url"),
        (json!({ "jwks_url": null }), "keys"),
        (json!({ "keys": [{ "jwk": ec }] }), "keys"),
        (json!({ "leeway_ms": 300_001 }), "leeway_ms"),
        (json!({ "typ": "" }), "typ"),
        (json!({ "tenant_claim": "" }), "tenant_claim"),
        (held(&json!({})), "keys[0]"),
        (held(&json!({ "jwk": ec, "secret": "S" })), "keys[0]"),
        (held(&json!({ "jwk": other_curve })), "keys[0].jwk.kty"),
        (held(&json!({ "jwk": off_curve })), "keys[0].jwk"),
        (held(&json!({ "jwk": private })), "keys[0].jwk.d"),
        (held(&json!({ "pem": "-----BEGIN PRIVATE KEY-----" })), "keys[0].pem"),
        (held(&json!({ "secret": "S" })), "keys[0]"),
        (
            json!({ "jwks_url": null, "algorithms": ["HS256"], "keys": [{ "secret": "the secret itself" }] }),
            "keys[0].secret",
        ),
        (
            json!({ "jwks_url": null, "algorithms": ["HS256"], "keys": [{ "secret": "A" }, { "secret": "B" }] }),
            "keys[0]",
        ),
        (json!({ "jwks_url": null, "keys": [{ "jwk": ec }, { "jwk": ec }] }), "keys[1]"),
    ] {
        let problems = Catalog::parse(&with_issuer(changes.clone()).to_string()).expect_err(&changes.to_string());
        let path = format!("$.issuers.main.{path}");
        assert!(problems.0.iter().any(|problem| problem.path == path), "{changes}: {problems}");
    }
    // A secret that is in the catalog by mistake does not appear in the problems.
    let leaked =
        with_issuer(json!({ "jwks_url": null, "algorithms": ["HS256"], "keys": [{ "secret": "hunter2 hunter2" }] }));
    let said = Catalog::parse(&leaked.to_string()).unwrap_err().to_string();
    assert!(!said.contains("hunter2"), "{said}");
}

/// A catalog with a requirement on callers that cannot be enforced is rejected.
#[test]
fn catalogs_with_unenforceable_requirements_are_rejected() {
    let refused = |resolution: Value, route: Value, path: &str| {
        let catalog = json!({ "version": 1, "resolution": resolution, "routes": [route], "plans": { "p@1": {} } });
        let problems = Catalog::parse(&catalog.to_string()).expect_err(path);
        assert!(problems.0.iter().any(|problem| problem.path == path), "{path}: {problems}");
    };
    let keys = json!({ "strategies": [{ "strategy": "api_key" }, { "strategy": "query" }] });
    for access in ["central", "public"] {
        refused(keys.clone(), json!({ "path": "/", "access": access, "auth": "any" }), "$.routes[0].auth");
        refused(keys.clone(), json!({ "path": "/", "access": access, "scopes": ["a"] }), "$.routes[0].scopes");
    }
    refused(keys.clone(), json!({ "path": "/", "auth": "jwt" }), "$.routes[0].auth");
    refused(keys, json!({ "path": "/", "auth": "none", "scopes": ["a"] }), "$.routes[0].scopes");
    let header = json!({ "strategies": [{ "strategy": "header" }] });
    refused(header, json!({ "path": "/", "scopes": ["a"] }), "$.routes[0].scopes");
    for (header, key) in [
        (json!("X-API-Key"), json!(null)),
        (json!(null), json!("x-tenant-id")),
        (json!("X-A"), json!("x-a")),
        (json!("Cookie"), json!(null)),
    ] {
        let mut strategies = [json!({ "strategy": "header" }), json!({ "strategy": "api_key" })];
        for (strategy, name) in strategies.iter_mut().zip([&header, &key]) {
            if !name.is_null() {
                strategy["header_name"] = name.clone();
            }
        }
        refused(json!({ "strategies": strategies }), json!({ "path": "/" }), "$.resolution.strategies");
    }
}

#[test]
fn invalid_api_keys_are_rejected_with_paths() {
    let good = json!({ "id": "0123456789abcdef", "tenant": "t_acme", "hash": "ab".repeat(32), "created_at": "2026-11-22T12:00:00Z", "epoch": 1 });
    let schema = jsonschema::validator_for(&schema::<ApiKey>()).unwrap();
    assert_eq!(ApiKey::parse(&good.to_string()).err(), None);
    assert!(schema.is_valid(&good));
    for (name, value) in [
        ("id", json!("short")),
        ("id", json!("../../catalog000")),
        ("tenant", json!("not a tenant")),
        ("hash", json!("AB".repeat(32))),
        ("hash", json!("ab".repeat(31))),
        ("environment", json!("prod")),
        ("scopes", json!(["a b"])),
        ("created_at", json!("yesterday")),
        ("key", json!("tg_live_…")),
    ] {
        let mut broken = good.clone();
        broken[name] = value;
        let problems = ApiKey::parse(&broken.to_string()).expect_err(&broken.to_string());
        assert!(
            problems.0.iter().any(|problem| problem.path.starts_with(&format!("$.{name}"))),
            "{broken}: {problems}"
        );
    }
}

/// Every text of every document has a bound, and the parser enforces it.
#[test]
fn every_text_has_a_bound() {
    fn places(schema: &Value, path: &str, found: &mut Vec<String>) {
        if common::is_unbounded_text(schema) {
            found.push(path.to_owned());
        }
        match schema {
            Value::Object(members) => {
                members.iter().for_each(|(name, one)| places(one, &format!("{path}/{name}"), found))
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, one)| places(one, &format!("{path}/{i}"), found))
            }
            _ => {}
        }
    }
    for name in ["catalog", "tenant", "api_key", "decide"] {
        let text = std::fs::read_to_string(format!("{}/pkg/schema/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut found = Vec::new();
        places(&serde_json::from_str(&text).unwrap(), "$", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    // Texts whose type has no bound of its own, at the bound and above it.
    let at = |length: usize| "x".repeat(length);
    let tenants: [fn(String) -> Value; 4] = [
        |text| json!({ "id": "t", "slug": "s", "plan": "p@1", "name": text }),
        |text| json!({ "id": "t", "slug": "s", "plan": "p@1", "region": text }),
        |text| json!({ "id": "t", "slug": "s", "plan": "p@1", "residency": [text] }),
        |text| json!({ "id": "t", "slug": "s", "plan": "p@1", "overrides": [{ "feature": "f", "value": true, "reason": text, "actor": "a" }] }),
    ];
    for tenant in tenants {
        assert!(Tenant::parse(&tenant(at(MAX_TEXT_BYTES)).to_string()).is_ok(), "{}", tenant(at(3)));
        let problems = Tenant::parse(&tenant(at(MAX_TEXT_BYTES + 1)).to_string()).unwrap_err();
        assert_eq!(problems.0[0].expected, format!("at most {MAX_TEXT_BYTES} bytes"));
    }
}

#[test]
fn equal_numbers_make_equal_catalogs() {
    let catalog = |size: &str, limit: &str| {
        let text = format!(
            r#"{{"version": 1, "resolution": {{"strategies": [{{"strategy": "header"}}]}},
            "features": {{"size": {{"type": "number", "default": {size}}}, "more": {{"type": "json", "default": {{"a": [{size}]}}}}}},
            "limits": {{"calls": {{"kind": "quota", "period": "month"}}}},
            "plans": {{"pro@1": {{"features": {{"size": {size}}}, "limits": {{"calls": {limit}}}}}}}}}"#
        );
        tenantgate::model::Catalog::parse(&text).unwrap()
    };
    assert_eq!(catalog("7", "100"), catalog("7.0", "1e2"));
    assert_eq!(catalog("7", "100"), catalog("70e-1", "100.0"));
    assert_ne!(catalog("7", "100"), catalog("7.5", "100"));
    assert_ne!(catalog("7", "100"), catalog("-7", "100"));
}

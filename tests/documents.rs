//! Documents made from the types: JSON Schemas and the OpenAPI description. They are committed; this test says when
//! they no longer fit. `UPDATE=1 cargo test --test documents` writes them anew.

#![cfg(not(target_family = "wasm"))]

use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use tenantgate::gate::Code;
use tenantgate::model::bounds::{MAX_EVENT_NAME_BYTES, MAX_EVENTS};
use tenantgate::model::{ApiKey, Catalog, Tenant, parse_seed};
use tenantgate::wire::{DecideBody, DecisionView, ErrorView, ReceiptView, UsageView};

fn committed(path: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = format!("{document:#}\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not what the types say: run `UPDATE=1 cargo test --test documents`", path.display());
}

fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
}

#[test]
fn schemas() {
    committed("pkg/schema/catalog.json", &schema::<Catalog>());
    committed("pkg/schema/tenant.json", &schema::<Tenant>());
    committed("pkg/schema/api_key.json", &schema::<ApiKey>());
    committed("pkg/schema/decide.json", &schema::<DecideBody>());
    committed("pkg/schema/decision.json", &schema::<DecisionView<'_>>());
}

#[test]
fn the_schemas_accept_the_demo_and_refuse_what_the_reader_refuses() {
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

/// What is wrong with an issuer is said with its path: a mistake here is a door.
#[test]
fn issuers_are_refused_with_paths() {
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
    // A secret that was written into the catalog by mistake is not repeated in what is printed of it.
    let leaked =
        with_issuer(json!({ "jwks_url": null, "algorithms": ["HS256"], "keys": [{ "secret": "hunter2 hunter2" }] }));
    let said = Catalog::parse(&leaked.to_string()).unwrap_err().to_string();
    assert!(!said.contains("hunter2"), "{said}");
}

/// What a catalog says of callers and cannot keep is refused.
#[test]
fn catalogs_that_would_leave_a_door_open_are_refused() {
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
fn api_keys_are_refused_with_paths() {
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

#[test]
fn openapi() {
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let question = generator.subschema_for::<DecideBody>();
    let decision = generator.subschema_for::<DecisionView<'_>>();
    let error = generator.subschema_for::<ErrorView>();
    let envelope = json!({ "type": "object", "properties": { "error": error }, "required": ["error"] });
    let failure = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": envelope } },
        })
    };
    let receipt = generator.subschema_for::<ReceiptView>();
    let usage = generator.subschema_for::<UsageView<'_>>();
    let text = json!({ "type": "string", "minLength": 1, "maxLength": MAX_EVENT_NAME_BYTES });
    let event = json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": text, "source": text, "type": text,
            "subject": { "type": "string", "description": "The id of the tenant." },
            "time": { "type": ["string", "null"], "format": "date-time", "description": "When it happened: the period and the day that it counts in. Default: now." },
            "datacontenttype": { "type": ["string", "null"], "description": "`application/json`." },
            "data": { "type": ["object", "null"], "description": "Holds the values of metrics." },
        },
    });
    let parameter = |name: &str, required: bool, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": required, "schema": schema, "description": description });
    let codes: Vec<_> =
        Code::ALL.iter().map(|code| format!("- `{}` ({}): {}", code.as_str(), code.status(), code.message())).collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tenantgate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
            "description": format!("One decision at the edge: who is this tenant, what may it use, how much is left.\n\nCodes of decisions, with the HTTP status of a gated request:\n\n{}", codes.join("\n")),
        },
        "paths": {
            "/_gate/v1/decide": { "post": {
                "operationId": "decide",
                "summary": "Decide a request, or a question about a tenant.",
                "description": "Answers 200 whatever was decided; `allowed` and `code` say what. Takes from the limits what the request costs, unless `look` is set.",
                "security": [{ "operator": [] }],
                "requestBody": { "required": true, "content": { "application/json": { "schema": question } } },
                "responses": {
                    "200": { "description": "The decision.", "content": { "application/json": { "schema": decision } } },
                    "400": failure("`BAD_REQUEST`: what was sent has problems, all of them in `details.problems`."),
                    "401": failure("`UNAUTHENTICATED`: the operator's token is missing or wrong."),
                    "413": failure("`PAYLOAD_TOO_LARGE`"),
                },
            } },
            "/_gate/v1/usage": {
                "post": {
                    "operationId": "meter",
                    "summary": "Count events of usage, each once.",
                    "description": "Takes one CloudEvent (1.0, JSON format) or an array of them; `subject` is the id of the tenant. `source` and `id` name an event of a tenant: told again it counts once, for 40 days at least. Where one event has a problem, none is counted; where one conflicts, the others are.",
                    "security": [{ "operator": [] }],
                    "requestBody": { "required": true, "content": {
                        "application/cloudevents+json": { "schema": event },
                        "application/cloudevents-batch+json": { "schema": { "type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS } },
                    } },
                    "responses": {
                        "200": { "description": "All are counted.", "content": { "application/json": { "schema": receipt } } },
                        "400": failure("`BAD_REQUEST`: events have problems, all of them in `details.problems`; none is counted."),
                        "401": failure("`UNAUTHENTICATED`: the operator's token is missing or wrong."),
                        "409": failure("`EVENT_CONFLICT`: events at the places of `details.conflicts` were told before and said something else; the others are counted."),
                        "413": failure("`PAYLOAD_TOO_LARGE`"),
                        "503": failure("`LEDGER_UNAVAILABLE`: tell the same events again; each counts once."),
                    },
                },
                "get": {
                    "operationId": "usage",
                    "summary": "What a tenant has used, by period and by day.",
                    "security": [{ "operator": [] }],
                    "parameters": [
                        parameter("tenant", true, json!({ "type": "string" }), "The id of the tenant."),
                        parameter("metric", false, json!({ "type": "string" }), "Only this metric."),
                        parameter("at", false, json!({ "type": "string", "format": "date-time" }), "The periods that hold this time. Default: now."),
                    ],
                    "responses": {
                        "200": { "description": "The report.", "content": { "application/json": { "schema": usage } } },
                        "400": failure("`BAD_REQUEST`: the query has problems, all of them in `details.problems`."),
                        "401": failure("`UNAUTHENTICATED`: the operator's token is missing or wrong."),
                        "404": failure("`USAGE_NOT_FOUND`: no such tenant, or no such metric."),
                        "503": failure("`LEDGER_UNAVAILABLE`"),
                    },
                },
            },
            "/_gate/healthz": { "get": {
                "operationId": "health",
                "summary": "Whether a catalog is held.",
                "responses": { "200": { "description": "It is." }, "503": { "description": "None can be had." } },
            } },
            "/_gate/jwks.json": { "get": {
                "operationId": "keys",
                "summary": "The public key of `X-Tenant-Assertion`, for origins: a JWK set (RFC 7517), empty without `ASSERTION_KEY`.",
                "responses": { "200": { "description": "The set." } },
            } },
            "/_gate/openapi.json": { "get": {
                "operationId": "openapi",
                "summary": "This document.",
                "responses": { "200": { "description": "OpenAPI 3.1." } },
            } },
        },
        "components": {
            "schemas": components(&mut generator),
            "securitySchemes": { "operator": { "type": "http", "scheme": "bearer", "description": "The secret `OPERATOR_TOKEN` of the deployment." } },
        },
    });
    committed("src/worker/openapi.json", &document);
}

fn components(generator: &mut SchemaGenerator) -> Value {
    Value::Object(generator.take_definitions(true))
}

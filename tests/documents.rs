//! Documents made from the types: JSON Schemas and the OpenAPI description. They are committed; this test says when
//! they no longer fit. `UPDATE=1 cargo test --test documents` writes them anew.

#![cfg(not(target_family = "wasm"))]

use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use tenantgate::gate::Code;
use tenantgate::model::{Catalog, Tenant, parse_seed};
use tenantgate::wire::{DecideBody, DecisionView, ErrorView};

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
                    "400": failure("`BAD_REQUEST`: the body has problems, all of them in `details.problems`."),
                    "401": failure("`UNAUTHENTICATED`: the operator's token is missing or wrong."),
                    "413": failure("`PAYLOAD_TOO_LARGE`"),
                },
            } },
            "/_gate/healthz": { "get": {
                "operationId": "health",
                "summary": "Whether a catalog is held.",
                "responses": { "200": { "description": "It is." }, "503": { "description": "None can be had." } },
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

//! The OpenAPI description, generated from the types and the table of operations. These tests fail
//! when the committed copy is out of date. `UPDATE=1 cargo test --test openapi` rewrites it.

#![cfg(not(target_family = "wasm"))]

mod common;

use common::{bound_texts, committed};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use tenantgate::control::{
    Deactivate, ENDPOINTS, EndpointId, ImpactQuestion, Impacts, Impersonate, Issue, LicenceQuestion, MovePlan,
    MoveTenant, NewDomain, NewTenant, NewToken, OPERATIONS, Operation, OperationId, Reasoned, Refund, Rotate, Ticket,
    endpoint,
};
use tenantgate::gate::Code;
use tenantgate::model::bounds::{MAX_BODY_BYTES, MAX_EVENT_NAME_BYTES, MAX_EVENTS, MAX_TEXT_BYTES};
use tenantgate::model::{ApiKey, Catalog, ChannelName, ClientSnapshot, LicenceCode, LicenceTerms, Override, Tenant};
use tenantgate::wire::{DecideBody, DecisionView, EntitlementsView, ErrorView, MessagesBody, ReceiptView, UsageView};

/// The paths of the admin API.
fn admin(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = format!("/_gate/v1/admin{}", operation.path);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[operation.method.to_ascii_lowercase()] = described(operation, generator);
    }
    paths
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let name = operation.route.as_str();
    let id = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
    let common = |code: &str| json!({ "$ref": format!("#/components/responses/{code}") });
    let mut responses = json!({ operation.status.to_string(): answer(operation, generator) });
    let mutating: &[&str] = if operation.method == "GET" { &[] } else { &["408", "412", "413"] };
    let once: &[&str] = if operation.once { &["422"] } else { &[] };
    for code in ["400", "401", "403", "404", "409", "429", "503"].iter().chain(mutating).chain(once) {
        responses[*code] = common(code);
    }
    let mut described = json!({
        "operationId": id, "summary": operation.summary, "tags": ["admin"], "security": [{ "admin": [] }],
        "description": format!("Needs `{}`{}.", operation.permissions.iter().map(|one| one.as_str()).collect::<Vec<_>>().join("` and `"), if operation.tenant_admin { ", or a tenant's own token with the scope `tenantgate:admin`, for that tenant and those below" } else { "" }),
        "parameters": parameters(operation), "responses": responses,
    });
    if let Some(schema) = body(operation.route, generator) {
        // In the other bodies every member has a default.
        let required = matches!(
            operation.route,
            OperationId::CreateTenant
                | OperationId::PutOverride
                | OperationId::ClaimDomain
                | OperationId::ImpersonateTenant
                | OperationId::RefundUsage
                | OperationId::PutCatalog
                | OperationId::MovePlan
                | OperationId::Import
                | OperationId::IssueToken
        );
        described["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let text = || json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9@._-]+$" });
    let segments = operation.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> =
        segments.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text() })).collect();
    let mut query = |name: &str, schema: Value, description: &str| {
        parameters.push(
            json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description }),
        );
    };
    match operation.route {
        OperationId::ListTenants => {
            query(
                "status",
                json!({ "enum": ["active", "provisioning", "suspended", "inactive", "maintenance", "deleted"] }),
                "Only those; default: all but deleted ones.",
            );
            query("plan", text(), "Only those that bought this plan version.");
            query("parent", text(), "Only those directly below this tenant.");
            query("slug", text(), "The one with this slug.");
        }
        OperationId::ListExpiring => {
            query("before", json!({ "type": "string", "format": "date-time" }), "Until when. Default: in 30 days.")
        }
        OperationId::GetCatalog => query(
            "version",
            json!({ "type": "integer", "minimum": 1, "maximum": 1_000_000_000 }),
            "An earlier version. Default: the one in force.",
        ),
        OperationId::GetAudit | OperationId::GetCatalogAudit => {
            query(
                "format",
                json!({ "enum": ["json", "lines", "csv"] }),
                "`lines` verify: the SHA-256 of each is the `previous` of the next. Default `json`.",
            );
            query(
                "action",
                json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }),
                "Only these, of the page; `json` alone.",
            );
        }
        OperationId::Import => query(
            "overwrite",
            json!({ "enum": ["true", "false"] }),
            "Replace the catalog and records that differ. Default: what is there stays.",
        ),
        OperationId::Publish => query(
            "all",
            json!({ "enum": ["true", "false"] }),
            "Publish everything anew, as after `SNAPSHOT_KEY` was replaced.",
        ),
        OperationId::PutCatalog => query(
            "change_terms",
            json!({ "enum": ["true", "false"] }),
            "What limits are may change under plan versions that tenants have. Default: such a catalog is refused.",
        ),
        OperationId::DeleteTenant => query("reason", json!({ "type": "string" }), "Why: for the audit trail."),
        _ => {}
    }
    let pages = matches!(
        operation.route,
        OperationId::ListTenants
            | OperationId::ListApiKeys
            | OperationId::ListCatalogs
            | OperationId::ListTokens
            | OperationId::ListJobs
            | OperationId::GetJob
            | OperationId::ListDenials
            | OperationId::ListLicences
            | OperationId::ListActivations
            | OperationId::GetAudit
            | OperationId::GetCatalogAudit
            | OperationId::ListExpiring
    );
    if pages {
        query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 1000 }), "Entries of a page. Default 100.");
        query("cursor", json!({ "type": "string" }), "`next_cursor` of the page before.");
    }
    if operation.once {
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }, "description": "Done once, however often it is sent under this key; remembered for a day." }));
    }
    if operation.versioned && operation.method != "GET" {
        parameters.push(json!({ "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string", "pattern": "^\"[0-9]+\"$" }, "description": "The `ETag` that was read: refused where it has changed since." }));
    }
    parameters
}

fn body(route: OperationId, generator: &mut SchemaGenerator) -> Option<Value> {
    Some(
        match route {
            OperationId::CreateTenant => generator.subschema_for::<NewTenant>(),
            OperationId::ChangeTenant | OperationId::ChangeLicence => {
                return Some(json!({ "type": "object", "description": "A merge patch (RFC 7396)." }));
            }
            OperationId::SuspendTenant
            | OperationId::ReactivateTenant
            | OperationId::DeactivateTenant
            | OperationId::MaintainTenant
            | OperationId::OffboardTenant
            | OperationId::KillFeature
            | OperationId::ReviveFeature => generator.subschema_for::<Reasoned>(),
            OperationId::MoveTenant => generator.subschema_for::<MoveTenant>(),
            OperationId::PutOverride => generator.subschema_for::<Override>(),
            OperationId::ClaimDomain => generator.subschema_for::<NewDomain>(),
            OperationId::IssueApiKey => generator.subschema_for::<Issue>(),
            OperationId::RotateApiKey => generator.subschema_for::<Rotate>(),
            OperationId::IssueLicence => generator.subschema_for::<LicenceTerms>(),
            OperationId::ImpersonateTenant => generator.subschema_for::<Impersonate>(),
            OperationId::RefundUsage => generator.subschema_for::<Refund>(),
            OperationId::PutCatalog => generator.subschema_for::<Catalog>(),
            OperationId::CompareCatalog => generator.subschema_for::<ImpactQuestion>(),
        OperationId::Import => {
            let (catalog, tenant, key) = (generator.subschema_for::<Catalog>(), generator.subschema_for::<Tenant>(), generator.subschema_for::<ApiKey>());
            return Some(json!({
                "type": "object", "required": ["catalog", "tenants"], "additionalProperties": false,
                "properties": { "catalog": catalog, "tenants": { "type": "array", "items": tenant }, "api_keys": { "type": "array", "items": key } },
            }));
        }
            OperationId::MovePlan => generator.subschema_for::<MovePlan>(),
            OperationId::IssueToken => generator.subschema_for::<NewToken>(),
            _ => return None,
        }
        .into(),
    )
}

fn answer(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let page = |item: Value| json!({ "type": "object", "required": ["items"], "properties": { "items": { "type": "array", "items": item }, "next_cursor": { "type": ["string", "null"] } } });
    let schema: Value = match operation.route {
        OperationId::GetTenant
        | OperationId::ChangeTenant
        | OperationId::SuspendTenant
        | OperationId::ReactivateTenant
        | OperationId::DeactivateTenant
        | OperationId::MaintainTenant
        | OperationId::OffboardTenant
        | OperationId::MoveTenant
        | OperationId::PutOverride
        | OperationId::RemoveOverride
        | OperationId::RemoveDomain => generator.subschema_for::<Tenant>().into(),
        OperationId::CreateTenant => json!({
            "type": "object", "required": ["tenant", "api_key", "features"],
            "properties": { "tenant": generator.subschema_for::<Tenant>(), "api_key": { "type": ["string", "null"], "description": "Shown once." }, "features": { "type": "array", "items": { "type": "string" } } },
        }),
        OperationId::GetCatalog | OperationId::PutCatalog | OperationId::KillFeature | OperationId::ReviveFeature => {
            generator.subschema_for::<Catalog>().into()
        }
        OperationId::CompareCatalog => generator.subschema_for::<Impacts>().into(),
        OperationId::GetEntitlements => generator.subschema_for::<EntitlementsView<'_>>().into(),
        OperationId::ListTenants
        | OperationId::ListApiKeys
        | OperationId::ListCatalogs
        | OperationId::ListTokens
        | OperationId::ListJobs
        | OperationId::ListDenials
        | OperationId::ListLicences
        | OperationId::ListActivations
        | OperationId::ListExpiring => page(json!({ "type": "object" })),
        OperationId::GetAudit | OperationId::GetCatalogAudit => {
            return json!({ "description": "The trail.", "content": {
                "application/json": { "schema": page(json!({ "type": "object", "required": ["chain", "number", "previous", "at", "actor", "action"] })) },
                "application/x-ndjson": { "schema": { "type": "string" } },
                "text/csv": { "schema": { "type": "string" } },
            } });
        }
        _ => json!({ "type": "object" }),
    };
    json!({ "description": operation.summary, "content": { "application/json": { "schema": schema } } })
}

#[test]
fn the_committed_description_matches_the_types_and_operations() {
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
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } },
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
    let tenant_id = || parameter("tenant", true, json!({ "type": "string" }), "The id of the tenant.");
    let evaluation = json!({ "type": "object", "properties": { "context": { "type": ["object", "null"], "properties": {
        "targetingKey": { "type": "string", "description": "By which rollouts choose: the attribute `targeting_key` of rules." },
        "tenant": { "type": "string", "description": "The tenant's id, for whoever holds the operator's token." },
    } } } });
    let flag = json!({
        "type": "object", "required": ["key", "value", "reason"],
        "properties": { "key": { "type": "string" }, "value": {}, "reason": { "type": "string" }, "variant": { "type": "string" }, "metadata": { "type": "object" } },
    });
    let fault = |description: &str| {
        json!({ "description": description, "content": { "application/json": { "schema": {
        "type": "object", "required": ["errorCode"], "properties": { "key": { "type": "string" }, "errorCode": { "type": "string" }, "errorDetails": { "type": "string" } },
    } } } })
    };
    let codes: Vec<_> =
        Code::ALL.iter().map(|code| format!("- `{}` ({}): {}", code.as_str(), code.status(), code.message())).collect();
    let mut document = json!({
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
                    "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"),
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
                        "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"),
                        "503": failure("`LEDGER_UNAVAILABLE`: send the same events again; each counts once."),
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
            "/_gate/v1/connect": { "get": {
                "operationId": "connect",
                "summary": "Open a socket of a tenant (WebSocket).",
                "description": "Decided by the route of this path, as any request. The credential is in a header, in the subprotocol `bearer.` beside `tenantgate`, or in the first message: `{\"action\": \"auth\", \"token\": …, \"tenantId\": …}`. Clients that offer the subprotocol `tenantgate` are told over a socket why they are refused.",
                "parameters": [
                    parameter("epoch", false, json!({ "type": "string" }), "The log of the position from which the client wants what it has missed."),
                    parameter("seq", false, json!({ "type": "integer", "minimum": 0 }), "The number of the last message that it has seen."),
                    parameter("channel", false, json!({ "type": "array", "items": { "type": "string" } }), "A channel to subscribe to. May be repeated."),
                    parameter("packed", false, json!({ "enum": ["true", "false"] }), "Whether the client takes several messages in one frame."),
                ],
                "responses": {
                    "101": { "description": "The socket is open." },
                    "400": failure("`BAD_REQUEST`"), "401": failure("`UNAUTHENTICATED`"), "403": failure("`TENANT_SUSPENDED` and others"),
                    "404": failure("`TENANT_NOT_FOUND`, or `NOT_FOUND`: the deployment or the catalog has no sockets."), "426": failure("`UPGRADE_REQUIRED`: the request is not one of a WebSocket client."),
                    "429": failure("`CONCURRENCY_LIMITED` and others"), "451": failure("`RESIDENCY_VIOLATION`"), "503": failure("Try again."),
                },
            } },
            "/_gate/v1/messages": { "post": {
                "operationId": "publishMessages",
                "summary": "Send messages to the sockets of a tenant.",
                "description": "Numbers the messages in the order of the tenant, keeps them for clients that return, and sends them. They cost what `realtime.limits` of the catalog says.",
                "security": [{ "operator": [] }],
                "requestBody": { "required": true, "content": { "application/json": { "schema": generator.subschema_for::<MessagesBody>() } } },
                "responses": {
                    "200": { "description": "The position after them; with `descendants` the tenants that received them, and those whose sockets could not be reached.", "content": { "application/json": { "schema": { "type": "object", "properties": {
                        "epoch": { "type": "string" }, "seq": { "type": "integer" },
                        "tenants": { "type": "array", "items": { "type": "string" } }, "failed": { "type": "array", "items": { "type": "string" } },
                    } } } } },
                    "400": failure("`BAD_REQUEST`: the body has problems, all of them in `details.problems`."),
                    "401": failure("`UNAUTHENTICATED`: the operator's token is missing or wrong."),
                    "403": failure("The tenant is not served."), "404": failure("`TENANT_NOT_FOUND`, or `NOT_FOUND`: the deployment or the catalog has no sockets."),
                    "408": failure("`REQUEST_TIMEOUT`"), "409": failure("`TOO_MANY`: too many tenants are below this one."), "413": failure("`PAYLOAD_TOO_LARGE`"),
                    "429": failure("A limit of `realtime.limits` is used up, or the hub is overloaded (`CONCURRENCY_LIMITED`); nothing was published."), "451": failure("`RESIDENCY_VIOLATION`"), "503": failure("Try again."),
                },
            } },
            "/_gate/v1/connections": {
                "get": {
                    "operationId": "connections",
                    "summary": "The connections of a tenant.",
                    "security": [{ "operator": [] }],
                    "parameters": [tenant_id(), parameter("cursor", false, json!({ "type": "string" }), "`cursor` of the page before.")],
                    "responses": {
                        "200": { "description": "A page.", "content": { "application/json": { "schema": { "type": "object", "required": ["connections", "cursor"], "properties": {
                            "connections": { "type": "array", "items": { "type": "object", "required": ["connectionId", "userId", "connectedAt", "channels"], "properties": {
                                "connectionId": { "type": "string" }, "userId": { "type": ["string", "null"] }, "connectedAt": { "type": "string", "format": "date-time" }, "channels": { "type": "array", "items": { "type": "string" } },
                            } } },
                            "cursor": { "type": ["string", "null"] },
                        } } } } },
                        "400": failure("`BAD_REQUEST`: the query has problems, all of them in `details.problems`."),
                        "401": failure("`UNAUTHENTICATED`"), "403": failure("The tenant is not served."), "404": failure("`TENANT_NOT_FOUND`, or `NOT_FOUND`: the deployment has no sockets."), "503": failure("Try again."),
                    },
                },
                "delete": {
                    "operationId": "closeConnection",
                    "summary": "Close a connection.",
                    "security": [{ "operator": [] }],
                    "parameters": [tenant_id(), parameter("id", true, json!({ "type": "string", "minLength": 1 }), "The id of the connection.")],
                    "responses": {
                        "200": { "description": "Whether there was such a connection.", "content": { "application/json": { "schema": { "type": "object", "required": ["closed"], "properties": { "closed": { "type": "boolean" } } } } } },
                        "400": failure("`BAD_REQUEST`: the query has problems, all of them in `details.problems`."),
                        "401": failure("`UNAUTHENTICATED`"), "403": failure("The tenant is not served."), "404": failure("`TENANT_NOT_FOUND`, or `NOT_FOUND`: the deployment has no sockets."), "503": failure("Try again."),
                    },
                },
            },
            "/_gate/v1/presence": { "get": {
                "operationId": "presence",
                "summary": "The users in a channel.",
                "security": [{ "operator": [] }],
                "parameters": [tenant_id(), parameter("channel", true, generator.subschema_for::<ChannelName>().into(), "The channel.")],
                "responses": {
                    "200": { "description": "The users, at most 200, and how many there are.", "content": { "application/json": { "schema": { "type": "object", "required": ["channel", "users", "total"], "properties": {
                        "channel": { "type": "string" }, "users": { "type": "array", "items": { "type": "string" } }, "total": { "type": "integer" },
                    } } } } },
                    "400": failure("`BAD_REQUEST`: the query has problems, all of them in `details.problems`."),
                    "401": failure("`UNAUTHENTICATED`"), "403": failure("The tenant is not served."), "404": failure("`TENANT_NOT_FOUND`, or `NOT_FOUND`: the deployment has no sockets."), "503": failure("Try again."),
                },
            } },
            "/_gate/v1/features": { "get": {
                "operationId": "features",
                "summary": "What a page may know of its tenant's features, to evaluate them itself.",
                "description": "The tenant is found as for a gated request. Only features with `client: true`, with the rules that can apply to the tenant. With `If-None-Match` 304 where nothing has changed; with `Prefer: wait=N` (RFC 7240, up to 30 seconds) only once that long nothing has.",
                "parameters": [
                    { "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" }, "description": "The `ETag` of what is known." },
                    { "name": "Prefer", "in": "header", "required": false, "schema": { "type": "string" }, "description": "`wait=25`: how many seconds to wait for a change." },
                ],
                "responses": {
                    "200": { "description": "The snapshot.", "content": { "application/json": { "schema": generator.subschema_for::<ClientSnapshot>() } } },
                    "304": { "description": "Nothing has changed." },
                    "400": failure("The request names its tenant badly."), "401": failure("`UNAUTHENTICATED`"), "403": failure("`TENANT_SUSPENDED` and others"),
                    "404": failure("`TENANT_NOT_FOUND`"), "451": failure("`RESIDENCY_VIOLATION`"), "503": failure("Try again."),
                },
            } },
            "/_gate/ofrep/v1/evaluate/flags": { "post": {
                "operationId": "evaluateFlags",
                "summary": "Evaluate all flags (OFREP 0.2), for any OpenFeature SDK.",
                "description": "The tenant is found as for a gated request, and is told what its pages may know (`client: true`). With the operator's token the attribute `tenant` of the context says whose flags, and all are told.",
                "security": [{}, { "operator": [] }],
                "parameters": [{ "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" }, "description": "The `ETag` of what is known." }],
                "requestBody": { "required": false, "content": { "application/json": { "schema": evaluation } } },
                "responses": {
                    "200": { "description": "The flags.", "content": { "application/json": { "schema": { "type": "object", "required": ["flags"], "properties": { "flags": { "type": "array", "items": flag } } } } } },
                    "304": { "description": "With this context they are what they were." },
                    "400": fault("`PARSE_ERROR` or `INVALID_CONTEXT`."), "401": fault("No credential, or one that is not good."), "403": fault("The tenant is not served."),
                    "404": fault("No such tenant."), "413": failure("`PAYLOAD_TOO_LARGE`"), "408": fault("The body took too long."), "451": fault("Not from here."), "503": fault("Try again."),
                },
            } },
            "/_gate/ofrep/v1/evaluate/flags/{key}": { "post": {
                "operationId": "evaluateFlag",
                "summary": "Evaluate one flag (OFREP 0.2).",
                "security": [{}, { "operator": [] }],
                "parameters": [{ "name": "key", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }],
                "requestBody": { "required": false, "content": { "application/json": { "schema": evaluation } } },
                "responses": {
                    "200": { "description": "The flag.", "content": { "application/json": { "schema": flag } } },
                    "400": fault("`PARSE_ERROR` or `INVALID_CONTEXT`."), "401": fault("No credential, or one that is not good."), "403": fault("The tenant is not served."),
                    "404": fault("`FLAG_NOT_FOUND`, or no such tenant."), "413": failure("`PAYLOAD_TOO_LARGE`"), "408": fault("The body took too long."), "451": fault("Not from here."), "503": fault("Try again."),
                },
            } },
            "/_gate/healthz": { "get": {
                "operationId": "health",
                "summary": "Whether a catalog is held.",
                "responses": { "200": { "description": "It is." }, "503": { "description": "None can be had." } },
            } },
            "/_gate/v1/tickets": { "post": {
                "operationId": "redeem",
                "summary": "Redeem a ticket of support, once, for an API key that ends after a quarter of an hour.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": generator.subschema_for::<Ticket>() } } },
                "responses": {
                    "201": { "description": "The key, shown once.", "content": { "application/json": { "schema": { "type": "object" } } } },
                    "400": failure("`BAD_REQUEST`"), "401": failure("`UNAUTHENTICATED`: the ticket is unknown, was used, or has expired."), "429": failure("`RATE_LIMITED`: too many from one address that led to nothing."),
                    "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"), "409": failure("`CONFLICT`"), "404": failure("`NOT_FOUND`: the tenant is gone."),
                    "503": failure("`CONTROL_UNAVAILABLE`"),
                },
            } },
            "/_gate/v1/licences/validate": { "post": {
                "operationId": "validate",
                "summary": "Whether a licence key is good on a domain; activates the instance.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": generator.subschema_for::<LicenceQuestion>() } } },
                "responses": {
                    "200": { "description": "Whether it is: `valid` and `code`; `offline.token` is a signed licence for use without asking.", "content": { "application/json": { "schema": {
                        "type": "object", "required": ["valid", "code"],
                        "properties": { "valid": { "type": "boolean" }, "code": generator.subschema_for::<LicenceCode>(), "licence": { "type": "string" }, "tenant": { "type": "string" }, "features": { "type": "array", "items": { "type": "string" } } },
                    } } } },
                    "400": failure("`BAD_REQUEST`"), "429": failure("`RATE_LIMITED`: too many from one address that led to nothing."), "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"), "503": failure("`CONTROL_UNAVAILABLE`"),
                },
            } },
            "/_gate/v1/licences/deactivate": { "post": {
                "operationId": "deactivate",
                "summary": "End the activation of an instance: another one may take its place.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": generator.subschema_for::<Deactivate>() } } },
                "responses": {
                    "200": { "description": "Whether one was ended, and when its place is free: `free_at`, null where it is at once.", "content": { "application/json": { "schema": { "type": "object" } } } },
                    "400": failure("`BAD_REQUEST`"), "404": failure("`NOT_FOUND`"), "429": failure("`RATE_LIMITED`: too many from one address that led to nothing."), "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"), "503": failure("`CONTROL_UNAVAILABLE`"),
                },
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
            "securitySchemes": { "operator": { "type": "http", "scheme": "bearer", "description": "The secret `OPERATOR_TOKEN` of the deployment." }, "admin": { "type": "http", "scheme": "bearer", "description": "The secret `OPERATOR_TOKEN`, an admin token, or a tenant's own token with the scope `tenantgate:admin`." } },
        },
    });
    for (path, item) in admin(&mut generator) {
        document["paths"][path] = item;
    }
    document["components"]["schemas"] = components(&mut generator);
    for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        // Only documents that the gate reads forbid unknown members, and their texts have bounds.
        if schema["additionalProperties"] == json!(false) {
            bound_texts(schema, MAX_TEXT_BYTES);
        }
    }
    bound_texts(&mut document["components"]["schemas"]["DecideBody"], MAX_BODY_BYTES);
    document["components"]["schemas"]["Failure"] = envelope;
    document["components"]["responses"] = json!({
        "400": failure("`BAD_REQUEST`: what was sent has problems, all of them in `details.problems`."),
        "401": failure("`UNAUTHENTICATED`: no token, or one that is not good."),
        "403": failure("`FORBIDDEN`: the token does not allow it."),
        "404": failure("`NOT_FOUND`: the resource is unknown, or belongs to another tenant."),
        "409": failure("What is stands against it: `code` says what."),
        "408": failure("`REQUEST_TIMEOUT`: the body took longer than 30 seconds."),
        "412": failure("`PRECONDITION_FAILED`: it is no longer what `If-Match` names."),
        "408": failure("`REQUEST_TIMEOUT`"), "413": failure("`PAYLOAD_TOO_LARGE`"),
        "422": failure("`IDEMPOTENCY_KEY_REUSED`"),
        "429": failure("`RATE_LIMITED`: too many bad tokens from one address, or more changes than a tenant's own admins may make."),
        "503": failure("`CONTROL_UNAVAILABLE`: try again."),
    });
    committed("src/worker/openapi.json", &document);
}

fn components(generator: &mut SchemaGenerator) -> Value {
    Value::Object(generator.take_definitions(true))
}

/// Every endpoint that programs call is described, with its method.
#[test]
fn every_endpoint_is_described() {
    let text = include_str!("../src/worker/openapi.json");
    let described: Value = serde_json::from_str(text).unwrap();
    let paths = described["paths"].as_object().unwrap();
    for endpoint in ENDPOINTS {
        let is_page = matches!(endpoint.id, EndpointId::Playground | EndpointId::Docs | EndpointId::OpenApi);
        if is_page || ["*", "OPTIONS"].contains(&endpoint.method) {
            continue;
        }
        let prefix = endpoint.path.trim_end_matches("/*");
        let found = paths.iter().any(|(path, item)| {
            (path == prefix || path.starts_with(&format!("{prefix}/")))
                && item.get(endpoint.method.to_lowercase()).is_some()
        });
        assert!(found, "{} {} is not described", endpoint.method, endpoint.path);
    }
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("/_gate/v1/admin")) {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let concrete = path.replace("{key}", "one");
            assert!(endpoint(&method.to_uppercase(), &concrete).is_ok(), "{method} {path} is not in the table");
        }
    }
}

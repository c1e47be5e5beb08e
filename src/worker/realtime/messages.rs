//! The operator's endpoints: messages to the sockets of tenants, and who is connected.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;
use web_sys::Response;

use super::client::{self, Address};
use super::object::Published;
use crate::gate::{Code, Decision, Entitlements, Gate, Progress};
use crate::ledger::WaitFailure;
use crate::model::bounds::{MAX_DESCENDANTS, MAX_PUBLISHED_BODY_BYTES};
use crate::model::{ChannelName, Problem, Problems, TenantId, UnixMillis};
use crate::wire::MessagesBody;
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::clock::Patience;
use crate::worker::sources::d1::{Store, number, sql, text};
use crate::worker::sources::drive::{GateQuestion, drive};

/// Where a tenant's hub is.
struct AddressQuestion<'q>(&'q TenantId);

impl GateQuestion for AddressQuestion<'_> {
    type Answer = Result<Address, Code>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        let address = |tenant: std::sync::Arc<Entitlements>| Address::new(&tenant.tenant().id, tenant.root());
        match gate.tenant(self.0, now) {
            Progress::Need(need) => Progress::Need(need),
            Progress::Ready(found) => Progress::Ready(found.map(address)),
        }
    }

    fn is_unknown(answer: &Self::Answer) -> bool {
        *answer == Err(Code::TenantNotFound)
    }
}

async fn address_of(tenant: &TenantId, call: &Call, config: &Rc<Config>) -> Result<Address, Response> {
    let refused = |code| {
        let decision = Decision::refused(code, "the tenant has no sockets", UnixMillis::default());
        reply::unavailable(call, &decision)
    };
    match drive(AddressQuestion(tenant), config, &call.context, Patience::new()).await {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(code)) => Err(refused(code)),
        Err(_) => Err(reply::unavailable(call, &gateway::unavailable())),
    }
}

/// The answer of a hub as a response. A refusal has the hub's code.
fn passed_on(call: &Call, answer: Option<(u16, String)>) -> Response {
    match answer {
        Some((status, text)) => reply::document(status, &text),
        None => reply::unavailable(call, &gateway::unavailable()),
    }
}

/// `POST /_gate/v1/messages`: sends messages to the sockets of a tenant. Returns the position after
/// them.
pub(crate) async fn publish(call: &Call, config: &Rc<Config>) -> Response {
    if config.hubs.is_undefined() {
        return Failure::NOT_FOUND.respond(call);
    }
    let text = match reply::body(call, MAX_PUBLISHED_BODY_BYTES).await {
        Ok(text) => text,
        Err(failure) => return failure.respond(call),
    };
    let body = match MessagesBody::parse(&text) {
        Ok(body) => body,
        Err(problems) => return reply::invalid(call, &problems),
    };
    let messages: Vec<Published> = body
        .messages
        .iter()
        .map(|one| Published { target: one.target().to_string(), data: one.data.to_string() })
        .collect();
    let messages = json!(messages).to_string();
    let own = match address_of(&body.tenant, call, config).await {
        Ok(own) => own,
        Err(response) => return response,
    };
    if !body.descendants {
        return passed_on(call, client::answer(client::ask(config, &own, "/publish", &messages)).await);
    }
    let below = match below(&own, call, config).await {
        Ok(below) => below,
        Err(response) => return response,
    };
    let all: Vec<Address> = std::iter::once(own).chain(below).collect();
    let asked: Vec<_> = all.iter().map(|one| (one, client::ask(config, one, "/publish", &messages))).collect();
    let (mut sent, mut failed) = (Vec::new(), Vec::new());
    for (one, asked) in asked {
        match client::answer(asked).await {
            Some((200, _)) => sent.push(one.tenant.as_str()),
            _ => failed.push(one.tenant.as_str()),
        }
    }
    reply::document(200, &json!({ "tenants": sent, "failed": failed }).to_string())
}

/// The tenants below a tenant that are served.
async fn below(own: &Address, call: &Call, config: &Rc<Config>) -> Result<Vec<Address>, Response> {
    if config.control.is_undefined() {
        return Err(reply::invalid(
            call,
            &Problems(vec![Problem {
                path: String::from("$.descendants"),
                found: String::from("true"),
                expected: String::from("false: without `CONTROL_DB` nothing knows the tenants below"),
            }]),
        ));
    }
    let tree = sql!(
        "WITH RECURSIVE below (id, depth) AS (SELECT id, 1 FROM tenants WHERE parent = ?1 \
         UNION ALL SELECT tenants.id, depth + 1 FROM tenants JOIN below ON tenants.parent = below.id WHERE depth < 16) \
         SELECT id, count(*) OVER () AS total FROM below JOIN tenants USING (id) WHERE status = 'active' LIMIT ?2",
        own.tenant,
        MAX_DESCENDANTS
    );
    let rows = Store::new(&config.control).rows(tree).await;
    let rows = rows.map_err(|_| reply::unavailable(call, &gateway::unavailable()))?;
    if rows.first().map_or(0, |row| number(row, "total")) > MAX_DESCENDANTS {
        return Err(Failure::TOO_MANY_DESCENDANTS.respond(call));
    }
    Ok(rows.iter().map(|row| Address { tenant: text(row, "id").to_owned(), root: own.root.clone() }).collect())
}

/// `GET /_gate/v1/connections`: lists the connections of a tenant.
pub(crate) async fn list(call: &Call, config: &Rc<Config>) -> Response {
    ask(call, config, &["tenant", "cursor"], "/list", |query| Ok(query.get("cursor").cloned().unwrap_or_default()))
        .await
}

/// `DELETE /_gate/v1/connections`: closes a connection.
pub(crate) async fn close(call: &Call, config: &Rc<Config>) -> Response {
    ask(call, config, &["tenant", "id"], "/close", |query| match query.get("id") {
        Some(id) if !id.is_empty() => Ok(id.clone()),
        _ => Err(("id", "the id of a connection")),
    })
    .await
}

/// `GET /_gate/v1/presence`: lists the users in a channel.
pub(crate) async fn present(call: &Call, config: &Rc<Config>) -> Response {
    ask(call, config, &["tenant", "channel"], "/present", |query| {
        let channel = query.get("channel").filter(|channel| ChannelName::is_valid(channel));
        channel.cloned().ok_or(("channel", "the name of a channel"))
    })
    .await
}

/// Asks the hub of the tenant in the query. `body` makes the question of the other parameters.
async fn ask(
    call: &Call,
    config: &Rc<Config>,
    known: &[&str],
    path: &str,
    body: impl FnOnce(&BTreeMap<String, String>) -> Result<String, (&'static str, &'static str)>,
) -> Response {
    if config.hubs.is_undefined() {
        return Failure::NOT_FOUND.respond(call);
    }
    let query: BTreeMap<String, String> = form_urlencoded::parse(call.query().as_bytes()).into_owned().collect();
    let mut problems: Vec<Problem> = Vec::new();
    let mut problem = |name: &str, expected: &str| {
        let found = query.get(name).map_or_else(|| String::from("nothing"), Clone::clone);
        problems.push(Problem { path: name.to_owned(), found, expected: expected.to_owned() });
    };
    let tenant = query.get("tenant").and_then(|id| TenantId::parse(id));
    if tenant.is_none() {
        problem("tenant", "the id of a tenant");
    }
    for name in query.keys().filter(|name| !known.contains(&name.as_str())) {
        problem(name, &format!("no such parameter: {}", known.join(", ")));
    }
    let body = body(&query).map_err(|(name, expected)| problem(name, expected));
    let (Some(tenant), Ok(body), []) = (tenant, body, problems.as_slice()) else {
        return reply::invalid(call, &Problems(problems));
    };
    match address_of(&tenant, call, config).await {
        Ok(address) => passed_on(call, client::answer(client::ask(config, &address, path, &body)).await),
        Err(response) => response,
    }
}

//! The operator's endpoints: messages to the sockets of tenants, and who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};
use web_sys::Response;

use super::client::{self, Address, Publication};
use super::object::Published;
use super::state::denied;
use crate::gate::{Code, Decision, Entitlements, Gate, Progress};
use crate::ledger::WaitFailure;
use crate::model::bounds::{MAX_DESCENDANTS, MAX_PRESENT, MAX_PUBLISHED_BODY_BYTES};
use crate::model::{ChannelName, Problem, Problems, TenantId, UnixMillis, gather};
use crate::wire::MessagesBody;
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::clock::Patience;
use crate::worker::sources::d1::{Store, number, sql, text};
use crate::worker::sources::drive::{GateQuestion, drive};

/// Milliseconds after which a caller may try an overloaded hub again.
const OVERLOADED_MS: u64 = 1_000;

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

/// What became of messages, as a response. A refusal has the hub's code.
fn published(call: &Call, publication: Publication) -> Response {
    match publication {
        Publication::Answered(429, text) => {
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let retry_after_ms = body.pointer("/error/details/retry_after_ms").and_then(Value::as_u64);
            reply::document_with_retry(429, &text, retry_after_ms)
        }
        Publication::Answered(status, text) => reply::document(status, &text),
        Publication::Overloaded => {
            let retry_after_ms = Some(OVERLOADED_MS);
            let (status, body) = denied((Code::ConcurrencyLimited, retry_after_ms));
            reply::document_with_retry(status, &body.to_string(), retry_after_ms)
        }
        Publication::Failed => reply::unavailable(call, &gateway::unavailable()),
    }
}

/// `POST /_gate/v1/messages`: sends messages to the sockets of a tenant. Returns the position after
/// them.
pub(crate) async fn publish(call: &Call, config: &Rc<Config>) -> Response {
    if config.hubs.is_none() {
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
        return published(call, client::publish(config, &own, &messages, &call.context).await);
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
            Some((200, line)) if client::read_line(&line).is_some_and(|(status, _)| status == 200) => {
                sent.push(one.tenant.as_str());
            }
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
    Ok(rows.iter().map(|row| Address { tenant: text(row, "id").to_owned(), ..own.clone() }).collect())
}

/// `GET /_gate/v1/connections`: lists the connections of a tenant, hub by hub. A cursor is the
/// number of a hub, `:`, and the id of the last connection.
pub(crate) async fn list(call: &Call, config: &Rc<Config>) -> Response {
    let (address, query) = match address_in(call, config, &["tenant", "cursor"]).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let cursor = query.get("cursor").and_then(|cursor| cursor.split_once(':'));
    let (shard, after) = cursor.and_then(|(shard, after)| Some((shard.parse().ok()?, after))).unwrap_or((0, ""));
    let asked = client::ask(config, &address.at(shard), "/list", after);
    let shards = shards(&address, config).await;
    let page = client::answer(asked).await.filter(|(status, _)| *status == 200);
    let page = page.and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
    let Some(mut page) = page else { return reply::unavailable(call, &gateway::unavailable()) };
    let next = match page.get("cursor").and_then(Value::as_str) {
        Some(last) => Some(format!("{shard}:{last}")),
        None => shards.into_iter().find(|other| *other > shard).map(|other| format!("{other}:")),
    };
    if let Some(page) = page.as_object_mut() {
        page.insert(String::from("cursor"), json!(next));
    }
    reply::document(200, &page.to_string())
}

/// `DELETE /_gate/v1/connections`: closes a connection.
pub(crate) async fn close(call: &Call, config: &Rc<Config>) -> Response {
    let (address, query) = match address_in(call, config, &["tenant", "id"]).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let Some(id) = query.get("id").filter(|id| !id.is_empty()) else {
        return invalid(call, &query, "id", "the id of a connection");
    };
    let mut closed = false;
    for shard in std::iter::once(0).chain(shards(&address, config).await) {
        let Some((200, text)) = client::answer(client::ask(config, &address.at(shard), "/close", id)).await else {
            return reply::unavailable(call, &gateway::unavailable());
        };
        closed |= text.contains("true");
    }
    reply::document(200, &json!({ "closed": closed }).to_string())
}

/// `GET /_gate/v1/presence`: lists the users in a channel.
pub(crate) async fn present(call: &Call, config: &Rc<Config>) -> Response {
    let (address, query) = match address_in(call, config, &["tenant", "channel"]).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let Some(channel) = query.get("channel").filter(|channel| ChannelName::is_valid(channel)) else {
        return invalid(call, &query, "channel", "the name of a channel");
    };
    let (mut users, mut total) = (BTreeSet::new(), 0_u64);
    for shard in std::iter::once(0).chain(shards(&address, config).await) {
        let heard = client::answer(client::ask(config, &address.at(shard), "/present", channel)).await;
        let heard = heard.filter(|(status, _)| *status == 200);
        let Some(Present { users: own, total: all }) = heard.and_then(|(_, text)| serde_json::from_str(&text).ok())
        else {
            return reply::unavailable(call, &gateway::unavailable());
        };
        // A user may be connected to several hubs.
        let known = own.iter().filter(|user| users.contains(*user)).count();
        total = total.saturating_add(all.saturating_sub(u64::try_from(known).unwrap_or(0)));
        users.extend(own);
    }
    let users: Vec<String> = users.into_iter().take(MAX_PRESENT).collect();
    reply::document(200, &json!({ "channel": channel, "users": users, "total": total }).to_string())
}

/// The users in a channel of one hub.
#[derive(Deserialize)]
struct Present {
    users: Vec<String>,
    total: u64,
}

/// The further hubs of a tenant.
async fn shards(address: &Address, config: &Rc<Config>) -> Vec<u32> {
    match client::answer(client::ask(config, address, "/shards", "")).await {
        Some((200, text)) => serde_json::from_str(&text).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn invalid(call: &Call, query: &BTreeMap<String, String>, name: &str, expected: &str) -> Response {
    let found = query.get(name).map_or_else(|| String::from("nothing"), Clone::clone);
    let problem = Problem { path: name.to_owned(), found, expected: expected.to_owned() };
    reply::invalid(call, &Problems(vec![problem]))
}

/// The first hub of the tenant in the query, and the query.
async fn address_in(
    call: &Call,
    config: &Rc<Config>,
    known: &[&str],
) -> Result<(Address, BTreeMap<String, String>), Response> {
    if config.hubs.is_none() {
        return Err(Failure::NOT_FOUND.respond(call));
    }
    let query: BTreeMap<String, String> = gather(form_urlencoded::parse(call.query().as_bytes()).into_owned());
    if let Some(name) = query.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid(call, &query, name, &format!("no such parameter: {}", known.join(", "))));
    }
    let Some(tenant) = query.get("tenant").and_then(|id| TenantId::parse(id)) else {
        return Err(invalid(call, &query, "tenant", "the id of a tenant"));
    };
    Ok((address_of(&tenant, call, config).await?, query))
}

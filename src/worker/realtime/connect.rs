//! `GET /_gate/v1/connect`: opens a socket.
//!
//! The request is decided like any other, by the route of this path. Three doors lead to the hub:
//!
//! - The request has a credential: in `Authorization`, in the header of API keys, in a cookie of
//!   the same origin, or as the subprotocol `bearer.…` beside `tenantgate`, because pages cannot
//!   set headers. The hub opens the socket as a member's.
//! - It has none, but names its tenant, for example by its host. The hub opens the socket, and
//!   decides the request with the credential that the first message brings.
//! - It has neither. It waits in a lobby (`lobby`) until the first message brings a credential,
//!   which names the tenant.
//!
//! A client that offers the subprotocol `tenantgate` is told over a socket why it was denied:
//! pages see nothing of a refused upgrade. Others, and malformed requests, get an HTTP response.

use std::rc::Rc;
use std::sync::Arc;

use wasm_bindgen::JsCast;
use web_sys::Response;

use super::client::Address;
use super::judge;
use super::upgrade::{self, Unopened, Upgrade};
use crate::gate::{Code, Decision, Entitlements, Gate, Progress};
use crate::ledger::WaitFailure;
use crate::model::bounds::MAX_GUEST_QUESTION_BYTES;
use crate::model::{ChannelName, Problem, Problems, UnixMillis};
use crate::realtime::{Admission, CloseCode, Denied, Opening, Position, SocketFailure, refused};
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::http::call::{Call, Resolved};
use crate::worker::http::reply::{self, Failure};
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::runtime::edge;
use crate::worker::sources::custom_resolver;
use crate::worker::sources::drive::{GateQuestion, drive};

/// The subprotocol of clients that read frames, also about a refusal.
const PROTOCOL: &str = "tenantgate";
/// The subprotocol that carries a credential.
const BEARER: &str = "bearer.";

/// Which tenant a request without a credential names.
struct NamedQuestion<'c> {
    call: &'c mut Call,
    config: &'c Rc<Config>,
}

impl GateQuestion for NamedQuestion<'_> {
    type Answer = Result<Option<Arc<Entitlements>>, Code>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        self.call.read_again(self.config);
        let headers = self.call.headers();
        gate.named(&self.call.request(&headers, self.config), now)
    }

    fn is_unknown(answer: &Self::Answer) -> bool {
        matches!(answer, Err(Code::TenantNotFound))
    }

    async fn ask_resolver(&mut self) -> bool {
        self.call.custom = custom_resolver::resolve(self.call, self.config).await;
        true
    }
}

/// Opens a socket, or says why not.
pub(crate) async fn answer(call: Call, config: &Rc<Config>) -> Response {
    if config.hubs.is_none() {
        return Failure::NOT_FOUND.respond(&call);
    }
    let query: Vec<(String, String)> = form_urlencoded::parse(call.query().as_bytes()).into_owned().collect();
    if let Err((name, found, expected)) = check(&query) {
        let problem = Problem { path: name.to_owned(), found: found.to_owned(), expected: expected.to_owned() };
        return reply::invalid(&call, &Problems(vec![problem]));
    }
    if edge::header(&call.request, "upgrade").is_none_or(|upgrade| !upgrade.eq_ignore_ascii_case("websocket")) {
        return Failure::UPGRADE.respond(&call);
    }
    // URLs are logged on their way.
    if query.iter().any(|(name, _)| matches!(name.as_str(), "token" | "access_token" | "api_key")) {
        return Failure::CREDENTIAL_IN_URL.respond(&call);
    }
    let offered = edge::header(&call.request, "sec-websocket-protocol").unwrap_or_default();
    let mut offered = offered.split(',').map(str::trim);
    let protocol = offered.clone().any(|one| one == PROTOCOL).then_some(PROTOCOL);
    let presented = offered.find_map(|one| one.strip_prefix(BEARER)).filter(|_| protocol.is_some());
    let mut call = match presented {
        Some(token) => {
            let (name, value) = match judge::header_of(token, config, &call.context).await {
                Ok(header) => header,
                Err(code) => return refuse_by(&call, code, protocol),
            };
            let Some(request) = edge::with_credential(&call.request, &name, &value) else {
                return refuse_by(&call, Code::BadRequest, protocol);
            };
            match Call::read(request, call.context.clone().into(), config) {
                Some(call) => call,
                None => return reply::unreadable(),
            }
        }
        None => call,
    };
    let decided_at = clock::now();
    let decision = gateway::decide_own(&mut call, config).await;
    let offer = Offer { protocol, query };
    if decision.allowed() {
        return as_member(&call, &decision, decided_at, offer, config).await;
    }
    let lacks_credential = decision.extras().challenge.as_ref().is_some_and(|challenge| challenge.is_missing);
    if lacks_credential && has_sockets(&decision) {
        return as_guest(&mut call, offer, config).await;
    }
    refuse(&call, &decision, protocol)
}

/// Checks the parameters that this endpoint reads. The error: name, value, and what it should be.
fn check(query: &[(String, String)]) -> Result<(), (&str, &str, &'static str)> {
    for (name, value) in query {
        let expected = match name.as_str() {
            "seq" if value.parse::<u64>().is_err() => "a whole number",
            "packed" if !matches!(value.as_str(), "true" | "false") => "`true` or `false`",
            "channel" if !ChannelName::is_valid(value) => "the name of a channel",
            _ => continue,
        };
        return Err((name, value, expected));
    }
    Ok(())
}

/// What a client offers and asks for when it opens a socket.
struct Offer {
    protocol: Option<&'static str>,
    query: Vec<(String, String)>,
}

impl Offer {
    /// The first parameter with which the client asks for something.
    fn asked(&self) -> Option<&(String, String)> {
        self.query.iter().find(|(name, _)| matches!(name.as_str(), "epoch" | "seq" | "channel" | "packed"))
    }

    fn upgrade(&self, address: Address) -> Upgrade {
        let value = |name: &str| self.query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let since = value("epoch").zip(value("seq").and_then(|seq| seq.parse().ok()));
        Upgrade {
            address,
            admission: None,
            decided_at: 0,
            question: String::new(),
            client: String::new(),
            opening: Opening {
                since: since.map(|(epoch, seq)| Position { epoch: epoch.to_owned(), seq }),
                channels: self.query.iter().filter(|(name, _)| name == "channel").map(|(_, one)| one.clone()).collect(),
                packed: value("packed") == Some("true"),
                reply_id: None,
            },
            protocol: self.protocol.map(String::from),
        }
    }
}

/// The request has a credential, or its route needs none.
async fn as_member(
    call: &Call,
    decision: &Decision,
    decided_at: UnixMillis,
    offer: Offer,
    config: &Rc<Config>,
) -> Response {
    if !has_sockets(decision) {
        return Failure::NOT_FOUND.respond(call);
    }
    let protocol = offer.protocol;
    let Some(tenant) = &decision.tenant else { return refuse_by(call, Code::TenantNotFound, protocol) };
    let nobody = || Admission {
        user: None,
        holder: String::new(),
        scopes: Vec::new(),
        expires_at: None,
        credential: String::new(),
    };
    let admission = Some(judge::of(decision).unwrap_or_else(nobody));
    let upgrade = Upgrade {
        admission,
        decided_at: decided_at.get(),
        ..offer.upgrade(Address::new(&tenant.tenant().id, tenant.root()))
    };
    to_hub(call, &upgrade, config).await
}

/// The request has no credential yet.
async fn as_guest(call: &mut Call, offer: Offer, config: &Rc<Config>) -> Response {
    let context = call.context.clone();
    let protocol = offer.protocol;
    if let Some((name, found)) = offer.asked() {
        let expected = String::from("a member of the first message, because the request has no credential");
        return reply::invalid(
            call,
            &Problems(vec![Problem { path: name.to_owned(), found: found.to_owned(), expected }]),
        );
    }
    let named = drive(NamedQuestion { call: &mut *call, config }, config, &context, Patience::new()).await;
    let address = match named {
        Ok(Ok(Some(tenant))) => Some(Address::new(&tenant.tenant().id, tenant.root())),
        Ok(Ok(None)) => None,
        Ok(Err(code)) => return refuse_by(call, code, protocol),
        Err(_) => return refuse_by(call, Code::SnapshotUnavailable, protocol),
    };
    let custom = match &call.custom {
        Resolved::Named(name) => Some(name.as_str()),
        _ => None,
    };
    let at = (call.host(), call.path(), call.query());
    let question = judge::question(call.method(), at, &call.headers(), custom);
    if question.len() > MAX_GUEST_QUESTION_BYTES {
        return refuse_by(call, Code::BadRequest, protocol);
    }
    let client = edge::network(&edge::address(&call.request).unwrap_or_default());
    let Some(address) = address else { return to_lobby(call, offer, &question, &client, config).await };
    to_hub(call, &Upgrade { question, client, ..offer.upgrade(address) }, config).await
}

/// Leads the request to a lobby of its client that has room.
async fn to_lobby(call: &Call, offer: Offer, question: &str, client: &str, config: &Rc<Config>) -> Response {
    let protocol = offer.protocol;
    let mut refused = (Code::ConcurrencyLimited, None);
    for lobby in Address::lobbies(client) {
        let upgrade = Upgrade { question: question.to_owned(), client: client.to_owned(), ..offer.upgrade(lobby) };
        match upgrade::knock(config, &upgrade, "/wait").await {
            Ok(response) if response.status() == 101 => return response,
            Ok(response) if upgrade::is_full(&response) => {}
            Ok(response) if protocol.is_none() => return response,
            Ok(response) => {
                refused = upgrade::denial(&response);
                break;
            }
            Err(unopened) => {
                refused = unopened.denied;
                break;
            }
        }
    }
    refuse_over(call, refused, protocol)
}

/// Whether the catalog has sockets.
fn has_sockets(decision: &Decision) -> bool {
    decision.catalog.as_ref().is_some_and(|catalog| catalog.document().realtime.is_some())
}

/// Leads the request to the tenant's hub.
async fn to_hub(call: &Call, upgrade: &Upgrade, config: &Rc<Config>) -> Response {
    let protocol = upgrade.protocol.as_ref().map(|_| PROTOCOL);
    match upgrade::open(config, upgrade).await {
        Ok(response) => response,
        Err(Unopened { response: Some(response), .. }) if protocol.is_none() => response,
        Err(unopened) => refuse_over(call, unopened.denied, protocol),
    }
}

fn refuse(call: &Call, decision: &Decision, protocol: Option<&'static str>) -> Response {
    match protocol {
        Some(protocol) => over_socket(decision.code, decision.extras().retry_after_ms, protocol),
        None => reply::decision(call, decision),
    }
}

fn refuse_by(call: &Call, code: Code, protocol: Option<&'static str>) -> Response {
    refuse_over(call, (code, None), protocol)
}

fn refuse_over(call: &Call, (code, wait_ms): Denied, protocol: Option<&'static str>) -> Response {
    match protocol {
        Some(protocol) => over_socket(code, wait_ms, protocol),
        None => reply::decision(call, &Decision::refused(code, "no socket", UnixMillis::default())),
    }
}

/// Refuses by a socket that says why and closes.
fn over_socket(code: Code, retry_after_ms: Option<u64>, protocol: &str) -> Response {
    let frame = refused(SocketFailure::by(code), retry_after_ms, None);
    let CloseCode { status, reason } = CloseCode::by(code);
    edge::refused_socket(&frame, status, reason, protocol).unchecked_into()
}

//! The messages on a socket: what clients send, and what they receive.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::gate::Code;
use crate::model::ChannelName;

/// A position in the order of a tenant's messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The name of the log. A log that has lost anything gets a new one.
    pub epoch: String,
    /// The number of the last message seen.
    pub seq: u64,
}

/// What a client sends. An action reads the members that it needs and ignores the others.
#[derive(Debug, Deserialize)]
pub(super) struct ClientFrame<'a> {
    #[serde(borrow)]
    pub(super) action: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) token: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "tenantId")]
    pub(super) tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) to: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) channels: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) since: Option<Position>,
    #[serde(default)]
    pub(super) packed: bool,
    #[serde(default)]
    pub(super) presence: bool,
}

/// Maximum bytes of the `id` that a client gives a message, and that the reply repeats.
const MAX_REPLY_ID_BYTES: usize = 64;

impl ClientFrame<'_> {
    /// The `id` to repeat, as JSON.
    pub(super) fn reply_id(&self) -> Option<String> {
        self.id.map(RawValue::get).filter(|id| id.len() <= MAX_REPLY_ID_BYTES).map(str::to_owned)
    }
}

/// The recipients of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every connection of the tenant.
    All,
    /// The connections that have subscribed to a channel.
    Channel(ChannelName),
    /// The connections of a user.
    User(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Channel(channel) => write!(f, "#{channel}"),
            Self::User(user) => write!(f, "@{user}"),
        }
    }
}

impl Target {
    /// Parses what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        match text.split_at_checked(1)? {
            ("#", channel) => ChannelName::parse(channel).map(Self::Channel),
            ("@", user) => Some(Self::User(user.to_owned())),
            _ => None,
        }
    }
}

/// Why the gate refuses something over a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFailure {
    /// The code.
    pub code: &'static str,
    /// A sentence for the caller.
    pub message: &'static str,
}

impl SocketFailure {
    pub(super) const FORBIDDEN: Self = Self { code: "FORBIDDEN", message: "only the operator's own code may do this" };
    pub(super) const NO_CHANNEL: Self = Self { code: "NOT_FOUND", message: "unknown channel" };
    pub(super) const TOO_MANY_CHANNELS: Self =
        Self { code: "TOO_MANY", message: "the connection has too many channels" };
    pub(super) const UNREADABLE: Self =
        Self { code: Code::BadRequest.as_str(), message: "the message is not a JSON object with a text `action`" };
    pub(super) const UNKNOWN_ACTION: Self = Self { code: Code::BadRequest.as_str(), message: "unknown `action`" };
    pub(super) const NO_DATA: Self = Self { code: Code::BadRequest.as_str(), message: "`data` is missing" };
    pub(super) const NO_USER: Self = Self { code: Code::BadRequest.as_str(), message: "`to` must be the id of a user" };
    pub(super) const NO_TOKEN: Self = Self { code: Code::BadRequest.as_str(), message: "`token` must be text" };
    pub(super) const OTHER_USER: Self = Self {
        code: Code::TenantMismatch.as_str(),
        message: "a connection keeps its tenant and its user: connect again for another one",
    };

    /// The failure of a decision's code.
    pub const fn by(code: Code) -> Self {
        Self { code: code.as_str(), message: code.message() }
    }
}

/// How a socket is closed: a status code (RFC 6455 §7.4.2) and the name of the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode {
    /// The status code.
    pub status: u16,
    /// The reason: a code.
    pub reason: &'static str,
}

impl CloseCode {
    /// The message cannot be read.
    pub const UNREADABLE: Self = Self { status: 4400, reason: Code::BadRequest.as_str() };
    /// The credential has expired or is missing.
    pub const UNAUTHENTICATED: Self = Self { status: 4401, reason: Code::Unauthenticated.as_str() };
    /// The client does not read.
    pub const TOO_SLOW: Self = Self { status: 4408, reason: "REQUEST_TIMEOUT" };
    /// The message is too large.
    pub const TOO_LARGE: Self = Self { status: 4413, reason: "PAYLOAD_TOO_LARGE" };
    /// There are too many messages.
    pub const TOO_MANY: Self = Self { status: 4429, reason: Code::RateLimited.as_str() };

    /// The way to close a socket for the code of a denial. 4401: come back with another credential;
    /// 4403: do not come back; 4429 and 4503: come back later.
    pub const fn by(code: Code) -> Self {
        let status = match code {
            Code::BadRequest => 4400,
            Code::Unauthenticated => 4401,
            Code::RateLimited | Code::ConcurrencyLimited | Code::QuotaExceeded => 4429,
            Code::TenantProvisioning
            | Code::TenantMaintenance
            | Code::TenantCircuitOpen
            | Code::ResolverFailed
            | Code::IssuerUnavailable
            | Code::SnapshotUnavailable
            | Code::LedgerUnavailable
            | Code::Allowed => 4503,
            _ => 4403,
        };
        Self { status, reason: code.as_str() }
    }
}

/// A member `"id": …` at the end of a reply, if the message had one.
fn with_id(mut reply: String, id: Option<&str>) -> String {
    if let Some(id) = id {
        reply.pop();
        reply.push_str(",\"id\":");
        reply.push_str(id);
        reply.push('}');
    }
    reply
}

/// The reply to an action that has succeeded. `more` are further members.
pub(super) fn done(action: &str, more: &serde_json::Value, id: Option<&str>) -> String {
    let mut reply = json!({ "action": action, "success": true });
    if let (Some(reply), Some(more)) = (reply.as_object_mut(), more.as_object()) {
        reply.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    with_id(reply.to_string(), id)
}

/// The reply to an action that has failed.
pub(super) fn failed(action: &str, failure: SocketFailure, retry_after_ms: Option<u64>, id: Option<&str>) -> String {
    let mut error = json!({ "code": failure.code, "message": failure.message });
    if let (Some(error), Some(wait_ms)) = (error.as_object_mut(), retry_after_ms) {
        error.insert(String::from("retry_after_ms"), wait_ms.into());
    }
    with_id(json!({ "action": action, "success": false, "error": error }).to_string(), id)
}

/// The reply to `ping`.
pub(super) fn pong(id: Option<&str>) -> String {
    match id {
        Some(id) => format!("{{\"action\":\"pong\",\"id\":{id}}}"),
        None => String::from("{\"action\":\"pong\"}"),
    }
}

/// The reply to a credential, or to a request, that is refused before a hub has it.
pub fn refused(failure: SocketFailure, retry_after_ms: Option<u64>, id: Option<&str>) -> String {
    failed("auth", failure, retry_after_ms, id)
}

/// The frame of a message. `data` is JSON.
pub(super) fn message(seq: u64, target: &Target, from: Option<&str>, data: &str) -> String {
    let mut frame = format!("{{\"action\":\"message\",\"seq\":{seq}");
    if let Target::Channel(channel) = target {
        // A channel's name needs no escape.
        frame.push_str(&format!(",\"channel\":\"{channel}\""));
    }
    if let Some(from) = from {
        frame.push_str(",\"from\":");
        frame.push_str(&json!(from).to_string());
    }
    frame.push_str(",\"data\":");
    frame.push_str(data);
    frame.push('}');
    frame
}

/// Several messages in one frame.
pub(super) fn packed(frames: &[&str]) -> String {
    format!("{{\"action\":\"messages\",\"messages\":[{}]}}", frames.join(","))
}

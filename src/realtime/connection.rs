//! One connection, as a hub knows it, and what the runtime keeps of it while the hub is hibernated.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Bucket, Rate};
use crate::model::bounds::{EXPIRY_NOTICE_MS, MAX_SOCKET_BURST, MAX_SOCKET_RATE};
use crate::model::{ChannelName, UnixMillis};

/// What the gate has found about a connection's credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The user: the subject of the token, or `key:` and the id of an API key. A subject of
    /// another tenant, or one that looks like either, has its tenant's id and `/` before it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Who holds the credential, so that another one can be told from one of the same holder.
    #[serde(rename = "i", default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// The scopes.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When the credential ends.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// The credential in the form that the gate judges again. Opaque here.
    #[serde(rename = "k")]
    pub credential: String,
}

/// A socket that has not presented a credential yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Until when it must, in milliseconds since 1970.
    #[serde(rename = "w")]
    pub until: u64,
    /// The request that opened it, in the form that the gate decides. Opaque here.
    #[serde(rename = "q")]
    pub question: String,
    /// The client: its IPv4 address, or the network of its IPv6 address.
    #[serde(rename = "a")]
    pub client: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Holder {
    Guest(Guest),
    Member(Admission),
}

/// Where a connection is in the order of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It receives each message when it is published.
    Live,
    /// It has everything up to `after`, and receives nothing until it has caught up.
    Behind { after: u64, since: UnixMillis },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: Arc<str>,
    pub(super) since: UnixMillis,
    pub(super) holder: Holder,
    pub(super) channels: Vec<ChannelName>,
    /// The channels whose presence it receives.
    pub(super) watches: Vec<ChannelName>,
    /// Whether it takes several messages in one frame.
    pub(super) packed: bool,
    pub(super) reading: Reading,
    /// Whether it has asked to receive nothing for now.
    pub(super) paused: bool,
    pub(super) rate: Bucket,
    /// The messages beyond the rate.
    pub(super) excess: Bucket,
    /// When it was last told that it sends too much.
    pub(super) told_at: Option<UnixMillis>,
    /// When it is told that its credential is about to end.
    pub(super) warn_at: Option<UnixMillis>,
}

/// What the runtime keeps of a connection.
#[derive(Serialize, Deserialize)]
struct Attachment {
    #[serde(rename = "c")]
    id: Arc<str>,
    #[serde(rename = "t")]
    since: u64,
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    watches: Vec<String>,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    packed: bool,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    warn_at: Option<u64>,
    #[serde(flatten)]
    holder: Holder,
}

const RATE: Rate = Rate { limit: MAX_SOCKET_RATE, burst: MAX_SOCKET_BURST, window_ms: 1_000 };

/// The refused messages of one client. Beyond this rate it is disconnected.
const EXCESS: Rate = Rate { limit: MAX_SOCKET_RATE / 10, burst: MAX_SOCKET_BURST, window_ms: 1_000 };

/// How a message compares with the rate of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageRate {
    /// It is within the rate.
    Within,
    /// It is refused, and the client is told how many milliseconds to wait.
    Refused(u64),
    /// It is refused, and the client has been told already.
    Ignored,
    /// The client goes on all the same.
    Flood,
}

impl Connection {
    pub(super) fn new(id: Arc<str>, holder: Holder, now: UnixMillis) -> Self {
        Self {
            id,
            since: now,
            holder,
            channels: Vec::new(),
            watches: Vec::new(),
            packed: false,
            reading: Reading::Live,
            paused: false,
            rate: Bucket::default(),
            excess: Bucket::default(),
            told_at: None,
            warn_at: None,
        }
    }

    /// Reads an attachment. `None` if this code has not written it.
    pub(super) fn restored(text: &str) -> Option<Self> {
        let Attachment { id, since, channels, watches, packed, warn_at, holder } = serde_json::from_str(text).ok()?;
        let names = |names: Vec<String>| names.iter().filter_map(|name| ChannelName::parse(name)).collect();
        Some(Self {
            channels: names(channels),
            watches: names(watches),
            packed,
            warn_at: warn_at.map(UnixMillis::new),
            ..Self::new(id, holder, UnixMillis::new(since))
        })
    }

    /// Plans to tell the client that its credential is about to end: a minute before, or in half of
    /// the time that is left.
    pub(super) fn plan_warning(&mut self, now: UnixMillis) {
        let end = self.admission().and_then(|admission| admission.expires_at).map(UnixMillis::new);
        self.warn_at = end.map(|end| now.plus(end.since(now).saturating_sub(EXPIRY_NOTICE_MS.min(end.since(now) / 2))));
    }

    pub(super) fn attachment(&self) -> String {
        let names = |names: &[ChannelName]| names.iter().map(ToString::to_string).collect();
        let attachment = Attachment {
            id: Arc::clone(&self.id),
            since: self.since.get(),
            channels: names(&self.channels),
            watches: names(&self.watches),
            packed: self.packed,
            warn_at: self.warn_at.map(UnixMillis::get),
            holder: self.holder.clone(),
        };
        // It has only texts and numbers, so it always serializes.
        serde_json::to_string(&attachment).unwrap_or_default()
    }

    pub(super) const fn admission(&self) -> Option<&Admission> {
        match &self.holder {
            Holder::Member(admission) => Some(admission),
            Holder::Guest(_) => None,
        }
    }

    pub(super) const fn guest(&self) -> Option<&Guest> {
        match &self.holder {
            Holder::Guest(guest) => Some(guest),
            Holder::Member(_) => None,
        }
    }

    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.admission()?.user.as_ref()
    }

    pub(super) fn is_live(&self) -> bool {
        self.admission().is_some() && self.reading == Reading::Live
    }

    /// Counts a message of the client. One beyond the rate is refused. The client is told so once a
    /// second, and is disconnected if it goes on.
    pub(super) fn count_message(&mut self, now: UnixMillis) -> MessageRate {
        let (verdict, after) = self.rate.step(RATE, 1, now);
        self.rate = after;
        if verdict.allowed {
            return MessageRate::Within;
        }
        let (excess, after) = self.excess.step(EXCESS, 1, now);
        self.excess = after;
        if !excess.allowed {
            return MessageRate::Flood;
        }
        if self.told_at.is_some_and(|at| now.is_within(1_000, at)) {
            return MessageRate::Ignored;
        }
        self.told_at = Some(now);
        MessageRate::Refused(verdict.retry_after_ms.unwrap_or(1_000))
    }
}

//! [`Turn`]: what one event of a [`Hub`](super::Hub) leads to.

use std::sync::Arc;

use serde_json::json;

use super::arrival::Presented;
use super::frame::{CloseCode, Target, done};
use crate::model::UnixMillis;

/// What the adapter has to do. It carries the effects of one turn out in their order, without
/// waiting in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to one socket. If too much is unsent, close it instead (`Hub::too_slow`).
    Send {
        /// The socket.
        to: u32,
        /// The frame.
        frame: String,
    },
    /// Write a message to the log.
    Store(StoredMessage),
    /// Send a frame to sockets. Leave out those that have too much unsent, and report them:
    /// `Hub::skipped`.
    Fan {
        /// The sockets.
        to: Vec<u32>,
        /// The frame.
        frame: String,
        /// The number of the first message in the frame. 0: a frame that is not in the log, which a
        /// slow reader does without.
        first: u64,
    },
    /// Send what a socket has missed, from the log: `Hub::missed`.
    CatchUp {
        /// The socket.
        who: u32,
        /// The number of the last message that it has seen.
        after: u64,
    },
    /// A socket is behind: it is sent no message after this number.
    Behind {
        /// The socket.
        who: u32,
        /// The number of the last message that it was sent.
        after: u64,
    },
    /// Have the runtime keep a text for a socket.
    Attach {
        /// The socket.
        who: u32,
        /// The text.
        text: String,
    },
    /// Close a socket.
    Close {
        /// The socket.
        who: u32,
        /// Why.
        why: CloseCode,
    },
    /// Delete the messages of the log up to a number.
    Trim {
        /// The number.
        through: u64,
    },
}

/// A message as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number.
    pub seq: u64,
    /// When it was published.
    pub at: UnixMillis,
    /// Its [`Target`] as text.
    pub target: String,
    /// The frame that a client receives.
    pub frame: String,
}

/// What one event leads to.
#[derive(Debug, Default)]
pub struct Turn {
    /// The effects.
    pub effects: Vec<Effect>,
    /// What has to be asked before the event is dealt with.
    pub next: Next,
}

impl Turn {
    pub(super) fn of(effects: Vec<Effect>) -> Self {
        Self { effects, next: Next::Nothing }
    }

    pub(super) fn authenticate(who: u32, presented: Presented, question: Option<String>) -> Self {
        let next = Next::Authenticate(Box::new(Authentication { who, presented, question }));
        Self { effects: Vec::new(), next }
    }
}

/// What has to be asked before an event is dealt with.
#[derive(Debug, Default)]
pub enum Next {
    /// Nothing.
    #[default]
    Nothing,
    /// Whether the gate accepts a credential. The answer goes to `Hub::authenticated`.
    Authenticate(Box<Authentication>),
    /// Whether the limits allow a message. If they do, it goes to `Hub::publish`, otherwise to
    /// `Hub::refuse`.
    Publish(Box<Draft>),
}

/// A credential that a client presents over its socket.
#[derive(Debug)]
pub struct Authentication {
    /// The socket.
    pub who: u32,
    /// The credential.
    pub presented: Presented,
    /// The request that opened the socket. `None`: it was admitted before, and only its credential
    /// changes.
    pub question: Option<String>,
}

/// A message that is not published yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The socket that it comes from.
    pub who: Option<u32>,
    /// The user who sends it.
    pub user: Option<Arc<str>>,
    /// Its recipients.
    pub target: Target,
    /// The data, as JSON.
    pub data: String,
    /// The action of the client's message, for the reply.
    pub(super) action: &'static str,
    /// The id that the client gave it, which the reply repeats.
    pub(super) id: Option<String>,
}

impl Draft {
    /// A message that does not come from a socket of this hub.
    pub const fn from_elsewhere(user: Option<Arc<str>>, target: Target, data: String) -> Self {
        Self { who: None, user, target, data, action: "", id: None }
    }

    /// Answers the client that has sent it.
    pub(super) fn reply(&self, seq: u64) -> Option<Effect> {
        let frame = done(self.action, &json!({ "seq": seq }), self.id.as_deref());
        self.who.map(|to| Effect::Send { to, frame })
    }
}

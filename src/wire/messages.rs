//! The body of `POST /_gate/v1/messages`: messages to the sockets of a tenant.

use serde_json::Value;

use crate::model::bounds::{MAX_PUBLISHED, MAX_PUBLISHED_BODY_BYTES, MAX_SOCKET_MESSAGE_BYTES, MAX_SUBJECT_BYTES};
use crate::model::{ChannelName, Problems, Read, Reader, TenantId, document, json_bytes};
use crate::realtime::Target;

document! {
    /// Messages to the sockets of a tenant.
    pub struct MessagesBody {
        /// The id of the tenant.
        tenant: TenantId,
        /// The messages, in the order in which they are sent. At most 100.
        messages: Vec<OutgoingMessage>,
        /// Whether the sockets of all tenants below it receive them too. Default false.
        descendants: bool = false,
    } => MessagesBody::check
}

document! {
    /// A message. It is for all connections of the tenant, or for those of a channel or a user.
    pub struct OutgoingMessage {
        /// The data: any JSON.
        data: Value,
        /// The channel whose subscribers receive it.
        channel: Option<ChannelName> = None,
        /// The user who receives it.
        user: Option<String> = None,
    } => OutgoingMessage::check
}

impl MessagesBody {
    /// Parses and checks a body.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            r.take_texts_of(MAX_SOCKET_MESSAGE_BYTES);
            let value = r.json(text, MAX_PUBLISHED_BODY_BYTES)?;
            Self::read(&value, r)
        })
    }

    fn check(&self, r: &mut Reader) {
        r.at("messages", |r| {
            if self.messages.is_empty() {
                r.problem("an empty list", "at least one message");
            }
            r.at_most(self.messages.len(), MAX_PUBLISHED);
        });
    }
}

impl OutgoingMessage {
    fn check(&self, r: &mut Reader) {
        if self.channel.is_some() && self.user.is_some() {
            r.problem("`channel` and `user`", "at most one of them");
        }
        if self.user.as_ref().is_some_and(|user| user.is_empty() || user.len() > MAX_SUBJECT_BYTES) {
            r.at("user", |r| r.problem("an empty or a long text", format!("1 to {MAX_SUBJECT_BYTES} bytes")));
        }
        let bytes = json_bytes(&self.data);
        if bytes > MAX_SOCKET_MESSAGE_BYTES {
            r.at("data", |r| r.problem(format!("{bytes} bytes"), format!("at most {MAX_SOCKET_MESSAGE_BYTES} bytes")));
        }
    }

    /// The recipients of the message.
    pub fn target(&self) -> Target {
        match (&self.channel, &self.user) {
            (Some(channel), _) => Target::Channel(channel.clone()),
            (None, Some(user)) => Target::User(user.clone()),
            (None, None) => Target::All,
        }
    }
}

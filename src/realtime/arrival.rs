//! What a client may say before it has presented a credential.

use serde::{Deserialize, Serialize};

use super::frame::{ClientFrame, CloseCode, Position, SocketFailure, failed, pong};

/// A credential that a client presents over its socket, and what it asks for.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The token, or an API key.
    pub token: String,
    /// The tenant that the client names.
    pub tenant: Option<String>,
    /// What it asks for when it is admitted.
    pub opening: Opening,
}

/// What a client asks for when it is admitted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Opening {
    /// The position from which it wants what it has missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
    /// The channels to subscribe to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Whether it takes several messages in one frame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub packed: bool,
    /// The `id` that the reply repeats, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_id: Option<String>,
}

/// What a message leads to if its sender has not been admitted.
#[derive(Debug)]
pub enum Arrival {
    /// Send a frame, and go on waiting for a credential.
    Answer(String),
    /// Ask the gate whether it accepts a credential.
    Authenticate(Box<Presented>),
    /// Close the socket.
    Close(CloseCode),
}

impl Arrival {
    /// Reads a message: `auth` brings a credential and `ping` is answered. Anything else closes
    /// the socket.
    pub fn read(text: &str) -> Self {
        let Ok(frame) = serde_json::from_str::<ClientFrame<'_>>(text) else {
            return Self::Close(CloseCode::UNREADABLE);
        };
        match &*frame.action {
            "ping" => Self::Answer(pong(frame.reply_id().as_deref())),
            "auth" => match frame.presented() {
                Ok(presented) => Self::Authenticate(Box::new(presented)),
                Err(failure) => Self::Answer(failed("auth", failure, None, frame.reply_id().as_deref())),
            },
            _ => Self::Close(CloseCode::UNAUTHENTICATED),
        }
    }
}

impl ClientFrame<'_> {
    /// The credential in an `auth` message.
    pub(super) fn presented(&self) -> Result<Presented, SocketFailure> {
        Ok(Presented {
            token: self.token.as_deref().ok_or(SocketFailure::NO_TOKEN)?.to_owned(),
            tenant: self.tenant.as_deref().map(str::to_owned),
            opening: Opening {
                since: self.since.clone(),
                channels: self.channels.iter().flatten().map(ToString::to_string).collect(),
                packed: self.packed,
                reply_id: self.reply_id(),
            },
        })
    }
}

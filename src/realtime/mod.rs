//! Realtime: the sockets of one tenant.
//!
//! [`Hub`] decides who is connected, who receives a message, and in which order. It holds no socket
//! and reads no clock: the adapter tells it what has happened, and carries out the [`Effect`]s that
//! it returns.
//!
//! # The idea
//!
//! A message gets the next number, is written to a log, and is then sent, all in one turn. Nobody
//! has therefore seen a message that is not in the log. Sending promises nothing: a client that has
//! been away names the last number that it has seen, and receives what the log has after it. A
//! reader that is too slow is in the same position as one that has been away.
//!
//! # Invariants
//!
//! - **One order.** Every connection receives the messages that it may see in the order of their
//!   numbers.
//! - **Nothing unseen.** A connection whose position the log no longer covers is told so; it is
//!   never given a part.
//! - **One tenant.** A hub belongs to one tenant. Another credential on a connection must be of
//!   the same user.

mod arrival;
mod connection;
mod copies;
mod frame;
mod hub;
mod log;
mod roster;
mod rules;
mod slots;
mod trust;
mod turn;
mod turnstile;

pub use arrival::{Arrival, Opening, Presented};
pub use connection::{Admission, Guest};
pub use copies::{Addressed, Applied, Copies, Joined, Joining, Lack, Membership, Pump};
pub use frame::{CloseCode, Position, SocketFailure, Target, refused};
pub use hub::{Hub, Member};
pub use log::{LogEntry, LogIndex};
pub use rules::Rules;
pub use slots::{Denied, Growth, HubSlots, Slot, Statement};
pub use trust::{Judging, Trust};
pub use turn::{Authentication, Draft, Effect, Next, StoredMessage, Turn};
pub use turnstile::Turnstile;

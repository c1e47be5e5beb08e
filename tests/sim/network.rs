//! The network between isolates and ledgers. Messages are delayed, lost and duplicated; since every
//! copy has a delay of its own, messages overtake each other.

use crate::options::Options;
use crate::random::{Random, Range};

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From an isolate to a ledger.
    Request,
    /// From a ledger to an isolate.
    Response,
}

/// A message to a ledger: from which isolate, in which of its lives, to the ledger of which family.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub id: u64,
    pub family: u64,
    pub isolate: usize,
    pub life: u64,
}

/// The delays and losses of messages.
#[derive(Debug)]
pub struct Network {
    request_delay_ms: Range,
    response_delay_ms: Range,
    lost_per_million: u64,
    doubled_per_million: u64,
}

impl Network {
    pub const fn new(options: &Options) -> Self {
        Self {
            request_delay_ms: options.request_delay_ms,
            response_delay_ms: options.response_delay_ms,
            lost_per_million: options.lost,
            doubled_per_million: options.doubled,
        }
    }

    /// Returns the delay of each copy of a message that arrives, in milliseconds: none if it is
    /// lost, two if it is duplicated.
    pub fn deliveries(&self, direction: Direction, random: &mut Random) -> Vec<u64> {
        let delay_ms = match direction {
            Direction::Request => self.request_delay_ms,
            Direction::Response => self.response_delay_ms,
        };
        let copies = if random.chance(self.lost_per_million) {
            0
        } else {
            1 + u64::from(random.chance(self.doubled_per_million))
        };
        (0..copies).map(|_| random.within(delay_ms)).collect()
    }

    /// Returns the milliseconds after which an isolate gives up on a response.
    pub fn timeout_ms(&self) -> u64 {
        (self.request_delay_ms.1 + self.response_delay_ms.1).max(1_000) * 2
    }
}

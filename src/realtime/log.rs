//! The index of a hub's log: which messages are kept, without their texts.

use std::collections::VecDeque;

use super::frame::Position;
use crate::model::UnixMillis;
use crate::model::bounds::{LOG_MS, MAX_LOG_BYTES, MAX_LOG_MESSAGES};

/// Milliseconds between two times at which old messages are forgotten.
const TRIM_MS: u64 = 60_000;

/// A message that the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub seq: u64,
    /// When it was published.
    pub at: UnixMillis,
    /// The bytes of its frame.
    pub bytes: usize,
}

/// The messages that a log keeps: a run of numbers without a gap, the last one at its end.
#[derive(Debug, Default)]
pub struct LogIndex {
    epoch: String,
    last: u64,
    entries: VecDeque<LogEntry>,
    bytes: usize,
}

impl LogIndex {
    /// A log called `epoch` that has numbered `last` messages and keeps `entries`, oldest first.
    pub fn new(epoch: String, last: u64, entries: Vec<LogEntry>) -> Self {
        let bytes = entries.iter().map(|entry| entry.bytes).fold(0_usize, usize::saturating_add);
        Self { epoch, last, entries: entries.into(), bytes }
    }

    /// The position after the last message.
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.last }
    }

    /// The number of the last message.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Whether the log has every message after `seq`.
    pub fn covers(&self, seq: u64) -> bool {
        let first = self.entries.front().map_or_else(|| self.last.saturating_add(1), |entry| entry.seq);
        seq <= self.last && seq.saturating_add(1) >= first
    }

    /// Whether a client at this position can be given everything that it has missed.
    pub fn reaches(&self, position: &Position) -> bool {
        position.epoch == self.epoch && self.covers(position.seq)
    }

    /// Takes in the next message. Returns its number, which is that of [`Self::end`].
    pub(super) fn push(&mut self, bytes: usize, at: UnixMillis) -> u64 {
        self.last = self.last.saturating_add(1);
        self.entries.push_back(LogEntry { seq: self.last, at, bytes });
        self.bytes = self.bytes.saturating_add(bytes);
        self.last
    }

    /// The number of the last message before those that the log keeps.
    pub fn start(&self) -> u64 {
        self.entries.front().map_or(self.last, |first| first.seq.saturating_sub(1))
    }

    /// Forgets the messages that are too old or too many. Returns the number of the last one.
    pub(super) fn trim(&mut self, now: UnixMillis) -> Option<u64> {
        let mut through = None;
        while let Some(first) = self.entries.front().copied() {
            let old = now.since(first.at) >= LOG_MS;
            if !old && self.entries.len() <= MAX_LOG_MESSAGES && self.bytes <= MAX_LOG_BYTES {
                break;
            }
            self.entries.pop_front();
            self.bytes = self.bytes.saturating_sub(first.bytes);
            through = Some(first.seq);
        }
        through
    }

    /// When the next messages become too old. Many are forgotten at the same time, so that a hub
    /// may sleep in between.
    pub(super) fn next_trim(&self) -> Option<UnixMillis> {
        let end = self.entries.front()?.at.plus(LOG_MS).get();
        Some(UnixMillis::new(end.div_ceil(TRIM_MS).saturating_mul(TRIM_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_covered_until_the_message_after_it_is_forgotten() {
        let mut log = LogIndex::new(String::from("a"), 0, Vec::new());
        let at = |seq| Position { epoch: String::from("a"), seq };
        assert!(log.reaches(&at(0)));
        assert!(!log.reaches(&at(1)), "a position in the future");
        for n in 0..3_u64 {
            log.push(10, UnixMillis::new(n * 1_000));
        }
        assert!(log.reaches(&at(0)) && log.reaches(&at(3)));
        assert_eq!(log.trim(UnixMillis::new(LOG_MS)), Some(1));
        assert!(!log.reaches(&at(0)));
        assert!(log.reaches(&at(1)));
        assert!(!log.reaches(&Position { epoch: String::from("b"), seq: 3 }));
        assert_eq!(log.trim(UnixMillis::new(10 * LOG_MS)), Some(3));
        assert!(log.reaches(&at(3)), "nothing was missed");
        assert!(!log.reaches(&at(2)));
    }

    #[test]
    fn the_log_is_bounded_in_number_and_bytes() {
        let mut log = LogIndex::new(String::from("a"), 0, Vec::new());
        for _ in 0..MAX_LOG_MESSAGES + 5 {
            log.push(10, UnixMillis::new(1));
        }
        assert_eq!(log.trim(UnixMillis::new(1)), Some(5));
        log.push(MAX_LOG_BYTES, UnixMillis::new(1));
        assert_eq!(log.trim(UnixMillis::new(1)), Some(log.last() - 1));
    }
}

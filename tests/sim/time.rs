//! Simulated time: the schedule of events, and clocks that step.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tenantgate::model::UnixMillis;

/// The start of every world, in milliseconds since 1970: 2026-11-22T12:00:00Z. It is far from the
/// end of a month, so that no period ends during a world.
pub const START: u64 = 1_795_348_800_000;

/// Events in the order of their times. Events of the same millisecond happen in the order in which
/// they were scheduled.
#[derive(Debug)]
pub struct Schedule<E> {
    /// The true time, in milliseconds since 1970.
    now: u64,
    events: BinaryHeap<Scheduled<E>>,
    serial: u64,
}

impl<E> Schedule<E> {
    pub const fn new() -> Self {
        Self { now: START, events: BinaryHeap::new(), serial: 0 }
    }

    /// Returns the true time, in milliseconds since 1970.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Returns a number that this method has not returned before.
    pub const fn unique(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Returns the last number that was given out.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Schedules an event in so many milliseconds.
    pub fn after(&mut self, ms: u64, event: E) {
        let serial = self.unique();
        self.events.push(Scheduled { at: self.now + ms, serial, event });
    }

    /// Advances the time to the next event, and returns it.
    pub fn next(&mut self) -> Option<E> {
        let next = self.events.pop()?;
        self.now = next.at;
        Some(next.event)
    }

    /// Returns whether an event happens at this time or earlier.
    pub fn has_event_until(&self, at: u64) -> bool {
        self.events.peek().is_some_and(|next| next.at <= at)
    }

    /// Advances the time. No event may be scheduled before `at`.
    pub fn advance_to(&mut self, at: u64) {
        self.now = at;
    }
}

#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    serial: u64,
    event: E,
}

/// The earliest is the greatest: `BinaryHeap` returns it first.
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Scheduled<E> {}

/// A clock that may be ahead of the true time, or behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// Sets the clock so many milliseconds ahead of the true time.
    pub const fn step_to(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
    }

    /// Returns the time on the clock at the true time `now`.
    pub const fn read(self, now: u64) -> UnixMillis {
        UnixMillis::new(now.saturating_add_signed(self.offset_ms))
    }
}

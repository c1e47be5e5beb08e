//! One exchange with another service at a time.

use crate::model::UnixMillis;

/// Milliseconds after which an exchange is no longer waited for: the runtime may have cut the event
/// off that began it.
const EXCHANGE_MS: u64 = 10_000;

/// Lets one exchange through at a time.
#[derive(Debug, Default)]
pub struct Turnstile {
    /// The number of the last exchange: the time at which it began, or one more than the one
    /// before. So numbers grow over crashes too.
    last: u64,
    since: Option<UnixMillis>,
}

impl Turnstile {
    /// Begins an exchange. Returns its number, or `None` if there is one.
    pub fn begin(&mut self, now: UnixMillis) -> Option<u64> {
        if self.since.is_some_and(|since| now.is_within(EXCHANGE_MS, since)) {
            return None;
        }
        self.last = self.last.saturating_add(1).max(now.get());
        self.since = Some(now);
        Some(self.last)
    }

    /// Ends an exchange. Returns false if another one has begun since, so that its outcome is out
    /// of date.
    pub fn end(&mut self, number: u64) -> bool {
        if self.last == number {
            self.since = None;
        }
        self.last == number
    }
}

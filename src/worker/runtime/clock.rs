//! The clock, and how long one request may wait.
//!
//! INVARIANT (time across waiting): a time that was read before a wait is not used as the present
//! after it. Code that waits reads the clock again afterwards.

use js_sys::Date;
use wasm_bindgen_futures::JsFuture;

use crate::model::bounds::PATIENCE_MS;
use crate::model::{HeardAt, UnixMillis};
use crate::worker::runtime::edge;

/// The current time.
pub(crate) fn now() -> UnixMillis {
    UnixMillis::from_js(Date::now())
}

/// The current time, read after a ledger's response has arrived.
pub(crate) fn heard() -> HeardAt {
    HeardAt::now(now())
}

/// The time until which one request may wait, with all its waits together.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    until: UnixMillis,
}

/// Bounds of a pause in milliseconds. Pauses grow while an answer is overdue.
const SHORTEST_PAUSE_MS: u64 = 1;
const LONGEST_PAUSE_MS: u64 = 50;

impl Patience {
    /// The patience of a request that arrives now.
    pub(crate) fn new() -> Self {
        Self { until: now().plus(PATIENCE_MS) }
    }

    /// Milliseconds that the request may still wait.
    pub(crate) fn left_ms(self) -> u64 {
        self.until.since(now())
    }

    /// Sleeps until `due`, or, after that, for a quarter of the time that has passed since. The
    /// number of checks therefore grows only with the logarithm of the delay. Returns false if the
    /// request may not wait any longer.
    pub(crate) async fn pause(self, due: UnixMillis) -> bool {
        let now = now();
        let overdue_ms = now.since(due);
        let pause_ms = match due.since(now) {
            0 => (overdue_ms / 4).clamp(SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS),
            early_ms => early_ms,
        };
        let left_ms = self.until.since(now);
        let pause_ms = u32::try_from(pause_ms.min(left_ms)).unwrap_or(u32::MAX);
        left_ms > 0 && JsFuture::from(edge::sleep(pause_ms)).await.is_ok()
    }
}

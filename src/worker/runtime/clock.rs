//! The time, read where it is used.
//!
//! INVARIANT (time across waiting): nothing here keeps a time for later. A request, a call, a loop that
//! waits reads the clock again after it has waited.

use js_sys::Date;
use wasm_bindgen_futures::JsFuture;

use crate::model::bounds::PATIENCE_MS;
use crate::model::{HeardAt, UnixMillis};
use crate::worker::runtime::edge;

/// The present.
pub(crate) fn now() -> UnixMillis {
    UnixMillis::from_js(Date::now())
}

/// The present, read after an answer was heard.
pub(crate) fn heard() -> HeardAt {
    HeardAt::now(now())
}

/// How long one request may wait, all its waits together.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    until: UnixMillis,
}

/// Pauses grow with the time that something is overdue, from the first of these to the last.
const SHORTEST_PAUSE_MS: u64 = 1;
const LONGEST_PAUSE_MS: u64 = 50;

impl Patience {
    /// That of a request which arrives now.
    pub(crate) fn new() -> Self {
        Self { until: now().plus(PATIENCE_MS) }
    }

    /// Milliseconds that are left of it.
    pub(crate) fn left_ms(self) -> u64 {
        self.until.since(now())
    }

    /// Sleeps until something is due; after that, each time for a quarter of the time that it is overdue. So looking costs next
    /// to nothing, however far away the answer is. False: the patience is over.
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

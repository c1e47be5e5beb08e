//! Orders of any shape, as they arrive at a ledger.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantgate::ledger::{LedgerState, LedgerRequest};
use tenantgate::model::UnixMillis;

fuzz_target!(|input: (u64, &str)| {
    let (now, text) = input;
    let mut book = LedgerState::default();
    for line in text.split('\n') {
        if let Ok(order) = serde_json::from_str::<LedgerRequest<'_>>(line) {
            let _ = book.answer(&order, UnixMillis::new(now));
        }
    }
});

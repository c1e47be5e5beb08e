//! State machines that count. Each step is a pure function of a counter, a rule, an operation and `now`;
//! a [`LedgerState`] holds the counters and takes several charges all-or-nothing.
//!
//! No counter is judged by a limit that it remembers: when a plan changes in mid-window, what was used stays used.

#![forbid(unsafe_code)]

mod breaker;
mod change_log;
mod closed;
mod counter;
mod expiring_map;
mod gcra;
mod hold;
mod lease;
mod lease_cache;
mod message;
mod migration;
mod quota;
mod series;
mod state;
mod usage;
mod window;

pub use breaker::{BreakerConfig, BreakerReport, BreakerStatus, CallCounts, Circuit, CircuitBreaker};
pub use closed::{QuotaInquiry, QuotaPeriod};
pub use counter::{Counter, CounterOp, Meter, Verdict};
pub use gcra::{Bucket, Rate};
pub use hold::{HeldUnits, Hold};
pub use lease::{BudgetRef, Lease, LeaseClaim, LeaseGrant};
pub use lease_cache::{LeaseCache, LeaseProgress, Question, Spend};
pub use message::{
    Charge, Chargeable, IdempotencyKey, LedgerFailure, LedgerRequest, LedgerResponse, Seen, WaitFailure,
};
pub use migration::{Migration, TransferSnapshot};
pub use quota::Quota;
pub use series::{Series, Setting};
pub use state::{Changes, LedgerState};
pub use usage::{Inquiry, Tally, UsageEntry, UsagePeriod};

//! The state machines that count usage: limits, leases, holds, circuit breakers and metrics.
//!
//! [`Counter::step`] is a pure function of a counter, its meter, an operation and `now`.
//! [`LedgerState`] holds all counters of one ledger and executes a [`LedgerRequest`] all or
//! nothing. [`LeaseCache`] is the counterpart in each isolate: it spends the units that a ledger
//! has leased to the isolate.
//!
//! A counter never enforces a stored limit: every charge carries its meter. Units used before a
//! plan change therefore stay used after it.
//!
//! Nothing here does I/O or reads a clock. The adapter passes the time, stores what [`Changes`]
//! lists and restores it with the `put_…` methods.

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
mod verdict;
mod window;

pub use breaker::{BreakerConfig, BreakerReport, BreakerStatus, CallCounts, Circuit, CircuitBreaker};
pub use closed::{QuotaInquiry, QuotaPeriod};
pub use counter::{Counter, CounterOp, Meter};
pub use gcra::{Bucket, Rate};
pub use hold::{HeldUnits, Hold, Renewal};
pub use lease::{BudgetRef, Lease, LeaseClaim, LeaseGrant};
pub use lease_cache::{LeaseCache, LeaseProgress, Question, Spend, WaitFailure};
pub use message::{Charge, Chargeable, IdempotencyKey, LedgerFailure, LedgerRequest, LedgerResponse, Seen};
pub use migration::{Migration, TransferSnapshot};
pub use quota::Quota;
pub use series::{Series, Setting};
pub use state::{Changes, LedgerState};
pub use usage::{Inquiry, Tally, UsageEntry, UsagePeriod};
pub use verdict::Verdict;

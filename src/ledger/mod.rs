//! State machines that count. Each step is a pure function of a counter, a rule, an operation and `now`;
//! a [`Book`] holds the counters and takes several charges all-or-nothing.
//!
//! A limit is never part of its counter: when a plan changes in mid-window, what was used stays used.

#![forbid(unsafe_code)]

mod book;
mod counter;
mod gcra;
mod lease;
mod purse;

pub use book::{Book, Changes, Charge, Once, Order, Outcome, Seen, Take};
pub use counter::{Counter, Meter, Op, Verdict};
pub use lease::{Claim, Grant, Lease, Level};
pub use purse::{Purse, Spend};

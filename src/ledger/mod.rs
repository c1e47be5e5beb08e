//! State machines that count. Each step is a pure function of a counter, a rule, an operation and `now`;
//! a [`Book`] holds the counters and takes several charges all-or-nothing.
//!
//! No counter is judged by a limit that it remembers: when a plan changes in mid-window, what was used stays used.

#![forbid(unsafe_code)]

mod book;
mod breaker;
mod closed;
mod counter;
mod gcra;
mod hold;
mod lease;
mod news;
mod order;
mod purse;
mod quota;
mod relocation;
mod series;
mod timed;
mod usage;
mod window;

pub use book::{Book, Changes};
pub use breaker::{Breaker, Calls, Circuit, Fuse, Reply, Word};
pub use closed::{QuotaInquiry, QuotaPeriod};
pub use counter::{Counter, Meter, Op, Verdict};
pub use gcra::{Bucket, Rate};
pub use hold::{Held, Hold};
pub use lease::{Claim, Grant, Lease, Level};
pub use order::{Awaited, Charge, Once, Order, Outcome, Seen, Take, Unanswered};
pub use purse::{Progress, Purse, Question, Spend};
pub use quota::Quota;
pub use relocation::{Luggage, Move};
pub use series::{Series, Setting};
pub use usage::{Entry, Inquiry, Stretch, Tally};

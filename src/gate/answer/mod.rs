//! The answer to one request: the decision, who asked, and the explanation.

mod credential;
mod decision;
mod explain;
mod trace;

pub use credential::{Bearer, Challenge, Credential};
pub use decision::{BreakerUse, Decision, Extras, Fallback, Reserved, StrippedPath};
pub(super) use explain::{count, describe, read, remedy};
pub(super) use trace::Trace;
pub use trace::{Stage, TraceStep};

//! Why a request cannot be resolved.

use crate::model::StrategyKind;

/// Why the signals of a request cannot be determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// A part of the request is invalid. The text says which, for the operator.
    Unreadable(&'static str),
    /// A signal or credential occurs more than once.
    Repeated(StrategyKind),
    /// The adapter's own resolver must be called first.
    AskCustom,
    /// The adapter's own resolver failed.
    CustomFailed,
}

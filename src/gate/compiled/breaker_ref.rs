//! A tenant's circuit breaker as the catalog configures it, and the states it can be in.

use crate::ledger::{BreakerConfig, Circuit};
use crate::model::{Breaker, BreakerMode, Key, TenantId};

/// The circuit breaker of one tenant for one group of routes. The ledger keeps its state.
#[derive(Debug)]
pub struct BreakerRef {
    /// The group of routes.
    pub group: Key,
    /// Its name in the ledger: tenant and group.
    pub name: String,
    /// Whether calls move it, or an operator has fixed it.
    pub mode: BreakerMode,
    pub(in crate::gate) config: BreakerConfig,
    slow_ms: Option<u64>,
}

/// The state of a circuit breaker, as one decision saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// No request passes.
    Open,
    /// A few requests pass as trials. Their results close it or open it again.
    HalfOpen,
    /// No request passes, because an operator said so.
    ForcedOpen,
    /// All requests pass, because an operator said so.
    Disabled,
}

impl BreakerState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl From<Circuit> for BreakerState {
    fn from(circuit: Circuit) -> Self {
        match circuit {
            Circuit::Closed => Self::Closed,
            Circuit::Open(_) => Self::Open,
            Circuit::HalfOpen(_) => Self::HalfOpen,
        }
    }
}

impl BreakerRef {
    pub(super) fn new(tenant: &TenantId, group: &Key, breaker: &Breaker, mode: Option<BreakerMode>) -> Self {
        Self {
            name: format!("{tenant}/{group}"),
            group: group.clone(),
            mode: mode.unwrap_or(breaker.mode),
            slow_ms: breaker.slow_ms.map(|slow| slow.0),
            config: BreakerConfig {
                window_ms: breaker.window_ms.0,
                min_calls: breaker.min_calls.0,
                failed_percent: breaker.failed_percent.0,
                slow_percent: breaker.slow_percent.0,
                open_ms: breaker.open_ms.0,
                trials: breaker.trial_calls.0,
            },
        }
    }

    /// Milliseconds from which a call counts as slow. `None` means that no call does.
    pub const fn slow_ms(&self) -> Option<u64> {
        self.slow_ms
    }
}

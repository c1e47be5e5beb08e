//! The engine: facts, snapshots, balances and the time go in; a [`Decision`] comes out.
//!
//! The gate never waits. Where it needs something that it does not hold, [`Step`] says what; the adapter fetches it,
//! puts it in, and asks again. The same inputs give the same decision, byte for byte.

#![forbid(unsafe_code)]

mod agreement;
mod breakers;
mod caller;
mod charge;
mod code;
mod cors;
mod credentials;
mod decision;
mod doubts;
mod entitlements;
mod held;
mod hosts;
mod key_store;
mod leases;
mod local;
mod metering;
mod need;
mod pending;
mod pipeline;
mod plans;
mod run;
mod snapshots;
mod trace;
mod visible;

pub use breakers::{BreakerRef, BreakerState, CallEnd};
pub use caller::Caller;
pub use code::Code;
pub use credentials::Credential;
pub use decision::{Bearer, Behind, Challenge, Decision, Fallback, LimitCheck, Reserved};
pub use entitlements::{Budget, Entitlements};
pub use leases::Exchange;
pub use local::LocalGate;
pub use metering::{Metered, Metering, UsageEvent, UsageInquiry};
pub use need::Need;
pub use pending::Pending;
pub use pipeline::{Ask, Gate, Step};
pub use plans::CompiledCatalog;
pub use snapshots::{Rejected, Snapshots};
pub use trace::{Stage, TraceStep};
pub use visible::ClientView;

//! The engine: facts, snapshots, balances and the time go in; a [`Decision`] comes out.
//!
//! The gate never waits. If it lacks data, it names the data ([`Progress::Need`]); the adapter
//! fetches it, puts it in, and asks again from the start. A decision costs about a microsecond, so
//! there is no continuation to keep. The same inputs give the same decision, byte for byte.
//!
//! ```text
//!                 ┌───────────── Need ◀──────────────┐
//!   adapter: fetch│put_*                             │
//!                 ▼                                  │
//!   Request, Ask ──▶ decide: request ▸ credential ▸ tenant ▸ agreement ▸ status ▸ residency
//!                            ▸ feature ▸ breaker ▸ limits
//!                                                    │ counters to debit
//!                    spend:  leases ▸ this isolate ▸─┴─▶ Charge ──▶ ledger
//!                                                    │                 │
//!   Decision ◀────────────────────────────────── conclude ◀────────────┘
//! ```
//!
//! Floors, lowest first; each may use those below it:
//!
//! | floor | what it holds |
//! |---|---|
//! | `compiled` | the catalog and tenants, compiled; immutable and shared |
//! | `answer` | the decision, credentials, traces, and all wording |
//! | `cache` | the held snapshots and keys with their ages; knows no stage |
//! | `spend` | counters, leases and breakers of this isolate; messages to ledgers |
//! | `decide` | the stages, in their fixed order |
//! | `metering` | usage events |
//! | [`Gate`] | the engine for adapters; [`LocalGate`] adds a ledger in memory |

#![forbid(unsafe_code)]

mod answer;
mod ask;
mod cache;
mod code;
mod compiled;
mod cx;
mod decide;
#[expect(clippy::module_inception, reason = "the file is named after the type that it holds")]
mod gate;
mod local;
mod metering;
mod need;
mod spend;

pub use answer::{
    Bearer, BreakerUse, Challenge, Credential, Decision, Extras, Fallback, Reserved, Stage, StrippedPath, TraceStep,
};
pub use ask::{Ask, Intent, Waiting};
pub use cache::{Rejected, Snapshots};
pub use code::Code;
pub use compiled::{BreakerRef, BreakerState, Budget, ClientView, CompiledCatalog, Entitlements, LimitCheck, RouteId};
pub use gate::Gate;
pub use local::LocalGate;
pub use metering::{Metered, UsageEvent, UsageInquiry};
pub use need::{Need, Progress, Refresh, SnapshotKey};
pub use spend::{CallEnd, Exchange, Pending, Step};

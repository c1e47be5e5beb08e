//! Documents in compiled form, so that a decision only looks values up. Immutable and shared.
//!
//! - [`CompiledCatalog`]: the catalog. Keys become numbers, rules become tests, routes a search.
//! - [`Entitlements`]: one tenant with its ancestors, resolved against one catalog at one time.
//! - [`ChargePlan`]: the counters that one kind of request debits, in the order of payment.
//! - [`ClientView`]: the features of one tenant that a web page may know.

mod breaker_ref;
mod budget;
mod catalog;
mod charge_plan;
mod client_view;
mod dates;
mod entitlements;
mod route;

pub use breaker_ref::{BreakerRef, BreakerState};
pub use budget::Budget;
pub use catalog::CompiledCatalog;
pub(super) use catalog::{CORS_ORIGIN, CORS_REQUEST_METHOD};
pub use charge_plan::LimitCheck;
pub(super) use charge_plan::{ChargePlan, LeasedRange, PlanShape};
pub use client_view::ClientView;
pub use entitlements::Entitlements;
pub(super) use route::CompiledRoute;
pub use route::RouteId;

//! The control plane's rules: the operations of the admin API and their bodies, changes of
//! documents, the audit trail, and the impact of a change.
//!
//! Nothing here stores anything. The adapter reads the current documents, computes the new ones
//! with this module, and writes them in one transaction.

#![forbid(unsafe_code)]

mod admin;
pub mod audit;
mod endpoints;
mod impact;
mod operations;
mod patch;

pub use admin::{
    Deactivate, ImpactQuestion, Impersonate, Issue, LicenceQuestion, MovePlan, MoveTenant, NewDomain, NewTenant,
    NewToken, Reasoned, Refund, Replayed, Rotate, Ticket, slug_of,
};
pub use endpoints::{Caller, ENDPOINTS, Endpoint, EndpointId, endpoint};
pub use impact::{Impact, Impacts, Replay, Shift, breaks, compare, metrics, replay};
pub use operations::{
    GUARDED_MEMBERS, IDENTITY_MEMBERS, OPERATIONS, Operation, OperationId, Permission, ROUTE_IDENTITY_MEMBERS, route,
};
pub use patch::{changes, merge};

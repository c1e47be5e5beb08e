//! How what is known changes: documents and their changes, the audit trail, what a change would mean for whom.
//!
//! Nothing here stores anything: the adapter reads what is, asks what it would become, and writes that in one transaction.

#![forbid(unsafe_code)]

mod admin;
pub mod audit;
mod impact;
mod operations;
mod patch;

pub use admin::{
    Deactivate, ImpactQuestion, Impersonate, Issue, LicenceQuestion, MovePlan, MoveTenant, NewDomain, NewTenant,
    NewToken, Reasoned, Refund, Replayed, Rotate, Ticket, slug_of,
};
pub use impact::{Impact, Impacts, Replay, Shift, breaks, compare, metrics, replay};
pub use operations::{
    GUARDED_MEMBERS, IDENTITY_MEMBERS, OPERATIONS, Operation, OperationId, Permission, ROUTE_IDENTITY_MEMBERS, route,
};
pub use patch::{changes, merge};

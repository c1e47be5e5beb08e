//! Sockets of tenants: one Durable Object, the *hub*, holds those of one tenant.
//!
//! | file | what it does |
//! |---|---|
//! | `connect` | `GET /_gate/v1/connect`: decides who may open a socket, and leads to the hub |
//! | `messages` | the operator's endpoints: messages to tenants, lists of connections |
//! | `object` | the Durable Object |
//! | `judge` | what a hub asks the gate |
//! | `replicas` | several hubs of one tenant |
//! | `slots` | connections as units of a limit |
//! | `client` | asks hubs, and tells them what has changed |

pub(crate) mod client;
pub(crate) mod connect;
mod judge;
pub(crate) mod messages;
mod object;
mod replicas;
mod slots;

pub use object::TenantHub;

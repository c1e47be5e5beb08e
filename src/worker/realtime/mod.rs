//! Sockets of tenants: one Durable Object, the *hub*, holds those of one tenant.
//!
//! | file | what it does |
//! |---|---|
//! | `connect` | `GET /_gate/v1/connect`: decides who may open a socket, and leads to the hub |
//! | `lobby` | sockets whose tenant only their first message names |
//! | `messages` | the operator's endpoints: messages to tenants, lists of connections |
//! | `object` | the Durable Object: its events |
//! | `turns` | the effects of an event, carried out at once |
//! | `standing` | whether the tenant and its members may stay |
//! | `slots` | connections as units of a limit |
//! | `replicas` | several hubs of one tenant |
//! | `listing` | the list of hubs that are told of changes |
//! | `state` | what a hub knows, in memory and on disk |
//! | `judge` | what a hub asks the gate |
//! | `upgrade` | has a hub open a socket |
//! | `client` | asks hubs, and tells them what has changed |

pub(crate) mod client;
pub(crate) mod connect;
mod judge;
mod listing;
mod lobby;
pub(crate) mod messages;
mod object;
mod replicas;
mod slots;
mod standing;
mod state;
mod turns;
mod upgrade;

pub use lobby::Lobby;
pub use object::TenantHub;

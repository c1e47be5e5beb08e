//! A request is read for signals, each a place that names a tenant; all must name one tenant.
//!
//! Nothing is looked up here. What comes out says which slug, id or domain each signal names; the gate finds out whose
//! they are. A place that was looked at and holds something unusable is an answer too: it never falls through to the next.

#![forbid(unsafe_code)]

mod credential;
pub mod host;
mod path;
mod request;
mod resolver;

pub use credential::{Carrier, PresentedCredential};
pub use path::{lenient as lenient_path, without_extension};
pub use request::{Attribute, Custom, EvalContext, Request};
pub use resolver::{KnownHost, Name, ResolveError, Resolver, Signal, Signals};

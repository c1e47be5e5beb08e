//! Tenant resolution: finds the signals of a request, the places that name a tenant. By default,
//! all of them must name the same tenant.
//!
//! This module looks nothing up. It returns the slug, id or domain that each signal names, and
//! [`crate::gate`] finds the tenants. A signal with an unusable value is an error or names no
//! tenant. Resolution never ignores it and falls through to the next strategy.
//!
//! [`Resolver`] compiles the catalog's strategies. `host` and `path` bring hosts and paths into the
//! form in which they are compared, and `credential` finds tokens and API keys, which
//! [`crate::identity`] verifies.

#![forbid(unsafe_code)]

mod credential;
mod error;
pub mod host;
mod path;
mod request;
mod resolver;

pub use credential::{Carrier, PresentedCredential};
pub use error::ResolveError;
pub use path::{lenient as lenient_path, without_extension};
pub use request::{Attribute, Custom, EvalContext, Request};
pub use resolver::{KnownHost, Name, Resolver, Signal, Signals};

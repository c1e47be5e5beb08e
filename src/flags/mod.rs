//! Feature evaluation: tiers, prerequisites, rules and rollouts.
//!
//! The module does not depend on requests, callers or limits, so that it also works alone: in a
//! page, on the features that the page may know.

#![forbid(unsafe_code)]

mod answer;
mod client;
mod murmur;
mod rules;
mod set;
mod version;

pub use answer::{Answer, AnswerId, Grant, Reason, Tier, is_on};
pub use client::ClientFlags;
pub use murmur::{Murmur3, bucket};
pub use rules::{Facts, Slots, Subject, TENANT_ATTRIBUTES, holds_for};
pub use set::FeatureSet;

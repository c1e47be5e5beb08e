//! What is known: catalog and tenant records, parsed once into typed, immutable form.
//!
//! A document is read whole: every problem is reported with its JSON path, what was found and what is allowed.
//! After that nothing is checked again: the types carry the rule.

#![forbid(unsafe_code)]

pub mod bounds;
mod cache;
mod catalog;
mod document;
mod feature;
mod ids;
mod limit;
pub mod period;
mod resolution;
mod tenant;
mod time;

pub use catalog::{Access, Catalog, Plan, Route};
pub use document::{Problem, Problems};
pub use feature::{Condition, Feature, FeatureType, Grants, Op, Rollout, Rule, Weighted};
pub use ids::{Epoch, Key, PlanRef, Slug, TenantId};
pub(crate) use limit::parse_quantity;
pub use limit::{Allowance, Kind, Limit, Mode, OnError, Quantity};
pub use resolution::{Agreement, DomainLookup, Identifies, RESERVED, Resolution, Strategy, StrategyKind};
pub use tenant::{Contract, Domain, DomainState, Override, Status, Tenant, parse_seed};
pub use time::UnixMillis;

pub(crate) use cache::Cache;
pub(crate) use document::{Read, Reader, choice, document, field_name};

//! The documents that the gate works with: the catalog, tenant records and API key records.
//!
//! A document is parsed once, in full, into immutable types. The parser reports every problem with
//! its JSON path, the value found and the values allowed. Nothing is checked again after that,
//! because the types carry the rules.
//!
//! `document` holds the two macros that declare documents, [`bounds`] holds every size and time
//! bound of the product, and `ids` holds the names. [`Catalog`] and [`Tenant`] are the places to
//! start reading.
//!

#![forbid(unsafe_code)]

mod api_key;
pub mod bounds;
mod branding;
mod breaker;
mod cache;
mod catalog;
mod client;
mod contract;
mod cors;
mod data_route;
mod dates;
mod document;
mod feature;
mod ids;
mod issuer;
mod licence;
mod limit;
mod metric;
mod origin;
pub mod period;
mod public_key;
mod realtime;
mod required;
mod resolution;
mod secret_text;
mod tenant;
mod time;
mod weighed;

pub use api_key::{ApiKey, Environment, IssuedKey, KeyHash, PresentedKey};
pub use branding::{BrandName, Branding, Color, FontFamily, SenderDomain, WebUrl};
pub use breaker::{Breaker, BreakerMode};
pub use catalog::{Access, Auth, Catalog, Plan, Route};
pub use client::{ClientSnapshot, ClientTenant, Settled, SettledTier};
pub use contract::{Contract, Credit, Currency, Discount, Interval, Price, Sla};
pub use cors::Cors;
pub use data_route::{DataRoute, Isolation, SettledRoute, Shard};
pub use document::{Problem, Problems, Unread};
pub use feature::{Condition, Feature, FeatureType, FeatureValue, Grants, Op, Rollout, Rule, Weighted};
pub use ids::{ChannelName, ChannelPattern, Epoch, Key, KeyId, PlanRef, Scope, Slug, TenantId};
pub use issuer::{Issuer, IssuerKey, Speaks};
pub use licence::{DomainPattern, LicenceCode, LicenceStatus, LicenceTerms};
pub(crate) use limit::parse_quantity;
pub use limit::{Allowance, Kind, Limit, Mode, OnError, Overage, Quantity};
pub use metric::{Aggregation, Metric};
pub use origin::{AssertionClaims, HeaderMode, Origin};
pub use public_key::{Algorithm, KeySet, Material, PublicKey};
pub use realtime::{Channel, Realtime, Requirement};
pub use resolution::{
    Agreement, DEFAULT_HEADER, DEFAULT_KEY_HEADER, DomainLookup, Identifies, RESERVED, Resolution, Strategy,
    StrategyKind,
};
pub(crate) use secret_text::hex;
pub use secret_text::{ENTROPY_BYTES, SECRET_TEXT_BYTES, SecretText};
pub use tenant::{Domain, DomainState, Override, Seed, Status, Tenant, Trial, parse_seed};
pub use time::{AskedAt, HeardAt, UnixMillis};

pub(crate) use cache::Cache;
pub(crate) use document::{Read, Reader, choice, document, field_name, gather, json_bytes};
pub(crate) use required::{Required, required};
pub(crate) use weighed::WeighedCache;

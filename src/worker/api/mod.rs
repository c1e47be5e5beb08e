//! The gate's own endpoints for the operator's code, for pages and for SDKs: decisions, usage,
//! features.

pub(crate) mod decide;
pub(crate) mod features;
pub(crate) mod usage;

//! Helpers that several test files share.
//!
//! - [`driver`] calls the gate for all tests that play an adapter. No other test helper calls it.
//! - [`pair`] connects one isolate to one ledger, with messages that a test delivers or loses.
//! - [`store`] is one isolate above a store of snapshots.
//! - [`vectors`] runs the files in `tests/vectors` through any adapter.
//! - [`json`], [`schema`] and [`golden`] compare documents.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses a part of it")]

pub mod json;
pub mod vectors;

#[cfg(not(target_family = "wasm"))]
pub mod driver;
#[cfg(not(target_family = "wasm"))]
pub mod golden;
#[cfg(not(target_family = "wasm"))]
pub mod pair;
#[cfg(not(target_family = "wasm"))]
pub mod schema;
#[cfg(not(target_family = "wasm"))]
pub mod store;

#[cfg(not(target_family = "wasm"))]
pub use golden::committed;
pub use json::difference;
#[cfg(not(target_family = "wasm"))]
pub use schema::{bound_texts, is_unbounded_text};

#![doc = include_str!("../README.md")]
// Panics, indexing and unchecked arithmetic have no place where input is read: one request must never end another's.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::dbg_macro,
    clippy::print_stdout,
    reason = "no input may stop the gate"
)]
// Tests say `unwrap` where a failure should end them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod control;
pub mod flags;
pub mod gate;
pub mod identity;
pub mod ledger;
pub mod model;
pub mod resolve;
pub mod wire;

#[cfg(any(feature = "npm", feature = "client"))]
pub mod npm;
#[cfg(all(feature = "worker", target_family = "wasm"))]
pub mod worker;

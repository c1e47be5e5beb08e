//! Decides per request which tenant it is, what it may use and how much is left.
//!
//! The crate is the core of tenantgate. It has no clock, no IO and no randomness. Facts, snapshots
//! and the time go in; a [`Decision`](gate::Decision) with its reason comes out. The same inputs
//! give the same decision, byte for byte.
//!
//! [`LocalGate`](gate::LocalGate) holds everything in memory: a catalog, tenants and a ledger. It
//! is for one process, for tests and for simulation.
//!
//! # The loop of an adapter
//!
//! When snapshots and ledgers are elsewhere, an adapter drives [`Gate`](gate::Gate). The gate never
//! waits. It says what it needs, and the adapter fetches it:
//!
//! ```text
//!              request, ask, now
//!                      |
//!                      v
//!   put_*        +-----------+   Step::Decided   decision
//!    +---------> |  decide   | ------------------------->
//!    |           +-----------+
//!    |             |       |
//!    |  Need       |       | Step::Charge
//!    |             v       v
//!  +------------------+  +------------------+   finish    decision
//!  | fetch a snapshot |  | ask the ledger   | ------------------->
//!  +------------------+  +------------------+
//! ```
//!
//! A fetch starts the decision over, which costs about a microsecond. So the gate keeps no
//! continuation, and an adapter may be synchronous or asynchronous.
//!
//! ```
//! use tenantgate::gate::{Ask, Gate, Need, Progress, SnapshotKey, Step};
//! use tenantgate::model::UnixMillis;
//! use tenantgate::resolve::Request;
//!
//! const CATALOG: &str = r#"{
//!     "version": 1,
//!     "resolution": {"strategies": [{"strategy": "subdomain", "base_domains": ["a.example"]}]},
//!     "plans": {"pro@1": {}}
//! }"#;
//!
//! /// Stands for KV.
//! fn fetch(key: &SnapshotKey) -> Option<&'static str> {
//!     match key.in_kv().as_str() {
//!         "catalog" => Some(CATALOG),
//!         "slug:acme" => Some("t_acme"),
//!         "tenant:t_acme" => Some(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@1"}"#),
//!         _ => None,
//!     }
//! }
//!
//! let mut gate = Gate::default();
//! let request = Request { host: "acme.a.example", path: "/", ..Request::default() };
//! let now = UnixMillis::parse("2026-11-22T12:00:00Z").unwrap();
//! let mut fetched = Vec::new();
//! let decision = loop {
//!     match gate.decide(&request, &Ask::default(), now) {
//!         Progress::Ready(Step::Decided(decision)) => break decision,
//!         Progress::Need(Need::Snapshot(key)) => {
//!             gate.put_trusted(&key, fetch(&key), now).unwrap();
//!             fetched.push(key.in_kv());
//!         }
//!         // This catalog has no limits. Otherwise ask the ledger, and call `Gate::finish`.
//!         other => unreachable!("{other:?}"),
//!     }
//! };
//! assert!(decision.allowed());
//! assert_eq!(fetched, ["catalog", "slug:acme", "tenant:t_acme"]);
//! ```
//!
//! # Modules
//!
//! Dependencies point one way: `wire` -> `gate` -> `ledger`, `identity`, `flags` -> `resolve` ->
//! `model`. `control` has the rules of the admin API, `realtime` the sockets of a tenant. The
//! features `npm`, `client` and `worker` add the adapters for JavaScript, for pages and for
//! Cloudflare Workers.

// Panics, indexing and unchecked arithmetic are denied: one request must never end another.
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
pub mod realtime;
pub mod resolve;
pub mod wire;

#[cfg(any(feature = "npm", feature = "client"))]
pub mod npm;
#[cfg(all(feature = "edge", target_family = "wasm"))]
pub mod worker;

/// The Rust examples of the book.
#[cfg(doctest)]
#[expect(rustdoc::invalid_codeblock_attributes, reason = "tests find other languages' examples by the names of files")]
mod book {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/how-to/rust.md")]
    struct UseItFromRust;
}

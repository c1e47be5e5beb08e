//! The Cloudflare adapter: requests, KV, D1, the Durable Object, the origin.
//!
//! `fetch` answers without a Promise wherever nothing has to be waited for: a request crosses into
//! WebAssembly once, with its facts in one string, and its answer crosses back once. Only snapshots
//! that are not held yet, limits that the ledger counts, and an origin make it wait.
//!
//! Floors, lowest first; each may use those below it:
//!
//! | floor | what it does |
//! |---|---|
//! | `runtime` | the gate of the isolate, futures, the clock, JavaScript |
//! | `config` | bindings and variables |
//! | `isolate` | what an isolate sets up once |
//! | `http` | one request, and responses to it |
//! | `sources` | answers what the gate needs; [`sources::drive`] is the loop |
//! | `ledger` | the Durable Object, and how an isolate talks to it |
//! | `gateway` | requests to the operator's hosts |
//! | `api` | the decision API, features, usage |
//! | `realtime` | sockets of tenants: the endpoints, and the Durable Object |
//! | `admin` | the control plane |
//! | `embedded` | the gate for code in the same isolate |
//! | `router` | which endpoint a request is for |
//! | `handlers` | the handlers of the Worker |
//!
//! The feature `edge` builds the gate for a Worker of one's own, which calls `embedded`. The
//! feature `worker` adds what the complete Worker serves: `realtime`, `admin`, `router` and
//! `handlers`.

// Without the complete Worker, what serves requests is linked by nothing.
#![cfg_attr(not(feature = "worker"), allow(dead_code))]

#[cfg(feature = "worker")]
mod admin;
mod api;
mod assertion;
mod config;
mod embedded;
mod gateway;
#[cfg(feature = "worker")]
mod handlers;
mod http;
mod isolate;
mod ledger;
#[cfg(feature = "worker")]
mod realtime;
#[cfg(feature = "worker")]
mod router;
mod runtime;
mod sources;

use wasm_bindgen::prelude::wasm_bindgen;

pub use embedded::EdgeBinding;
#[cfg(feature = "worker")]
pub use handlers::{fetch, scheduled};
pub use ledger::TenantLedger;
#[cfg(feature = "worker")]
pub use realtime::{Lobby, TenantHub};

/// Reports a panic with file and line before it traps.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

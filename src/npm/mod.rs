//! The wasm-bindgen adapters behind the npm package: the gate, the resolver, the client and tools
//! without a gate.
//!
//! Frequent calls cross the boundary as bytes in a shared buffer and as integers; JavaScript reads
//! descriptions once and caches them. Rare calls, such as loading and explaining, use JSON.

#![allow(clippy::needless_pass_by_value, reason = "wasm-bindgen hands over what it was given")]

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "npm")]
mod gate;
#[cfg(feature = "npm")]
mod resolver;
#[cfg(feature = "npm")]
mod tools;

#[cfg(feature = "client")]
pub use client::Client;
#[cfg(feature = "npm")]
pub use gate::JsGate;
#[cfg(feature = "npm")]
pub use resolver::JsResolver;
#[cfg(feature = "npm")]
pub use tools::{issue_api_key, publish, verify_assertion};

use serde::Serialize;
#[cfg(feature = "npm")]
use wasm_bindgen::JsValue;

/// Serialises a value that always has a JSON form: text, numbers, lists and objects of them.
#[cfg(feature = "client")]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| String::from("null"))
}

#[cfg(feature = "npm")]
fn environment(name: &str) -> Result<crate::model::Environment, JsValue> {
    match name {
        "live" => Ok(crate::model::Environment::Live),
        "test" => Ok(crate::model::Environment::Test),
        _ => Err("the environment is neither `live` nor `test`".into()),
    }
}

#[cfg(feature = "npm")]
fn problems(problems: crate::model::Problems) -> JsValue {
    comfortable(&problems).unwrap_or_else(|error| error)
}

#[cfg(feature = "npm")]
fn comfortable(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}

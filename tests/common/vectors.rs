//! The shared vectors in `tests/vectors`: one list of files and one runner for every adapter.

use serde_json::Value;

use super::json::difference;

/// The part of an adapter that a vector file needs. Every method panics on invalid documents.
pub trait VectorGate: Sized {
    /// Creates a gate with this catalog.
    fn new(catalog: &str) -> Self;
    /// Adds a tenant record.
    fn put_tenant(&mut self, record: &str);
    /// Adds a secret.
    fn put_secret(&mut self, name: &str, value: &str);
    /// Adds the key set that an issuer publishes at `url`.
    fn put_keys(&mut self, url: &str, jwks: &str);
    /// Adds an API key record.
    fn put_api_key(&mut self, record: &str);
    /// Decides a request. `at` is an RFC 3339 time; the default is fixed.
    fn decide(&mut self, ask: &str, at: Option<&str>) -> Value;
}

/// The time of steps without a time of their own, in milliseconds since 1970.
pub const DEFAULT_TIME_MS: u64 = 1_780_000_000_000;

/// Runs every case of a file, each with a gate of its own.
pub fn run<G: VectorGate>(name: &str, text: &str) {
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "{name}: no cases");
    for case in cases {
        let mut gate: G = prepare(&file);
        let one = [case.clone()];
        let steps = case["steps"].as_array().map_or(one.as_slice(), Vec::as_slice);
        for (index, step) in steps.iter().enumerate() {
            let found = gate.decide(&step["ask"].to_string(), step["at"].as_str());
            if let Some(difference) = difference("$", &step["expect"], &found) {
                panic!("{name}: `{}`, step {index}: {difference}\n{found:#}", case["name"]);
            }
        }
    }
}

fn prepare<G: VectorGate>(file: &Value) -> G {
    let mut gate = G::new(&file["catalog"].to_string());
    for tenant in file["tenants"].as_array().unwrap() {
        gate.put_tenant(&tenant.to_string());
    }
    for (name, value) in members(&file["secrets"]) {
        gate.put_secret(name, value.as_str().unwrap());
    }
    for (url, keys) in members(&file["keys"]) {
        gate.put_keys(url, &keys.to_string());
    }
    for record in file["api_keys"].as_array().into_iter().flatten() {
        gate.put_api_key(&record.to_string());
    }
    gate
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// Declares one test for each vector file: `vector_tests!(test, Gate)`.
macro_rules! vector_tests {
    ($attribute:meta, $gate:ty) => {
        vector_tests!($attribute, $gate: resolution, features, dates, status, limits, kinds, pages, identity);
    };
    ($attribute:meta, $gate:ty: $($file:ident),*) => {$(
        #[$attribute]
        fn $file() {
            let text = include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/tests/vectors/", stringify!($file), ".json"
            ));
            $crate::common::vectors::run::<$gate>(stringify!($file), text);
        }
    )*};
}
pub(crate) use vector_tests;

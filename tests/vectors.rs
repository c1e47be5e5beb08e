//! The vectors in `tests/vectors`, run natively. The browser, the npm package and the Worker run
//! the same files.

mod common;

use common::vectors::{DEFAULT_TIME_MS, VectorGate, vector_tests};
use serde_json::Value;
use tenantgate::gate::LocalGate;
use tenantgate::model::{ApiKey, Tenant, UnixMillis};
use tenantgate::wire::{DecideBody, transcript};

impl VectorGate for LocalGate {
    fn new(catalog: &str) -> Self {
        Self::new(catalog).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn put_tenant(&mut self, record: &str) {
        self.put(Tenant::parse(record).unwrap_or_else(|problems| panic!("{problems}"))).unwrap();
    }

    fn put_secret(&mut self, name: &str, value: &str) {
        self.put_secret(name, value);
    }

    fn put_keys(&mut self, url: &str, jwks: &str) {
        self.put_issuer_keys(url, jwks).unwrap();
    }

    fn put_api_key(&mut self, record: &str) {
        self.put_api_key(ApiKey::parse(record).unwrap_or_else(|problems| panic!("{problems}"))).unwrap();
    }

    fn decide(&mut self, ask: &str, at: Option<&str>) -> Value {
        let at = at.map_or(UnixMillis::new(DEFAULT_TIME_MS), |at| UnixMillis::parse(at).unwrap());
        let body = DecideBody::parse(ask).unwrap_or_else(|problems| panic!("{problems}"));
        let parts = body.borrow();
        serde_json::from_str(&transcript(&self.decide(&body.request(&parts, None), &body.ask(&parts), at))).unwrap()
    }
}

vector_tests!(test, tenantgate::gate::LocalGate);

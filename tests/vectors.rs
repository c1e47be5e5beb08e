//! The vectors in `tests/vectors`, run natively. The browser, the npm package and the Worker run the same files.

mod common;

use serde_json::Value;
use tenantgate::gate::LocalGate;
use tenantgate::model::{ApiKey, Tenant, UnixMillis};
use tenantgate::wire::{DecideBody, transcript};

fn run(name: &str, text: &str) {
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "{name}: no cases");
    for case in cases {
        let mut gate =
            LocalGate::new(&file["catalog"].to_string()).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        for tenant in file["tenants"].as_array().unwrap() {
            gate.put(Tenant::parse(&tenant.to_string()).unwrap_or_else(|problems| panic!("{name}: {problems}")))
                .unwrap();
        }
        for (name, value) in members(&file["secrets"]) {
            gate.put_secret(name, value.as_str().unwrap());
        }
        for (url, keys) in members(&file["keys"]) {
            gate.put_issuer_keys(url, &keys.to_string()).unwrap();
        }
        for record in file["api_keys"].as_array().into_iter().flatten() {
            gate.put_api_key(
                ApiKey::parse(&record.to_string()).unwrap_or_else(|problems| panic!("{name}: {problems}")),
            )
            .unwrap();
        }
        let one = [case.clone()];
        let steps = case["steps"].as_array().map_or(one.as_slice(), Vec::as_slice);
        for (index, step) in steps.iter().enumerate() {
            let at =
                step["at"].as_str().map_or(UnixMillis::new(1_780_000_000_000), |at| UnixMillis::parse(at).unwrap());
            let body =
                DecideBody::parse(&step["ask"].to_string()).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            let parts = body.borrow();
            let found = transcript(&gate.decide(&body.request(&parts, None), &body.ask(&parts), at));
            if let Some(difference) = common::difference("$", &step["expect"], &found) {
                panic!("{name}: `{}`, step {index}: {difference}\n{found:#}", case["name"]);
            }
        }
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

macro_rules! vectors {
    ($($test:ident),*) => {$(
        #[test]
        fn $test() {
            run(stringify!($test), include_str!(concat!("vectors/", stringify!($test), ".json")));
        }
    )*};
}

vectors!(resolution, features, dates, status, limits, kinds, pages, identity);

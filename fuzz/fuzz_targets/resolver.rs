//! Requests of any shape: five lines of the input are host, path, query, header and an attribute.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantgate::gate::{Ask, LocalGate};
use tenantgate::model::{Tenant, UnixMillis};
use tenantgate::resolve::{Attribute, EvalContext, Custom, Request};
use tenantgate::wire::transcript;

const CATALOG: &str = r#"{
    "version": 1,
    "resolution": {"strategies": [
        {"strategy": "subdomain", "base_domains": ["a.example"]}, {"strategy": "custom_domain", "domain_lookup": "index"},
        {"strategy": "path"}, {"strategy": "header"}, {"strategy": "query"}, {"strategy": "custom"}
    ]},
    "routes": [{"path": "/api", "feature": "f", "limits": {"l": 1}}, {"path": "/open", "access": "public"}],
    "features": {"f": {"rules": [{"name": "r", "when": [{"attribute": "a", "op": "semver", "value": ">=1"}], "value": true}]}},
    "limits": {"l": {"kind": "rate", "window_ms": 1000}},
    "plans": {"p@1": {"limits": {"l": 10}}}
}"#;

fuzz_target!(|text: &str| {
    let mut gate = LocalGate::new(CATALOG).expect("the catalog is good");
    gate.put(Tenant::parse(r#"{"id": "t", "slug": "t", "plan": "p@1"}"#).expect("the record is good")).expect("nothing is held");
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (host, path, query, header, attribute) = (next(), next(), next(), next(), next());
    let headers = [("x-tenant-id", header)];
    let context = [("a", Attribute::Text(attribute))];
    let request = Request { host, path, query, headers: &headers, custom: Custom::Named(header), context: EvalContext::Named(&context), explain: true, ..Request::default() };
    let _ = transcript(&gate.decide(&request, &Ask::default(), UnixMillis::new(1)));
});

//! Documents of any shape: whatever parses is used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantgate::gate::{Ask, LocalGate};
use tenantgate::model::{Tenant, UnixMillis};
use tenantgate::resolve::Request;
use tenantgate::wire::{DecideBody, publication, transcript};

fuzz_target!(|text: &str| {
    let _ = DecideBody::parse(text);
    let _ = publication(text);
    let tenant = Tenant::parse(text);
    if let Ok(mut gate) = LocalGate::new(text) {
        gate.put(Tenant::parse(r#"{"id": "t", "slug": "t", "plan": "p@1"}"#).expect("the record is good")).expect("nothing is held");
        let ask = Ask { tenant: Some("t"), all_features: true, ..Ask::default() };
        let _ = transcript(&gate.decide(&Request::default(), &ask, UnixMillis::new(1)));
    }
    drop(tenant);
});

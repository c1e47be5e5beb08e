//! What an isolate sets up once, with its first request.

use std::rc::Rc;

use wasm_bindgen::JsValue;

use crate::worker::config::{self, Config};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::{edge, header_names};

/// The configuration. With the first call, the gate receives what it needs of it.
pub(crate) fn load(env: &JsValue) -> Rc<Config> {
    let (config, is_first) = config::load(env);
    if is_first {
        header_names::read_own(&config.header_names());
        with_gate(|gate| {
            if let Some(seals) = config.seals.clone() {
                gate.trust(seals);
            }
            gate.set_environment(config.environment);
            gate.delegate_signatures();
            // Randomness exists only while a request is served.
            gate.lease_as(edge::unique());
        });
    }
    config
}

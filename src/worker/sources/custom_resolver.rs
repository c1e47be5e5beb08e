//! The custom resolver: a service of the operator that finds the tenant of a request, reached
//! through the service binding `RESOLVER`.

use wasm_bindgen_futures::JsFuture;
use web_sys::console;

use crate::model::bounds::CUSTOM_RESOLVER_MS;
use crate::worker::config::Config;
use crate::worker::http::call::{Call, Resolved};
use crate::worker::runtime::cell::with_gate;
use crate::worker::runtime::edge;

/// Asks the custom resolver for the tenant of a request. The log contains the cause of a failure.
pub(crate) async fn resolve(call: &Call, config: &Config) -> Resolved {
    if config.resolver.is_undefined() {
        console::error_1(&"the strategy `custom` needs a service binding `RESOLVER`".into());
        return Resolved::Failed;
    }
    let timeout = u32::try_from(CUSTOM_RESOLVER_MS).unwrap_or(u32::MAX);
    let catalog = with_gate(|gate| gate.current_catalog().cloned());
    let reads = catalog.as_ref().and_then(|catalog| catalog.resolver().custom_reads()).map(|names| names.join("\n"));
    match JsFuture::from(edge::resolve_custom(&config.resolver, &call.request, reads.as_deref(), timeout)).await {
        Ok(name) => name.as_string().map_or(Resolved::Nobody, Resolved::Named),
        Err(error) => {
            console::error_2(&"the custom resolver failed".into(), &error);
            Resolved::Failed
        }
    }
}

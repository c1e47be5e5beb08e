//! Bindings to `edge.js`, and to what the runtime hands over.

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/worker/edge.js")]
extern "C" {
    pub fn facts(request: &JsValue, names: &JsValue) -> String;
    pub fn respond(status: u16, text: &str) -> web_sys::Response;
    pub fn text(request: &JsValue, max_bytes: u32, timeout_ms: u32) -> Promise;
    pub fn forward(
        request: &JsValue,
        upstream: &JsValue,
        url: &str,
        is_passed: &Function,
        removed: &JsValue,
        cookie: Option<&str>,
        added: &str,
        marks: &str,
        private: bool,
        prefix: &str,
        timeout_ms: u32,
        flight: &JsValue,
    ) -> Promise;
    pub fn flight(watches: bool, slow_ms: u32) -> Flight;
    #[wasm_bindgen(js_name = fetchKeys)]
    pub fn fetch_keys(url: &str, max_bytes: u32, timeout_ms: u32) -> Promise;
    pub fn page(assets: &JsValue, url: &str) -> Promise;
    #[wasm_bindgen(js_name = resolveCustom)]
    pub fn resolve_custom(resolver: &JsValue, request: &JsValue, reads: Option<&str>, timeout_ms: u32) -> Promise;
    pub fn ledgers(namespace: &JsValue, jurisdictions: &str) -> JsValue;
    pub fn order(ledgers: &JsValue, name: &str, body: &str, context: &ExecutionContext, line_ms: u32) -> Promise;
    /// The text of a KV entry, at most `cache_ttl_s` seconds old; null if there is no entry.
    #[wasm_bindgen(js_name = getEntry)]
    pub fn get_entry(kv: &JsValue, key: &str, cache_ttl_s: u32) -> Promise;
    /// Writes a KV entry that expires after `ttl_s` seconds.
    #[wasm_bindgen(js_name = putEntry)]
    pub fn put_entry(kv: &JsValue, key: &str, text: &str, ttl_s: u32) -> Promise;
    pub fn sleep(ms: u32) -> Promise;
    pub fn unique() -> String;
    /// Whether the client of a request has gone.
    pub fn aborted(request: &JsValue) -> bool;
    /// The address that a request comes from, as the platform says.
    pub fn address(request: &JsValue) -> Option<String>;
    /// A header of a request.
    pub fn header(request: &JsValue, name: &str) -> Option<String>;
}

#[wasm_bindgen(module = "/src/worker/origin_headers.js")]
extern "C" {
    /// Whether a header is passed on to the origin, by a policy of [`crate::gate::CompiledCatalog::origin_policy`].
    pub fn filter(policy: &str) -> Function;
}

#[wasm_bindgen(module = "/src/worker/control.js")]
extern "C" {
    pub fn transact(db: &JsValue, statements: &str, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(js_name = putEntries)]
    pub fn put_entries(kv: &JsValue, entries: &str) -> Promise;
    #[wasm_bindgen(js_name = getEntries)]
    pub fn get_entries(kv: &JsValue, keys: &str) -> Promise;
    pub fn tell(queue: &JsValue, event: &str) -> Promise;
    #[wasm_bindgen(js_name = txtRecords)]
    pub fn txt_records(url: &str, name: &str, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(js_name = setUpData)]
    pub fn set_up_data(provisioner: &JsValue, question: &str, timeout_ms: u32) -> Promise;
    pub fn random(bytes: u32) -> String;
}

#[wasm_bindgen(module = "/src/worker/ledger.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = openBook)]
    pub fn open_book(state: &JsValue) -> Result<String, JsValue>;
    #[wasm_bindgen(catch, js_name = saveBook)]
    pub fn save_book(state: &JsValue, slices: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(catch)]
    pub fn remembered(state: &JsValue, kind: &str, names: &str, generation: u32) -> Result<String, JsValue>;
    #[wasm_bindgen(catch)]
    pub fn stored(state: &JsValue, table: &str, names: &str) -> Result<String, JsValue>;
    #[wasm_bindgen(catch, js_name = storedBelow)]
    pub fn stored_below(state: &JsValue, table: &str, names: &str) -> Result<String, JsValue>;
    #[wasm_bindgen(js_name = wakeOutbox)]
    pub fn wake_outbox(state: &JsValue) -> Promise;
    #[wasm_bindgen(catch, js_name = reviveOutbox)]
    pub fn revive_outbox(state: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = emptyOutbox)]
    pub fn empty_outbox(state: &JsValue, env: &JsValue, max_events: u32, max_bytes: u32) -> Promise;
    #[wasm_bindgen(js_name = serveLedger)]
    pub fn serve_ledger(commit: &JsValue, max_bytes: usize, max_waiting: usize) -> Function;
}

#[wasm_bindgen]
extern "C" {
    /// A call to the origin.
    pub type Flight;
    /// Settled when the call has ended: its response is through, or it has failed.
    #[wasm_bindgen(method, getter)]
    pub fn ended(this: &Flight) -> Promise;
    /// Settled once the origin has taken too long without an answer, if it does.
    #[wasm_bindgen(method, getter)]
    pub fn slow(this: &Flight) -> Promise;
    /// Whether it has.
    #[wasm_bindgen(method, getter, js_name = isSlow)]
    pub fn is_slow(this: &Flight) -> bool;
    /// Whether the client broke it off while it was sending its body.
    #[wasm_bindgen(method, getter)]
    pub fn broken(this: &Flight) -> bool;
    /// Milliseconds that the origin took for the head of its response, once it had the whole request.
    #[wasm_bindgen(method, getter, js_name = originMs)]
    pub fn origin_ms(this: &Flight) -> f64;

    /// The context of one invocation.
    #[derive(Clone)]
    pub type ExecutionContext;
    #[wasm_bindgen(method, js_name = waitUntil)]
    pub fn wait_until(this: &ExecutionContext, promise: &Promise);
}

//! Bindings to the JavaScript side of the Worker, and to objects of the runtime.
//!
//! Each crossing of the boundary between WebAssembly and JavaScript costs time, so one crossing
//! carries all its data in one text. Both sides must keep the formats of these texts:
//!
//! - Values that cannot contain a line break (methods, URLs, header names and values, KV keys, TXT
//!   records, ledger requests and their responses) are written one per line.
//! - [`facts`] returns the one-character text NUL for an absent header. No header value can be NUL.
//! - [`respond`] takes five lines and the body, [`forward`] twelve lines and the CORS headers,
//!   [`save_state`] slices of three lines. The comments in JavaScript describe them.
//! - [`transact`] returns JSON. If the database refuses the transaction, it returns `!` and the
//!   reason: the columns of the violated constraint, or `premise` for a failed precondition.
//! - Everything else is JSON.
//!
//! Any module that one of these modules imports must be declared here too: wasm-bindgen copies only
//! declared modules into the build. The copies keep their relative paths.

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/worker/edge.js")]
extern "C" {
    pub fn facts(request: &JsValue, names: &JsValue) -> String;
    pub fn respond(status: u16, text: &str) -> web_sys::Response;
    pub fn text(request: &JsValue, max_bytes: u32, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(js_name = fetchKeys)]
    pub fn fetch_keys(url: &str, max_bytes: u32, timeout_ms: u32) -> Promise;
    pub fn page(assets: &JsValue, url: &str) -> Promise;
    #[wasm_bindgen(js_name = resolveCustom)]
    pub fn resolve_custom(resolver: &JsValue, request: &JsValue, reads: Option<&str>, timeout_ms: u32) -> Promise;
    pub fn sleep(ms: u32) -> Promise;
    pub fn unique() -> String;
    /// Whether the client of a request has disconnected.
    pub fn aborted(request: &JsValue) -> bool;
    /// The client's address, if the platform reports it.
    pub fn address(request: &JsValue) -> Option<String>;
    /// Logs a failure, and returns the id under which it stands in the log.
    #[wasm_bindgen(js_name = noteFailure)]
    pub fn note_failure(request: &JsValue, code: &str, status: u16, reason: Option<&str>) -> String;
    /// One header of a request.
    pub fn header(request: &JsValue, name: &str) -> Option<String>;
}

#[wasm_bindgen(module = "/src/worker/forward.js")]
extern "C" {
    pub fn origin(
        upstream: &JsValue,
        base: Option<&str>,
        passes: &Function,
        cookie: Option<&str>,
        vary: Option<&str>,
        adds_prefix: bool,
        failed: &Function,
    ) -> JsValue;
    pub fn forward(request: &JsValue, origin: &JsValue, text: &str, timeout_ms: u32, flight: &JsValue) -> Promise;
    pub fn flight(watches: bool, slow_ms: u32) -> Flight;
}

#[wasm_bindgen(module = "/src/worker/object_client.js")]
extern "C" {
    pub fn ledgers(namespace: &JsValue, jurisdictions: &str) -> ObjectClient;
}

#[wasm_bindgen(module = "/src/worker/signatures.js")]
extern "C" {
    /// Resolves to whether a signature is valid.
    #[wasm_bindgen(js_name = verifySignature)]
    pub fn verify_signature(text: &str) -> Promise;
}

#[wasm_bindgen(module = "/src/worker/origin_headers.js")]
extern "C" {
    /// Returns a function that decides whether the origin receives a header, according to a policy
    /// of [`crate::gate::CompiledCatalog::origin_policy`]. It never receives those `removed`.
    pub fn filter(policy: &str, removed: &JsValue) -> Function;
}

#[wasm_bindgen(module = "/src/worker/control.js")]
extern "C" {
    pub fn transact(db: &JsValue, statements: &str, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(js_name = putEntries)]
    pub fn put_entries(kv: &JsValue, entries: &str) -> Promise;
    #[wasm_bindgen(js_name = getEntries)]
    pub fn get_entries(kv: &JsValue, keys: &str) -> Promise;
    #[wasm_bindgen(js_name = sendEvent)]
    pub fn send_event(queue: &JsValue, event: &str) -> Promise;
    #[wasm_bindgen(js_name = txtRecords)]
    pub fn txt_records(url: &str, name: &str, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(js_name = setUpData)]
    pub fn set_up_data(provisioner: &JsValue, question: &str, timeout_ms: u32) -> Promise;
    pub fn random(bytes: u32) -> String;
}

#[wasm_bindgen(module = "/src/worker/ledger.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = openState)]
    pub fn open_state(state: &JsValue) -> Result<String, JsValue>;
    #[wasm_bindgen(catch, js_name = saveState)]
    pub fn save_state(state: &JsValue, slices: &str) -> Result<(), JsValue>;
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

#[wasm_bindgen(module = "/src/worker/hub.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    pub fn sockets(state: &JsValue) -> Result<Sockets, JsValue>;
    #[wasm_bindgen(catch, js_name = openHub)]
    pub fn open_hub(state: &JsValue) -> Result<String, JsValue>;
    #[wasm_bindgen(catch)]
    pub fn remember(state: &JsValue, name: &str, value: Option<&str>) -> Result<(), JsValue>;
    #[wasm_bindgen(catch, js_name = storeMessage)]
    pub fn store_message(state: &JsValue, seq: f64, at: f64, target: &str, frame: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(catch, js_name = trimLog)]
    pub fn trim_log(state: &JsValue, through: f64, last: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(catch, js_name = messagesAfter)]
    pub fn messages_after(state: &JsValue, after: f64, limit: usize, max_bytes: u32) -> Result<String, JsValue>;
    #[wasm_bindgen(catch, js_name = setAlarm)]
    pub fn set_alarm(state: &JsValue, at: f64) -> Result<(), JsValue>;
    pub fn abort(state: &JsValue, reason: &str);
    pub fn hubs(namespace: &JsValue, jurisdictions: &str) -> Hubs;
    #[wasm_bindgen(js_name = hubAnswer)]
    pub fn hub_answer(response: &Promise) -> Promise;
    #[wasm_bindgen(js_name = withCredential)]
    pub fn with_credential(request: &JsValue, name: &str, value: &str) -> Option<JsValue>;
    #[wasm_bindgen(js_name = refusedSocket)]
    pub fn refused_socket(frame: &str, code: u16, reason: &str, protocol: &str) -> JsValue;
    pub fn network(address: &str) -> String;
}

#[wasm_bindgen]
extern "C" {
    /// The state of a call to the origin.
    pub type Flight;
    /// Resolves when the call has ended: its response has been sent, or it has failed.
    #[wasm_bindgen(method, getter)]
    pub fn ended(this: &Flight) -> Promise;
    /// Resolves once the origin has taken too long without a response.
    #[wasm_bindgen(method, getter)]
    pub fn slow(this: &Flight) -> Promise;
    /// Whether the origin has taken too long without a response.
    #[wasm_bindgen(method, getter, js_name = isSlow)]
    pub fn is_slow(this: &Flight) -> bool;
    /// Whether the client disconnected while it was sending its body.
    #[wasm_bindgen(method, getter)]
    pub fn broken(this: &Flight) -> bool;
    /// Milliseconds from the end of the request to the head of the origin's response.
    #[wasm_bindgen(method, getter, js_name = originMs)]
    pub fn origin_ms(this: &Flight) -> f64;

    /// The client of the Durable Objects of one kind.
    pub type ObjectClient;
    /// Asks an object. Resolves to its answer, or to null or undefined: see `object_client.js`.
    #[wasm_bindgen(method)]
    pub fn ask(this: &ObjectClient, name: &str, body: &str, context: &ExecutionContext, queue_ms: u32) -> Promise;

    /// The client of the hubs.
    pub type Hubs;
    /// Asks a hub: an upgrade if there is no body. Resolves to its response.
    #[wasm_bindgen(method, catch)]
    pub fn ask(
        this: &Hubs,
        root: &str,
        name: &str,
        path: &str,
        about: &str,
        body: Option<&str>,
    ) -> Result<Promise, JsValue>;
    /// Has a tenant's first hub publish messages, together with those of other requests. Resolves
    /// like [`ObjectClient::ask`].
    #[wasm_bindgen(method)]
    pub fn publish(this: &Hubs, about: &str, messages: &str, context: &ExecutionContext) -> Promise;

    /// The sockets of a hub, each under a number.
    #[derive(Clone)]
    pub type Sockets;
    #[wasm_bindgen(method)]
    pub fn kept(this: &Sockets) -> String;
    #[wasm_bindgen(method, catch)]
    pub fn accept(this: &Sockets) -> Result<u32, JsValue>;
    #[wasm_bindgen(method)]
    pub fn upgraded(this: &Sockets, protocol: Option<&str>) -> JsValue;
    #[wasm_bindgen(method)]
    pub fn send(this: &Sockets, to: u32, frame: &str, max_unsent: u32) -> bool;
    #[wasm_bindgen(method)]
    pub fn fan(
        this: &Sockets,
        to: &js_sys::Uint32Array,
        frame: &str,
        first: f64,
        max_unsent: u32,
        max_total: u32,
    ) -> js_sys::Uint32Array;
    #[wasm_bindgen(method)]
    pub fn seen(this: &Sockets, who: u32, seen: f64);
    #[wasm_bindgen(method)]
    pub fn unsent(this: &Sockets, who: u32) -> u32;
    #[wasm_bindgen(method)]
    pub fn attach(this: &Sockets, who: u32, text: &str) -> bool;
    #[wasm_bindgen(method)]
    pub fn close(this: &Sockets, who: u32, code: u16, reason: &str);
    #[wasm_bindgen(method)]
    pub fn lingers(this: &Sockets, max_total: u32) -> bool;

    /// The context of one invocation of the Worker.
    #[derive(Clone)]
    pub type ExecutionContext;
    #[wasm_bindgen(method, js_name = waitUntil)]
    pub fn wait_until(this: &ExecutionContext, promise: &Promise);
}

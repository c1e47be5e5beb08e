//! The Worker's configuration: bindings, variables and secrets.
//!
//! Each isolate reads it once. An invalid value is logged and disables what depends on it; it never
//! makes the gate trust more than a valid value would.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Reflect;
use subtle::ConstantTimeEq as _;
use wasm_bindgen::prelude::*;
use web_sys::console;
use worker::kv::KvStore;

use crate::identity::{LicenceSigner, Sealer, Seals};
use crate::model::{Environment, KeySet, TenantId};
use crate::worker::assertion::Assertions;
use crate::worker::runtime::edge::{self, Hubs, ObjectClient};
use crate::worker::runtime::header_names::{EXPLAIN, FORWARDED_HOST, PROXY_SECRET};

/// Bindings, variables and secrets, by their names in `wrangler.toml`.
pub(crate) struct Config {
    /// `SNAPSHOTS`: the KV namespace with the catalog, the records and the index. For reads.
    pub(crate) snapshots: Option<KvStore>,
    /// The same namespace as a JavaScript object, for publications.
    pub(crate) snapshots_binding: JsValue,
    /// `CONTROL_DB`: the D1 database, the system of record. Undefined: the admin API is disabled.
    pub(crate) control: JsValue,
    /// `EVENTS_QUEUE`: the queue that receives an event when a tenant is ready.
    pub(crate) events: JsValue,
    /// `PROVISIONER`: the service that sets up the storage for a tenant's data.
    pub(crate) provisioner: JsValue,
    /// `DNS_URL`: the DNS-over-HTTPS resolver for TXT records of domains.
    pub(crate) dns_url: String,
    /// `SNAPSHOT_KEY`: seals published snapshots.
    pub(crate) sealer: Option<Sealer>,
    /// `LICENCE_KEY`: signs licences, so that software can verify them offline.
    pub(crate) licences: Option<LicenceSigner>,
    /// `SNAPSHOT_KEY`, `SNAPSHOT_TRUST`: the seals that are trusted. `None` means that snapshots in
    /// KV need no seal.
    pub(crate) seals: Option<Seals>,
    /// `LEDGER`: one Durable Object per family of tenants.
    pub(crate) ledger: Option<ObjectClient>,
    /// `LEDGER_JURISDICTIONS`: prefixes of tenant ids, each with the jurisdiction of the ledgers.
    pub(crate) jurisdictions: Vec<(String, String)>,
    /// `HUBS`: one Durable Object per tenant, for its sockets.
    pub(crate) hubs: Option<Hubs>,
    /// `HUB_SOCKETS`: the sockets of one hub, for tests, which cannot open thousands.
    pub(crate) hub_sockets: Option<usize>,
    /// `UPSTREAM`: the service that serves as the origin.
    pub(crate) upstream: JsValue,
    /// `UPSTREAM_URL`: the URL of the origin, for an origin without a service binding.
    pub(crate) upstream_url: Option<String>,
    /// `RESOLVER`: the service behind the strategy `custom`.
    pub(crate) resolver: JsValue,
    /// `ASSETS`: the files of the playground.
    pub(crate) assets: JsValue,
    /// `UI_HOST`: the host that serves the playground, besides `localhost`.
    ui_host: Option<String>,
    /// `OPERATOR_TOKEN`: gives access to the decision API and to traces. `None` means that both are
    /// disabled.
    operator_token: Option<String>,
    /// `PROXY_SECRET`: a proxy that sends it in `X-Gate-Proxy-Secret` may set `X-Forwarded-Host`.
    proxy_secret: Option<String>,
    /// `REGION`: the region of this deployment, for the stage residency.
    pub(crate) region: Option<String>,
    /// `ENVIRONMENT`: `live`, or `test` to accept test keys instead of live keys.
    pub(crate) environment: Environment,
    /// `ASSERTION_KEY`, `ASSERTION_AUDIENCE`: signs the assertions for the origin.
    pub(crate) assertions: Option<Assertions>,
    /// Whether each usage event is handed on to `USAGE_QUEUE` or `USAGE_DB`.
    pub(crate) exports_usage: bool,
    /// The environment object, for secrets that the catalog refers to by name.
    env: JsValue,
}

thread_local! {
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// The configuration of this isolate, and whether this call has read it.
pub(crate) fn load(env: &JsValue) -> (Rc<Config>, bool) {
    CONFIG.with_borrow_mut(|config| {
        let is_first = config.is_none();
        (Rc::clone(config.get_or_insert_with(|| Rc::new(Config::read(env)))), is_first)
    })
}

impl Config {
    fn read(env: &JsValue) -> Self {
        let binding = |name: &str| Reflect::get(env, &name.into()).unwrap_or(JsValue::UNDEFINED);
        let text = |name: &str| binding(name).as_string().filter(|text| !text.is_empty());
        let upstream_url = text("UPSTREAM_URL").map(|url| url.trim_end_matches('/').to_owned());
        let audience = text("ASSERTION_AUDIENCE").or_else(|| upstream_url.clone());
        let environment = match text("ENVIRONMENT").as_deref() {
            None | Some("live") => Environment::Live,
            Some("test") => Environment::Test,
            Some(_) => {
                console::error_1(&"ENVIRONMENT is neither `live` nor `test`: the Worker uses `live`".into());
                Environment::Live
            }
        };
        let jurisdictions = jurisdictions(text("LEDGER_JURISDICTIONS").as_deref().unwrap_or_default());
        // Without readable jurisdictions, objects might be kept in the wrong place.
        let objects = |name| {
            let places = serde_json::json!(jurisdictions.as_ref()?).to_string();
            Some(binding(name)).filter(|namespace| !namespace.is_undefined()).map(|namespace| (namespace, places))
        };
        let (sealer, seals) = seals(text("SNAPSHOT_KEY").as_deref(), text("SNAPSHOT_TRUST").as_deref());
        let assertions = text("ASSERTION_KEY").and_then(|pem| Assertions::new(&pem, audience));
        let licences = text("LICENCE_KEY").and_then(|pem| {
            let signer = LicenceSigner::from_pem(&pem);
            let own = assertions.as_ref().map(Assertions::jwk);
            if signer.is_none() {
                console::error_1(&"LICENCE_KEY is not an Ed25519 key in PEM: licences are not signed".into());
            } else if own.is_some_and(|own| signer.as_ref().is_some_and(|signer| signer.jwk() == own)) {
                console::error_1(&"LICENCE_KEY and ASSERTION_KEY are the same key: licences are not signed".into());
                return None;
            }
            signer
        });
        Self {
            snapshots: KvStore::from_this(env, "SNAPSHOTS").ok(),
            snapshots_binding: binding("SNAPSHOTS"),
            control: binding("CONTROL_DB"),
            events: binding("EVENTS_QUEUE"),
            provisioner: binding("PROVISIONER"),
            dns_url: text("DNS_URL").unwrap_or_else(|| String::from("https://cloudflare-dns.com/dns-query")),
            licences,
            sealer,
            seals,
            ledger: objects("LEDGER").map(|(namespace, places)| edge::ledgers(&namespace, &places)),
            hubs: objects("HUBS").map(|(namespace, places)| edge::hubs(&namespace, &places)),
            hub_sockets: if cfg!(feature = "faults") {
                text("HUB_SOCKETS").and_then(|text| text.parse().ok())
            } else {
                None
            },
            jurisdictions: jurisdictions.unwrap_or_default(),
            upstream: binding("UPSTREAM"),
            upstream_url,
            resolver: binding("RESOLVER"),
            assets: binding("ASSETS"),
            ui_host: text("UI_HOST"),
            operator_token: text("OPERATOR_TOKEN"),
            proxy_secret: text("PROXY_SECRET"),
            region: text("REGION"),
            environment,
            assertions,
            exports_usage: !binding("USAGE_QUEUE").is_undefined() || !binding("USAGE_DB").is_undefined(),
            env: env.clone(),
        }
    }

    /// A secret or variable that the catalog refers to. The gate's own secrets are not available to
    /// it.
    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        let own = ["OPERATOR_TOKEN", "PROXY_SECRET", "ASSERTION_KEY", "SNAPSHOT_KEY", "LICENCE_KEY"].contains(&name);
        Reflect::get(&self.env, &name.into()).ok()?.as_string().filter(|_| !own)
    }

    /// The public keys with which origins verify assertions, and software verifies licences.
    pub(crate) fn public_keys(&self) -> Vec<serde_json::Value> {
        let assertions = self.assertions.as_ref().map(Assertions::jwk);
        assertions.into_iter().chain(self.licences.as_ref().map(LicenceSigner::jwk)).collect()
    }

    /// The jurisdiction of the ledger of the family of `root`. Returns `None` if it has none.
    pub(crate) fn jurisdiction(&self, root: &str) -> Option<&str> {
        let found = self.jurisdictions.iter().find(|(prefix, _)| root.starts_with(prefix.as_str()));
        found.map(|(_, jurisdiction)| jurisdiction.as_str())
    }

    /// Whether the playground is served on a host. It is never served on a tenant's host: a service
    /// worker of the tenant could replace the page there, and receive the operator token.
    pub(crate) fn serves_ui_on(&self, host: &str) -> bool {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(name, _)| name);
        !self.assets.is_undefined()
            && (matches!(name, "localhost" | "127.0.0.1" | "[::1]") || self.ui_host.as_deref() == Some(name))
    }

    /// The request headers that the configuration gives a meaning.
    pub(crate) fn header_names(&self) -> Vec<&'static str> {
        let explain = self.operator_token.is_some().then_some(EXPLAIN);
        let proxy = self.proxy_secret.is_some().then_some([PROXY_SECRET, FORWARDED_HOST]);
        explain.into_iter().chain(proxy.into_iter().flatten()).collect()
    }

    /// Whether there is an origin.
    pub(crate) fn has_upstream(&self) -> bool {
        !self.upstream.is_undefined() || self.upstream_url.is_some()
    }

    /// Whether `token` is the operator token.
    pub(crate) fn is_operator(&self, token: Option<&str>) -> bool {
        matches(self.operator_token.as_deref(), token)
    }

    /// Whether `secret` is that of the trusted proxy.
    pub(crate) fn is_proxy(&self, secret: Option<&str>) -> bool {
        matches(self.proxy_secret.as_deref(), secret)
    }
}

/// Parses `LEDGER_JURISDICTIONS`, such as `t_eu_=eu t_us_=fedramp`: pairs of a prefix of tenant ids
/// and a jurisdiction. Returns `None` if it is invalid; no ledger can be asked then.
fn jurisdictions(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (prefix, jurisdiction) = pair.split_once('=')?;
        (TenantId::is_valid(prefix) && !jurisdiction.is_empty()).then(|| (prefix.to_owned(), jurisdiction.to_owned()))
    };
    text.split_whitespace().map(pair).collect::<Option<_>>().or_else(|| {
        console::error_1(
            &"LEDGER_JURISDICTIONS is not a list of `prefix=jurisdiction`: the Worker cannot locate ledgers and asks none"
                .into(),
        );
        None
    })
}

/// The key that seals publications, and the seals that are trusted: those of this key, and those of
/// a key set (RFC 7517), which is needed while the key is replaced. No trusted seals: snapshots in
/// KV need none.
fn seals(pem: Option<&str>, jwks: Option<&str>) -> (Option<Sealer>, Option<Seals>) {
    let complain =
        |what: &str| console::error_1(&format!("{what}: snapshots in KV that need its seal are not trusted").into());
    let sealer = pem.and_then(Sealer::from_pem);
    if pem.is_some() && sealer.is_none() {
        complain("SNAPSHOT_KEY is not an Ed25519 key in PEM");
    }
    let set = jwks.map(|jwks| KeySet::parse(jwks).unwrap_or_default());
    if set.as_ref().is_some_and(|set| set.keys.is_empty()) {
        complain("SNAPSHOT_TRUST contains no usable key");
    }
    if pem.is_none() && jwks.is_none() {
        return (None, None);
    }
    let seals = Seals::of(&set.unwrap_or_default());
    let seals = match &sealer {
        Some(sealer) => seals.and_own(sealer),
        None => seals,
    };
    (sealer, Some(seals))
}

/// Compares in a time that depends only on the length. A missing secret matches nothing.
fn matches(secret: Option<&str>, given: Option<&str>) -> bool {
    let (Some(secret), Some(given)) = (secret, given) else { return false };
    secret.as_bytes().ct_eq(given.as_bytes()).into()
}

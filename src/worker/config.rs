//! What the Worker is configured with: bindings, variables, secrets. Read once per isolate.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Reflect;
use subtle::ConstantTimeEq as _;
use wasm_bindgen::prelude::*;
use web_sys::console;

use super::assertion::Assertions;
use super::edge;
use super::isolate::with_gate;
use crate::identity::{LicenceSigner, Sealer, Seals};
use crate::model::{Environment, KeySet, TenantId};

/// Bindings and variables, by the names in `wrangler.toml`.
pub(super) struct Config {
    /// `SNAPSHOTS`: catalog, tenant records and index.
    pub(super) snapshots_binding: JsValue,
    /// `CONTROL_DB`: the system of record; without it there is no admin API.
    pub(super) control: JsValue,
    /// `EVENTS_QUEUE`: is told of tenants that are ready.
    pub(super) events: JsValue,
    /// `PROVISIONER`: sets up what tenants' data needs.
    pub(super) provisioner: JsValue,
    /// `DNS_URL`: where TXT records are looked up.
    pub(super) dns_url: String,
    /// `SNAPSHOT_KEY`: seals what is published.
    pub(super) sealer: Option<Sealer>,
    /// `LICENCE_KEY`: signs licences for use without asking.
    pub(super) licences: Option<LicenceSigner>,
    /// Whether only what is sealed is taken from KV.
    pub(super) seals: Option<Seals>,
    /// `LEDGER`: one Durable Object per family of tenants.
    pub(super) ledger: JsValue,
    /// `LEDGER_JURISDICTIONS`: how ids of tenants begin, and in which jurisdiction their ledgers are kept then.
    pub(super) jurisdictions: Vec<(String, String)>,
    /// `UPSTREAM`: the service that allowed requests go to.
    pub(super) upstream: JsValue,
    /// `UPSTREAM_URL`: the origin that allowed requests go to, where there is no service binding.
    pub(super) upstream_url: Option<String>,
    /// `RESOLVER`: the service that the `custom` strategy asks.
    pub(super) resolver: JsValue,
    /// `ASSETS`: the playground.
    pub(super) assets: JsValue,
    /// `UI_HOST`: the host that it is served on, beside this machine's own.
    ui_host: Option<String>,
    /// `OPERATOR_TOKEN`: opens the decision API and traces. Without it both are closed.
    operator_token: Option<String>,
    /// `PROXY_SECRET`: who sends it in `X-Gate-Proxy-Secret` may set `X-Forwarded-Host`.
    proxy_secret: Option<String>,
    /// `REGION`: where this deployment runs, for residency.
    pub(super) region: Option<String>,
    /// `ENVIRONMENT`: `test` where test keys work instead of live ones.
    pub(super) environment: Environment,
    /// `ASSERTION_KEY`, `ASSERTION_AUDIENCE`: signs what the origin is told.
    pub(super) assertions: Option<Assertions>,
    /// Whether `USAGE_QUEUE` or `USAGE_DB` is told of every event of usage.
    pub(super) tells_usage: bool,
    /// All of it, for secrets that the catalog refers to by name.
    env: JsValue,
}

thread_local! {
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// The configuration of this isolate.
pub(super) fn load(env: &JsValue) -> Rc<Config> {
    CONFIG.with_borrow_mut(|config| Rc::clone(config.get_or_insert_with(|| Rc::new(Config::read(env)))))
}

impl Config {
    /// The KV namespace of the snapshots, if there is one.
    pub(super) fn snapshots(&self) -> Option<&JsValue> {
        Some(&self.snapshots_binding).filter(|kv| !kv.is_undefined() && !kv.is_null())
    }

    fn read(env: &JsValue) -> Self {
        let binding = |name: &str| Reflect::get(env, &name.into()).unwrap_or(JsValue::UNDEFINED);
        let text = |name: &str| binding(name).as_string().filter(|text| !text.is_empty());
        let upstream_url = text("UPSTREAM_URL").map(|url| url.trim_end_matches('/').to_owned());
        let audience = text("ASSERTION_AUDIENCE").or_else(|| upstream_url.clone());
        let environment = match text("ENVIRONMENT").as_deref() {
            None | Some("live") => Environment::Live,
            Some("test") => Environment::Test,
            Some(_) => {
                console::error_1(&"ENVIRONMENT is neither `live` nor `test`: taken for `live`".into());
                Environment::Live
            }
        };
        let jurisdictions = jurisdictions(text("LEDGER_JURISDICTIONS").as_deref().unwrap_or_default());
        let (sealer, seals) = seals(text("SNAPSHOT_KEY").as_deref(), text("SNAPSHOT_TRUST").as_deref());
        if let Some(seals) = seals.clone() {
            with_gate(|gate| gate.snapshots.trust(seals));
        }
        // Names that isolates spend leases under; there is randomness only while a request is served.
        with_gate(|gate| gate.lease_as(edge::unique()));
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
            snapshots_binding: binding("SNAPSHOTS"),
            control: binding("CONTROL_DB"),
            events: binding("EVENTS_QUEUE"),
            provisioner: binding("PROVISIONER"),
            dns_url: text("DNS_URL").unwrap_or_else(|| String::from("https://cloudflare-dns.com/dns-query")),
            licences,
            sealer,
            seals,
            ledger: match binding("LEDGER") {
                none if none.is_undefined() || jurisdictions.is_none() => JsValue::UNDEFINED,
                namespace => edge::ledgers(
                    &namespace,
                    &serde_json::json!(jurisdictions.as_deref().unwrap_or_default()).to_string(),
                ),
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
            tells_usage: !binding("USAGE_QUEUE").is_undefined() || !binding("USAGE_DB").is_undefined(),
            env: env.clone(),
        }
    }

    /// A secret or variable that the catalog refers to. The gate's own are none of its business.
    pub(super) fn secret(&self, name: &str) -> Option<String> {
        let own = ["OPERATOR_TOKEN", "PROXY_SECRET", "ASSERTION_KEY", "SNAPSHOT_KEY", "LICENCE_KEY"].contains(&name);
        Reflect::get(&self.env, &name.into()).ok()?.as_string().filter(|_| !own)
    }

    /// The public halves of what signs for others: origins, and software that runs elsewhere.
    pub(super) fn public_keys(&self) -> Vec<serde_json::Value> {
        let assertions = self.assertions.as_ref().map(Assertions::jwk);
        assertions.into_iter().chain(self.licences.as_ref().map(LicenceSigner::jwk)).collect()
    }

    /// The jurisdiction that a tenant's ledger is kept in; `None`: none in particular.
    pub(super) fn jurisdiction(&self, root: &str) -> Option<&str> {
        let found = self.jurisdictions.iter().find(|(prefix, _)| root.starts_with(prefix.as_str()));
        found.map(|(_, jurisdiction)| jurisdiction.as_str())
    }

    /// Whether the playground is served on a host. On a tenant's, a page of the tenant's could stand in its place, by a service worker,
    /// and be given the operator's token.
    pub(super) fn serves_ui_on(&self, host: &str) -> bool {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(host, |(name, _)| name);
        !self.assets.is_undefined()
            && (matches!(name, "localhost" | "127.0.0.1" | "[::1]") || self.ui_host.as_deref() == Some(name))
    }

    /// Whether allowed requests go anywhere.
    pub(super) fn has_upstream(&self) -> bool {
        !self.upstream.is_undefined() || self.upstream_url.is_some()
    }

    /// Whether `token` is the operator's.
    pub(super) fn is_operator(&self, token: Option<&str>) -> bool {
        matches(self.operator_token.as_deref(), token)
    }

    /// Whether `secret` is the trusted proxy's.
    pub(super) fn is_proxy(&self, secret: Option<&str>) -> bool {
        matches(self.proxy_secret.as_deref(), secret)
    }
}

/// `t_eu_=eu t_us_=fedramp`: how ids of tenants begin whose ledgers are kept in a jurisdiction.
fn jurisdictions(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (prefix, jurisdiction) = pair.split_once('=')?;
        (TenantId::is_valid(prefix) && !jurisdiction.is_empty()).then(|| (prefix.to_owned(), jurisdiction.to_owned()))
    };
    text.split_whitespace().map(pair).collect::<Option<_>>().or_else(|| {
        console::error_1(
            &"LEDGER_JURISDICTIONS is not of the form `prefix=jurisdiction`: no ledger is asked, since nobody knows where it is"
                .into(),
        );
        None
    })
}

/// What seals, and whose seals are trusted: its own, and those of a set of keys (RFC 7517) while one is replaced. `None`: whoever
/// writes to KV is believed.
fn seals(pem: Option<&str>, jwks: Option<&str>) -> (Option<Sealer>, Option<Seals>) {
    let complain =
        |what: &str| console::error_1(&format!("{what}: nothing in KV is trusted that it should vouch for").into());
    let sealer = pem.and_then(Sealer::from_pem);
    if pem.is_some() && sealer.is_none() {
        complain("SNAPSHOT_KEY is no Ed25519 key in PEM");
    }
    let set = jwks.map(|jwks| KeySet::parse(jwks).unwrap_or_default());
    if set.as_ref().is_some_and(|set| set.keys.is_empty()) {
        complain("SNAPSHOT_TRUST has no key");
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

/// Compares in time that depends on the length only; an absent secret matches nothing.
fn matches(secret: Option<&str>, given: Option<&str>) -> bool {
    let (Some(secret), Some(given)) = (secret, given) else { return false };
    secret.as_bytes().ct_eq(given.as_bytes()).into()
}

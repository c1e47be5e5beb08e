//! [`LocalGate`]: a gate with its ledger in memory, for one process, a simulation or a browser.
//!
//! It answers every question at once, because nothing has to be fetched: what was not put in does
//! not exist, and the ledger is a value in the same process.

use std::sync::Arc;

use super::answer::Decision;
use super::ask::Ask;
use super::cache::{Rejected, Snapshots};
use super::code::Code;
use super::compiled::{CompiledCatalog, Entitlements};
use super::gate::Gate;
use super::need::{Need, Progress};
use super::spend::{CallEnd, Pending, Step};
use crate::ledger::LedgerState;
use crate::model::bounds::MAX_LOCAL_KEYS;
use crate::model::{ApiKey, Cache, Environment, HeardAt, Problems, Tenant, TenantId, UnixMillis};
use crate::resolve::Request;

/// A gate that holds all its data. Its snapshots do not age; replace them when they change.
#[derive(Debug)]
pub struct LocalGate {
    gate: Gate,
    ledger: LedgerState,
    /// Fingerprints of requests that count once, by their idempotency id.
    known: Cache<String, String>,
}

/// The time at which documents count as read: they never become stale.
const FRESH: UnixMillis = UnixMillis::MAX;

impl Default for LocalGate {
    fn default() -> Self {
        Self {
            gate: Gate::with(Snapshots::complete()),
            ledger: LedgerState::default(),
            known: Cache::new(MAX_LOCAL_KEYS),
        }
    }
}

impl LocalGate {
    /// A gate for a catalog.
    ///
    /// # Errors
    /// All problems of the catalog, each with its JSON path.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::{gate::{Ask, LocalGate}, model::{Tenant, UnixMillis}, resolve::Request};
    /// let mut gate = LocalGate::new(r#"{
    ///     "version": 1,
    ///     "resolution": {"strategies": [{"strategy": "subdomain", "base_domains": ["app.example.com"]}]},
    ///     "features": {"webhooks": {}},
    ///     "routes": [{"path": "/webhooks", "feature": "webhooks"}],
    ///     "plans": {"pro@1": {"features": ["webhooks"]}}
    /// }"#).unwrap();
    /// gate.put(Tenant::parse(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@1"}"#).unwrap()).unwrap();
    /// let request = Request { host: "acme.app.example.com", path: "/webhooks/7", ..Request::default() };
    /// assert!(gate.decide(&request, &Ask::default(), UnixMillis::new(0)).allowed());
    /// ```
    pub fn new(catalog: &str) -> Result<Self, Problems> {
        CompiledCatalog::parse(catalog).map(Self::with)
    }

    /// A gate for a compiled catalog.
    pub fn with(catalog: impl Into<Arc<CompiledCatalog>>) -> Self {
        let mut gate = Self::default();
        // Cannot fail: no catalog is held that could be newer.
        let _ = gate.put_catalog(catalog);
        gate
    }

    /// Replaces the catalog.
    ///
    /// # Errors
    /// [`Rejected::Older`] if the held catalog is newer, [`Rejected::Changed`] if it has the same
    /// version with other content. The held one stays.
    pub fn put_catalog(&mut self, catalog: impl Into<Arc<CompiledCatalog>>) -> Result<(), Rejected> {
        self.gate.snapshots.put_compiled(catalog.into(), FRESH)
    }

    /// Adds or replaces a tenant.
    ///
    /// # Errors
    /// [`Rejected::Older`] or [`Rejected::Changed`] if the held record is newer, or has the same
    /// version with other content. [`Rejected::Taken`] if another tenant has the slug or one of the
    /// domains. The held record stays.
    pub fn put(&mut self, tenant: Tenant) -> Result<(), Rejected> {
        if self.gate.snapshots.names_another(&tenant) {
            return Err(Rejected::Taken);
        }
        self.gate.snapshots.put(tenant, FRESH)
    }

    /// Puts in the keys that an issuer publishes at `url` (RFC 7517). They do not age; replace them
    /// when they change.
    ///
    /// # Errors
    /// [`Rejected::Problems`] if the key set is invalid. The held keys stay.
    pub fn put_issuer_keys(&mut self, url: &str, jwks: &str) -> Result<(), Rejected> {
        self.gate.snapshots.put_issuer_keys(url, jwks, FRESH)
    }

    /// Puts in the value of a secret that issuers refer to.
    pub fn put_secret(&mut self, name: &str, value: &str) {
        self.gate.snapshots.put_secret(name, Some(value));
        self.gate.verifier.forget_tokens();
    }

    /// Adds or replaces an API key.
    ///
    /// # Errors
    /// [`Rejected`]. The held record stays.
    pub fn put_api_key(&mut self, record: ApiKey) -> Result<(), Rejected> {
        let id = record.id.clone();
        self.gate.snapshots.keys.put_api_key(&id, Some(record), FRESH)
    }

    /// Sets the environment whose API keys are accepted; see [`Gate::set_environment`].
    pub fn set_environment(&mut self, environment: Environment) {
        self.gate.set_environment(environment);
    }

    /// Takes back a decision that is no longer needed; see [`Gate::reuse`].
    pub fn reuse(&mut self, decision: Box<Decision>) {
        self.gate.reuse(decision);
    }

    /// Removes a tenant, so that requests that name it are denied. Its counters stay.
    pub fn remove(&mut self, id: &TenantId) {
        // Cannot fail: the absence of a record has no version.
        let _ = self.gate.snapshots.put_tenant(id, None, FRESH);
    }

    /// The catalog.
    pub fn catalog(&self) -> Option<&Arc<CompiledCatalog>> {
        self.gate.snapshots.current_catalog()
    }

    /// The tenant with this id, compiled at `now`.
    ///
    /// # Errors
    /// The code of the denial if the tenant does not exist or is not active.
    pub fn tenant(&mut self, id: &TenantId, now: UnixMillis) -> Result<Arc<Entitlements>, Code> {
        match self.gate.tenant(id, now) {
            Progress::Ready(found) => found,
            Progress::Need(_) => Err(Code::SnapshotUnavailable),
        }
    }

    /// Decides a request, and debits what it costs.
    pub fn decide(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Box<Decision> {
        match self.gate.decide(request, ask, now) {
            Progress::Ready(Step::Decided(decision)) => decision,
            Progress::Ready(Step::Charge(pending)) if !pending.has_charges_only() => self.charge_in_full(pending, now),
            Progress::Ready(Step::Charge(mut pending)) => {
                pending.take_from(&mut self.ledger, now);
                self.gate.finish_taken(pending, now)
            }
            Progress::Need(Need::CustomResolver) => {
                let reason = "the question lacks the custom resolver's answer";
                Box::new(Decision::refused(Code::ResolverFailed, reason, now))
            }
            // Only the catalog can be missing: other data that was not put in does not exist.
            Progress::Need(_) => Box::new(Decision::refused(Code::SnapshotUnavailable, "there is no catalog", now)),
        }
    }

    /// Records the result of an allowed request's call to the origin, for the circuit breaker of
    /// its route.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::{gate::{Ask, CallEnd, LocalGate}, model::{Tenant, UnixMillis}, resolve::Request};
    /// let mut gate = LocalGate::new(r#"{
    ///     "version": 1,
    ///     "resolution": {"strategies": [{"strategy": "header"}]},
    ///     "breakers": {"api": {"min_calls": 2, "open_ms": 1000, "trial_calls": 1}},
    ///     "routes": [{"path": "/", "breaker": "api"}],
    ///     "plans": {"pro@1": {}}
    /// }"#).unwrap();
    /// gate.put(Tenant::parse(r#"{"id": "t_acme", "slug": "acme", "plan": "pro@1"}"#).unwrap()).unwrap();
    /// let request = Request { path: "/", headers: &[("x-tenant-id", "acme")], ..Request::default() };
    /// let mut call = |failed, at| {
    ///     let decision = gate.decide(&request, &Ask::default(), UnixMillis::new(at));
    ///     if decision.allowed() {
    ///         gate.ended(&decision, CallEnd::Answered { failed, elapsed_ms: 20 }, UnixMillis::new(at));
    ///     }
    ///     decision.code.as_str()
    /// };
    /// assert_eq!([call(true, 0), call(true, 10), call(true, 20)], ["ALLOWED", "ALLOWED", "TENANT_CIRCUIT_OPEN"]);
    /// // A second later one trial call passes. It succeeds, which closes the breaker.
    /// assert_eq!([call(false, 1_010), call(false, 1_020)], ["ALLOWED", "ALLOWED"]);
    /// ```
    pub fn ended(&mut self, decision: &Decision, end: CallEnd, now: UnixMillis) {
        let Some(root) = decision.tenant.as_ref().map(|tenant| tenant.root()) else { return };
        if self.gate.ended(decision, end, now) {
            let exchange = self.gate.urgent(root, now);
            let response = self.ledger.answer(&self.gate.exchange_request(root, &exchange), now);
            self.gate.receive(root, &exchange, Ok(&response), HeardAt::now(now));
        }
    }

    // Rare and large, so it is kept out of line to keep the common case fast.
    #[cold]
    #[inline(never)]
    fn charge_in_full(&mut self, pending: Pending, now: UnixMillis) -> Box<Decision> {
        let request = self.gate.request(&pending);
        let id = pending.idempotency_id().unwrap_or_default().to_owned();
        let known = self.known.get_mut(&id).map(|fingerprint| fingerprint.as_str());
        let response = self.ledger.answer_once(&request, known, now);
        if let (Some(once), true) = (request.once, response.stores_key(&request)) {
            self.known.insert(id, once.fingerprint.to_owned());
        }
        drop(request);
        self.gate.finish(pending, Ok(&response), HeardAt::now(now))
    }
}

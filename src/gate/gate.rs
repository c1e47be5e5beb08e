//! [`Gate`]: the engine of one isolate.

use std::sync::Arc;

use super::answer::{Bearer, Credential, Decision, Trace};
use super::ask::Ask;
use super::cache::{Found, HostCache, Rejected, Snapshots};
use super::code::Code;
use super::compiled::{CompiledCatalog, Entitlements, PlanShape};
use super::cx::{Cx, Exit};
use super::decide::{Parts, Verifier, bearer, judge, named, renews, still_admits};
use super::need::{Progress, Refresh, SnapshotKey};
use super::spend::{CallEnd, Exchange, Pending, Spender, Step, hold_name};
use crate::identity::{Seals, Signature};
use crate::ledger::{LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, Question};
use crate::model::{DEFAULT_KEY_HEADER, Environment, HeardAt, StrategyKind, TenantId, UnixMillis};
use crate::resolve::Request;

/// The engine of one isolate.
///
/// It never waits and reads no clock. Its methods are of four kinds:
///
/// - **Questions** return [`Progress`]: [`decide`](Self::decide), [`tenant`](Self::tenant),
///   [`bearer`](Self::bearer),
///   [`meter`](Self::meter), [`usage_inquiries`](Self::usage_inquiries).
/// - **Data** that was fetched goes in through the `put_*` methods; [`changed`](Self::changed) and
///   [`invalidate_all`](Self::invalidate_all) mark what is outdated.
/// - **Messages to ledgers** come from [`request`](Self::request), and for leases and breakers from
///   [`refill`](Self::refill), [`renewals`](Self::renewals) and [`urgent`](Self::urgent). The
///   response goes to [`finish`](Self::finish) or [`receive`](Self::receive).
/// - **Events** of the adapter: [`ended`](Self::ended) for a call to the origin.
///
/// Between two calls anything may change: a question that is asked again starts from the beginning.
#[derive(Debug, Default)]
pub struct Gate {
    pub(super) snapshots: Snapshots,
    pub(super) verifier: Verifier,
    pub(super) spender: Spender,
    hosts: HostCache,
    /// A decision that is no longer needed. The next one is made in its memory.
    scratch: Option<Box<Decision>>,
    /// Refreshes that no decision has carried out yet.
    pub(super) background: Vec<Refresh>,
}

impl Gate {
    /// A gate with these snapshots.
    pub fn with(snapshots: Snapshots) -> Self {
        Self { snapshots, ..Self::default() }
    }

    /// Sets the environment whose API keys are accepted. Default [`Environment::Live`].
    pub fn set_environment(&mut self, environment: Environment) {
        self.verifier.environment = environment;
    }

    /// Spends limits of mode `leased` from leases from now on. No other isolate has this `name`.
    pub fn lease_as(&mut self, name: String) {
        self.spender.lease_as(name);
    }

    /// From now on, takes only documents from KV that are sealed with one of these keys.
    pub fn trust(&mut self, seals: Seals) {
        self.snapshots.trust(seals);
    }

    // Questions.

    /// Decides as far as possible without waiting.
    pub fn decide(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Progress<Step> {
        let mut cx = self.begin(request.explain, now);
        match self.judge(&mut cx, request, ask) {
            Ok(None) | Err(Exit::Denied) => Progress::Ready(Step::Decided(cx.finish())),
            Ok(Some(shape)) => self.spender.begin(cx, shape, ask, &mut self.background),
            Err(Exit::Need(need)) => {
                // The caller asks again, and carries the refreshes out then.
                self.background = cx.refresh;
                self.scratch = Some(cx.decision);
                Progress::Need(need)
            }
        }
    }

    fn begin(&mut self, explain: bool, now: UnixMillis) -> Cx {
        let decision = match self.scratch.take() {
            Some(mut decision) => {
                decision.reset(now);
                decision
            }
            None => Box::new(Decision::new(now)),
        };
        Cx { now, trace: Trace::new(explain), decision, refresh: std::mem::take(&mut self.background) }
    }

    fn judge(&mut self, cx: &mut Cx, request: &Request<'_>, ask: &Ask<'_>) -> Result<Option<PlanShape>, Exit> {
        let catalog = self.snapshots.catalog(cx.now, &mut cx.refresh)?;
        cx.decision.catalog = Some(Arc::clone(&catalog));
        judge(&mut self.parts(), cx, &catalog, request, ask)
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            leases: self.spender.has_leases(),
            breakers: &self.spender.breakers,
            snapshots: &mut self.snapshots,
            hosts: &mut self.hosts,
            verifier: &mut self.verifier,
        }
    }

    /// Takes back a decision that is no longer needed, so that the next one needs no memory.
    pub fn reuse(&mut self, decision: Box<Decision>) {
        self.scratch = Some(decision);
    }

    /// Verifies a token (RFC 7519) of any issuer of the catalog, for endpoints of the gate's own.
    /// `None` means that it is invalid, or its tenant is not served.
    pub fn bearer(&mut self, token: &str, now: UnixMillis) -> Progress<Option<Bearer>> {
        match self.silently(now, |parts, cx, catalog| bearer(parts, cx, catalog, token)) {
            Progress::Ready(bearer) => Progress::Ready(bearer.ok()),
            Progress::Need(need) => Progress::Need(need),
        }
    }

    /// The tenant that the signals of a request name, whatever credential its route needs. `None`
    /// if none names one. The error is the code of the denial.
    pub fn named(
        &mut self,
        request: &Request<'_>,
        now: UnixMillis,
    ) -> Progress<Result<Option<Arc<Entitlements>>, Code>> {
        self.silently(now, |parts, cx, catalog| named(parts, cx, catalog, request))
    }

    /// Whether a credential that was accepted for `tenant` on the route of `path` still is; `kept`
    /// is from [`Credential::keep`], or empty for a route that needs none. Returns the tenant as it
    /// is now, or the code of the denial.
    ///
    /// [`Credential::keep`]: super::Credential::keep
    pub fn still_admits(
        &mut self,
        tenant: &TenantId,
        kept: &str,
        path: &str,
        place: Option<&str>,
        now: UnixMillis,
    ) -> Progress<Result<Arc<Entitlements>, Code>> {
        self.silently(now, |parts, cx, catalog| {
            let credential = Credential::kept(kept, catalog);
            still_admits(parts, cx, catalog, tenant, credential.as_ref(), path, place)
        })
    }

    /// Verifies a credential that takes the place of another one on an open socket of `tenant`, and
    /// judges it for the route of `path`. Returns the tenant as it is now, or the code of the
    /// denial.
    pub fn renews(
        &mut self,
        tenant: &TenantId,
        credential: &str,
        path: &str,
        place: Option<&str>,
        now: UnixMillis,
    ) -> Progress<Result<(Bearer, Arc<Entitlements>), Code>> {
        self.silently(now, |parts, cx, catalog| renews(parts, cx, catalog, tenant, credential, path, place))
    }

    /// Asks the stages something that is not a decision.
    fn silently<T>(
        &mut self,
        now: UnixMillis,
        ask: impl FnOnce(&mut Parts<'_>, &mut Cx, &Arc<CompiledCatalog>) -> Result<T, Exit>,
    ) -> Progress<Result<T, Code>> {
        let mut cx = Cx::silent(now);
        let found = self.snapshots.catalog(now, &mut cx.refresh).map_err(Exit::from);
        let answer = found.and_then(|catalog| ask(&mut self.parts(), &mut cx, &catalog));
        self.background.append(&mut cx.refresh);
        match answer {
            Ok(answer) => Progress::Ready(Ok(answer)),
            Err(Exit::Denied) => Progress::Ready(Err(cx.decision.code)),
            Err(Exit::Need(need)) => Progress::Need(need),
        }
    }

    /// The header that the catalog reads API keys from.
    pub fn key_header(&mut self, now: UnixMillis) -> Progress<Result<String, Code>> {
        self.silently(now, |_, _, catalog| {
            let strategy = catalog.document().resolution.strategy(StrategyKind::ApiKey);
            let name = strategy.and_then(|strategy| strategy.header_name.clone());
            Ok(name.unwrap_or_else(|| String::from(DEFAULT_KEY_HEADER)).to_ascii_lowercase())
        })
    }

    /// The tenant with this id, for questions about its features. The error is the code of the
    /// denial. Residency is the caller's: see [`Entitlements::may_be_served_from`].
    pub fn tenant(&mut self, id: &TenantId, now: UnixMillis) -> Progress<Result<Arc<Entitlements>, Code>> {
        let found = self.snapshots.catalog(now, &mut self.background);
        match found.and_then(|catalog| self.snapshots.tenant(id, &catalog, now, &mut self.background)) {
            Err(need) => Progress::Need(need),
            Ok(None) => Progress::Ready(Err(Code::TenantNotFound)),
            Ok(Some(Found { tenant, .. })) => Progress::Ready(match tenant.barrier() {
                Some(code) => Err(code),
                None => Ok(tenant),
            }),
        }
    }

    /// The refreshes that no decision carries.
    pub fn take_background(&mut self) -> Vec<Refresh> {
        std::mem::take(&mut self.background)
    }

    // Data.

    /// Puts in a snapshot as it stands in KV. `None`: KV has no such key.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_published(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.snapshots.put_published(key, text, now)
    }

    /// Puts in a snapshot from a trusted source, without a seal. `None` means that it does not
    /// exist.
    ///
    /// # Errors
    /// [`Rejected`]; what is held stays.
    pub fn put_trusted(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.snapshots.put_trusted(key, text, now)
    }

    /// Records that a snapshot could not be fetched. Returns whether the held one may serve.
    pub fn put_failure(&mut self, key: &SnapshotKey, now: UnixMillis) -> bool {
        self.snapshots.put_failure(key, now)
    }

    /// Puts in the keys that an issuer publishes at `url` (RFC 7517), fetched at `fetched_at`.
    ///
    /// # Errors
    /// [`Rejected::Problems`]; what is held stays.
    pub fn put_issuer_keys(&mut self, url: &str, text: &str, fetched_at: UnixMillis) -> Result<(), Rejected> {
        self.snapshots.put_issuer_keys(url, text, fetched_at)
    }

    /// When the held keys of `url` were fetched.
    pub fn issuer_keys_fetched_at(&self, url: &str) -> Option<UnixMillis> {
        self.snapshots.issuer_keys_fetched_at(url)
    }

    /// Puts in the value of a secret. `None` means that it does not exist.
    pub fn put_secret(&mut self, name: &str, value: Option<&str>) {
        self.snapshots.put_secret(name, value);
    }

    /// Has the adapter verify signatures by RSA and ECDSA from now on: see [`Need::Signature`].
    pub fn delegate_signatures(&mut self) {
        self.verifier.delegates = true;
    }

    /// Puts in whether a signature is valid.
    pub fn put_signature(&mut self, signature: Signature, is_valid: bool) {
        self.verifier.put_signature(signature, is_valid);
    }

    /// The catalog, however old.
    pub fn current_catalog(&self) -> Option<&Arc<CompiledCatalog>> {
        self.snapshots.current_catalog()
    }

    /// Records that a snapshot was published again: the held one is fetched again before its use.
    /// Returns false if this epoch is held already.
    pub fn changed(&mut self, key: &SnapshotKey, epoch: u64, now: UnixMillis) -> bool {
        self.snapshots.changed(key, epoch, now)
    }

    /// Has everything fetched again before its next use.
    pub fn invalidate_all(&mut self, now: UnixMillis) {
        self.snapshots.invalidate_all(now);
    }

    /// Whether a peer has seen a newer epoch than the held one.
    pub fn lags(&mut self, key: &SnapshotKey) -> bool {
        self.snapshots.lags(key)
    }

    // Messages to ledgers.

    /// The message to the ledger about a pending decision.
    pub fn request<'a>(&'a self, pending: &'a Pending) -> LedgerRequest<'a> {
        self.spender.request(pending)
    }

    /// Completes a decision with the ledger's response, or with the failure of the message.
    pub fn finish(
        &mut self,
        pending: Pending,
        response: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
    ) -> Box<Decision> {
        self.spender.conclude(pending, response, heard, &mut self.snapshots)
    }

    /// Completes a decision whose charges were debited by [`Pending::take_from`].
    pub fn finish_taken(&mut self, pending: Pending, now: UnixMillis) -> Box<Decision> {
        self.spender.decided(pending, now)
    }

    /// How far the question has come that a request waits for.
    pub fn progress(&self, question: &Question, now: UnixMillis) -> LeaseProgress {
        self.spender.progress(question, now)
    }

    /// A claim for more units, so that the lease on `counter` does not run out.
    pub fn refill(&mut self, root: &TenantId, counter: &str, now: UnixMillis) -> Exchange {
        self.spender.refill(root, counter, now)
    }

    /// What to send to the ledger of `root` before leases end: those in use are extended, the
    /// others are returned.
    pub fn renewals(&mut self, root: &TenantId, within_ms: u64, now: UnixMillis) -> Exchange {
        self.spender.renewals(root, within_ms, now)
    }

    /// When the first lease with units from the ledger of `root` ends.
    pub fn next_lease_end(&self, root: &TenantId) -> Option<UnixMillis> {
        self.spender.next_lease_end(root)
    }

    /// The breaker reports that should reach the ledger of `root` at once.
    pub fn urgent(&mut self, root: &TenantId, now: UnixMillis) -> Exchange {
        self.spender.urgent(root, now)
    }

    /// The ledger request that carries an exchange alone.
    pub fn exchange_request<'a>(&'a self, root: &TenantId, exchange: &'a Exchange) -> LedgerRequest<'a> {
        let catalog = self.snapshots.current_catalog();
        self.spender.exchange_request(root, exchange, catalog.map(|catalog| catalog.document().version.0))
    }

    /// Receives the response of the ledger of `root` to an exchange.
    pub fn receive(
        &mut self,
        root: &TenantId,
        exchange: &Exchange,
        response: Result<&LedgerResponse, LedgerFailure>,
        heard: HeardAt,
    ) {
        self.spender.receive(root, exchange, response, heard, &mut self.snapshots);
    }

    // Events.

    /// Records the result of an allowed request's call to the origin. Returns whether to send
    /// [`Self::urgent`] to the tenant's ledger.
    pub fn ended(&mut self, decision: &Decision, end: CallEnd, now: UnixMillis) -> bool {
        self.spender.ended(decision, end, now)
    }
}

impl Decision {
    /// The ledger that holds units for this request, and its name for the hold, to settle it when
    /// the request has ended.
    pub fn hold_name(&self) -> Option<(&TenantId, String)> {
        let (hold, tenant) = self.extras().hold.as_ref().zip(self.tenant.as_ref())?;
        Some((tenant.root(), hold_name(&tenant.tenant().id, &hold.id)))
    }
}

//! The decision, stage by stage, in its fixed order. The first denial wins and consumes nothing.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::breakers::{BreakerState, Breakers};
use super::charge::Payment;
use super::code::Code;
use super::cors;
use super::credentials::TokenVerifier;
use super::decision::{Behind, Decision, Fallback, LimitCheck};
use super::entitlements::{Budget, Entitlements};
use super::hosts::{HostCache, KnownTenant};
use super::need::Need;
use super::pending::Pending;
use super::plans::{CompiledCatalog, CompiledRoute};
use super::run::{Cx, Denial, Exit};
use super::snapshots::{Found, Snapshots};
use super::trace::{Stage, Trace, read, remedy};
use crate::flags::Facts;
use crate::ledger::{Circuit, CounterOp, LeaseCache, LedgerState, WaitFailure};
use crate::model::bounds::{MAX_ASKED_FEATURES, MAX_ATTRIBUTES, MAX_CHARGES, MAX_LOCAL_COUNTERS, RETRY_AFTER_MS};
use crate::model::{Access, Auth, BreakerMode, Environment, Kind, Mode, Problem, TenantId, UnixMillis};
use crate::resolve::{EvalContext, KnownHost, Request, ResolveError, Signals, lenient_path};

/// What a caller wants to know or take beyond what the route says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// A tenant that the caller vouches for: no signal is read and no route applies.
    pub tenant: Option<&'a str>,
    /// Features to answer.
    pub features: &'a [&'a str],
    /// Every feature is answered.
    pub all_features: bool,
    /// What to do to limits; replaces what the route says of the same limit.
    pub limits: &'a [(&'a str, CounterOp)],
    /// Judge as ever, but take nothing.
    pub dry_run: bool,
    /// Find out who it is and whether it may pass, and no more: what the route needs of features, breakers and limits is not
    /// asked.
    pub identify: bool,
    /// Takes from the ledger once, however often it is asked under this key; for a day at least. What this isolate counts
    /// alone is taken each time.
    pub once: Option<&'a str>,
    /// Sets aside what would be taken, under a name and for so many milliseconds; once, as with `once`.
    pub reserve: Option<(&'a str, u64)>,
    /// Why the question that the request waited for does not serve it. The ledger is not asked for the same units again.
    pub awaited: Option<&'a WaitFailure>,
    /// Ends what was set aside under this name: `limits` say what was used, and what they do not name was not. No status,
    /// feature or route is judged: it has happened. Once, as with `once`.
    pub settle: Option<&'a str>,
}

impl Ask<'_> {
    /// Whether what it takes may be paid from leases.
    fn is_plain(&self) -> bool {
        !self.dry_run && self.once.is_none() && self.reserve.is_none() && self.settle.is_none()
    }
}

/// How far a decision has come.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a box would be one more allocation for each decision; 32-bit platforms are not warned"
)]
pub enum Step {
    /// Decided.
    Done(Box<Decision>),
    /// Fetch this, put it in, and ask again.
    Fetch(Need),
    /// Take these charges from the ledger, then [`Gate::finish`].
    Charge(Pending),
}

/// The engine of one isolate.
#[derive(Debug)]
pub struct Gate {
    /// What it knows.
    pub snapshots: Snapshots,
    /// Its name among the isolates; empty where there is one only.
    pub(super) name: String,
    /// How many names it has given to what was set aside.
    pub(super) named: u64,
    /// Counters of `local` limits.
    pub(super) local: LedgerState,
    /// What may be spent without asking; `None` where nothing is leased.
    pub(super) leases: Option<LeaseCache>,
    /// The latest changes of snapshots that ledgers have told of, by ledger.
    pub(super) heard: FxHashMap<TenantId, u64>,
    /// What is known of circuit breakers.
    pub(super) breakers: Breakers,
    /// A decision that was done with: its memory serves the next one.
    scratch: Option<Box<Decision>>,
    /// Hosts as they arrived, and what they say.
    hosts: HostCache,
    /// Tokens that were verified.
    pub(super) verified: TokenVerifier,
    /// Which API keys work here.
    pub(super) environment: Environment,
    /// Snapshots to fetch again that no decision has carried out yet.
    pub(super) unserved: Vec<Need>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::with(Snapshots::default())
    }
}

impl Gate {
    /// A gate that knows `snapshots`.
    pub fn with(snapshots: Snapshots) -> Self {
        Self {
            snapshots,
            name: String::new(),
            named: 0,
            local: LedgerState::bounded(MAX_LOCAL_COUNTERS),
            leases: None,
            heard: FxHashMap::default(),
            breakers: Breakers::default(),
            scratch: None,
            hosts: HostCache::default(),
            verified: TokenVerifier::default(),
            environment: Environment::Live,
            unserved: Vec::new(),
        }
    }

    /// Decides as far as it can without waiting.
    pub fn decide(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Step {
        let refresh = std::mem::take(&mut self.unserved);
        let mut run = Cx { now, trace: Trace::new(request.explain), refresh, scratch: self.scratch.take(), cors: None };
        let plans = match self.snapshots.plans(now, &mut run.refresh) {
            Ok(plans) => plans,
            Err(need) => {
                self.unserved = run.refresh;
                return Step::Fetch(need);
            }
        };
        match self.judge(&mut run, &plans, request, ask) {
            Ok(step) => step,
            Err(Exit::Fetch(need)) => {
                // Nobody has been told yet what grows old: whoever asks next is.
                self.unserved = run.refresh;
                Step::Fetch(need)
            }
            Err(Exit::Deny(decision)) => Step::Done(run.seal(decision, &plans)),
        }
    }

    /// Takes back a decision that is no longer needed, so that the next one needs no memory of its own.
    pub fn reuse(&mut self, decision: Box<Decision>) {
        self.scratch = Some(decision);
    }

    fn judge(
        &mut self,
        run: &mut Cx,
        plans: &Arc<CompiledCatalog>,
        request: &Request<'_>,
        ask: &Ask<'_>,
    ) -> Result<Step, Exit> {
        let now = run.now;
        let many = matches!(request.context, EvalContext::Named(attributes) if attributes.len() > MAX_ATTRIBUTES);
        if ask.features.len() > MAX_ASKED_FEATURES || many {
            return Err(run.deny(Stage::Request, (Code::BadRequest, "too many features or attributes are asked for")));
        }
        let (found, route, behind, bearer) = if let Some(id) = ask.tenant {
            let Some(id) = TenantId::parse(id) else {
                return Err(run.deny(Stage::Request, (Code::BadRequest, "the tenant is not a tenant id")));
            };
            (Some(self.lookup(run, plans, &id)?), None, None, None)
        } else {
            if request.preflights
                && let Some((policy, origin)) = cors::preflight(plans, request)
            {
                return preflight(run, plans, policy, origin);
            }
            let mut refuse = |refusal| {
                run.cors = cors::policy(plans, request, request.method);
                run.refuse(refusal)
            };
            let (host, tenant) = self.hosts.get(plans, request.host).map_err(&mut refuse)?;
            let mut signals = Signals::default();
            find_signals(plans, request, &host, &mut signals).map_err(refuse)?;
            let route = plans.route(request.method, &signals.route_path());
            run.cors = route.cors;
            // INVARIANT (one route): however an origin reads the path, the route that was judged is the one it takes.
            let read_alike =
                |path: &str| lenient_path(path).is_some_and(|lenient| plans.is_route(route, request.method, &lenient));
            if signals.ambiguous && !read_alike(&signals.path) {
                let reason = "the path could be read as that of another route";
                return Err(run.deny(Stage::Request, (Code::BadRequest, reason)));
            }
            run.trace.pass(Stage::Request, || {
                format!("host `{}`, route `{}` ({})", host.text, route.path(), route.access.as_str())
            });
            let behind = signals.prefix.take().map(|prefix| Behind { path: signals.path.clone().into_owned(), prefix });
            let (found, bearer) = match route.access {
                Access::Public => (None, None),
                Access::Central if signals.found.is_empty() => (None, None),
                _ => {
                    // Where nothing but the host speaks, it leads where it led before, unless anything has changed since.
                    let alone = signals.is_host_alone() && route.auth == Auth::None && !request.explain;
                    let known = tenant.filter(|_| alone).and_then(|known| known.found(&self.snapshots, plans, now));
                    if known.is_some() {
                        (known, None)
                    } else {
                        let credentials = self.authenticate(run, plans, &signals, route)?;
                        let (found, bearer) = self.agree(run, plans, &signals.found, &credentials, route)?;
                        if let Some(signal) = signals.found.first().filter(|_| alone) {
                            let known = KnownTenant::new(&mut self.snapshots, &signal.name, &found.tenant);
                            self.hosts.learn(request.host, known);
                        }
                        (Some(found), bearer)
                    }
                }
            };
            (found, Some(route), behind, bearer)
        };
        let mut decision = run.decision();
        decision.behind = behind;
        if let Some(route) = route {
            decision.timeout_ms = route.timeout_ms;
        }
        decision.credential = bearer;
        let Some(Found { tenant, age_ms }) = found else {
            run.trace.pass(Stage::Tenant, || String::from("the route needs no tenant"));
            return Ok(Step::Done(run.seal(decision, plans)));
        };
        decision.epoch = Some(tenant.tenant().epoch);
        decision.age_ms = age_ms;
        decision.tenant = Some(Arc::clone(&tenant));
        if tenant.plan_missing() {
            decision.fallback.push(Fallback::Plan);
        }
        // What is settled has happened: only who it was is judged.
        let route = route.filter(|_| ask.settle.is_none() && !ask.identify);
        if ask.settle.is_none()
            && let Err((stage, denial)) = admit(run, &tenant, request)
        {
            return Err(run.deny_with(stage, denial, decision));
        }
        let slots;
        let context = match request.context {
            EvalContext::Placed(slots) => slots,
            EvalContext::Named(attributes) => {
                slots = plans.features.slots(attributes);
                &slots
            }
        };
        let facts = tenant.facts(context, now);
        let decision = features(run, plans, facts, route, ask, decision)?;
        let decision = self.breaker(run, &tenant, route, decision)?;
        let decision = limits(run, plans, &tenant, route, ask, self.leases.is_some() && ask.is_plain(), decision)?;
        let trace = std::mem::take(&mut run.trace);
        let decision = run.seal(decision, plans);
        let pending = Pending::new(decision, trace, ask, || {
            self.named = self.named.saturating_add(1);
            format!("{}.{}", self.name, self.named)
        });
        Ok(self.next(pending, now))
    }

    /// Stage 8: the circuit breaker of the route, as far as this isolate knows how it stands.
    fn breaker(
        &self,
        run: &mut Cx,
        tenant: &Entitlements,
        route: Option<&CompiledRoute>,
        mut decision: Box<Decision>,
    ) -> Result<Box<Decision>, Exit> {
        let Some(guard) = route.and_then(|route| tenant.guard(route.breaker?)) else { return Ok(decision) };
        let circuit = match guard.mode {
            BreakerMode::Auto => self.breakers.circuit(tenant.root(), guard, run.now),
            BreakerMode::ForcedOpen => Circuit::Open(run.now.plus(RETRY_AFTER_MS).get()),
            BreakerMode::Disabled => Circuit::Closed,
        };
        let state = match guard.mode {
            BreakerMode::Auto => circuit.into(),
            BreakerMode::ForcedOpen => BreakerState::ForcedOpen,
            BreakerMode::Disabled => BreakerState::Disabled,
        };
        decision.guard = Some(Arc::clone(guard));
        decision.breaker = Some(state);
        let Circuit::Open(until_ms) = circuit else {
            if state != BreakerState::HalfOpen {
                run.trace.pass(Stage::Breaker, || format!("`{}` is {}", guard.name, state.as_str()));
            }
            return Ok(decision);
        };
        let until = UnixMillis::new(until_ms);
        run.trace.stop(Stage::Breaker, || {
            let remedy = match state {
                BreakerState::ForcedOpen => String::from("another mode in the catalog or the tenant's record"),
                _ => format!("wait until {until}, when calls are tried"),
            };
            (format!("`{}` is {}", guard.name, state.as_str()), remedy)
        });
        decision.retry_after_ms = Some(until.since(run.now));
        Err(run.deny_with(Stage::Breaker, (Code::TenantCircuitOpen, "the circuit breaker is open"), decision))
    }
}

/// A preflight says nothing of its tenant and shows no credential: browsers leave both out. The policy alone decides.
fn preflight(run: &mut Cx, plans: &Arc<CompiledCatalog>, policy: u32, origin: &str) -> Result<Step, Exit> {
    run.cors = Some(policy);
    if !plans.cors(policy).is_some_and(|policy| policy.allows(origin)) {
        let reason = "a preflight from an origin that the route's CORS policy does not name";
        return Err(run.deny(Stage::Request, (Code::OriginNotAllowed, reason)));
    }
    run.trace.pass(Stage::Request, || format!("a preflight from `{origin}`, which the route's CORS policy names"));
    let mut decision = run.decision();
    decision.preflight = true;
    Ok(Step::Done(run.seal(decision, plans)))
}

/// The signals of a request. Public routes are nobody's: they neither wait for a custom resolver nor fail with it, nor with
/// anything else that a request says of its tenant, such as a cookie that a sibling host has set.
fn find_signals<'a>(
    plans: &CompiledCatalog,
    request: &Request<'a>,
    host: &'a KnownHost,
    signals: &mut Signals<'a>,
) -> Result<(), ResolveError> {
    let Err(refusal) = plans.resolver.find(request, host, signals) else { return Ok(()) };
    plans.resolver.skip(request, signals)?;
    let public = plans.route(request.method, &signals.route_path()).access == Access::Public;
    if public { Ok(()) } else { Err(refusal) }
}

/// Stages 5 and 6: status and residency.
fn admit(run: &mut Cx, tenant: &Entitlements, request: &Request<'_>) -> Result<(), (Stage, Denial)> {
    if let Some(code) = tenant.barrier() {
        let reason = "the tenant, or one above it, is not active";
        run.trace.stop(Stage::Status, || {
            let states: Vec<_> = tenant.line().iter().map(|t| format!("`{}` is {}", t.id, t.status.as_str())).collect();
            (states.join(", "), String::from("an active tenant with active ancestors"))
        });
        return Err((Stage::Status, (code, reason)));
    }
    run.trace.pass(Stage::Status, || {
        format!("`{}` and {} above it are active", tenant.tenant().id, tenant.line().len().saturating_sub(1))
    });
    if !tenant.may_be_served_from(request.place) {
        run.trace.stop(Stage::Residency, || {
            (
                format!("this is `{}`", request.place.unwrap_or("nowhere in particular")),
                format!("one of: {}", tenant.tenant().residency.join(", ")),
            )
        });
        return Err((Stage::Residency, (Code::ResidencyViolation, "this place may not serve the tenant")));
    }
    run.trace.pass(Stage::Residency, || format!("`{}` may serve it", request.place.unwrap_or("any place")));
    Ok(())
}

/// Stage 7: the feature that the route needs, and those asked for.
fn features(
    run: &mut Cx,
    plans: &CompiledCatalog,
    facts: Facts<'_>,
    route: Option<&CompiledRoute>,
    ask: &Ask<'_>,
    mut decision: Box<Decision>,
) -> Result<Box<Decision>, Exit> {
    if let Some(answer) = route.and_then(|route| plans.features.evaluate(route.feature?, facts)) {
        let key = Arc::clone(&answer.key);
        if !answer.enabled {
            run.trace.stop(Stage::Feature, || (read(&answer), remedy(&answer, plans)));
            decision.features.push(answer);
            decision.denied_feature = Some(key);
            return Err(run.deny_with(
                Stage::Feature,
                (Code::FeatureNotAvailable, "the route needs a feature that is off"),
                decision,
            ));
        }
        run.trace.pass(Stage::Feature, || read(&answer));
        decision.features.push(answer);
    }
    if ask.all_features {
        decision.features = plans.features.evaluate_all(facts);
    }
    for key in ask.features {
        let answer = plans.features.evaluate_named(key, facts);
        run.trace.pass(Stage::Feature, || format!("asked for `{key}`: {}", read(&answer)));
        decision.features.push(answer);
    }
    Ok(decision)
}

/// What the request takes: what the route says, replaced by what the caller says of the same limit.
fn limits(
    run: &mut Cx,
    plans: &CompiledCatalog,
    tenant: &Entitlements,
    route: Option<&CompiledRoute>,
    ask: &Ask<'_>,
    leases: bool,
    mut decision: Box<Decision>,
) -> Result<Box<Decision>, Exit> {
    let costs = route.map_or([].as_slice(), |route| &route.costs);
    decision.limits.reserve_exact(costs.len().saturating_add(ask.limits.len()));
    let take = |id: u32, op: CounterOp, limits: &mut Vec<LimitCheck>| {
        let budgets = tenant.budgets_of(id).iter();
        // What isolates count alone is nobody's to set aside.
        let budgets = budgets.filter(|budget| ask.settle.is_none() || budget.mode != Mode::Local);
        limits.extend(budgets.enumerate().map(|(index, budget)| LimitCheck {
            op: if index > 0 && matches!(op, CounterOp::Release(_) | CounterOp::Set(_)) {
                CounterOp::Follow
            } else {
                op_on(budget, op, ask)
            },
            budget: Arc::clone(budget),
            verdict: None,
        }));
    };
    for (id, cost) in costs {
        if !ask.limits.iter().any(|(key, _)| plans.limit_id(key) == Some(*id)) {
            take(*id, CounterOp::Take(*cost), &mut decision.limits);
        }
    }
    for (index, (key, op)) in ask.limits.iter().enumerate() {
        let id = plans.limit_id(key);
        let gauge = id.and_then(|id| plans.limit(id)).is_some_and(|(_, limit)| limit.kind == Kind::Gauge);
        // A level moves at once, and those above follow.
        let moves = gauge && ask.settle.is_none() && ask.reserve.is_none();
        let fits = matches!(op, CounterOp::Take(_)) || moves;
        let first = ask.limits.iter().take(index).all(|(other, _)| other != key);
        if let Some(id) = id.filter(|_| fits && first) {
            take(id, *op, &mut decision.limits);
            continue;
        }
        let (found, expected) = match id {
            None => ("an unknown limit", "a key of the catalog's `limits`"),
            Some(_) if !first => ("a limit named before", "each limit once"),
            Some(_) => ("`release` or `set`", "a whole number: only gauges move, and not with `reserve` or `settle`"),
        };
        decision.problem = Some(Box::new(Problem::at(&["limits", key], found, expected)));
        return Err(run.deny_with(Stage::Request, (Code::BadRequest, found), decision));
    }
    if ask.settle.is_none() && decision.limits.iter().any(|gauged| gauged.budget.unplanned && !gauged.budget.shadow) {
        let reason = "the catalog does not know the tenant's plan, and nothing else says how much a limit allows";
        return Err(run.deny_with(Stage::Quota, (Code::SnapshotUnavailable, reason), decision));
    }
    // What this isolate counts alone comes first, then what it may have leases for; otherwise the order stays.
    let rank = |gauged: &LimitCheck| Payment::of(gauged, leases);
    for end in 1..decision.limits.len() {
        let place = decision
            .limits
            .get(..end)
            .unwrap_or_default()
            .partition_point(|before| decision.limits.get(end).is_none_or(|own| rank(before) <= rank(own)));
        if let Some(moved) = decision.limits.get_mut(place..=end) {
            moved.rotate_right(1);
        }
    }
    if decision.limits.len() > MAX_CHARGES {
        return Err(run.deny_with(Stage::Request, (Code::BadRequest, "the request touches too many limits"), decision));
    }
    Ok(decision)
}

/// What happens to a counter where a caller takes: what is in flight, or reserved, is set aside.
fn op_on(budget: &Budget, op: CounterOp, ask: &Ask<'_>) -> CounterOp {
    match op {
        CounterOp::Take(units) if ask.settle.is_some() => CounterOp::Settle(units),
        CounterOp::Take(units) if budget.kind == Kind::Concurrency => CounterOp::Hold(units),
        CounterOp::Take(units) if ask.reserve.is_some() && budget.mode != Mode::Local => CounterOp::Hold(units),
        op => op,
    }
}

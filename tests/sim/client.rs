//! One request of a client, from its first attempt to its decision.

use serde_json::json;
use tenantgate::gate::{Ask, Intent, Refresh, UsageEvent};
use tenantgate::ledger::{CounterOp, LedgerFailure, LedgerRequest, LedgerResponse, WaitFailure};
use tenantgate::model::{TenantId, UnixMillis};
use tenantgate::resolve::Request;

use crate::common::driver::Stand;
use crate::documents::{id, root, slug};
use crate::isolate::{Purpose, text};
use crate::network::Call;
use crate::time::START;
use crate::workload::Task;
use crate::world::{World, index};

/// How long units stay reserved, in milliseconds.
const RESERVATION_MS: u64 = 5_000;

/// A request, as its isolate knows it.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub family: u64,
    /// 0 is the root.
    pub tenant: u64,
    pub target: Target,
    pub cost: u64,
    /// When it arrived; of a task, when it was last sent.
    pub since: u64,
    /// How the question that it waited for ended.
    pub awaited: Option<WaitFailure>,
}

/// What a request is about.
#[derive(Debug, Clone)]
pub enum Target {
    Route(&'static str),
    /// A task, by its number.
    Task(u64),
}

impl World {
    /// An isolate tries to decide a request.
    pub fn attempt(&mut self, isolate: usize, request: ClientRequest) {
        match request.target {
            Target::Route(route) => self.attempt_route(isolate, request, route),
            Target::Task(number) => {
                // It may have been acknowledged while it waited.
                if let Some(task) = self.tasks.get(&number).cloned() {
                    self.attempt_task(isolate, request, number, &task);
                }
            }
        }
    }

    fn attempt_route(&mut self, isolate: usize, request: ClientRequest, route: &str) {
        let (cost, one) = (CounterOp::Take(request.cost), CounterOp::Take(1));
        let limits: &[_] = match route {
            "/quota" => &[("month", cost)],
            "/rate" => &[("speed", cost)],
            "/both" => &[("month", cost), ("speed", cost)],
            "/window" => &[("recent", cost)],
            "/flight" => &[],
            "/taxed" => &[("speed", cost), ("taxes", one)],
            "/strict" => &[("month", cost), ("exact", one)],
            _ => panic!("no route: {route}"),
        };
        let slug = slug(request.family, request.tenant);
        let headers = [("x-tenant-id", slug.as_str())];
        let facts = Request { path: route, headers: &headers, ..Request::default() };
        self.ask(isolate, request, &facts, &Ask { limits, ..Ask::default() });
    }

    fn attempt_task(&mut self, isolate: usize, request: ClientRequest, number: u64, task: &Task) {
        let tenant = id(request.family, request.tenant);
        let cost = CounterOp::Take(request.cost);
        let ask = Ask { tenant: Some(&tenant), ..Ask::default() };
        let name = match task {
            Task::UsageEvent => return self.send_event(isolate, request, number, &tenant),
            Task::Order => format!("order-{number}"),
            Task::Reserve => format!("job-{number}"),
            Task::Settle(reservation) => format!("job-{reservation}"),
        };
        let ask = match task {
            Task::Order => Ask { limits: &[("orders", cost)], intent: Intent::Once { key: &name }, ..ask },
            Task::Reserve => Ask {
                limits: &[("jobs", cost)],
                intent: Intent::Reserve { id: &name, for_ms: RESERVATION_MS, renewal: None },
                ..ask
            },
            _ => Ask { limits: &[("jobs", cost)], intent: Intent::Settle { id: &name }, ..ask },
        };
        self.ask(isolate, request, &Request::default(), &ask);
    }

    fn send_event(&mut self, isolate: usize, request: ClientRequest, number: u64, tenant: &str) {
        let event = UsageEvent {
            id: format!("event-{number}"),
            source: String::from("/sim"),
            kind: String::from("tokens"),
            tenant: TenantId::parse(tenant).unwrap(),
            time: Some(UnixMillis::new(START)),
            data: json!({ "quantity": request.cost }),
        };
        let metered = self.meter(isolate, request.family, &event);
        self.call(isolate, request.family, Purpose::Usage(request), text(&metered.request()));
    }

    fn ask(&mut self, isolate: usize, request: ClientRequest, facts: &Request<'_>, ask: &Ask<'_>) {
        let ask = &Ask { waiting: request.awaited.as_ref().into(), ..*ask };
        match self.decide(isolate, request.family, facts, ask) {
            Stand::Waits(question) => self.wait(isolate, request, question),
            Stand::Asks(pending) => {
                let text = text(&self.isolates[isolate].gate.ledger_request(&pending));
                self.call(isolate, request.family, Purpose::Decide(pending, request), text);
            }
            Stand::Done(decision) => {
                self.refill(isolate, request.family, &decision.extras().refresh);
                // Without the ledger's answer no unit is counted, and no task acknowledged.
                if matches!(request.awaited, Some(WaitFailure::Unanswered(_))) {
                    self.note_wait(&request);
                } else {
                    self.decided(isolate, &request, decision.allowed(), None);
                }
            }
        }
    }

    fn refill(&mut self, isolate: usize, family: u64, needs: &[Refresh]) {
        let now = self.isolate_now(isolate);
        for need in needs {
            if let Refresh::Lease { counter, .. } = need {
                let exchange = self.isolates[isolate].gate.refill(&root(family), counter, now);
                self.send_exchange(isolate, family, exchange);
            }
        }
    }

    /// A ledger's answer reaches an isolate. `None`: the isolate gives up on it.
    pub fn hear(&mut self, call: Call, text: Option<&str>) {
        // An isolate hears only the first answer to a call, and no answers to calls of the isolate
        // that it replaces.
        let Some(purpose) = self.calls.remove(&call.id) else { return };
        let Call { family, isolate, life, .. } = call;
        if self.isolates[isolate].life != life {
            return;
        }
        let response: Option<LedgerResponse> = text.map(|text| serde_json::from_str(text).unwrap());
        let answer = response.as_ref().ok_or(LedgerFailure::Failed);
        let now = self.isolate_now(isolate);
        match purpose {
            Purpose::Leases(exchange) => self.isolates[isolate].gate.hear(&root(family), &exchange, answer, now),
            Purpose::Decide(pending, request) => {
                let decision = self.isolates[isolate].gate.finish(pending, answer, now);
                self.note_wait(&request);
                // A limit with `on_error: open` lets requests through uncounted, and says so.
                if decision.extras().fallback.is_empty() {
                    let slot = decision.hold_name().map(|(_, name)| name);
                    let allowed = decision.allowed();
                    if allowed || decision.code.as_str() != "LEDGER_UNAVAILABLE" {
                        self.decided(isolate, &request, allowed, slot);
                    } else {
                        self.ledgers[index(family)].truth.unserved += u64::from(response.is_some());
                    }
                }
            }
            Purpose::Usage(request) => {
                if let Some(response) = response {
                    self.check_event(&response);
                    self.decided(isolate, &request, true, None);
                }
            }
            Purpose::Release => {}
        }
        self.look(isolate);
    }

    /// A request in flight has ended.
    pub fn land(&mut self, isolate: usize, family: u64, slot: &str, flight: u64) {
        self.ledgers[index(family)].truth.flights.remove(&flight);
        let text = text(&LedgerRequest { settle: Some(slot), ..LedgerRequest::default() });
        self.call(isolate, family, Purpose::Release, text);
    }

    fn note_wait(&mut self, request: &ClientRequest) {
        let waited_ms = self.schedule.now() - request.since;
        self.ledgers[index(request.family)].truth.waited(waited_ms);
    }

    /// A request is decided. `slot`: the name of the slot that it holds while it is in flight.
    fn decided(&mut self, isolate: usize, request: &ClientRequest, allowed: bool, slot: Option<String>) {
        self.note_wait(request);
        let facts = [isolate as u64, request.family, request.tenant, request.cost, u64::from(allowed)];
        self.history.note_all(&facts);
        let route = match request.target {
            Target::Route(route) => route,
            Target::Task(number) => return self.acknowledge(request, number, allowed),
        };
        let (now, options) = (self.schedule.now(), &self.run.options);
        let truth = &mut self.ledgers[index(request.family)].truth;
        if !allowed {
            return truth.refuse(request, route, now, options);
        }
        truth.admit(request, route, now, options);
        if let Some(slot) = slot {
            self.take_off(isolate, request.family, slot);
        }
        self.check_admissions(request.family);
    }
}

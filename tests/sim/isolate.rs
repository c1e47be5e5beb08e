//! Isolates. Each has the gate under test, a clock, and requests that wait for the answer to
//! another request's question. A new isolate replaces one that crashes.

use tenantgate::gate::{Ask, Exchange, Metered, Pending, SnapshotKey, UsageEvent};
use tenantgate::ledger::{LeaseProgress, LedgerFailure, LedgerRequest, Question, WaitFailure};
use tenantgate::model::UnixMillis;
use tenantgate::model::bounds::{LEASE_ANSWER_MS, LEASE_MS, PATIENCE_MS};
use tenantgate::resolve::Request;

use crate::client::ClientRequest;
use crate::common::driver::{Driver, Stand};
use crate::documents::root;
use crate::network::{Call, Direction};
use crate::time::Clock;
use crate::world::{Event, World, index};

/// How long before their end leases are renewed, in milliseconds, and how often an isolate looks.
const RENEW_BEFORE_MS: u64 = 2_000;
const RENEW_INTERVAL_MS: u64 = 1_000;

/// One isolate.
#[derive(Debug)]
pub struct Isolate {
    pub gate: Driver,
    /// No other isolate of the world has had this number.
    pub life: u64,
    pub clock: Clock,
    waiting: Vec<(ClientRequest, Question)>,
}

/// Why an isolate sends a message to a ledger.
#[derive(Debug)]
pub enum Purpose {
    /// A request is to be decided.
    Decide(Pending, ClientRequest),
    /// Leases are asked for, renewed or returned.
    Leases(Exchange),
    /// A usage event is to be counted.
    Usage(ClientRequest),
    /// A request in flight has ended.
    Release,
}

impl World {
    /// Creates the isolate at this place, which may replace one that has crashed.
    pub fn start_isolate(&mut self, place: usize) {
        self.lives += 1;
        let isolate = Isolate {
            gate: Driver::with_leases(format!("i{}", self.lives)),
            life: self.lives,
            clock: Clock::default(),
            waiting: Vec::new(),
        };
        if place == self.isolates.len() {
            self.isolates.push(isolate);
        } else {
            self.isolates[place] = isolate;
        }
        for family in 0..self.run.options.families {
            self.read_records(place, family);
        }
        let life = self.lives;
        self.schedule.after(LEASE_MS - RENEW_BEFORE_MS, Event::Renew { isolate: place, life });
    }

    /// An isolate reads the documents of a family.
    pub fn read_records(&mut self, isolate: usize, family: u64) {
        let now = UnixMillis::new(self.schedule.now());
        let gate = &mut self.isolates[isolate].gate;
        self.ledgers[index(family)].records.put_into(gate, &self.run.options, family, now);
    }

    /// Returns the time on an isolate's clock.
    pub fn isolate_now(&self, isolate: usize) -> UnixMillis {
        self.isolates[isolate].clock.read(self.schedule.now())
    }

    /// Takes a request as far as the isolate gets without the ledger.
    pub fn decide(&mut self, isolate: usize, family: u64, request: &Request<'_>, ask: &Ask<'_>) -> Stand {
        let (now, read_at) = (self.isolate_now(isolate), UnixMillis::new(self.schedule.now()));
        let (records, options) = (&self.ledgers[index(family)].records, &self.run.options);
        self.isolates[isolate].gate.decide(request, ask, now, |gate, need| {
            assert!(
                matches!(need, SnapshotKey::Tenant(_) | SnapshotKey::Catalog | SnapshotKey::Slug(_)),
                "{need:?} is not in any store"
            );
            records.put_into(gate, options, family, read_at);
        })
    }

    /// Meters a usage event.
    pub fn meter(&mut self, isolate: usize, family: u64, event: &UsageEvent) -> Metered {
        let (now, read_at) = (self.isolate_now(isolate), UnixMillis::new(self.schedule.now()));
        let (records, options) = (&self.ledgers[index(family)].records, &self.run.options);
        self.isolates[isolate].gate.meter(event, now, |gate, _| records.put_into(gate, options, family, read_at))
    }

    /// Sends an isolate's claims on leases, if it has any.
    pub fn send_exchange(&mut self, isolate: usize, family: u64, exchange: Option<Exchange>) {
        if let Some(exchange) = exchange {
            let text = text(&self.isolates[isolate].gate.exchange_request(&root(family), &exchange));
            self.call(isolate, family, Purpose::Leases(exchange), text);
        }
    }

    /// Sends a message to a ledger, and gives up on the answer after a while.
    pub fn call(&mut self, isolate: usize, family: u64, purpose: Purpose, text: String) {
        let call = Call { id: self.schedule.unique(), family, isolate, life: self.isolates[isolate].life };
        self.history.note(text.as_bytes());
        self.calls.insert(call.id, purpose);
        self.ledgers[index(family)].truth.messages += 1;
        for delay in self.network.deliveries(Direction::Request, &mut self.random) {
            self.schedule.after(delay, Event::Request { call, text: text.clone() });
        }
        self.schedule.after(self.network.timeout_ms(), Event::Timeout { call });
    }

    /// An isolate renews the leases that end soon, or returns them.
    pub fn renew_leases(&mut self, isolate: usize) {
        let now = self.isolate_now(isolate);
        for family in 0..self.run.options.families {
            let exchange = self.isolates[isolate].gate.renew(&root(family), RENEW_BEFORE_MS, now);
            self.send_exchange(isolate, family, exchange);
        }
        let life = self.isolates[isolate].life;
        self.schedule.after(RENEW_INTERVAL_MS, Event::Renew { isolate, life });
    }

    /// A request waits for the answer to another one's question. It also looks again by itself, in
    /// case the answer never comes.
    pub fn wait(&mut self, isolate: usize, request: ClientRequest, question: Question) {
        let life = self.isolates[isolate].life;
        self.schedule.after(LEASE_ANSWER_MS, Event::Look { isolate, life });
        self.isolates[isolate].waiting.push((request, question));
    }

    /// Every waiting request checks whether its question is answered.
    pub fn look(&mut self, isolate: usize) {
        let now = self.isolate_now(isolate);
        for (request, question) in std::mem::take(&mut self.isolates[isolate].waiting) {
            let waited_ms = self.schedule.now() - request.since;
            self.check_wait(waited_ms);
            let awaited = match self.isolates[isolate].gate.progress(&question, now) {
                LeaseProgress::Due(_) => {
                    self.isolates[isolate].waiting.push((request, question));
                    continue;
                }
                LeaseProgress::Over(failure) => Some(failure),
                LeaseProgress::Again if waited_ms >= PATIENCE_MS => {
                    Some(WaitFailure::Unanswered(LedgerFailure::Overloaded))
                }
                LeaseProgress::Again => request.awaited.clone(),
            };
            self.attempt(isolate, ClientRequest { awaited, ..request });
        }
    }
}

/// Returns a message as it travels.
pub fn text(request: &LedgerRequest<'_>) -> String {
    serde_json::to_string(request).unwrap()
}

//! A world: isolates, ledgers, the network between them, and their time. Isolates run the real
//! gate, ledgers the real ledger state; messages are the JSON that travels.

use std::collections::BTreeMap;

use tenantgate::gate::Ask;
use tenantgate::model::bounds::{LEASE_GRACE_MS, LEASE_MS};
use tenantgate::resolve::Request;

use crate::common::driver::Stand;
use crate::documents::FLIGHT_MS;
use crate::history::History;
use crate::isolate::{Isolate, Purpose};
use crate::ledger::Ledger;
use crate::network::{Call, Network};
use crate::random::Random;
use crate::run::Run;
use crate::time::Schedule;
use crate::truth::Truth;
use crate::workload::{Operation, Task};

/// Something that happens at a time. `life` is the isolate that it happens to; the event has no
/// effect if another isolate has replaced that one.
#[derive(Debug)]
pub enum Event {
    /// A client sends something to an isolate.
    Arrive { isolate: usize },
    /// A message reaches a ledger.
    Request { call: Call, text: String },
    /// An answer reaches an isolate.
    Response { call: Call, text: String },
    /// An isolate gives up on an answer.
    Timeout { call: Call },
    /// The requests that wait in an isolate look for their answers.
    Look { isolate: usize, life: u64 },
    /// An isolate renews its leases.
    Renew { isolate: usize, life: u64 },
    /// An isolate reads the records of a family.
    Read { family: u64, isolate: usize, life: u64 },
    /// A client sends a task again, unless it is acknowledged.
    Repeat { family: u64, tenant: u64, id: u64, cost: u64 },
    /// A request in flight ends.
    Land { family: u64, isolate: usize, slot: String, flight: u64 },
}

/// A world.
#[derive(Debug)]
pub struct World {
    pub run: Run,
    /// What clients do.
    pub operations: &'static [Operation],
    pub random: Random,
    pub schedule: Schedule<Event>,
    pub network: Network,
    pub isolates: Vec<Isolate>,
    pub ledgers: Vec<Ledger>,
    /// Calls that are not answered yet.
    pub calls: BTreeMap<u64, Purpose>,
    /// Tasks that are not acknowledged yet.
    pub tasks: BTreeMap<u64, Task>,
    /// Isolates that were started.
    pub lives: u64,
    pub steps: u64,
    pub history: History,
    /// Whether clients still arrive and faults still happen.
    open: bool,
}

impl World {
    /// Creates a world, and prints its seed and its options.
    pub fn new(run: Run, operations: &'static [Operation]) -> Self {
        println!("{run}");
        let options = run.options.clone();
        let mut world = Self {
            operations,
            random: Random::new(run.seed),
            schedule: Schedule::new(),
            network: Network::new(&options),
            isolates: Vec::new(),
            ledgers: (0..options.families).map(|family| Ledger::new(family, options.quota)).collect(),
            calls: BTreeMap::new(),
            tasks: BTreeMap::new(),
            lives: 0,
            steps: 0,
            history: History::new(),
            open: true,
            run,
        };
        for isolate in 0..index(options.isolates) {
            world.start_isolate(isolate);
            world.schedule_arrival(isolate);
        }
        world
    }

    /// Lets the next event happen.
    pub fn step(&mut self) {
        let event = self.schedule.next().expect("isolates always renew their leases");
        self.steps += 1;
        self.happen(event);
        if self.open {
            self.inject_faults();
        }
        self.history.note_all(&[self.schedule.now(), self.schedule.serial(), self.random.state()]);
    }

    /// Steps until this time, in milliseconds since 1970.
    pub fn run_until(&mut self, end: u64) {
        while self.schedule.now() < end {
            self.step();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { isolate } if self.open => {
                self.arrive(isolate);
                self.schedule_arrival(isolate);
            }
            Event::Request { call, text } => self.serve(call, &text),
            Event::Response { call, text } => self.hear(call, Some(&text)),
            Event::Timeout { call } => self.hear(call, None),
            Event::Look { isolate, life } if self.lives_at(isolate, life) => self.look(isolate),
            Event::Renew { isolate, life } if self.lives_at(isolate, life) => self.renew_leases(isolate),
            Event::Read { family, isolate, life } if self.lives_at(isolate, life) => self.read_records(isolate, family),
            Event::Repeat { family, tenant, id, cost } => self.repeat(family, tenant, id, cost),
            Event::Land { family, isolate, slot, flight } => self.land(isolate, family, &slot, flight),
            Event::Arrive { .. } | Event::Look { .. } | Event::Renew { .. } | Event::Read { .. } => {}
        }
    }

    fn lives_at(&self, isolate: usize, life: u64) -> bool {
        self.isolates[isolate].life == life
    }

    fn schedule_arrival(&mut self, isolate: usize) {
        let pause_ms = self.random.within(self.run.options.pause_ms);
        self.schedule.after(pause_ms, Event::Arrive { isolate });
    }

    /// Lets everything come to rest: no new requests and no faults, until every task is
    /// acknowledged and all leases and holds have ended. Then counts must be exact.
    pub fn come_to_rest(&mut self) {
        self.open = false;
        for _ in 0..100 {
            let end = self.schedule.now() + LEASE_MS + LEASE_GRACE_MS + FLIGHT_MS;
            while self.schedule.has_event_until(end) {
                self.step();
            }
            self.schedule.advance_to(end);
            if self.tasks.is_empty() {
                break;
            }
        }
        self.check_tasks();
        for family in 0..self.run.options.families {
            let now = self.schedule.now();
            self.ledgers[index(family)].end_leases_and_holds(now);
            self.check_ledger_at_rest(family);
        }
    }

    /// Returns what happened in the first family.
    pub fn truth(&self) -> &Truth {
        &self.ledgers[0].truth
    }

    /// Measures the longest wait of the first family from now on.
    pub fn forget_waits(&mut self) {
        self.ledgers[0].truth.longest_wait_ms = 0;
    }

    /// Returns the sum of a count over all families.
    pub fn sum(&self, count: impl Fn(&Truth) -> u64) -> u64 {
        self.ledgers.iter().map(|ledger| count(&ledger.truth)).sum()
    }

    /// Prints a summary of the world. Returns the digest of its history.
    pub fn report(&mut self) -> u64 {
        let truths: String = self.ledgers.iter().map(|ledger| ledger.truth.summary()).collect();
        self.history.note(truths.as_bytes());
        let [offered, admitted] = [self.sum(|truth| truth.offered), self.sum(|truth| truth.admitted)];
        let (messages, digest) = (self.sum(|truth| truth.messages), self.history.digest());
        println!(
            "step {}: {offered} offered, {admitted} admitted, {messages} messages, digest {digest:016x}",
            self.steps
        );
        digest
    }

    /// Returns the epoch of the first family's root in each isolate. An isolate that knows that its
    /// copy is old reads it again.
    pub fn epochs(&mut self) -> Vec<u64> {
        let ask = Ask { tenant: Some("t_0"), ..Ask::default() };
        let isolates = self.isolates.len();
        let epoch = |isolate| match self.decide(isolate, 0, &Request::default(), &ask) {
            Stand::Done(decision) => decision.epoch().unwrap().0,
            progress => panic!("nothing is taken: {progress:?}"),
        };
        (0..isolates).map(epoch).collect()
    }
}

/// A world that fails prints how to simulate it again.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed at step {} of\n{}", self.steps, self.run);
        }
    }
}

/// Returns a number as an index.
pub fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

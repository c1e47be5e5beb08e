//! The work of clients: requests to the routes of the catalog, and tasks that they repeat until
//! they are acknowledged. Plans change in the meantime.

use crate::client::{ClientRequest, Target};
use crate::world::{Event, World, index};

/// The longest that a request in flight takes, in milliseconds. It is shorter than the longest that
/// it may hold its slot, because the ledger counts from before its answer arrives.
const LONGEST_FLIGHT_MS: u64 = 6_000;
/// The longest that work under a reservation takes, in milliseconds: sometimes longer than the
/// reservation.
const LONGEST_WORK_MS: u64 = 8_000;
/// The largest quota that a plan change sets.
const LARGEST_QUOTA: u64 = 30_000;

/// Something that clients do.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// A request to a route of the catalog.
    Route(&'static str),
    /// Units under an idempotency key.
    Order,
    /// A reservation, and its settlement once it is acknowledged.
    Reservation,
    /// A usage event.
    UsageEvent,
}

/// Everything that clients do.
pub const ALL: &[Operation] = &[
    Operation::Route("/quota"),
    Operation::Route("/rate"),
    Operation::Route("/both"),
    Operation::Route("/strict"),
    Operation::Route("/window"),
    Operation::Route("/flight"),
    Operation::Order,
    Operation::Reservation,
    Operation::UsageEvent,
];

/// Something that a client repeats until it is acknowledged, and that must count once.
#[derive(Debug, Clone)]
pub enum Task {
    Order,
    Reserve,
    /// The settlement of a reservation, by the reservation's task.
    Settle(u64),
    UsageEvent,
}

impl Task {
    /// Returns the limit or the metric that counts it.
    pub const fn counted_as(&self) -> &'static str {
        match self {
            Self::Order => "orders",
            Self::Reserve | Self::Settle(_) => "jobs",
            Self::UsageEvent => "tokens",
        }
    }
}

impl World {
    /// A client sends something to an isolate.
    pub fn arrive(&mut self, isolate: usize) {
        let options = &self.run.options;
        let family = self.random.below(options.families);
        let tenant = self.random.below(options.children + 1);
        let operation = self.operations[self.random.index(self.operations.len())];
        let cost = self.random.within(options.cost);
        self.ledgers[index(family)].truth.offered += 1;
        let task = match operation {
            Operation::Order => Task::Order,
            Operation::Reservation => Task::Reserve,
            Operation::UsageEvent => Task::UsageEvent,
            Operation::Route(route) => {
                let target = Target::Route(route);
                let since = self.schedule.now();
                return self.attempt(isolate, ClientRequest { family, tenant, target, cost, since, awaited: None });
            }
        };
        let id = self.begin(family, task, cost);
        self.repeat(family, tenant, id, cost);
    }

    /// Begins a task. Returns its number.
    fn begin(&mut self, family: u64, task: Task, cost: u64) -> u64 {
        let id = self.schedule.unique();
        // The settlement of a reservation counts its units.
        let units = if let Task::Reserve = task { 0 } else { cost };
        *self.ledgers[index(family)].truth.sent.entry(task.counted_as()).or_default() += units;
        self.tasks.insert(id, task);
        id
    }

    /// Sends a task to any isolate, and again later, unless it is acknowledged.
    pub fn repeat(&mut self, family: u64, tenant: u64, id: u64, cost: u64) {
        if self.tasks.contains_key(&id) {
            let isolate = self.random.index(self.isolates.len());
            self.schedule.after(self.network.timeout_ms(), Event::Repeat { family, tenant, id, cost });
            let (target, since) = (Target::Task(id), self.schedule.now());
            self.attempt(isolate, ClientRequest { family, tenant, target, cost, since, awaited: None });
        }
    }

    /// A task is acknowledged: it counts from now on, once.
    pub fn acknowledge(&mut self, request: &ClientRequest, id: u64, allowed: bool) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.check_task(&task, allowed);
        let truth = &mut self.ledgers[index(request.family)].truth;
        truth.admitted += 1;
        if let Task::Reserve = task {
            return self.work(request, id);
        }
        *truth.acknowledged.entry(task.counted_as()).or_default() += request.cost;
    }

    /// A client works under a reservation, and uses less or more than it has reserved.
    fn work(&mut self, request: &ClientRequest, reservation: u64) {
        let used = self.random.below(request.cost * 2 + 1);
        let lasts_ms = self.random.within((1, LONGEST_WORK_MS));
        let &ClientRequest { family, tenant, .. } = request;
        let id = self.begin(family, Task::Settle(reservation), used);
        self.schedule.after(lasts_ms, Event::Repeat { family, tenant, id, cost: used });
    }

    /// A request holds a slot until it ends.
    pub fn take_off(&mut self, isolate: usize, family: u64, slot: String) {
        let flight = self.schedule.unique();
        self.ledgers[index(family)].truth.flights.insert(flight);
        let lasts_ms = self.random.within((1, LONGEST_FLIGHT_MS));
        self.schedule.after(lasts_ms, Event::Land { family, isolate, slot, flight });
    }

    /// The plan of some family changes.
    pub fn change_any_plan(&mut self) {
        let family = self.random.below(self.run.options.families);
        let quota = self.random.within((1, LARGEST_QUOTA));
        self.change_plan(family, quota);
    }

    /// The quota of a family's root changes. One isolate reads it; the others hear of it through
    /// the ledger.
    pub fn change_plan(&mut self, family: u64, quota: u64) {
        self.ledgers[index(family)].records.change(quota);
        let life = self.isolates[0].life;
        self.schedule.after(0, Event::Read { family, isolate: 0, life });
    }
}

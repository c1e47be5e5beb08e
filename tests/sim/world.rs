//! A world in a box: isolates, ledgers and the network between them, with a time and a chance of its own.
//!
//! Isolates run the real gate, ledgers the real book; messages are the JSON that travels. What was let through is counted
//! outside of everything that is tested (`Truth`), and compared with it at every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use serde_json::{Value, json};
use tenantgate::gate::{Ask, Exchange, Gate, Metered, Metering, Need, Pending, Step, UsageEvent};
use tenantgate::ledger::{
    Counter, CounterOp, HeldUnits, Lease, LeaseProgress, LedgerFailure, LedgerRequest, LedgerResponse, LedgerState,
    Question, Seen, Series, Tally, WaitFailure,
};
use tenantgate::model::bounds::{LEASE_ANSWER_MS, LEASE_GRACE_MS, LEASE_MS, PATIENCE_MS};
use tenantgate::model::{HeardAt, Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

pub const START: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z, far from the end of a month

/// Chance, the same for the same seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that happens `per_million` times in a million.
    fn happens(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }
}

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Nature {
    pub isolates: u64,
    /// Families, each with a ledger of its own.
    pub families: u64,
    /// Milliseconds between two requests at one isolate, from and to.
    pub pause_ms: (u64, u64),
    /// Milliseconds that a question, and that an answer, is on the way.
    pub delay_ms: (u64, u64),
    pub back_ms: (u64, u64),
    /// Per million messages: lost, and doubled.
    pub lost: u64,
    pub doubled: u64,
    /// Per million steps: an isolate dies; a ledger is killed; a clock steps; a plan changes.
    pub deaths: u64,
    pub kills: u64,
    pub clock_steps: u64,
    pub plan_changes: u64,
    /// Per million orders: the write fails.
    pub failures: u64,
    pub quota: u64,
    pub rate: (u64, u64, u64),
    pub window: (u64, u64),
    pub slots: u64,
    /// Tenants below each root, each with a quota of its own.
    pub children: u64,
    pub child_quota: u64,
    pub costs: (u64, u64),
}

impl Nature {
    pub fn calm() -> Self {
        Self {
            isolates: 10,
            families: 1,
            pause_ms: (1, 20),
            delay_ms: (5, 30),
            back_ms: (5, 30),
            lost: 0,
            doubled: 0,
            deaths: 0,
            kills: 0,
            clock_steps: 0,
            plan_changes: 0,
            failures: 0,
            quota: 1_000_000_000,
            rate: (1_000, 1_000, 1_000),
            window: (1_000, 1_000),
            slots: 10,
            children: 0,
            child_quota: 0,
            costs: (1, 1),
        }
    }

    pub fn of(seed: u64) -> Self {
        let mut chance = Chance(seed ^ 0x5EED);
        // Next door, on the same continent, on another one, behind a bad line.
        let near_ms = [1, 20, 90, 700][index(seed % 4)];
        let far_ms = near_ms + chance.within((1, [20, 100, 300, 50][index(seed % 4)]));
        Self {
            isolates: chance.within((1, 30)),
            families: chance.within((1, 3)),
            pause_ms: (1, chance.within((2, 400))),
            delay_ms: (near_ms, far_ms),
            // No road takes as long back as it took there.
            back_ms: (1, far_ms.saturating_mul(2) - near_ms),
            lost: chance.within((0, 50_000)),
            doubled: chance.within((0, 50_000)),
            deaths: chance.within((0, 400)),
            kills: chance.within((0, 300)),
            // Clocks step in every other world: there only what no clock can spoil is held to.
            clock_steps: if seed.is_multiple_of(2) { chance.within((1, 300)) } else { 0 },
            plan_changes: chance.within((0, 100)),
            failures: chance.within((0, 20_000)),
            quota: chance.within((1, 20_000)),
            rate: (chance.within((1, 2_000)), chance.within((1, 1_000)), chance.within((100, 10_000))),
            window: (chance.within((1, 2_000)), chance.within((100, 10_000))),
            slots: chance.within((1, 20)),
            children: chance.within((0, 4)),
            child_quota: chance.within((1, 8_000)),
            costs: (1, chance.within((1, 5))),
        }
    }

    /// Milliseconds after which a message is given up.
    fn patience_ms(&self) -> u64 {
        (self.delay_ms.1 + self.back_ms.1).max(1_000) * 2
    }

    fn catalog(&self) -> Value {
        let (limit, burst, window_ms) = self.rate;
        json!({
            "version": 1,
            "resolution": { "strategies": [{ "strategy": "header" }] },
            "routes": [
                { "path": "/quota", "limits": { "month": 1 } },
                { "path": "/rate", "limits": { "speed": 1 } },
                { "path": "/both", "limits": { "month": 1, "speed": 1 } },
                { "path": "/strict", "limits": { "month": 1, "exact": 1 } },
                { "path": "/window", "limits": { "recent": 1 } },
                { "path": "/flight", "limits": { "flights": 1 } },
                { "path": "/taxed", "limits": { "speed": 1, "taxes": 1 } },
            ],
            "limits": {
                "month": { "kind": "quota", "period": "month" },
                "speed": { "kind": "rate", "window_ms": window_ms },
                "recent": { "kind": "window", "window_ms": self.window.1 },
                "exact": { "kind": "quota", "period": "month", "mode": "strict", "default": 500 },
                "flights": { "kind": "concurrency", "on_error": "closed", "max_duration_ms": FLIGHT_MS },
                "jobs": { "kind": "quota", "period": "month", "mode": "strict", "on_error": "closed", "default": "unlimited" },
                "taxes": { "kind": "quota", "period": "month", "mode": "strict", "default": "unlimited" },
                "orders": { "kind": "quota", "period": "month", "mode": "strict", "on_error": "closed", "default": "unlimited" },
            },
            "metrics": { "tokens": { "event": "tokens" } },
            "plans": { "p@1": { "limits": {
                "month": self.quota, "speed": { "limit": limit, "burst": burst }, "recent": self.window.0, "flights": self.slots,
            } } },
        })
    }

    /// The records of a family; its root's quota is what was agreed last. Each change moves the billing anchors, within a month that
    /// lasts longer than the world.
    fn tenants(&self, family: u64, epoch: u64, quota: u64) -> Vec<Value> {
        let anchor = |salt: u64| UnixMillis::new(START - (1 + (epoch * 7 + salt) % 25) * 86_400_000);
        let root = json!({
            "id": root(family), "slug": format!("f{family}"), "plan": "p@1", "epoch": epoch, "billing_anchor": anchor(0),
            "overrides": [{ "limit": "month", "allowance": quota }],
        });
        let child = |i| {
            json!({
                "id": format!("t_{family}_{i}"), "slug": format!("f{family}-{i}"), "parent": root["id"], "billing_anchor": anchor(i * 3),
                "overrides": [{ "limit": "month", "allowance": self.child_quota }],
            })
        };
        std::iter::once(root.clone()).chain((0..self.children).map(child)).collect()
    }
}

/// The longest that a slot is held, and the longest that a flight takes: less, since the ledger's minute begins before its answer.
const FLIGHT_MS: u64 = 10_000;
const LONGEST_FLIGHT_MS: u64 = 8_000;

/// No answer came.
const FAILED: LedgerFailure = LedgerFailure::Failed;

fn root(family: u64) -> TenantId {
    TenantId::parse(&format!("t_{family}")).unwrap()
}

struct Isolate {
    gate: Gate,
    life: u64,
    /// What its clock says beyond the true time.
    clock_ms: i64,
    /// Requests that wait for an answer that another one asked for, and the question.
    waiting: Vec<(Asked, Question)>,
}

/// What a request is about.
#[derive(Debug, Clone)]
struct Asked {
    family: u64,
    /// 0 is the root.
    tenant: u64,
    what: What,
    cost: u64,
    /// When it arrived; what is told until it is acknowledged, when it was told last.
    since: u64,
    /// What became of the question that it waited for.
    awaited: Option<WaitFailure>,
}

#[derive(Debug, Clone)]
enum What {
    Path(&'static str),
    /// Something that is told until it is acknowledged.
    Job(u64),
}

/// Something that must count once, however often it is told.
#[derive(Debug, Clone)]
enum Job {
    /// Units under an idempotency key.
    Order,
    /// A reservation; when it is there, its settlement follows.
    Reserve,
    /// What a reservation was used for.
    Settle(u64),
    /// An event of usage.
    Event,
}

enum Talk {
    Request(Pending, Asked),
    Leases(Exchange),
    Usage(Asked),
    Release,
}

enum Event {
    Arrive {
        isolate: usize,
    },
    /// A message reaches a ledger.
    Order {
        family: u64,
        isolate: usize,
        life: u64,
        id: u64,
        text: String,
    },
    /// An answer reaches an isolate.
    Answer {
        family: u64,
        isolate: usize,
        life: u64,
        id: u64,
        text: String,
    },
    /// Nobody answered in time.
    TimedOut {
        family: u64,
        isolate: usize,
        life: u64,
        id: u64,
    },
    /// Those who wait in an isolate look again.
    Look {
        isolate: usize,
        life: u64,
    },
    /// An isolate sees to leases that end.
    Keep {
        isolate: usize,
        life: u64,
    },
    /// What is to be acknowledged is told, or told again.
    Tell {
        asked: Asked,
    },
    /// A request that holds a slot ends.
    Land {
        family: u64,
        isolate: usize,
        name: String,
        flight: u64,
    },
    /// An isolate reads the family's records.
    Read {
        family: u64,
        isolate: usize,
        life: u64,
    },
}

/// What was let through, as it is counted outside of everything that is tested.
#[derive(Default)]
pub struct Truth {
    pub quota: BTreeMap<String, u64>,
    exact: u64,
    /// Work in the bucket of the rate (cells × window), and when it was measured.
    fill: u64,
    at_ms: u64,
    /// Units let through within the window, and when.
    recent: VecDeque<(u64, u64)>,
    flights: BTreeSet<u64>,
    pub offered: u64,
    pub admitted: u64,
    pub refused: u64,
    pub wrongly: u64,
    /// Requests that were told that the ledger has too much to do, though it had answered.
    pub unserved: u64,
    pub rate_cells: u64,
    /// The longest that a request had to wait for its answer.
    pub longest_wait_ms: u64,
    pub orders: u64,
    /// Units of what was acknowledged, and of what was told at all, by the limit or metric.
    acknowledged: BTreeMap<&'static str, u64>,
    told: BTreeMap<&'static str, u64>,
}

/// A ledger: what it has in memory, and what it has written.
struct Ledger {
    book: LedgerState,
    disk: Disk,
    clock_ms: i64,
    /// The epoch of the family's records, its root's quota now, and the largest that it ever was.
    epoch: u64,
    quota: u64,
    most: u64,
    truth: Truth,
}

#[derive(Default)]
struct Disk {
    counters: BTreeMap<String, Counter>,
    leases: BTreeMap<String, Lease>,
    holds: BTreeMap<String, HeldUnits>,
    tallies: BTreeMap<String, Tally>,
    series: BTreeMap<String, Series>,
    epochs: BTreeMap<String, (u64, u64)>,
    keys: BTreeMap<String, String>,
}

impl Ledger {
    fn new(quota: u64) -> Self {
        Self {
            book: LedgerState::journaled(),
            disk: Disk::default(),
            clock_ms: 0,
            epoch: 1,
            quota,
            most: quota,
            truth: Truth { at_ms: START, ..Truth::default() },
        }
    }

    fn write(&mut self) {
        let changes = self.book.take_changes();
        for name in &changes.counters {
            self.disk.counters.insert(name.to_string(), self.book.get(name).unwrap().clone());
        }
        for name in &changes.leases {
            match self.book.lease(name) {
                Some(lease) => self.disk.leases.insert(name.to_string(), lease.clone()),
                None => self.disk.leases.remove(&**name),
            };
        }
        for name in &changes.holds {
            match self.book.hold(name) {
                Some(held) => self.disk.holds.insert(name.to_string(), held.clone()),
                None => self.disk.holds.remove(&**name),
            };
        }
        for name in &changes.tallies {
            self.disk.tallies.insert(name.to_string(), self.book.tally(name).unwrap().clone());
        }
        for name in &changes.series {
            self.disk.series.insert(name.to_string(), self.book.series(name).unwrap().clone());
        }
        for name in &changes.epochs {
            self.disk.epochs.insert(name.to_string(), self.book.epoch(name).unwrap());
        }
    }

    /// Killed, or thrown away after a write that failed, and back with what it had written.
    fn restart(&mut self) {
        self.book = LedgerState::journaled();
        for (name, lease) in &self.disk.leases {
            self.book.put_lease(name, lease.clone());
        }
        for (name, held) in &self.disk.holds {
            self.book.put_hold(name, held.clone());
        }
        for (name, counter) in &self.disk.counters {
            self.book.put(name, counter.clone());
        }
        for (name, tally) in &self.disk.tallies {
            self.book.put_tally(name, tally.clone());
        }
        for (name, series) in &self.disk.series {
            self.book.put_series(name, series.clone());
        }
        for (name, epoch) in &self.disk.epochs {
            self.book.put_epoch(name, *epoch);
        }
    }

    /// Units that a quota has booked: used, and leased or held.
    fn booked(&self, counter: &str) -> u64 {
        match self.book.get(counter) {
            Some(Counter::Quota(quota)) => quota.total(),
            _ => 0,
        }
    }
}

pub struct World {
    nature: Nature,
    chance: Chance,
    pub now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pending: Vec<Option<Event>>,
    isolates: Vec<Isolate>,
    talks: BTreeMap<u64, Talk>,
    /// What is not acknowledged yet.
    jobs: BTreeMap<u64, Job>,
    ledgers: Vec<Ledger>,
    serial: u64,
    lives: u64,
    paths: &'static [&'static str],
    seed: u64,
    open: bool,
}

impl World {
    pub fn new(seed: u64, nature: Nature, paths: &'static [&'static str]) -> Self {
        let ledgers = (0..nature.families).map(|_| Ledger::new(nature.quota)).collect();
        let mut world = Self {
            chance: Chance(seed),
            now: START,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            isolates: Vec::new(),
            talks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ledgers,
            serial: 0,
            lives: 0,
            paths,
            seed,
            open: true,
            nature,
        };
        for index in 0..index(world.nature.isolates) {
            let isolate = world.isolate();
            world.isolates.push(isolate);
            world.born(index);
            let pause = world.chance.within(world.nature.pause_ms);
            world.after(pause, Event::Arrive { isolate: index });
        }
        world
    }

    /// What happened to the first family.
    pub fn truth(&self) -> &Truth {
        &self.ledgers[0].truth
    }

    /// From now on the longest wait of the first family is measured anew.
    pub fn forget_waits(&mut self) {
        self.ledgers[0].truth.longest_wait_ms = 0;
    }

    /// What happened to all families: offered, admitted, messages.
    pub fn sums(&self) -> (u64, u64, u64) {
        let truths = self.ledgers.iter().map(|ledger| &ledger.truth);
        truths.fold((0, 0, 0), |sum, truth| (sum.0 + truth.offered, sum.1 + truth.admitted, sum.2 + truth.orders))
    }

    pub fn booked(&self, counter: &str) -> u64 {
        self.ledgers[0].booked(counter)
    }

    fn isolate(&mut self) -> Isolate {
        self.lives += 1;
        let mut gate = Gate::default();
        for family in 0..self.nature.families {
            self.read(&mut gate, family);
        }
        gate.lease_as(format!("i{}", self.lives));
        Isolate { gate, life: self.lives, clock_ms: 0, waiting: Vec::new() }
    }

    fn read(&self, gate: &mut Gate, family: u64) {
        gate.snapshots.put_catalog(&self.nature.catalog().to_string(), self.by(0)).unwrap();
        let ledger = &self.ledgers[index(family)];
        for tenant in self.nature.tenants(family, ledger.epoch, ledger.quota) {
            gate.snapshots.put(Tenant::parse(&tenant.to_string()).unwrap(), self.by(0)).unwrap();
        }
    }

    fn born(&mut self, index: usize) {
        let life = self.isolates[index].life;
        self.after(LEASE_MS - 2_000, Event::Keep { isolate: index, life });
    }

    /// The time by a clock.
    fn by(&self, clock_ms: i64) -> UnixMillis {
        UnixMillis::new(self.now.saturating_add_signed(clock_ms))
    }

    fn at(&self, isolate: usize) -> UnixMillis {
        self.by(self.isolates[isolate].clock_ms)
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.serial += 1;
        self.pending.push(Some(event));
        let place = self.pending.len() - 1;
        self.events.push(Reverse((self.now + ms, self.serial, place)));
        if self.pending.len() > 1 << 20 && self.events.len() < 1 << 16 {
            let events = std::mem::take(&mut self.events);
            let mut kept = Vec::new();
            for Reverse((at, serial, place)) in events {
                kept.push(self.pending[place].take());
                self.events.push(Reverse((at, serial, kept.len() - 1)));
            }
            self.pending = kept;
        }
    }

    /// A message that may be lost, or arrive twice, each time after a delay of its own.
    fn send(&mut self, delay_ms: (u64, u64), event: impl Fn() -> Event) {
        let times = if self.chance.happens(self.nature.lost) {
            0
        } else {
            1 + u64::from(self.chance.happens(self.nature.doubled))
        };
        for _ in 0..times {
            let delay = self.chance.within(delay_ms);
            self.after(delay, event());
        }
    }

    fn talk(&mut self, family: u64, isolate: usize, talk: Talk, text: String) {
        self.serial += 1;
        let (id, life) = (self.serial, self.isolates[isolate].life);
        self.talks.insert(id, talk);
        self.ledgers[index(family)].truth.orders += 1;
        self.send(self.nature.delay_ms, || Event::Order { family, isolate, life, id, text: text.clone() });
        self.after(self.nature.patience_ms(), Event::TimedOut { family, isolate, life, id });
    }

    pub fn step(&mut self) -> bool {
        let Some(Reverse((at, _, place))) = self.events.pop() else { return false };
        self.now = at;
        match self.pending[place].take().unwrap() {
            Event::Arrive { isolate } if self.open => {
                self.arrive(isolate);
                let pause = self.chance.within(self.nature.pause_ms);
                self.after(pause, Event::Arrive { isolate });
            }
            Event::Order { family, isolate, life, id, text } => self.serve(family, isolate, life, id, &text),
            Event::Answer { family, isolate, life, id, text } => self.hear(family, isolate, life, id, Some(&text)),
            Event::TimedOut { family, isolate, life, id } => self.hear(family, isolate, life, id, None),
            Event::Keep { isolate, life } if self.isolates[isolate].life == life => {
                let now = self.at(isolate);
                for family in 0..self.nature.families {
                    let contact = self.isolates[isolate].gate.returns(&root(family), 2_000, now);
                    self.say(family, isolate, contact);
                }
                self.after(1_000, Event::Keep { isolate, life });
            }
            Event::Look { isolate, life } if self.isolates[isolate].life == life => self.dry_run(isolate),
            Event::Tell { asked } => self.tell(asked),
            Event::Land { family, isolate, name, flight } => {
                self.ledgers[index(family)].truth.flights.remove(&flight);
                let text =
                    serde_json::to_string(&LedgerRequest { settle: Some(&name), ..LedgerRequest::default() }).unwrap();
                self.talk(family, isolate, Talk::Release, text);
            }
            Event::Read { family, isolate, life } if self.isolates[isolate].life == life => {
                let mut gate = std::mem::take(&mut self.isolates[isolate].gate);
                self.read(&mut gate, family);
                self.isolates[isolate].gate = gate;
            }
            Event::Arrive { .. } | Event::Look { .. } | Event::Keep { .. } | Event::Read { .. } => {}
        }
        if self.open {
            self.fate();
        }
        true
    }

    /// What befalls a world.
    fn fate(&mut self) {
        if self.chance.happens(self.nature.deaths) {
            let index = index(self.chance.below(self.nature.isolates));
            self.isolates[index] = self.isolate();
            self.born(index);
        }
        if self.chance.happens(self.nature.kills) {
            let family = index(self.chance.below(self.nature.families));
            self.ledgers[family].restart();
        }
        if self.chance.happens(self.nature.clock_steps) {
            let clock_ms = i64::try_from(self.chance.below(60_000)).unwrap() - 30_000;
            if self.chance.below(3) == 0 {
                let family = index(self.chance.below(self.nature.families));
                self.ledgers[family].clock_ms = clock_ms;
            } else {
                let isolate = index(self.chance.below(self.nature.isolates));
                self.isolates[isolate].clock_ms = clock_ms;
            }
        }
        if self.chance.happens(self.nature.plan_changes) {
            let family = self.chance.below(self.nature.families);
            let quota = self.chance.within((1, 30_000));
            self.change_plan(family, quota);
        }
    }

    /// A family's root may use so much from now on. One isolate reads it; the others hear of it by way of the ledger.
    pub fn change_plan(&mut self, family: u64, quota: u64) {
        let ledger = &mut self.ledgers[index(family)];
        (ledger.epoch, ledger.quota, ledger.most) = (ledger.epoch + 1, quota, ledger.most.max(quota));
        let life = self.isolates[0].life;
        self.after(0, Event::Read { family, isolate: 0, life });
    }

    /// Epochs of the first family's root, as isolates have them; they read it again where they know that it is old.
    pub fn epochs(&mut self) -> Vec<u64> {
        let ask = Ask { tenant: Some("t_0"), ..Ask::default() };
        let isolates = index(self.nature.isolates);
        let epoch = |index: usize| loop {
            let now = self.at(index);
            match self.isolates[index].gate.decide(&Request::default(), &ask, now) {
                Step::Done(decision) => break decision.epoch.unwrap().0,
                Step::Fetch(_) => {
                    let mut gate = std::mem::take(&mut self.isolates[index].gate);
                    self.read(&mut gate, 0);
                    self.isolates[index].gate = gate;
                }
                Step::Charge(_) => panic!("nothing is taken"),
            }
        };
        (0..isolates).map(epoch).collect()
    }

    fn say(&mut self, family: u64, isolate: usize, contact: Exchange) {
        if !contact.is_empty() {
            let text = serde_json::to_string(&self.isolates[isolate].gate.words(&root(family), &contact)).unwrap();
            self.talk(family, isolate, Talk::Leases(contact), text);
        }
    }

    fn arrive(&mut self, isolate: usize) {
        let family = self.chance.below(self.nature.families);
        let tenant = self.chance.below(self.nature.children + 1);
        let path = self.paths[index(self.chance.below(self.paths.len() as u64))];
        let cost = self.chance.within(self.nature.costs);
        self.ledgers[index(family)].truth.offered += 1;
        let job = match path {
            "order" => Job::Order,
            "reserve" => Job::Reserve,
            "event" => Job::Event,
            _ => {
                let what = What::Path(path);
                return self.decide(isolate, Asked { family, tenant, what, cost, since: self.now, awaited: None });
            }
        };
        let what = What::Job(0);
        self.begin(Asked { family, tenant, what, cost, since: self.now, awaited: None }, job);
    }

    /// Begins to tell something that is told until it is acknowledged.
    fn begin(&mut self, asked: Asked, job: Job) {
        self.serial += 1;
        let id = self.serial;
        let units = if let Job::Settle(_) | Job::Reserve = job { 0 } else { asked.cost };
        *self.ledgers[index(asked.family)].truth.told.entry(what(&job)).or_default() += units;
        self.jobs.insert(id, job);
        self.tell(Asked { what: What::Job(id), ..asked });
    }

    fn tell(&mut self, asked: Asked) {
        let What::Job(id) = asked.what else { return };
        if self.jobs.contains_key(&id) {
            let isolate = index(self.chance.below(self.nature.isolates));
            self.after(self.nature.patience_ms(), Event::Tell { asked: asked.clone() });
            self.decide(isolate, Asked { since: self.now, awaited: None, ..asked });
        }
    }

    fn decide(&mut self, isolate: usize, asked: Asked) {
        let (id, slug) = match asked.tenant {
            0 => (format!("t_{}", asked.family), format!("f{}", asked.family)),
            tenant => {
                let tenant = tenant - 1;
                (format!("t_{}_{tenant}", asked.family), format!("f{}-{tenant}", asked.family))
            }
        };
        let headers = [("x-tenant-id", slug.as_str())];
        let cost = CounterOp::Take(asked.cost);
        let name;
        let (request, ask) = match &asked.what {
            What::Path(path) => {
                let limits: &[_] = match *path {
                    "/quota" => &[("month", cost)],
                    "/rate" => &[("speed", cost)],
                    "/both" => &[("month", cost), ("speed", cost)],
                    "/window" => &[("recent", cost)],
                    "/flight" => &[],
                    "/taxed" => &[("speed", cost), ("taxes", CounterOp::Take(1))],
                    _ => &[("month", cost), ("exact", CounterOp::Take(1))],
                };
                let request = Request { path, headers: &headers, ..Request::default() };
                return self.ask(isolate, asked.clone(), &request, &Ask { limits, ..Ask::default() });
            }
            What::Job(job) => match self.jobs.get(job).cloned() {
                Some(Job::Event) => return self.meter(isolate, asked.clone(), *job, &id),
                Some(Job::Order) => {
                    name = format!("order-{job}");
                    (Request::default(), Ask { limits: &[("orders", cost)], once: Some(&name), ..Ask::default() })
                }
                Some(Job::Reserve) => {
                    name = format!("job-{job}");
                    let reserve = Some((name.as_str(), 5_000));
                    (Request::default(), Ask { limits: &[("jobs", cost)], reserve, ..Ask::default() })
                }
                Some(Job::Settle(reservation)) => {
                    name = format!("job-{reservation}");
                    let settle = Some(name.as_str());
                    (Request::default(), Ask { limits: &[("jobs", cost)], settle, ..Ask::default() })
                }
                None => return,
            },
        };
        let ask = Ask { tenant: Some(&id), ..ask };
        self.ask(isolate, asked, &request, &ask);
    }

    fn ask(&mut self, isolate: usize, asked: Asked, request: &Request<'_>, ask: &Ask<'_>) {
        let now = self.at(isolate);
        let ask = &Ask { awaited: asked.awaited.as_ref(), ..*ask };
        loop {
            let step = self.isolates[isolate].gate.decide(request, ask, now);
            match step {
                Step::Done(decision) => {
                    for need in &decision.refresh {
                        if let Need::Refill(_, counter) = need {
                            let contact = self.isolates[isolate].gate.refill(&root(asked.family), counter, now);
                            self.say(asked.family, isolate, contact);
                        }
                    }
                    // Without the ledger's answer nothing is counted, and nothing acknowledged.
                    if !matches!(asked.awaited, Some(WaitFailure::Unanswered(_))) {
                        self.decided(isolate, &asked, decision.allowed(), None);
                    } else {
                        self.answered(&asked);
                    }
                }
                Step::Fetch(Need::Answer(question)) => {
                    // Whoever waits looks again now and then, though nobody answers.
                    let life = self.isolates[isolate].life;
                    self.after(LEASE_ANSWER_MS, Event::Look { isolate, life });
                    self.isolates[isolate].waiting.push((asked, question));
                }
                // It is old, or somebody else has seen a later one.
                Step::Fetch(Need::Tenant(_) | Need::Catalog | Need::Slug(_)) => {
                    let mut gate = std::mem::take(&mut self.isolates[isolate].gate);
                    self.read(&mut gate, asked.family);
                    self.isolates[isolate].gate = gate;
                    continue;
                }
                Step::Fetch(need) => panic!("nobody reads {need:?}"),
                Step::Charge(pending) => {
                    let text = serde_json::to_string(&self.isolates[isolate].gate.order(&pending)).unwrap();
                    self.talk(asked.family, isolate, Talk::Request(pending, asked), text);
                }
            }
            return;
        }
    }

    fn meter(&mut self, isolate: usize, asked: Asked, job: u64, tenant: &str) {
        let event = UsageEvent {
            id: format!("event-{job}"),
            source: String::from("/sim"),
            kind: String::from("tokens"),
            tenant: TenantId::parse(tenant).unwrap(),
            time: Some(UnixMillis::new(START)),
            data: json!({ "quantity": asked.cost }),
        };
        let now = self.at(isolate);
        let metered: Metered = loop {
            match self.isolates[isolate].gate.meter(&event, false, now) {
                Metering::Ready(metered) => break metered,
                Metering::Fetch(_) => {
                    let mut gate = std::mem::take(&mut self.isolates[isolate].gate);
                    self.read(&mut gate, asked.family);
                    self.isolates[isolate].gate = gate;
                }
                Metering::Refused(problems) => panic!("{problems:?}"),
            }
        };
        let text = serde_json::to_string(&metered.order()).unwrap();
        self.talk(asked.family, isolate, Talk::Usage(asked), text);
    }

    /// A ledger: answers, and writes before it says so.
    fn serve(&mut self, family: u64, isolate: usize, life: u64, id: u64, text: &str) {
        let order: LedgerRequest<'_> = serde_json::from_str(text).unwrap();
        let counter = format!("t_{family}/month");
        let fails = self.chance.happens(self.nature.failures);
        let now = self.by(self.ledgers[index(family)].clock_ms);
        let ledger = &mut self.ledgers[index(family)];
        let before = ledger.booked(&counter);
        let known = order.once.and_then(|once| ledger.disk.keys.get(once.id)).cloned();
        let outcome = ledger.book.answer_once(&order, known.as_deref(), now);
        if fails {
            // What could not be written did not happen, and nobody is told that it had.
            ledger.restart();
            return;
        }
        if let (Some(once), true) = (order.once, outcome.is_news(&order)) {
            ledger.disk.keys.insert(once.id.to_owned(), once.fingerprint.to_owned());
        }
        ledger.write();
        if !outcome.allowed {
            assert!(ledger.booked(&counter) <= before, "{}: a denial took something", self.seed);
        }
        self.check(family);
        let text = serde_json::to_string(&outcome).unwrap();
        self.send(self.nature.back_ms, || Event::Answer { family, isolate, life, id, text: text.clone() });
    }

    fn hear(&mut self, family: u64, isolate: usize, life: u64, id: u64, text: Option<&str>) {
        // An answer that comes twice, or after it was given up, or to somebody who has died, is not heard.
        let Some(talk) = self.talks.remove(&id).filter(|_| self.isolates[isolate].life == life) else { return };
        let outcome: Option<LedgerResponse> = text.map(|text| serde_json::from_str(text).unwrap());
        let heard = HeardAt::now(self.at(isolate));
        let gate = &mut self.isolates[isolate].gate;
        match talk {
            Talk::Leases(contact) => gate.heard(&root(family), &contact, outcome.as_ref().ok_or(FAILED), heard),
            Talk::Request(pending, asked) => {
                let decision = gate.finish(pending, outcome.as_ref().ok_or(FAILED), heard);
                self.answered(&asked);
                // Where the ledger does not answer, `on_error: open` lets requests through uncounted, and says so.
                if decision.fallback.is_empty() {
                    let hold = decision.hold_name().map(|(_, name)| name);
                    let allowed = decision.allowed();
                    if allowed || decision.code.as_str() != "LEDGER_UNAVAILABLE" {
                        self.decided(isolate, &asked, allowed, hold);
                    } else {
                        self.ledgers[index(family)].truth.unserved += u64::from(outcome.is_some());
                    }
                }
            }
            Talk::Usage(asked) => {
                if let Some(outcome) = outcome {
                    assert!(outcome.allowed && outcome.seen != Some(Seen::Reused), "{}: {outcome:?}", self.seed);
                    self.decided(isolate, &asked, true, None);
                }
            }
            Talk::Release => {}
        }
        self.dry_run(isolate);
    }

    /// Those who wait look whether what they wait for is answered.
    fn dry_run(&mut self, isolate: usize) {
        let now = self.at(isolate);
        for (asked, question) in std::mem::take(&mut self.isolates[isolate].waiting) {
            // Where clocks step, nobody knows how long it was.
            let waited = self.now - asked.since;
            assert!(
                self.nature.clock_steps > 0 || waited <= PATIENCE_MS + LEASE_ANSWER_MS,
                "{}: a request has waited for {waited} ms",
                self.seed
            );
            match self.isolates[isolate].gate.progress(&question, now) {
                LeaseProgress::Due(_) => self.isolates[isolate].waiting.push((asked, question)),
                LeaseProgress::Over(what) => self.decide(isolate, Asked { awaited: Some(what), ..asked }),
                LeaseProgress::Again => {
                    let late = (waited >= PATIENCE_MS).then_some(WaitFailure::Unanswered(LedgerFailure::Overloaded));
                    self.decide(isolate, Asked { awaited: late.or_else(|| asked.awaited.clone()), ..asked });
                }
            }
        }
    }

    /// A request has its answer, whatever it is.
    fn answered(&mut self, asked: &Asked) {
        let waited = self.now - asked.since;
        let truth = &mut self.ledgers[index(asked.family)].truth;
        truth.longest_wait_ms = truth.longest_wait_ms.max(waited);
    }

    fn decided(&mut self, isolate: usize, asked: &Asked, allowed: bool, hold: Option<String>) {
        self.answered(asked);
        let path = match asked.what {
            What::Path(path) => path,
            What::Job(id) => return self.acknowledged(asked, id, allowed),
        };
        let nature = &self.nature;
        let (now, family) = (self.now, asked.family);
        let truth = &mut self.ledgers[index(family)].truth;
        let (limit, burst, window_ms) = nature.rate;
        let drained = truth.fill.saturating_sub((now - truth.at_ms) * limit);
        let root = format!("t_{family}/month");
        if !allowed {
            truth.refused += 1;
            let used = truth.quota.get(&root).copied().unwrap_or(0);
            let room = match path {
                "/quota" => used + asked.cost <= nature.quota,
                "/rate" => drained + asked.cost * window_ms <= burst * window_ms,
                _ => false,
            };
            truth.wrongly += u64::from(room);
            return;
        }
        truth.admitted += 1;
        if matches!(path, "/quota" | "/both" | "/strict") {
            *truth.quota.entry(root.clone()).or_default() += asked.cost;
            if asked.tenant > 0 {
                *truth.quota.entry(format!("t_{family}_{}/month", asked.tenant - 1)).or_default() += asked.cost;
            }
        }
        truth.exact += u64::from(path == "/strict");
        let steady = nature.clock_steps == 0;
        if matches!(path, "/rate" | "/both" | "/taxed") {
            truth.rate_cells += asked.cost;
            (truth.fill, truth.at_ms) = (drained + asked.cost * window_ms, now);
            assert!(!steady || truth.fill <= burst * window_ms, "{}: a rate lets {} through", self.seed, truth.fill);
        }
        if path == "/window" {
            let (limit, window_ms) = nature.window;
            truth.recent.push_back((now, asked.cost));
            while truth.recent.front().is_some_and(|(at, _)| at + window_ms <= now) {
                truth.recent.pop_front();
            }
            let sum: u64 = truth.recent.iter().map(|(_, cost)| cost).sum();
            assert!(!steady || sum <= limit, "{}: a window of {limit} lets {sum} through", self.seed);
        }
        assert!(truth.exact <= 500, "{}: {} of 500", self.seed, truth.exact);
        if let Some(name) = hold {
            self.serial += 1;
            let (flight, slots) = (self.serial, nature.slots);
            truth.flights.insert(flight);
            let flights = truth.flights.len() as u64;
            assert!(!steady || flights <= slots, "{}: {flights} in flight, {slots} may be", self.seed);
            let lasts = self.chance.within((1, LONGEST_FLIGHT_MS - 2_000));
            self.after(lasts, Event::Land { family, isolate, name, flight });
        }
        let ledger = &self.ledgers[index(family)];
        for (counter, used) in &ledger.truth.quota {
            let limit = if *counter == root { ledger.most } else { self.nature.child_quota };
            assert!(*used <= limit, "{}: {used} of {limit} were let through on {counter}", self.seed);
        }
    }

    /// What was told is acknowledged: it counts from now on, once.
    fn acknowledged(&mut self, asked: &Asked, id: u64, allowed: bool) {
        let Some(job) = self.jobs.remove(&id) else { return };
        assert!(allowed, "{}: nothing limits {job:?}", self.seed);
        let truth = &mut self.ledgers[index(asked.family)].truth;
        truth.admitted += 1;
        if let Job::Reserve = job {
            // Work of a while, that uses less or more than was thought; sometimes it takes longer than its reservation.
            let used = self.chance.below(asked.cost * 2 + 1);
            let lasts = self.chance.within((1, 8_000));
            self.serial += 1;
            let settle = self.serial;
            self.jobs.insert(settle, Job::Settle(id));
            *self.ledgers[index(asked.family)].truth.told.entry("jobs").or_default() += used;
            let asked = Asked { what: What::Job(settle), cost: used, ..asked.clone() };
            self.after(lasts, Event::Tell { asked });
            return;
        }
        *truth.acknowledged.entry(what(&job)).or_default() += asked.cost;
    }

    /// What holds in a ledger whatever has happened.
    fn check(&self, family: u64) {
        let ledger = &self.ledgers[index(family)];
        let truth = &ledger.truth;
        let root = ledger.booked(&format!("t_{family}/month"));
        assert!(root <= ledger.most, "{}: {root} booked of {}", self.seed, ledger.most);
        let children: u64 = (0..self.nature.children).map(|i| ledger.booked(&format!("t_{family}_{i}/month"))).sum();
        assert!(children <= root, "{}: children have {children}, their parent {root}", self.seed);
        for (counter, admitted) in &truth.quota {
            // What was let through was booked before: nothing that was acknowledged is lost.
            let booked = ledger.booked(counter);
            assert!(booked >= *admitted, "{}: {counter} has {booked} of {admitted}", self.seed);
        }
        for what in ["orders", "jobs", "tokens"] {
            let (done, told) = (truth.acknowledged.get(what).copied(), truth.told.get(what).copied());
            let counted = self.counted(family, what);
            assert!(counted >= done.unwrap_or(0), "{}: {counted} of {done:?} {what}", self.seed);
            // What is held of jobs may be more than will be used.
            let most = if what == "jobs" { u64::MAX } else { told.unwrap_or(0) };
            assert!(counted <= most, "{}: {counted} {what} counted, {told:?} told", self.seed);
        }
    }

    fn counted(&self, family: u64, what: &str) -> u64 {
        let ledger = &self.ledgers[index(family)];
        match what {
            // All of the metric's events are of one period.
            "tokens" => {
                let prefix = format!("t_{family}/tokens/");
                let period = ledger
                    .disk
                    .tallies
                    .iter()
                    .find(|(name, _)| name.starts_with(&prefix) && name.matches('/').count() == 2);
                period.map_or(0, |(_, tally)| tally.sum)
            }
            _ => ledger.booked(&format!("t_{family}/{what}")),
        }
    }

    /// Lets everybody finish: no new requests, until everything that was told is acknowledged and all leases and holds have
    /// ended. Then what counts once has counted exactly.
    pub fn settle(&mut self) {
        self.open = false;
        for _ in 0..100 {
            let end = self.now + LEASE_MS + LEASE_GRACE_MS + FLIGHT_MS;
            while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= end) {
                self.step();
            }
            self.now = end;
            if self.jobs.is_empty() {
                break;
            }
        }
        assert!(self.jobs.is_empty(), "{}: {} were never acknowledged", self.seed, self.jobs.len());
        for family in 0..self.nature.families {
            let now = self.by(60_000);
            self.ledgers[index(family)].book.answer(&LedgerRequest::default(), now);
            self.ledgers[index(family)].write();
            self.check(family);
            for what in ["orders", "jobs", "tokens"] {
                let told = self.ledgers[index(family)].truth.told.get(what).copied().unwrap_or(0);
                assert_eq!(self.counted(family, what), told, "{}: {what} of family {family}", self.seed);
            }
        }
    }
}

const fn what(job: &Job) -> &'static str {
    match job {
        Job::Order => "orders",
        Job::Reserve | Job::Settle(_) => "jobs",
        Job::Event => "tokens",
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

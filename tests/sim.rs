//! A world in a box: isolates, a ledger and the network between them, with a time and a chance of its own.
//!
//! Isolates run the real gate, the ledger the real book; messages are the JSON that travels. They are delayed, lost,
//! doubled and overtaken; isolates die and are born, the ledger is killed and reads what it had written. What must hold is
//! checked at every step. `SEED=7 STEPS=10000000 cargo test --release --test sim` runs one world for longer.

#![cfg(not(target_family = "wasm"))]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde_json::{Value, json};
use tenantgate::gate::{Ask, Contact, Gate, Need, Pending, Step};
use tenantgate::ledger::{Book, Counter, Lease, Order, Outcome};
use tenantgate::model::bounds::{LEASE_GRACE_MS, LEASE_MS};
use tenantgate::model::{Tenant, TenantId, UnixMillis};
use tenantgate::resolve::Request;

const START: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z, far from the end of a month

/// Chance, the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that happens `per_million` times in a million.
    fn happens(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }
}

/// What a world is like.
#[derive(Debug, Clone)]
struct Nature {
    isolates: u64,
    /// Milliseconds between two requests at one isolate, from and to.
    pause_ms: (u64, u64),
    delay_ms: (u64, u64),
    /// Per million messages: lost, and doubled.
    lost: u64,
    doubled: u64,
    /// Per million steps: an isolate dies; the ledger is killed.
    deaths: u64,
    kills: u64,
    quota: u64,
    rate: (u64, u64, u64),
    /// Tenants below the root, each with a quota of its own.
    children: u64,
    child_quota: u64,
    costs: (u64, u64),
}

impl Nature {
    fn calm() -> Self {
        Self {
            isolates: 10,
            pause_ms: (1, 20),
            delay_ms: (5, 30),
            lost: 0,
            doubled: 0,
            deaths: 0,
            kills: 0,
            quota: 1_000_000_000,
            rate: (1_000, 1_000, 1_000),
            children: 0,
            child_quota: 0,
            costs: (1, 1),
        }
    }

    fn of(seed: u64) -> Self {
        let mut chance = Chance(seed ^ 0x5EED);
        Self {
            isolates: chance.within((1, 30)),
            pause_ms: (1, chance.within((2, 400))),
            delay_ms: (1, chance.within((2, 300))),
            lost: chance.within((0, 50_000)),
            doubled: chance.within((0, 50_000)),
            deaths: chance.within((0, 400)),
            kills: chance.within((0, 300)),
            quota: chance.within((1, 20_000)),
            rate: (chance.within((1, 2_000)), chance.within((1, 1_000)), chance.within((100, 10_000))),
            children: chance.within((0, 4)),
            child_quota: chance.within((1, 8_000)),
            costs: (1, chance.within((1, 5))),
        }
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
            ],
            "limits": {
                "month": { "kind": "quota", "period": "month" },
                "speed": { "kind": "rate", "window_ms": window_ms },
                "exact": { "kind": "quota", "period": "month", "mode": "strict", "default": 500 },
            },
            "plans": { "p@1": { "limits": { "month": self.quota, "speed": { "limit": limit, "burst": burst } } } },
        })
    }

    fn tenants(&self) -> Vec<Value> {
        let root = json!({ "id": "t_root", "slug": "root", "plan": "p@1" });
        let child = |i| {
            json!({
                "id": format!("t_{i}"), "slug": format!("c{i}"), "parent": "t_root",
                "overrides": [{ "limit": "month", "allowance": self.child_quota }],
            })
        };
        std::iter::once(root).chain((0..self.children).map(child)).collect()
    }
}

struct Isolate {
    gate: Gate,
    life: u64,
    /// Requests that wait for an answer that another one asked for.
    waiting: Vec<Asked>,
}

#[derive(Debug, Clone)]
struct Asked {
    tenant: u64,
    path: &'static str,
    cost: u64,
}

enum Talk {
    Request(Pending, Asked),
    Leases(Contact),
}

enum Event {
    Arrive {
        isolate: usize,
    },
    /// A message reaches the ledger.
    Order {
        isolate: usize,
        life: u64,
        id: u64,
        text: String,
    },
    /// An answer reaches an isolate.
    Answer {
        isolate: usize,
        life: u64,
        id: u64,
        text: String,
    },
    /// Nobody answered in time.
    TimedOut {
        isolate: usize,
        life: u64,
        id: u64,
    },
    /// An isolate sees to leases that end.
    Keep {
        isolate: usize,
        life: u64,
    },
}

/// What was let through, as it is counted outside of everything that is tested.
#[derive(Default)]
struct Truth {
    quota: BTreeMap<String, u64>,
    exact: u64,
    /// Work in the bucket of the rate (cells × window), and when it was measured.
    fill: u64,
    at_ms: u64,
    offered: u64,
    admitted: u64,
    refused: u64,
    wrongly: u64,
    rate_cells: u64,
    orders: u64,
}

struct World {
    nature: Nature,
    chance: Chance,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    pending: Vec<Option<Event>>,
    isolates: Vec<Isolate>,
    talks: BTreeMap<u64, Talk>,
    book: Book,
    /// What the ledger has written.
    disk: (BTreeMap<String, Counter>, BTreeMap<String, Lease>),
    truth: Truth,
    serial: u64,
    lives: u64,
    paths: &'static [&'static str],
    seed: u64,
    open: bool,
}

impl World {
    fn new(seed: u64, nature: Nature, paths: &'static [&'static str]) -> Self {
        let mut world = Self {
            chance: Chance(seed),
            now: START,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            isolates: Vec::new(),
            talks: BTreeMap::new(),
            book: Book::journaled(),
            disk: Default::default(),
            truth: Truth { at_ms: START, ..Truth::default() },
            serial: 0,
            lives: 0,
            paths,
            seed,
            open: true,
            nature,
        };
        for index in 0..usize::try_from(world.nature.isolates).unwrap() {
            let isolate = world.isolate();
            world.isolates.push(isolate);
            world.born(index);
            let pause = world.chance.within(world.nature.pause_ms);
            world.after(pause, Event::Arrive { isolate: index });
        }
        world
    }

    fn isolate(&mut self) -> Isolate {
        self.lives += 1;
        let mut gate = Gate::default();
        gate.snapshots.put_catalog(&self.nature.catalog().to_string(), UnixMillis::MAX).unwrap();
        for tenant in self.nature.tenants() {
            gate.snapshots.put(Tenant::parse(&tenant.to_string()).unwrap(), UnixMillis::MAX).unwrap();
        }
        gate.lease_as(format!("i{}", self.lives));
        Isolate { gate, life: self.lives, waiting: Vec::new() }
    }

    fn born(&mut self, index: usize) {
        let life = self.isolates[index].life;
        self.after(LEASE_MS - 2_000, Event::Keep { isolate: index, life });
    }

    fn at(&self) -> UnixMillis {
        UnixMillis::new(self.now)
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
    fn send(&mut self, event: impl Fn() -> Event) {
        let times = if self.chance.happens(self.nature.lost) {
            0
        } else {
            1 + u64::from(self.chance.happens(self.nature.doubled))
        };
        for _ in 0..times {
            let delay = self.chance.within(self.nature.delay_ms);
            self.after(delay, event());
        }
    }

    fn root() -> TenantId {
        TenantId::parse("t_root").unwrap()
    }

    fn talk(&mut self, isolate: usize, talk: Talk, text: String) {
        self.serial += 1;
        let (id, life) = (self.serial, self.isolates[isolate].life);
        self.talks.insert(id, talk);
        self.truth.orders += 1;
        self.send(|| Event::Order { isolate, life, id, text: text.clone() });
        self.after(2_000, Event::TimedOut { isolate, life, id });
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((at, _, place))) = self.events.pop() else { return false };
        self.now = at;
        match self.pending[place].take().unwrap() {
            Event::Arrive { isolate } => {
                if self.open {
                    let tenant = self.chance.below(self.nature.children + 1);
                    let path = self.paths[usize::try_from(self.chance.below(self.paths.len() as u64)).unwrap()];
                    let cost = self.chance.within(self.nature.costs);
                    self.truth.offered += 1;
                    self.decide(isolate, Asked { tenant, path, cost });
                    let pause = self.chance.within(self.nature.pause_ms);
                    self.after(pause, Event::Arrive { isolate });
                }
            }
            Event::Order { isolate, life, id, text } => self.serve(isolate, life, id, &text),
            Event::Answer { isolate, life, id, text } => self.hear(isolate, life, id, Some(&text)),
            Event::TimedOut { isolate, life, id } => self.hear(isolate, life, id, None),
            Event::Keep { isolate, life } if self.isolates[isolate].life == life => {
                let now = self.at();
                let contact = self.isolates[isolate].gate.returns(&Self::root(), 2_000, now);
                if !contact.is_empty() {
                    self.say(isolate, contact);
                }
                self.after(1_000, Event::Keep { isolate, life });
            }
            Event::Keep { .. } => {}
        }
        if self.open && self.chance.happens(self.nature.deaths) {
            let index = usize::try_from(self.chance.below(self.nature.isolates)).unwrap();
            self.isolates[index] = self.isolate();
            self.born(index);
        }
        if self.open && self.chance.happens(self.nature.kills) {
            self.restart();
        }
        true
    }

    fn say(&mut self, isolate: usize, contact: Contact) {
        let text = serde_json::to_string(&self.isolates[isolate].gate.words(&Self::root(), &contact)).unwrap();
        self.talk(isolate, Talk::Leases(contact), text);
    }

    fn decide(&mut self, isolate: usize, asked: Asked) {
        let now = self.at();
        let slug = if asked.tenant == 0 { String::from("root") } else { format!("c{}", asked.tenant - 1) };
        let headers = [("x-tenant-id", slug.as_str())];
        let request = Request { path: asked.path, headers: &headers, ..Request::default() };
        use tenantgate::ledger::Op::Take;
        let costs: &[_] = match asked.path {
            "/quota" => &[("month", Take(asked.cost))],
            "/rate" => &[("speed", Take(asked.cost))],
            "/both" => &[("month", Take(asked.cost)), ("speed", Take(asked.cost))],
            _ => &[("month", Take(asked.cost)), ("exact", Take(1))],
        };
        let ask = Ask { limits: costs, ..Ask::default() };
        match self.isolates[isolate].gate.decide(&request, &ask, now) {
            Step::Done(decision) => {
                for need in &decision.refresh {
                    if let Need::Refill(root, counter) = need {
                        let contact = self.isolates[isolate].gate.refill(root, counter, now);
                        self.say(isolate, contact);
                    }
                }
                self.decided(&asked, decision.allowed());
            }
            Step::Fetch(Need::Answer(_)) => self.isolates[isolate].waiting.push(asked),
            Step::Fetch(need) => panic!("everything is held, and {need:?} is not"),
            Step::Charge(pending) => {
                let text = serde_json::to_string(&self.isolates[isolate].gate.order(&pending)).unwrap();
                self.talk(isolate, Talk::Request(pending, asked), text);
            }
        }
    }

    /// The ledger: answers, and writes before it says so.
    fn serve(&mut self, isolate: usize, life: u64, id: u64, text: &str) {
        let order: Order<'_> = serde_json::from_str(text).unwrap();
        let before = self.booked("t_root/month");
        let outcome = self.book.answer(&order, self.at());
        let changes = self.book.take_changes();
        for name in &changes.counters {
            self.disk.0.insert(name.to_string(), self.book.get(name).unwrap().clone());
        }
        for name in &changes.leases {
            match self.book.lease(name) {
                Some(lease) => self.disk.1.insert(name.to_string(), lease.clone()),
                None => self.disk.1.remove(&**name),
            };
        }
        if !outcome.allowed {
            assert!(self.booked("t_root/month") <= before, "{}: a denial took something", self.seed);
        }
        self.check();
        let text = serde_json::to_string(&outcome).unwrap();
        self.send(|| Event::Answer { isolate, life, id, text: text.clone() });
    }

    /// Killed, and back with what it had written.
    fn restart(&mut self) {
        self.book = Book::journaled();
        for (name, lease) in &self.disk.1 {
            self.book.put_lease(name, lease.clone());
        }
        for (name, counter) in &self.disk.0 {
            self.book.put(name, counter.clone());
        }
    }

    fn hear(&mut self, isolate: usize, life: u64, id: u64, text: Option<&str>) {
        if self.isolates[isolate].life != life {
            self.talks.remove(&id);
            return;
        }
        // An answer that comes twice, or after it was given up, is not heard.
        let Some(talk) = self.talks.remove(&id) else { return };
        let outcome: Option<Outcome> = text.map(|text| serde_json::from_str(text).unwrap());
        let now = self.at();
        match talk {
            Talk::Leases(contact) => self.isolates[isolate].gate.heard(&Self::root(), &contact, outcome.as_ref(), now),
            Talk::Request(pending, asked) => {
                let decision = self.isolates[isolate].gate.finish(pending, outcome.as_ref(), now);
                // Where the ledger does not answer, `on_error: open` lets requests through uncounted, and says so.
                if decision.fallback.is_empty() {
                    self.decided(&asked, decision.allowed());
                }
            }
        }
        for asked in std::mem::take(&mut self.isolates[isolate].waiting) {
            self.decide(isolate, asked);
        }
    }

    fn decided(&mut self, asked: &Asked, allowed: bool) {
        let root = String::from("t_root/month");
        if !allowed {
            self.truth.refused += 1;
            let used = self.truth.quota.get(&root).copied().unwrap_or(0);
            let room = match asked.path {
                "/quota" => used + asked.cost <= self.nature.quota,
                "/rate" => self.drained() + asked.cost * self.nature.rate.2 <= self.nature.rate.1 * self.nature.rate.2,
                _ => false,
            };
            self.truth.wrongly += u64::from(room);
            return;
        }
        self.truth.admitted += 1;
        if asked.path != "/rate" {
            *self.truth.quota.entry(root).or_default() += asked.cost;
            if asked.tenant > 0 {
                *self.truth.quota.entry(format!("t_{}/month", asked.tenant - 1)).or_default() += asked.cost;
            }
        }
        if asked.path == "/strict" {
            self.truth.exact += 1;
        }
        if matches!(asked.path, "/rate" | "/both") {
            let (_, burst, window) = self.nature.rate;
            let fill = self.drained() + asked.cost * window;
            self.truth.rate_cells += asked.cost;
            (self.truth.fill, self.truth.at_ms) = (fill, self.now);
            assert!(
                fill <= burst * window,
                "{}: more was let through than the rate allows: {fill} of {}",
                self.seed,
                burst * window
            );
        }
        for (counter, used) in &self.truth.quota {
            let limit = if counter == "t_root/month" { self.nature.quota } else { self.nature.child_quota };
            assert!(*used <= limit, "{}: {used} of {limit} were let through on {counter}", self.seed);
        }
        assert!(self.truth.exact <= 500);
    }

    fn drained(&self) -> u64 {
        self.truth.fill.saturating_sub((self.now - self.truth.at_ms) * self.nature.rate.0)
    }

    /// Units that a quota has booked: used, and leased.
    fn booked(&self, counter: &str) -> u64 {
        match self.book.get(counter) {
            Some(Counter::Quota { used, leased, .. }) => used + leased,
            _ => 0,
        }
    }

    /// What holds in the ledger whatever has happened.
    fn check(&self) {
        let root = self.booked("t_root/month");
        assert!(root <= self.nature.quota, "{}: {root} booked", self.seed);
        let children: u64 = (0..self.nature.children).map(|i| self.booked(&format!("t_{i}/month"))).sum();
        assert!(children <= root, "{}: children have {children}, their parent {root}", self.seed);
        for (counter, admitted) in &self.truth.quota {
            // What was let through was booked before: nothing that was acknowledged is lost.
            assert!(
                self.booked(counter) >= *admitted,
                "{}: {counter} has {} of {admitted}",
                self.seed,
                self.booked(counter)
            );
        }
    }

    /// Lets everybody finish: no new requests, until all leases have ended.
    fn settle(&mut self) {
        self.open = false;
        let end = self.now + LEASE_MS + LEASE_GRACE_MS + 5_000;
        while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= end) {
            self.step();
        }
        self.now = end;
        self.book.answer(&Order::default(), self.at());
        self.book.take_changes();
        self.check();
    }
}

fn steps() -> u64 {
    std::env::var("STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(1_000_000)
}

const ALL: &[&str] = &["/quota", "/rate", "/both", "/strict"];

#[test]
fn in_any_world_nothing_is_granted_twice_and_nothing_acknowledged_is_lost() {
    let seeds = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .map_or_else(|| (1..=20).collect(), |seed: u64| vec![seed]);
    let each = steps() / seeds.len() as u64;
    for seed in seeds {
        let mut world = World::new(seed, Nature::of(seed), ALL);
        for _ in 0..each {
            assert!(world.step());
        }
        let (offered, admitted, orders) = (world.truth.offered, world.truth.admitted, world.truth.orders);
        world.settle();
        println!("seed {seed}: {offered} offered, {admitted} admitted, {orders} messages, {:?}", world.nature);
        assert!(offered > 100 && admitted > 0);
    }
}

/// Without faults nothing is lost either way: the ledger has used exactly what was let through.
#[test]
fn in_a_calm_world_the_counts_are_exact() {
    for seed in 1..=5 {
        let nature = Nature { children: 3, child_quota: 2_000, quota: 5_000, ..Nature::calm() };
        let mut world = World::new(seed, nature, &["/quota"]);
        for _ in 0..40_000 {
            world.step();
        }
        world.settle();
        for (counter, admitted) in &world.truth.quota {
            assert_eq!(world.booked(counter), *admitted, "seed {seed}: {counter}");
        }
        assert_eq!(world.truth.quota["t_root/month"], 5_000, "seed {seed}: all of it was used");
    }
}

fn utilisation(nature: Nature, path: &'static [&'static str], ms: u64) -> World {
    let mut world = World::new(7, nature, path);
    while world.now < START + ms {
        world.step();
    }
    world
}

/// Steady load beyond a rate: what the rate allows is let through, to the last percent.
#[test]
fn a_leased_rate_is_used_to_the_full() {
    // 10 isolates, one request in 5 ms each: 2,000 a second, twice the rate.
    let world = utilisation(Nature { pause_ms: (1, 9), ..Nature::calm() }, &["/rate"], 60_000);
    let allowed = 1_000 + 60 * 1_000;
    let used = world.truth.rate_cells as f64 / f64::from(allowed);
    println!("utilisation {used}, {} messages for {} requests", world.truth.orders, world.truth.offered);
    assert!(used >= 0.99, "{used}");
}

/// Steady load within a rate: next to nobody is refused.
#[test]
fn who_stays_within_a_rate_is_not_refused() {
    // 10 isolates, one request in 12.5 ms each: 800 a second.
    let world = utilisation(Nature { pause_ms: (5, 20), ..Nature::calm() }, &["/rate"], 60_000);
    let wrongly = world.truth.wrongly as f64 / world.truth.offered as f64;
    println!(
        "wrong refusals {wrongly}, {} refused of {}, {} messages",
        world.truth.refused, world.truth.offered, world.truth.orders
    );
    assert!(wrongly <= 0.001, "{wrongly}");
    assert!(world.truth.orders * 10 < world.truth.offered, "leases spare the ledger");
}

/// A quota that runs out: all of it is used, and few are refused while some is left.
#[test]
fn a_leased_quota_is_used_up() {
    let nature = Nature { quota: 50_000, pause_ms: (1, 9), ..Nature::calm() };
    let world = utilisation(nature, &["/quota"], 60_000);
    let used = world.truth.quota["t_root/month"];
    let wrongly = world.truth.wrongly as f64 / world.truth.offered as f64;
    println!(
        "{used} of 50000 used, wrong refusals {wrongly}, {} messages for {}",
        world.truth.orders, world.truth.offered
    );
    assert!(used >= 49_500, "{used}");
    assert!(wrongly <= 0.001, "{wrongly}");
}

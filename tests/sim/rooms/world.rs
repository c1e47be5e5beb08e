//! What there is: hubs, clients, a ledger, the network between them, and their time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;

use serde_json::json;
use tenantgate::ledger::{Charge, Counter, CounterOp, Hold, LedgerRequest, LedgerState, Meter, Renewal};
use tenantgate::model::bounds::HUB_HOLD_MS;
use tenantgate::model::{Catalog, UnixMillis};
use tenantgate::realtime::Rules;

use super::client::Client;
use super::deeds::{Answer, Question};
use super::object::{Disk, Object};
use super::tasks::{Owner, Signal, Tasks};
use super::truth::Happened;
use crate::history::History;
use crate::random::{Random, Range};
use crate::storage::Storage;
use crate::time::Schedule;

const TENANTS: usize = 2;
/// Milliseconds after which a question has failed.
const TIMEOUT_MS: u64 = 5_000;

/// The options of a world of rooms.
#[derive(Debug)]
pub struct RoomOptions {
    /// Hubs of each tenant.
    pub shards: u32,
    /// Sockets of one hub.
    pub room: usize,
    pub clients: usize,
    /// Connections of the family.
    pub limit: u64,
    pub delay_ms: Range,
    pub pause_ms: Range,
    /// Milliseconds after which a hub that has crashed is woken by its alarm.
    pub alarm_ms: u64,
    /// Of a million.
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
    pub crashes: u64,
    pub hibernations: u64,
    pub ledger_crashes: u64,
    pub suspensions: u64,
    pub revocations: u64,
}

impl RoomOptions {
    fn random(random: &mut Random) -> Self {
        Self {
            shards: u32::try_from(random.within((1, 3))).unwrap(),
            room: usize::try_from(random.within((2, 8))).unwrap(),
            clients: usize::try_from(random.within((4, 24))).unwrap(),
            limit: random.within((2, 16)),
            delay_ms: (1, random.within((2, 400))),
            pause_ms: (1, random.within((20, 2_000))),
            alarm_ms: random.within((20, 5_000)),
            lost: random.within((0, 50_000)),
            doubled: random.within((0, 50_000)),
            late: random.within((0, 20_000)),
            crashes: random.within((0, 3_000)),
            hibernations: random.within((0, 20_000)),
            ledger_crashes: random.within((0, 3_000)),
            suspensions: random.within((0, 3_000)),
            revocations: random.within((0, 3_000)),
        }
    }
}

type Event = Box<dyn FnOnce(&Rooms)>;

/// A world of rooms.
pub struct Rooms {
    pub seed: u64,
    pub options: RoomOptions,
    pub hubs: RefCell<Vec<Object>>,
    pub clients: RefCell<Vec<Client>>,
    /// Since when each tenant is suspended.
    pub suspended: RefCell<Vec<Option<u64>>>,
    /// Since when the credential of each client is revoked.
    pub revoked: RefCell<Vec<Option<u64>>>,
    pub happened: RefCell<Happened>,
    pub tasks: Tasks,
    pub steps: Cell<u64>,
    pub rules: Rules,
    ledger: RefCell<(LedgerState, Storage)>,
    random: RefCell<Random>,
    schedule: RefCell<Schedule<Event>>,
    history: RefCell<History>,
    /// Whether clients act and faults happen.
    is_open: Cell<bool>,
}

impl Rooms {
    pub fn new(seed: u64) -> Rc<Self> {
        let mut random = Random::new(seed ^ 0x0057_0087);
        let options = RoomOptions::random(&mut random);
        println!("rooms of seed {seed}: {options:?}");
        let of = |tenant| (0..options.shards).map(move |shard| (tenant, shard));
        let hub = |(tenant, shard)| Object {
            tenant,
            shard,
            life: 0,
            disk: Disk { epoch: format!("epoch-{tenant}-{shard}"), ..Disk::default() },
            memory: None,
            sockets: std::collections::BTreeMap::new(),
            last_socket: 0,
        };
        let hubs = (0..TENANTS).flat_map(of).map(hub).collect();
        let clients = (0..options.clients).map(|n| Client { tenant: n % TENANTS, ..Client::default() }).collect();
        let catalog =
            json!({ "version": 1, "resolution": { "strategies": [{ "strategy": "header" }] }, "realtime": {} });
        let catalog = Catalog::parse(&catalog.to_string()).unwrap();
        let rooms = Rc::new(Self {
            seed,
            hubs: RefCell::new(hubs),
            clients: RefCell::new(clients),
            suspended: RefCell::new(vec![None; TENANTS]),
            revoked: RefCell::new(vec![None; options.clients]),
            happened: RefCell::default(),
            tasks: Tasks::default(),
            steps: Cell::new(0),
            rules: Rules::new(&catalog.realtime.unwrap(), BTreeSet::new()),
            ledger: RefCell::new((LedgerState::journaled(), Storage::default())),
            random: RefCell::new(random),
            schedule: RefCell::new(Schedule::new()),
            history: RefCell::new(History::new()),
            is_open: Cell::new(true),
            options,
        });
        for client in 0..rooms.options.clients {
            rooms.schedule_act(client);
        }
        for tenant in 0..TENANTS {
            rooms.schedule_publication(tenant);
        }
        rooms
    }

    // Time.

    pub fn now(&self) -> UnixMillis {
        UnixMillis::new(self.schedule.borrow().now())
    }

    /// A number that was not there before.
    pub fn unique(&self) -> u64 {
        self.schedule.borrow_mut().unique()
    }

    pub fn after(&self, ms: u64, event: impl FnOnce(&Self) + 'static) {
        self.schedule.borrow_mut().after(ms, Box::new(event));
    }

    pub async fn sleep(self: &Rc<Self>, ms: u64) {
        let signal = Signal::new();
        let rung = signal.clone();
        self.after(ms, move |rooms| rung.set(&rooms.tasks, ()));
        signal.wait(&self.tasks).await;
    }

    /// Lets the next event happen.
    pub fn step(self: &Rc<Self>) {
        let event = self.schedule.borrow_mut().next();
        let Some(event) = event else { return };
        self.steps.set(self.steps.get() + 1);
        event(self);
        self.tasks.run();
        if self.is_open.get() {
            self.inject_faults();
            self.tasks.run();
        }
        self.check_members();
        let state = [self.now().get(), self.schedule.borrow().serial(), self.random.borrow().state()];
        self.history.borrow_mut().note_all(&state);
    }

    /// Stops clients and faults, and waits until all that is under way has ended.
    pub fn come_to_rest(self: &Rc<Self>) {
        self.is_open.set(false);
        self.suspended.borrow_mut().fill(None);
        self.revoked.borrow_mut().fill(None);
        let count = self.hubs.borrow().len();
        for hub in 0..count {
            self.hubs.borrow_mut()[hub].sockets.values_mut().for_each(|socket| socket.is_stuck = false);
            let sockets: Vec<u32> = self.hubs.borrow()[hub].sockets.keys().copied().collect();
            for who in sockets {
                self.turn(hub, |core, now| core.hub.resume(who, now));
            }
            self.alarm(hub);
        }
        let end = self.now().get() + 4 * 60_000;
        while self.schedule.borrow().has_event_until(end) {
            self.step();
        }
        self.check_rest();
    }

    pub fn is_quiet(&self) -> bool {
        !self.is_open.get()
    }

    /// A summary, with the digest of all that has happened.
    pub fn report(&self) -> String {
        format!("{:?}, digest {:016x}", self.happened.borrow(), self.history.borrow().digest())
    }

    // Chance.

    pub fn chance(&self, per_million: u64) -> bool {
        self.random.borrow_mut().chance(per_million)
    }

    pub fn within(&self, range: Range) -> u64 {
        self.random.borrow_mut().within(range)
    }

    pub fn index(&self, len: usize) -> usize {
        self.random.borrow_mut().index(len)
    }

    fn inject_faults(self: &Rc<Self>) {
        let hub = self.index(self.hubs.borrow().len());
        if self.chance(self.options.crashes) {
            self.crash(hub);
        }
        if self.chance(self.options.hibernations) {
            self.hibernate(hub);
        }
        if self.chance(self.options.ledger_crashes) {
            let (state, storage) = &mut *self.ledger.borrow_mut();
            *state = storage.read();
        }
        if self.chance(self.options.suspensions) {
            self.suspend(self.index(TENANTS));
        }
        if self.chance(self.options.revocations) {
            self.revoke(self.index(self.options.clients));
        }
    }

    /// Suspends a tenant, or has it served again.
    fn suspend(self: &Rc<Self>, tenant: usize) {
        toggle(&mut self.suspended.borrow_mut()[tenant], self.now());
        self.happened.borrow_mut().suspensions += 1;
        self.tell(tenant);
    }

    /// Revokes the credential of a client, or gives it another one.
    fn revoke(self: &Rc<Self>, client: usize) {
        toggle(&mut self.revoked.borrow_mut()[client], self.now());
        self.happened.borrow_mut().revocations += 1;
        let tenant = self.clients.borrow()[client].tenant;
        self.tell(tenant);
    }

    /// Tells the hubs of a tenant of a change, unless the message is lost.
    fn tell(self: &Rc<Self>, tenant: usize) {
        for shard in 0..self.options.shards {
            let (rooms, hub) = (Rc::clone(self), self.hub_of(tenant, shard));
            // Every other change reaches no hub at all.
            if self.chance(500_000) {
                self.tasks.spawn(None, async move {
                    let _ = rooms.ask(hub, Question::Changed).await;
                });
            }
        }
    }

    // Who acts.

    fn schedule_act(self: &Rc<Self>, client: usize) {
        let (rooms, pause_ms) = (Rc::clone(self), self.within(self.options.pause_ms));
        self.after(pause_ms, move |_| {
            if rooms.is_open.get() {
                rooms.act(client);
                rooms.schedule_act(client);
            }
        });
    }

    /// The operator's own code publishes.
    fn schedule_publication(self: &Rc<Self>, tenant: usize) {
        let (rooms, pause_ms) = (Rc::clone(self), self.within(self.options.pause_ms));
        self.after(pause_ms, move |_| {
            if !rooms.is_open.get() {
                return;
            }
            let count = rooms.within((1, 4));
            let data = (0..count).map(|_| rooms.unique().to_string()).collect();
            let (asker, hub) = (Rc::clone(&rooms), rooms.first(tenant));
            rooms.tasks.spawn(None, async move {
                let _ = asker.ask(hub, Question::Publish(data)).await;
            });
            rooms.schedule_publication(tenant);
        });
    }

    // Who is where.

    pub fn hub_of(&self, tenant: usize, shard: u32) -> usize {
        tenant * usize::try_from(self.options.shards).unwrap() + usize::try_from(shard).unwrap()
    }

    pub fn first(&self, tenant: usize) -> usize {
        self.hub_of(tenant, 0)
    }

    // The network.

    /// The delays of the copies of a message that arrive.
    fn deliveries(&self) -> Vec<u64> {
        if self.is_quiet() {
            return vec![self.options.delay_ms.0];
        }
        let copies = if self.chance(self.options.lost) { 0 } else { 1 + u64::from(self.chance(self.options.doubled)) };
        let late = |_| if self.chance(self.options.late) { self.within((0, 8_000)) } else { 0 };
        (0..copies).map(late).map(|late_ms| late_ms + self.within(self.options.delay_ms)).collect()
    }

    /// Runs what a request does in a hub. It ends with the hub's life, without an answer.
    pub async fn run_in<T: 'static>(self: &Rc<Self>, hub: usize, work: impl Future<Output = T> + 'static) -> Option<T> {
        let signal = Signal::new();
        let (done, rooms) = (signal.clone(), Rc::clone(self));
        let owner: Owner = Some((hub, self.hubs.borrow()[hub].life));
        self.tasks.spawn(owner, async move {
            let value = work.await;
            done.set(&rooms.tasks, Some(value));
        });
        let late = signal.clone();
        self.after(4 * TIMEOUT_MS, move |rooms| late.set(&rooms.tasks, None));
        signal.wait(&self.tasks).await
    }

    /// Asks a hub. `None`: there is no answer in time.
    pub async fn ask(self: &Rc<Self>, to: usize, question: Question) -> Option<Answer> {
        let signal = Signal::new();
        for delay_ms in self.deliveries() {
            let (rooms, question, heard) = (Rc::clone(self), question.clone(), signal.clone());
            self.after(delay_ms, move |_| {
                let owner = Some((to, rooms.hubs.borrow()[to].life));
                let asked = Rc::clone(&rooms);
                rooms.tasks.spawn(owner, async move {
                    let answer = Rc::clone(&asked).answer(to, question).await;
                    for delay_ms in asked.deliveries() {
                        let (heard, answer) = (heard.clone(), answer.clone());
                        asked.after(delay_ms, move |rooms| heard.set(&rooms.tasks, Some(answer)));
                    }
                });
            });
        }
        let late = signal.clone();
        self.after(TIMEOUT_MS, move |rooms| late.set(&rooms.tasks, None));
        signal.wait(&self.tasks).await
    }

    /// Asks the system of record whether a tenant is served, and which clients no longer have a
    /// valid credential.
    pub async fn ask_the_record(self: &Rc<Self>, tenant: usize) -> Option<(bool, Vec<usize>)> {
        let signal = Signal::new();
        for delay_ms in self.deliveries() {
            let heard = signal.clone();
            self.after(delay_ms, move |rooms| {
                let is_served = rooms.suspended.borrow()[tenant].is_none();
                let revoked = rooms
                    .revoked
                    .borrow()
                    .iter()
                    .enumerate()
                    .filter(|(_, at)| at.is_some())
                    .map(|(n, _)| n)
                    .collect::<Vec<_>>();
                for delay_ms in rooms.deliveries() {
                    let (heard, answer) = (heard.clone(), (is_served, revoked.clone()));
                    rooms.after(delay_ms, move |rooms| heard.set(&rooms.tasks, Some(answer)));
                }
            });
        }
        let late = signal.clone();
        self.after(TIMEOUT_MS, move |rooms| late.set(&rooms.tasks, None));
        signal.wait(&self.tasks).await
    }

    // The ledger.

    fn hold_name(object: &Object) -> String {
        format!("t{}/realtime hub {}", object.tenant, object.shard)
    }

    /// States to the ledger how many slots a hub holds. `None`: there is no answer in time.
    pub async fn ask_the_ledger(self: &Rc<Self>, hub: usize, number: Renewal, units: u64) -> Option<bool> {
        let name = Self::hold_name(&self.hubs.borrow()[hub]);
        let signal = Signal::new();
        for delay_ms in self.deliveries() {
            let (heard, name) = (signal.clone(), name.clone());
            self.after(delay_ms, move |rooms| {
                let allowed = rooms.state_slots(&name, number, units);
                for delay_ms in rooms.deliveries() {
                    let heard = heard.clone();
                    rooms.after(delay_ms, move |rooms| heard.set(&rooms.tasks, Some(allowed)));
                }
            });
        }
        let late = signal.clone();
        self.after(TIMEOUT_MS, move |rooms| late.set(&rooms.tasks, None));
        signal.wait(&self.tasks).await
    }

    fn state_slots(&self, name: &str, number: Renewal, units: u64) -> bool {
        let (state, storage) = &mut *self.ledger.borrow_mut();
        let meter = Meter::Concurrency { limit: Some(self.options.limit) };
        let charge = Charge { counter: "t/connections", meter, op: CounterOp::Hold(units), shadow: false };
        let request = LedgerRequest {
            hold: Some(Hold { name, for_ms: HUB_HOLD_MS, renewal: Some(number) }),
            charges: [charge].into_iter().collect(),
            ..LedgerRequest::default()
        };
        let allowed = state.answer(&request, self.now()).allowed;
        storage.write(state);
        allowed
    }

    /// The slots that the ledger has for all hubs.
    pub fn held(&self) -> u64 {
        match self.ledger.borrow().0.get("t/connections") {
            Some(Counter::Concurrency { leased }) => *leased,
            _ => 0,
        }
    }
}

/// Begins a state at a time, or ends it.
const fn toggle(state: &mut Option<u64>, now: UnixMillis) {
    *state = if state.is_none() { Some(now.get()) } else { None };
}

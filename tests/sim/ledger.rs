//! Ledgers. They write before they answer, crash, and start again from their disks.

use tenantgate::ledger::{Counter, LedgerRequest, LedgerResponse, LedgerState};

use crate::documents::{Records, counter};
use crate::network::{Call, Direction};
use crate::storage::Storage;
use crate::time::Clock;
use crate::truth::Truth;
use crate::world::{Event, World, index};

/// The ledger of one family: its state in memory, and its disk.
#[derive(Debug)]
pub struct Ledger {
    pub family: u64,
    state: LedgerState,
    storage: Storage,
    pub clock: Clock,
    /// The family's records, as they are published.
    pub records: Records,
    pub truth: Truth,
}

impl Ledger {
    pub fn new(family: u64, quota: u64) -> Self {
        Self {
            family,
            state: LedgerState::journaled(),
            storage: Storage::default(),
            clock: Clock::default(),
            records: Records::new(quota),
            truth: Truth::new(),
        }
    }

    /// Loses the state in memory and starts again from the disk.
    pub fn restart(&mut self) {
        self.state = self.storage.read();
    }

    /// Answers a request. `None` if the write of the answer failed, so that the request had no
    /// effect.
    fn answer(&mut self, request: &LedgerRequest<'_>, write_fails: bool, now: u64) -> Option<LedgerResponse> {
        let now = self.clock.read(now);
        let fingerprint = request.once.and_then(|once| self.storage.fingerprint(once.id));
        let response = self.state.answer_once(request, fingerprint, now);
        if write_fails {
            self.restart();
            return None;
        }
        if let (Some(once), true) = (request.once, response.stores_key(request)) {
            self.storage.write_idempotency_key(once.id, once.fingerprint);
        }
        self.storage.write(&mut self.state);
        Some(response)
    }

    /// Ends all leases and holds whose time is over a minute after `now`.
    pub fn end_leases_and_holds(&mut self, now: u64) {
        let mut clock = Clock::default();
        clock.step_to(60_000);
        self.state.answer(&LedgerRequest::default(), clock.read(now));
        self.storage.write(&mut self.state);
    }

    /// Returns the units that a quota has used, leased and held.
    pub fn booked(&self, counter: &str) -> u64 {
        match self.state.get(counter) {
            Some(Counter::Quota(quota)) => quota.total(),
            _ => 0,
        }
    }

    /// Returns the units that the root has used of a limit or of the metric `tokens`.
    pub fn counted(&self, what: &str) -> u64 {
        match what {
            "tokens" => self.storage.usage(&format!("{}/", counter(self.family, 0, what))),
            limit => self.booked(&counter(self.family, 0, limit)),
        }
    }
}

impl World {
    /// A message reaches a ledger, which writes its answer before it sends it.
    pub fn serve(&mut self, call: Call, text: &str) {
        let request: LedgerRequest<'_> = serde_json::from_str(text).unwrap();
        let write_fails = self.random.chance(self.run.options.write_failures);
        let now = self.schedule.now();
        let ledger = &mut self.ledgers[index(call.family)];
        let month = counter(call.family, 0, "month");
        let before = ledger.booked(&month);
        let Some(response) = ledger.answer(&request, write_fails, now) else { return };
        let after = ledger.booked(&month);
        self.check_response(&response, before, after);
        self.check_ledger(call.family);
        let text = serde_json::to_string(&response).unwrap();
        self.history.note(text.as_bytes());
        for delay in self.network.deliveries(Direction::Response, &mut self.random) {
            self.schedule.after(delay, Event::Response { call, text: text.clone() });
        }
    }
}

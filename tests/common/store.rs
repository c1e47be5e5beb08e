//! One isolate that fetches snapshots from a store. A test says what the store holds, whether it
//! answers, and when a request arrives.

use std::collections::BTreeMap;

use tenantgate::gate::{Ask, Decision, Need, Rejected, Step};
use tenantgate::ledger::LedgerResponse;
use tenantgate::model::{TenantId, UnixMillis};
use tenantgate::resolve::{Custom, Request};

use super::driver::{Driver, Progress};

/// One isolate, and the store that it fetches from.
#[derive(Debug, Default)]
pub struct Isolate {
    driver: Driver,
    store: BTreeMap<String, String>,
    /// What the last request fetched before it was decided, in order.
    pub fetched: Vec<Need>,
}

impl Isolate {
    /// Creates an isolate that holds nothing, above a store of these entries.
    pub fn new(store: &[(&str, &str)]) -> Self {
        let entries = store.iter().map(|(key, text)| (String::from(*key), String::from(*text)));
        Self { store: entries.collect(), ..Self::default() }
    }

    /// A request for a host arrives. Returns its decision.
    pub fn request(&mut self, host: &str, now: UnixMillis) -> Box<Decision> {
        self.decide(&to(host), &Ask::default(), now)
    }

    /// A request arrives whose tenant is known. Returns its decision. Panics if the gate fetches
    /// more than `most` times.
    pub fn request_as(&mut self, tenant: &str, most: usize, now: UnixMillis) -> Box<Decision> {
        let ask = Ask { tenant: Some(tenant), ..Ask::default() };
        let decision = self.decide(&Request::default(), &ask, now);
        assert!(self.fetched.len() <= most, "fetched {:?}", self.fetched);
        decision
    }

    /// A request for a host arrives while the store is down. Returns its decision; `None`: what
    /// the isolate holds may not serve. `fetched` lists the attempts.
    pub fn request_without_store(&mut self, host: &str, now: UnixMillis) -> Option<Box<Decision>> {
        self.fetched.clear();
        loop {
            match self.driver.step(&to(host), &Ask::default(), now) {
                Step::Done(decision) => return Some(decision),
                Step::Fetch(need) => {
                    let serves = self.driver.put_failure(&need, now);
                    self.fetched.push(need);
                    if !serves {
                        return None;
                    }
                }
                Step::Charge(_) => panic!("the catalog has no limits"),
            }
        }
    }

    /// Takes a request for a host one step. Returns what it fetches, or how it is decided.
    pub fn step(&mut self, host: &str, now: UnixMillis) -> Result<Box<Decision>, Need> {
        match self.driver.step(&to(host), &Ask::default(), now) {
            Step::Done(decision) => Ok(decision),
            Step::Fetch(need) => Err(need),
            Step::Charge(_) => panic!("the catalog has no limits"),
        }
    }

    /// Fetches what a decision asks to refresh.
    pub fn refresh(&mut self, decision: &Decision, now: UnixMillis) {
        for need in &decision.refresh {
            let text = self.store.get(&need.key());
            self.driver.put(need, text.map(String::as_str), now).unwrap();
        }
    }

    /// The isolate receives a snapshot. `None`: there is nothing under this key.
    pub fn receive(&mut self, need: &Need, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.driver.put(need, text, now)
    }

    /// The isolate hears from the feed that a snapshot has changed.
    pub fn hear_change(&mut self, need: &Need, epoch: u64, now: UnixMillis) {
        self.driver.hear_change(need, epoch, now);
    }

    /// The isolate has missed entries of the feed.
    pub fn hear_gap(&mut self, now: UnixMillis) {
        self.driver.hear_gap(now);
    }

    /// The isolate hears from the ledger of `root` which epochs other isolates have seen.
    pub fn hear_epochs(&mut self, root: &TenantId, epochs: &[(&'static str, u64)], now: UnixMillis) {
        let newer: Vec<_> = epochs.iter().map(|(name, epoch)| ((*name).into(), *epoch)).collect();
        let told = newer.len() as u64;
        self.driver.hear_news(root, &LedgerResponse { newer, told, ..LedgerResponse::default() }, now);
    }

    fn decide(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Box<Decision> {
        let (fetched, store) = (&mut self.fetched, &self.store);
        fetched.clear();
        let progress = self.driver.decide(request, ask, now, |driver, need| {
            assert!(fetched.len() < 100, "{need:?} is fetched without end");
            driver.put(&need, store.get(&need.key()).map(String::as_str), now).unwrap();
            fetched.push(need);
        });
        let Progress::Done(decision) = progress else { panic!("the catalog has no limits") };
        decision
    }
}

fn to(host: &str) -> Request<'_> {
    Request { host, path: "/", custom: Custom::Nobody, ..Request::default() }
}

//! One isolate that fetches snapshots from a store. A test says what the store holds, whether it
//! answers, and when a request arrives.

use std::collections::BTreeMap;

use tenantgate::gate::{Ask, Decision, Need, Progress, Refresh, Rejected, SnapshotKey, Step};
use tenantgate::ledger::LedgerResponse;
use tenantgate::model::{TenantId, UnixMillis};
use tenantgate::resolve::{Custom, Request};

use super::driver::{Driver, Stand};

/// One isolate, and the store that it fetches from.
#[derive(Debug, Default)]
pub struct Isolate {
    driver: Driver,
    store: BTreeMap<String, String>,
    /// What the last request fetched before it was decided, in order.
    pub fetched: Vec<SnapshotKey>,
}

impl Isolate {
    /// Creates an isolate without snapshots, above a store of these entries.
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

    /// A request for a host arrives while the store is down. Returns its decision, or `None` if the
    /// held snapshots may no longer serve. `fetched` lists the attempts.
    pub fn request_without_store(&mut self, host: &str, now: UnixMillis) -> Option<Box<Decision>> {
        self.fetched.clear();
        loop {
            match self.driver.step(&to(host), &Ask::default(), now) {
                Progress::Ready(Step::Decided(decision)) => return Some(decision),
                Progress::Need(Need::Snapshot(key)) => {
                    let serves = self.driver.put_failure(&key, now);
                    self.fetched.push(key);
                    if !serves {
                        return None;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes a request for a host one step further. Returns the decision, or the snapshot that the
    /// request needs.
    pub fn step(&mut self, host: &str, now: UnixMillis) -> Result<Box<Decision>, SnapshotKey> {
        match self.driver.step(&to(host), &Ask::default(), now) {
            Progress::Ready(Step::Decided(decision)) => Ok(decision),
            Progress::Need(Need::Snapshot(key)) => Err(key),
            other => panic!("{other:?}"),
        }
    }

    /// Fetches the snapshots that a decision asks to refresh.
    pub fn refresh(&mut self, decision: &Decision, now: UnixMillis) {
        for refresh in &decision.extras().refresh {
            let Refresh::Snapshot(key) = refresh else { panic!("{refresh:?}") };
            let text = self.store.get(&key.in_kv());
            self.driver.put(key, text.map(String::as_str), now).unwrap();
        }
    }

    /// The isolate receives a snapshot. `None` if the store has no entry under this key.
    pub fn receive(&mut self, key: &SnapshotKey, text: Option<&str>, now: UnixMillis) -> Result<(), Rejected> {
        self.driver.put(key, text, now)
    }

    /// The isolate hears from the feed that a snapshot has changed.
    pub fn hear_change(&mut self, key: &SnapshotKey, epoch: u64, now: UnixMillis) {
        self.driver.hear_change(key, epoch, now);
    }

    /// The isolate has missed entries of the feed.
    pub fn hear_gap(&mut self, now: UnixMillis) {
        self.driver.hear_gap(now);
    }

    /// The isolate hears from the ledger of `root` which epochs other isolates have seen.
    pub fn hear_epochs(&mut self, root: &TenantId, epochs: &[(&'static str, u64)], now: UnixMillis) {
        let newer: Vec<_> = epochs.iter().map(|(name, epoch)| ((*name).into(), *epoch)).collect();
        let cursor = newer.len() as u64;
        self.driver.hear_news(root, &LedgerResponse { newer, cursor, ..LedgerResponse::default() }, now);
    }

    fn decide(&mut self, request: &Request<'_>, ask: &Ask<'_>, now: UnixMillis) -> Box<Decision> {
        let (fetched, store) = (&mut self.fetched, &self.store);
        fetched.clear();
        let progress = self.driver.decide(request, ask, now, |driver, key| {
            assert!(fetched.len() < 100, "{key:?} is fetched without end");
            driver.put(&key, store.get(&key.in_kv()).map(String::as_str), now).unwrap();
            fetched.push(key);
        });
        let Stand::Done(decision) = progress else { panic!("the catalog has no limits") };
        decision
    }
}

fn to(host: &str) -> Request<'_> {
    Request { host, path: "/", custom: Custom::Nobody, ..Request::default() }
}

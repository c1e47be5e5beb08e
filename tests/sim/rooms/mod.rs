//! A simulation of hubs: the sockets of two tenants of one family, each with several hubs, and a
//! ledger that counts their connections. Messages between hubs, and to the ledger, are delayed,
//! lost, doubled and overtaken; hubs crash in the middle of a turn or hibernate; clients come,
//! stop reading, vanish and return; tenants are suspended while nobody tells their hubs.
//!
//! - `world`: what there is, and the order in which it happens; faults, and the network.
//! - `object`: a hub as the Durable Object has it: its disk, its memory, its sockets, its turns.
//! - `deeds`: what a hub does that has to wait, in the order of the adapter.
//! - `client`: a client, and what it has seen.
//! - `truth`: the properties, checked at every step.
//! - `tasks`: waiting in simulated time.

mod client;
mod deeds;
mod object;
mod tasks;
mod truth;
mod world;

use std::rc::Rc;

use crate::options::parse;
use world::Rooms;

/// The seeds, unless `SEED` names one.
pub fn seeds() -> Vec<u64> {
    std::env::var("SEED").map_or((1..=40).collect(), |seed| vec![parse("SEED", &seed)])
}

/// The steps of each world: a fraction of those of all worlds of isolates, `SIM_STEPS`.
pub fn steps() -> u64 {
    std::env::var("SIM_STEPS").map_or(400_000, |steps| parse::<u64>("SIM_STEPS", &steps)) / 40
}

/// Simulates the rooms of a seed, and lets them come to rest.
pub fn simulated(seed: u64, steps: u64) -> Rc<Rooms> {
    let rooms = Rooms::new(seed);
    for _ in 0..steps {
        rooms.step();
    }
    rooms.come_to_rest();
    println!("{}", rooms.report());
    rooms
}

//! A simulation of isolates and ledgers on a bad network. Messages are delayed, lost, doubled and
//! overtaken; isolates crash, ledgers crash or fail to write; clocks step, plans change. The checks
//! run at every step.
//!
//! - `run`: the seed and the steps, from `SEED` and `SIM_STEPS`, and the command that replays them.
//! - `options`: everything else about a world, from `SIM_…`.
//! - `world`: what there is and the order in which it happens. `time`, `random` and `history` make
//!   that order the same for the same seed.
//! - `isolate` runs the real gate, `ledger` the real ledger state above its `storage`; `network` is
//!   between them, and `faults` are all others.
//! - `workload` is what clients do, with the `documents` of their tenants; `client` is one request.
//! - `truth` counts what happens, and `checks` compare the ledgers with it.
//! - `rooms` is a world of its own: hubs of sockets.
//! - `scenarios` are worlds with something special to show, and `plot` draws one.

#![cfg(not(target_family = "wasm"))]

#[path = "../common/mod.rs"]
mod common;

mod checks;
mod client;
mod documents;
mod faults;
mod history;
mod isolate;
mod ledger;
mod network;
mod options;
mod plot;
mod random;
mod rooms;
mod run;
mod scenarios;
mod storage;
mod time;
mod truth;
mod workload;
mod world;

use run::{Run, random_runs};
use world::World;

#[test]
fn no_world_grants_units_twice_or_loses_acknowledged_units() {
    let (runs, steps) = random_runs(no_world_grants_units_twice_or_loses_acknowledged_units);
    for run in runs {
        let mut world = simulated(run, steps);
        let [offered, admitted] = [world.sum(|truth| truth.offered), world.sum(|truth| truth.admitted)];
        let is_busy = (offered > 100 || steps < 10_000) && admitted > 0;
        assert!(is_busy, "{offered} offered, {admitted} admitted (step {steps}, seed {})", world.run.seed);
        world.come_to_rest();
        world.report();
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 4] {
        let run = || {
            let options = options::Options::random(seed);
            let run = Run::of_test(the_same_seed_gives_the_same_history, seed, options);
            let mut world = simulated(run, 3_000);
            world.come_to_rest();
            world.report()
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn no_room_loses_a_message_or_lets_too_many_in() {
    let (mut seen, mut recovered, mut ended) = (0, 0, 0);
    for seed in rooms::seeds() {
        let rooms = rooms::simulated(seed, rooms::steps());
        let happened = rooms.happened.borrow();
        seen += happened.seen;
        recovered += happened.recovered;
        ended += happened.suspensions + happened.revocations;
    }
    assert!(seen > 1_000 && recovered > 10 && ended > 10, "{seen} seen, {recovered} recovered, {ended} ended");
}

#[test]
fn the_same_seed_gives_the_same_rooms() {
    assert_eq!(rooms::simulated(3, 2_000).report(), rooms::simulated(3, 2_000).report());
}

fn simulated(run: Run, steps: u64) -> World {
    let mut world = World::new(run, workload::ALL);
    for _ in 0..steps {
        world.step();
    }
    world.report();
    world
}

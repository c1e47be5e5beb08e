//! The ledger in simulated worlds. Messages are delayed, lost, doubled and overtaken; isolates die and are born, ledgers are
//! killed, or fail to write, and read what they had written; clocks step, plans change. What must hold is checked at every
//! step. `SEED=7 STEPS=10000000 cargo test --release --test sim` runs one world for longer.

#![cfg(not(target_family = "wasm"))]

mod plot;
mod world;

use tenantgate::model::bounds::{LEASE_MS, REFRESH_INTERVAL_MS};
use world::{Nature, START, World};

fn steps() -> u64 {
    std::env::var("STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(1_000_000)
}

const ALL: &[&str] = &["/quota", "/rate", "/both", "/strict", "/window", "/flight", "order", "reserve", "event"];

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
        let (offered, admitted, orders) = world.sums();
        println!("seed {seed}: {offered} offered, {admitted} admitted, {orders} messages");
        world.settle();
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
        for (counter, admitted) in &world.truth().quota {
            assert_eq!(world.booked(counter), *admitted, "seed {seed}: {counter}");
        }
        assert_eq!(world.truth().quota["t_0/month"], 5_000, "seed {seed}: all of it was used");
    }
}

/// A request that pays from a lease and asks the ledger for the rest is served, or refused by a limit: whatever others in its
/// isolate have paid and wait for.
#[test]
fn in_a_calm_world_nobody_finds_the_ledger_too_busy() {
    for seed in 1..=2 {
        let nature =
            Nature { rate: (400, 4, 1_000), slots: 1_000, quota: 400, isolates: 2, pause_ms: (1, 6), ..Nature::calm() };
        let mut world = World::new(seed, nature, &["/taxed", "/strict"]);
        for _ in 0..30_000 {
            world.step();
        }
        let truth = world.truth();
        assert!(truth.admitted > 400, "seed {seed}: {}", truth.admitted);
        assert_eq!(truth.unserved, 0, "seed {seed}: of {}", truth.offered);
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
    let used = world.truth().rate_cells as f64 / f64::from(allowed);
    println!("utilisation {used}, {} messages for {} requests", world.truth().orders, world.truth().offered);
    assert!(used >= 0.99, "{used}");
}

/// Steady load within a rate: next to nobody is refused.
#[test]
fn who_stays_within_a_rate_is_not_refused() {
    // 10 isolates, one request in 12.5 ms each: 800 a second.
    let world = utilisation(Nature { pause_ms: (5, 20), ..Nature::calm() }, &["/rate"], 60_000);
    let wrongly = world.truth().wrongly as f64 / world.truth().offered as f64;
    println!(
        "wrong refusals {wrongly}, {} refused of {}, {} messages",
        world.truth().refused,
        world.truth().offered,
        world.truth().orders
    );
    assert!(wrongly <= 0.001, "{wrongly}");
    assert!(world.truth().orders * 10 < world.truth().offered, "leases spare the ledger");
}

/// A quota that runs out: all of it is used, and few are refused while some is left.
#[test]
fn a_leased_quota_is_used_up() {
    let nature = Nature { quota: 50_000, pause_ms: (1, 9), ..Nature::calm() };
    let world = utilisation(nature, &["/quota"], 60_000);
    let used = world.truth().quota["t_0/month"];
    let wrongly = world.truth().wrongly as f64 / world.truth().offered as f64;
    println!(
        "{used} of 50000 used, wrong refusals {wrongly}, {} messages for {}",
        world.truth().orders,
        world.truth().offered
    );
    assert!(used >= 49_500, "{used}");
    assert!(wrongly <= 0.001, "{wrongly}");
}

/// A tenant beyond its limit is answered, wherever its ledger is: a refusal stands from when it is heard, for all who waited.
#[test]
fn beyond_a_limit_requests_are_answered_after_three_questions_at_most() {
    for way_ms in [1, 45, 75, 250, 750] {
        for path in [&["/quota"], &["/rate"], &["/window"]] as [&[&str]; 3] {
            let way = (way_ms, way_ms);
            let nature =
                Nature { quota: 10, isolates: 3, rate: (10, 10, 10_000), window: (10, 10_000), ..Nature::calm() };
            let nature = Nature { pause_ms: (5, 15), delay_ms: way, back_ms: way, ..nature };
            // A lease that is still growing takes a few questions more.
            let mut world = utilisation(nature, path, 10_000);
            world.forget_waits();
            while world.now < START + 30_000 {
                world.step();
            }
            let truth = world.truth();
            let trip_ms = 2 * way_ms;
            assert!(truth.longest_wait_ms <= 3 * trip_ms, "{path:?}, {trip_ms} ms away: {} ms", truth.longest_wait_ms);
            // All are answered but those who wait for the last questions.
            let answered = truth.admitted + truth.refused;
            let under_way = 3 * (2 * trip_ms / 5 + 1);
            assert!(
                answered + under_way >= truth.offered,
                "{path:?}, {trip_ms} ms away: {answered} of {}",
                truth.offered
            );
            assert!(truth.admitted >= 10, "{path:?}, {trip_ms} ms away: {}", truth.admitted);
        }
    }
}

/// One isolate has read a new record: within the life of a lease, and the pause between two fetches, all know of it.
#[test]
fn a_change_reaches_every_isolate_by_way_of_the_ledger() {
    let mut world = utilisation(Nature::calm(), &["/quota"], 15_000);
    assert_eq!(world.epochs(), [1; 10]);
    world.change_plan(0, 2_000_000_000);
    let end = world.now + LEASE_MS + REFRESH_INTERVAL_MS;
    while world.now < end {
        world.step();
    }
    assert_eq!(world.epochs(), [2; 10]);
    // Again at once: what was read a moment ago is not read again at once, and yet not forgotten.
    world.change_plan(0, 3_000_000_000);
    let end = world.now + LEASE_MS + REFRESH_INTERVAL_MS;
    while world.now < end {
        world.step();
    }
    assert_eq!(world.epochs(), [3; 10]);
}

//! Worlds that each show one guarantee: counts are exact without faults, leased limits are fully
//! used, answers come in time, and changes arrive.

use tenantgate::model::bounds::{LEASE_MS, REFRESH_INTERVAL_MS};

use crate::options::Options;
use crate::run::Run;
use crate::time::START;
use crate::workload::Operation::{self, Route};
use crate::world::World;

/// Returns a world after so many milliseconds.
pub fn after(ms: u64, run: Run, operations: &'static [Operation]) -> World {
    let mut world = World::new(run, operations);
    world.run_until(START + ms);
    world.report();
    world
}

/// Panics unless the condition holds. The message names the check, the step and the seed.
macro_rules! check {
    ($world:expr, $holds:expr, $check:literal, $($detail:tt)+) => {
        assert!(
            $holds, "{}: {} (step {}, seed {})",
            $check, format_args!($($detail)+), $world.steps, $world.run.seed
        )
    };
}
pub(crate) use check;

/// Without faults the ledger has booked exactly the units that were let through.
#[test]
fn a_calm_world_has_exact_counts() {
    for seed in 1..=5 {
        let options = Options { children: 3, child_quota: 2_000, quota: 5_000, ..Options::calm() };
        let run = Run::of_test(a_calm_world_has_exact_counts, seed, options);
        let mut world = World::new(run, &[Route("/quota")]);
        for _ in 0..40_000 {
            world.step();
        }
        world.come_to_rest();
        world.report();
        for (counter, admitted) in &world.truth().quota {
            let booked = world.ledgers[0].booked(counter);
            check!(world, booked == *admitted, "exact counts", "{counter} has {booked} of {admitted}");
        }
        let root = world.truth().quota["t_0/month"];
        check!(world, root == 5_000, "the quota is used up", "{root} of 5000");
    }
}

/// A request that pays from a lease and asks the ledger for the rest is served or refused by a
/// limit, whatever other requests of its isolate have paid or wait for.
#[test]
fn a_calm_world_never_finds_its_ledger_unavailable() {
    for seed in 1..=2 {
        let options = Options {
            rate_limit: 400,
            rate_burst: 4,
            slots: 1_000,
            quota: 400,
            isolates: 2,
            pause_ms: (1, 6),
            ..Options::calm()
        };
        let run = Run::of_test(a_calm_world_never_finds_its_ledger_unavailable, seed, options);
        let mut world = World::new(run, &[Route("/taxed"), Route("/strict")]);
        for _ in 0..30_000 {
            world.step();
        }
        world.report();
        let truth = world.truth();
        check!(world, truth.admitted > 400, "requests are served", "{} admitted", truth.admitted);
        check!(world, truth.unserved == 0, "no ledger is busy", "{} of {}", truth.unserved, truth.offered);
    }
}

/// Under steady load beyond a rate, at least 99 percent of what the rate allows is let through.
#[test]
fn a_leased_rate_is_fully_used() {
    // 10 isolates, one request in 5 ms each: 2,000 a second, twice the rate.
    let options = Options { pause_ms: (1, 9), ..Options::calm() };
    let world = after(60_000, Run::of_test(a_leased_rate_is_fully_used, 7, options), &[Route("/rate")]);
    let truth = world.truth();
    let used = truth.rate_units as f64 / f64::from(1_000 + 60 * 1_000);
    check!(world, used >= 0.99, "the rate is used to the full", "{used}");
}

/// Under steady load within a rate, at most one request in a thousand is refused.
#[test]
fn requests_within_a_leased_rate_pass() {
    // 10 isolates, one request in 12.5 ms each: 800 a second.
    let options = Options { pause_ms: (5, 20), ..Options::calm() };
    let world = after(60_000, Run::of_test(requests_within_a_leased_rate_pass, 7, options), &[Route("/rate")]);
    let truth = world.truth();
    let wrongly = truth.wrongly_refused as f64 / truth.offered as f64;
    check!(world, wrongly <= 0.001, "requests within the rate pass", "{wrongly} wrongly refused");
    let spared = truth.messages * 10 < truth.offered;
    check!(world, spared, "leases spare the ledger", "{} messages for {}", truth.messages, truth.offered);
}

/// A quota that runs out is used up, and few requests are refused while units are left.
#[test]
fn a_leased_quota_is_used_up() {
    let options = Options { quota: 50_000, pause_ms: (1, 9), ..Options::calm() };
    let world = after(60_000, Run::of_test(a_leased_quota_is_used_up, 7, options), &[Route("/quota")]);
    let truth = world.truth();
    let used = truth.quota["t_0/month"];
    let wrongly = truth.wrongly_refused as f64 / truth.offered as f64;
    check!(world, used >= 49_500, "the quota is used up", "{used}");
    check!(world, wrongly <= 0.001, "requests within the quota pass", "{wrongly} wrongly refused");
}

/// A tenant beyond its limit gets answers, however far away its ledger is, because one refusal
/// answers all requests that wait for it.
#[test]
fn a_request_beyond_a_limit_waits_for_at_most_three_questions() {
    for delay_ms in [1, 45, 75, 250, 750] {
        for operations in [&[Route("/quota")], &[Route("/rate")], &[Route("/window")]] as [&'static [Operation]; 3] {
            let options = Options {
                quota: 10,
                isolates: 3,
                rate_limit: 10,
                rate_burst: 10,
                rate_window_ms: 10_000,
                window_limit: 10,
                window_ms: 10_000,
                pause_ms: (5, 15),
                request_delay_ms: (delay_ms, delay_ms),
                response_delay_ms: (delay_ms, delay_ms),
                ..Options::calm()
            };
            let run = Run::of_test(a_request_beyond_a_limit_waits_for_at_most_three_questions, 7, options);
            // A lease that is still growing takes a few more questions, so the first waits are
            // left out.
            let mut world = after(10_000, run, operations);
            world.forget_waits();
            world.run_until(START + 30_000);
            world.report();
            check_answers(&world, 2 * delay_ms);
        }
    }
}

fn check_answers(world: &World, trip_ms: u64) {
    let (truth, operations) = (world.truth(), world.operations);
    let waited_ms = truth.longest_wait_ms;
    check!(world, waited_ms <= 3 * trip_ms, "answers in time", "{operations:?}, {trip_ms} ms away: {waited_ms} ms");
    // Only requests that wait for the last questions have no answer yet.
    let answered = truth.admitted + truth.refused;
    let waiting = 3 * (2 * trip_ms / 5 + 1);
    let all = answered + waiting >= truth.offered;
    check!(world, all, "answers to all", "{operations:?}, {trip_ms} ms away: {answered} of {}", truth.offered);
    let admitted = truth.admitted;
    check!(world, admitted >= 10, "the limit is used up", "{operations:?}, {trip_ms} ms away: {admitted}");
}

/// Invariant 30. After one isolate has read a new record, all isolates know it within the life of
/// a lease and the pause between two fetches.
#[test]
fn a_change_reaches_every_isolate_through_the_ledger() {
    let run = Run::of_test(a_change_reaches_every_isolate_through_the_ledger, 7, Options::calm());
    let mut world = after(15_000, run, &[Route("/quota")]);
    check_epochs(&mut world, 1);
    // The second change follows at once. An isolate that has just fetched the record does not fetch
    // it again at once, but must not forget the news.
    for (epoch, quota) in [(2, 2_000_000_000), (3, 3_000_000_000)] {
        world.change_plan(0, quota);
        world.run_until(world.schedule.now() + LEASE_MS + REFRESH_INTERVAL_MS);
        check_epochs(&mut world, epoch);
    }
    world.report();
}

fn check_epochs(world: &mut World, epoch: u64) {
    let found = world.epochs();
    let all = found.iter().all(|found| *found == epoch);
    check!(world, all, "invariant 30, every isolate knows of a change", "epochs {found:?}, not {epoch}");
}

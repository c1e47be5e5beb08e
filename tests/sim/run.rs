//! The world to simulate: its seed, its options, and the command that simulates it again.

use std::fmt;

use crate::options::{Options, parse};

/// Steps of all random worlds together: about ten seconds. `npm run test:slow` takes a million.
const DEFAULT_STEPS: u64 = 400_000;
/// The seeds of random worlds, unless `SEED` names one.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

/// A world to simulate.
#[derive(Debug, Clone)]
pub struct Run {
    pub seed: u64,
    pub options: Options,
    /// The command that simulates the same world.
    replay: String,
}

impl Run {
    /// A world of a test. `test` is the test itself, whose name is part of the command.
    pub fn of_test<T: Fn()>(_test: T, seed: u64, options: Options) -> Self {
        let path = std::any::type_name::<T>();
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        Self { seed, options, replay: format!("cargo test --no-default-features --test sim {name} -- --nocapture") }
    }
}

/// Reads random worlds from the environment: `SEED`, `SIM_STEPS` and the options. Returns them with
/// the number of steps of each.
pub fn random_runs<T: Fn() + Copy>(test: T) -> (Vec<Run>, u64) {
    let variable = |name: &str| std::env::var(name).ok();
    let steps = variable("SIM_STEPS").map_or(DEFAULT_STEPS, |value| parse("SIM_STEPS", &value));
    let seeds = variable("SEED").map_or(SEEDS.collect(), |value| vec![parse::<u64>("SEED", &value)]);
    let mut overrides: Vec<_> =
        std::env::vars().filter(|(name, _)| name.starts_with("SIM_") && name != "SIM_STEPS").collect();
    overrides.sort();
    let each = steps / seeds.len() as u64;
    let run = |seed| {
        let mut options = Options::random(seed);
        let mut settings = format!("SEED={seed} SIM_STEPS={each}");
        for (name, value) in &overrides {
            options.set(name, value);
            settings.push_str(&format!(" {name}={value}"));
        }
        let mut run = Run::of_test(test, seed, options);
        run.replay.insert_str(0, &format!("{settings} "));
        run
    };
    (seeds.into_iter().map(run).collect(), each)
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}\nreplay: {}\noptions:", self.seed, self.replay)?;
        self.options.list().into_iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

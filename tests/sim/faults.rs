//! Faults beyond the network's: isolates and ledgers crash, and clocks step.

use crate::world::World;

/// How far a clock steps at most, in milliseconds, forwards and backwards.
const LARGEST_CLOCK_STEP_MS: u64 = 30_000;

impl World {
    /// Lets faults happen, each with its probability.
    pub fn inject_faults(&mut self) {
        if self.random.chance(self.run.options.isolate_crashes) {
            let isolate = self.random.index(self.isolates.len());
            self.start_isolate(isolate);
        }
        if self.random.chance(self.run.options.ledger_crashes) {
            let family = self.random.index(self.ledgers.len());
            self.ledgers[family].restart();
        }
        if self.random.chance(self.run.options.clock_steps) {
            self.step_any_clock();
        }
        if self.random.chance(self.run.options.plan_changes) {
            self.change_any_plan();
        }
    }

    /// One clock in three that step is a ledger's.
    fn step_any_clock(&mut self) {
        let ahead_ms = self.random.below(2 * LARGEST_CLOCK_STEP_MS);
        let offset_ms = ahead_ms.cast_signed() - LARGEST_CLOCK_STEP_MS.cast_signed();
        let clock = if self.random.below(3) == 0 {
            let family = self.random.index(self.ledgers.len());
            &mut self.ledgers[family].clock
        } else {
            let isolate = self.random.index(self.isolates.len());
            &mut self.isolates[isolate].clock
        };
        clock.step_to(offset_ms);
    }
}

//! The options of a world: its size, its limits, and how often which fault happens.
//!
//! A seed gives every option a value. The environment overrides single options of random worlds:
//! `SIM_ISOLATES=3`, `SIM_REQUEST_DELAY_MS=5..30`.

use crate::random::{Random, Range};

/// A type of option, as the environment has it.
pub trait Knob: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> String;
}

impl Knob for u64 {
    fn parse(text: &str) -> Option<Self> {
        text.replace('_', "").parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Inclusive: `5..30`.
impl Knob for Range {
    fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once("..")?;
        let (low, high) = (u64::parse(low)?, u64::parse(high)?);
        (low <= high).then_some((low, high))
    }

    fn show(&self) -> String {
        format!("{}..{}", self.0, self.1)
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $variable:literal,)*) => {
        /// The options of one world.
        #[derive(Debug, Clone)]
        pub struct Options {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Options {
            /// Returns every option with its variable and its value.
            pub fn list(&self) -> Vec<(&'static str, String)> {
                vec![$(($variable, self.$field.show())),*]
            }

            /// Sets the option of a variable. Panics if the value is invalid.
            pub fn set(&mut self, variable: &str, value: &str) {
                match variable {
                    $($variable => self.$field = parse(variable, value),)*
                    _ => panic!("unknown option: {variable}"),
                }
            }
        }
    };
}

/// Returns the value of an option. Panics if it is invalid.
pub fn parse<T: Knob>(variable: &str, value: &str) -> T {
    T::parse(value).unwrap_or_else(|| panic!("invalid value of {variable}: {value}"))
}

options! {
    isolates: u64 = "SIM_ISOLATES",
    /// Families of tenants, each with a ledger of its own.
    families: u64 = "SIM_FAMILIES",
    /// Tenants below each root, each with a quota of its own.
    children: u64 = "SIM_CHILDREN",
    /// Milliseconds between two requests at one isolate.
    pause_ms: Range = "SIM_PAUSE_MS",
    /// Units that a request costs.
    cost: Range = "SIM_COST",
    /// Milliseconds that a message to a ledger takes.
    request_delay_ms: Range = "SIM_REQUEST_DELAY_MS",
    /// Milliseconds that a message to an isolate takes.
    response_delay_ms: Range = "SIM_RESPONSE_DELAY_MS",
    /// Of a million messages, so many are lost.
    lost: u64 = "SIM_LOST_PER_MILLION",
    /// Of a million messages, so many arrive twice.
    doubled: u64 = "SIM_DOUBLED_PER_MILLION",
    /// In a million steps, so many isolates crash; each is replaced.
    isolate_crashes: u64 = "SIM_ISOLATE_CRASHES_PER_MILLION",
    /// In a million steps, so many ledgers crash; each starts again from its disk.
    ledger_crashes: u64 = "SIM_LEDGER_CRASHES_PER_MILLION",
    /// Of a million writes, so many fail.
    write_failures: u64 = "SIM_WRITE_FAILURES_PER_MILLION",
    /// In a million steps, so many clocks step by up to half a minute.
    clock_steps: u64 = "SIM_CLOCK_STEPS_PER_MILLION",
    /// In a million steps, so many quotas change.
    plan_changes: u64 = "SIM_PLAN_CHANGES_PER_MILLION",
    /// Units a month of each root, until its plan changes.
    quota: u64 = "SIM_QUOTA",
    /// Units a month of each child.
    child_quota: u64 = "SIM_CHILD_QUOTA",
    /// Units that the rate admits in each of its windows.
    rate_limit: u64 = "SIM_RATE_LIMIT",
    /// Units that the rate admits at once.
    rate_burst: u64 = "SIM_RATE_BURST",
    rate_window_ms: u64 = "SIM_RATE_WINDOW_MS",
    /// Units that the sliding window admits.
    window_limit: u64 = "SIM_WINDOW_LIMIT",
    window_ms: u64 = "SIM_WINDOW_MS",
    /// Requests in flight at once.
    slots: u64 = "SIM_SLOTS",
}

impl Options {
    /// A world without faults.
    pub const fn calm() -> Self {
        Self {
            isolates: 10,
            families: 1,
            children: 0,
            pause_ms: (1, 20),
            cost: (1, 1),
            request_delay_ms: (5, 30),
            response_delay_ms: (5, 30),
            lost: 0,
            doubled: 0,
            isolate_crashes: 0,
            ledger_crashes: 0,
            write_failures: 0,
            clock_steps: 0,
            plan_changes: 0,
            quota: 1_000_000_000,
            child_quota: 0,
            rate_limit: 1_000,
            rate_burst: 1_000,
            rate_window_ms: 1_000,
            window_limit: 1_000,
            window_ms: 1_000,
            slots: 10,
        }
    }

    /// The world of a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5EED);
        // Ledgers are next door, on the same continent, on another one, or behind a bad line.
        let (near_ms, spread_ms) = [(1, 20), (20, 100), (90, 300), (700, 50)][usize::try_from(seed % 4).unwrap()];
        let far_ms = near_ms + random.within((1, spread_ms));
        // Fields are drawn in the order in which they are written here.
        Self {
            request_delay_ms: (near_ms, far_ms),
            // Responses take longer or shorter than requests.
            response_delay_ms: (1, far_ms * 2 - near_ms),
            isolates: random.within((1, 30)),
            families: random.within((1, 3)),
            pause_ms: (1, random.within((2, 400))),
            lost: random.within((0, 50_000)),
            doubled: random.within((0, 50_000)),
            isolate_crashes: random.within((0, 400)),
            ledger_crashes: random.within((0, 300)),
            // In every other world clocks are right, so that checks that depend on time apply.
            clock_steps: if seed.is_multiple_of(2) { random.within((1, 300)) } else { 0 },
            plan_changes: random.within((0, 100)),
            write_failures: random.within((0, 20_000)),
            quota: random.within((1, 20_000)),
            rate_limit: random.within((1, 2_000)),
            rate_burst: random.within((1, 1_000)),
            rate_window_ms: random.within((100, 10_000)),
            window_limit: random.within((1, 2_000)),
            window_ms: random.within((100, 10_000)),
            slots: random.within((1, 20)),
            children: random.within((0, 4)),
            child_quota: random.within((1, 8_000)),
            cost: (1, random.within((1, 5))),
        }
    }

    /// Returns whether all clocks are right.
    pub const fn clocks_are_right(&self) -> bool {
        self.clock_steps == 0
    }
}

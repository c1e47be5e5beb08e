//! The properties of every world, at every step. Numbers are those of the invariants in
//! ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::fmt;

use tenantgate::ledger::{LedgerResponse, Seen};
use tenantgate::model::bounds::{LEASE_ANSWER_MS, PATIENCE_MS};

use crate::documents::{STRICT_QUOTA, counter};
use crate::truth::Bucket;
use crate::workload::Task;
use crate::world::{World, index};

/// A property that is checked.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    DenialConsumesNothing,
    LimitsHold,
    AcknowledgedCountsOnce,
    LargestAllowanceHolds,
    /// Every unit of a child is a unit of its parent.
    LineIsDebited,
    /// An unlimited request is never refused.
    UnlimitedIsAllowed,
    /// A request waits no longer than its deadline.
    WaitsEnd,
    /// Everything that clients repeat is acknowledged in the end.
    TasksEnd,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DenialConsumesNothing => "invariant 2, a denial consumes nothing",
            Self::LimitsHold => "invariant 22, no more is let through than a limit allows",
            Self::AcknowledgedCountsOnce => "invariant 23, what is acknowledged is counted, once",
            Self::LargestAllowanceHolds => "invariant 55, no more passes than the largest allowance",
            Self::LineIsDebited => "check: every unit of a child is a unit of its parent",
            Self::UnlimitedIsAllowed => "check: what is unlimited is allowed (invariant 8)",
            Self::WaitsEnd => "check: no request waits beyond its deadline",
            Self::TasksEnd => "check: every task is acknowledged in the end",
        })
    }
}

/// Limits and metrics that count tasks.
const TASKS: [&str; 3] = ["orders", "jobs", "tokens"];

impl World {
    /// Panics unless a property holds. The message names the check, the step and the seed.
    #[track_caller]
    pub fn require(&self, check: Check, holds: bool, detail: impl FnOnce() -> String) {
        assert!(holds, "{check}: {} (step {}, seed {})", detail(), self.steps, self.run.seed);
    }

    /// A ledger has answered; its root's quota has booked so many units before and after.
    pub fn check_response(&self, response: &LedgerResponse, before: u64, after: u64) {
        let holds = response.allowed || after <= before;
        self.require(Check::DenialConsumesNothing, holds, || format!("{before} units were booked, now {after}"));
    }

    /// A ledger has answered to a usage event.
    pub fn check_event(&self, response: &LedgerResponse) {
        let counted = response.allowed && response.seen != Some(Seen::Reused);
        self.require(Check::UnlimitedIsAllowed, counted, || format!("{response:?}"));
    }

    /// A task has its answer.
    pub fn check_task(&self, task: &Task, allowed: bool) {
        self.require(Check::UnlimitedIsAllowed, allowed, || format!("{task:?} was refused"));
    }

    /// A request has waited so long for the answer to another one's question. Where clocks step,
    /// its isolate cannot know how long that is.
    pub fn check_wait(&self, waited_ms: u64) {
        let holds = !self.run.options.clocks_are_right() || waited_ms <= PATIENCE_MS + LEASE_ANSWER_MS;
        self.require(Check::WaitsEnd, holds, || format!("a request has waited for {waited_ms} ms"));
    }

    /// A request of a family was admitted. Where clocks step, limits by time are not exact.
    pub fn check_admissions(&self, family: u64) {
        let (ledger, options) = (&self.ledgers[index(family)], &self.run.options);
        let truth = &ledger.truth;
        let limit = |name: &str, used: u64, limit: u64| {
            self.require(Check::LimitsHold, used <= limit, || {
                format!("{used} of {limit} by {name} in family {family}")
            });
        };
        if options.clocks_are_right() {
            limit("the rate (units × window)", truth.rate.fill, Bucket::capacity(options));
            limit("the window", truth.window_units(), options.window_limit);
            limit("the slots", truth.flights.len() as u64, options.slots);
        }
        limit("the strict quota", truth.strict, STRICT_QUOTA);
        let root = counter(family, 0, "month");
        for (counter, used) in &truth.quota {
            if *counter == root {
                let largest = ledger.records.largest_quota;
                let detail = || format!("{used} of {largest} were let through on {counter}");
                self.require(Check::LargestAllowanceHolds, *used <= largest, detail);
            } else {
                limit(counter, *used, options.child_quota);
            }
        }
    }

    /// The units that a ledger has booked agree with the truth.
    pub fn check_ledger(&self, family: u64) {
        let ledger = &self.ledgers[index(family)];
        let booked = |tenant| ledger.booked(&counter(family, tenant, "month"));
        let (root, largest) = (booked(0), ledger.records.largest_quota);
        self.require(Check::LargestAllowanceHolds, root <= largest, || format!("{root} booked of {largest}"));
        let children: u64 = (1..=self.run.options.children).map(booked).sum();
        let detail = || format!("children have {children} units, their parent {root}");
        self.require(Check::LineIsDebited, children <= root, detail);
        for (counter, admitted) in &ledger.truth.quota {
            // A ledger books units before it lets a request through.
            let booked = ledger.booked(counter);
            let detail = || format!("{booked} of {admitted} booked on {counter}");
            self.require(Check::AcknowledgedCountsOnce, booked >= *admitted, detail);
        }
        for what in TASKS {
            let of = |units: &BTreeMap<&'static str, u64>| units.get(what).copied().unwrap_or(0);
            let (acknowledged, sent) = (of(&ledger.truth.acknowledged), of(&ledger.truth.sent));
            let counted = ledger.counted(what);
            // A reservation may hold more than will be used.
            let holds = counted >= acknowledged && (what == "jobs" || counted <= sent);
            let detail = || format!("{counted} {what} counted, {acknowledged} acknowledged, {sent} sent");
            self.require(Check::AcknowledgedCountsOnce, holds, detail);
        }
    }

    /// Clients have stopped, and every task has had time to be acknowledged.
    pub fn check_tasks(&self) {
        let open = self.tasks.len();
        self.require(Check::TasksEnd, open == 0, || format!("{open} tasks were never acknowledged"));
    }

    /// Everything that was sent to a ledger is counted, once.
    pub fn check_ledger_at_rest(&self, family: u64) {
        self.check_ledger(family);
        let ledger = &self.ledgers[index(family)];
        for what in TASKS {
            let sent = ledger.truth.sent.get(what).copied().unwrap_or(0);
            let counted = ledger.counted(what);
            let detail = || format!("{counted} {what} counted in family {family}, {sent} sent");
            self.require(Check::AcknowledgedCountsOnce, counted == sent, detail);
        }
    }
}

//! Changes in mid-period. Changes of a limit's period, kind and anchor lose no acknowledged units,
//! and changes back and forth gain no allowance.

#![cfg(not(target_family = "wasm"))]

use proptest::prelude::*;
use tenantgate::ledger::{BudgetRef, Charge, CounterOp, Hold, LeaseClaim, LedgerRequest, LedgerState, Meter};
use tenantgate::model::UnixMillis;
use tenantgate::model::period::{Period, bounds};

const DAY_MS: u64 = 86_400_000;
/// 28 November 2026, 10:40 UTC.
const START: u64 = 1_795_862_400_000;
const LIMIT: u64 = 10;

/// The settings of a limit at one time.
#[derive(Debug, Clone, Copy)]
enum Setting {
    /// A quota with its period and its anchor, in milliseconds before [`START`].
    Quota(Period, u64),
    Rate,
    Window,
}

impl Setting {
    fn meter(self, now: u64) -> Meter {
        match self {
            Self::Quota(period, before_ms) => {
                let (starts, ends) = bounds(period, UnixMillis::new(START - before_ms), UnixMillis::new(now));
                Meter::Quota { limit: Some(LIMIT), starts_ms: starts.get(), ends_ms: ends.get(), over: false }
            }
            Self::Rate => Meter::rate(LIMIT, LIMIT, 1_000_000),
            Self::Window => Meter::Window { limit: Some(LIMIT), window_ms: 1_000_000 },
        }
    }
}

fn period() -> impl Strategy<Value = Period> {
    prop::sample::select(vec![Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year])
}

fn quota() -> impl Strategy<Value = Setting> {
    (period(), 1..400 * DAY_MS).prop_map(|(period, before_ms)| Setting::Quota(period, before_ms))
}

fn setting() -> impl Strategy<Value = Setting> {
    prop_oneof![4 => quota(), 1 => Just(Setting::Rate), 1 => Just(Setting::Window)]
}

fn charge<'a>(meter: Meter, op: CounterOp) -> LedgerRequest<'a> {
    let charge = Charge { counter: "t/calls", meter, op, shadow: false };
    LedgerRequest { charges: std::iter::once(charge).collect(), ..LedgerRequest::default() }
}

fn claim<'a>(meter: Meter, (spent, need): (u64, u64)) -> LedgerRequest<'a> {
    let budgets = std::iter::once(BudgetRef { counter: "t/calls", meter }).collect();
    let claim = LeaseClaim { lease: "i/1", budgets, spent, returned: 0, need, waiting: 0, want: 0 };
    LedgerRequest { claims: std::iter::once(claim).collect(), ..LedgerRequest::default() }
}

fn used(book: &mut LedgerState, setting: Setting, now: u64) -> u64 {
    let dry_run = LedgerRequest { dry_run: true, ..charge(setting.meter(now), CounterOp::Take(0)) };
    book.answer(&dry_run, UnixMillis::new(now)).verdicts[0].used
}

proptest! {
    /// All settings that a limit has at the same time share one allowance.
    #[test]
    fn settings_of_one_moment_share_one_allowance(settings in prop::collection::vec((setting(), 0_u64..5), 1..40)) {
        let (mut book, mut passed) = (LedgerState::default(), 0);
        for (setting, units) in settings {
            let outcome = book.answer(&charge(setting.meter(START), CounterOp::Take(units)), UnixMillis::new(START));
            passed += if outcome.allowed { units } else { 0 };
            prop_assert!(passed <= LIMIT, "{passed} passed under {setting:?}");
        }
    }

    /// However often an anchor moves, each month that passes has one allowance. The month in which
    /// the test starts has another one.
    #[test]
    fn moving_an_anchor_grants_no_extra_allowance(moves in prop::collection::vec((0..400 * DAY_MS, 0..12 * DAY_MS), 1..80)) {
        let (mut book, mut now, mut passed) = (LedgerState::default(), START, 0);
        for (before_ms, pause_ms) in moves {
            now += pause_ms;
            while book.answer(&charge(Setting::Quota(Period::Month, before_ms).meter(now), CounterOp::Take(1)), UnixMillis::new(now)).allowed {
                passed += 1;
            }
            let months = (now - START) / (28 * DAY_MS);
            prop_assert!(passed <= LIMIT * (months + 2), "{passed} in {months} months");
        }
    }

    /// Units that are taken, settled or spent stay counted, whatever the period and the anchor
    /// become, and however far behind the clock of a request is.
    #[test]
    fn acknowledged_units_stay_counted_through_all_changes(steps in prop::collection::vec((quota(), 0_u8..4, 1_u64..5, 0_u64..2_000), 1..60)) {
        let (mut book, mut acknowledged, mut spent) = (LedgerState::default(), 0, 0);
        let now = UnixMillis::new(START);
        // No other period in this test starts after the end of this one.
        acknowledged += u64::from(book.answer(&charge(Setting::Quota(Period::Year, 0).meter(START), CounterOp::Take(1)), now).allowed);
        for (index, (setting, what, units, behind_ms)) in steps.into_iter().enumerate() {
            // Some clocks are behind, so that their period may be the one before.
            let meter = |limit| match setting.meter(START - behind_ms) {
                Meter::Quota { starts_ms, ends_ms, over, .. } => Meter::Quota { limit, starts_ms, ends_ms, over },
                other => other,
            };
            let name = format!("t h{index}");
            match what {
                0 => acknowledged += if book.answer(&charge(meter(Some(300)), CounterOp::Take(units)), now).allowed { units } else { 0 },
                1 => {
                    let hold = LedgerRequest { hold: Some(Hold { name: &name, for_ms: 60_000, renewal: None }), ..charge(meter(None), CounterOp::Hold(units)) };
                    prop_assert!(book.answer(&hold, now).allowed);
                    let settle = LedgerRequest { settle: Some(&name), ..charge(meter(None), CounterOp::Settle(units)) };
                    prop_assert!(book.answer(&settle, now).allowed);
                    acknowledged += units;
                }
                2 => {
                    prop_assert!(book.answer(&claim(meter(None), (spent, units)), now).allowed);
                    spent += units;
                    acknowledged += units;
                }
                _ => {
                    let happened = LedgerRequest { settle: Some("none"), ..charge(meter(None), CounterOp::Settle(units)) };
                    book.answer(&happened, now);
                    acknowledged += units;
                }
            }
            prop_assert!(used(&mut book, setting, START) >= acknowledged, "{acknowledged}, {setting:?}");
        }
        // The last claim leaves the lease without open units, so no units stay set aside.
        book.answer(&claim(Setting::Quota(Period::Month, 1).meter(START), (spent, 0)), now);
        prop_assert!(book.get("t/calls").is_none_or(|counter| counter.leased() == 0));
    }
}

#[test]
fn the_period_of_a_moved_anchor_starts_after_the_current_one_ends() {
    let month = |before_ms, now| Setting::Quota(Period::Month, before_ms).meter(now);
    let mut book = LedgerState::default();
    let mut take = |meter, now| book.answer(&charge(meter, CounterOp::Take(LIMIT)), UnixMillis::new(now)).allowed;
    let next = bounds(Period::Month, UnixMillis::new(START), UnixMillis::new(START)).1.get();
    assert!(take(month(0, START), START));
    // The anchor moves back by ten days. The next boundary lies before the end of the current
    // period, so the new period starts at the boundary after it.
    assert!(!take(month(10 * DAY_MS, START), START));
    assert!(!take(month(10 * DAY_MS, next - 9 * DAY_MS), next - 9 * DAY_MS));
    assert!(!take(month(10 * DAY_MS, next + DAY_MS), next + DAY_MS));
    assert!(take(month(10 * DAY_MS, next + 22 * DAY_MS), next + 22 * DAY_MS));
}

#[test]
fn a_clock_that_lags_counts_in_the_period_that_has_begun() {
    let setting = Setting::Quota(Period::Month, 0);
    let next = bounds(Period::Month, UnixMillis::new(START), UnixMillis::new(START)).1.get();
    let mut book = LedgerState::default();
    for (now, units) in [(START, 4), (next, 1), (next - 1, 2)] {
        assert!(book.answer(&charge(setting.meter(now), CounterOp::Take(units)), UnixMillis::new(now)).allowed);
    }
    assert_eq!(used(&mut book, setting, next), 3);
}

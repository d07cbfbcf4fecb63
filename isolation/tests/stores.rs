//! The checkers against a store that keeps its promise, and against stores with a planted flaw.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod store;

use isolation::{Bank, Expect, Level, Order, Report, check, parse, to_lines};
use proptest::prelude::*;
use store::{Flaw, run};

/// Enough for every shape to meet every other one.
const TRANSACTIONS: u64 = 600;

fn judged(seed: u64, flaw: Flaw, level: Level, order: Order) -> Report {
    let expect = Expect {
        level,
        order,
        bank: Bank::default(),
    };
    check(&run(seed, flaw, TRANSACTIONS), &expect)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn serial_executions_are_never_flagged(seed in any::<u64>()) {
        let report = judged(seed, Flaw::Serial, Level::Serializable, Order::RealTime);
        prop_assert!(report.forbidden.is_empty(), "{:#?}", report.forbidden);
    }

    #[test]
    fn snapshot_isolation_is_never_flagged_as_such_and_its_skew_is_where_serial_order_is_asked_for(seed in any::<u64>()) {
        for order in [Order::RealTime, Order::Session] {
            let report = judged(seed, Flaw::None, Level::Snapshot, order);
            prop_assert!(report.forbidden.is_empty(), "{:#?}", report.forbidden);
            prop_assert!(!report.allowed.is_empty());
        }
        let report = judged(seed, Flaw::None, Level::Serializable, Order::RealTime);
        let kinds = report.kinds();
        prop_assert!(kinds.iter().any(|kind| kind.starts_with("G2-item")), "{kinds:?}");
    }

    #[test]
    fn a_history_reads_back_as_it_was_written(seed in any::<u64>()) {
        let records = run(seed, Flaw::None, 40);
        prop_assert_eq!(parse(&to_lines(&records)).unwrap(), records);
    }
}

/// Every one of a dozen seeds is flagged, and some with the flaw's own name.
fn flagged(flaw: Flaw, order: Order, name: &str) {
    let mut named = 0;
    for seed in 0..12 {
        let report = judged(seed, flaw, Level::Snapshot, order);
        let kinds = report.kinds();
        assert!(
            !kinds.is_empty(),
            "{flaw:?} with seed {seed} went unnoticed"
        );
        named += usize::from(kinds.iter().any(|kind| kind.starts_with(name)));
    }
    assert!(named > 0, "{flaw:?} was never called {name}");
}

#[test]
fn lost_updates_are_found() {
    flagged(Flaw::LostUpdate, Order::RealTime, "lost-update");
}

#[test]
fn stale_snapshots_are_found_in_real_time() {
    flagged(Flaw::StaleRead, Order::RealTime, "G-single-item-realtime");
}

#[test]
fn stale_snapshots_are_found_by_a_session_that_misses_its_own_commit() {
    flagged(Flaw::StaleRead, Order::Session, "G-single-item-process");
}

#[test]
fn dirty_reads_are_found() {
    flagged(Flaw::DirtyRead, Order::RealTime, "G1a");
}

#[test]
fn statements_of_a_transaction_at_different_snapshots_are_found() {
    flagged(Flaw::NonRepeatable, Order::RealTime, "internal");
}

#[test]
fn long_forks_are_found() {
    flagged(Flaw::LongFork, Order::Session, "G-nonadjacent-item");
}

#[test]
fn reads_of_what_was_rolled_back_are_found() {
    flagged(Flaw::AbortedRead, Order::RealTime, "G1a");
}

#[test]
fn commits_that_were_answered_and_lost_are_found() {
    flagged(Flaw::LostCommit, Order::RealTime, "lost-row");
}

#[test]
fn values_of_sequences_that_are_given_twice_are_found() {
    flagged(Flaw::NumberTwice, Order::RealTime, "value-given-twice");
}

#[test]
fn lists_whose_order_changes_are_found() {
    flagged(Flaw::Shuffled, Order::RealTime, "incompatible-order");
}

/// How long the checkers take, and what they hold: `cargo test --release -p isolation --test stores -- --ignored --nocapture`, with the number of
/// transactions in `TRANSACTIONS`.
#[test]
#[ignore = "a measurement"]
fn the_time_of_a_long_history() {
    let wanted = std::env::var("TRANSACTIONS").ok();
    let transactions = wanted.map_or(20_000, |wanted| wanted.parse().unwrap());
    let records = run(1, Flaw::None, transactions);
    for level in [Level::Snapshot, Level::Serializable] {
        for order in [Order::RealTime, Order::Session] {
            let expect = Expect {
                level,
                order,
                bank: Bank::default(),
            };
            let began = std::time::Instant::now();
            let report = check(&records, &expect);
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let peak = status.lines().find(|line| line.starts_with("VmHWM"));
            println!(
                "{level:?} {order:?}: {} records, {} allowed, {} forbidden, {:.1} s, {}",
                records.len(),
                report.allowed.len(),
                report.forbidden.len(),
                began.elapsed().as_secs_f64(),
                peak.unwrap_or_default()
            );
        }
    }
}

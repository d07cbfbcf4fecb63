//! Fixed seeds and fresh ones: whatever breaks and whoever lies, nothing is violated.

use std::ops::Range;

use sim::{Fault, Kind, Latency, Plan, soak};

/// Runs a range and reports every seed that fails, to be replayed with
/// `cargo run -p sim -- --seed N`.
fn pass(seeds: Range<u64>) {
    pass_as(Plan::of, seeds);
}

fn pass_as(plan: fn(u64) -> Plan, seeds: Range<u64>) {
    let mut failed = Vec::new();
    soak::run(seeds, 1, plan, |seed, outcome, _| {
        if let Err(violation) = outcome {
            failed.push(format!("seed {seed}: {violation}"));
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn fixed_seeds_hold_from_0() {
    pass(0..400);
}

#[test]
fn fixed_seeds_hold_from_400() {
    pass(400..800);
}

#[test]
fn fixed_seeds_hold_from_800() {
    pass(800..1_200);
}

/// Heavy liars, spare replicas.
#[test]
fn weighted_seeds_hold() {
    pass_as(Plan::with_weights, 0..300);
}

/// MAC vectors, right for all, for some, for one.
#[test]
fn seeds_with_mac_vectors_hold() {
    pass_as(Plan::with_macs, 0..300);
}

/// Majorities, no liars, many crashes.
#[test]
fn crash_only_seeds_hold() {
    pass_as(Plan::crash_only, 0..400);
}

/// Members come and go, keys change, liars among them.
#[test]
fn seeds_whose_view_changes_hold() {
    pass_as(Plan::reconfiguring, 0..200);
}

#[test]
fn more_seeds_whose_view_changes_hold() {
    pass_as(Plan::reconfiguring, 200..400);
}

/// Leaders that are slow rather than dead: with the third one at the latest, requests are ordered fast (the fault NeverWatch
/// of the mutation table shows that they are not without the watch).
#[test]
fn seeds_with_slow_leaders_hold() {
    let mut failed = Vec::new();
    soak::run(0..5, 1, Plan::with_slow_leaders, |seed, outcome, _| {
        if let Err(violation) = outcome {
            failed.push(format!("seed {seed}: {violation}"));
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Seeds that once failed.
#[test]
fn seeds_that_once_failed_hold() {
    // A replica alone in its regency kept what waited with it to itself.
    pass_as(Plan::byzantine, 7_355_965_112_649..7_355_965_112_650);
    // A crash-only leader that restarted proposed another value in its regency.
    for seed in [19, 35, 214, 24_911] {
        pass_as(Plan::crash_only, seed..seed + 1);
    }
    // What was accepted in flight behind a value that was not decided was held against the same regency of the next view.
    pass(7_356_012_437_848..7_356_012_437_849);
    // An ACCEPT was compared with a STOPDATA of the view before, said again after a loss of power.
    pass(22_390..22_391);
    // A restart signed its votes with a key that the view did not name any more.
    for seed in [18, 292] {
        pass_as(Plan::reconfiguring, seed..seed + 1);
    }
}

/// Seeds that no run had before: they begin at the second in which the test is run.
fn fresh(part: u64) {
    let since = std::time::UNIX_EPOCH.elapsed();
    let first = (since.map_or(1 << 32, |since| since.as_secs()) << 12) + part * 400;
    println!("fresh seeds from {first}");
    pass(first..first + 400);
}

#[test]
fn fresh_seeds_hold() {
    fresh(0);
}

#[test]
fn more_fresh_seeds_hold() {
    fresh(1);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 59, 77, 101] {
        assert_eq!(sim::run(seed, false), sim::run(seed, false));
    }
}

#[test]
fn the_seeds_reach_what_they_are_meant_to_reach() {
    let plans: Vec<Plan> = (0..200).map(Plan::byzantine).collect();
    let count = |wanted: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| wanted(plan)).count();
    for n in 4..=10 {
        assert!(count(&|plan| plan.n == n) > 0, "no cluster of {n}");
    }
    assert!(count(&|plan| !plan.byzantine.is_empty()) > 100);
    assert!(count(&|plan| plan.byzantine.len() > 1 && plan.collude) > 2);
    assert!(count(&|plan| plan.latency == Latency::FiveRegions) > 10);
    assert!(count(&|plan| !plan.lying_clients.is_empty()) > 60);
    let broken = |wanted: &dyn Fn(&Fault) -> bool| {
        count(&|plan| plan.faults.iter().any(|(_, fault)| wanted(fault)))
    };
    assert!(broken(&|fault| matches!(fault, Fault::Crash { .. })) > 80);
    assert!(broken(&|fault| matches!(fault, Fault::CrashAll { .. })) > 10);
    assert!(broken(&|fault| matches!(fault, Fault::Pause { .. })) > 20);
    assert!(broken(&|fault| matches!(fault, Fault::OneWay { .. })) > 20);
    assert!(broken(&|fault| matches!(fault, Fault::FullDisk { .. })) > 10);
    assert!(broken(&|fault| matches!(fault, Fault::ClockStep { .. })) > 10);
    let totals = soak::run(0..200, 2, Plan::byzantine, |_, _, _| {}).all();
    assert!(
        totals.regencies > 200 && totals.heights > 2_000,
        "{totals:?}"
    );
}

#[test]
fn the_seeds_reach_crashes_and_changes_of_all_sorts() {
    let plans: Vec<Plan> = (0..300).map(Plan::reconfiguring).collect();
    let changes = || plans.iter().flat_map(|plan| plan.changes.iter());
    for wanted in [
        "Add(None",
        "Add(Some",
        "Remove",
        "Replace",
        "Renew",
        "RotateReplica",
        "RotateClient",
        "Faults",
        "Weights",
        "Leader",
        "Both",
        "Late",
        "Again",
        "Usurp",
    ] {
        let named = |intent| format!("{intent:?}").starts_with(wanted);
        let count = changes().filter(|(_, intent)| named(intent)).count();
        assert!(count > 10, "{wanted}: {count}");
    }
    let report = soak::run(0..150, 2, Plan::reconfiguring, |_, _, _| {});
    let (calm, lied) = (
        report.of(Kind::Reconfiguration, false),
        report.of(Kind::Reconfiguration, true),
    );
    assert!(calm.views > 50 && lied.views > 80, "{}", report.table());
    assert!(lied.lies > 5_000 && calm.installed + lied.installed > 5);
    let crashes = soak::run(0..100, 2, Plan::crash_only, |_, _, _| {}).all();
    assert!(
        crashes.crashes > 200 && crashes.regencies > 100,
        "{crashes:?}"
    );
    assert_eq!((crashes.lies, crashes.failed), (0, 0));
}

#[test]
fn each_kind_has_its_share_of_the_seeds() {
    for kind in Kind::ALL {
        let share = (0..1_000).filter(|seed| Kind::of(*seed) == kind).count();
        assert!(share > 30, "{kind:?}: {share}");
    }
}

//! Fixed seeds: whatever breaks and whoever lies, nothing is violated.

/// Runs a range and reports every seed that fails, to be replayed with
/// `cargo run -p sim -- --seed N`.
fn pass(seeds: std::ops::Range<u64>) {
    let failed: Vec<String> = seeds
        .filter_map(|seed| {
            sim::run(seed, false)
                .err()
                .map(|error| format!("seed {seed}: {error}"))
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn seeds_0_to_200_hold() {
    pass(0..200);
}

#[test]
fn seeds_200_to_400_hold() {
    pass(200..400);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 59, 77] {
        assert_eq!(sim::run(seed, false), sim::run(seed, false));
    }
}

#[test]
fn the_seeds_reach_what_they_are_meant_to_reach() {
    let (mut liars, mut crashes, mut regencies, mut large) = (0, 0, 0, 0);
    for seed in 0..100 {
        let plan = sim::Plan::of(seed);
        liars += usize::from(!plan.byzantine.is_empty());
        large += usize::from(plan.n == 7);
        let faults = plan.faults.iter().map(|(_, fault)| fault);
        crashes += faults
            .filter(|fault| matches!(fault, sim::Fault::Crash { .. }))
            .count();
        regencies += sim::run(seed, false).map_or(0, |summary| summary.regency);
    }
    assert!(
        liars > 40 && crashes > 40 && regencies > 50 && large > 5,
        "{liars} {crashes} {regencies} {large}"
    );
}

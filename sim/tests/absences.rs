//! Replicas that were away for longer than their peers' logs reach come back by a checkpoint, though up to f liars
//! lie about it; nothing else is violated, and no correct replica ever takes over a false state.

use sim::{Cluster, Plan};

fn run(seed: u64) -> Result<sim::Summary, String> {
    Cluster::new(Plan::with_absences(seed), seed, false).run()
}

fn pass(seeds: std::ops::Range<u64>) {
    let failed: Vec<String> = seeds
        .filter_map(|seed| run(seed).err().map(|error| format!("seed {seed}: {error}")))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn absences_0_to_60_hold() {
    pass(0..60);
}

#[test]
fn absences_60_to_120_hold() {
    pass(60..120);
}

/// A checkpoint whose decision was not durable yet outlived a power loss of all; nobody could serve or repeat that
/// decision, and the others waited for it.
#[test]
fn a_checkpoint_never_outlives_its_decision() {
    pass(100..101);
}

#[test]
fn the_seeds_reach_state_transfer_among_liars() {
    let (mut installed, mut among_liars, mut large) = (0, 0, 0);
    for seed in 0..60 {
        let plan = Plan::with_absences(seed);
        let taken = run(seed).map_or(0, |summary| summary.installed);
        installed += taken;
        among_liars += u64::from(!plan.byzantine.is_empty()) * taken;
        large += u64::from(plan.n == 7) * taken;
    }
    assert!(
        installed > 8 && among_liars > 5 && large > 0,
        "{installed} {among_liars} {large}"
    );
}

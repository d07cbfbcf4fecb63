//! Is the model what the code does? Real cores, three of them, are driven through random schedules
//! with a Byzantine fourth, crashes and lost writes to disk. Whatever becomes durable at one of
//! them must be a step that the model allows in its state: so every run of the cores is one of the
//! model's, which are explored whole.

mod walk;

use std::collections::BTreeSet;

use consensus::Mutation;
use model::Instance;
use walk::Walk;

const SEEDS: std::ops::Range<u64> = 0..1_600;

#[test]
fn whatever_the_cores_do_is_a_step_of_the_model() {
    let instance = Instance::new(3, 2, None);
    let mut seen = BTreeSet::new();
    let mut counts = walk::Counts::default();
    for seed in SEEDS {
        let mut walk = Walk::new(seed, &instance, None);
        if let Err(deviation) = walk.run() {
            panic!("seed {seed}: {deviation}");
        }
        seen.extend(walk.states);
        counts.add(&walk.counts);
    }
    println!("{} states of the model, {counts:?}", seen.len());
    assert!(seen.len() > 500, "only {} states", seen.len());
    assert!(counts.decided.iter().all(|times| *times > 0), "{counts:?}");
    let others = [counts.free, counts.bound, counts.closed, counts.restarts];
    assert!(others.iter().all(|times| *times > 20), "{counts:?}");
}

/// Cores with a fault in this phase leave the model, in the way that the row tells.
#[test]
fn faults_planted_in_the_cores_are_noticed() {
    let table: [(Mutation, &[&str]); 6] = [
        (Mutation::QuorumMinusOne, &["Accept", "Decide"]),
        (Mutation::DropLockCheck, &["Start"]),
        (Mutation::AcceptOldRegency, &["Accept"]),
        (Mutation::WriteTwice, &["Write"]),
        (Mutation::HideVotes, &["StopState"]),
        (Mutation::SkipStateSignature, &["Start"]),
    ];
    let instance = Instance::new(3, 2, None);
    for (planted, expected) in table {
        let mut walks = SEEDS.map(|seed| Walk::new(seed, &instance, Some(planted)));
        let found = walks.find_map(|mut walk| walk.run().err());
        let found = found.unwrap_or_else(|| panic!("{planted:?} goes unnoticed"));
        let known = expected.iter().any(|start| found.starts_with(start));
        assert!(known, "{planted:?}: {found}");
    }
}

/// A model that is narrower than the code is noticed.
#[test]
fn a_step_that_the_model_forbids_is_told() {
    let mut narrow = Instance::new(3, 2, None);
    narrow.writes_to_accept += 1;
    let mut walks = SEEDS.map(|seed| Walk::new(seed, &narrow, None));
    let deviation = walks.find_map(|mut walk| walk.run().err());
    let deviation = deviation.expect("the cores accept with three WRITEs");
    assert!(deviation.starts_with("Accept"), "{deviation}");
}

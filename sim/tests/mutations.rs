//! Do the checkers bite? Each fault of this table, planted in the core, is caught by the
//! simulator within a fixed range of seeds, by one of the checkers expected to catch it.

use consensus::Mutation;
use sim::{Cluster, Plan};

/// Seeds that each fault is tried on; an unplanted core passes them all (`seeds.rs`).
const SEEDS: std::ops::Range<u64> = 0..400;

const TABLE: &[(Mutation, &[&str])] = &[
    (Mutation::QuorumMinusOne, &["agreement", "proof"]),
    (Mutation::SkipPersist, &["durability"]),
    (Mutation::DropLockCheck, &["agreement", "contradiction"]),
    (Mutation::AcceptOldRegency, &["agreement", "promise"]),
    (Mutation::SkipRequestSignature, &["validity"]),
    (Mutation::SkipAcceptSignature, &["proof"]),
    (Mutation::SkipWindowCheck, &["validity"]),
    (Mutation::WriteTwice, &["contradiction"]),
    (Mutation::HideVotes, &["agreement", "promise"]),
    (Mutation::SkipProofCheck, &["agreement", "proof"]),
    (Mutation::SkipStateSignature, &["agreement"]),
    (Mutation::NeverStop, &["liveness"]),
];

fn caught(mutation: Mutation) -> Option<(u64, String)> {
    SEEDS.clone().find_map(|seed| {
        let mut plan = Plan::of(seed);
        plan.settings.mutation = Some(mutation);
        let violation = Cluster::new(plan, seed, false).run().err()?;
        Some((seed, violation))
    })
}

#[test]
fn every_planted_fault_is_caught() {
    let mut missed = Vec::new();
    for (mutation, expected) in TABLE {
        match caught(*mutation) {
            Some((seed, violation)) => {
                println!("{mutation:?}: seed {seed}: {violation}");
                let checker = violation.split(':').next().unwrap_or_default();
                if !expected.contains(&checker) {
                    missed.push(format!(
                        "{mutation:?}: caught by {checker}, not by {expected:?}"
                    ));
                }
            }
            None => missed.push(format!("{mutation:?}: not caught on seeds {SEEDS:?}")),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

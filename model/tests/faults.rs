//! Does the model bite? Each planted fault violates exactly the properties of its row.

use std::collections::BTreeSet;

use clap::ValueEnum;
use model::{
    AGREEMENT, BINDING, Fault, Instance, ORIGIN, SOUNDNESS, explore, shortest, tell, violations,
};

const UNSAFE: &[&str] = &[AGREEMENT, BINDING];
/// Safe, but a leader could wait for ever.
const STUCK: &[&str] = &[SOUNDNESS];

/// A fault, in how many regencies it is explored, and what it violates.
///
/// Two of them are no danger to safety, since ACCEPT is sent once in a regency and a
/// decision takes Q of them: `WriteTwice` and `AcceptOnFewerWrites` only spoil the certificates.
const TABLE: &[(Fault, u8, &[&str])] = &[
    (Fault::OneWriterCertifies, 3, &[AGREEMENT, BINDING, ORIGIN]),
    (Fault::NobodyCertifies, 3, &[AGREEMENT, BINDING, ORIGIN]),
    (Fault::OldWritersCertify, 3, UNSAFE),
    (Fault::QuorumCertifies, 3, STUCK),
    (Fault::SmallerQuorum, 3, UNSAFE),
    (Fault::LargerQuorum, 3, STUCK),
    (Fault::SameRegencyIsLower, 3, UNSAFE),
    (Fault::HideLock, 3, UNSAFE),
    (Fault::ForgetLock, 3, UNSAFE),
    (Fault::DropWriteset, 3, STUCK),
    (Fault::KeepOldestWrite, 3, STUCK),
    (Fault::IgnoreBound, 3, UNSAFE),
    (Fault::WriteTwice, 2, STUCK),
    (Fault::AcceptOnFewerWrites, 3, STUCK),
    (Fault::DecideOnFewerAccepts, 3, UNSAFE),
    (Fault::AcceptInLeftRegency, 3, UNSAFE),
];

fn faulty(fault: Fault, regencies: u8) -> Instance {
    Instance::new(regencies, 2, Some(fault))
}

#[test]
fn every_fault_violates_exactly_what_it_endangers() {
    let mut wrong = Vec::new();
    for (fault, regencies, expected) in TABLE {
        let found = violations(&explore(faulty(*fault, *regencies), 2));
        let found: BTreeSet<&str> = found.into_keys().collect();
        if found != expected.iter().copied().collect() {
            wrong.push(format!("{fault:?} violates {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_fault_has_its_row() {
    let rows = TABLE.iter().map(|(fault, ..)| fault);
    assert!(rows.eq(Fault::value_variants()));
}

/// The example of docs/model.md.
#[test]
fn a_counterexample_is_the_shortest_and_tells_the_lie() {
    let fault = Fault::SameRegencyIsLower;
    let path = shortest(|| faulty(fault, 2), BINDING).expect("the fault is found");
    let story = tell(&faulty(fault, 2), &path);
    assert_eq!(path.into_actions().len(), 7, "{story}");
    let lie = "a SYNC of regency 1 with replicas 1, 2 and the liar's {lock (0, V), wrote {(0, V)}}: only V";
    assert!(story.contains(lie), "{story}");
}

/// n = 7: no liar alone has what the counts need, but two might.
#[test]
fn faults_are_found_with_two_liars_too() {
    let table = [
        (Fault::SmallerQuorum, UNSAFE),
        (Fault::SameRegencyIsLower, UNSAFE),
        (Fault::HideLock, UNSAFE),
        (Fault::LargerQuorum, STUCK),
    ];
    for (fault, expected) in table {
        let instance = Instance::<5, 2>::new(2, 2, Some(fault));
        let found = violations(&explore(instance, 2));
        let found: BTreeSet<&str> = found.into_keys().collect();
        assert_eq!(found, expected.iter().copied().collect(), "{fault:?}");
    }
}

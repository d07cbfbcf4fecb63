//! The protocol as built, explored whole: what must hold holds, and it is not for want of runs.

use model::{Instance, explore, tell, violations};
use stateright::{Checker, Model};

/// Explores and expects no violation; returns how many states there are.
fn holds<const C: usize, const F: usize>(regencies: u8, values: u8) -> usize {
    let checker = explore(Instance::<C, F>::new(regencies, values, None), 2);
    if let Some((property, path)) = violations(&checker).pop_first() {
        panic!(
            "violated: {property}
{}",
            tell(checker.model(), &path)
        );
    }
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        let failure = property.expectation.discovery_is_failure();
        let reached = failure || discoveries.contains_key(property.name);
        assert!(reached, "never reached: {}", property.name);
    }
    checker.unique_state_count()
}

/// The figures are those of docs/model.md. A change of the protocol's steps changes them.
#[test]
fn regencies_0_to_2_with_two_values_hold() {
    assert_eq!(holds::<3, 1>(3, 2), 69_906);
}

#[test]
fn regencies_0_to_2_with_three_values_hold() {
    assert_eq!(holds::<3, 1>(3, 3), 512_953);
}

/// The symmetry is one: without it more states are found, and nothing else.
#[test]
fn exploring_every_numbering_of_the_replicas_finds_no_more() {
    let checker = Instance::<3, 1>::new(3, 2, None).checker().threads(2);
    let checker = checker.spawn_dfs().join();
    assert!(violations(&checker).is_empty());
    let (all, up_to_numbers) = (checker.unique_state_count(), 69_906);
    assert!(all > 5 * up_to_numbers && all <= 6 * up_to_numbers, "{all}");
}

/// Nor is it only four replicas: five and six with f = 1, seven with f = 2.
#[test]
fn five_replicas_hold_in_regencies_0_to_2() {
    assert_eq!(holds::<4, 1>(3, 2), 337_042);
}

#[test]
fn six_and_seven_replicas_hold_in_regencies_0_and_1() {
    assert_eq!(holds::<5, 1>(2, 2), 19_906);
    assert_eq!(holds::<5, 2>(2, 2), 31_380);
}

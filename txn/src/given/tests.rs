use super::*;
use crate::operation::SequenceValues;
use consensus::Digest;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn evidence(sequence: &str, uses: Vec<SequenceUse>) -> Evidence {
    Evidence {
        result: Digest::default(),
        write: Digest::default(),
        sequences: vec![SequenceValues {
            sequence: sequence.into(),
            uses,
        }],
        schema_change: false,
        adds_only: false,
        failed: false,
        unvalidated: false,
        claims: None,
    }
}

fn took(sequence: &str, ranges: &[(i64, u64)]) -> Taken {
    let uses = ranges
        .iter()
        .map(|&(first, count)| SequenceUse::Given { first, count });
    let mut taken = Taken::default();
    taken
        .add(&evidence(sequence, uses.collect()), None)
        .unwrap();
    taken
}

fn is_given(given: &Given, value: i64) -> bool {
    given.repeated(&took("s", &[(value, 1)]), "s").is_some()
}

#[test]
fn what_is_side_by_side_is_one_range() {
    let mut given = Given::default();
    for first in [1, 21, 11] {
        given.commit(1, 1, &took("s", &[(first, 10)]));
    }
    assert_eq!(given.sequences["s"].recent, BTreeMap::from([(1, (30, 1))]));
    given.commit(2, 2, &took("s", &[(i64::MAX, 1), (i64::MIN, 1)]));
    given.commit(2, 2, &took("s", &[(i64::MAX - 1, 9)]));
    let wanted = [
        (i64::MIN, (i64::MIN, 2)),
        (1, (30, 1)),
        (i64::MAX - 1, (i64::MAX, 2)),
    ];
    assert_eq!(given.sequences["s"].recent, BTreeMap::from(wanted));
    assert_eq!(given.reach("s"), Some((i64::MIN, i64::MAX)));
    assert_eq!(given.reach("t"), None);
}

#[test]
fn of_what_is_old_the_ends_are_remembered() {
    let mut given = Given::default();
    for height in 1..=32 {
        given.commit(height, height, &took("s", &[(10 * height as i64, 1)]));
    }
    given.settle(31, 20);
    assert!(!is_given(&given, 15), "it is not time");
    given.settle(32, 20);
    let values = &given.sequences["s"];
    assert_eq!(values.passed, Some((10, 200)));
    assert_eq!(values.recent.len(), 12);
    let refused = [9, 10, 15, 200, 201, 210].map(|value| is_given(&given, value));
    assert_eq!(refused, [false, true, true, true, false, true]);
}

#[test]
fn however_much_was_given_what_is_remembered_has_an_end() {
    let mut given = Given::default();
    for height in 1..=32_u64 {
        let of = |i: u64| (2 * (i + height * 10_000) as i64, 1);
        let ranges: Vec<_> = (0..10_000).map(of).collect();
        given.commit(height, height, &took("s", &ranges));
        // Something that began before all of it is open.
        given.settle(height, 0);
    }
    assert!(given.sequences["s"].recent.len() <= RANGES);
    // What is open for long is refused more than was given; never less.
    assert!(is_given(&given, 2 * 10_000) && is_given(&given, 2 * 10_001 + 1));
    assert!(is_given(&given, 2 * 329_999) && !is_given(&given, 2 * 329_998 + 1));

    let mut given = Given::default();
    for number in 0..SEQUENCES as u64 + 9 {
        given.commit(
            number + 1,
            number + 1,
            &took(&format!("s{number}"), &[(1, 1)]),
        );
    }
    given.settle(SEQUENCES as u64 * 16, 0);
    assert_eq!(given.sequences.len(), SEQUENCES);
    assert!(!given.sequences.contains_key("s8") && given.sequences.contains_key("s9"));
}

fn step(evidence: Evidence) -> Step {
    Step {
        operation: crate::Operation::text("SELECT 1"),
        evidence,
    }
}

#[test]
fn what_no_master_says_is_refused() {
    let gave = |first, count| SequenceUse::Given { first, count };
    let of = |names: &[&str], uses: &[SequenceUse]| {
        let mut evidence = evidence("s", vec![]);
        let one = |name: &&str| SequenceValues {
            sequence: (*name).to_owned(),
            uses: uses.to_vec(),
        };
        evidence.sequences = names.iter().map(one).collect();
        Taken::of(&[step(evidence)]).err()
    };
    assert_eq!(of(&["s"], &[gave(1, 5)]), None);
    assert_eq!(of(&["s"], &[gave(i64::MAX, 1)]), None);
    assert_eq!(of(&["s"], &[gave(i64::MAX, 2)]), Some(Refused::Malformed));
    assert_eq!(of(&["s"], &[gave(1, u64::MAX)]), Some(Refused::Malformed));
    assert_eq!(of(&["s"], &[gave(1, 0)]), Some(Refused::Malformed));
    assert_eq!(of(&["s"], &[]), Some(Refused::Malformed));
    assert_eq!(
        of(&["s", "t", "s"], &[gave(1, 1)]),
        Some(Refused::Malformed)
    );
    let long = "x".repeat(NAME + 1);
    assert_eq!(of(&[&long], &[gave(1, 1)]), Some(Refused::Malformed));
    let names: Vec<String> = (0..=NAMES).map(|i| format!("s{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(of(&names[1..], &[gave(1, 1)]), None);
    assert_eq!(of(&names, &[gave(1, 1)]), Some(Refused::Malformed));
    let twice = of(&["s"], &[gave(1, 2), gave(2, 1)]);
    assert!(matches!(twice, Some(Refused::Repeat(repeat)) if repeat.value == 2));
}

#[test]
fn what_failed_was_given_to_nobody_but_what_it_set_is_set() {
    let gave = SequenceUse::Given { first: 3, count: 2 };
    let set = SequenceUse::Set {
        value: 0,
        called: true,
    };
    let mut given = Given::default();
    given.commit(1, 1, &took("s", &[(1, 4)]));
    let failed = |uses: Vec<SequenceUse>| Evidence {
        failed: true,
        ..evidence("s", uses)
    };
    let taken = Taken::of(&[step(failed(vec![gave]))]).unwrap();
    assert_eq!(given.repeated(&taken, "s"), None);
    given.commit(2, 2, &taken);
    assert!(is_given(&given, 4) && !is_given(&given, 5));
    given.commit(3, 3, &Taken::of(&[step(failed(vec![gave, set]))]).unwrap());
    assert!(!is_given(&given, 4));
    assert_eq!(given.since("s", 1), Some(3));
}

#[test]
fn what_goes_round_is_not_remembered() {
    let uses = vec![
        SequenceUse::Cycled,
        SequenceUse::Given { first: 1, count: 3 },
        SequenceUse::Given { first: 1, count: 2 },
    ];
    let taken = Taken::of(&[step(evidence("s", uses.clone())), step(evidence("s", uses))]).unwrap();
    let mut given = Given::default();
    given.commit(1, 1, &took("s", &[(1, 1)]));
    assert_eq!(given.repeated(&taken, "s"), None);
    given.commit(2, 2, &taken);
    assert!(!is_given(&given, 1) && !is_given(&given, 3));
}

#[test]
fn from_a_change_of_the_schema_on_nothing_is_compared() {
    let mut given = Given::default();
    given.commit(1, 1, &took("s", &[(1, 5)]));
    let gave = |first| vec![SequenceUse::Given { first, count: 1 }];
    let change = |adds_only| Evidence {
        schema_change: true,
        adds_only,
        ..evidence("s", gave(1))
    };
    for adds_only in [true, false] {
        // It took 6 before, then what it made is its own, twice if it was taken back to a savepoint.
        let mut taken = took("s", &[(6, 1)]);
        taken.add(&change(adds_only), Some(&given)).unwrap();
        for (name, first) in [("s", 1), ("s", 1), ("t", 3)] {
            let next = evidence(name, gave(first));
            taken.add(&next, Some(&given)).unwrap();
        }
        assert_eq!(given.repeated(&taken, "s"), None);
        let mut given = given.clone();
        given.commit(3, 3, &taken);
        let known = [1, 2, 6].map(|value| is_given(&given, value));
        assert_eq!(known, [true, adds_only, adds_only]);
        assert!(given.repeated(&took("t", &[(3, 1)]), "t").is_some());
    }
}

#[test]
fn who_waits_for_whom_is_told_without_looking_at_every_value() {
    let waits = |own: &Taken, earlier: &Taken| own.depends_on(earlier, "s");
    let few = took("s", &[(1, 2), (9, 1)]);
    assert!(waits(&few, &took("s", &[(9, 3)])));
    assert!(!waits(&few, &took("s", &[(3, 6)])));
    assert!(!waits(&few, &took("t", &[(9, 3)])));
    let many: Vec<_> = (0..200).map(|i| (10 * i, 1)).collect();
    let many = took("s", &many);
    assert!(waits(&many, &took("s", &[(15, 1)])), "it may");
    assert!(!waits(&many, &took("s", &[(2_000, 1)])));
    assert_eq!(many.repeats(&took("s", &[(15, 1)]), "s"), None);
    assert_eq!(many.repeats(&took("s", &[(15, 7)]), "s"), Some(20));
}

/// What a client does at an honest master.
#[derive(Clone, Debug)]
enum Event {
    Begin,
    /// Which of the open ones, how many values.
    Draw(usize, u8),
    Commit(usize),
    Rollback(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => Just(Event::Begin),
        4 => (0..8_usize, 1..4_u8).prop_map(|(which, count)| Event::Draw(which, count)),
        2 => (0..8_usize).prop_map(Event::Commit),
        1 => (0..8_usize).prop_map(Event::Rollback),
    ];
    prop::collection::vec(event, 1..400)
}

proptest! {
    /// Whatever the increment, and in whatever order transactions end: nobody who draws from an honest sequence is refused, and nobody
    /// is given what a commit has.
    #[test]
    fn an_honest_master_is_never_refused_and_nothing_is_given_twice(events in events(), step in prop::sample::select(vec![1, 10, -1, -7])) {
        let mut given = Given::default();
        let mut height = 0;
        let mut next = 0_i64;
        // Begun at a height, with what they drew.
        let mut open: Vec<(Height, Vec<i64>)> = Vec::new();
        let mut committed = BTreeSet::new();
        for event in events {
            match event {
                Event::Begin => open.push((height, Vec::new())),
                Event::Draw(which, count) => {
                    let many = open.len();
                    if let Some((_, drawn)) = open.get_mut(which % many.max(1)) {
                        for _ in 0..count {
                            drawn.push(next);
                            next += step;
                        }
                    }
                }
                Event::Commit(which) if !open.is_empty() => {
                    let (_, drawn) = open.remove(which % open.len());
                    let ranges: Vec<_> = drawn.iter().map(|value| (*value, 1)).collect();
                    let taken = took("s", &ranges);
                    prop_assert_eq!(given.repeated(&taken, "s"), None);
                    height += 1;
                    given.commit(height, height, &taken);
                    committed.extend(drawn);
                    // As the engine has it, without autocommit writes.
                    let oldest = open.iter().map(|(begun, _)| *begun).min();
                    given.settle(height, oldest.unwrap_or(height));
                }
                Event::Rollback(which) if !open.is_empty() => {
                    open.remove(which % open.len());
                }
                Event::Commit(_) | Event::Rollback(_) => {}
            }
        }
        for value in committed {
            prop_assert!(is_given(&given, value), "{}", value);
        }
    }
}

#[test]
fn what_was_drawn_before_a_sequence_was_set_back_joins_nothing_behind_it() {
    let set = SequenceUse::Set {
        value: 0,
        called: true,
    };
    let mut given = Given::default();
    given.commit(5, 4, &took("s", &[(1, 3)]));
    given.commit(9, 8, &Taken::of(&[step(evidence("s", vec![set]))]).unwrap());
    given.commit(16, 9, &took("s", &[(1, 1)]));
    // Begun before it was set.
    given.commit(17, 8, &took("s", &[(90, 1)]));
    given.settle(32, 32);
    let known = [1, 2, 90].map(|value| is_given(&given, value));
    assert_eq!(known, [true, false, false]);
    assert_eq!(
        given.since("s", 1),
        Some(9),
        "old enough to be blamed for from there on"
    );
}

//! Values that sequences gave to committed transactions: no sequence gives one twice (DESIGN.md, "Sequences").
//!
//! A value may lie below where its sequence stands, since transactions commit in another order than they draw. So the position alone
//! does not tell a value that was given before, and where no key forbids it a master that lies could give two rows one number.
//!
//! What is remembered is what was ordered since this replica started, within bounds. Replicas may remember differently: that costs votes,
//! never equality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use txn::{Evidence, Step};

/// Ranges of values remembered of one sequence, and of all together. Values that follow each other are one range.
const RANGES: usize = 4_096;
const ALL_RANGES: usize = 65_536;

/// First value, last value.
type Ranges = BTreeMap<i64, i64>;

/// What was given, by sequence.
#[derive(Default)]
pub struct Given(Mutex<BTreeMap<String, Ranges>>);

/// A value that was given before.
#[derive(Debug, PartialEq, Eq)]
pub struct Twice {
    pub sequence: String,
    pub value: i64,
    /// The least and the greatest value that are known to have been given.
    pub ends: (i64, i64),
}

/// What may be given again in one transaction: sequences that it has set by hand, and all where it changed the schema, which may have
/// restarted them.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    all: bool,
    sequences: BTreeSet<String>,
}

impl Exempt {
    /// One more operation of the transaction.
    pub fn note(&mut self, evidence: &Evidence) {
        self.all |= evidence.schema_change;
        let set = evidence.sequences.iter().filter(|s| s.sets().next().is_some());
        self.sequences.extend(set.map(|s| s.sequence.clone()));
    }
}

impl Given {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Ranges>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A value of this operation that was given to a committed transaction before.
    pub fn twice(&self, exempt: &Exempt, evidence: &Evidence) -> Option<Twice> {
        if exempt.all || evidence.schema_change {
            return None;
        }
        let held = self.held();
        evidence.sequences.iter().find_map(|values| {
            if exempt.sequences.contains(&values.sequence) || values.sets().next().is_some() {
                return None;
            }
            let known = held.get(&values.sequence)?;
            let value = values
                .given()
                .find_map(|(first, count)| met(known, first, last_of(first, count)))?;
            Some(Twice {
                sequence: values.sequence.clone(),
                value,
                ends: (*known.first_key_value()?.0, *known.last_key_value()?.1),
            })
        })
    }

    /// The same for a whole transaction.
    pub fn twice_in(&self, steps: &[Step]) -> Option<Twice> {
        let mut exempt = Exempt::default();
        steps.iter().find_map(|step| {
            let found = self.twice(&exempt, &step.evidence);
            exempt.note(&step.evidence);
            found
        })
    }

    /// A transaction is committed.
    pub fn committed(&self, steps: &[Step]) {
        let sequences = steps.iter().any(|step| !step.evidence.sequences.is_empty());
        let schema = |step: &Step| step.evidence.schema_change && !step.evidence.adds_only;
        let schema = steps.iter().any(schema);
        if !sequences && !schema {
            return;
        }
        let mut held = self.held();
        if schema {
            // It may have restarted any, or made another one of the same name.
            held.clear();
            return;
        }
        for values in steps.iter().flat_map(|step| &step.evidence.sequences) {
            if values.sets().next().is_some() {
                held.remove(&values.sequence);
                continue;
            }
            let known = held.entry(values.sequence.clone()).or_default();
            for (first, count) in values.given() {
                add(known, first, last_of(first, count));
            }
        }
        if held.values().map(BTreeMap::len).sum::<usize>() > ALL_RANGES {
            held.clear();
        }
    }
}

fn last_of(first: i64, count: u64) -> i64 {
    first.saturating_add_unsigned(count.saturating_sub(1))
}

/// The first value of a range that is known.
fn met(known: &Ranges, first: i64, last: i64) -> Option<i64> {
    let (begins, ends) = known.range(..=last).next_back()?;
    (*ends >= first).then(|| (*begins).max(first))
}

fn add(known: &mut Ranges, mut first: i64, mut last: i64) {
    // What it touches becomes one with it.
    while let Some((&begins, &ends)) = known.range(..=last.saturating_add(1)).next_back() {
        if ends.saturating_add(1) < first {
            break;
        }
        known.remove(&begins);
        first = first.min(begins);
        last = last.max(ends);
    }
    known.insert(first, last);
    if known.len() > RANGES {
        // Whichever end is farther away was given longest ago.
        let far = |value: i64| value.abs_diff(first);
        let (low, high) = (known.first_key_value(), known.last_key_value());
        let (low, high) = (low.map(|r| *r.0), high.map(|r| *r.0));
        if let (Some(low), Some(high)) = (low, high) {
            known.remove(if far(low) >= far(high) { &low } else { &high });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Digest;
    use proptest::prelude::*;
    use txn::{Operation, SequenceUse, SequenceValues};

    fn evidence(uses: &[SequenceUse], schema_change: bool, adds_only: bool) -> Evidence {
        Evidence {
            result: Digest([0; 32]),
            write: Digest([0; 32]),
            sequences: vec![SequenceValues {
                sequence: "public.s".into(),
                uses: uses.to_vec(),
            }],
            schema_change,
            adds_only,
            unvalidated: false,
            claims: None,
        }
    }

    fn drawn(first: i64, count: u64) -> SequenceUse {
        SequenceUse::Given { first, count }
    }

    const SET: SequenceUse = SequenceUse::Set {
        value: 1,
        called: true,
    };

    fn steps(list: &[Evidence]) -> Vec<Step> {
        let step = |evidence: &Evidence| Step {
            operation: Operation::text("x"),
            evidence: evidence.clone(),
        };
        list.iter().map(step).collect()
    }

    fn value(given: &Given, list: &[Evidence]) -> Option<i64> {
        given.twice_in(&steps(list)).map(|twice| twice.value)
    }

    #[test]
    fn what_lies_below_is_given_once() {
        let given = Given::default();
        given.committed(&steps(&[evidence(&[drawn(1, 3), drawn(5, 1)], false, false)]));
        // Who drew earlier and commits later.
        assert_eq!(value(&given, &[evidence(&[drawn(4, 1)], false, false)]), None);
        given.committed(&steps(&[evidence(&[drawn(4, 1)], false, false)]));
        for (first, count, met) in [(4, 1, 4), (0, 9, 1), (5, 2, 5), (-3, 5, 1)] {
            let again = [evidence(&[drawn(first, count)], false, false)];
            assert_eq!(value(&given, &again), Some(met), "{first} {count}");
        }
        assert_eq!(value(&given, &[evidence(&[drawn(6, 100)], false, false)]), None);
        let twice = given.twice_in(&steps(&[evidence(&[drawn(2, 1)], false, false)]));
        assert_eq!(twice.unwrap().ends, (1, 5));
    }

    #[test]
    fn what_is_set_by_hand_or_restarted_may_give_them_again() {
        let given = Given::default();
        given.committed(&steps(&[evidence(&[drawn(1, 9)], false, false)]));
        let again = evidence(&[drawn(1, 1)], false, false);
        for before in [evidence(&[SET], false, false), evidence(&[], true, false)] {
            assert_eq!(value(&given, &[before.clone(), again.clone()]), None);
            assert_eq!(value(&given, &[again.clone(), before]), Some(1), "only from then on");
        }
        assert_eq!(value(&given, &[evidence(&[SET, drawn(1, 1)], false, false)]), None);
        // What only adds restarts nothing.
        given.committed(&steps(&[evidence(&[], true, true)]));
        assert_eq!(value(&given, std::slice::from_ref(&again)), Some(1));
        for committed in [evidence(&[SET], false, false), evidence(&[], true, false)] {
            given.committed(&steps(&[evidence(&[drawn(1, 9)], false, false)]));
            assert_eq!(value(&given, std::slice::from_ref(&again)), Some(1));
            given.committed(&steps(&[committed]));
            assert_eq!(value(&given, std::slice::from_ref(&again)), None);
        }
    }

    proptest! {
        #[test]
        fn ranges_are_what_a_set_would_be(list in prop::collection::vec((-30_i64..30, 1_u64..6), 0..40), asked in -40_i64..40) {
            let (given, mut set) = (Given::default(), BTreeSet::new());
            for (first, count) in list {
                let range = first..=last_of(first, count);
                let met = set.iter().copied().find(|value| range.contains(value));
                let one = [evidence(&[drawn(first, count)], false, false)];
                // Of several any may be named.
                prop_assert_eq!(value(&given, &one).is_some(), met.is_some());
                given.committed(&steps(&one));
                set.extend(range);
            }
            let one = [evidence(&[drawn(asked, 1)], false, false)];
            prop_assert_eq!(value(&given, &one), set.get(&asked).copied());
        }

        #[test]
        fn memory_has_an_end(step in 2_i64..5) {
            let given = Given::default();
            for n in 0..2 * RANGES as i64 {
                given.committed(&steps(&[evidence(&[drawn(n * step, 1)], false, false)]));
            }
            prop_assert_eq!(given.held()["public.s"].len(), RANGES);
            let newest = (2 * RANGES as i64 - 1) * step;
            prop_assert_eq!(value(&given, &[evidence(&[drawn(newest, 1)], false, false)]), Some(newest));
        }
    }

    #[test]
    fn the_ends_of_what_there_is_are_no_overflow() {
        let given = Given::default();
        let all = [
            evidence(&[drawn(i64::MAX, 5)], false, false),
            evidence(&[drawn(i64::MIN, 1)], false, false),
            evidence(&[drawn(i64::MIN, u64::MAX)], false, false),
        ];
        given.committed(&steps(&all));
        assert_eq!(value(&given, &all[..1]), Some(i64::MAX));
    }
}

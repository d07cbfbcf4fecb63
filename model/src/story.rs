//! A path of the checker in the words of the protocol.

use std::fmt::Write as _;

use stateright::{Model, Path};

use crate::rule::Outcome;
use crate::sync::{Claim, Collection};
use crate::{Instance, State, Step, Value};

/// Tells a path, one step a line, with a SYNC that allows each WRITE, and what it led to.
pub fn tell<const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    path: &Path<State<C>, Step>,
) -> String {
    let mut text = String::new();
    let mut state = State::<C>::default();
    for step in path.clone().into_actions() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", say(instance, &state, step));
        state = instance.next_state(&state, step).unwrap_or(state);
    }
    end(instance, &state, &mut text);
    text
}

fn say<const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    state: &State<C>,
    step: Step,
) -> String {
    match step {
        Step::Enter { replica } => {
            let regency = state.replicas[replica].regency + 1;
            let snapshot = state.replicas[replica].snapshot(regency, instance.fault);
            let claim = Claim::from(snapshot);
            format!("replica {replica} enters regency {regency}: STOPDATA {claim}")
        }
        Step::Write { replica, value } => {
            let regency = state.replicas[replica].regency;
            let sync = allowing(instance, state, regency, value);
            format!("replica {replica} WRITE({regency}, {value}){sync}")
        }
        Step::Accept {
            replica,
            regency,
            value,
        } => format!("replica {replica} ACCEPT({regency}, {value})"),
    }
}

/// A SYNC after which a replica may write the value.
fn allowing<const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    state: &State<C>,
    regency: u8,
    value: Value,
) -> String {
    let signed = instance.signed(state, regency);
    let bound = |outcome| outcome == Outcome::Bound(value);
    let found = instance.syncs.find(regency, &signed, bound).or_else(|| {
        let open = |outcome| outcome != Outcome::Doubt;
        instance.syncs.find(regency, &signed, open)
    });
    match found.filter(|_| regency > 0) {
        Some((collection, outcome)) => format!(" after SYNC of {collection}: {outcome}"),
        None => String::new(),
    }
}

/// Decisions, and the SYNCs that contradict them or that cannot be made.
fn end<const C: usize, const F: usize>(
    instance: &Instance<C, F>,
    state: &State<C>,
    text: &mut String,
) {
    for regency in 0..instance.regencies {
        for value in instance.decided(state, regency).iter() {
            let _ = writeln!(text, "  => {value} can be decided in regency {regency}");
            for later in regency + 1..instance.regencies {
                let other = |outcome| outcome != Outcome::Doubt && outcome != Outcome::Bound(value);
                let signed = instance.signed(state, later);
                if let Some((collection, outcome)) = instance.syncs.find(later, &signed, other) {
                    let _ = writeln!(
                        text,
                        "  => yet a SYNC of regency {later} with {collection}: {outcome}"
                    );
                }
            }
        }
        let signed = instance.signed(state, regency);
        let all = instance.syncs.outcomes_with_all(regency, &signed);
        if regency > 0 && all.is_some_and(|outcomes| outcomes.doubt) {
            let _ = writeln!(
                text,
                "  => the states of all correct replicas leave regency {regency} in doubt"
            );
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Doubt => f.write_str("in doubt"),
            Self::Free => f.write_str("any value"),
            Self::Bound(value) => write!(f, "only {value}"),
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pair = |(at, value): &(u8, Value)| format!("({at}, {value})");
        let lock = self.lock.as_ref().map_or("none".into(), pair);
        let wrote: Vec<String> = self.writeset.iter().map(pair).collect();
        write!(f, "lock {lock}, wrote {{{}}}", wrote.join(", "))
    }
}

impl std::fmt::Display for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let correct: Vec<String> = self.correct.iter().map(usize::to_string).collect();
        write!(f, "replicas {}", correct.join(", "))?;
        for claim in &self.claims {
            write!(f, " and the liar's {{{claim}}}")?;
        }
        Ok(())
    }
}

//! The steps of correct replicas, as `consensus/src/core` takes them. What the Byzantine replica
//! says is no step: it can say anything to anyone at any time, so every count of messages may
//! include it. Every regency's leader behaves as a Byzantine one may, which is all that a
//! correct one may do and more.

use stateright::{Model, Property};

use crate::rule::{Rule, view};
use crate::sync::{Outcomes, Syncs};
use crate::{Fault, MAX_REGENCIES, MAX_VALUES, Snapshot, State, Value, Values, properties};

/// One instance with C correct and F Byzantine replicas, from an idle start in regency 0.
#[derive(Debug)]
pub struct Instance<const C: usize = 3, const F: usize = 1> {
    /// Regencies 0..regencies are explored.
    pub regencies: u8,
    /// Values that leaders may propose.
    pub values: u8,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// What SYNCs can say.
    pub syncs: Syncs<C, F>,
    /// WRITEs that make an ACCEPT; the Byzantine replicas' may be among them.
    pub writes_to_accept: usize,
    /// ACCEPTs that decide; likewise.
    pub accepts_to_decide: usize,
}

/// What a correct replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Enters the next regency and signs its STOPDATA.
    Enter {
        /// The replica.
        replica: usize,
    },
    /// Sends WRITE in its regency, after some SYNC if that is not regency 0.
    Write {
        /// The replica.
        replica: usize,
        /// The value.
        value: Value,
    },
    /// Sends ACCEPT: it is locked.
    Accept {
        /// The replica.
        replica: usize,
        /// The regency, its own.
        regency: u8,
        /// The value.
        value: Value,
    },
}

impl<const C: usize, const F: usize> Instance<C, F> {
    /// The protocol as built, or with a fault. Bounds beyond what a state has room for are cut.
    pub fn new(regencies: u8, values: u8, fault: Option<Fault>) -> Self {
        let regencies = regencies.clamp(1, MAX_REGENCIES as u8);
        let values = values.clamp(1, MAX_VALUES as u8);
        let view = view(C + F, F);
        let weak = |planted| view.quorum() - usize::from(fault == Some(planted));
        Self {
            regencies,
            values,
            fault,
            writes_to_accept: weak(Fault::AcceptOnFewerWrites),
            accepts_to_decide: weak(Fault::DecideOnFewerAccepts),
            syncs: Syncs::new(Rule::with(view, fault), regencies, values),
        }
    }

    /// The states that the correct replicas signed on entering `regency`.
    pub fn signed(&self, state: &State<C>, regency: u8) -> [Option<Snapshot>; C] {
        state.replicas.map(|replica| {
            let entered = replica.regency >= regency;
            entered.then(|| replica.snapshot(regency, self.fault))
        })
    }

    /// What the SYNCs of `regency` that can be made in this state come to.
    pub fn outcomes(&self, state: &State<C>, regency: u8) -> Outcomes {
        self.syncs.outcomes(regency, &self.signed(state, regency))
    }

    /// Values that a correct replica may write in `regency`. A replica takes one SYNC and
    /// writes once; what SYNCs can be made only grows, so it takes it when it writes.
    pub fn writable(&self, state: &State<C>, regency: u8) -> Values {
        let any = Values::first(self.values);
        if regency == 0 {
            // Regency 0 needs no SYNC: nothing came before it.
            return any;
        }
        let outcomes = self.outcomes(state, regency);
        let ignored = self.fault == Some(Fault::IgnoreBound) && !outcomes.bound.is_empty();
        if outcomes.free || ignored {
            any
        } else {
            outcomes.bound
        }
    }

    /// Values with a quorum of ACCEPTs in `regency`: what some replica may have decided.
    pub fn decided(&self, state: &State<C>, regency: u8) -> Values {
        let mut decided = Values::default();
        for value in Values::first(self.values).iter() {
            if state.acceptors(regency, value) + F >= self.accepts_to_decide {
                decided.insert(value);
            }
        }
        decided
    }

    fn writes(&self, state: &State<C>, replica: usize, steps: &mut Vec<Step>) {
        let regency = state.replicas[replica].regency;
        let wrote = state.replicas[replica].ballots[usize::from(regency)].wrote;
        if !wrote.is_empty() && self.fault != Some(Fault::WriteTwice) {
            return;
        }
        let values = self.writable(state, regency).iter();
        let new = values.filter(|value| !wrote.contains(*value));
        steps.extend(new.map(|value| Step::Write { replica, value }));
    }

    /// Only a value that this replica wrote too, once in a regency.
    fn accepts(&self, state: &State<C>, replica: usize, steps: &mut Vec<Step>) {
        let current = state.replicas[replica].regency;
        let leaves = self.fault != Some(Fault::AcceptInLeftRegency);
        let oldest = if leaves { current } else { 0 };
        for regency in oldest..=current {
            let ballot = state.replicas[replica].ballots[usize::from(regency)];
            if !ballot.accepted.is_empty() {
                continue;
            }
            let written = ballot.wrote.iter();
            let ready =
                written.filter(|value| state.writers(regency, *value) + F >= self.writes_to_accept);
            steps.extend(ready.map(|value| Step::Accept {
                replica,
                regency,
                value,
            }));
        }
    }
}

impl<const C: usize, const F: usize> Model for Instance<C, F> {
    type State = State<C>;
    type Action = Step;

    fn init_states(&self) -> Vec<State<C>> {
        vec![State::default()]
    }

    fn actions(&self, state: &State<C>, steps: &mut Vec<Step>) {
        for replica in 0..C {
            // STOPs are not followed: a correct replica may give a leader up at any time.
            if state.replicas[replica].regency + 1 < self.regencies {
                steps.push(Step::Enter { replica });
            }
            self.writes(state, replica, steps);
            self.accepts(state, replica, steps);
        }
    }

    fn next_state(&self, last: &State<C>, step: Step) -> Option<State<C>> {
        let mut state = *last;
        match step {
            Step::Enter { replica } => state.replicas[replica].regency += 1,
            Step::Write { replica, value } => {
                let replica = &mut state.replicas[replica];
                let ballot = &mut replica.ballots[usize::from(replica.regency)];
                ballot.wrote.insert(value);
            }
            Step::Accept {
                replica,
                regency,
                value,
            } => {
                let ballots = &mut state.replicas[replica].ballots;
                ballots[usize::from(regency)].accepted.insert(value);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self.regencies)
    }
}

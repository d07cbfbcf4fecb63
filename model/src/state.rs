//! A state: what the correct replicas have said. The network is the set of all that was
//! said, any of which may arrive anywhere, at any time, in any order, or never; so there are no
//! queues, and what a replica has received is no part of the state.

use stateright::Representative;

use crate::{Fault, MAX_REGENCIES, MAX_VALUES};

/// A value that a leader may propose; it satisfies γ everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u8);

/// A set of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Values(u8);

/// What one correct replica said in one regency. Sets, because faulty rules say too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Values of its WRITEs.
    pub wrote: Values,
    /// Values of its ACCEPTs.
    pub accepted: Values,
}

/// One correct replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The regency that it is in; it passed through all lower ones.
    pub regency: u8,
    /// What it said, by regency.
    pub ballots: [Ballot; MAX_REGENCIES],
}

/// The C correct replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State<const C: usize = 3> {
    /// In the order of their numbers.
    pub replicas: [Replica; C],
}

impl<const C: usize> Default for State<C> {
    fn default() -> Self {
        let replicas = [Replica::default(); C];
        Self { replicas }
    }
}

/// What a STOPDATA says of the open instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// `(valts, val)`.
    pub lock: Option<(u8, Value)>,
    /// The newest regency in which each value was written.
    pub newest: [Option<u8>; MAX_VALUES],
}

impl Values {
    /// The first `count` values.
    pub fn first(count: u8) -> Self {
        Self((1 << count) - 1)
    }

    /// One value.
    pub fn one(value: Value) -> Self {
        Self(1 << value.0)
    }

    pub fn contains(self, value: Value) -> bool {
        self.0 & (1 << value.0) != 0
    }

    pub fn insert(&mut self, value: Value) {
        self.0 |= 1 << value.0;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Value> {
        (0..MAX_VALUES as u8)
            .map(Value)
            .filter(move |value| self.contains(*value))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(["V", "W", "X"][usize::from(self.0)])
    }
}

impl Replica {
    /// The state that this replica signed on entering `regency`: it says nothing in a lower
    /// one afterwards, so its votes below are still those of that moment.
    pub fn snapshot(&self, regency: u8, fault: Option<Fault>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        // In ascending order: later votes replace earlier ones, as they do in `VoteState`.
        for (at, ballot) in (0..regency).zip(&self.ballots) {
            let last = at + 1 == regency;
            let locked = ballot.accepted.iter().last();
            let forgotten =
                fault == Some(Fault::HideLock) || fault == Some(Fault::ForgetLock) && !last;
            if let Some(value) = locked.filter(|_| !forgotten) {
                snapshot.lock = Some((at, value));
            }
            if fault == Some(Fault::DropWriteset) && !last {
                continue;
            }
            for value in ballot.wrote.iter() {
                let newest = &mut snapshot.newest[usize::from(value.0)];
                if fault != Some(Fault::KeepOldestWrite) || newest.is_none() {
                    *newest = Some(at);
                }
            }
        }
        snapshot
    }
}

impl<const C: usize> State<C> {
    /// How many correct replicas sent WRITE(regency, value).
    pub fn writers(&self, regency: u8, value: Value) -> usize {
        self.count(regency, |ballot| ballot.wrote.contains(value))
    }

    /// How many correct replicas sent ACCEPT(regency, value).
    pub fn acceptors(&self, regency: u8, value: Value) -> usize {
        self.count(regency, |ballot| ballot.accepted.contains(value))
    }

    fn count(&self, regency: u8, said: impl Fn(&Ballot) -> bool) -> usize {
        let ballots = self
            .replicas
            .iter()
            .map(|replica| &replica.ballots[usize::from(regency)]);
        ballots.filter(|ballot| said(ballot)).count()
    }
}

/// The correct replicas are alike: no step and no property looks at their numbers.
impl<const C: usize> Representative for State<C> {
    fn representative(&self) -> Self {
        let mut state = *self;
        state.replicas.sort_unstable();
        state
    }
}

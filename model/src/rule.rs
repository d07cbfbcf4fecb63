//! The collection rule: the one that runs, or one written out here, with numbers to change.
//! Only planted faults are judged by the latter; `tests/rule.rs` shows that it is the same
//! rule while nothing is changed.

use std::collections::BTreeMap;

use consensus::{Digest, OpenVotes, PublicKey, ReplicaId, StopState, View, Written as Wrote};

use crate::{Fault, Value};

/// The height of the instance that the model is about.
pub const OPEN: u64 = 5;

/// The value below it, on which all values of the model stand.
pub const BELOW: Digest = Digest([0; 32]);

/// What a collection leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not sound: more states are needed.
    Doubt,
    /// Any value.
    Free,
    /// This value or none.
    Bound(Value),
}

/// How a collection is judged.
#[derive(Clone, Debug)]
pub enum Rule {
    /// By the code that runs.
    AsBuilt(View),
    /// As written out here.
    Written(Written),
}

/// The rule's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// States without a lock that make free; states locked lower or equal that bind.
    pub quorum: usize,
    /// Writers that certify a value.
    pub certified: usize,
    /// Whether a lock of the same regency on another value counts as lower.
    pub same_regency_is_lower: bool,
    /// Whether those who wrote before the lock's regency certify it too.
    pub old_writers_certify: bool,
}

/// A view of n replicas. No key is ever used: whose word a state is does not matter to the rule.
pub fn view(n: usize, f: usize) -> View {
    let key = |i: u16| PublicKey([i as u8; 32]);
    View {
        id: 0,
        f: f as u16,
        replicas: (0..n as u16).map(|i| (ReplicaId(i), key(i))).collect(),
        clients: BTreeMap::new(),
        ..View::default()
    }
}

/// The digest that stands for a value.
pub fn digest(value: Value) -> Digest {
    Digest([value.0 + 1; 32])
}

impl Rule {
    /// The rule as it runs, unless the fault is one of the rule.
    pub fn with(view: View, fault: Option<Fault>) -> Self {
        let built = Written::of(&view);
        let written = match fault {
            Some(Fault::OneWriterCertifies) => Written {
                certified: 1,
                ..built
            },
            Some(Fault::NobodyCertifies) => Written {
                certified: 0,
                ..built
            },
            Some(Fault::QuorumCertifies) => Written {
                certified: built.quorum,
                ..built
            },
            Some(Fault::OldWritersCertify) => Written {
                old_writers_certify: true,
                ..built
            },
            Some(Fault::SmallerQuorum) => Written {
                quorum: built.quorum - 1,
                ..built
            },
            Some(Fault::LargerQuorum) => Written {
                quorum: built.quorum + 1,
                ..built
            },
            Some(Fault::SameRegencyIsLower) => Written {
                same_regency_is_lower: true,
                ..built
            },
            _ => return Self::AsBuilt(view),
        };
        Self::Written(written)
    }

    /// Judges the states of a SYNC.
    pub fn judge(&self, states: &[&StopState]) -> Outcome {
        let choice = match self {
            Self::AsBuilt(view) => consensus::model_api::choose(view, states, OPEN, BELOW),
            Self::Written(written) => written.choose(states),
        };
        match choice {
            None => Outcome::Doubt,
            Some(None) => Outcome::Free,
            Some(Some(digest)) => Outcome::Bound(Value(digest.0[0] - 1)),
        }
    }
}

impl Written {
    /// The rule as it runs.
    pub fn of(view: &View) -> Self {
        Self {
            quorum: view.quorum(),
            certified: view.one_correct(),
            same_regency_is_lower: false,
            old_writers_certify: false,
        }
    }

    /// Every value stands on the one below.
    fn choose(&self, states: &[&StopState]) -> Option<Option<Digest>> {
        let locks = states.iter().filter_map(|state| lock(state));
        let binding = locks.filter(|(at, value)| {
            let lower = states.iter().filter(|state| {
                lock(state).is_none_or(|lock| {
                    lock.0 < *at
                        || lock == (*at, *value)
                        || lock.0 == *at && self.same_regency_is_lower
                })
            });
            let since = if self.old_writers_certify { 0 } else { *at };
            lower.count() >= self.quorum && self.is_certified(states, since, value)
        });
        if let Some((_, value)) = binding.max() {
            return Some(Some(value));
        }
        let unlocked = states.iter().filter(|state| lock(state).is_none()).count();
        let written = states.iter().flat_map(|state| writes(state));
        let newest = written
            .filter(|(_, value)| self.is_certified(states, 0, value))
            .max();
        (unlocked >= self.quorum).then(|| newest.map(|(_, value)| value))
    }

    fn is_certified(&self, states: &[&StopState], since: u64, value: &Digest) -> bool {
        let wrote = |state: &&&StopState| {
            let mut writes = writes(state);
            writes.any(|(at, written)| at >= since && written == *value)
        };
        states.iter().filter(wrote).count() >= self.certified
    }
}

fn lock(state: &StopState) -> Option<(u64, Digest)> {
    state.votes_at(OPEN)?.lock
}

fn writes(state: &StopState) -> impl Iterator<Item = (u64, Digest)> {
    let writeset = state.votes_at(OPEN).map(|votes| &votes.writeset);
    let writeset = writeset.into_iter().flatten();
    writeset.map(|written| (written.regency, written.digest))
}

/// The votes that a state tells at a height, of values that stand on the one below.
pub fn votes(
    height: u64,
    lock: Option<(u64, Digest)>,
    writeset: impl Iterator<Item = (u64, Digest)>,
) -> Vec<OpenVotes> {
    let written = |(regency, digest)| Wrote {
        regency,
        digest,
        after: BELOW,
    };
    let votes = OpenVotes {
        height,
        lock,
        writeset: writeset.map(written).collect(),
    };
    let speaks = votes.lock.is_some() || !votes.writeset.is_empty();
    Vec::from_iter(speaks.then_some(votes))
}

//! What SYNCs can say. Whoever makes one shows n − f or more signed states of distinct
//! replicas: each correct replica has signed one for the regency, and the Byzantine one has signed
//! whatever suits. Which ones are shown, and with which lie, may differ from receiver to receiver.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use consensus::{ReplicaId, StopState};

use crate::rule::{OPEN, Outcome, Rule, digest};
use crate::{CORRECT, MAX_VALUES, Snapshot, Value, Values};

/// The Byzantine replica's state: any lock, and any set of writes, in lower regencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// `(valts, val)`.
    pub lock: Option<(u8, Value)>,
    /// Values with regencies; the same value may be there with several.
    pub writeset: Vec<(u8, Value)>,
}

/// The states that a SYNC shows.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Which correct replicas', by number.
    pub correct: Vec<usize>,
    /// The Byzantine replica's, if it is among them.
    pub claim: Option<Claim>,
}

/// What the possible collections can come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Some collection is not sound.
    pub doubt: bool,
    /// Some collection leaves all values open.
    pub free: bool,
    /// Each of these is bound by some collection.
    pub bound: Values,
}

/// Judges collections; remembers what it found, since many states of the model share them.
#[derive(Debug)]
pub struct Syncs {
    rule: Rule,
    claims: Vec<Vec<Claim>>,
    known: RwLock<HashMap<Key, Outcomes>>,
}

/// A regency, and the states of two or three correct replicas in ascending order.
type Key = (u8, [Option<Snapshot>; CORRECT]);

/// All that the Byzantine replica can claim in a STOPDATA for `regency`. A later or its own
/// regency is refused (`is_plausible`), a decision cannot be claimed without its proof.
pub fn claims(regency: u8, values: u8) -> Vec<Claim> {
    let writes: Vec<(u8, Value)> = (0..regency)
        .flat_map(|at| (0..values).map(move |value| (at, Value(value))))
        .collect();
    let locks: Vec<_> = std::iter::once(None)
        .chain(writes.iter().copied().map(Some))
        .collect();
    let sets = (0..1u32 << writes.len()).map(|chosen| {
        let writes = writes.iter().enumerate();
        let set = writes.filter(|(bit, _)| chosen & (1 << bit) != 0);
        set.map(|(_, write)| *write).collect::<Vec<_>>()
    });
    sets.flat_map(|writeset| {
        locks.iter().map(move |lock| Claim {
            lock: *lock,
            writeset: writeset.clone(),
        })
    })
    .collect()
}

fn stop_state(regency: u8, replica: usize, claim: &Claim) -> StopState {
    StopState {
        view: 0,
        regency: regency.into(),
        replica: ReplicaId(replica as u16),
        decided: OPEN - 1,
        lock: claim.lock.map(|(at, value)| (at.into(), digest(value))),
        writeset: claim
            .writeset
            .iter()
            .map(|(at, value)| (u64::from(*at), digest(*value)))
            .collect(),
    }
}

impl From<Snapshot> for Claim {
    fn from(snapshot: Snapshot) -> Self {
        let values = (0..MAX_VALUES as u8).map(Value);
        let newest = values.zip(snapshot.newest);
        Self {
            lock: snapshot.lock,
            writeset: newest
                .filter_map(|(value, at)| at.map(|at| (at, value)))
                .collect(),
        }
    }
}

impl Outcomes {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Doubt => self.doubt = true,
            Outcome::Free => self.free = true,
            Outcome::Bound(value) => self.bound.insert(value),
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            doubt: self.doubt || other.doubt,
            free: self.free || other.free,
            bound: self.bound.union(other.bound),
        }
    }
}

impl Syncs {
    /// Judges by `rule`, for regencies below `regencies`.
    pub fn new(rule: Rule, regencies: u8, values: u8) -> Self {
        Self {
            rule,
            claims: (0..regencies).map(|at| claims(at, values)).collect(),
            known: RwLock::default(),
        }
    }

    /// What any SYNC of `regency` can come to; a correct replica that has not entered it
    /// has signed nothing yet.
    pub fn outcomes(&self, regency: u8, signed: &[Option<Snapshot>; CORRECT]) -> Outcomes {
        let all = self.outcomes_with_all(regency, signed).unwrap_or_default();
        (0..CORRECT).fold(all, |outcomes, left_out| {
            let mut shown = *signed;
            shown[left_out] = None;
            if shown.iter().flatten().count() < CORRECT - 1 {
                return outcomes;
            }
            outcomes.union(self.remembered(regency, shown))
        })
    }

    /// What a SYNC with the states of all correct replicas can come to, with or without the
    /// Byzantine one's; none until all have entered the regency.
    pub fn outcomes_with_all(
        &self,
        regency: u8,
        signed: &[Option<Snapshot>; CORRECT],
    ) -> Option<Outcomes> {
        let all = signed.iter().all(Option::is_some);
        all.then(|| self.remembered(regency, *signed))
    }

    fn remembered(&self, regency: u8, mut shown: [Option<Snapshot>; CORRECT]) -> Outcomes {
        // The rule counts states and takes maxima: their order is nothing to it.
        shown.sort_unstable();
        let key = (regency, shown);
        // What another thread left half done here cannot be: entries are inserted whole.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcomes) = known.get(&key) {
            return *outcomes;
        }
        drop(known);
        let mut outcomes = Outcomes::default();
        self.each(regency, &shown, |outcome, _| {
            outcomes.add(outcome);
            false
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, outcomes);
        outcomes
    }

    /// Judges every collection with exactly these correct states, until `done`.
    fn each(
        &self,
        regency: u8,
        shown: &[Option<Snapshot>; CORRECT],
        mut done: impl FnMut(Outcome, Option<&Claim>) -> bool,
    ) {
        let correct: Vec<StopState> = shown
            .iter()
            .enumerate()
            .filter_map(|(i, snapshot)| Some(stop_state(regency, i, &(*snapshot)?.into())))
            .collect();
        let states: Vec<&StopState> = correct.iter().collect();
        // n − f states without the Byzantine one's, only if all correct ones are there.
        if correct.len() == CORRECT && done(self.rule.judge(&states), None) {
            return;
        }
        for claim in &self.claims[usize::from(regency)] {
            let lie = stop_state(regency, CORRECT, claim);
            let mut states = states.clone();
            states.push(&lie);
            if done(self.rule.judge(&states), Some(claim)) {
                return;
            }
        }
    }

    /// A SYNC that comes to what is `wanted`, for a trace.
    pub fn find(
        &self,
        regency: u8,
        signed: &[Option<Snapshot>; CORRECT],
        wanted: impl Fn(Outcome) -> bool,
    ) -> Option<(Collection, Outcome)> {
        // The shorter ones first; then all four.
        let choices = (0..CORRECT).map(Some).chain([None]);
        for left_out in choices {
            let mut shown = *signed;
            if let Some(left_out) = left_out {
                shown[left_out] = None;
            }
            let correct: Vec<usize> = (0..CORRECT).filter(|i| shown[*i].is_some()).collect();
            if correct.len() < CORRECT - usize::from(left_out.is_some()) {
                continue;
            }
            let mut found = None;
            self.each(regency, &shown, |outcome, claim| {
                if wanted(outcome) {
                    let collection = Collection {
                        correct: correct.clone(),
                        claim: claim.cloned(),
                    };
                    found = Some((collection, outcome));
                }
                found.is_some()
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

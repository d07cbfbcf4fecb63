//! What SYNCs can say. Whoever makes one shows n − f or more signed states of distinct
//! replicas: each correct replica has signed one for the regency, and a Byzantine one has signed
//! whatever suits. Which ones are shown, and with which lie, may differ from receiver to receiver.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use consensus::{ReplicaId, StopState};

use crate::rule::{OPEN, Outcome, Rule, digest, votes};
use crate::{MAX_VALUES, Snapshot, Value, Values};

/// A Byzantine replica's state: any lock, and any set of writes, in lower regencies.
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
    /// The Byzantine replicas' that are among them.
    pub claims: Vec<Claim>,
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
pub struct Syncs<const C: usize, const F: usize> {
    rule: Rule,
    claims: Vec<Vec<Claim>>,
    known: RwLock<HashMap<(u8, Shown<C>), Outcomes>>,
}

/// What correct replicas signed for a regency, of those that entered it or are shown.
type Shown<const C: usize> = [Option<Snapshot>; C];

/// All that a Byzantine replica can claim in a STOPDATA for `regency`. A later or its own
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
    let pair = |(at, value): &(u8, Value)| (u64::from(*at), digest(*value));
    StopState {
        view: 0,
        regency: regency.into(),
        replica: ReplicaId(replica as u16),
        decided: OPEN - 1,
        votes: votes(
            OPEN,
            claim.lock.as_ref().map(pair),
            claim.writeset.iter().map(pair),
        ),
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

impl<const C: usize, const F: usize> Syncs<C, F> {
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
    pub fn outcomes(&self, regency: u8, signed: &Shown<C>) -> Outcomes {
        let choices = choices::<C, F>(signed);
        choices.fold(Outcomes::default(), |outcomes, shown| {
            outcomes.union(self.remembered(regency, shown))
        })
    }

    /// What a SYNC with the states of all correct replicas can come to, with or without the
    /// Byzantine ones'; none until all have entered the regency.
    pub fn outcomes_with_all(&self, regency: u8, signed: &Shown<C>) -> Option<Outcomes> {
        let all = signed.iter().all(Option::is_some);
        all.then(|| self.remembered(regency, *signed))
    }

    fn remembered(&self, regency: u8, mut shown: Shown<C>) -> Outcomes {
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
    fn each(&self, regency: u8, shown: &Shown<C>, mut done: impl FnMut(Outcome, &[usize]) -> bool) {
        let claims = &self.claims[usize::from(regency)];
        // Votes are weighed by who gave them: each liar's lies carry its own number.
        let lies: Vec<Vec<StopState>> = (C..C + F)
            .map(|liar| {
                claims
                    .iter()
                    .map(|c| stop_state(regency, liar, c))
                    .collect()
            })
            .collect();
        let correct: Vec<StopState> = shown
            .iter()
            .enumerate()
            .filter_map(|(i, snapshot)| Some(stop_state(regency, i, &(*snapshot)?.into())))
            .collect();
        // n − f = C states at least.
        let fewest = C - correct.len();
        let mut chosen: Vec<usize> = vec![0; fewest];
        while chosen.len() <= F {
            let told = chosen.iter().zip(&lies).map(|(lie, liar)| &liar[*lie]);
            let states: Vec<&StopState> = correct.iter().chain(told).collect();
            if done(self.rule.judge(&states), &chosen) {
                return;
            }
            next_lies(&mut chosen, claims.len());
        }
    }

    /// A SYNC that comes to what is `wanted`, for a trace; the smaller ones first.
    pub fn find(
        &self,
        regency: u8,
        signed: &Shown<C>,
        wanted: impl Fn(Outcome) -> bool,
    ) -> Option<(Collection, Outcome)> {
        let mut choices: Vec<Shown<C>> = choices::<C, F>(signed).collect();
        choices.sort_by_key(|shown| shown.iter().flatten().count());
        choices.iter().find_map(|shown| {
            let mut found = None;
            self.each(regency, shown, |outcome, lies| {
                if wanted(outcome) {
                    let claims = &self.claims[usize::from(regency)];
                    let collection = Collection {
                        correct: (0..C).filter(|i| shown[*i].is_some()).collect(),
                        claims: lies.iter().map(|lie| claims[*lie].clone()).collect(),
                    };
                    found = Some((collection, outcome));
                }
                found.is_some()
            });
            found
        })
    }
}

/// The choices of correct states that n − f states can hold, with up to F lies.
fn choices<const C: usize, const F: usize>(signed: &Shown<C>) -> impl Iterator<Item = Shown<C>> {
    let signed = *signed;
    let enough = |shown: &Shown<C>| shown.iter().flatten().count() + F >= C;
    (0..1u32 << C)
        .filter(move |chosen| (0..C).all(|i| chosen & (1 << i) == 0 || signed[i].is_some()))
        .map(move |chosen| std::array::from_fn(|i| signed[i].filter(|_| chosen & (1 << i) != 0)))
        .filter(enough)
}

/// The next choice of lies, in ascending order, or one with one lie more. The liars are alike.
fn next_lies(chosen: &mut Vec<usize>, lies: usize) {
    for at in (0..chosen.len()).rev() {
        if chosen[at] + 1 < lies {
            let next = chosen[at] + 1;
            chosen[at..].fill(next);
            return;
        }
    }
    let more = chosen.len() + 1;
    *chosen = vec![0; more];
}

//! Which leader and which fast replicas would make consensus fastest, from measured round trips (WHEAT: thesis, ch. 5;
//! the search is that of Berger et al., *AWARE*, 2020).
//!
//! **Liars.** Of the two claims about a pair the larger counts, and one without the other counts as infinite. A peer cannot answer
//! a measurement before it is asked, so whatever a liar says or does, only pairs of which it is one look farther than they are.
//! Predictions only grow with distances. So for the choice c that is made here, true(c) ≤ predicted(c) ≤ predicted(d) for every other
//! choice d, also for those in whose prediction no liar's link counts: the proposal is never truly slower than the best that the
//! correct replicas reach by themselves (`a_proposal_is_never_slower_than_…`). A liar leads, or is fast, only if
//! that is so even at the distances that it claims; what it does then is for the watch of slow leaders.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ReplicaId;
use crate::quorum::Mode;
use crate::view::View;

/// What each replica says of its round trips to its peers, in any one unit.
pub type Claims = BTreeMap<ReplicaId, BTreeMap<ReplicaId, u64>>;

/// More choices than this are not compared: then each leader's nearest replicas are its fast ones.
const MOST_CHOICES: usize = 50_000;
/// Less than a tenth is not worth a change of the view.
const WORTH: u64 = 10;

/// Round trips of all pairs, as far as both ends claim them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distances(BTreeMap<(ReplicaId, ReplicaId), u64>);

/// Who leads and who weighs more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// Leads regency 0 of the view.
    pub leader: ReplicaId,
    /// Those with Vmax; none: all weigh the same.
    pub fast: BTreeSet<ReplicaId>,
}

/// What the advisor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// As it is, with the present leader.
    pub now: Choice,
    /// Its predicted latency, in the unit of the claims; `None`: too little is measured.
    pub now_takes: Option<u64>,
    /// The best.
    pub best: Choice,
    /// Its predicted latency.
    pub best_takes: u64,
}

impl Advice {
    /// Whether the best is so much faster that a change pays.
    pub fn is_worth_it(&self) -> bool {
        self.best != self.now
            && self
                .now_takes
                .is_none_or(|now| self.best_takes + (now / WORTH).max(1) <= now)
    }
}

impl Distances {
    /// Puts claims together.
    pub fn of(claims: &Claims) -> Self {
        let claim = |from, to| claims.get(from)?.get(to).copied();
        let pairs = claims.iter().flat_map(|(from, trips)| {
            trips.iter().filter_map(move |(to, there)| {
                let back = claim(to, from)?;
                Some(((*from, *to), (*there).max(back)))
            })
        });
        Self(pairs.collect())
    }

    /// Of a pair; `None`: not measured by both.
    pub fn between(&self, a: ReplicaId, b: ReplicaId) -> Option<u64> {
        if a == b {
            return Some(0);
        }
        self.0.get(&(a, b)).copied()
    }
}

impl Choice {
    /// That of a view whose regencies have come to `leader`.
    pub fn of(view: &View, leader: ReplicaId) -> Self {
        let fast = view.fast.clone();
        Self { leader, fast }
    }
}

/// How long a request takes from PROPOSE until replicas with a quorum of votes have decided it, which is what clients wait for:
/// each message half a round trip. `None`: what is measured does not make a quorum.
pub fn predict(view: &View, choice: &Choice, distances: &Distances) -> Option<u64> {
    let view = View {
        fast: choice.fast.clone(),
        ..view.clone()
    };
    let all: Vec<ReplicaId> = view.replicas.keys().copied().collect();
    // Everything twice, so that half a round trip is a whole number.
    let mut times: Vec<Option<u64>> = all
        .iter()
        .map(|to| distances.between(choice.leader, *to))
        .collect();
    let phases = match view.mode {
        Mode::Byzantine => 2,
        Mode::CrashOnly => 1,
    };
    for _ in 0..phases {
        let hear = |to: &ReplicaId| {
            let arrivals = all.iter().zip(&times).filter_map(|(from, said)| {
                Some(((*said)?.checked_add(distances.between(*from, *to)?)?, *from))
            });
            quorum_time(&view, arrivals)
        };
        times = all.iter().map(hear).collect();
    }
    let decided = all.iter().zip(&times);
    let decided = decided.filter_map(|(replica, at)| Some(((*at)?, *replica)));
    quorum_time(&view, decided).map(|twice| twice.div_ceil(2))
}

/// When a quorum of votes is there.
fn quorum_time(view: &View, votes: impl Iterator<Item = (u64, ReplicaId)>) -> Option<u64> {
    let sizes = view.sizes();
    let mut votes: Vec<_> = votes.collect();
    votes.sort_unstable();
    let mut weight = 0;
    votes.into_iter().find_map(|(at, from)| {
        weight += sizes.weight(view.fast.contains(&from));
        (weight >= sizes.quorum()).then_some(at)
    })
}

/// Compares all choices. `leader`: of the present regency. `None`: too little is measured to predict anything.
pub fn advise(view: &View, leader: ReplicaId, claims: &Claims) -> Option<Advice> {
    let distances = Distances::of(claims);
    let now = Choice::of(view, leader);
    let now_takes = predict(view, &now, &distances);
    let all: Vec<ReplicaId> = view.replicas.keys().copied().collect();
    let mut best = now_takes.map(|takes| (takes, now.clone()));
    for choice in choices(view, &all, &distances) {
        let Some(takes) = predict(view, &choice, &distances) else {
            continue;
        };
        // The first of equals, and what is there before them all.
        if best.as_ref().is_none_or(|(least, _)| takes < *least) {
            best = Some((takes, choice));
        }
    }
    let (best_takes, best) = best?;
    Some(Advice {
        now,
        now_takes,
        best,
        best_takes,
    })
}

fn choices(view: &View, all: &[ReplicaId], distances: &Distances) -> Vec<Choice> {
    let size = view.sizes().fast();
    let mut sets = vec![BTreeSet::new()];
    let spare = view.sizes().delta() > 0;
    let few = spare && binomial(all.len(), size).saturating_mul(all.len()) <= MOST_CHOICES;
    if few {
        subsets(all, size, &mut BTreeSet::new(), &mut sets);
    }
    let mut choices: Vec<Choice> = Vec::new();
    for leader in all.iter().copied() {
        let of = |fast: &BTreeSet<ReplicaId>| Choice {
            leader,
            fast: fast.clone(),
        };
        choices.extend(sets.iter().map(of));
        if spare && !few {
            let far = |to: &ReplicaId| distances.between(leader, *to).unwrap_or(u64::MAX);
            let mut near = all.to_vec();
            near.sort_by_key(|to| (far(to), *to));
            choices.push(of(&near.into_iter().take(size).collect()));
        }
    }
    choices
}

fn subsets(
    rest: &[ReplicaId],
    size: usize,
    chosen: &mut BTreeSet<ReplicaId>,
    sets: &mut Vec<BTreeSet<ReplicaId>>,
) {
    if size == 0 {
        sets.push(chosen.clone());
        return;
    }
    for (at, replica) in rest.iter().enumerate() {
        if rest.len() - at < size {
            return;
        }
        chosen.insert(*replica);
        subsets(&rest[at + 1..], size - 1, chosen, sets);
        chosen.remove(replica);
    }
}

fn binomial(n: usize, k: usize) -> usize {
    (0..k.min(n)).fold(1usize, |product, i| product.saturating_mul(n - i) / (i + 1))
}

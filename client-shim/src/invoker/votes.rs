//! Counting matching answers, sans-I/O (Alg. 1, l. 10-14).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::service::Outcome;
use consensus::{Digest, Height, Regency, ReplicaId, View};

use super::quorum::Quorums;

/// What must be equal in two answers: view, height, digest. A query's height must be equal too: with values alone, an old value that
/// came back later (A, B, A) would let a lagging replica confirm what it has not seen, and a later read go back to B.
type Key = (u64, Height, Digest);

/// The lock that a tentative answer stands on.
pub type Lock = (Regency, Digest);

/// What a replica said last.
#[derive(Debug)]
struct Vote {
    key: Key,
    result: Option<Bytes>,
    /// None: it is final.
    lock: Option<Lock>,
}

/// Answers to one request, or to one round of a query: the newest of each replica, by the identity of its link.
#[derive(Debug, Default)]
pub struct Votes {
    by_replica: BTreeMap<ReplicaId, Vote>,
    /// Answers of earlier views than this do not count.
    since: u64,
}

/// A quorum gave equal answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// At this height.
    pub height: Height,
    /// Those who did.
    pub replicas: BTreeSet<ReplicaId>,
    /// The result, from one of them; none when all sent digests only.
    pub result: Option<Bytes>,
}

impl Votes {
    /// Of which none counts that was given in an earlier view.
    pub fn since(view: u64) -> Self {
        Self {
            since: view,
            ..Self::default()
        }
    }

    /// Only members of this view count from now on.
    pub fn in_view(&mut self, view: &View) {
        self.by_replica
            .retain(|replica, _| view.replicas.contains_key(replica));
    }

    /// Counts an answer, a tentative one by its lock; false when its result is not what its digest says, and then it says nothing
    /// at all.
    pub fn add(&mut self, from: ReplicaId, outcome: Outcome, lock: Option<Lock>) -> bool {
        if !outcome.is_consistent() {
            return false;
        }
        let key = (outcome.view, outcome.height, outcome.digest);
        let result = outcome.result.or_else(|| {
            let known = self.by_replica.remove(&from)?;
            (known.key == key).then_some(known.result).flatten()
        });
        self.by_replica.insert(from, Vote { key, result, lock });
        true
    }

    /// Whether this replica has answered.
    pub fn has(&self, replica: ReplicaId) -> bool {
        self.by_replica.contains_key(&replica)
    }

    /// How many replicas have answered.
    pub fn answered(&self) -> usize {
        self.by_replica.len()
    }

    /// The answer that a quorum gives, if one does. There cannot be two: quorums intersect, and each replica counts once.
    ///
    /// Tentative answers count with the final ones, of which one by a correct replica makes it true, but only those that stand on one
    /// lock: Q locks on one value in one regency are what a decision stands on, so nothing else is ever decided there. Locks of different
    /// regencies do not add up to that, and those of another view than the client's are not weighed by its members.
    pub fn matched(&self, quorums: &Quorums) -> Option<Matched> {
        self.classes(quorums)
            .into_iter()
            .find(|(_, replicas)| (quorums.intersecting)(replicas))
            .map(|((_, height, _), replicas)| Matched {
                height,
                result: replicas
                    .iter()
                    .find_map(|replica| self.by_replica[replica].result.clone()),
                replicas,
            })
    }

    /// Whether those who have not answered could still make a quorum with some who have.
    pub fn open(&self, members: impl Iterator<Item = ReplicaId>, quorums: &Quorums) -> bool {
        let silent: BTreeSet<ReplicaId> = members.filter(|member| !self.has(*member)).collect();
        (quorums.intersecting)(&silent)
            || self.classes(quorums).into_iter().any(|(_, mut replicas)| {
                replicas.extend(&silent);
                (quorums.intersecting)(&replicas)
            })
    }

    /// The greatest height that a correct replica has reached, by what was said.
    pub fn reached(&self, quorums: &Quorums) -> Height {
        let mut heights: Vec<(Height, ReplicaId)> = self
            .by_replica
            .iter()
            .map(|(replica, vote)| (vote.key.1, *replica))
            .collect();
        heights.sort_unstable();
        let mut at_least = BTreeSet::new();
        for (height, replica) in heights.into_iter().rev() {
            at_least.insert(replica);
            if (quorums.one_correct)(&at_least) {
                return height;
            }
        }
        0
    }

    /// Who agrees with whom: by answer, and among the tentative ones by lock.
    fn classes(&self, quorums: &Quorums) -> Vec<(Key, BTreeSet<ReplicaId>)> {
        let counted = self.since..=quorums.view;
        let votes = self.by_replica.iter();
        let votes = votes.filter(|(_, vote)| counted.contains(&vote.key.0));
        let (mut classes, mut locked) = (BTreeMap::new(), BTreeMap::new());
        for (replica, vote) in votes {
            let of_key: &mut BTreeSet<ReplicaId> = classes.entry(vote.key).or_default();
            match vote.lock {
                None => {
                    of_key.insert(*replica);
                }
                Some(lock) if vote.key.0 == quorums.view => {
                    let of_lock: &mut BTreeSet<_> = locked.entry((vote.key, lock)).or_default();
                    of_lock.insert(*replica);
                }
                Some(_) => {}
            }
        }
        let with_final = |((key, _), mut replicas): ((Key, Lock), BTreeSet<ReplicaId>)| {
            replicas.extend(classes.get(&key).into_iter().flatten());
            (key, replicas)
        };
        let mut all: Vec<_> = locked.into_iter().map(with_final).collect();
        all.extend(classes);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn three_of_four() -> Quorums {
        Quorums {
            view: 0,
            intersecting: Arc::new(|replicas| replicas.len() >= 3),
            one_correct: Arc::new(|replicas| replicas.len() >= 2),
        }
    }

    fn outcome(height: Height, result: &'static [u8]) -> Outcome {
        Outcome::new(0, height, Bytes::from_static(result), true)
    }

    fn votes(said: &[(u16, Outcome)]) -> Votes {
        let mut votes = Votes::default();
        for (replica, outcome) in said {
            votes.add(ReplicaId(*replica), outcome.clone(), None);
        }
        votes
    }

    fn result(votes: &Votes) -> Option<Bytes> {
        votes.matched(&three_of_four())?.result
    }

    fn members() -> impl Iterator<Item = ReplicaId> {
        (0..4).map(ReplicaId)
    }

    #[test]
    fn three_equal_answers_of_four_count_and_a_liar_among_them_does_not_matter() {
        let (right, wrong) = (outcome(5, b"right"), outcome(5, b"wrong"));
        let mut votes = votes(&[(0, right.clone()), (1, wrong), (2, right.clone())]);
        assert_eq!(result(&votes), None);
        votes.add(ReplicaId(3), right, None);
        assert_eq!(result(&votes), Some(Bytes::from_static(b"right")));
    }

    #[test]
    fn a_replica_that_repeats_itself_or_changes_its_mind_counts_once() {
        let right = outcome(5, b"right");
        let mut votes = votes(&[(0, right.clone()), (1, right.clone())]);
        for _ in 0..5 {
            votes.add(ReplicaId(0), right.clone(), None);
        }
        assert_eq!((result(&votes), votes.answered()), (None, 2));
        votes.add(ReplicaId(1), outcome(5, b"other"), None);
        votes.add(ReplicaId(2), right.clone(), None);
        assert_eq!(result(&votes), None, "replica 1 left");
        votes.add(ReplicaId(3), right, None);
        assert!(result(&votes).is_some());
    }

    #[test]
    fn view_and_height_are_part_of_an_answer() {
        let mut other_view = outcome(5, b"x");
        other_view.view = 1;
        let votes = votes(&[
            (0, outcome(5, b"x")),
            (1, outcome(5, b"x")),
            (2, outcome(6, b"x")),
            (3, other_view),
        ]);
        assert_eq!(result(&votes), None);
    }

    fn lock(regency: u64, value: u8) -> Option<Lock> {
        Some((regency, Digest([value; 32])))
    }

    fn believed(said: &[(u16, Option<Lock>)]) -> bool {
        let mut votes = Votes::default();
        for (replica, lock) in said {
            votes.add(ReplicaId(*replica), outcome(5, b"x"), *lock);
        }
        votes.matched(&three_of_four()).is_some()
    }

    #[test]
    fn tentative_answers_add_up_when_they_stand_on_one_lock() {
        assert!(believed(&[
            (0, lock(1, 7)),
            (1, lock(1, 7)),
            (2, lock(1, 7))
        ]));
        // A liar's lock on another value, or in another regency, makes no third.
        assert!(!believed(&[
            (0, lock(1, 7)),
            (1, lock(1, 7)),
            (2, lock(1, 8))
        ]));
        assert!(!believed(&[
            (0, lock(1, 7)),
            (1, lock(1, 7)),
            (2, lock(2, 7))
        ]));
    }

    #[test]
    fn final_answers_count_with_the_tentative_ones_of_one_lock() {
        assert!(believed(&[(0, None), (1, lock(1, 7)), (2, lock(1, 7))]));
        assert!(believed(&[(0, None), (1, None), (2, lock(1, 7))]));
        assert!(!believed(&[(0, None), (1, lock(1, 7)), (2, lock(2, 7))]));
        // What becomes final counts once.
        let locks = [(0, lock(1, 7)), (1, lock(2, 7)), (0, None)];
        assert!(!believed(&locks));
        assert!(believed(
            &[&locks[..], &[(1, None), (2, lock(2, 7))]].concat()
        ));
    }

    #[test]
    fn tentative_answers_of_an_earlier_view_do_not_count() {
        let quorums = Quorums {
            view: 1,
            ..three_of_four()
        };
        let mut votes = Votes::default();
        for id in 0..3 {
            votes.add(ReplicaId(id), outcome(5, b"x"), lock(1, 7));
        }
        assert!(votes.matched(&quorums).is_none());
        assert!(votes.matched(&three_of_four()).is_some());
    }

    #[test]
    fn an_answer_of_a_later_view_counts_when_the_client_knows_that_view() {
        let mut later = outcome(5, b"x");
        later.view = 1;
        let votes = votes(&[(0, later.clone()), (1, later.clone()), (2, later)]);
        assert_eq!(result(&votes), None);
        let quorums = Quorums {
            view: 1,
            ..three_of_four()
        };
        assert!(votes.matched(&quorums).is_some());
    }

    /// A query's answers, unlike a request's: what was read in an earlier view may be old by now.
    #[test]
    fn an_answer_of_an_earlier_view_counts_only_where_it_may() {
        let quorums = Quorums {
            view: 1,
            ..three_of_four()
        };
        let same = |mut votes: Votes| {
            for id in 0..3 {
                votes.add(ReplicaId(id), outcome(5, b"x"), None);
            }
            (
                votes.matched(&quorums).is_some(),
                votes.open(members(), &quorums),
            )
        };
        assert_eq!(same(Votes::default()), (true, true));
        assert_eq!(same(Votes::since(1)), (false, false));
    }

    #[test]
    fn a_result_that_is_not_its_digest_does_not_count() {
        let mut forged = outcome(5, b"right");
        forged.result = Some(Bytes::from_static(b"forged"));
        let mut votes = votes(&[(0, outcome(5, b"right")), (1, outcome(5, b"right"))]);
        assert!(!votes.add(ReplicaId(2), forged, None));
        assert_eq!((result(&votes), votes.answered()), (None, 2));
    }

    #[test]
    fn digests_make_the_quorum_and_a_later_whole_answer_the_result() {
        let long = Bytes::from(vec![7; 1_000]);
        let digest = Outcome::new(0, 5, long.clone(), false);
        let mut votes = votes(&[
            (0, digest.clone()),
            (1, digest.clone()),
            (2, digest.clone()),
        ]);
        let matched = votes.matched(&three_of_four()).unwrap();
        assert_eq!((matched.height, matched.result), (5, None));
        votes.add(ReplicaId(1), Outcome::new(0, 5, long.clone(), true), None);
        votes.add(ReplicaId(1), digest, None);
        assert_eq!(result(&votes), Some(long));
    }

    #[test]
    fn it_is_seen_when_no_quorum_can_form_any_more() {
        let quorums = three_of_four();
        let mut votes = votes(&[(0, outcome(5, b"a")), (1, outcome(5, b"b"))]);
        assert!(votes.open(members(), &quorums));
        votes.add(ReplicaId(2), outcome(6, b"a"), None);
        assert!(!votes.open(members(), &quorums), "2 of a kind at most");
        assert!(Votes::default().open(members(), &quorums));
    }

    #[test]
    fn one_liar_cannot_claim_a_height_that_nobody_reached() {
        let quorums = three_of_four();
        let votes = votes(&[
            (0, outcome(5, b"a")),
            (1, outcome(7, b"a")),
            (2, outcome(Height::MAX, b"a")),
        ]);
        assert_eq!(votes.reached(&quorums), 7);
        assert_eq!(Votes::default().reached(&quorums), 0);
    }

    #[test]
    fn weights_decide_when_the_view_gives_some() {
        // Replicas 0 and 1 weigh two, the others one; a quorum weighs five of seven.
        let weight = |replica: &ReplicaId| if replica.0 < 2 { 2 } else { 1 };
        let quorums = Quorums {
            view: 0,
            intersecting: Arc::new(move |set| set.iter().map(weight).sum::<u32>() >= 5),
            one_correct: Arc::new(move |set| set.iter().map(weight).sum::<u32>() >= 3),
        };
        let same = outcome(5, b"x");
        let mut light = votes(&[(2, same.clone()), (3, same.clone()), (4, same.clone())]);
        assert!(light.matched(&quorums).is_none());
        light.add(ReplicaId(0), same.clone(), None);
        assert!(light.matched(&quorums).is_some());
        let heavy = votes(&[(0, same.clone()), (1, same.clone()), (2, same)]);
        assert!(heavy.matched(&quorums).is_some());
    }
}

//! From votes to a verdict, two ways that agree (DESIGN.md, 4 and the quorum table).
//!
//! Unanimous: all n signed votes are seen equal. Ordered: of the first n−f votes in the total order COMMIT wins iff at
//! least f+1 say so (one, where nobody lies). They agree: where all n votes are seen equal, every correct replica cast that vote. If it was
//! COMMIT, any n−f ordered votes hold at least n−2f ≥ f+1 correct ones, all COMMIT. If it was not, at most f votes, the
//! liars', say COMMIT, which is fewer than f+1.

use crate::ballot::Ballot;
use consensus::{ReplicaId, View};
use std::collections::BTreeMap;

/// The group's agreed judgement of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    Commit,
    Abort,
}

/// The votes on one item.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// First vote seen of each replica, from the exchange or the order; not agreed upon.
    seen: BTreeMap<ReplicaId, Ballot>,
    /// First n−f ordered votes; equal at every correct replica.
    ordered: Vec<(ReplicaId, Ballot)>,
}

/// Sizes of the group as the tally needs them. Replicas are counted here, never weights.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub n: usize,
    pub f: usize,
    /// So many votes are not all lies: f+1, where nobody lies 1.
    pub one_correct: usize,
}

impl Group {
    pub fn of(view: &View) -> Group {
        Group {
            n: view.n(),
            f: view.f(),
            one_correct: view.one_correct(),
        }
    }
}

impl Tally {
    /// A vote of the exchange. Returns the verdict when now all n votes are seen equal.
    pub fn see(&mut self, group: Group, voter: ReplicaId, ballot: Ballot) -> Option<Verdict> {
        self.seen.entry(voter).or_insert(ballot);
        if self.seen.len() < group.n {
            return None;
        }
        let mut ballots = self.seen.values();
        let first = *ballots.next()?;
        ballots.all(|other| *other == first).then_some(match first {
            Ballot::Commit => Verdict::Commit,
            Ballot::Abort | Ballot::Abstain => Verdict::Abort,
        })
    }

    /// A vote at its place in the total order. Returns the verdict when it is the last of the first n−f.
    pub fn order(&mut self, group: Group, voter: ReplicaId, ballot: Ballot) -> Option<Verdict> {
        let wanted = group.n - group.f;
        if self.ordered.len() >= wanted || self.ordered.iter().any(|(seen, _)| *seen == voter) {
            return None;
        }
        self.ordered.push((voter, ballot));
        if self.ordered.len() < wanted {
            return None;
        }
        let commits = self
            .ordered
            .iter()
            .filter(|(_, ballot)| *ballot == Ballot::Commit)
            .count();
        Some(if commits >= group.one_correct {
            Verdict::Commit
        } else {
            Verdict::Abort
        })
    }

    /// How many replicas' votes were seen.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }

    /// What this replica was seen to vote.
    pub fn ballot_of(&self, voter: ReplicaId) -> Option<Ballot> {
        self.seen.get(&voter).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOUR: Group = Group {
        n: 4,
        f: 1,
        one_correct: 2,
    };

    fn ballot() -> impl Strategy<Value = Ballot> {
        prop_oneof![
            Just(Ballot::Commit),
            Just(Ballot::Abort),
            Just(Ballot::Abstain)
        ]
    }

    #[test]
    fn four_equal_votes_are_final_and_three_are_not() {
        let mut tally = Tally::default();
        for r in 0..3 {
            assert_eq!(tally.see(FOUR, ReplicaId(r), Ballot::Commit), None);
        }
        assert_eq!(
            tally.see(FOUR, ReplicaId(3), Ballot::Commit),
            Some(Verdict::Commit)
        );
    }

    #[test]
    fn one_lying_commit_among_ordered_votes_does_not_win() {
        let mut tally = Tally::default();
        assert_eq!(tally.order(FOUR, ReplicaId(0), Ballot::Commit), None);
        assert_eq!(
            tally.order(FOUR, ReplicaId(0), Ballot::Commit),
            None,
            "a second vote of one replica counts nothing"
        );
        assert_eq!(tally.order(FOUR, ReplicaId(1), Ballot::Abort), None);
        assert_eq!(
            tally.order(FOUR, ReplicaId(2), Ballot::Abstain),
            Some(Verdict::Abort)
        );
    }

    #[test]
    fn two_commits_of_three_ordered_votes_win_over_one_dissenter() {
        let mut tally = Tally::default();
        tally.order(FOUR, ReplicaId(3), Ballot::Abort);
        tally.order(FOUR, ReplicaId(1), Ballot::Commit);
        assert_eq!(
            tally.order(FOUR, ReplicaId(2), Ballot::Commit),
            Some(Verdict::Commit)
        );
    }

    proptest! {
        /// Whatever f liars vote, to whomever, and in whichever order votes are ordered: if any replica can see all n
        /// votes equal, every ordered tally gives the same verdict.
        #[test]
        fn the_two_ways_agree(
            f in 1usize..4,
            correct in ballot(),
            lies in proptest::collection::vec(ballot(), 3),
            shuffle in any::<u64>(),
        ) {
            let group = Group {
                n: 3 * f + 1,
                f,
                one_correct: f + 1,
            };
            let mut exchange = Tally::default();
            let mut unanimous = None;
            for r in 0..group.n {
                unanimous = exchange.see(group, ReplicaId(r as u16), correct);
            }
            let mut order: Vec<usize> = (0..group.n).collect();
            let mut state = shuffle | 1;
            for i in (1..order.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut tally = Tally::default();
            let mut agreed = None;
            for r in order {
                // Replicas below f lie to the order, having voted as all others in the exchange.
                let cast = if r < f { lies[r] } else { correct };
                agreed = agreed.or(tally.order(group, ReplicaId(r as u16), cast));
            }
            prop_assert_eq!(unanimous, agreed);
        }
    }
}

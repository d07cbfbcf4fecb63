//! The rule: what the model takes for granted when it calls it.

use consensus::{ReplicaId, StopState};
use model::{Claim, OPEN, Outcome, Rule, Snapshot, Value, Written, claims, view};

const REGENCY: u8 = 2;
const VALUES: u8 = 2;

/// Every state that a correct replica could sign in regency 2, and many that it could not.
fn snapshots() -> Vec<Snapshot> {
    let ats = [None, Some(0), Some(1)];
    let locks = claims(REGENCY, VALUES).into_iter();
    let locks: Vec<_> = locks
        .filter(|claim| claim.writeset.is_empty())
        .map(|claim| claim.lock)
        .collect();
    let mut all = Vec::new();
    for lock in locks {
        for v in ats {
            for w in ats {
                let newest = [v, w, None];
                all.push(Snapshot { lock, newest });
            }
        }
    }
    all
}

fn state(replica: u16, claim: &Claim) -> StopState {
    let pair = |(at, value): &(u8, Value)| (u64::from(*at), model::digest(*value));
    StopState {
        view: 0,
        regency: REGENCY.into(),
        replica: ReplicaId(replica),
        decided: OPEN - 1,
        votes: model::votes(
            OPEN,
            claim.lock.as_ref().map(pair),
            claim.writeset.iter().map(pair),
        ),
    }
}

/// Calls `judge` with every collection of two or three such states and a liar's.
fn each_collection(mut judge: impl FnMut(&[&StopState])) -> usize {
    // Votes are weighed by who gave them: each correct replica's states, then the liar's.
    let correct: [Vec<StopState>; 3] = [0, 1, 2].map(|replica| {
        let snapshots = snapshots().into_iter();
        let states = snapshots.map(|snapshot| state(replica, &snapshot.into()));
        states.collect()
    });
    let claims = claims(REGENCY, VALUES);
    let lies: Vec<StopState> = claims.iter().map(|claim| state(3, claim)).collect();
    let mut count = 0;
    for (i, first) in correct[0].iter().enumerate() {
        for (j, second) in correct[1].iter().enumerate().skip(i) {
            for lie in &lies {
                judge(&[first, second, lie]);
                count += 1;
            }
            for third in &correct[2][j..] {
                judge(&[first, second, third]);
                for lie in &lies {
                    judge(&[first, second, third, lie]);
                    count += 1;
                }
            }
        }
    }
    count
}

/// Faults of the rule are planted in a copy; unplanted, the copy is the rule that runs.
#[test]
fn the_rule_written_out_is_the_rule_that_runs() {
    let (built, written) = (
        Rule::AsBuilt(view(4, 1)),
        Rule::Written(Written::of(&view(4, 1))),
    );
    let mut seen = [0usize; 3];
    let count = each_collection(|states| {
        let outcome = built.judge(states);
        assert_eq!(outcome, written.judge(states), "{states:#?}");
        seen[match outcome {
            Outcome::Doubt => 0,
            Outcome::Free => 1,
            Outcome::Bound(_) => 2,
        }] += 1;
    });
    assert!(count > 1_000_000, "{count} collections");
    assert!(seen.iter().all(|times| *times > 500), "{seen:?}");
}

/// The model looks up collections by their states in ascending order.
#[test]
fn the_order_of_the_states_is_nothing_to_the_rule() {
    let rule = Rule::AsBuilt(view(4, 1));
    each_collection(|states| {
        let outcome = rule.judge(states);
        let mut turned = states.to_vec();
        turned.reverse();
        assert_eq!(outcome, rule.judge(&turned));
        turned.swap(0, 1);
        assert_eq!(outcome, rule.judge(&turned));
    });
}

/// So the model needs no replicas that lag and have no votes here: they are idle ones.
#[test]
fn votes_at_a_lower_height_count_for_nothing() {
    let rule = Rule::AsBuilt(view(4, 1));
    let idle = state(0, &Snapshot::default().into());
    each_collection(|states| {
        let [others @ .., last] = states else {
            return;
        };
        let mut lagging = StopState {
            decided: OPEN - 2,
            ..(*last).clone()
        };
        for votes in &mut lagging.votes {
            votes.height = OPEN - 1;
        }
        let idle = StopState {
            replica: last.replica,
            ..idle.clone()
        };
        let judge = |last| rule.judge(&[others, &[last]].concat());
        assert_eq!(judge(&lagging), judge(&idle));
    });
}

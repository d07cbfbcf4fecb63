//! The advisor: where the leader and the votes should be, and what liars can do to it.

use std::collections::BTreeSet;

use crate::common::view;
use consensus::advisor::{Choice, Claims, Distances, advise, predict};
use consensus::{ReplicaId, View};

/// Mean round trips of the thesis' Table 5.7: Ireland, São Paulo, Oregon, Sydney, Virginia.
const REGIONS: [[u64; 5]; 5] = [
    [0, 211, 171, 340, 88],
    [208, 0, 217, 359, 123],
    [171, 217, 0, 205, 70],
    [336, 359, 205, 0, 255],
    [88, 123, 71, 256, 0],
];

fn claims(n: u16, trip: impl Fn(u16, u16) -> u64) -> Claims {
    let of = |i| (0..n).filter(move |j| *j != i).map(move |j| (i, j));
    let trips = |i| of(i).map(|(i, j)| (ReplicaId(j), trip(i, j))).collect();
    (0..n).map(|i| (ReplicaId(i), trips(i))).collect()
}

fn set(ids: &[u16]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn small(n: u16, f: u16) -> View {
    View { f, ..view(n) }
}

#[test]
fn around_the_world_virginia_leads_and_the_near_ones_are_fast() {
    let claims = claims(5, |i, j| REGIONS[usize::from(i)][usize::from(j)]);
    let view = small(5, 1);
    // Sydney leads, all weigh the same.
    let advice = advise(&view, ReplicaId(3), &claims).expect("all is measured");
    println!("{advice:?}");
    assert_eq!(advice.best.leader, ReplicaId(4), "Virginia, the centre");
    assert!(
        !advice.best.fast.contains(&ReplicaId(3)),
        "Sydney, the farthest"
    );
    assert!(advice.is_worth_it());
    // As WHEAT found: weights alone save a good part with the same leader.
    let distances = Distances::of(&claims);
    let takes = |leader, fast: &[u16]| {
        let choice = Choice {
            leader: ReplicaId(leader),
            fast: set(fast),
        };
        predict(&view, &choice, &distances).expect("all is measured")
    };
    assert!(takes(4, &[4, 2]) < takes(4, &[]), "weights pay");
    assert!(
        takes(4, &[4, 2]) < takes(3, &[4, 2]),
        "the place of the leader pays"
    );
    // What is the best already is left alone.
    let view = View {
        fast: advice.best.fast.clone(),
        ..view
    };
    let again = advise(&view, advice.best.leader, &claims).expect("all is measured");
    assert_eq!(again.best, again.now);
    assert!(!again.is_worth_it());
}

#[test]
fn a_prediction_is_what_the_phases_add_up_to() {
    // 10 ms between any two, four replicas: PROPOSE 5, WRITE 5, ACCEPT 5.
    let claims = claims(4, |_, _| 10);
    let choice = Choice {
        leader: ReplicaId(0),
        fast: BTreeSet::new(),
    };
    let takes = predict(&view(4), &choice, &Distances::of(&claims));
    assert_eq!(takes, Some(15));
}

#[test]
fn without_a_measured_quorum_nothing_is_advised() {
    let mut claims = claims(4, |_, _| 10);
    claims.remove(&ReplicaId(3));
    assert!(
        advise(&view(4), ReplicaId(0), &claims).is_some(),
        "three are a quorum"
    );
    claims.remove(&ReplicaId(2));
    assert_eq!(advise(&view(4), ReplicaId(0), &claims), None);
}

#[test]
fn a_dead_leader_is_replaced_whatever_it_takes() {
    let mut claims = claims(4, |_, _| 10);
    claims.remove(&ReplicaId(0));
    let advice = advise(&view(4), ReplicaId(0), &claims).expect("three are a quorum");
    assert_eq!(advice.now_takes, None);
    assert_ne!(advice.best.leader, ReplicaId(0));
    assert!(advice.is_worth_it());
}

#[test]
fn larger_groups_are_advised_too() {
    let claims = claims(31, |i, j| u64::from(i.abs_diff(j)) * 10);
    let advice = advise(&small(31, 9), ReplicaId(0), &claims).expect("all is measured");
    assert!((8..=22).contains(&advice.best.leader.0), "{advice:?}");
    assert!(advice.best_takes < advice.now_takes.expect("all is measured"));
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }
}

/// The bound: true(proposal) ≤ min over all choices of what they take without any liar's help. And: claims that favour
/// a liar change nothing, since nobody else confirms them.
#[test]
fn a_proposal_is_never_slower_than_the_best_that_the_correct_ones_reach_by_themselves() {
    let mut dice = Dice(11);
    for round in 0..150 {
        let (n, f) = [(4, 1), (5, 1), (6, 1), (8, 2)][dice.roll(4) as usize];
        let view = small(n, f);
        let mut place = Vec::new();
        (0..n).for_each(|_| place.push((dice.roll(200), dice.roll(200))));
        let truth = |i: u16, j: u16| {
            let ((a, b), (c, d)) = (place[usize::from(i)], place[usize::from(j)]);
            1 + a.abs_diff(c) + b.abs_diff(d)
        };
        let honest = claims(n, truth);
        let liars: BTreeSet<u16> = (0..f).map(|_| dice.roll(n.into()) as u16).collect();
        // A liar answers late by what it likes, and claims what it likes, near or far.
        let mut lied = honest.clone();
        for (i, trips) in &mut lied {
            for (j, trip) in trips {
                if liars.contains(&i.0) {
                    *trip = [0, 1, dice.roll(500), 1 << 40][dice.roll(4) as usize];
                } else if liars.contains(&j.0) {
                    *trip += dice.roll(300) * dice.roll(2);
                }
            }
        }
        let advice = advise(&view, ReplicaId(0), &lied).expect("correct ones are a quorum");
        let real = Distances::of(&honest);
        let takes = predict(&view, &advice.best, &real).expect("all is measured");
        // Nothing that a liar touches is there.
        let mut alone = honest.clone();
        alone.retain(|i, _| !liars.contains(&i.0));
        let bound = advise(&view, ReplicaId(0), &alone)
            .expect("a quorum")
            .best_takes;
        assert!(
            takes <= advice.best_takes,
            "round {round}: slower than predicted"
        );
        assert!(
            takes <= bound,
            "round {round}: {takes} > {bound} {advice:?} {liars:?}"
        );
    }
}

#[test]
fn a_liar_does_not_make_itself_leader() {
    // Replica 3 is far from all and claims to be next to everybody; it says that the others are far apart from it only.
    let far = |i: u16, j: u16| if i == 3 || j == 3 { 300 } else { 20 };
    let mut claims = claims(5, far);
    for trip in claims
        .get_mut(&ReplicaId(3))
        .expect("it claims")
        .values_mut()
    {
        *trip = 0;
    }
    let advice = advise(&small(5, 1), ReplicaId(3), &claims).expect("all is measured");
    assert_ne!(advice.best.leader, ReplicaId(3));
    assert!(!advice.best.fast.contains(&ReplicaId(3)));
    assert!(advice.is_worth_it());
}

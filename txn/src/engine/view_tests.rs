//! The view changes while transactions are under way.

use super::group::{Group4, view};
use super::*;

fn change(group: &mut Group4, view: &View) {
    let height = group.engines[0].decided_height();
    for (engine, done) in group.engines.iter_mut().zip(&mut group.done) {
        engine.view_changed(height, view.clone(), done);
    }
}

fn with(added: &[u16], removed: &[u16]) -> View {
    let mut next = View { id: 1, ..view() };
    for id in added {
        let key = ed25519_dalek::SigningKey::from_bytes(&[*id as u8 + 1; 32]);
        next.replicas.insert(ReplicaId(*id), PublicKey::of(&key));
    }
    for id in removed {
        next.replicas.remove(&ReplicaId(*id));
    }
    next
}

fn dropped(group: &Group4, tx: TxId) -> bool {
    let ends =
        |a: &Action| matches!(a, Action::Drop { tx: of, doom: Doom::MasterChanged } if *of == tx);
    group.done[1].iter().any(ends)
}

#[test]
fn votes_count_in_the_view_of_their_height() {
    let mut group = Group4::new();
    let (early, late) = (group.begin(), group.begin());
    let commit = group.commit(early, false);
    let height = group.decide(vec![commit]);
    // A fifth member comes after the Commit and before the votes on it: its vote is not missed.
    change(&mut group, &with(&[4], &[]));
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Commit)]));
    // At the next height it is.
    let commit = group.commit(late, false);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    assert_eq!(group.verdicts(2, height), None, "four of five are not all");
    group.order_votes(height, &[0, 1, 2, 3]);
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Commit)]));
}

#[test]
fn where_the_master_keeps_its_place_its_transactions_go_on() {
    let mut group = Group4::new();
    let tx = group.begin();
    change(&mut group, &with(&[4], &[3]));
    assert_eq!(
        (group.engines[1].epoch(), group.engines[1].master()),
        (0, ReplicaId(0))
    );
    assert!(!dropped(&group, tx));
}

#[test]
fn a_removed_masters_transactions_are_over() {
    let mut group = Group4::new();
    let tx = group.begin();
    change(&mut group, &with(&[4], &[0]));
    assert_eq!(
        (group.engines[1].epoch(), group.engines[1].master()),
        (1, ReplicaId(2))
    );
    assert!(dropped(&group, tx));
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    group.settle();
    assert_eq!(group.verdicts(1, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn a_master_whose_place_moved_stays_master_in_a_later_epoch() {
    let mut group = Group4::new();
    for voter in [1, 2] {
        for epoch in 0..2 {
            let vote = Ordered::MasterChange { epoch };
            let vote = group.place(ClientId::of(ReplicaId(voter)), vote);
            group.decide(vec![vote]);
        }
    }
    // Replicas 1 and 2 voted epoch 0 away; then only one of them epoch 1.
    assert_eq!(group.engines[1].master(), ReplicaId(1));
    change(&mut group, &with(&[4], &[0]));
    let engine = &group.engines[1];
    assert_eq!(
        (engine.epoch(), engine.master()),
        (4, ReplicaId(1)),
        "of 1, 2, 3, 4"
    );
}

#[test]
fn verdicts_are_believed_from_two_members_that_say_the_same() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    let tell = |group: &mut Group4, from: u16, verdict| {
        let heights = vec![vec![(0, verdict)]];
        let (engine, done) = (&mut group.engines[3], &mut group.done[3]);
        engine.told(1, ReplicaId(from), height, heights, done);
    };
    // One liar, however often it speaks, and a stranger.
    tell(&mut group, 0, Verdict::Abort);
    tell(&mut group, 0, Verdict::Abort);
    tell(&mut group, 9, Verdict::Abort);
    tell(&mut group, 1, Verdict::Commit);
    group.apply_all();
    group.settle();
    assert_eq!(group.verdicts(3, height), None);
    tell(&mut group, 2, Verdict::Commit);
    // The run that is under way ends first.
    group.judge(3, height, 0, Ballot::Abstain);
    group.apply_all();
    group.settle();
    assert_eq!(group.verdicts(3, height), Some(vec![(0, Verdict::Commit)]));
}

#[test]
fn verdicts_told_before_the_batch_is_decided_here_are_kept_within_bounds() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let next = group.engines[3].decided_height() + 1;
    for from in [0, 1] {
        let (engine, done) = (&mut group.engines[3], &mut group.done[3]);
        let heights = vec![vec![(0, Verdict::Abort)]; 100_000];
        engine.told(1, ReplicaId(from), next, heights, done);
    }
    assert!(group.engines[3].told.len() as u64 <= limits::VERDICTS_TOLD);
    let height = group.decide(vec![commit]);
    group.apply_all();
    group.settle();
    assert_eq!(
        group.judgements(3, height, 0),
        0,
        "there is nothing to find out"
    );
    assert_eq!(group.verdicts(3, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn votes_are_signed_with_the_key_that_the_view_of_their_height_names() {
    let mut group = Group4::new();
    let fresh = ed25519_dalek::SigningKey::from_bytes(&[77; 32]);
    group.engines[1].offer_key(fresh.clone());
    let (early, late) = (group.begin(), group.begin());
    let commit = group.commit(early, false);
    let before = group.decide(vec![commit]);
    let mut next = with(&[], &[]);
    next.replicas.insert(ReplicaId(1), PublicKey::of(&fresh));
    change(&mut group, &next);
    let commit = group.commit(late, false);
    let after = group.decide(vec![commit]);
    for height in [before, after] {
        for replica in 0..4 {
            group.judge(replica, height, 0, Ballot::Commit);
        }
        group.exchange();
        assert_eq!(
            group.verdicts(2, height),
            Some(vec![(0, Verdict::Commit)]),
            "all four votes of height {height} count"
        );
    }
}

#[test]
fn one_that_is_removed_asks_for_verdicts_often_and_votes_on_what_was_ordered_before() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    change(&mut group, &with(&[4], &[3]));
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    let mut due = |replica: usize| {
        let engine = &mut group.engines[replica];
        let mut asked = Vec::new();
        let now = group.now + limits::LEAVER_FETCH_MS;
        engine.timer(now, &mut asked);
        asked.iter().any(|a| matches!(a, Action::FetchVotes { .. }))
    };
    assert!(due(3), "it has little time");
    assert!(!due(0));
    group.exchange();
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Commit)]));
}

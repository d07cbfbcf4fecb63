//! The master is moved by an administrator: nobody's transaction is cut off before its time.

use super::group::{CLIENT, Group4};
use super::*;
use crate::ordered::Begin;

fn announce(group: &mut Group4, to: u16) {
    let height = group.engines[0].decided_height();
    for (engine, done) in group.engines.iter_mut().zip(&mut group.done) {
        engine.move_master(height, ReplicaId(to), done);
    }
}

fn begins(group: &mut Group4, epoch: u64) -> (TxId, Answer) {
    let begin = Ordered::Begin(Begin {
        epoch,
        settings: vec![],
        isolation: Isolation::Snapshot,
        read_only: false,
    });
    let placed = group.place(CLIENT, begin);
    let tx = group.tx();
    group.decide(vec![placed]);
    let mut answers = group.done[1].iter().filter_map(|action| match action {
        Action::Answer { seq, answer, .. } if *seq == tx.seq => Some(answer.clone()),
        _ => None,
    });
    let answer = answers
        .next_back()
        .expect("a Begin is answered at its place");
    (tx, answer)
}

fn now(group: &Group4) -> (u64, ReplicaId) {
    (group.engines[2].epoch(), group.engines[2].master())
}

#[test]
fn an_idle_master_moves_at_once() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    group.decide(vec![commit]);
    announce(&mut group, 0);
    assert_eq!(now(&group), (0, ReplicaId(0)), "it is the master already");
    announce(&mut group, 9);
    assert_eq!(now(&group), (0, ReplicaId(0)), "no member");
    announce(&mut group, 3);
    assert_eq!(now(&group), (3, ReplicaId(3)));
    announce(&mut group, 2);
    assert_eq!(now(&group), (6, ReplicaId(2)), "epochs only grow");
}

#[test]
fn what_is_open_ends_before_the_master_moves_and_nothing_begins_meanwhile() {
    let mut group = Group4::new();
    let (one, other) = (group.begin(), group.begin());
    announce(&mut group, 2);
    assert_eq!(now(&group), (0, ReplicaId(0)));
    let (held, answer) = begins(&mut group, 0);
    assert_eq!(answer, Answer::Moved);
    assert!(!group.engines[1].is_open(&held));

    let commit = group.commit(one, false);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    assert_eq!(group.verdicts(3, height), Some(vec![(0, Verdict::Commit)]));
    assert_eq!(now(&group), (0, ReplicaId(0)), "one is still open");

    let commit = group.commit(other, false);
    let height = group.decide(vec![commit]);
    assert_eq!(now(&group), (2, ReplicaId(2)));
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    assert_eq!(
        group.verdicts(3, height),
        Some(vec![(0, Verdict::Commit)]),
        "the last commit of the old epoch counts, though it moved the master"
    );
    let (_, late) = begins(&mut group, 0);
    assert_eq!(late, Answer::Moved, "its client thinks of the old master");
    let (next, answer) = begins(&mut group, 2);
    assert_eq!(answer, Answer::Begun);
    assert!(group.engines[1].is_open(&next));
}

#[test]
fn two_replicas_that_have_waited_long_enough_move_the_master_to_the_named_one() {
    let mut group = Group4::new();
    let tx = group.begin();
    announce(&mut group, 3);
    for voter in [0, 2] {
        assert_eq!(now(&group), (0, ReplicaId(0)));
        let vote = Ordered::MasterChange { epoch: 0 };
        let vote = group.place(ClientId::of(ReplicaId(voter)), vote);
        group.decide(vec![vote]);
    }
    assert_eq!(now(&group), (3, ReplicaId(3)));
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    group.settle();
    assert_eq!(group.verdicts(0, height), Some(vec![(0, Verdict::Abort)]));
    assert_eq!(group.engines[2].moving(), None, "the move is done");
}

//! Stories about four replicas, told with their engines alone.

use super::group::{CLIENT, Group4, key, step};
use super::*;
use crate::ordered::{Auto, Begin, Commit};

#[test]
fn four_equal_votes_commit_without_being_ordered() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    assert_eq!(
        group.verdicts(0, height),
        None,
        "nobody commits on its own vote"
    );
    group.exchange();
    for replica in 0..4 {
        assert_eq!(
            group.verdicts(replica, height),
            Some(vec![(0, Verdict::Commit)])
        );
    }
}

#[test]
fn a_dissenter_adopts_what_the_ordered_votes_decide() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.judge(3, height, 0, Ballot::Abort);
    group.exchange();
    assert_eq!(
        group.verdicts(0, height),
        None,
        "four votes that differ decide nothing by themselves"
    );
    group.order_votes(height, &[3, 0, 1]);
    for replica in 0..4 {
        assert_eq!(
            group.verdicts(replica, height),
            Some(vec![(0, Verdict::Commit)])
        );
    }
    let own = group.done[3].iter().find_map(|a| match a {
        Action::Apply { own, .. } => Some(*own),
        _ => None,
    });
    assert_eq!(
        own,
        Some(Some(Ballot::Abort)),
        "so the executor knows that it must adopt"
    );
}

#[test]
fn one_commit_vote_of_three_is_an_abort() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.judge(0, height, 0, Ballot::Commit);
    for replica in 1..4 {
        group.judge(replica, height, 0, Ballot::Abort);
    }
    group.exchange();
    group.order_votes(height, &[0, 1, 2]);
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn the_leader_asks_for_the_ordering_of_votes_when_one_replica_is_silent() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    group.engines[0].network(true, true);
    let deadline = group.engines[0].next_deadline().expect("votes are waiting");
    let mut out = Vec::new();
    group.engines[0].timer(deadline, &mut out);
    let ordered = out.iter().find_map(|a| match a {
        Action::OrderVotes(parts) => Some(parts.len()),
        _ => None,
    });
    assert_eq!(ordered, Some(3));
}

#[test]
fn nothing_is_voted_on_behind_an_item_whose_effects_may_be_missing() {
    let mut group = Group4::new();
    let (first, second) = (group.begin(), group.begin());
    let batch = vec![group.commit(first, false), group.commit(second, false)];
    let height = group.decide(batch);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    // Replica 3 refused the first and, without its effects, would accept the second.
    group.judge(3, height, 0, Ballot::Abort);
    group.judge(3, height, 1, Ballot::Commit);
    let voted: Vec<u32> = group.done[3]
        .iter()
        .filter_map(|a| match a {
            Action::Cast(part) => Some(part.items().map(|(i, _)| i).collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(voted, vec![0]);
    group.exchange();
    group.order_votes(height, &[0, 1, 2]);
    assert_eq!(
        group.judgements(3, height, 1),
        2,
        "after the adoption the second item is judged again"
    );
}

#[test]
fn an_autocommit_write_reads_what_everything_ordered_earlier_left() {
    let mut group = Group4::new();
    let tx = group.begin();
    let auto = Ordered::Auto(Auto {
        tx: TxId {
            client: CLIENT,
            incarnation: 1,
            seq: 1 << 63,
        },
        epoch: 0,
        ran_at: group.height,
        settings: vec![],
        step: step(false),
        word: None,
    });
    let batch = vec![group.commit(tx, false), group.place(CLIENT, auto)];
    let height = group.decide(batch);
    for replica in 0..4 {
        assert_eq!(group.judgements(replica, height, 1), 0);
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    for replica in 0..4 {
        assert_eq!(group.judgements(replica, height, 1), 1);
    }
}

#[test]
fn a_snapshot_is_taken_only_when_every_verdict_up_to_its_height_is_applied() {
    let mut group = Group4::new();
    let tx = group.begin();
    let begin = Ordered::Begin(Begin {
        epoch: 0,
        settings: vec![],
        isolation: Isolation::Snapshot,
        read_only: false,
    });
    let batch = vec![group.place(CLIENT, begin), group.commit(tx, false)];
    let height = group.decide(batch);
    let asked = |group: &Group4| {
        let wanted = |a: &Action| matches!(a, Action::Snapshots { height: h, .. } if *h == height);
        group.done[1].iter().any(wanted)
    };
    assert!(!asked(&group));
    for replica in 0..4 {
        group.judge(replica, height, 1, Ballot::Commit);
    }
    assert!(!asked(&group));
    group.exchange();
    assert!(asked(&group));
}

#[test]
fn a_committed_schema_change_aborts_what_began_before_it() {
    let mut group = Group4::new();
    let (old, ddl) = (group.begin(), group.begin());
    let commit = group.commit(ddl, true);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    let doomed = group.done[2]
        .iter()
        .any(|a| matches!(a, Action::Drop { tx, doom: Doom::SchemaChanged } if *tx == old));
    assert!(doomed);
    let commit = group.commit(old, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    assert_eq!(group.judgements(2, height, 0), 0, "nobody needs to vote");
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn a_schema_change_that_only_adds_aborts_nobody() {
    let adding = || {
        let mut adding = step(true);
        adding.evidence.adds_only = true;
        adding
    };
    // One that adds among others that do not is no addition.
    for (steps, goes_on) in [
        (vec![step(false), adding(), adding()], true),
        (vec![adding(), step(true)], false),
    ] {
        let mut group = Group4::new();
        let (old, ddl) = (group.begin(), group.begin());
        let begun = group.engines[2].decided_height();
        let commit = group.commit_of(ddl, steps);
        let height = group.decide(vec![commit]);
        for replica in 0..4 {
            group.judge(replica, height, 0, Ballot::Commit);
        }
        group.exchange();
        let doomed = group.done[2]
            .iter()
            .any(|a| matches!(a, Action::Drop { .. }));
        assert_eq!(doomed, !goes_on);
        // What differs from before is nobody's lie, either way.
        assert!(group.engines[2].schema_touched_since(begun - 1));
        assert!(!group.engines[2].schema_touched_since(height));
        let commit = group.commit(old, false);
        let height = group.decide(vec![commit]);
        group.apply_all();
        assert_eq!(group.judgements(2, height, 0) > 0, goes_on);
    }
}

/// Privileges are reported without the objects that they are given on.
#[test]
fn what_changes_the_schema_otherwise_does_not_go_on_across_an_addition() {
    let mut group = Group4::new();
    let (grant, ddl) = (group.begin(), group.begin());
    let mut adding = step(true);
    adding.evidence.adds_only = true;
    let commit = group.commit_of(ddl, vec![adding.clone()]);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    let commit = group.commit_of(grant, vec![step(true)]);
    let height = group.decide(vec![commit]);
    group.apply_all();
    assert_eq!(group.judgements(2, height, 0), 0, "by the order alone");
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn the_epoch_moves_by_two_replicas_votes_and_takes_open_transactions_with_it() {
    let mut group = Group4::new();
    let tx = group.begin();
    let change = |epoch| Ordered::MasterChange { epoch };
    for _ in 0..3 {
        let vote = group.place(ClientId::of(ReplicaId(2)), change(0));
        group.decide(vec![vote]);
    }
    assert_eq!(
        group.engines[1].epoch(),
        0,
        "one replica alone cannot move the master"
    );
    let stranger = group.place(CLIENT, change(0));
    group.decide(vec![stranger]);
    assert_eq!(group.engines[1].epoch(), 0, "a client has no say");
    let vote = group.place(ClientId::of(ReplicaId(3)), change(0));
    group.decide(vec![vote]);
    assert_eq!(
        (group.engines[1].epoch(), group.engines[1].master()),
        (1, ReplicaId(1))
    );
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    assert_eq!(group.verdicts(0, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn a_commit_of_another_client_ends_nothing() {
    let mut group = Group4::new();
    let tx = group.begin();
    let thief = ClientId(CLIENT.0 + 1);
    let theft = Ordered::Commit(Commit {
        tx,
        epoch: 0,
        steps: vec![],
        word: None,
    });
    let placed = group.place(thief, theft);
    let height = group.decide(vec![placed]);
    group.apply_all();
    assert_eq!(group.verdicts(0, height), Some(vec![(0, Verdict::Abort)]));
    assert!(group.engines[0].is_open(&tx));
}

#[test]
fn a_client_that_starts_anew_leaves_nothing_open() {
    let mut group = Group4::new();
    let tx = group.begin();
    let mut placed = group.place(CLIENT, Ordered::Nothing(vec![]));
    placed.incarnation = 2;
    group.decide(vec![placed]);
    assert!(!group.engines[3].is_open(&tx));
}

#[test]
fn forged_and_repeated_votes_count_nothing() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    let forged = VotePart::sign(
        &key(0),
        0,
        ReplicaId(3),
        height,
        0,
        vec![(0, Ballot::Commit)],
    );
    let other_view = VotePart::sign(
        &key(3),
        9,
        ReplicaId(3),
        height,
        0,
        vec![(0, Ballot::Commit)],
    );
    for part in [forged, other_view] {
        let done = &mut group.done[0];
        group.engines[0].vote(1_000, part, done);
    }
    group.exchange();
    assert_eq!(group.verdicts(0, height), None);
}

#[test]
fn a_restarted_replica_stands_by_its_vote_and_adopts_what_it_held() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let recorded = Recorded {
        ballots: BTreeMap::from([(0, Ballot::Commit)]),
        verdicts: BTreeMap::new(),
    };
    let height = group.height + 1;
    let (engine, done) = (&mut group.engines[3], &mut group.done[3]);
    engine.decided(1_000, height, 1_000, vec![commit.clone()], &recorded, done);
    assert_eq!(
        group.judgements(3, height, 0),
        0,
        "what was voted is not judged again"
    );
    let mut out = Vec::new();
    for replica in 0..4 {
        let part = VotePart::sign(
            &key(replica),
            0,
            ReplicaId(replica),
            height,
            0,
            vec![(0, Ballot::Commit)],
        );
        group.engines[3].vote(1_000, part, &mut out);
    }
    let adopts = out.iter().any(|a| {
        matches!(
            a,
            Action::Apply {
                verdict: Verdict::Commit,
                own: None,
                ..
            }
        )
    });
    assert!(adopts, "{out:?}");
}

/// What a client says alone moves nothing, what most clients say is told to the replica, which votes as it likes.
#[test]
fn clients_that_suspect_the_master_are_told_of_and_move_nothing_themselves() {
    let mut group = Group4::new();
    let others = [ClientId(CLIENT.0 + 1), ClientId(CLIENT.0 + 2)];
    let at_work: Vec<Placed> = [CLIENT, others[0], others[1]]
        .into_iter()
        .map(|client| group.place(client, Ordered::Nothing(vec![])))
        .collect();
    group.decide(at_work);
    let suspected = |group: &Group4| {
        let told = |a: &&Action| matches!(a, Action::Suspected { epoch: 0 });
        group
            .done
            .iter()
            .map(|done| done.iter().filter(told).count())
            .collect::<Vec<_>>()
    };
    for (client, told) in [(CLIENT, 0), (others[0], 1), (others[1], 1)] {
        let placed = group.place(client, Ordered::MasterChange { epoch: 0 });
        group.decide(vec![placed]);
        assert_eq!(suspected(&group), vec![told; 4]);
    }
    assert_eq!(group.engines[0].epoch(), 0);
}

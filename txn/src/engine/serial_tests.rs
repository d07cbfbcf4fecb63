//! SERIALIZABLE: what wrote is judged at its place, one after another; what only read is judged at its snapshot.

use super::group::{CLIENT, Group4, step};
use super::*;
use crate::Step;
use crate::ordered::Commit;
use consensus::Digest;

/// The state at which a replica was asked to judge an item: `None` is its place, `Some` a height.
fn judged_at(group: &Group4, replica: usize, at: (Height, u32)) -> Vec<Option<Height>> {
    let asked = group.done[replica]
        .iter()
        .filter_map(|action| match action {
            Action::Judge {
                height,
                index,
                begun,
                ..
            } if (*height, *index) == at => Some(*begun),
            _ => None,
        });
    asked.collect()
}

fn committing(group: &mut Group4, tx: TxId, steps: Vec<Step>) -> Placed {
    let epoch = group.engines[0].epoch();
    group.place(
        CLIENT,
        Ordered::Commit(Commit {
            tx,
            epoch,
            steps,
            word: None,
        }),
    )
}

fn reading() -> Step {
    let mut read = step(false);
    read.evidence.write = Digest([0; 32]);
    read
}

#[test]
fn a_serializable_commit_that_wrote_is_judged_at_its_place() {
    let mut group = Group4::new();
    let (plain, serial) = (
        group.begin_at(Isolation::Snapshot),
        group.begin_at(Isolation::Serializable),
    );
    let batch = vec![group.commit(plain, false), group.commit(serial, false)];
    let height = group.decide(batch);
    for replica in 0..4 {
        assert_eq!(judged_at(&group, replica, (height, 0)), [Some(1)]);
        assert_eq!(
            judged_at(&group, replica, (height, 1)),
            [],
            "the state at its place is not there yet"
        );
        group.judge(replica, height, 0, Ballot::Commit);
        assert_eq!(judged_at(&group, replica, (height, 1)), []);
    }
    group.exchange();
    for replica in 0..4 {
        assert_eq!(judged_at(&group, replica, (height, 1)), [None]);
    }
}

#[test]
fn serializable_commits_of_one_batch_are_judged_one_after_another() {
    let mut group = Group4::new();
    let open: Vec<TxId> = (0..3)
        .map(|_| group.begin_at(Isolation::Serializable))
        .collect();
    let batch = open.iter().map(|tx| group.commit(*tx, false)).collect();
    let height = group.decide(batch);
    for index in 0..3 {
        for replica in 0..4 {
            let asked = (0..3).filter(|i| group.judgements(replica, height, *i) > 0);
            assert_eq!(asked.count() as u32, index + 1);
            group.judge(replica, height, index, Ballot::Commit);
        }
        group.exchange();
    }
    let all = (0..3).map(|index| (index, Verdict::Commit)).collect();
    assert_eq!(group.verdicts(0, height), Some(all));
}

#[test]
fn what_only_read_is_serial_at_its_snapshot() {
    let mut group = Group4::new();
    let tx = group.begin_at(Isolation::Serializable);
    let begun = group.height;
    let other = group.begin();
    let batch = vec![
        group.commit(other, false),
        committing(&mut group, tx, vec![reading(), reading()]),
    ];
    let height = group.decide(batch);
    assert_eq!(
        judged_at(&group, 2, (height, 1)),
        [Some(begun)],
        "beside what is ordered earlier, since it cannot have seen it"
    );
    let tx = group.begin_at(Isolation::Serializable);
    let commit = committing(&mut group, tx, vec![reading(), step(false)]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
        group.judge(replica, height, 1, Ballot::Commit);
    }
    group.exchange();
    let height = group.decide(vec![commit]);
    assert_eq!(
        judged_at(&group, 2, (height, 0)),
        [None],
        "one write among its reads is enough"
    );
}

#[test]
fn a_default_level_is_read_as_postgresql_reads_it() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let level = |value| Isolation::of(&vec![pair("default_transaction_isolation", value)]);
    assert_eq!(level("Serializable"), Isolation::Serializable);
    assert_eq!(level("read committed"), Isolation::Snapshot);
    let other = pair("application_name", "serializable");
    assert_eq!(Isolation::of(&vec![other]), Isolation::Snapshot);
}

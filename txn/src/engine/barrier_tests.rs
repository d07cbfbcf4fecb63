//! What waits for all snapshots ends what is open first, in the order.

use super::group::{CLIENT, Group4};
use super::*;
use crate::operation::Operation;
use crate::ordered::{Begin, Exec};

fn exec(group: &mut Group4, barrier: bool) -> Placed {
    group.place(
        CLIENT,
        Ordered::Exec(Exec {
            settings: vec![],
            operation: Operation::text("CREATE INDEX CONCURRENTLY i ON t (a)"),
            barrier,
        }),
    )
}

fn dropped(group: &Group4, tx: TxId) -> Vec<bool> {
    let barrier =
        |action: &Action| matches!(action, Action::Drop { tx: t, doom: Doom::Barrier } if *t == tx);
    let all = group.done.iter();
    all.map(|done| done.iter().any(barrier)).collect()
}

#[test]
fn what_is_open_at_a_barrier_ends_and_what_begins_behind_it_does_not() {
    let mut group = Group4::new();
    let before = group.begin();
    let barrier = exec(&mut group, true);
    let begin = Ordered::Begin(Begin {
        epoch: 0,
        settings: vec![],
        isolation: Isolation::Snapshot,
        read_only: false,
    });
    let behind = group.place(CLIENT, begin);
    let after = group.tx();
    let height = group.decide(vec![barrier, behind]);
    assert_eq!(dropped(&group, before), [true; 4]);
    assert_eq!(dropped(&group, after), [false; 4]);
    for engine in &group.engines {
        assert!(!engine.is_open(&before) && engine.is_open(&after));
        assert!(
            engine.final_height() < height,
            "it is executed before any snapshot of its batch"
        );
    }
    let snapshots =
        |action: &Action| matches!(action, Action::Snapshots { height: at, .. } if *at == height);
    assert!(!group.done[0].iter().any(snapshots));
    for (engine, done) in group.engines.iter_mut().zip(&mut group.done) {
        engine.applied(group.now, height, 0, done);
    }
    assert!(group.done.iter().all(|done| done.iter().any(snapshots)));
    // A commit of what ended is an ABORT that nobody votes on.
    let commit = group.commit(before, false);
    let place = group.height + 1;
    group.settle();
    group.decide(vec![commit]);
    let aborted = |action: &Action| matches!(action, Action::Apply { height, verdict: Verdict::Abort, .. } if *height == place);
    assert!(group.done.iter().all(|done| done.iter().any(aborted)));
}

#[test]
fn maintenance_leaves_open_transactions_alone() {
    let mut group = Group4::new();
    let tx = group.begin();
    let exec = exec(&mut group, false);
    group.decide(vec![exec]);
    assert_eq!(dropped(&group, tx), [false; 4]);
    assert!(group.engines.iter().all(|engine| engine.is_open(&tx)));
}

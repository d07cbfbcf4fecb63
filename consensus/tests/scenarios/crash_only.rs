//! Where nobody lies: n = 2f + 1, majorities, no WRITE phase.

use std::collections::BTreeMap;

use crate::common::{CLIENT, Logged, OTHER, Table, request, view};
use consensus::{Input, Message, Mode, Record, ReplicaId, Settings, View};

fn three() -> Table {
    let view = View {
        f: 1,
        mode: Mode::CrashOnly,
        ..view(3)
    };
    view.check().expect("three bear a crash");
    Table::in_view(view, Settings::default())
}

fn four() -> Table {
    let view = View {
        f: 1,
        mode: Mode::CrashOnly,
        ..view(4)
    };
    Table::in_view(view, Settings::default())
}

#[test]
fn a_majority_decides_without_a_write() {
    let mut table = three();
    table.crash(2);
    for seq in 1..=3 {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
    assert_eq!(table.heights(), [3, 3]);
    assert_eq!(table.count_sent("WRITE"), 0);
    table.assert_agreement();
}

#[test]
fn nothing_is_accepted_before_it_is_durable() {
    let mut table = three();
    table.submit(&request(CLIENT, 1));
    table.settle();
    let (said, logs) = (table.count_sent("ACCEPT"), table.logs.clone());
    table.disks_work = false;
    table.submit(&request(CLIENT, 2));
    table.settle();
    assert_eq!(table.count_sent("ACCEPT"), said);
    // Both records go to the disk together: one fsync.
    for (i, before) in logs.iter().enumerate() {
        assert_eq!(table.logs[i].len(), before.len() + 2, "replica {i}");
        let newest = table.logs[i].iter().filter_map(|entry| match entry {
            Logged::Record(id, _) => Some(*id),
            Logged::Decided(_) => None,
        });
        let newest = newest.max().expect("it has records");
        table.feed(i as u16, Input::Persisted(newest));
    }
    table.settle();
    assert_eq!(table.heights(), [2; 3]);
}

/// The first value is locked by one of four, then the leader loses power. Were another proposed in the same regency and locked
/// by half of them, no later regency could choose.
#[test]
fn a_leader_that_restarts_proposes_nothing_else_in_its_regency() {
    let mut table = four();
    table.passes = Box::new(|_, to, message| match message {
        Message::Propose { .. } => to == ReplicaId(1),
        _ => false,
    });
    table.submit(&request(CLIENT, 1));
    table.settle();
    // Of its log nothing was durable that it did not wait for: neither the value nor the lock.
    let is_vote = |entry: &Logged| matches!(entry, Logged::Record(_, Record::Write { .. }));
    let kept = table.logs[0].iter().position(is_vote);
    table.restart(0, kept.expect("it wrote"));
    table.passes = Box::new(|_, _, _| true);
    table.submit(&request(OTHER, 1));
    table.pass(8_000);
    let mut accepted = BTreeMap::new();
    for (_, _, message) in &table.sent {
        if let Message::Accept {
            height,
            regency,
            digest,
            ..
        } = message
        {
            let first = accepted.entry((*height, *regency)).or_insert(*digest);
            assert_eq!(first, digest, "height {height}, regency {regency}");
        }
    }
    table.assert_agreement();
    assert_eq!(table.heights(), [2; 4]);
}

#[test]
fn that_one_leads_is_durable_before_anything_is_proposed() {
    let mut table = four();
    table.disks_work = false;
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.count_sent("PROPOSE"), 0);
    table.feed(0, Input::Persisted(1));
    assert_eq!(table.count_sent("PROPOSE"), 3, "to all others");
    // Once for all heights of the regency.
    table.disks_work = true;
    (0..4).for_each(|i| table.feed(i, Input::Persisted(3)));
    table.settle();
    let records = table.logs[0].len();
    table.submit(&request(CLIENT, 2));
    table.settle();
    assert_eq!(table.heights(), [2; 4]);
    assert_eq!(table.logs[0].len(), records + 3, "value, lock, decision");
}

#[test]
fn what_a_dead_leader_decided_alone_is_decided_by_all() {
    let mut table = three();
    // Only the leader hears that replica 1 accepted; replica 2 hears nothing at all.
    table.passes = Box::new(|_, to, message| match message {
        Message::Propose { .. } => to == ReplicaId(1),
        Message::Accept { .. } => to == ReplicaId(0),
        _ => false,
    });
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [1, 0, 0]);
    let agreed = table.decided[0][0].batch.digest();
    table.crash(0);
    // Another request makes replica 2 a tempting leader; the locked value comes first.
    table.passes = Box::new(|_, _, _| true);
    table.submit(&request(CLIENT, 2));
    table.pass(8_000);
    assert_eq!(table.decided[1][0].batch.digest(), agreed);
    assert_eq!(table.decided[2][0].batch.digest(), agreed);
    table.assert_agreement();
    assert!(
        table.heights().iter().all(|height| *height >= 2),
        "{:?}",
        table.heights()
    );
}

#[test]
fn a_restarted_replica_says_its_accept_again_though_only_the_write_was_durable() {
    let mut table = three();
    table.passes = Box::new(|_, _, message| matches!(message, Message::Propose { .. }));
    table.submit(&request(CLIENT, 1));
    table.settle();
    for i in 1..3 {
        // The power failed between the two records.
        assert_eq!(table.logs[i].len(), 2);
        table.restart(i as u16, 1);
    }
    table.passes = Box::new(|_, _, _| true);
    table.crash(0);
    table.submit(&request(CLIENT, 1));
    table.pass(8_000);
    assert_eq!(table.heights(), [1, 1]);
    table.assert_agreement();
}

#[test]
fn with_a_spare_and_weights_two_heavy_ones_of_four_are_enough() {
    let view = View {
        f: 1,
        mode: Mode::CrashOnly,
        fast: [ReplicaId(0)].into(),
        ..view(4)
    };
    view.check().expect("f of four are fast");
    let mut table = Table::in_view(view, Settings::default());
    table.crash(2);
    table.crash(3);
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [1, 1], "2 + 1 of 5 votes");
    table.assert_agreement();
}

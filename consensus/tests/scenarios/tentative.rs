//! Values that are told before they are decided.

use crate::common;
use std::collections::BTreeMap;

use crate::common::{CLIENT, OTHER, Table, change, request};
use consensus::{Message, Recovered, ReplicaId, Settings, Step};

fn settings() -> Settings {
    Settings {
        tentative: true,
        ..Settings::default()
    }
}

/// What all correct clients could believe: (height, regency, value) that Q of four told is what is decided there.
fn assert_quorums_tell_the_truth(table: &Table) {
    let mut told: BTreeMap<_, Vec<ReplicaId>> = BTreeMap::new();
    for (replica, value) in &table.tentative {
        let name = (value.height, value.regency, value.batch.digest());
        told.entry(name).or_default().push(*replica);
    }
    for ((height, _, digest), mut who) in told {
        who.sort_unstable();
        who.dedup();
        if table.view.is_quorum(who) {
            let decided = table.decided.iter().flatten();
            for decided in decided.filter(|decided| decided.height == height) {
                assert_eq!(decided.batch.digest(), digest);
            }
        }
    }
}

#[test]
fn every_replica_tells_a_value_once_and_before_it_is_decided() {
    let mut table = Table::with(4, settings());
    // Nobody's ACCEPT arrives: nothing is decided, and all are told.
    table.passes = Box::new(|_, _, message| message.name() != "ACCEPT");
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [0; 4]);
    let told: Vec<u16> = table.tentative.iter().map(|(who, _)| who.0).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(
        table
            .tentative
            .iter()
            .all(|(_, value)| value.requests.len() == 1)
    );
    table.passes = Box::new(|_, _, _| true);
    table.pass(2_000);
    assert_eq!(table.heights(), [1; 4]);
    assert_quorums_tell_the_truth(&table);
    table.assert_agreement();
}

#[test]
fn nothing_is_told_before_the_lock_is_durable() {
    let mut table = Table::with(4, settings());
    table.disks_are_slow = true;
    // Each step of time is one fsync: the WRITEs', then the ACCEPTs'.
    table.submit(&request(CLIENT, 1));
    table.settle();
    table.pass(10);
    assert!(table.count_sent("WRITE") > 0);
    assert_eq!(table.tentative.len(), 0);
    table.pass(50);
    assert_eq!(table.tentative.len(), 4);
}

#[test]
fn without_the_setting_nothing_is_told() {
    let mut table = Table::of(4);
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!((table.heights(), table.tentative.len()), (vec![1; 4], 0));
}

#[test]
fn a_batch_that_changes_the_view_is_not_told() {
    let mut table = Table::with(4, settings());
    let step = Step::SetLeader {
        replica: ReplicaId(2),
    };
    let change = change(1, 1, &[step]).verify(&table.view).unwrap();
    table.submit(&change);
    table.settle();
    assert_eq!((table.view.id, table.tentative.len()), (2, 0));
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.tentative.len(), 4);
}

/// The leader loses its disk, which makes it the one faulty replica, after one other was locked on its proposal.
#[test]
fn a_value_that_one_replica_told_may_be_replaced_and_nobody_had_a_quorum_for_it() {
    let mut table = Table::with(4, settings());
    // Replica 3 hears nothing of the first value, and only replica 1 hears of a quorum of WRITEs.
    table.passes = Box::new(|_, to, message| match message {
        Message::Write { .. } => to.0 == 1,
        Message::Accept { .. } => false,
        _ => to.0 != 3,
    });
    for to in 0..3 {
        table.feed(to, consensus::Input::Request(request(CLIENT, 1)));
    }
    table.settle();
    let first = table.tentative.clone();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].0, ReplicaId(1));
    // It is cut off, and what the leader knew is gone.
    table.passes = Box::new(|from, to, _| from.0 != 1 && to.0 != 1);
    table.crash(0);
    table.restart(0, 0);
    for to in [0, 2, 3] {
        table.feed(to, consensus::Input::Request(request(OTHER, 1)));
    }
    table.pass(8_000);
    let decided = table.decided[2]
        .first()
        .expect("three of four go on")
        .clone();
    assert_ne!(decided.batch.digest(), first[0].1.batch.digest());
    assert_quorums_tell_the_truth(&table);
    // It hears of that when it is back, also if it was restarted meanwhile: its lock is durable, and it was told of.
    let mut recovered = Recovered::in_view(table.genesis.clone());
    for entry in &table.logs[1] {
        if let common::Logged::Record(_, record) = entry {
            recovered.record(record.clone());
        }
    }
    assert!(recovered.is_locked());
    table.crash(1);
    table.restart_whole(1);
    table.passes = Box::new(|_, _, _| true);
    table.pass(8_000);
    assert_eq!(table.decided[1][0].batch, decided.batch);
    assert_quorums_tell_the_truth(&table);
    table.assert_agreement();
}

/// A regency change in the middle: who was locked in the old regency is bound, and tells the value of the new one again.
#[test]
fn a_value_that_a_quorum_told_survives_a_change_of_the_regency() {
    let mut table = Table::with(4, settings());
    table.passes = Box::new(|_, to, message| match message {
        // Three are locked, one is not, and nobody decides.
        Message::Write { .. } => to.0 != 3,
        Message::Accept { .. } => false,
        _ => true,
    });
    table.submit(&request(CLIENT, 1));
    table.settle();
    let told: Vec<_> = table.tentative.clone();
    assert_eq!(told.len(), 3);
    table.crash(0);
    table.passes = Box::new(|_, _, _| true);
    table.pass(8_000);
    for i in 1..4 {
        assert_eq!(table.decided[i][0].batch, told[0].1.batch);
    }
    assert!(table.tentative.len() > 3, "in the new regency once more");
    assert_quorums_tell_the_truth(&table);
}

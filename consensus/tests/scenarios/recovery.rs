//! Restarts, power losses, and replicas that lag.

use crate::common::{CLIENT, Logged, Table, request};
use consensus::{Input, LogGap, Message, Record, Recovered, ReplicaId};

#[test]
fn a_restarted_replica_votes_as_it_did_before() {
    let mut table = Table::of(4);
    // All write, nobody hears it; then replica 1 restarts.
    table.passes = Box::new(|_, _, message| message.name() == "PROPOSE");
    table.submit(&request(CLIENT, 1));
    table.settle();
    table.restart_whole(1);
    table.sent.clear();
    // The leader, which restarted without its memory, proposes another value.
    table.crash(0);
    table.restart(0, 0);
    table.now += 7;
    table.feed(0, Input::Request(request(CLIENT, 1)));
    table.settle();
    table.pass(600);
    let writes = table
        .sent
        .iter()
        .filter_map(|(from, _, message)| match message {
            Message::Write { digest, .. } if from.0 == 1 => Some(*digest),
            _ => None,
        });
    let mut writes: Vec<_> = writes.collect();
    writes.dedup();
    let first = table.logs[1].iter().find_map(|entry| match entry {
        Logged::Record(_, Record::Write { digest, .. }) => Some(*digest),
        _ => None,
    });
    assert_eq!(writes, [first.unwrap()]);
}

#[test]
fn after_a_power_loss_of_all_an_open_instance_is_finished_without_its_client() {
    let mut table = Table::of(4);
    table.passes = Box::new(|_, _, message| matches!(message.name(), "PROPOSE" | "WRITE"));
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [0; 4], "all accepted, none heard it");
    (0..4).for_each(|i| table.crash(i));
    (0..4).for_each(|i| table.restart_whole(i));
    table.passes = Box::new(|_, _, _| true);
    table.pass(500);
    assert_eq!(table.heights(), [1; 4]);
    table.assert_agreement();
}

#[test]
fn decisions_that_reached_no_disk_are_decided_again_alike() {
    let mut table = Table::of(4);
    table.submit(&request(CLIENT, 1));
    table.settle();
    let first = table.decided[0][0].batch.digest();
    for i in 0..4 {
        let undecided = |entry: &Logged| matches!(entry, Logged::Decided(_));
        let kept = table.logs[usize::from(i)]
            .iter()
            .position(undecided)
            .unwrap();
        table.crash(i);
        table.restart(i, kept);
    }
    table.pass(500);
    assert_eq!(table.heights(), [1; 4]);
    assert_eq!(table.decided[3][0].batch.digest(), first);
}

#[test]
fn a_replica_that_was_down_fetches_what_it_missed_and_votes_again() {
    let mut table = Table::of(4);
    table.crash(3);
    for seq in 1..=30 {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
    assert_eq!(table.heights(), [30; 3]);
    table.restart_whole(3);
    table.pass(1_500);
    assert_eq!(table.height(3), 30);
    table.crash(1);
    table.submit(&request(CLIENT, 31));
    table.settle();
    assert_eq!(
        table.height(3),
        31,
        "its vote is needed, now that another is down"
    );
    table.assert_agreement();
}

#[test]
fn a_replica_that_slept_through_a_change_of_regency_joins_the_new_one() {
    let mut table = Table::of(4);
    table.crash(0);
    table.submit(&request(CLIENT, 1));
    table.pass(2_000);
    assert_eq!(table.regencies(), [1; 3]);
    table.restart(0, 0);
    table.pass(1_500);
    assert_eq!(table.regencies(), [1; 4]);
    assert_eq!(table.height(0), 1);
    table.crash(3);
    table.submit(&request(CLIENT, 2));
    table.pass(300);
    assert_eq!(table.heights(), [2; 3]);
    table.assert_agreement();
}

#[test]
fn forged_decisions_are_not_believed() {
    let mut table = Table::of(4);
    table.crash(3);
    for seq in 1..=3 {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
    table.restart_whole(3);
    table.passes = Box::new(|_, _, _| false);
    let status = Message::Status {
        view: 1,
        regency: 0,
        free_from: Some(1),
        decided: 3,
    };
    table.tell(2, 3, status.clone());
    let truth = table.decided[0].clone();
    let mut altered = truth.clone();
    altered[0].requests[0].op = b"stolen".to_vec().into();
    table.tell(2, 3, Message::Decisions { decisions: altered });
    assert_eq!(table.height(3), 0, "a body that is not the one named");
    table.now += 600;
    table.tell(2, 3, status.clone());
    let mut unproven = truth.clone();
    unproven[0].proof.accepts.pop();
    table.tell(
        2,
        3,
        Message::Decisions {
            decisions: unproven,
        },
    );
    assert_eq!(table.height(3), 0, "a proof of two");
    table.now += 600;
    table.tell(2, 3, status);
    table.tell(
        1,
        3,
        Message::Decisions {
            decisions: truth.clone(),
        },
    );
    assert_eq!(table.height(3), 0, "from one who was not asked");
    table.tell(2, 3, Message::Decisions { decisions: truth });
    assert_eq!(table.height(3), 3);
    table.assert_agreement();
}

#[test]
fn a_log_with_a_hole_is_refused() {
    let mut table = Table::of(4);
    for seq in 1..=3 {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
    let mut recovered = Recovered::default();
    recovered.decided(&table.decided[0][0]).unwrap();
    recovered.decided(&table.decided[0][0]).unwrap();
    let gap = Err(LogGap { last: 1, found: 3 });
    assert_eq!(recovered.decided(&table.decided[0][2]), gap);
}

#[test]
fn a_link_that_broke_mid_instance_is_healed_by_saying_it_again() {
    let mut table = Table::of(4);
    table.crash(3);
    table.passes = Box::new(|from, to, _| from.0 != 2 && to.0 != 2);
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [0; 3]);
    table.passes = Box::new(|_, _, _| true);
    for (a, b) in [(0, 2), (1, 2)] {
        table.feed(a, Input::LinkUp(ReplicaId(b)));
        table.feed(b, Input::LinkUp(ReplicaId(a)));
    }
    table.settle();
    assert_eq!(table.heights(), [1; 3], "without any timeout");
}

//! The core and checkpoints: when it asks for one, how it jumps to one, and what it remembers across both.

use crate::common::{CLIENT, Logged, Table, request};
use consensus::{Input, Message, Record, Recovered, ReplicaId, Settings, Summary};

fn checkpointing(n: u16) -> Table {
    Table::with(
        n,
        Settings {
            checkpoint_every: 4,
            ..Settings::default()
        },
    )
}

fn order(table: &mut Table, numbers: std::ops::RangeInclusive<u64>) {
    for seq in numbers {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
}

#[test]
fn checkpoints_are_due_at_the_same_heights_with_the_same_summary() {
    let mut table = checkpointing(4);
    order(&mut table, 1..=9);
    for i in 0..4 {
        let heights: Vec<_> = table.checkpoints[i].iter().map(Summary::height).collect();
        assert_eq!(heights, [4, 8]);
        for (mine, first) in table.checkpoints[i].iter().zip(&table.checkpoints[0]) {
            assert_eq!(
                (&mine.windows, mine.time_ms),
                (&first.windows, first.time_ms)
            );
        }
    }
}

#[test]
fn decisions_gone_from_one_log_are_fetched_from_another() {
    let mut table = checkpointing(4);
    table.crash(3);
    order(&mut table, 1..=30);
    // Logs are cut at different heights.
    (table.log_begins[0], table.log_begins[1]) = (9, 5);
    table.restart_whole(3);
    table.pass(2_000);
    assert_eq!(table.height(3), 30);
    table.assert_agreement();
}

#[test]
fn one_peer_alone_sends_nobody_for_a_checkpoint() {
    let mut table = checkpointing(4);
    table.crash(3);
    order(&mut table, 1..=30);
    table.log_begins[0] = 9;
    table.restart_whole(3);
    // The others do not answer for now.
    table.passes = Box::new(|from, to, _| (from.0, to.0) == (0, 3) || (from.0, to.0) == (3, 0));
    table.pass(5_000);
    assert_eq!((table.height(3), table.state_wanted.len()), (0, 0));
    table.passes = Box::new(|_, _, _| true);
    table.pass(2_000);
    assert_eq!(table.height(3), 30);
}

/// Replica 3 sleeps while 30 heights are decided and everybody's log is cut.
fn slept() -> Table {
    let mut table = checkpointing(4);
    table.crash(3);
    order(&mut table, 1..=30);
    table.log_begins = vec![25, 21, 25, 0];
    table.restart_whole(3);
    table.pass(2_000);
    table
}

#[test]
fn a_replica_whose_decisions_are_gone_everywhere_jumps_to_a_checkpoint_and_votes_again() {
    let mut table = slept();
    assert_eq!(table.height(3), 0);
    assert_eq!(table.state_wanted.first(), Some(&(ReplicaId(3), 0)));
    let checkpoint = table.checkpoints[0][6].clone();
    assert_eq!(checkpoint.height(), 28);
    // It waits for a request that was ordered long ago.
    table.feed(3, Input::Request(request(CLIENT, 11)));
    assert_eq!(table.core(3).status().pending_requests, 1);
    table.feed(3, Input::StateInstalled(Box::new(checkpoint)));
    assert_eq!(table.core(3).status().pending_requests, 0);
    table.settle();
    table.pass(1_000);
    assert_eq!(table.height(3), 30);
    let asked = table.state_wanted.len();
    table.crash(1);
    table.submit(&request(CLIENT, 31));
    // Exactly once holds across the jump: the windows came with the checkpoint.
    table.feed(3, Input::Request(request(CLIENT, 12)));
    table.pass(500);
    assert_eq!(
        table.height(3),
        31,
        "its vote is needed, now that another is down"
    );
    assert_eq!(
        table.decided[3].last(),
        table.decided[0].last().filter(|d| d.height == 31)
    );
    assert_eq!(
        table.rejected.last(),
        Some(&(ReplicaId(3), consensus::Reason::Ordered))
    );
    assert_eq!(
        table.state_wanted.len(),
        asked,
        "and nothing more is asked for"
    );
}

#[test]
fn a_jump_never_goes_backwards_and_needs_a_proof() {
    let mut table = slept();
    let checkpoint = table.checkpoints[0][6].clone();
    let mut unproven = checkpoint.clone();
    unproven.last.as_mut().unwrap().proof.accepts.pop();
    table.feed(3, Input::StateInstalled(Box::new(unproven)));
    assert_eq!(table.height(3), 0);
    table.feed(3, Input::StateInstalled(Box::new(checkpoint.clone())));
    let older = table.checkpoints[0][5].clone();
    table.feed(3, Input::StateInstalled(Box::new(older)));
    assert_eq!(table.core(3).summary(), &checkpoint);
}

#[test]
fn a_log_that_begins_with_the_standing_records_remembers_the_votes() {
    let mut table = checkpointing(4);
    order(&mut table, 1..=4);
    // All write and accept height 5, nobody hears the ACCEPTs; regencies pass.
    table.passes = Box::new(|_, _, message| message.name() != "ACCEPT");
    table.submit(&request(CLIENT, 5));
    table.pass(9_000);
    let regency = table.regencies()[1];
    assert!(regency > 0);
    let standing = table.core(1).standing_records();
    let locks = standing
        .iter()
        .filter(|record| matches!(record, Record::Accept { .. }));
    assert_eq!(locks.count(), 1);
    let mut recovered = Recovered::from_summary(table.checkpoints[1][0].clone());
    standing
        .iter()
        .cloned()
        .for_each(|record| recovered.record(record));
    let again = table.fresh(1, recovered);
    assert_eq!(again.standing_records(), standing);
    assert_eq!(again.status().regency, regency);
    // It finishes the instance with what it remembers, bodies included.
    table.crash(1);
    table.cores[1] = Some(again);
    table.crash(0);
    table.passes = Box::new(|_, _, _| true);
    table.pass(9_000);
    assert_eq!(table.heights(), [5; 3]);
    table.assert_agreement();
}

#[test]
fn votes_beyond_a_hole_in_the_log_are_kept_to() {
    let mut table = checkpointing(4);
    order(&mut table, 1..=6);
    // Height 7: replica 3 writes and accepts, and hears of no decision.
    table.passes = Box::new(|_, to, message| to.0 != 3 || message.name() != "ACCEPT");
    table.submit(&request(CLIENT, 7));
    table.settle();
    assert_eq!(table.heights(), [7, 7, 7, 6]);
    let vote = table.logs[3].iter().find_map(|entry| match entry {
        Logged::Record(
            _,
            Record::Write {
                height: 7, digest, ..
            },
        ) => Some(*digest),
        _ => None,
    });
    // Its checkpoint of height 4 turns out damaged, and its log began there.
    let mut recovered = Recovered::default();
    for entry in &table.logs[3] {
        match entry {
            Logged::Record(_, record) => recovered.record(record.clone()),
            Logged::Decided(decided) if decided.height <= 4 => {}
            Logged::Decided(decided) => {
                assert!(recovered.decided(decided).is_err());
                recovered.skip(decided.height);
            }
        }
    }
    let core = table.fresh(3, recovered);
    table.crash(3);
    table.cores[3] = Some(core);
    table.passes = Box::new(|_, _, _| false);
    let checkpoint = table.checkpoints[0][0].clone();
    table.feed(3, Input::StateInstalled(Box::new(checkpoint)));
    table.sent.clear();
    for height in [5, 6] {
        let status = Message::Status {
            view: 1,
            regency: 0,
            free_from: Some(1),
            decided: height,
        };
        table.now += 600;
        table.tell(0, 3, status);
        let decisions = vec![table.decided[0][height as usize - 1].clone()];
        table.tell(0, 3, Message::Decisions { decisions });
    }
    assert_eq!(table.height(3), 6);
    // A leader that lies proposes something else now.
    let mut other = table.decided[0][6].batch.clone();
    other.time_ms += 1;
    table.tell(
        0,
        3,
        Message::Propose {
            height: 7,
            regency: 0,
            batch: other,
        },
    );
    table.feed(3, Input::Request(request(CLIENT, 7)));
    table.pass(600);
    let said = table
        .sent
        .iter()
        .filter_map(|(_, _, message)| match message {
            Message::Write {
                height: 7, digest, ..
            } => Some(*digest),
            _ => None,
        });
    let mut said: Vec<_> = said.collect();
    said.dedup();
    assert_eq!(said, vote.into_iter().collect::<Vec<_>>());
}

//! The normal phase: from a request to a decision with its proof.

use crate::common;
use crate::common::{CLIENT, OTHER, Table, request, signed};
use consensus::{Batch, Entry, Input, Message, Reason, Settings, WINDOW};

#[test]
fn four_replicas_decide_a_request_once_and_can_prove_it() {
    let mut table = Table::of(4);
    table.submit(&request(CLIENT, 1));
    table.settle();
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [1, 1, 1, 1]);
    table.assert_agreement();
    assert!(
        table
            .rejected
            .iter()
            .all(|(_, reason)| *reason == Reason::Ordered)
    );
    assert_eq!(table.decided[2][0].requests[0].op.as_ref(), b"op 1");
}

#[test]
fn two_of_seven_may_be_silent() {
    let mut table = Table::of(7);
    table.crash(5);
    table.crash(6);
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [1; 5]);
    table.assert_agreement();
}

#[test]
fn a_single_replica_orders_alone() {
    let mut table = Table::of(1);
    table.submit(&request(CLIENT, 1));
    assert_eq!(table.heights(), [1]);
    table.assert_agreement();
}

#[test]
fn requests_that_wait_are_ordered_together() {
    let settings = Settings {
        pipeline: 1,
        ..Settings::default()
    };
    let mut table = Table::with(4, settings);
    (1..=50).for_each(|seq| table.submit(&request(CLIENT, seq)));
    table.settle();
    assert_eq!(
        table.heights(),
        [2; 4],
        "the first alone, then all that waited"
    );
    assert_eq!(table.decided[0][1].requests.len(), 49);
}

#[test]
fn votes_that_overtake_the_proposal_wait_for_it() {
    let mut table = Table::of(4);
    table.passes = Box::new(|_, to, message| to.0 != 3 || message.name() != "PROPOSE");
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(
        table.heights(),
        [1, 1, 1, 0],
        "replica 3 has every vote and no value"
    );
    let propose = table
        .sent
        .iter()
        .find(|(_, to, m)| to.0 == 3 && m.name() == "PROPOSE");
    let (_, _, propose) = propose.cloned().unwrap();
    table.tell(0, 3, propose);
    assert_eq!(table.height(3), 1);
    table.assert_agreement();
}

#[test]
fn a_body_that_the_client_did_not_send_is_asked_from_the_proposer() {
    let mut table = Table::of(4);
    table.feed(0, Input::Request(request(CLIENT, 1)));
    table.settle();
    assert_eq!(table.heights(), [0; 4]);
    table.pass(20);
    assert_eq!(table.heights(), [1; 4]);
    assert!(table.count_sent("FETCH-BODIES") >= 2);
    table.assert_agreement();
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut table = Table::of(4);
    table.disks_work = false;
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(
        (table.count_sent("PROPOSE"), table.count_sent("WRITE")),
        (3, 0)
    );
    (0..4).for_each(|i| table.feed(i, Input::Persisted(1)));
    table.settle();
    assert_eq!(
        (table.count_sent("WRITE"), table.count_sent("ACCEPT")),
        (12, 0)
    );
    (0..4).for_each(|i| table.feed(i, Input::Persisted(2)));
    table.settle();
    assert_eq!(table.count_sent("ACCEPT"), 12);
    assert_eq!(table.heights(), [1; 4]);
}

#[test]
fn what_cannot_be_ordered_is_rejected_with_its_reason() {
    let mut table = Table::with(
        4,
        Settings {
            max_request_bytes: 100,
            ..Settings::default()
        },
    );
    let verified = |request: consensus::Request| request.verify(&common::view(4)).unwrap();
    table.passes = Box::new(|_, _, _| false);
    table.feed(
        1,
        Input::Request(verified(signed(CLIENT, 1, 1 + WINDOW, ""))),
    );
    table.feed(1, Input::Request(verified(signed(CLIENT, 1, 1, "one"))));
    table.feed(1, Input::Request(verified(signed(CLIENT, 1, 1, "two"))));
    table.feed(
        1,
        Input::Request(verified(signed(CLIENT, 1, 2, &"x".repeat(101)))),
    );
    let reasons: Vec<_> = table.rejected.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(
        reasons,
        [Reason::OutsideWindow, Reason::Conflict, Reason::TooLarge]
    );
}

fn proposal(time_ms: u64, entries: Vec<Entry>) -> Message {
    Message::Propose {
        height: 1,
        regency: 0,
        batch: Batch {
            after: consensus::Digest::default(),
            time_ms,
            entries,
        },
    }
}

#[test]
fn a_proposal_is_written_only_if_it_satisfies_the_predicate() {
    let entry = Entry::of(&request(CLIENT, 1));
    let now = Table::of(4).now;
    let cases = [
        ("good", proposal(now, vec![entry]), true),
        ("empty", proposal(now, vec![]), false),
        ("twice the same", proposal(now, vec![entry, entry]), false),
        (
            "far ahead of the clock",
            proposal(now + 60_000, vec![entry]),
            false,
        ),
        ("long ago", proposal(now - 60_000, vec![entry]), false),
        (
            "outside the window",
            proposal(
                now,
                vec![Entry {
                    seq: WINDOW + 1,
                    ..entry
                }],
            ),
            false,
        ),
        ("too many", proposal(now, vec![entry; 1_001]), false),
    ];
    for (name, propose, good) in cases {
        let mut table = Table::of(4);
        table.feed(1, Input::Request(request(CLIENT, 1)));
        table.tell(0, 1, propose.clone());
        assert_eq!(table.count_sent("WRITE") > 0, good, "{name}");
        let mut table = Table::of(4);
        table.feed(1, Input::Request(request(CLIENT, 1)));
        table.tell(2, 1, propose);
        assert_eq!(
            table.count_sent("WRITE"),
            0,
            "{name}: from one who does not lead"
        );
    }
}

#[test]
fn a_clock_that_steps_back_does_not_wedge_the_order() {
    let mut table = Table::of(4);
    table.submit(&request(CLIENT, 1));
    table.settle();
    table.now -= 3_600_000;
    table.submit(&request(CLIENT, 2));
    table.settle();
    assert_eq!(table.heights(), [2; 4]);
    let times: Vec<_> = table.decided[0]
        .iter()
        .map(|decided| decided.batch.time_ms)
        .collect();
    assert_eq!(
        times[0], times[1],
        "time stands still until the clocks catch up"
    );
    // The timers went on: a crashed leader is still replaced.
    table.crash(0);
    table.submit(&request(CLIENT, 3));
    table.pass(2_000);
    assert_eq!(table.heights(), [3; 3]);
}

#[test]
fn a_client_that_signs_two_requests_under_one_number_gets_one_of_them_ordered() {
    let mut table = Table::of(4);
    let verified = |op| signed(OTHER, 1, 1, op).verify(&common::view(4)).unwrap();
    for i in 0..4 {
        let op = if i % 2 == 0 { "one" } else { "two" };
        table.feed(i, Input::Request(verified(op)));
    }
    table.settle();
    table.pass(100);
    assert_eq!(table.heights(), [1; 4]);
    table.assert_agreement();
    assert_eq!(table.core(1).status().pending_requests, 0);
}

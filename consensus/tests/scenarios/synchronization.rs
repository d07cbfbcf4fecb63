//! The synchronization phase: who gives a leader up, when, and what the next one may do.

use crate::common::{CLIENT, OTHER, Table, key, request};
use consensus::{
    Batch, Input, LastDecided, Message, Proof, ReplicaId, Settings, Signature, Sync, sign_accept,
};

const STAGE: u64 = 800;

#[test]
fn a_silent_leader_gets_the_request_forwarded_and_is_then_replaced() {
    let settings = Settings {
        // By the two stages: what the watch does sooner is told in `watch.rs`.
        link_grace_ms: 10_000,
        ..Settings::default()
    };
    let mut table = Table::with(4, settings);
    table.crash(0);
    table.submit(&request(CLIENT, 1));
    table.pass(STAGE + 50);
    assert!(table.count_sent("FORWARD") > 0, "first timeout");
    assert_eq!(table.count_sent("STOP"), 0);
    table.pass(STAGE);
    assert!(table.count_sent("STOP") > 0, "second timeout");
    assert_eq!(table.heights(), [1; 3]);
    assert_eq!(table.regencies(), [1; 3]);
    table.assert_agreement();
}

#[test]
fn a_leader_whose_link_is_down_is_replaced_after_a_short_grace() {
    let mut table = Table::of(4);
    table.crash(0);
    (1..4).for_each(|i| table.feed(i, Input::LinkDown(ReplicaId(0))));
    table.submit(&request(CLIENT, 1));
    table.pass(250);
    assert_eq!(table.count_sent("STOP"), 0, "within the grace");
    table.pass(150);
    assert_eq!(table.heights(), [1; 3]);
    table.assert_agreement();
}

#[test]
fn one_replica_that_lost_the_leader_deposes_nobody() {
    let mut table = Table::of(4);
    table.passes = Box::new(|from, to, _| from.0 != 3 && to.0 != 3 || from.0 + to.0 != 3);
    table.feed(3, Input::LinkDown(ReplicaId(0)));
    for seq in 1..20 {
        table.submit(&request(CLIENT, seq));
        table.pass(400);
    }
    assert_eq!(table.regencies(), [0; 4]);
    assert_eq!(table.heights(), [19; 4], "it follows by fetching decisions");
    table.assert_agreement();
}

#[test]
fn leaders_that_fail_one_after_another_are_passed_over() {
    let mut table = Table::of(7);
    table.crash(0);
    table.crash(1);
    table.submit(&request(CLIENT, 1));
    table.pass(5 * STAGE);
    assert_eq!(table.heights(), [1; 5]);
    assert_eq!(table.regencies(), [2; 5]);
    table.assert_agreement();
}

/// The leader's proposals to replica 3 are of another value, and its votes go with them.
fn equivocate(table: &mut Table) {
    let now = table.now;
    let value = |time_ms| {
        let entries = vec![consensus::Entry::of(&request(CLIENT, 1))];
        let after = consensus::Digest::default();
        Batch {
            after,
            time_ms,
            entries,
        }
    };
    for i in 1..4 {
        table.feed(i, Input::Request(request(CLIENT, 1)));
        let batch = value(now + u64::from(i == 3));
        let digest = batch.digest();
        let signature = sign_accept(&key(0), &table.view, 1, 0, &digest);
        table.tell(
            0,
            i,
            Message::Propose {
                height: 1,
                regency: 0,
                batch,
            },
        );
        table.tell(
            0,
            i,
            Message::Write {
                height: 1,
                regency: 0,
                digest,
            },
        );
        table.tell(
            0,
            i,
            Message::Accept {
                height: 1,
                regency: 0,
                digest,
                signature,
            },
        );
    }
}

#[test]
fn a_leader_that_equivocates_is_replaced_and_nobody_decides_twice() {
    let mut table = Table::of(4);
    table.crash(0);
    // Replica 2's vote reaches only replica 1: it alone sees a quorum and locks.
    table.passes = Box::new(|from, to, message| {
        message.name() != "WRITE" && message.name() != "ACCEPT" || (from.0, to.0) == (2, 1)
    });
    equivocate(&mut table);
    table.settle();
    table.pass(STAGE);
    table.passes = Box::new(|_, _, _| true);
    table.pass(3 * STAGE);
    assert_eq!(table.heights(), [1; 3]);
    table.assert_agreement();
}

#[test]
fn a_value_that_one_replica_decided_alone_is_what_the_next_leader_must_finish() {
    let mut table = Table::of(4);
    // Only replica 3 hears ACCEPTs; then it is cut off with its decision.
    table.passes = Box::new(|from, to, message| match message.name() {
        "ACCEPT" => to.0 == 3,
        "PROPOSE" | "WRITE" => true,
        _ => from.0 != 3,
    });
    table.submit(&request(CLIENT, 1));
    table.settle();
    assert_eq!(table.heights(), [0, 0, 0, 1]);
    table.passes = Box::new(|from, to, message| {
        let old = matches!(message, Message::Accept { regency: 0, .. });
        !old && from.0 != 3 && to.0 != 3
    });
    table.submit(&request(OTHER, 1));
    table.pass(3 * STAGE);
    assert_eq!(table.regencies()[..3], [1; 3]);
    assert!(
        table.height(1) >= 2,
        "bound value first, then the other request"
    );
    table.passes = Box::new(|_, _, _| true);
    table.pass(2_000);
    table.assert_agreement();
    assert_eq!(table.height(3), table.height(1));
}

#[test]
fn a_leader_that_starves_one_client_is_deposed() {
    let mut table = Table::of(4);
    // The leader never hears the client OTHER and ignores what is forwarded.
    table.passes = Box::new(|_, to, message| to.0 != 0 || message.name() != "FORWARD");
    (1..4).for_each(|i| table.feed(i, Input::Request(request(OTHER, 1))));
    for seq in 1..=20 {
        table.submit(&request(CLIENT, seq));
        table.pass(100);
    }
    assert_eq!(
        table.regencies(),
        [1; 4],
        "though it ordered {} heights meanwhile",
        table.height(0)
    );
    table.pass(STAGE);
    assert_eq!(table.core(1).status().pending_requests, 0);
    table.assert_agreement();
}

/// Found by the simulator (a client that reaches one replica only, on a link that broke):
/// the FORWARD was said once, and a lone STOP then waited for ever.
#[test]
fn a_request_whose_forward_was_lost_is_forwarded_again() {
    let mut table = Table::of(4);
    table.passes = Box::new(|_, _, message| message.name() != "FORWARD");
    table.feed(2, Input::Request(request(CLIENT, 1)));
    table.pass(STAGE + 50);
    // To the leader by the watch, to all at the first timeout; all lost.
    assert_eq!(table.count_sent("FORWARD"), 4);
    assert_eq!(table.heights(), [0; 4]);
    table.passes = Box::new(|_, _, _| true);
    table.pass(STAGE + 50);
    assert_eq!(table.heights(), [1; 4]);
    table.assert_agreement();
}

#[test]
fn load_alone_deposes_nobody() {
    let settings = Settings {
        pipeline: 1,
        max_batch_requests: 2,
        ..Settings::default()
    };
    let mut table = Table::with(4, settings);
    table.disks_are_slow = true;
    for seq in 1..=200 {
        table.submit(&request(CLIENT, seq));
        table.submit(&request(OTHER, seq));
    }
    // Two requests per two fsyncs: the last of them waits far longer than both timeouts.
    table.pass(2 * STAGE + 500);
    let waiting = table.core(1).status().pending_requests;
    assert!(waiting > 100, "{waiting} still wait");
    table.pass(6 * STAGE);
    assert_eq!(table.core(1).status().pending_requests, 0);
    assert_eq!(table.regencies(), [0; 4]);
    table.assert_agreement();
}

#[test]
fn a_sync_that_proves_too_little_changes_nothing() {
    let mut table = Table::of(4);
    let states = |table: &Table, from: &[u16], regency| -> Vec<_> {
        from.iter()
            .map(|i| {
                let state = consensus::StopState {
                    view: table.view.id,
                    regency,
                    replica: ReplicaId(*i),
                    decided: 0,
                    votes: Vec::new(),
                };
                let signature = state.sign(&key(*i));
                (state, signature)
            })
            .collect()
    };
    let mut forged = states(&table, &[0, 1, 2], 1);
    forged[0].1 = Signature([1; 64]);
    let ghost = LastDecided {
        height: 9,
        digest: consensus::Digest([1; 32]),
        proof: Proof {
            regency: 0,
            accepts: Vec::new(),
        },
    };
    let sync = |states, last| {
        Message::Sync(Box::new(Sync {
            regency: 1,
            states,
            last,
        }))
    };
    let bad = [
        ("too few", sync(states(&table, &[0, 1], 1), None)),
        (
            "one member twice",
            sync(states(&table, &[0, 1, 1], 1), None),
        ),
        (
            "one member twice among enough",
            sync(states(&table, &[0, 1, 2, 2], 1), None),
        ),
        ("a stranger", sync(states(&table, &[0, 1, 9], 1), None)),
        (
            "another regency's states",
            sync(states(&table, &[0, 1, 2], 2), None),
        ),
        ("a forged state", sync(forged, None)),
        (
            "an unproven height",
            sync(states(&table, &[0, 1, 2], 1), Some(ghost)),
        ),
    ];
    for (name, message) in bad {
        table.tell(1, 3, message);
        assert_eq!(table.core(3).status().regency, 0, "{name}");
    }
    let good = sync(states(&table, &[0, 1, 2], 1), None);
    table.tell(2, 3, good.clone());
    assert_eq!(
        table.core(3).status().regency,
        0,
        "not from that regency's leader"
    );
    table.tell(1, 3, good);
    assert_eq!(
        table.core(3).status().regency,
        1,
        "a valid SYNC leads one who missed the STOPs"
    );
}

#[test]
fn timeouts_grow_with_failed_regencies_and_recover_with_progress() {
    let mut table = Table::of(4);
    table.submit(&request(CLIENT, 1));
    table.settle();
    // No WRITE passes: no leader can decide, regencies follow one another, ever slower.
    table.passes = Box::new(|_, _, message| message.name() != "WRITE");
    table.submit(&request(CLIENT, 2));
    table.pass(20 * STAGE);
    let slowed = table.core(1).status().regency;
    assert!(
        (2..=4).contains(&slowed),
        "doubling: {slowed} regencies instead of ten"
    );
    table.passes = Box::new(|_, _, _| true);
    table.pass(40 * STAGE);
    for seq in 3..60 {
        table.submit(&request(CLIENT, seq));
        table.pass(20);
    }
    let before = table.core(1).status().regency;
    let leader = table.core(1).status().leader;
    table.crash(leader.0);
    table.submit(&request(CLIENT, 60));
    table.pass(2 * STAGE + 200);
    let after = table
        .cores
        .iter()
        .flatten()
        .map(|core| core.status().regency)
        .max();
    assert_eq!(after, Some(before + 1), "the first timeouts hold again");
    table.assert_agreement();
}

/// Found by the simulator (seed 7355965112649): two replicas wanted the regency that a third one then entered, lost power,
/// and with it the wish. The third waited for a SYNC that nobody would make, and told nobody what waited with it.
#[test]
fn what_waits_with_a_replica_that_is_alone_in_its_regency_is_forwarded() {
    let mut table = Table::of(4);
    table.passes = Box::new(|_, _, message| !matches!(message, Message::Stop { .. }));
    for peer in [1, 2] {
        let (view, regency) = (table.view.id, 1);
        table.tell(peer, 3, Message::Stop { view, regency });
    }
    table.settle();
    assert_eq!(table.regencies(), [0, 0, 0, 1]);
    table.passes = Box::new(|_, _, _| true);
    table.feed(3, consensus::Input::Request(request(CLIENT, 1)));
    table.pass(30_000);
    assert!(
        table.heights().iter().all(|height| *height >= 1),
        "{:?}",
        table.heights()
    );
    table.assert_agreement();
}

//! The view changes between two heights.

use crate::common;
use crate::common::{ADMIN, CLIENT, OTHER, Table, change, key, request, signed, view};
use consensus::{
    Change, Input, Message, PublicKey, Reason, ReplicaId, Request, Settings, SigningKey, Step,
    Verified, Views,
};

/// Orders a change in the newest view.
fn reconfigure(table: &mut Table, seq: u64, steps: &[Step]) {
    let change = change(seq, table.view.id, steps);
    let verified = change.verify(&table.view).expect("the administrator's");
    table.submit(&verified);
    table.settle();
}

fn order(table: &mut Table, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        table.submit(&request(CLIENT, seq));
        table.settle();
    }
}

fn add(id: u16) -> Step {
    Step::AddReplica {
        id: ReplicaId(id),
        key: PublicKey::of(&key(id)),
        contact: String::new(),
    }
}

fn remove(id: u16) -> Step {
    Step::RemoveReplica { id: ReplicaId(id) }
}

#[test]
fn a_replica_is_added_catches_up_and_is_needed_from_then_on() {
    let mut table = Table::of(4);
    order(&mut table, 1..=3);
    let new = table.join();
    reconfigure(&mut table, 1, &[add(new)]);
    table.pass(3_000);
    assert_eq!(table.core(new).status().view, 2, "it follows by proofs");
    assert!(table.core(new).status().member);
    // Q = 4 of 5: without replica 3 the new one's votes are needed.
    table.crash(3);
    order(&mut table, 4..=6);
    table.pass(1_000);
    assert_eq!(table.heights(), [7; 4]);
    table.assert_agreement();
}

#[test]
fn a_removed_replica_changes_nothing_any_more() {
    let mut table = Table::of(5);
    order(&mut table, 1..=2);
    reconfigure(&mut table, 1, &[remove(0)]);
    assert!(!table.core(0).status().member, "it knows");
    // It led; the next member does now, and what it says is not heard.
    order(&mut table, 3..=4);
    for to in 1..5 {
        let heights = table.heights();
        table.tell(
            0,
            to,
            Message::Stop {
                view: 2,
                regency: 9,
            },
        );
        table.tell(
            0,
            to,
            Message::Stop {
                view: 1,
                regency: 9,
            },
        );
        table.settle();
        assert_eq!(table.heights(), heights);
    }
    table.pass(3_000);
    assert_eq!(&table.regencies()[1..], [0; 4]);
    assert_eq!(&table.heights()[1..], [5; 4]);
    table.assert_agreement();
}

#[test]
fn of_two_changes_made_for_one_view_the_second_does_nothing() {
    let mut table = Table::of(5);
    let first = change(1, 1, &[remove(4)]).verify(&table.view).unwrap();
    let second = change(2, 1, &[remove(3)]).verify(&table.view).unwrap();
    table.submit(&first);
    table.submit(&second);
    table.settle();
    table.pass(1_000);
    assert_eq!(table.view.id, 2);
    assert_eq!(table.view.replicas.len(), 4);
    assert!(table.view.replicas.contains_key(&ReplicaId(3)));
    table.assert_agreement();
}

#[test]
fn a_change_is_the_last_of_its_batch() {
    let settings = Settings::default();
    let mut table = Table::with(5, settings);
    // The leader holds them back until all are there.
    table.passes = Box::new(|_, _, _| false);
    order(&mut table, 1..=1);
    table.submit(&change(1, 1, &[remove(4)]).verify(&table.view).unwrap());
    order(&mut table, 2..=3);
    table.passes = Box::new(|_, _, _| true);
    table.pass(2_000);
    let decided = &table.decided[1];
    assert_eq!(decided.iter().map(|d| d.requests.len()).sum::<usize>(), 4);
    for decided in decided {
        let at = decided.requests.iter().position(|r| r.client == ADMIN);
        assert!(at.is_none_or(|at| at + 1 == decided.requests.len()));
    }
    table.assert_agreement();
}

#[test]
fn a_proposal_that_goes_on_after_a_change_is_written_by_nobody() {
    let mut table = Table::of(4);
    let inner = change(
        1,
        1,
        &[Step::SetLeader {
            replica: ReplicaId(2),
        }],
    );
    let requests: Vec<Verified<Request>> = [inner, signed(CLIENT, 1, 1, "after")]
        .map(|r| r.verify(&table.view).unwrap())
        .into();
    let batch = consensus::Batch {
        after: consensus::Digest::default(),
        time_ms: table.now,
        entries: requests.iter().map(consensus::Entry::of).collect(),
    };
    for to in 1..4 {
        for request in &requests {
            table.feed(to, Input::Request(request.clone()));
        }
        let (height, regency, batch) = (1, 0, batch.clone());
        table.tell(
            0,
            to,
            Message::Propose {
                height,
                regency,
                batch,
            },
        );
    }
    assert_eq!(table.count_sent("WRITE"), 0);
}

#[test]
fn a_restarted_replica_knows_the_view_that_its_log_made() {
    let mut table = Table::of(5);
    order(&mut table, 1..=2);
    let moved = Step::SetLeader {
        replica: ReplicaId(3),
    };
    reconfigure(&mut table, 1, &[remove(0), moved]);
    order(&mut table, 3..=3);
    for i in 1..5 {
        table.restart_whole(i);
        assert_eq!(table.core(i).status().view, 2);
        assert_eq!(table.core(i).status().leader, ReplicaId(3));
    }
    order(&mut table, 4..=5);
    table.pass(500);
    assert_eq!(&table.heights()[1..], [6; 4]);
    table.assert_agreement();
}

#[test]
fn a_leader_that_dies_as_the_view_changes_is_replaced_in_the_new_view() {
    let mut table = Table::of(4);
    order(&mut table, 1..=1);
    let moved = Step::SetLeader {
        replica: ReplicaId(2),
    };
    reconfigure(&mut table, 1, &[moved]);
    table.crash(2);
    for seq in 2..=4 {
        table.submit(&request(CLIENT, seq));
    }
    table.pass(6_000);
    assert!(
        table.heights().iter().all(|h| *h >= 3),
        "{:?}",
        table.heights()
    );
    assert!(table.regencies().iter().all(|r| *r >= 1));
    table.assert_agreement();
}

#[test]
fn regencies_of_the_old_view_are_over() {
    let mut table = Table::of(4);
    // Some regencies pass before the change.
    table.crash(0);
    for seq in 1..=2 {
        table.submit(&request(CLIENT, seq));
    }
    table.pass(6_000);
    assert!(table.regencies().iter().all(|r| *r >= 1));
    table.restart_whole(0);
    table.pass(2_000);
    reconfigure(
        &mut table,
        1,
        &[Step::SetLeader {
            replica: ReplicaId(1),
        }],
    );
    table.pass(2_000);
    assert_eq!(table.regencies(), [0; 4], "each view counts anew");
    assert!(
        table
            .cores
            .iter()
            .flatten()
            .all(|c| c.status().leader == ReplicaId(1))
    );
    order(&mut table, 3..=4);
    table.pass(500);
    table.assert_agreement();
    let heights = table.heights();
    assert!(
        heights.iter().all(|h| *h == heights[0] && *h >= 4),
        "{heights:?}"
    );
}

#[test]
fn a_clients_new_key_counts_and_its_old_one_does_not() {
    let mut table = Table::of(4);
    order(&mut table, 1..=1);
    let new = SigningKey::from_bytes(&[200; 32]);
    // What waits under the old key is forgotten, so that nobody proposes what others cannot verify.
    table.passes = Box::new(|_, _, _| false);
    let old = signed(OTHER, 1, 1, "old").verify(&view(4)).unwrap();
    table.feed(2, Input::Request(old.clone()));
    table.passes = Box::new(|_, _, _| true);
    let key = PublicKey::of(&new);
    reconfigure(&mut table, 1, &[Step::RotateClientKey { id: OTHER, key }]);
    table.pass(3_000);
    let known = |table: &Table| {
        table.decided[0]
            .iter()
            .flat_map(|d| d.requests.clone())
            .filter(|r| r.client == OTHER)
            .count()
    };
    assert_eq!(known(&table), 0, "nobody can show that it is the client's");
    assert_eq!(table.core(2).status().pending_requests, 0);
    assert!(signed(OTHER, 1, 2, "late").verify(&table.view).is_err());
    let fresh = Request::sign(&new, OTHER, 1, 1, b"new".to_vec());
    table.submit(&fresh.verify(&table.view).unwrap());
    table.settle();
    assert_eq!(known(&table), 1);
    assert_eq!(table.regencies(), [0; 4]);
}

#[test]
fn a_replica_signs_with_its_new_key_once_the_view_says_so() {
    let mut table = Table::of(4);
    order(&mut table, 1..=1);
    let new = SigningKey::from_bytes(&[201; 32]);
    for (i, offered) in [(1, true), (2, false)] {
        if offered {
            table.cores[i].as_mut().unwrap().offer_key(new.clone());
        }
        let key = match offered {
            true => PublicKey::of(&new),
            false => PublicKey::of(&SigningKey::from_bytes(&[202; 32])),
        };
        let id = ReplicaId(i as u16);
        reconfigure(&mut table, i as u64, &[Step::RotateReplicaKey { id, key }]);
    }
    assert!(table.core(1).status().member);
    assert!(!table.core(2).status().member, "it does not have the key");
    order(&mut table, 2..=3);
    table.pass(1_000);
    let last = table.decided[0].last().unwrap();
    assert!(last.proof.accepts.iter().any(|(id, _)| *id == ReplicaId(1)));
    assert!(last.proof.accepts.iter().all(|(id, _)| *id != ReplicaId(2)));
    // The one without a key still follows.
    assert_eq!(table.heights(), [5; 4]);
    table.assert_agreement();
}

#[test]
fn a_change_that_leads_to_no_good_view_is_ordered_and_does_nothing() {
    let mut table = Table::of(4);
    reconfigure(&mut table, 1, &[remove(1)]);
    assert_eq!((table.view.id, table.heights()), (1, vec![1; 4]));
    let mut views = Views::genesis(table.genesis.clone());
    assert!(!views.decided(&table.decided[0][0]));
    // Nor is nonsense.
    let nonsense = signed(ADMIN, 1, 2, "nonsense").verify(&table.view).unwrap();
    table.submit(&nonsense);
    table.settle();
    assert_eq!((table.view.id, table.heights()), (1, vec![2; 4]));
    assert!(Change::decode(b"nonsense").is_err());
    assert!(
        table
            .rejected
            .iter()
            .all(|(_, why)| *why == Reason::Ordered)
    );
}

#[test]
fn a_regency_of_an_older_view_in_the_log_is_nothing_to_a_later_one() {
    let mut table = Table::of(4);
    table.crash(0);
    table.submit(&request(CLIENT, 1));
    table.pass(6_000);
    assert!(table.regencies().iter().all(|r| *r >= 1));
    let moved = Step::SetLeader {
        replica: ReplicaId(1),
    };
    reconfigure(&mut table, 1, &[moved]);
    let log = table.logs[2].iter().filter_map(|entry| match entry {
        common::Logged::Record(_, record) => Some(record.clone()),
        common::Logged::Decided(_) => None,
    });
    // A checkpoint in the new view, then the records of the old one, as in a log that was not cut.
    let mut recovered = consensus::Recovered::from_summary(table.core(2).summary().clone());
    log.for_each(|record| recovered.record(record));
    let status = table.fresh(2, recovered).status();
    assert_eq!((status.view, status.regency), (2, 0));
    assert_eq!(status.leader, ReplicaId(1));
}

#[test]
fn weights_move_by_reconfiguration() {
    let mut table = Table::of(5);
    order(&mut table, 1..=1);
    let fast = [ReplicaId(1), ReplicaId(2)].into();
    reconfigure(&mut table, 1, &[Step::SetFast { replicas: fast }]);
    // Vmax = 2 for 1 and 2: with one more they are 5 of 7 votes, and 0 and 3 are gone... but the leader must be there.
    reconfigure(
        &mut table,
        2,
        &[Step::SetLeader {
            replica: ReplicaId(1),
        }],
    );
    table.crash(0);
    table.crash(3);
    order(&mut table, 2..=4);
    assert_eq!(table.heights(), [6; 3], "three of five decide");
    table.assert_agreement();
}

/// Orders a change of replica 1's key, then leaves all with a lock at the next height.
fn locked_after_a_new_key(table: &mut Table) -> SigningKey {
    let new = SigningKey::from_bytes(&[203; 32]);
    table.cores[1]
        .as_mut()
        .expect("it runs")
        .offer_key(new.clone());
    let (id, key) = (ReplicaId(1), PublicKey::of(&new));
    reconfigure(table, 1, &[Step::RotateReplicaKey { id, key }]);
    table.passes = Box::new(|_, _, message| !matches!(message, Message::Accept { .. }));
    order(table, 1..=1);
    table.passes = Box::new(|_, _, _| true);
    // Replica 1 is needed.
    table.crash(3);
    new
}

#[test]
fn a_restart_signs_what_it_said_with_the_key_that_the_view_names() {
    let mut table = Table::of(4);
    let new = locked_after_a_new_key(&mut table);
    table.restart_whole(1);
    table.cores[1].as_mut().expect("it runs").offer_key(new);
    table.pass(2_000);
    assert_eq!(
        (table.heights(), table.regencies()),
        (vec![2; 3], vec![0; 3])
    );
    table.assert_agreement();
}

#[test]
fn votes_beyond_a_hole_in_the_log_are_signed_for_the_view_of_their_height() {
    let mut table = Table::of(4);
    let new = locked_after_a_new_key(&mut table);
    // A checkpoint is damaged: the decision is gone, and with it the view that it made; the vote after it is there.
    let mut recovered = consensus::Recovered::in_view(table.genesis.clone());
    for entry in &table.logs[1] {
        match entry {
            common::Logged::Record(_, record) => recovered.record(record.clone()),
            common::Logged::Decided(decided) => recovered.skip(decided.height),
        }
    }
    table.decided[1].clear();
    let mut core = table.fresh(1, recovered);
    core.offer_key(new);
    table.cores[1] = Some(core);
    table.pass(4_000);
    assert_eq!(table.heights(), [2; 3]);
    table.assert_agreement();
}

#[test]
fn what_another_machine_said_ahead_under_a_number_is_no_vote_of_the_new_one() {
    let mut table = Table::of(4);
    let id = ReplicaId(3);
    let key = PublicKey::of(&SigningKey::from_bytes(&[204; 32]));
    let contact = String::new();
    let steps = [remove(3), Step::AddReplica { id, key, contact }];
    let change = change(1, table.view.id, &steps);
    let change = change.verify(&table.view).unwrap();
    let next = request(CLIENT, 1);
    let time_ms = table.now;
    let behind = |after, request: &Verified<Request>| consensus::Batch {
        after,
        time_ms,
        entries: vec![consensus::Entry::of(request)],
    };
    let first = behind(consensus::Digest::default(), &change);
    let value = behind(first.digest(), &next);
    // The machine that is to be replaced votes for what comes after.
    for to in 0..2 {
        let (height, regency, digest) = (2, 0, value.digest());
        let message = Message::Write {
            height,
            regency,
            digest,
        };
        table.tell(3, to, message);
    }
    reconfigure(&mut table, 1, &steps);
    table.crash(2);
    let before = table.count_sent("ACCEPT");
    table.submit(&next);
    table.settle();
    let wrote = table.sent.iter().any(|(from, _, message)| {
        let digest = value.digest();
        *from == ReplicaId(1)
            && matches!(message, Message::Write { height: 2, digest: of, .. } if *of == digest)
    });
    assert!(wrote, "the value that was foretold");
    assert_eq!(table.count_sent("ACCEPT"), before, "two of four wrote it");
}

#[test]
fn a_regency_that_was_promised_beyond_a_hole_in_the_log_is_kept_in_its_view() {
    let mut table = Table::of(4);
    let leader = ReplicaId(1);
    reconfigure(&mut table, 1, &[Step::SetLeader { replica: leader }]);
    table.crash(1);
    order(&mut table, 1..=1);
    table.pass(6_000);
    assert_eq!(
        (table.core(2).status().view, table.core(2).status().regency),
        (2, 1)
    );
    let mut holed = consensus::Recovered::in_view(table.genesis.clone());
    let mut whole = consensus::Recovered::in_view(table.genesis.clone());
    for entry in &table.logs[2] {
        match entry {
            common::Logged::Record(_, record) => {
                holed.record(record.clone());
                whole.record(record.clone());
            }
            common::Logged::Decided(decided) => holed.skip(decided.height),
        }
    }
    // What is missing comes from the peers: as a checkpoint, or decision by decision.
    let mut core = table.fresh(2, holed);
    let summary = Box::new(table.core(0).summary().clone());
    core.handle(table.now, Input::StateInstalled(summary), &mut Vec::new());
    assert_eq!((core.status().view, core.status().regency), (2, 1));
    for decided in &table.decided[2] {
        whole.decided(decided).expect("no gap");
    }
    assert_eq!(table.fresh(2, whole).status().regency, 1);
}

//! What a replica is told counts only with its proof: requests with their clients' signatures, heights with Q signed ACCEPTs.

use crate::common::{CLIENT, Table, key, request, signed};
use consensus::{
    Batch, Digest, Entry, Input, LastDecided, Message, Proof, ReplicaId, Request, Settings,
    Signature, StopData, StopState, Sync, sign_accept,
};

const STAGE: u64 = 800;

/// The entry of a request that nobody verified.
fn entry_of(request: &Request) -> Entry {
    Entry {
        client: request.client,
        incarnation: request.incarnation,
        seq: request.seq,
        digest: request.digest(),
    }
}

fn proposal(height: u64, after: Digest, time_ms: u64, request: &Request) -> Message {
    let entries = vec![entry_of(request)];
    Message::Propose {
        height,
        regency: 0,
        batch: Batch {
            after,
            time_ms,
            entries,
        },
    }
}

#[test]
fn a_proposal_of_a_request_that_its_client_did_not_sign_is_written_by_nobody() {
    let good = signed(CLIENT, 1, 1, "true");
    let forged = Request {
        op: b"forged".to_vec().into(),
        ..good.clone()
    };
    for (request, written) in [(&good, true), (&forged, false)] {
        let mut table = Table::of(4);
        table.crash(0);
        let propose = proposal(1, Digest::default(), table.now, request);
        for to in 1..4 {
            table.tell(0, to, propose.clone());
            // The leader brings the body too: it is the one that the proposal names.
            let requests = vec![request.clone()];
            table.tell(
                0,
                to,
                Message::Bodies {
                    height: 1,
                    requests,
                },
            );
        }
        table.settle();
        assert_eq!(table.count_sent("WRITE") > 0, written);
        assert_eq!(table.heights(), [u64::from(written); 3]);
    }
}

#[test]
fn a_proposal_of_a_time_before_the_last_batch_is_written_by_nobody() {
    for (back, written) in [(0, true), (1, false)] {
        let mut table = Table::of(4);
        table.submit(&request(CLIENT, 1));
        table.settle();
        let last = &table.decided[1][0].batch;
        let (after, last) = (last.digest(), last.time_ms);
        table.feed(1, Input::Request(request(CLIENT, 2)));
        table.sent.clear();
        let propose = proposal(2, after, last - back, &signed(CLIENT, 1, 2, "op 2"));
        table.tell(0, 1, propose);
        assert_eq!(table.count_sent("WRITE") > 0, written, "{back} ms back");
    }
}

#[test]
fn a_late_copy_of_an_ordered_request_starts_no_timer() {
    let mut table = Table::of(4);
    // Its client's copy reaches three replicas in time and the last one after the decision.
    for i in 0..3 {
        table.feed(i, Input::Request(request(CLIENT, 1)));
    }
    table.settle();
    table.pass(1_500);
    assert_eq!(table.heights(), [1; 4]);
    for i in 0..4 {
        table.feed(i, Input::Request(request(CLIENT, 1)));
        let requests = vec![signed(CLIENT, 1, 1, "op 1")];
        table.tell((i + 1) % 4, i, Message::Forward { requests });
    }
    table.sent.clear();
    table.pass(10 * STAGE);
    assert_eq!(table.regencies(), [0; 4]);
    assert_eq!(table.count_sent("FORWARD") + table.count_sent("STOP"), 0);
    assert!(
        table
            .cores
            .iter()
            .flatten()
            .all(|core| core.status().pending_requests == 0)
    );
}

#[test]
fn requests_that_found_no_room_depose_nobody() {
    let settings = Settings {
        max_pending_requests_per_client: 4,
        max_batch_requests: 2,
        ..Settings::default()
    };
    let mut table = Table::with(4, settings);
    table.disks_are_slow = true;
    let mut regencies = Vec::new();
    // The client sends far more than there is room for; each replica drops others, and the client sends again.
    for round in 0..40 {
        for seq in 1..=40 {
            let i = ((seq + round) % 4) as u16;
            table.feed(i, Input::Request(request(CLIENT, seq)));
            table.feed((i + 1) % 4, Input::Request(request(CLIENT, seq)));
        }
        table.pass(200);
        regencies.extend(table.regencies());
    }
    assert!(!table.rejected.is_empty(), "some were dropped");
    assert!(regencies.iter().all(|regency| *regency == 0));
    let ordered: usize = table.decided[0].iter().map(|d| d.requests.len()).sum();
    assert_eq!(ordered, 40);
    table.assert_agreement();
}

/// A replica's state in a regency, signed by it.
fn state(table: &Table, replica: u16, regency: u64, decided: u64) -> (StopState, Signature) {
    let state = StopState {
        view: table.view.id,
        regency,
        replica: ReplicaId(replica),
        decided,
        votes: Vec::new(),
    };
    let signature = state.sign(&key(replica));
    (state, signature)
}

/// A proof of a height that nobody decided, with these signers' true signatures.
fn ghost(table: &Table, height: u64, signers: &[u16]) -> LastDecided {
    let digest = Digest([5; 32]);
    let accept = |i: &u16| {
        let signature = sign_accept(&key(*i), &table.view, height, 0, &digest);
        (ReplicaId(*i), signature)
    };
    let accepts = signers.iter().map(accept).collect();
    LastDecided {
        height,
        digest,
        proof: Proof {
            regency: 0,
            accepts,
        },
    }
}

/// Replica 1 leads regency 1 and is told by replica 0 that it has decided nothing, by replica 3 that it has decided height 9.
/// With its own these are three states, just enough: its SYNC tells whether replica 3 was believed.
fn collects(last: impl Fn(&Table) -> Option<LastDecided>) -> Option<Sync> {
    let mut table = Table::of(4);
    table.passes = Box::new(|_, _, _| false);
    for from in [0, 2, 3] {
        let (view, regency) = (table.view.id, 1);
        table.tell(from, 1, Message::Stop { view, regency });
    }
    assert_eq!(table.core(1).status().regency, 1);
    let highest = last(&table);
    for (from, decided, last) in [(0, 0, None), (3, 9, highest)] {
        let (state, signature) = state(&table, from, 1, decided);
        let data = StopData {
            state,
            signature,
            last,
        };
        table.tell(from, 1, Message::StopData(Box::new(data)));
    }
    let mut sent = table.sent.into_iter();
    sent.find_map(|(_, _, message)| match message {
        Message::Sync(sync) => Some(*sync),
        _ => None,
    })
}

#[test]
fn a_leader_believes_the_highest_log_only_with_its_proof() {
    let forged = |table: &Table| {
        let mut last = ghost(table, 9, &[0, 1, 2]);
        last.proof.accepts[1].1 = Signature([1; 64]);
        Some(last)
    };
    let proven = collects(|table| Some(ghost(table, 9, &[1, 2, 3])));
    assert_eq!(
        proven.and_then(|sync| sync.last).map(|last| last.height),
        Some(9)
    );
    for (name, sync) in [
        ("no proof", collects(|_| None)),
        ("too few", collects(|table| Some(ghost(table, 9, &[0, 1])))),
        (
            "one member twice",
            collects(|table| Some(ghost(table, 9, &[0, 1, 1]))),
        ),
        (
            "a stranger",
            collects(|table| Some(ghost(table, 9, &[0, 1, 7]))),
        ),
        (
            "of another height",
            collects(|table| Some(ghost(table, 8, &[0, 1, 2]))),
        ),
        ("forged", collects(forged)),
    ] {
        assert!(sync.is_none(), "{name}");
    }
}

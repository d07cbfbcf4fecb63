//! Whatever a peer sends: no panic, no growth, no decision.

use crate::common::{CLIENT, Table, request, signed};
use consensus::{Batch, Digest, Entry, Message, Signature};

fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        match (z >> 60, z % 7) {
            (0, _) => u64::MAX,
            (1, _) => u64::MAX - 1,
            (_, small) => small,
        }
    }
}

fn nonsense(next: &mut impl FnMut() -> u64) -> Message {
    let (height, regency) = (next(), next());
    let digest = Digest([next() as u8; 32]);
    let entry = Entry {
        client: CLIENT,
        incarnation: next(),
        seq: next(),
        digest,
    };
    let batch = Batch {
        after: digest,
        time_ms: next(),
        entries: vec![entry; (next() % 4) as usize],
    };
    let junk = signed(CLIENT, next(), next(), "junk");
    let requests = vec![consensus::Request {
        auth: consensus::Auth::Signature(Signature([next() as u8; 64])),
        ..junk
    }];
    match next() % 7 + next() % 7 {
        0 => Message::Propose {
            height,
            regency,
            batch,
        },
        1 => Message::Write {
            height,
            regency,
            digest,
        },
        2 => Message::Accept {
            height,
            regency,
            digest,
            signature: Signature([0; 64]),
        },
        3 => Message::Forward { requests },
        4 => Message::Stop { view: 1, regency },
        5 => Message::FetchBatch { height, digest },
        6 => Message::BatchOf { height, batch },
        7 => Message::FetchBodies {
            height,
            entries: batch.entries,
        },
        8 => Message::Bodies { height, requests },
        9 => Message::FetchDecisions {
            from: height,
            max: next() as u32,
        },
        10 => Message::Status {
            view: 1,
            regency,
            free_from: Some(height),
            decided: next(),
        },
        _ => Message::Decisions {
            decisions: Vec::new(),
        },
    }
}

#[test]
fn one_peer_that_talks_nonsense_neither_stops_nor_moves_the_others() {
    let mut table = Table::of(4);
    table.crash(3);
    let mut next = numbers(7);
    for seq in 1..=20 {
        for _ in 0..300 {
            let message = nonsense(&mut next);
            let to = (next() % 3) as u16;
            table.tell(3, to, message);
        }
        table.submit(&request(CLIENT, seq));
        table.pass(100);
    }
    assert_eq!(table.regencies(), [0; 3]);
    table.assert_agreement();
    for i in 0..3 {
        let status = table.core(i).status();
        assert_eq!(status.height, table.height(0));
        assert_eq!((status.pending_requests, status.pending_bytes), (0, 0));
    }
    let ordered: usize = table.decided[0]
        .iter()
        .map(|decided| decided.requests.len())
        .sum();
    assert_eq!(ordered, 20);
}

#[test]
fn strangers_are_not_heard() {
    let mut table = Table::of(4);
    for stranger in [4, 9, u16::MAX] {
        table.tell(
            stranger,
            0,
            Message::Stop {
                view: 1,
                regency: 1,
            },
        );
    }
    table.tell(
        0,
        0,
        Message::Stop {
            view: 1,
            regency: 1,
        },
    );
    table.settle();
    assert_eq!(table.count_sent("STOP"), 0);
}

#[test]
fn a_forwarded_request_counts_only_with_its_clients_signature() {
    let mut table = Table::of(4);
    let forged = consensus::Request {
        op: b"forged".to_vec().into(),
        ..signed(CLIENT, 1, 1, "true")
    };
    table.tell(
        1,
        0,
        Message::Forward {
            requests: vec![forged],
        },
    );
    assert_eq!(table.core(0).status().pending_requests, 0);
    table.tell(
        1,
        0,
        Message::Forward {
            requests: vec![signed(CLIENT, 1, 1, "true")],
        },
    );
    table.settle();
    table.pass(50);
    assert_eq!(table.heights(), [1; 4]);
}

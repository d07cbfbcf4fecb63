//! What a message that was received takes in memory, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use consensus::service::{Outcome, ToClient, ToReplica};
use consensus::transfer::{ChunkList, StateMessage};
use consensus::{
    Batch, ClientId, Decided, DecodeError, Digest, Entry, LastDecided, MEMORY_FLOOR,
    MEMORY_PER_BYTE, Message, Proof, ReplicaId, Request, Signature, SigningKey, StopData,
    StopState, Sync, decode,
};
use serde::de::DeserializeOwned;
use txn::ballot::{Ballot, VotePart};
use txn::client::{ClientMessage, ReplicaMessage};
use txn::operation::{Claims, SequenceUse, SequenceValues};
use txn::peer::PeerMessage;
use txn::tally::Verdict;
use txn::{Begin, Commit, Evidence, Isolation, Operation, Ordered, Step, TxId};

thread_local! {
    /// Bytes that this thread holds, and the most since it was last asked.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(more: usize, less: usize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = (now + more).saturating_sub(less);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it came; only numbers are kept beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may stand beside each other.
        count(size, 0);
        count(0, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `run` held at once beyond what there was.
fn most<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = run();
    let (_, most) = HELD.with(Cell::get);
    (result, most - before)
}

/// A growing list keeps up to as much in reserve as it holds, and moves with both beside each other.
const GROWTH: usize = 3;

fn bound(bytes: usize) -> usize {
    bytes + GROWTH * (MEMORY_FLOOR + MEMORY_PER_BYTE * bytes)
}

#[track_caller]
fn assert_bounded(what: &str, bytes: &[u8], decoder: Decoder) -> Result<(), DecodeError> {
    let (result, most) = most(|| decoder(bytes));
    let bound = bound(bytes.len());
    assert!(
        most <= bound,
        "{what}: {} bytes took {most}, at most {bound} are allowed",
        bytes.len()
    );
    result
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Everything that is decoded from a link, by name; each with a valid encoding.
fn received() -> Vec<(&'static str, Vec<u8>, Decoder)> {
    let key = SigningKey::from_bytes(&[1; 32]);
    let request = Request::sign(&key, ClientId(70_000), 1, 2, b"an operation".to_vec());
    let digest = Digest([7; 32]);
    let signature = Signature([9; 64]);
    let entry = Entry {
        client: ClientId(70_000),
        incarnation: 1,
        seq: 2,
        digest,
    };
    let batch = Batch {
        after: digest,
        time_ms: 5,
        entries: vec![entry; 3],
    };
    let proof = Proof {
        regency: 1,
        accepts: vec![(ReplicaId(0), signature), (ReplicaId(1), signature)],
    };
    let decided = Decided {
        height: 3,
        regency: 1,
        batch: batch.clone(),
        requests: vec![request.clone(); 3],
        proof: proof.clone(),
    };
    let last = LastDecided {
        height: 3,
        digest,
        proof,
    };
    let state = StopState {
        view: 0,
        regency: 2,
        replica: ReplicaId(1),
        decided: 3,
        votes: vec![consensus::OpenVotes {
            height: 10,
            lock: Some((1, digest)),
            writeset: vec![consensus::Written {
                regency: 1,
                digest,
                after: digest,
            }],
        }],
    };
    let sync = Sync {
        regency: 2,
        states: vec![(state.clone(), signature); 3],
        last: Some(last.clone()),
    };
    let list = ChunkList {
        height: 3,
        length: 5,
        chunk_bytes: 4,
        chunks: vec![digest; 2],
    };
    let operation = Operation {
        parameter_types: vec![23],
        parameters: vec![Some(Bytes::from_static(b"1")), None],
        parameter_formats: vec![0],
        result_formats: vec![1],
        copy_in: Some(vec![Bytes::from_static(b"a\tb\n")]),
        order: Some(vec![1]),
        ..Operation::text("SELECT $1")
    };
    let evidence = Evidence {
        result: digest,
        write: digest,
        sequences: vec![SequenceValues {
            sequence: "s".into(),
            uses: vec![SequenceUse::Given { first: 1, count: 5 }],
        }],
        claims: Some(Claims {
            key: vec!["id".into()],
            rows: vec![vec!["1".into()]],
        }),
        schema_change: false,
        adds_only: false,
        failed: false,
        unvalidated: false,
    };
    let tx = TxId {
        client: ClientId(70_000),
        incarnation: 1,
        seq: 2,
    };
    let settings = vec![("TimeZone".to_owned(), "UTC".to_owned())];
    let step = Step {
        operation: operation.clone(),
        evidence: evidence.clone(),
    };
    let commit = Ordered::Commit(Commit {
        tx,
        epoch: 1,
        steps: vec![step; 2],
        word: None,
    });
    let vote = VotePart::sign(&key, 0, ReplicaId(1), 3, 0, vec![(0, Ballot::Commit)]);
    let outcome = txn::client::Outcome {
        frames: vec![Bytes::from_static(b"C\0\0\0\x05x")],
        result: digest,
        transaction: b'T',
    };
    let of_consensus = |message: Message| {
        (
            "a consensus message",
            message.encode(),
            message_of as Decoder,
        )
    };
    vec![
        of_consensus(Message::Propose {
            height: 3,
            regency: 1,
            batch,
        }),
        of_consensus(Message::Bodies {
            height: 3,
            requests: vec![request.clone(); 2],
        }),
        of_consensus(Message::Decisions {
            decisions: vec![decided; 2],
        }),
        of_consensus(Message::StopData(Box::new(StopData {
            state,
            signature,
            last: Some(last.clone()),
        }))),
        of_consensus(Message::Sync(Box::new(sync))),
        of_consensus(Message::State(StateMessage::List {
            list: Box::new(list),
            last,
        })),
        of_consensus(Message::State(StateMessage::Offer {
            roots: vec![(3, digest)],
            kept: vec![3],
        })),
        (
            "a service's request",
            encoded(&ToReplica::Request(request)),
            decoder::<ToReplica>,
        ),
        (
            "a service's answer",
            encoded(&ToClient::Answer {
                id: 1,
                outcome: Outcome::new(0, 3, Bytes::from_static(b"five"), true),
            }),
            decoder::<ToClient>,
        ),
        (
            "an operation",
            encoded(&ClientMessage::AutoOperation {
                tx,
                epoch: 1,
                min_height: 3,
                turn: None,
                settings,
                operation,
            }),
            decoder::<ClientMessage>,
        ),
        ("a commit", commit.encode(), ordered_of),
        (
            "an outcome",
            encoded(&ReplicaMessage::Operation {
                tx,
                step: 0,
                outcome,
                evidence,
                ran_at: 3,
                word: None,
            }),
            decoder::<ReplicaMessage>,
        ),
        (
            "votes",
            encoded(&PeerMessage::Votes { parts: vec![vote] }),
            decoder::<PeerMessage>,
        ),
        (
            "verdicts",
            encoded(&PeerMessage::Verdicts {
                first: 3,
                heights: vec![vec![(0, Verdict::Commit)]],
            }),
            decoder::<PeerMessage>,
        ),
    ]
}

type Decoder = fn(&[u8]) -> Result<(), DecodeError>;

fn decoder<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), DecodeError> {
    decode::<T>(bytes).map(drop)
}

fn message_of(bytes: &[u8]) -> Result<(), DecodeError> {
    Message::decode(bytes).map(drop)
}

fn ordered_of(bytes: &[u8]) -> Result<(), DecodeError> {
    Ordered::decode(bytes).map(drop)
}

fn encoded<T: serde::Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("plain data")
}

/// An empty list at the end of an encoding, as one of as many `element`s as eight megabytes hold.
fn filled(mut encoded: Vec<u8>, element: &[u8]) -> Vec<u8> {
    assert_eq!(encoded.pop(), Some(0), "the empty list comes last");
    let count = (8 << 20) / element.len();
    [encoded, varint(count as u64), element.repeat(count)].concat()
}

#[test]
fn lists_of_what_is_small_on_the_wire_and_large_in_memory_are_refused() {
    let mut votes = Message::StopData(Box::new(StopData {
        state: StopState {
            view: 0,
            regency: 1,
            replica: ReplicaId(0),
            decided: 0,
            votes: Vec::new(),
        },
        signature: Signature([0; 64]),
        last: None,
    }))
    .encode();
    votes.truncate(votes.len() - 66);
    let verdicts = PeerMessage::Verdicts {
        first: 1,
        heights: Vec::new(),
    };
    let begin = Ordered::Begin(Begin {
        epoch: 0,
        settings: Vec::new(),
        isolation: Isolation::Snapshot,
        read_only: false,
    });
    let mut settings = begin.encode();
    // The list, then the level and whether it is read-only.
    settings.truncate(settings.len() - 2);
    // The parameters lie in the middle: what follows them is missing, and nobody comes to that.
    let mut nulls = encoded(&ClientMessage::Operation {
        tx: TxId {
            client: ClientId(1),
            incarnation: 1,
            seq: 1,
        },
        step: 0,
        operation: Operation::text(""),
    });
    nulls.truncate(nulls.len() - 5);
    let mut frames = encoded(&ReplicaMessage::Read {
        id: 1,
        height: 1,
        digest: Digest([0; 32]),
        failed: None,
        outcome: Some(txn::client::Outcome {
            frames: Vec::new(),
            result: Digest([0; 32]),
            transaction: 0,
        }),
    });
    frames.truncate(frames.len() - 33);
    let bombs: [(&str, Vec<u8>, Decoder); 5] = [
        (
            "heights in flight without votes",
            filled(votes, &[0; 3]),
            message_of,
        ),
        (
            "heights without verdicts",
            filled(encoded(&verdicts), &[0]),
            decoder::<PeerMessage>,
        ),
        (
            "settings without names",
            filled(settings, &[0; 2]),
            ordered_of,
        ),
        (
            "parameters that are NULL",
            filled(nulls, &[0]),
            decoder::<ClientMessage>,
        ),
        (
            "frames without bytes",
            filled(frames, &[0]),
            decoder::<ReplicaMessage>,
        ),
    ];
    for (what, bytes, decoder) in bombs {
        let refused = assert_bounded(what, &bytes, decoder);
        assert_eq!(
            refused,
            Err(DecodeError::TooMuchMemory(bytes.len())),
            "{what}"
        );
    }
}

#[test]
fn lengths_that_the_bytes_cannot_back_take_nothing() {
    let huge = varint(1 << 60);
    for (what, good, decoder) in received() {
        assert_eq!(decoder(&good), Ok(()), "{what}");
        for at in 0..good.len() {
            // A length of 2^60 in every place, with and without something behind it.
            for behind in [&good[at..], &[]] {
                let bomb = [&good[..at], &huge, behind].concat();
                let (_, held) = most(|| decoder(&bomb));
                // serde makes room for a megabyte of elements at most before it has seen one.
                assert!(held <= 2 << 20, "{what}, byte {at}: {held} bytes");
            }
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic_or_take_more_than_its_bound() {
    let mut stream = blake3::Hasher::new().finalize_xof();
    let mut junk = vec![0; 600];
    for (what, good, decoder) in received() {
        for cut in 0..good.len() {
            assert!(
                assert_bounded(what, &good[..cut], decoder).is_err(),
                "{what} cut at {cut}"
            );
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(decoder(&longer), Err(DecodeError::Trailing(1)), "{what}");
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = assert_bounded(what, &flipped, decoder);
        }
        for round in 0..1_000 {
            stream.fill(&mut junk);
            // Half of the rounds keep to small numbers, which reach deeper.
            if round % 2 == 0 {
                junk.iter_mut().for_each(|byte| *byte %= 17);
            }
            let length = usize::from(junk[0]) + 1;
            let _ = assert_bounded(what, &junk[..length], decoder);
        }
    }
}

//! What a receipt costs in CPU: `cargo run --release -p txn --example receipt_cost`.

use std::time::Instant;

use consensus::{
    Batch, ClientId, Decided, Digest, Entry, Proof, PublicKey, ReplicaId, Request, SigningKey, View,
};
use txn::ordered::{Commit, Ordered};
use txn::receipt::{Fact, Receipt, cluster_digest};
use txn::{Evidence, Operation, Step, TxId};

/// Requests of a batch, and operations of each.
const BATCH: u64 = 32;
const STEPS: usize = 5;
const RUNS: u32 = 2_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn request(seq: u64) -> Request {
    let client = ClientId(70_000);
    let step = Step {
        operation: Operation::text("UPDATE account SET balance = balance - 1 WHERE id = 17"),
        evidence: Evidence {
            result: Digest([1; 32]),
            write: Digest([2; 32]),
            sequences: Vec::new(),
            claims: None,
            schema_change: false,
            adds_only: false,
            failed: false,
            unvalidated: false,
        },
    };
    let commit = Ordered::Commit(Commit {
        tx: TxId {
            client,
            incarnation: 1,
            seq,
        },
        epoch: 0,
        steps: vec![step; STEPS],
        word: None,
    });
    Request::sign(&key(99), client, 1, seq, commit.encode())
}

fn decided() -> Decided {
    let requests: Vec<Request> = (1..=BATCH).map(request).collect();
    let entries = requests.iter().map(|request| Entry {
        client: request.client,
        incarnation: request.incarnation,
        seq: request.seq,
        digest: request.digest(),
    });
    Decided {
        height: 9,
        regency: 0,
        batch: Batch {
            after: Digest([3; 32]),
            time_ms: 1,
            entries: entries.collect(),
        },
        requests,
        proof: Proof {
            regency: 0,
            accepts: Vec::new(),
        },
    }
}

fn timed<T>(what: &str, mut work: impl FnMut() -> T) -> T {
    let start = Instant::now();
    let mut last = work();
    for _ in 1..RUNS {
        last = work();
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS);
    println!("{what:<58} {each:8.1} us");
    last
}

fn main() {
    let genesis = View {
        f: 1,
        replicas: (0..4)
            .map(|i| (ReplicaId(i), PublicKey::of(&key(i as u8 + 1))))
            .collect(),
        ..View::default()
    };
    let logged = postcard::to_stdvec(&decided()).unwrap_or_default();
    println!(
        "a batch of {BATCH} requests of {STEPS} operations, {} bytes in the log",
        logged.len()
    );
    let decided: Decided = timed("a replica: reading the decision from memory", || {
        postcard::from_bytes(&logged).unwrap_or_else(|_| decided())
    });
    let cluster = cluster_digest(&genesis);
    let fact = timed("a replica: its digests", || {
        Fact::of(cluster, 0, 0, &decided, 3)
    });
    let Some(fact) = fact else { return };
    timed("a replica: its signature", || fact.sign(&key(1)));
    let receipt = Receipt {
        signatures: [0, 2]
            .map(|i| (ReplicaId(i), fact.sign(&key(i as u8 + 1))))
            .into(),
        fact,
        views: Vec::new(),
    };
    let text = receipt.to_text();
    timed("anybody: reading and verifying it", || {
        Receipt::parse(&text).is_ok_and(|receipt| receipt.verify(&genesis).is_ok())
    });
    println!("{} bytes of text", text.len());
}

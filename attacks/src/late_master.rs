//! A client can be ahead of the master: a quorum of the others answers first.

use client_shim::Operation;
use cluster::channel;
use harness::{Cluster, Link, MALLORY};
use net::{Event, PeerId};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use txn::client::{ClientMessage, ReplicaMessage};
use txn::{Ordered, TxId};

/// Heights that the client is ahead. Votes of a moment ago may still be on their way to be ordered: a height for each replica at most.
const AHEAD: u64 = 5;

/// Run at once, such a write would miss what its client was told is committed; all judges would vote ABORT.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_until_the_master_has_what_its_client_saw() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    cluster.settle().await;
    let seen = cluster
        .statuses()
        .await
        .values()
        .map(|s| s.applied)
        .max()
        .unwrap()
        + AHEAD;

    let mut link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    for (seq, sql) in [(1, "DELETE FROM t"), (2, "UPDATE t SET a = 2")] {
        link.say(&ClientMessage::AutoOperation {
            tx: tx(seq),
            epoch: 0,
            min_height: seen,
            turn: None,
            settings: Vec::new(),
            operation: Operation::text(sql),
        });
    }
    let early = timeout(Duration::from_millis(300), outcome(&mut link)).await;
    assert!(early.is_err(), "it ran before its height: {early:?}");
    // A cancel reaches what waits.
    link.say(&ClientMessage::Cancel { tx: tx(2) });
    assert_eq!(outcome(&mut link).await, Err((2, "57014".to_owned())));
    // So many more batches, whoever orders them.
    for _ in 0..AHEAD {
        let nothing = Ordered::Nothing(Vec::new());
        cluster.operator.invoke(&nothing).await.unwrap();
    }
    let (seq, ran_at) = outcome(&mut link).await.unwrap();
    assert_eq!(seq, 1);
    assert!(ran_at >= seen, "ran at {ran_at}, not at {seen}");
    link.down().await;

    // Its link is down: what waits for ever is forgotten, and its locks hinder nobody.
    sleep(Duration::from_millis(50)).await;
    client.batch_execute("UPDATE t SET a = 3").await.unwrap();
    cluster.hold("SELECT a FROM t", &["3"]).await;
    cluster.end().await;
}

fn tx(seq: u64) -> TxId {
    TxId {
        client: MALLORY,
        incarnation: 1,
        seq: 1 << 63 | seq,
    }
}

/// The master's next word on a write: its number and the height at which it ran, or why it did not run.
pub async fn outcome(link: &mut Link) -> Result<(u64, u64), (u64, String)> {
    let number = |tx: TxId| tx.seq & !(1 << 63);
    loop {
        let Some(event) = link.events.recv().await else {
            panic!("the link ended");
        };
        let Event::Frame {
            from: PeerId::Replica(0),
            channel: channel::CLIENT,
            payload,
        } = event
        else {
            continue;
        };
        match postcard::from_bytes(&payload).unwrap() {
            ReplicaMessage::Operation { tx, ran_at, .. } => return Ok((number(tx), ran_at)),
            ReplicaMessage::Doomed { tx, reason, .. } => {
                return Err((number(tx), reason.sqlstate));
            }
            _ => {}
        }
    }
}

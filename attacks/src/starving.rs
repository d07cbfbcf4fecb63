//! An autocommit write that others would have aborted for ever (decision 34).

use crate::late_master::outcome;
use client_shim::Operation;
use harness::{Cluster, MALLORY, MASTER, column, failure, inserted};
use net::PeerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use txn::client::{ClientMessage, Turn};
use txn::{Auto, Ordered, TxId};

const HOT: &str = "UPDATE hot SET n = n + 1 WHERE id = 1";

/// It reads what all others change, and changes what all others change: whatever the master says of it, somebody commits between that
/// and its place; and as a transaction of its own somebody commits before it.
const READS_AND_WRITES: &str = "UPDATE hot SET n = n + (SELECT sum(v) FROM busy) * 0 WHERE id = 1 RETURNING (SELECT sum(v) FROM busy)";

#[tokio::test(flavor = "multi_thread")]
async fn an_autocommit_write_gets_through_whatever_others_commit() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE busy (id int PRIMARY KEY, v bigint NOT NULL);
        INSERT INTO busy SELECT g, 0 FROM generate_series(1, 6) g;
        CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL);
        INSERT INTO hot VALUES (1, 0)";
    client.batch_execute(setup).await.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let mut others = Vec::new();
    for id in 1..=6 {
        let (other, over) = (cluster.client().await, over.clone());
        let busy = format!("UPDATE busy SET v = v + 1 WHERE id = {id}");
        others.push(tokio::spawn(async move {
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                if id % 2 == 0 {
                    other.batch_execute(&busy).await.unwrap();
                    other.batch_execute(HOT).await.unwrap();
                    done += 1;
                    continue;
                }
                // In a block it may lose, as with PostgreSQL, and comes again.
                other.batch_execute("BEGIN").await.unwrap();
                let ran = other.batch_execute(&format!("{busy}; {HOT}")).await;
                match ran.and(other.batch_execute("COMMIT").await) {
                    Ok(()) => done += 1,
                    Err(error) => {
                        assert_eq!(failure::<()>(Err(error)).0, "40001");
                        let _ = other.batch_execute("ROLLBACK").await;
                    }
                }
            }
            done
        }));
    }
    let mut sums = Vec::new();
    for _ in 0..6 {
        let sum = column(&client, READS_AND_WRITES)
            .await
            .expect("it gets through");
        sums.push(sum[0].parse::<u64>().unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let mut done: u64 = 0;
    for other in others {
        // Whoever is held back only waits.
        done += other.await.unwrap();
    }
    assert!(
        sums.is_sorted() && sums[5] > sums[0],
        "others were at work: {sums:?}"
    );
    let done = done.to_string();
    cluster.hold("SELECT n FROM hot", &[&done]).await;
    cluster.hold("SELECT sum(v) FROM busy", &[&done]).await;
    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch == 0), "nobody is blamed");
    cluster.audit().await;
    cluster.end().await;
}

const AUTO: u64 = TxId::AUTO;
const PATIENCE: Duration = Duration::from_secs(60);

fn tx(seq: u64) -> TxId {
    TxId {
        client: MALLORY,
        incarnation: 1,
        seq,
    }
}

fn write(seq: u64, turn: Option<Turn>, sql: &str) -> ClientMessage {
    ClientMessage::AutoOperation {
        tx: tx(seq),
        epoch: 0,
        min_height: 0,
        turn,
        settings: Vec::new(),
        operation: Operation::text(sql),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_others_back_can_do_no_more_than_that() {
    let cluster = Cluster::start().await;
    let (client, reader, hasty) = (
        cluster.client().await,
        cluster.client().await,
        cluster.client().await,
    );
    let setup = "CREATE TABLE t (a int); CREATE SEQUENCE spy";
    client.batch_execute(setup).await.unwrap();
    cluster.settle().await;
    let statuses = cluster.statuses().await;
    let ran_at = statuses.values().map(|s| s.applied).min().unwrap();

    let mut link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    let asked = Turn {
        statement: 1,
        last: false,
    };
    link.say(&write(
        AUTO | 1,
        Some(asked),
        "INSERT INTO t SELECT 1 FROM pg_sleep(60)",
    ));
    // The number of a transaction is not one of an autocommit write.
    link.say(&write(7, None, "INSERT INTO t SELECT nextval('spy')"));
    // Whoever only reads does not wait, nor who does not want to any more.
    let read = "BEGIN READ ONLY; SELECT a FROM t; COMMIT";
    reader.batch_execute(read).await.unwrap();
    let sleeps =
        "SET statement_timeout = '100ms'; BEGIN; INSERT INTO t SELECT 10 FROM pg_sleep(600)";
    let cancelled = timeout(PATIENCE, hasty.batch_execute(sleeps)).await;
    let (sqlstate, _) = failure(cancelled.expect("a cancel reaches what is held back"));
    assert_eq!(sqlstate, "57014");
    // Everybody else waits, and not for long.
    let held = tokio::spawn(async move {
        client
            .batch_execute("INSERT INTO t VALUES (8)")
            .await
            .unwrap();
        let block = "BEGIN; INSERT INTO t VALUES (9); COMMIT";
        client.batch_execute(block).await.unwrap();
    });
    timeout(PATIENCE, held)
        .await
        .expect("held back for a while")
        .unwrap();

    // One that waits for a height, and is ordered with something else meanwhile, is not run once it may.
    link.say(&ClientMessage::AutoOperation {
        tx: tx(AUTO | 2),
        epoch: 0,
        min_height: ran_at + 50,
        turn: None,
        settings: Vec::new(),
        operation: Operation::text("INSERT INTO t SELECT nextval('spy')"),
    });
    sleep(Duration::from_millis(100)).await;
    let auto = Auto {
        tx: tx(AUTO | 2),
        epoch: 0,
        ran_at,
        settings: Vec::new(),
        step: inserted("t", 7),
        word: None,
    };
    let key = cluster.key("mallory").signing_key();
    link.request(key, MALLORY, 1, 1, &Ordered::Auto(auto));
    for _ in 0..60 {
        let nothing = Ordered::Nothing(Vec::new());
        cluster.operator.invoke(&nothing).await.unwrap();
    }

    // It is gone in its turn, or gives up: nobody is the worse.
    link.say(&write(
        AUTO | 3,
        Some(Turn {
            statement: 2,
            ..asked
        }),
        "INSERT INTO t VALUES (11)",
    ));
    link.say(&ClientMessage::Cancel { tx: tx(AUTO | 3) });
    let _ = timeout(PATIENCE, outcome(&mut link))
        .await
        .expect("an answer");
    link.down().await;
    let after = cluster.client().await;
    let last = after.batch_execute("INSERT INTO t VALUES (12)");
    timeout(PATIENCE, last)
        .await
        .expect("nobody holds it back")
        .unwrap();

    cluster.settle().await;
    cluster
        .hold("SELECT a FROM t ORDER BY a", &["7", "8", "9", "12"])
        .await;
    let spied = column(&cluster.at(MASTER).await, "SELECT is_called FROM spy").await;
    assert_eq!(spied.unwrap(), ["f"], "something ran that was not to");
    cluster.audit().await;
    cluster.end().await;
}

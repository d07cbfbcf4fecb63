//! What is open gives way to what is ordered.

use client_shim::Operation;
use consensus::Digest;
use harness::{Cluster, MASTER, column, failure};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use txn::client::Answer;
use txn::{Commit, Evidence, Isolation, Ordered, Step};

/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A statement that runs in it is cancelled; its client hears 40001, so that it tries again, and not that somebody cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_gives_way_is_told_to_try_again() {
    let cluster = Cluster::start().await;
    let (holder, writer) = (cluster.client().await, cluster.mallory().await);
    let setup = "CREATE TABLE t (a int); INSERT INTO t VALUES (1)";
    holder.batch_execute(setup).await.unwrap();
    holder
        .batch_execute("BEGIN; UPDATE t SET a = 2")
        .await
        .unwrap();
    let running =
        tokio::spawn(async move { (holder.simple_query("SELECT pg_sleep(60)").await, holder) });
    let observer = cluster.at(MASTER).await;
    let sleeps =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'";
    let began = Instant::now();
    while column(&observer, sleeps).await.unwrap() != ["1"] {
        assert!(began.elapsed() < PATIENCE, "the statement does not run");
        sleep(Duration::from_millis(10)).await;
    }

    // Ordered without having run at the master: it is run at its place, where the lock is in its way.
    let transaction = writer.begin(Vec::new(), Isolation::Snapshot, false);
    writer.invoke(&Ordered::Nothing(Vec::new())).await.unwrap();
    let commit = Ordered::Commit(Commit {
        tx: transaction.id(),
        epoch: 0,
        steps: vec![Step {
            operation: Operation::text("UPDATE t SET a = 3"),
            evidence: Evidence {
                result: Digest([0; 32]),
                write: Digest([0; 32]),
                sequences: Vec::new(),
                claims: None,
                schema_change: false,
                adds_only: false,
                failed: false,
                unvalidated: false,
            },
        }],
        word: None,
    });
    let ordered = timeout(PATIENCE, writer.invoke(&commit)).await;
    // Its evidence is made up, but that is judged when it has run.
    assert_eq!(ordered.unwrap().unwrap().answer, Answer::Aborted);

    let (ran, holder) = timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(failure(ran).0, "40001");
    holder
        .batch_execute("ROLLBACK; UPDATE t SET a = 4")
        .await
        .unwrap();
    cluster.hold("SELECT a FROM t", &["4"]).await;
    cluster.end().await;
}

/// Two that wait for each other's rows, neither of them ordered: without a detector they would wait until their clients gave up.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_open_transactions_that_wait_for_each_other_one_is_told_of_the_deadlock() {
    let cluster = Cluster::start().await;
    let (one, other) = (cluster.client().await, cluster.client().await);
    let setup = "CREATE TABLE t (k int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 0), (2, 0)";
    one.batch_execute(setup).await.unwrap();
    for (client, key) in [(&one, 1), (&other, 2)] {
        let first = format!("BEGIN; UPDATE t SET a = a + 1 WHERE k = {key}");
        client.batch_execute(&first).await.unwrap();
    }
    let both = async {
        tokio::join!(
            one.simple_query("UPDATE t SET a = a + 1 WHERE k = 2"),
            other.simple_query("UPDATE t SET a = a + 1 WHERE k = 1"),
        )
    };
    let (first, second) = timeout(PATIENCE, both).await.unwrap();
    let (loser, winner, error) = match (first, second) {
        (Ok(_), error) => (&other, &one, error),
        (error, _) => (&one, &other, error),
    };
    assert_eq!(failure(error).0, "40P01");
    loser.batch_execute("ROLLBACK").await.unwrap();
    winner.batch_execute("COMMIT").await.unwrap();
    cluster
        .hold("SELECT a FROM t ORDER BY k", &["1", "1"])
        .await;
    cluster.end().await;
}

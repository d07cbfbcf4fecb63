//! A master that lies on and on is replaced, and only such a one (DESIGN.md, 8 and "Epochs are evidence").

use client_shim::Shim;
use consensus::{Digest, Signature};
use harness::{Cluster, MASTER, failure};
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use txn::client::Answer;
use txn::{Commit, Evidence, Isolation, Operation, Ordered, Step};

/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn table() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL); INSERT INTO t VALUES (1, 0)";
    client.batch_execute(setup).await.unwrap();
    (cluster, client)
}

/// Tries until a transaction with a lie in it, or the whole attempt, is done by another master.
async fn until_committed(client: &Client, sql: &str) -> u32 {
    let began = Instant::now();
    for failed in 0.. {
        let done = client.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await;
        let Err(error) = done else {
            return failed;
        };
        assert!(began.elapsed() < PATIENCE, "{error:?}");
        assert_eq!(failure::<()>(Err(error)).0, "40001");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_lies_on_and_on_is_replaced() {
    let (cluster, client) = table().await;
    cluster.lies(MASTER, &[Lie::Answers]);
    let failed = until_committed(&client, "UPDATE /*lie:hide*/ t SET a = a + 1").await;
    assert!((4..20).contains(&failed), "{failed} attempts failed");
    assert_eq!(cluster.epoch().await, 1);
    cluster.hold("SELECT a FROM t", &["1"]).await;

    // Now an autocommit write, which is judged at another state than it ran at, so that a difference alone proves nothing:
    // the next master lies, and the client sees nothing of it.
    cluster.lies(1, &[Lie::Answers]);
    let changed = client
        .execute("UPDATE /*lie:write*/ t SET a = a + 1", &[])
        .await;
    // As often as it takes: each statement tries a few times by itself.
    if changed.is_err() {
        until_committed(&client, "UPDATE /*lie:write*/ t SET a = a + 1").await;
    }
    assert_eq!(cluster.epoch().await, 2);
    cluster.hold("SELECT a FROM t", &["2"]).await;
    cluster.audit().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_does_not_give_its_word_is_replaced() {
    let (cluster, client) = table().await;
    cluster.lies(MASTER, &[Lie::NoWord]);
    // The proxy alone is at work in this minute but for the operator: one of two is not more than half.
    until_committed_by_both(&cluster, &client).await;
    assert_eq!(cluster.epoch().await, 1);
    cluster.hold("SELECT a FROM t", &["2"]).await;
    cluster.audit().await;
    cluster.end().await;
}

async fn until_committed_by_both(cluster: &Cluster, client: &Client) {
    let sql = "UPDATE t SET a = a + 1";
    let operator = async {
        let began = Instant::now();
        while !in_transaction(&cluster.operator, sql).await {
            assert!(began.elapsed() < PATIENCE);
        }
    };
    tokio::join!(operator, until_committed(client, sql));
}

/// Whether it was committed.
async fn in_transaction(shim: &Shim, sql: &str) -> bool {
    let mut transaction = shim.begin(Vec::new(), Isolation::Snapshot, false);
    let ran = transaction.execute(Operation::text(sql), false).await;
    ran.is_ok() && !transaction.failed() && transaction.commit().await.is_ok()
}

/// Commits that claim what the master never said, with no word, a made-up one, and the word of another transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_claims_what_was_never_answered_blames_nobody() {
    let (cluster, client) = table().await;
    let mallory = cluster.mallory().await;
    for (number, word) in (0..24).zip([None, Some(Signature([3; 64]))].into_iter().cycle()) {
        let mut transaction = mallory.begin(Vec::new(), Isolation::Snapshot, false);
        let operation = Operation::text("SELECT a FROM t");
        let outcome = transaction.execute(operation.clone(), false).await;
        outcome.unwrap();
        let claimed = Evidence {
            result: Digest([number; 32]),
            write: txn::WriteSet::default().digest(),
            sequences: Vec::new(),
            claims: None,
            schema_change: false,
            adds_only: false,
            failed: false,
            unvalidated: false,
        };
        let commit = Ordered::Commit(Commit {
            tx: transaction.id(),
            epoch: 0,
            steps: vec![Step {
                operation,
                evidence: claimed,
            }],
            word,
        });
        assert_eq!(
            mallory.invoke(&commit).await.unwrap().answer,
            Answer::Aborted
        );
        // Nor does it help to complain: one of several clients at work.
        let complaint = Ordered::MasterChange { epoch: 0 };
        mallory.invoke(&complaint).await.unwrap();
        // Another one is at work too: on a slow machine this all takes longer than the minute after which one is not any more.
        client.batch_execute("UPDATE t SET a = 4").await.unwrap();
    }
    client.batch_execute("UPDATE t SET a = 5").await.unwrap();
    cluster.hold("SELECT a FROM t", &["5"]).await;
    assert_eq!(cluster.epoch().await, 0);
    cluster.audit().await;
    cluster.end().await;
}

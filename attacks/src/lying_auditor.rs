//! One replica lies when all compare their tables, or what they know besides: nobody throws away what is right.

use consensus::ReplicaId;
use harness::{Cluster, failure};
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};

/// The first that reports are looked through: were one accuser enough, it would be believed.
const LIAR: u16 = 0;

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_auditor_makes_no_correct_replica_rebuild() {
    let cluster = Cluster::start_auditing(1).await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    cluster.lies(LIAR, &[Lie::OtherContents]);
    // Every correct replica has heard the lie, and says of whom.
    let until = Instant::now() + Duration::from_secs(60);
    let named = |error: &Option<String>| {
        let error = error.as_deref().unwrap_or_default();
        error.contains("replica 0 differs in ")
    };
    loop {
        let mut statuses = cluster.statuses().await;
        statuses.remove(&ReplicaId(LIAR));
        if statuses.len() == 3 && statuses.values().all(|s| named(&s.last_error)) {
            break;
        }
        assert!(Instant::now() < until, "{statuses:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A client that cries damage, and one that is no administrator and asks for it, move nobody either.
    client
        .batch_execute(
            "CREATE FUNCTION cry() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'invalid page in block 0' USING ERRCODE = 'XX001'; END $$",
        )
        .await
        .unwrap();
    let (sqlstate, _) = failure(client.batch_execute("SELECT cry()").await);
    assert_eq!(sqlstate, "XX001");
    let mallory = cluster.mallory().await;
    for replica in 0..4 {
        let until = Instant::now() + Duration::from_secs(60);
        while !mallory.rebuild(ReplicaId(replica)) {
            assert!(Instant::now() < until, "no link to {replica}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    client
        .batch_execute("INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    cluster.settle().await;
    for (replica, status) in cluster.statuses().await {
        assert_eq!(status.rebuilt, None, "{replica}");
    }
    cluster.lies(LIAR, &[]);
    cluster.audit().await;
    cluster.end().await;
}

/// A checkpoint counts when f+1 have the same state: one liar neither makes one nor keeps the others from it, and nobody doubts itself.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_lies_about_its_state_keeps_nobody_from_a_checkpoint() {
    const EVERY: u64 = 10;
    let cluster = Cluster::start_checkpointing(EVERY).await;
    let client = cluster.client().await;
    let create = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)";
    client.batch_execute(create).await.unwrap();
    cluster.lies(LIAR, &[Lie::OtherState]);
    let before = cluster.statuses().await;
    let first = before.values().map(|status| status.applied).max().unwrap();
    // Some eighty heights.
    let until = Instant::now() + Duration::from_secs(180);
    for replica in 0..4 {
        let server = cluster.at(replica).await;
        loop {
            let insert = "INSERT INTO t DEFAULT VALUES";
            client.batch_execute(insert).await.unwrap();
            let floor = "SELECT height FROM steel.floor";
            let floor = server.query_opt(floor, &[]).await.unwrap();
            let floor = floor.map_or(0, |row| row.get::<_, i64>(0));
            // What was agreed on while it lied.
            if floor as u64 > first + EVERY {
                break;
            }
            assert!(Instant::now() < until, "replica {replica}: {floor}");
        }
    }
    cluster.settle().await;
    for (replica, status) in cluster.statuses().await {
        let same = status.postgres_pid == before[&replica].postgres_pid;
        assert!(same && status.rebuilt.is_none(), "{replica} began anew");
    }
    cluster.lies(LIAR, &[]);
    cluster.audit().await;
    cluster.end().await;
}

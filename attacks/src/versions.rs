//! Four replicas on four majors of PostgreSQL: what only some of them know, or answer differently, is masked (docs/versions.md).

use crate::determinism;
use harness::{Cluster, column, failure};
use txn::Ballot;

/// Replica 0, the master, on the machine's own.
const MAJORS: [u32; 4] = [0, 16, 17, 18];

/// 15 gives it sixteen digits after the point, the others none.
const POWER: &str = "10::numeric ^ 50";

const SETUP: &str = "CREATE TABLE n (id int PRIMARY KEY, x numeric); CREATE TABLE t (id int PRIMARY KEY, x int);
    CREATE VIEW v AS SELECT x FROM n WHERE id > 0; CREATE DOMAIN d AS int NOT NULL CHECK (VALUE > 0);
    CREATE TABLE strict (a d, b text NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn four_majors_agree_and_none_of_them_is_the_odd_one() {
    let cluster = Cluster::start_on(MAJORS).await;
    determinism::agree(&cluster).await;
    let client = cluster.client().await;
    client.batch_execute(SETUP).await.unwrap();
    client.batch_execute("REINDEX TABLE t").await.unwrap();
    let told = column(&client, "SHOW server_version").await.unwrap();
    // The second oldest of those who answered in time, so never the oldest, which one server alone is.
    let newer = ["16.", "17.", "18."];
    assert!(
        newer.iter().any(|major| told[0].starts_with(major)),
        "{told:?}"
    );
    // Answered by the master, whoever that is: nobody could confirm it.
    let version = column(&client, "SELECT version()").await.unwrap();
    let own = cluster.everywhere("SELECT version()").await;
    assert!(own.contains(&version), "{version:?}");
    cluster.audit().await;
    for (replica, status) in cluster.statuses().await {
        assert_eq!(status.last_error, None, "replica {replica}");
    }
    cluster.end_agreed(3 * 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_majors_do_differently_is_decided_by_most_and_adopted_by_the_others() {
    let cluster = Cluster::start_on(MAJORS).await;
    let client = cluster.client().await;
    client.batch_execute(SETUP).await.unwrap();

    // The master's is the odd one: what it answered is confirmed by nobody.
    client.batch_execute("BEGIN").await.unwrap();
    let insert = format!("INSERT INTO n VALUES (1, {POWER})");
    client.batch_execute(&insert).await.unwrap();
    assert_eq!(failure(client.batch_execute("COMMIT").await).0, "40001");
    cluster.hold("SELECT count(*) FROM n", &["0"]).await;
    // Without a block it is ordered to be executed by all, and most decide.
    let adopted = cluster.verdicts().await[0].2;
    client.batch_execute(&insert).await.unwrap();
    let right = format!("1{}", "0".repeat(50));
    cluster.hold("SELECT x::text FROM n", &[&right]).await;
    assert!(cluster.verdicts().await[0].2 > adopted, "15 adopts");
    let read = column(&client, &format!("SELECT {POWER}")).await.unwrap();
    assert_eq!(read, [&*right]);
    cluster.audit().await;

    // What the master and one other do not know: no two replicas contradict each other on what is written.
    for sql in [
        "INSERT INTO t SELECT 1, random(1, 6)",
        "BEGIN; INSERT INTO t SELECT 1, random(1, 6); COMMIT",
        "MERGE INTO t USING (VALUES (1)) v(x) ON t.id = v.x WHEN NOT MATCHED THEN INSERT VALUES (1, 1) RETURNING t.id",
    ] {
        let (sqlstate, _) = failure(client.batch_execute(sql).await);
        assert!(
            ["42883", "42601", "40001"].contains(&&*sqlstate),
            "{sql}: {sqlstate}"
        );
        let _ = client.batch_execute("ROLLBACK").await;
        cluster.hold("SELECT count(*) FROM t", &["0"]).await;
    }
    client
        .batch_execute("INSERT INTO t VALUES (1, 1)")
        .await
        .unwrap();
    cluster.hold("SELECT x FROM t", &["1"]).await;
    cluster.audit().await;
    let votes = cluster.end().await;
    let differed =
        |replica: &Vec<(u64, u32, Ballot)>| replica.iter().any(|v| v.2 != Ballot::Commit);
    assert!(votes.iter().any(differed), "somebody differed");
}

//! A key that fails for a row which came after the transaction began is a serialization failure, and no other is.

use harness::{Cluster, failure};
use tokio_postgres::Client;

async fn sqlstate(client: &Client, sql: &str) -> String {
    failure(client.batch_execute(sql).await).0
}

/// In a transaction that began before `meanwhile` was committed by another session.
async fn behind(a: &Client, b: &Client, meanwhile: &str, sql: &str) -> String {
    a.batch_execute("BEGIN; SELECT count(*) FROM u")
        .await
        .unwrap();
    b.batch_execute(meanwhile).await.unwrap();
    let told = sqlstate(a, sql).await;
    assert_eq!(sqlstate(a, "SELECT 1").await, "25P02", "{sql} failed");
    a.batch_execute("ROLLBACK").await.unwrap();
    told
}

/// In a transaction that sees everything.
async fn seeing(client: &Client, sql: &str) -> String {
    let told = sqlstate(client, &format!("BEGIN; {sql}")).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_row_that_the_snapshot_cannot_see_is_a_serialization_failure() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.client().await, cluster.client().await);
    a.batch_execute(
        "CREATE TABLE u (k int PRIMARY KEY, v text, w text);
         CREATE UNIQUE INDEX folded ON u (lower(v), (k % 2)) WHERE w IS NOT NULL;
         CREATE TABLE p (x int, y text, PRIMARY KEY (x, y));
         CREATE TABLE c (id int, x int, y text, FOREIGN KEY (x, y) REFERENCES p)",
    )
    .await
    .unwrap();
    cluster.settle().await;

    let insert = "INSERT INTO u VALUES (1, 'One', 'w')";
    assert_eq!(behind(&a, &b, insert, insert).await, "40001");
    assert_eq!(seeing(&a, insert).await, "23505", "it is seen now");
    assert_eq!(sqlstate(&a, insert).await, "23505");
    let folded = "INSERT INTO u VALUES (5, 'ONE', 'w')";
    assert_eq!(seeing(&a, folded).await, "23505");
    let three = "INSERT INTO u VALUES (3, 'it''s, three', 'w')";
    let update = "UPDATE u SET v = 'IT''S, three', k = 7";
    // A comma in one of two values: which is which cannot be told, and nothing is claimed.
    assert_eq!(behind(&a, &b, three, update).await, "23505");
    b.batch_execute("DELETE FROM u WHERE k = 3").await.unwrap();
    let three = "INSERT INTO u VALUES (3, 'Three', 'w')";
    assert_eq!(
        behind(&a, &b, three, "UPDATE u SET v = 'THREE'").await,
        "40001"
    );
    let own = "INSERT INTO u VALUES (9), (9)";
    assert_eq!(
        behind(&a, &b, "INSERT INTO u VALUES (8)", own).await,
        "23505"
    );

    // A savepoint keeps what was before it, whichever error it was.
    a.batch_execute(
        "BEGIN; INSERT INTO u VALUES (20); SAVEPOINT \"a\"\"b\"; INSERT INTO u VALUES (21)",
    )
    .await
    .unwrap();
    assert_eq!(sqlstate(&a, insert).await, "23505");
    a.batch_execute("ROLLBACK TO \"a\"\"b\"; INSERT INTO u VALUES (22); COMMIT")
        .await
        .unwrap();
    cluster
        .hold(
            "SELECT k FROM u WHERE k BETWEEN 20 AND 29 ORDER BY k",
            &["20", "22"],
        )
        .await;
    a.batch_execute("BEGIN; SELECT 1; SAVEPOINT s")
        .await
        .unwrap();
    b.batch_execute("INSERT INTO u VALUES (30)").await.unwrap();
    assert_eq!(sqlstate(&a, "INSERT INTO u VALUES (30)").await, "40001");
    a.batch_execute("ROLLBACK TO s; SELECT count(*) FROM u")
        .await
        .unwrap();
    a.batch_execute("ROLLBACK").await.unwrap();

    // Foreign keys: what is referenced came later, what references came later; and what is so for other reasons.
    let parent = "INSERT INTO p VALUES (1, 'o''ne')";
    let child = "INSERT INTO c VALUES (1, 1, 'o''ne')";
    assert_eq!(seeing(&a, child).await, "23503");
    assert_eq!(behind(&a, &b, parent, child).await, "40001");
    let orphan = "DELETE FROM p; INSERT INTO c VALUES (1, 1, 'o''ne')";
    assert_eq!(seeing(&a, orphan).await, "23503");
    let orphan = "DELETE FROM p; SAVEPOINT s; INSERT INTO c VALUES (1, 1, 'o''ne')";
    assert_eq!(seeing(&a, orphan).await, "23503");
    assert_eq!(behind(&a, &b, child, "DELETE FROM p").await, "40001");
    assert_eq!(seeing(&a, "DELETE FROM p").await, "23503");

    // What client code says of itself is left alone.
    let said = "DO $$ BEGIN RAISE unique_violation USING SCHEMA = 'public', TABLE = 'u', CONSTRAINT = 'u_pkey',
        DETAIL = 'Key (k)=(40) already exists.'; END $$";
    assert_eq!(
        behind(&a, &b, "INSERT INTO u VALUES (40)", said).await,
        "23505"
    );
    cluster.audit().await;
    cluster.end().await;
}

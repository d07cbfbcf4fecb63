//! No value of a sequence is given twice, whatever the master says; and what PostgreSQL lets begin anew does (decision 33).

use harness::{Cluster, MASTER, column, failure};
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const GIVEN_AGAIN: &str = "which it had given before";

async fn one(client: &Client, sql: &str) -> i64 {
    column(client, sql).await.unwrap()[0].parse().unwrap()
}

/// Has a transaction of one statement committed, if it may be.
async fn block(client: &Client, sql: &str) -> Result<i64, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let ran = column(client, sql).await;
    let ended = client.batch_execute("COMMIT").await;
    let rows = ran?;
    ended.map(|()| rows[0].parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_gives_a_value_again_is_refused_and_replaced() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    // No key forbids it.
    let setup = "CREATE SEQUENCE numbers;
        CREATE TABLE slips (n bigint NOT NULL DEFAULT nextval('numbers'), v text);
        INSERT INTO slips (v) VALUES ('a'), ('b')";
    client.batch_execute(setup).await.unwrap();
    cluster.master_lies(&[Lie::Answers]).await;

    let again = "INSERT /*lie:again*/ INTO slips (v) VALUES ('c') RETURNING n";
    assert_eq!(
        block(&client, again).await.unwrap(),
        3,
        "the first time it is so"
    );
    let (sqlstate, detail) = failure(block(&client, again).await);
    assert_eq!(sqlstate, "40001");
    assert!(
        detail.contains(GIVEN_AGAIN) && detail.contains("gave 3"),
        "{detail}"
    );
    // Nor if the sequence is said to go round, which it cannot.
    let round = "INSERT /*lie:again lie:round*/ INTO slips (v) VALUES ('d') RETURNING n";
    let (sqlstate, detail) = failure(block(&client, round).await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains("goes round"), "{detail}");

    let until = Instant::now() + Duration::from_secs(60);
    let next = loop {
        match block(&client, again).await {
            Ok(next) => break next,
            Err(error) => assert_eq!(failure::<()>(Err(error)).0, "40001"),
        }
        assert!(Instant::now() < until, "the liar is still the master");
    };
    assert!(next > 3, "{next}");
    cluster.settle().await;
    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch > 0 && s.master != MASTER));
    let twice = "SELECT n FROM slips GROUP BY n HAVING count(*) > 1";
    cluster.hold(twice, &[]).await;
    cluster.hold("SELECT count(*) FROM slips", &["4"]).await;
    cluster.audit().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_anew_in_postgresql_does() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE slips (n serial, v text);
        CREATE SEQUENCE wheel MAXVALUE 3 CYCLE;
        CREATE SEQUENCE down INCREMENT -10 MINVALUE -1000 MAXVALUE 1000 START 1000;
        INSERT INTO slips (v) SELECT 'a' FROM generate_series(1, 5)";
    client.batch_execute(setup).await.unwrap();
    let insert = "INSERT INTO slips (v) VALUES ('x') RETURNING n";

    // Set back by what is rolled back: nobody was told of it but the master, which moves the sequence on.
    let set_back = "BEGIN; SELECT setval('slips_n_seq', 1); ROLLBACK";
    client.batch_execute(set_back).await.unwrap();
    let moved = one(&client, insert).await;
    assert!(moved > 5, "{moved}");
    client.batch_execute(set_back).await.unwrap();
    let (sqlstate, detail) = failure(block(&client, insert).await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains(GIVEN_AGAIN), "{detail}");
    assert!(block(&client, insert).await.unwrap() > moved);

    // Set back, and it is committed.
    assert_eq!(one(&client, "SELECT setval('slips_n_seq', 2)").await, 2);
    assert_eq!(one(&client, insert).await, 3);
    assert_eq!(block(&client, insert).await.unwrap(), 4);

    // Round and round, in statements of their own, in one, and in a transaction.
    let next = "SELECT nextval('wheel')";
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(one(&client, next).await);
    }
    assert_eq!(seen, [1, 2, 3, 1]);
    let many = "SELECT nextval('wheel') FROM generate_series(1, 7)";
    let given = column(&client, many).await.unwrap();
    assert_eq!(given, ["2", "3", "1", "2", "3", "1", "2"]);
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(one(&client, next).await, 3);
    assert_eq!(one(&client, next).await, 1);
    assert_eq!(column(&client, many).await.unwrap()[0], "2");
    client.batch_execute("COMMIT").await.unwrap();

    // Downwards, by tens.
    let fall = "SELECT nextval('down')";
    let two: Vec<i64> = vec![one(&client, fall).await, one(&client, fall).await];
    assert_eq!(two, [1000, 990]);

    // What is emptied, restarted or made anew.
    let anew = [
        "TRUNCATE slips RESTART IDENTITY",
        "ALTER SEQUENCE slips_n_seq RESTART",
        "DROP TABLE slips; CREATE TABLE slips (n serial, v text)",
    ];
    for anew in anew {
        client.batch_execute(anew).await.unwrap();
        assert_eq!(one(&client, insert).await, 1, "{anew}");
        assert_eq!(block(&client, insert).await.unwrap(), 2, "{anew}");
    }
    client.batch_execute("BEGIN").await.unwrap();
    client
        .batch_execute("TRUNCATE slips RESTART IDENTITY")
        .await
        .unwrap();
    assert_eq!(one(&client, insert).await, 1);
    client.batch_execute("COMMIT").await.unwrap();

    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch == 0), "nobody is blamed");
    cluster.audit().await;
    cluster.end().await;
}

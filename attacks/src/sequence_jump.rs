//! A master that was taken over uses up a sequence: it gives out a value near its end (DESIGN.md, "Sequences").

use harness::{Cluster, MASTER, column, failure};
use std::time::{Duration, Instant};

const JUMP: i64 = 1 << 40;
/// Past what the window lets a sequence move while the liar is master, and far before what it gave out.
const FAR: i64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_jumps_a_sequence_far_ahead_is_refused_and_replaced() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE tickets (id bigserial PRIMARY KEY, v text);
        INSERT INTO tickets (v) VALUES ('one'), ('two')";
    client.batch_execute(setup).await.unwrap();
    // What a session drew it is told in later transactions too, whoever answers.
    let told = "SELECT currval('tickets_id_seq') || ' ' || lastval()";
    assert_eq!(column(&client, told).await.unwrap(), ["2 2"]);

    // Past SteelDB, at the master's own server: from now on it gives out such values, with honest evidence of them.
    let jump = format!("SELECT setval('tickets_id_seq', {JUMP})");
    cluster.at(MASTER).await.batch_execute(&jump).await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    let insert = "INSERT INTO tickets (v) VALUES ('far') RETURNING id";
    let given = column(&client, insert).await.unwrap();
    assert_eq!(given, [(JUMP + 1).to_string()], "provisional");
    let (sqlstate, detail) = failure(client.batch_execute("COMMIT").await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains("out of its window"), "{detail}");

    // Alone, a statement is run again until the master is another one.
    let until = Instant::now() + Duration::from_secs(60);
    let near = loop {
        let insert = "INSERT INTO tickets (v) VALUES ('near') RETURNING id";
        match column(&client, insert).await {
            Ok(rows) => break rows,
            Err(error) => assert_eq!(failure::<()>(Err(error)).0, "40001"),
        }
        assert!(Instant::now() < until, "the liar is still the master");
    };
    let near: i64 = near[0].parse().unwrap();
    assert!((3..FAR).contains(&near), "{near}");
    assert_eq!(
        column(&client, told).await.unwrap(),
        [format!("{near} {near}")]
    );
    cluster.settle().await;
    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch > 0 && s.master != MASTER));

    let ids = ["1".to_owned(), "2".to_owned(), near.to_string()];
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    cluster
        .hold("SELECT id FROM tickets ORDER BY id", &ids)
        .await;
    let stands = cluster.everywhere("SELECT last_value FROM tickets_id_seq");
    for (replica, stands) in stands.await.iter().enumerate().skip(1) {
        let stands: i64 = stands[0].parse().unwrap();
        assert!((near..FAR).contains(&stands), "replica {replica}: {stands}");
    }
    cluster.audit().await;
    cluster.end().await;
}

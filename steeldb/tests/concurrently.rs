//! A replica that dies in the middle of what waits for snapshots.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::Cluster;

const INDEX: &str = "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = 't_a'";

/// Waits until a replica's own server answers this.
async fn until(cluster: &Cluster, replica: u16, sql: &str, wanted: &str) {
    let start = Instant::now();
    loop {
        let found = cluster.ask(replica, sql);
        if found == wanted {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "replica {replica} answers {found:?} and not {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The victim's server is made to wait in the middle by a lock that an intruder holds there; the others are done and answer the
/// client meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_the_middle_of_an_index_made_concurrently_ends_with_it() {
    let cluster = Cluster::start();
    let session = cluster.connect().await;
    session
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 500) g")
        .await
        .unwrap();
    let master = cluster.status()["master"].as_u64().unwrap();
    let victim = (0..4).find(|id| u64::from(*id) != master).unwrap();
    until(&cluster, victim, "SELECT count(*) FROM t", "500").await;
    let socket = cluster
        .data()
        .join(format!("replica-{victim}/data/postgres/socket"));
    let (intruder, connection) = tokio_postgres::Config::new()
        .host_path(socket)
        .user("steel")
        .dbname("postgres")
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    intruder
        .batch_execute("BEGIN; LOCK TABLE public.t IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();

    session
        .batch_execute("CREATE INDEX CONCURRENTLY t_a ON t (a)")
        .await
        .unwrap();
    until(&cluster, victim, INDEX, "f").await;
    cluster.succeed(&["kill", "--replica", &victim.to_string()]);
    session
        .batch_execute("INSERT INTO t VALUES (501, 501)")
        .await
        .unwrap();
    cluster.succeed(&["start", "--replica", &victim.to_string()]);
    until(&cluster, victim, "SELECT count(*) FROM t", "501").await;
    for replica in 0..4 {
        assert_eq!(cluster.ask(replica, INDEX), "t", "replica {replica}");
    }
    assert_eq!(
        cluster.ask(victim, "SELECT count(*) FROM steel.barrier"),
        "0"
    );
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}

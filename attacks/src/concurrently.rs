//! `… CONCURRENTLY` is a schema change like any other: it is there everywhere or nowhere, while others write.

use harness::{Cluster, column, failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const INDEXES: &str = "SELECT c.relname || ' ' || i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
    WHERE i.indrelid = 't'::regclass ORDER BY c.relname";

#[tokio::test(flavor = "multi_thread")]
async fn an_index_made_concurrently_is_there_everywhere_or_nowhere() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT g, g / 2 FROM generate_series(1, 2000) g;
         CREATE TABLE p (k int PRIMARY KEY) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); INSERT INTO p VALUES (1), (11)";
    client.batch_execute(setup).await.unwrap();

    // Others write all the time; autocommit statements that are in its way are run again unseen.
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..2).map(|number| {
        let stop = stop.clone();
        let writer = cluster.client();
        async move {
            let writer = writer.await;
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let sql = format!(
                    "UPDATE t SET a = a + 0 WHERE id = {}",
                    1 + (written * 2 + number) % 2000
                );
                writer.batch_execute(&sql).await.unwrap();
                written += 1;
            }
            written
        }
    });
    let open = cluster.client().await;
    let work = async {
        open.batch_execute("BEGIN; SELECT count(*) FROM p")
            .await
            .unwrap();
        client
            .batch_execute("CREATE INDEX CONCURRENTLY t_a ON t (a)")
            .await
            .unwrap();
        // It only adds: what was open when it came goes on.
        open.batch_execute("SELECT 1; COMMIT").await.unwrap();

        let twice = "CREATE UNIQUE INDEX CONCURRENTLY t_twice ON t (a)";
        assert_eq!(failure(client.batch_execute(twice).await).0, "23505");
        client
            .batch_execute("REINDEX TABLE CONCURRENTLY t")
            .await
            .unwrap();
        client
            .batch_execute("CREATE INDEX CONCURRENTLY t_gone ON t (a, id)")
            .await
            .unwrap();
        open.batch_execute("BEGIN; SELECT count(*) FROM p")
            .await
            .unwrap();
        client
            .batch_execute("DROP INDEX CONCURRENTLY t_gone")
            .await
            .unwrap();
        let (sqlstate, _) = failure(open.batch_execute("SELECT 1; COMMIT").await);
        assert_eq!(sqlstate, "40001", "what was open when it came is over");
        open.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(
            failure(client.batch_execute("DROP INDEX CONCURRENTLY t_gone").await).0,
            "42704"
        );
        client
            .batch_execute("ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY")
            .await
            .unwrap();
        let taken_back = "BEGIN; CREATE INDEX CONCURRENTLY t_b ON t (a); ROLLBACK";
        client.batch_execute(taken_back).await.unwrap();
        stop.store(true, Ordering::Relaxed);
    };
    let mut writers = writers.map(Box::pin);
    let (one, two) = (writers.next().unwrap(), writers.next().unwrap());
    let (one, two, ()) = tokio::join!(one, two, work);
    assert!(one + two > 0);
    cluster.hold(INDEXES, &["t_a true", "t_pkey true"]).await;
    cluster.hold("SELECT k FROM p", &["1"]).await;
    cluster.hold("SELECT k FROM p2", &["11"]).await;
    // The detached table is a table like any other: what is written to it is reported.
    client
        .batch_execute("INSERT INTO p2 VALUES (12)")
        .await
        .unwrap();
    assert_eq!(
        column(&client, "SELECT count(*) FROM p2").await.unwrap(),
        ["2"]
    );
    cluster.audit().await;
    cluster.end().await;
}

//! Statements that fail after they did something: nothing of it is there, and no replica minds.

use crate::support::Cluster;

#[tokio::test]
async fn a_statement_that_fails_leaves_nothing_and_disturbs_no_replica() {
    let cluster = Cluster::start();
    let client = cluster.connect().await;
    client
        .batch_execute("CREATE TABLE t (id serial PRIMARY KEY, a int UNIQUE)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO t (a) VALUES (1)")
        .await
        .unwrap();
    for (failing, sqlstate) in [
        // It drew from a sequence.
        ("INSERT INTO t (a) VALUES (1)", "23505"),
        // It wrote rows.
        (
            "DO $$ BEGIN INSERT INTO t (a) VALUES (7); RAISE EXCEPTION 'x'; END $$",
            "P0001",
        ),
        // It changed the schema, and set a sequence.
        (
            "DO $$ BEGIN CREATE TABLE u (a int); PERFORM setval('t_id_seq', 50); RAISE EXCEPTION 'x'; END $$",
            "P0001",
        ),
    ] {
        let error = client.batch_execute(failing).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), sqlstate, "{failing}");
    }
    client
        .batch_execute("CREATE MATERIALIZED VIEW m AS SELECT a FROM t WITH NO DATA")
        .await
        .unwrap();
    let row = client
        .query_one("INSERT INTO t (a) VALUES (2) RETURNING id, (SELECT count(*) FROM t), to_regclass('u')::text", &[])
        .await
        .unwrap();
    // A run that was aborted unseen may have drawn a value more.
    assert!(row.get::<_, i32>(0) > 50, "setval was undone");
    assert_eq!(row.get::<_, i64>(1), 1);
    assert_eq!(row.get::<_, Option<String>>(2), None);
    cluster.verify();
    for replica in 0..4 {
        let log = cluster.data().join(format!("logs/replica-{replica}.log"));
        let log = std::fs::read_to_string(log).unwrap();
        assert!(!log.contains("the executor stops"), "{log}");
        let rows = cluster.ask(replica, "SELECT string_agg(a::text, ' ' ORDER BY a) FROM t");
        assert_eq!(rows, "1 2");
    }
}

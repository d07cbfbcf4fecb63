//! Changes of the schema while transactions are open: PostgreSQL's catalogs are not covered by snapshots.

use harness::{Cluster, failure};

const SETUP: &str = "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL); INSERT INTO t VALUES (1, 0), (2, 0);
    CREATE TABLE u (id int PRIMARY KEY, a int NOT NULL); INSERT INTO u SELECT n, n FROM generate_series(1, 50) n;
    CREATE SCHEMA first";

/// What only adds. Each is a transaction of its own.
const ADDITIONS: [&str; 9] = [
    "CREATE TABLE new (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, text text UNIQUE)",
    "CREATE TABLE child (id int REFERENCES u CHECK (id > 0))",
    "CREATE INDEX ON u (a)",
    "CREATE TABLE made AS SELECT * FROM u",
    "CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM u",
    "CREATE SEQUENCE s",
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE SCHEMA more",
    "COMMENT ON TABLE u IS 'here'",
];

#[tokio::test(flavor = "multi_thread")]
async fn who_began_before_something_was_added_goes_on() {
    let cluster = Cluster::start().await;
    let (old, other) = (cluster.client().await, cluster.client().await);
    other.batch_execute(SETUP).await.unwrap();
    for (number, addition) in (1..).zip(ADDITIONS) {
        old.batch_execute("BEGIN; SELECT sum(a) FROM u; UPDATE t SET a = a + 1 WHERE id = 1")
            .await
            .unwrap();
        other.batch_execute(addition).await.unwrap();
        let rest = "UPDATE t SET a = a + 1 WHERE id = 2; SELECT max(a) FROM u WHERE a < 9; COMMIT";
        let end = old.batch_execute(rest).await;
        end.unwrap_or_else(|error| panic!("{addition}: {error:?}"));
        let found = format!("{number}|{number}");
        let sums =
            "SELECT sum(a) FILTER (WHERE id = 1) || '|' || sum(a) FILTER (WHERE id = 2) FROM t";
        cluster.hold(sums, &[&found]).await;
    }

    // What speaks of all tables, and does not name them, means more now than when the master ran it.
    let grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC";
    old.batch_execute(&format!("BEGIN; {grant}")).await.unwrap();
    other
        .batch_execute("CREATE TABLE later (id int)")
        .await
        .unwrap();
    assert_eq!(failure(old.batch_execute("COMMIT").await).0, "40001");
    old.batch_execute(grant).await.unwrap();
    let readable = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relacl::text NOT LIKE '%,=r/%'";
    cluster.hold(readable, &["0"]).await;

    // What changes something that was there ends it, as ever.
    for change in [
        "ALTER TABLE u ADD COLUMN b int",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE new",
    ] {
        old.batch_execute("BEGIN; SELECT sum(a) FROM t")
            .await
            .unwrap();
        other.batch_execute(change).await.unwrap();
        let next = old.batch_execute("UPDATE t SET a = 0; COMMIT").await;
        assert_eq!(failure(next).0, "40001", "{change}");
        old.batch_execute("ROLLBACK").await.unwrap();
    }
    cluster.audit().await;
    cluster.end().await;
}

/// A name that means another thing now: the replicas find other rows than the master had found, and nobody lied.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_addition_makes_different_aborts_and_blames_nobody() {
    let cluster = Cluster::start().await;
    let (old, other) = (cluster.client().await, cluster.client().await);
    other.batch_execute(SETUP).await.unwrap();
    old.batch_execute("SET search_path = first, public")
        .await
        .unwrap();
    // More often than a lying master is borne.
    for _ in 0..6 {
        old.batch_execute("BEGIN; SELECT count(*) FROM t; UPDATE public.u SET a = 0 WHERE id = 1")
            .await
            .unwrap();
        other
            .batch_execute("CREATE TABLE first.t (id int)")
            .await
            .unwrap();
        assert_eq!(failure(old.batch_execute("COMMIT").await).0, "40001");
        other.batch_execute("DROP TABLE first.t").await.unwrap();
    }
    assert_eq!(cluster.epoch().await, 0);
    cluster.hold("SELECT a FROM u WHERE id = 1", &["1"]).await;
    cluster.audit().await;
    cluster.end().await;
}

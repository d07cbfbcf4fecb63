//! What changes rows without saying so, and what is reported in another order than it happened: nobody keeps it alone, and whoever
//! adopts gets it right.

use harness::{Cluster, column};

const ODD: u16 = 2;

/// Of two servers that hold the same rows in another physical order one adopts: it takes another row.
async fn turn(cluster: &Cluster, table: &str) {
    let sql = format!(
        "BEGIN; SET LOCAL session_replication_role = replica;
         WITH gone AS (DELETE FROM {table} RETURNING *) INSERT INTO {table} SELECT * FROM gone ORDER BY 1 DESC; COMMIT"
    );
    cluster.at(ODD).await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_catalogs_that_writes_is_everybodys() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE log (line text);
        CREATE FUNCTION noted(t regclass) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES (t::text); RETURN t::text; END $$";
    client.batch_execute(setup).await.unwrap();
    let noted = "SELECT noted('log'::regclass), count(*) > 0 FROM pg_class";
    for (n, sql) in [
        format!("BEGIN; {noted}; COMMIT"),
        format!("BEGIN; INSERT INTO log VALUES ('a'); {noted}; COMMIT"),
        format!("BEGIN; {noted}; ROLLBACK; BEGIN; {noted}; SELECT 1; COMMIT"),
    ]
    .iter()
    .enumerate()
    {
        client.batch_execute(sql).await.unwrap();
        let lines = (n + 1).to_string();
        cluster
            .hold("SELECT count(*) FROM log WHERE line = 'log'", &[&lines])
            .await;
    }
    cluster.audit().await;
    cluster.end_agreed(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_its_trigger_changes_again_is_adopted() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, a int, seen int DEFAULT 0);
        CREATE TABLE odd (id int, a int); INSERT INTO odd SELECT g, 0 FROM generate_series(1, 9) g;
        CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN UPDATE t SET seen = seen + 1 WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER again AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION again();
        CREATE TABLE p (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
        CREATE FUNCTION below() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN UPDATE p1 SET a = a + 1 WHERE id = NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER below AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION below()";
    client.batch_execute(setup).await.unwrap();
    cluster.settle().await;
    turn(&cluster, "odd").await;

    let differs = "UPDATE odd SET a = a + 1 WHERE id = (SELECT id FROM odd LIMIT 1)";
    for also in [
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "WITH d AS (DELETE FROM t RETURNING id, a) INSERT INTO t SELECT id, a + 10 FROM d WHERE id = 1",
        "INSERT INTO p VALUES (1, 1)",
    ] {
        let before = cluster.verdicts().await[usize::from(ODD)].2;
        let block = format!("BEGIN; {differs}; {also}; COMMIT");
        client.batch_execute(&block).await.unwrap();
        let after = cluster.verdicts().await[usize::from(ODD)].2;
        assert!(after > before, "{also}: it adopts");
        cluster.audit().await;
    }
    cluster
        .hold("SELECT id || ' ' || a || ' ' || seen FROM t", &["1 11 1"])
        .await;
    cluster.hold("SELECT a FROM p", &["2"]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_sequences_that_no_commit_confirmed_are_not_carried_on() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client.batch_execute("CREATE SEQUENCE s").await.unwrap();
    client.batch_execute("SELECT nextval('s')").await.unwrap();
    assert_eq!(column(&client, "SELECT currval('s')").await.unwrap(), ["1"]);
    client
        .batch_execute("BEGIN; SELECT nextval('s'); ROLLBACK")
        .await
        .unwrap();
    let (sqlstate, _) = harness::failure(client.batch_execute("SELECT currval('s')").await);
    assert_eq!(sqlstate, "55000", "only the master said what it was");
    assert_eq!(column(&client, "SELECT nextval('s')").await.unwrap(), ["3"]);
    assert_eq!(column(&client, "SELECT currval('s')").await.unwrap(), ["3"]);
    cluster.end().await;
}

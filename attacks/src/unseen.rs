//! What a replica that adopts must have, though no trigger of the table that a statement names, or no event trigger, tells of it.

use harness::Cluster;
use txn::Ballot;

/// The replica whose physical order is another one, so that what it reads first differs, and it adopts.
const ODD: u16 = 2;

const SETUP: &str = "
    CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 9);
    CREATE TABLE p (id int PRIMARY KEY, a int);
    CREATE TABLE c (note text NOT NULL, PRIMARY KEY (id)) INHERITS (p);
    CREATE TABLE g (more int DEFAULT 5) INHERITS (c);
    INSERT INTO p SELECT g, g FROM generate_series(1, 9) g;
    INSERT INTO c SELECT g, g, 'child ' || g FROM generate_series(11, 19) g;
    INSERT INTO g SELECT g, g, 'grandchild' FROM generate_series(21, 29) g";

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_adopts_has_the_childrens_rows_and_what_no_event_trigger_sees() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client.batch_execute(SETUP).await.unwrap();
    cluster.settle().await;
    let turned = "BEGIN; SET LOCAL session_replication_role = replica;
        WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM gone ORDER BY id DESC;
        WITH gone AS (DELETE FROM c RETURNING *) INSERT INTO c SELECT id, a, note FROM gone WHERE id < 20 ORDER BY id DESC;
        INSERT INTO g SELECT g, g, 'grandchild' FROM generate_series(29, 21, -1) g;
        COMMIT";
    cluster.at(ODD).await.batch_execute(turned).await.unwrap();
    let comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";

    for (change, query, holds) in [
        (
            "UPDATE p SET a = a + 100 WHERE id % 10 < 5",
            "SELECT count(*) FROM ONLY c WHERE note LIKE 'child%' AND a > 100",
            "4",
        ),
        (
            "DELETE FROM p WHERE id IN (2, 12, 22)",
            "SELECT count(*) FROM p",
            "24",
        ),
        (
            "UPDATE c SET note = note || '!' WHERE id > 18",
            "SELECT count(*) FROM ONLY g WHERE more = 5 AND note = 'grandchild!'",
            "8",
        ),
        ("COMMENT ON DATABASE postgres IS 'ours'", comment, "ours"),
        (
            "REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC",
            "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a WHERE datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY'",
            "0",
        ),
    ] {
        let before = cluster.verdicts().await;
        client
            .batch_execute(&format!(
                "BEGIN; SELECT id FROM t LIMIT 1; {change}; COMMIT"
            ))
            .await
            .unwrap_or_else(|error| panic!("{change}: {error}"));
        cluster.hold(query, &[holds]).await;
        let after = cluster.verdicts().await;
        assert!(
            after[usize::from(ODD)].2 > before[usize::from(ODD)].2,
            "{change}: it adopts"
        );
        cluster.audit().await;
    }

    // The order in which the rows of a tree lie is no difference.
    cluster.settle().await;
    let statuses = cluster.statuses().await;
    let before = statuses.values().map(|s| s.decided).max().unwrap();
    let change = "UPDATE p SET a = -a WHERE id > 15";
    for _ in 0..5 {
        client.batch_execute(change).await.unwrap();
    }
    cluster.audit().await;
    // Whoever is late adopts without having differed, so it is the votes that tell.
    for (replica, votes) in cluster.end().await.iter().enumerate() {
        let late = votes.iter().filter(|vote| vote.0 > before);
        let differed: Vec<_> = late.filter(|vote| vote.2 != Ballot::Commit).collect();
        assert!(differed.is_empty(), "replica {replica}: {differed:?}");
    }
}

/// What no event trigger sees, built so that no rule of the proxy can read it.
const BUILT: [&str; 5] = [
    "ROLE postgres SET work_mem = ''5MB''",
    "ROLE postgres PASSWORD ''known''",
    "DATABASE postgres SET work_mem = ''5MB''",
    "DATABASE postgres CONNECTION LIMIT 7",
    "ROLE postgres IN DATABASE postgres SET search_path = nowhere",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_function_changes_neither_roles_nor_the_database() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute(
            "CREATE TABLE done (n int);
             CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN EXECUTE 'ALTER' || ' ROLE postgres SET work_mem = 6144'; RETURN NEW; END $$;
             CREATE TABLE late (n int);
             CREATE CONSTRAINT TRIGGER later AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION later()",
        )
        .await
        .unwrap();
    let altered = |what: &str| format!("DO $$ BEGIN EXECUTE 'ALTER' || ' {what}'; END $$");
    let mut refused = vec!["INSERT INTO late VALUES (1)".to_owned()];
    for what in BUILT {
        let alter = altered(what);
        refused.push(alter.clone());
        refused.push(format!(
            "BEGIN; INSERT INTO done VALUES (0); {alter}; COMMIT"
        ));
    }
    for sql in &refused {
        let error = client.batch_execute(sql).await.expect_err(sql);
        client.batch_execute("ROLLBACK").await.unwrap();
        let code = error.code().map(|code| code.code());
        assert_eq!(code, Some("0A000"), "{sql}: {error:?}");
    }
    for query in [
        "SELECT count(*) FROM pg_db_role_setting s, unnest(setconfig) c WHERE c ~ 'work_mem|search_path'",
        "SELECT count(*) FROM pg_database WHERE datconnlimit = 7",
        "SELECT count(*) FROM pg_authid WHERE rolname = 'postgres' AND rolpassword IS NOT NULL",
        "SELECT count(*) FROM done",
    ] {
        cluster.settle().await;
        cluster.hold(query, &["0"]).await;
    }

    // Whoever has the session next is not blamed for it, whether it was committed or rolled back before.
    for n in 0..20 {
        let alter = altered(BUILT[0]);
        client
            .batch_execute(&format!("BEGIN; {alter}; ROLLBACK"))
            .await
            .unwrap();
        client
            .batch_execute(&format!("COMMENT ON DATABASE postgres IS '{n}'"))
            .await
            .unwrap();
        client
            .batch_execute(&format!("INSERT INTO done VALUES ({n})"))
            .await
            .unwrap();
    }
    cluster.hold("SELECT count(*) FROM done", &["20"]).await;
    // Nor beside a change of the schema, though whoever adopts would run all of it: sessions keep the settings that their role had when
    // they logged in.
    let both = "DO $$ BEGIN CREATE TABLE made (); EXECUTE 'ALTER' || ' ROLE postgres SET work_mem = 5120'; END $$";
    let error = client.batch_execute(both).await.expect_err(both);
    assert_eq!(
        error.code().map(|code| code.code()),
        Some("0A000"),
        "{error:?}"
    );
    cluster.settle().await;
    let kept =
        "SELECT count(*) FROM pg_db_role_setting s, unnest(setconfig) c WHERE c ~ 'work_mem'";
    cluster.hold(kept, &["0"]).await;
    cluster
        .hold(
            "SELECT count(*) FROM pg_class WHERE relname = 'made'",
            &["0"],
        )
        .await;
    cluster.audit().await;
    cluster.end().await;
}

//! Who a client is: the roles that its key is bound to, what they may do, and one that would be somebody else.

use client_shim::{ROLE, Shim, ShimError};
use harness::{Cluster, MALLORY, PROXY, column, failure};
use tokio_postgres::Client;
use txn::{Isolation, Operation};

/// The replica whose physical order is another one, so that it differs and adopts.
const ODD: u16 = 2;

pub(crate) const APP: &str = r#"{"do":"role","name":"app","login":true,"inherit":true}"#;

pub(crate) fn binding(client: u32, role: &str, allowed: bool) -> String {
    format!(r#"{{"do":"client_role","client":{client},"role":"{role}","allowed":{allowed}}}"#)
}

/// What a client hears that names a role to the replicas itself, in each way that there is.
async fn as_role(shim: &Shim, role: &str) -> Vec<Result<(), String>> {
    let settings = || vec![(ROLE.to_owned(), role.to_owned())];
    let nothing = std::future::pending::<()>;
    let sqlstate = |outcome: Result<client_shim::Outcome, ShimError>| match outcome {
        Ok(outcome) => match outcome.frames.iter().find_map(txn::result::sqlstate) {
            Some(failed) => Err(String::from_utf8_lossy(&failed).into_owned()),
            None => Ok(()),
        },
        Err(error) => Err(error.sqlstate),
    };
    let write = || Operation::text("INSERT INTO t (a) VALUES (current_user)");
    let mut transaction = shim.begin(settings(), Isolation::Snapshot, false);
    let in_transaction = match sqlstate(transaction.execute(write(), false).await) {
        Ok(()) => transaction.commit().await.map_err(|error| error.sqlstate),
        refused => refused,
    };
    vec![
        in_transaction,
        sqlstate(shim.auto(settings(), write(), nothing()).await),
        sqlstate(shim.exec(settings(), Operation::text("VACUUM t")).await),
        sqlstate(
            shim.read(
                settings(),
                Operation::text("SELECT a FROM t"),
                false,
                nothing(),
            )
            .await,
        ),
        sqlstate(
            shim.read(
                settings(),
                Operation::text("SELECT a FROM t"),
                true,
                nothing(),
            )
            .await,
        ),
    ]
}

pub(crate) async fn refuses(client: &Client, sql: &str, sqlstate: &str) {
    assert_eq!(
        failure(client.batch_execute(sql).await).0,
        sqlstate,
        "{sql}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_acts_as_the_roles_that_its_key_is_bound_to_and_no_other() {
    let cluster = Cluster::start().await;
    let owner = cluster.client().await;
    let mallory = cluster.mallory().await;
    cluster
        .provision(&[APP, r#"{"do":"role","name":"group1","login":false}"#])
        .await;
    owner
        .batch_execute(
            "CREATE TABLE t (id serial PRIMARY KEY, a text); CREATE TABLE kept (a text);
             GRANT SELECT, INSERT, UPDATE ON t TO app; GRANT USAGE ON t_id_seq TO app",
        )
        .await
        .unwrap();
    // No key is bound to it yet; some cannot be had at all.
    for (role, sqlstate) in [
        ("app", "42501"),
        ("group1", "28000"),
        ("nobody", "28000"),
        ("steel", "28000"),
        ("pg_read_all_data", "28000"),
        ("", "28000"),
        (&"a".repeat(64), "28000"),
    ] {
        if !role.is_empty() {
            let refused = failure(cluster.client_as(role).await.map(drop));
            assert_eq!(refused.0, sqlstate, "{role}");
        }
        for refused in as_role(&mallory, role).await {
            assert_eq!(refused, Err(sqlstate.to_owned()), "{role:?}");
        }
    }

    cluster.provision(&[&binding(PROXY.0, "app", true)]).await;
    let app = cluster.client_as("app").await.unwrap();
    for sql in [
        "INSERT INTO t (a) VALUES ('auto')",
        "BEGIN; INSERT INTO t (a) VALUES ('block'), (session_user); UPDATE t SET a = upper(a) WHERE a = 'block'; COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t (a) SELECT current_user; COMMIT",
    ] {
        app.batch_execute(sql).await.unwrap();
    }
    let who = "SELECT current_user || session_user || current_setting('is_superuser')";
    assert_eq!(column(&app, who).await.unwrap(), ["appappoff"]);
    assert_eq!(column(&owner, who).await.unwrap(), ["postgrespostgresoff"]);
    // As PostgreSQL has it for the role.
    for sql in [
        "SELECT a FROM kept",
        "INSERT INTO kept VALUES ('x')",
        "DELETE FROM t",
        "TRUNCATE t",
        "SELECT setval('t_id_seq', 1)",
        "BEGIN; DELETE FROM t",
        "ROLLBACK; SELECT * FROM steel.client_role",
        // No way back to a role that it is not.
        "DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$",
        "DO $$ BEGIN EXECUTE 'RESET ROLE'; EXECUTE 'RESET SESSION AUTHORIZATION'; INSERT INTO kept VALUES ('x'); END $$",
        "DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION postgres'; END $$",
        "DO $$ BEGIN EXECUTE 'SELECT set_con' || 'fig(''ro' || 'le'', ''postgres'', false)'; END $$",
        "DO $$ BEGIN EXECUTE 'SELECT set_con' || 'fig(''steel.role'', ''postgres'', false)'; INSERT INTO kept VALUES ('x'); END $$",
        // Nothing may belong to it, or what is adopted with the owner's rights could run what is its own.
        "CREATE TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DO $$ BEGIN EXECUTE 'CREATE DOMAIN mine AS int CHECK (true)'; END $$",
        "ALTER TABLE t ADD b int",
        "GRANT SELECT ON t TO PUBLIC",
    ] {
        refuses(&app, sql, "42501").await;
    }
    for refused in as_role(&mallory, "app").await {
        assert_eq!(
            refused,
            Err("42501".to_owned()),
            "the proxy's binding is nobody else's"
        );
    }
    // One that is bound has its rights and no others; it keeps the owner's until they are taken from it.
    cluster.provision(&[&binding(MALLORY.0, "app", true)]).await;
    assert!(as_role(&mallory, "app").await.iter().all(Result::is_ok));
    assert!(
        as_role(&mallory, "postgres")
            .await
            .iter()
            .all(Result::is_ok)
    );
    cluster
        .provision(&[&binding(MALLORY.0, "postgres", false)])
        .await;
    for refused in as_role(&mallory, "postgres").await {
        assert_eq!(refused, Err("42501".to_owned()), "without the owner's role");
    }

    // What is taken away is over at once, for sessions that are there too.
    app.batch_execute("BEGIN; INSERT INTO t (a) VALUES ('open')")
        .await
        .unwrap();
    cluster
        .provision(&[r#"{"do":"role","name":"app","login":false,"inherit":true}"#])
        .await;
    refuses(&app, "COMMIT", "40001").await;
    refuses(&app, "INSERT INTO t (a) VALUES ('late')", "28000").await;
    refuses(&app, "SELECT a FROM t", "28000").await;
    cluster
        .provision(&[APP, &binding(PROXY.0, "app", false)])
        .await;
    refuses(&app, "INSERT INTO t (a) VALUES ('later')", "42501").await;

    let lines = [
        "BLOCK", "app", "app", "app", "app", "auto", "postgres", "postgres",
    ];
    cluster
        .hold("SELECT a FROM t ORDER BY a COLLATE \"C\"", &lines)
        .await;
    cluster.hold("SELECT count(*) FROM kept", &["0"]).await;
    cluster.audit().await;
    cluster.end().await;
}

/// Everything that writes with other rights than the role's: a cascade, a SECURITY DEFINER function, a policy of rows that
/// hides from the role what it writes, a domain whose check calls a function, a type that the role may not use.
const RIGHTS: &str = "
    CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g;
    CREATE FUNCTION even(n int) RETURNS bool LANGUAGE sql AS 'SELECT n % 2 = 0 OR current_user IS NOT NULL';
    CREATE DOMAIN checked AS int CHECK (even(VALUE));
    CREATE TABLE above (id int PRIMARY KEY, a checked);
    CREATE TABLE below (id int REFERENCES above ON DELETE CASCADE, a int);
    CREATE TABLE log (a text); CREATE TABLE own (a text, who text DEFAULT current_user);
    ALTER TABLE own ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON own USING (who <> current_user AND who = 'nobody') WITH CHECK (a <> 'not this');
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN INSERT INTO log VALUES (current_user || ' for ' || session_user || ': ' || TG_OP); RETURN NULL; END $$;
    CREATE TRIGGER noted AFTER INSERT OR DELETE ON above FOR EACH ROW EXECUTE FUNCTION noted();
    INSERT INTO above SELECT g, g FROM generate_series(1, 9) g; INSERT INTO below SELECT g, g FROM generate_series(1, 9) g;
    -- Another row at one whose physical order is another.
    CREATE FUNCTION odd() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE t SET a = a + 100 WHERE id IN (SELECT id FROM t LIMIT 1)';
    GRANT INSERT, DELETE, SELECT ON above TO app; GRANT INSERT ON own TO app; GRANT TRUNCATE ON below TO app";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_did_is_adopted_whatever_it_may_not_do() {
    let cluster = Cluster::start().await;
    let owner = cluster.client().await;
    cluster
        .provision(&[APP, &binding(PROXY.0, "app", true)])
        .await;
    owner.batch_execute(RIGHTS).await.unwrap();
    let app = cluster.client_as("app").await.unwrap();
    refuses(&app, "INSERT INTO own (a) VALUES ('not this')", "42501").await;
    cluster.settle().await;
    let turned = "BEGIN; SET LOCAL session_replication_role = replica;
        WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM gone ORDER BY id DESC; COMMIT";
    cluster.at(ODD).await.batch_execute(turned).await.unwrap();
    for sql in [
        "BEGIN; SELECT odd(); INSERT INTO above VALUES (20, 20); COMMIT",
        "BEGIN; SELECT odd(); DELETE FROM above WHERE id < 3; COMMIT",
        "BEGIN; SELECT odd(); INSERT INTO own (a) VALUES ('hidden'); COMMIT",
    ] {
        let before = cluster.verdicts().await;
        app.batch_execute(sql).await.unwrap();
        let after = cluster.verdicts().await;
        let odd = usize::from(ODD);
        assert!(after[odd].2 > before[odd].2, "{sql}: it adopts");
        for replica in 0..4 {
            assert_eq!(
                after[replica].1, before[replica].1,
                "{sql}: aborts at {replica}"
            );
        }
        cluster.audit().await;
    }
    // A change of the schema, which is run again by who adopts: as the role.
    app.batch_execute("TRUNCATE below").await.unwrap();
    cluster.hold("SELECT count(*) FROM below", &["0"]).await;
    cluster
        .hold("SELECT a || who FROM own", &["hiddenapp"])
        .await;
    let by_app = "SELECT count(*) FROM log WHERE a LIKE 'postgres for app: %'";
    cluster.hold(by_app, &["3"]).await;
    cluster.audit().await;
    cluster.end().await;
}

/// What draws, records, replays and counts behind an ordinary role's statements needs rights that the role has.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_role_uses_all_that_is_replaced_and_recorded() {
    let cluster = Cluster::start().await;
    let owner = cluster.client().await;
    cluster
        .provision(&[APP, &binding(PROXY.0, "app", true)])
        .await;
    owner
        .batch_execute(
            "CREATE TABLE drawn (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text, at timestamptz DEFAULT now(),
                                 u uuid DEFAULT gen_random_uuid(), r float8 DEFAULT random());
             CREATE TABLE numbered (id serial PRIMARY KEY, a int UNIQUE, b text);
             CREATE TABLE cut (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
             CREATE TABLE cut1 PARTITION OF cut FOR VALUES FROM (0) TO (10); CREATE TABLE cut2 PARTITION OF cut FOR VALUES FROM (10) TO (20);
             CREATE TABLE above (a int); CREATE TABLE below (b int) INHERITS (above);
             CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             CREATE FUNCTION tried(x int) RETURNS int LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO numbered (a, b) VALUES (x, 'tried'); RETURN x; EXCEPTION WHEN unique_violation THEN RETURN -1; END $$;
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO app;
             GRANT USAGE, UPDATE ON SEQUENCE numbered_id_seq TO app",
        )
        .await
        .unwrap();
    cluster.settle().await;
    let before = cluster.verdicts().await;
    let app = cluster.client_as("app").await.unwrap();
    for sql in [
        "INSERT INTO drawn (a) VALUES ('x'), ('y')",
        "INSERT INTO drawn (a) SELECT g::text FROM generate_series(1, 5) g",
        "INSERT INTO numbered (a) VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET b = 'c'",
        "INSERT INTO numbered (a) VALUES (1), (3) ON CONFLICT DO NOTHING",
        "SELECT nextval('numbered_id_seq'), currval('numbered_id_seq'), lastval()",
        "SELECT setval('numbered_id_seq', 100)",
        "BEGIN; INSERT INTO cut VALUES (1, 1), (2, 11); UPDATE cut SET k = 12 WHERE id = 1; DELETE FROM cut WHERE id = 2; COMMIT",
        "INSERT INTO below VALUES (1, 2); UPDATE above SET a = 5; DELETE FROM above",
        "BEGIN; INSERT INTO child VALUES (7); INSERT INTO parent VALUES (7); COMMIT",
        "SELECT tried(100), tried(100); DO $$ BEGIN PERFORM tried(101); END $$",
        "MERGE INTO numbered n USING (VALUES (1, 'm'), (50, 'n')) x (a, b) ON n.a = x.a
             WHEN MATCHED THEN UPDATE SET b = x.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (x.a, x.b)",
        "WITH gone AS (DELETE FROM numbered WHERE a = 50 RETURNING *) INSERT INTO numbered (a, b) SELECT a + 1000, b FROM gone",
        "BEGIN; SELECT a FROM numbered ORDER BY a LIMIT 1 FOR UPDATE SKIP LOCKED; UPDATE numbered SET b = 'locked' WHERE a = 1; COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO numbered (a) SELECT count(*) + 900 FROM numbered; COMMIT",
        "TRUNCATE parent, child",
    ] {
        app.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let taken = "BEGIN; SAVEPOINT a; INSERT INTO numbered (a) VALUES (1)";
    refuses(&app, taken, "23505").await;
    app.batch_execute("ROLLBACK TO a; INSERT INTO numbered (a) VALUES (999); COMMIT")
        .await
        .unwrap();
    cluster.settle().await;
    let after = cluster.verdicts().await;
    for replica in 0..4 {
        assert_eq!(
            after[replica].1, before[replica].1,
            "no aborts at replica {replica}"
        );
    }
    cluster.audit().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_acts_as_its_own_role_whatever_it_sends() {
    let cluster = Cluster::start().await;
    for replica in 0..4 {
        // What an administrator's import leaves: the owner of the database is a member of another role.
        let setup = "CREATE ROLE other; GRANT other TO postgres";
        cluster
            .at(replica)
            .await
            .batch_execute(setup)
            .await
            .unwrap();
    }
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a text)")
        .await
        .unwrap();
    let mallory = cluster.mallory().await;
    for name in ["role", "Role", "session_authorization"] {
        let settings = vec![(name.to_owned(), "other".to_owned())];
        let write = || Operation::text("INSERT INTO t VALUES (current_user)");

        let mut transaction = mallory.begin(settings.clone(), Isolation::Snapshot, false);
        let error = transaction.execute(write(), false).await.unwrap_err();
        assert_eq!(
            error.sqlstate, "42501",
            "{name} in a transaction: {error:?}"
        );
        assert!(error.message.contains("\"other\""), "{error:?}");

        let pending = std::future::pending::<()>();
        let error = mallory
            .auto(settings.clone(), write(), pending)
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate, "42501", "{name} in autocommit: {error:?}");

        let executed = mallory
            .exec(settings, Operation::text("VACUUM t"))
            .await
            .unwrap();
        let sqlstate = executed.frames.iter().find_map(txn::result::sqlstate);
        assert_eq!(
            sqlstate.as_deref(),
            Some(&b"42501"[..]),
            "{name} outside of transactions"
        );
    }
    assert!(column(&client, "SELECT a FROM t").await.unwrap().is_empty());
    client
        .batch_execute("INSERT INTO t VALUES (current_user)")
        .await
        .unwrap();
    cluster.hold("SELECT a FROM t", &["postgres"]).await;
    cluster.audit().await;
    cluster.end().await;
}

//! What SQL that is built at run time makes unseen, and what it leaves in a session for whoever has it next.

use crate::roles::{APP, binding, refuses};
use harness::{Cluster, PROXY, failure};

/// EXPLAIN ANALYZE of CREATE TABLE AS fires no event trigger; nothing of what a client leaves in a session is the next one's.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_trigger_sees_is_neither_kept_nor_left_behind() {
    let cluster = Cluster::start().await;
    let owner = cluster.client().await;
    cluster
        .provision(&[APP, &binding(PROXY.0, "app", true)])
        .await;
    owner
        .batch_execute(
            "CREATE TABLE t (a text); GRANT SELECT, INSERT ON t TO app; CREATE SCHEMA open; GRANT ALL ON SCHEMA open TO app;
             CREATE FUNCTION late(a int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES ('late'); RETURN a; END $$",
        )
        .await
        .unwrap();
    let app = cluster.client_as("app").await.unwrap();
    for client in [&app, &owner] {
        for made in ["INTO TEMP t", "INTO TEMP other", "INTO open.made"] {
            let built = format!(
                "DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT 1 AS id, ''evil''::text AS a {made}'; END $$"
            );
            refuses(client, &built, "0A000").await;
            let block = format!("BEGIN; {built}; INSERT INTO public.t VALUES ('with it'); COMMIT");
            refuses(client, &block, "0A000").await;
            client.batch_execute("ROLLBACK").await.unwrap();
            let plain = format!("EXPLAIN ANALYZE SELECT 1 AS id {made}");
            refuses(client, &plain, "0A000").await;
        }
        refuses(
            client,
            "EXPLAIN ANALYZE CREATE TABLE open.made AS SELECT 1",
            "0A000",
        )
        .await;
        // GRANT on the database is a change of the schema that no event trigger tells of; it excuses nothing.
        let excused = "BEGIN; GRANT CONNECT ON DATABASE postgres TO app;
             DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT 1 AS a INTO open.made'; END $$; COMMIT";
        refuses(client, excused, "0A000").await;
        client.batch_execute("ROLLBACK").await.unwrap();
        // A cursor that outlives its transaction, by SQL that nobody could read before: its query would run to its end after the vote.
        for query in [
            "SELECT 1",
            "SELECT late(a) FROM generate_series(1, 500) a",
            "SELECT 1 / (300 - a) FROM generate_series(1, 500) a",
        ] {
            let held = format!(
                "DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH ' || 'HOLD FOR {query}'; END $$"
            );
            client.batch_execute(&held).await.unwrap();
            client
                .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT 1; COMMIT")
                .await
                .unwrap();
        }
        client
            .batch_execute("INSERT INTO t VALUES ('seen')")
            .await
            .unwrap();
    }
    cluster
        .hold("SELECT a FROM public.t", &["seen", "seen"])
        .await;
    // Nor a view with contents, whatever else is told of.
    let view = "BEGIN; CREATE TABLE beside (); DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE CREATE MATERIALIZED VIEW made AS SELECT 1'; END $$; COMMIT";
    refuses(&owner, view, "0A000").await;
    owner.batch_execute("ROLLBACK").await.unwrap();
    let made = "SELECT count(*) FROM pg_class WHERE relname IN ('made', 'other', 'beside')";
    cluster.hold(made, &["0"]).await;
    cluster.audit().await;
    cluster.end().await;
}

/// What is undone again, or works in passing, is counted by PostgreSQL too, and is nothing to refuse.
#[tokio::test(flavor = "multi_thread")]
async fn what_made_nothing_that_lasts_is_not_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE TABLE twice (a int); INSERT INTO twice VALUES (1), (1);
                        CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t")
        .await
        .unwrap();
    for sql in [
        "DO $$ BEGIN CREATE TABLE t (id serial); EXCEPTION WHEN duplicate_table THEN NULL; END $$",
        "BEGIN; SAVEPOINT s; INSERT INTO t VALUES (3); CREATE TABLE gone (a int); ROLLBACK TO s; INSERT INTO t VALUES (4); COMMIT",
        "BEGIN; CLUSTER t USING t_pkey; COMMIT",
        "CLUSTER t USING t_pkey",
        "BEGIN; TRUNCATE twice; REFRESH MATERIALIZED VIEW m; CREATE MATERIALIZED VIEW n AS SELECT 1; CREATE TABLE beside (); COMMIT",
        "REFRESH MATERIALIZED VIEW m",
        "DROP MATERIALIZED VIEW n",
    ] {
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let failed =
        "BEGIN; INSERT INTO twice VALUES (1), (1); SAVEPOINT s; CREATE UNIQUE INDEX u ON twice (a)";
    refuses(&client, failed, "23505").await;
    client
        .batch_execute("ROLLBACK TO s; INSERT INTO t VALUES (5); COMMIT")
        .await
        .unwrap();
    cluster
        .hold("SELECT a FROM public.t ORDER BY a", &["1", "2", "4", "5"])
        .await;
    cluster.audit().await;
    cluster.end().await;
}

/// A replica keeps statements prepared in its sessions; a client's function can take them all away, and cannot put others in their place.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_has_prepared_is_nobodys_to_replace() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (a text);
             CREATE FUNCTION forget() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE' || ' ALL'; RETURN 'x'; END $$;
             CREATE FUNCTION names() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'SELECT name FROM pg_prepared_statements'; END $$;
             CREATE FUNCTION names_too() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'SELECT name FROM pg_prepared_statement()'; END $$",
        )
        .await
        .unwrap();
    let mut kept = 0;
    for n in 0..6 {
        refuses(&client, "SELECT names()", "42501").await;
        refuses(&client, "INSERT INTO t SELECT names_too()", "42501").await;
        // It may fail, as long as nothing is half done and everybody goes on.
        for sql in [
            "INSERT INTO t VALUES (forget())".to_owned(),
            format!(
                "BEGIN; INSERT INTO t VALUES ('{n}'); SELECT forget(); INSERT INTO t VALUES ('{n}'); COMMIT"
            ),
        ] {
            let done = client.batch_execute(&sql).await.is_ok();
            kept += usize::from(done) * if sql.starts_with("BEGIN") { 2 } else { 1 };
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        while let Err(error) = client.batch_execute("INSERT INTO t VALUES ('after')").await {
            assert_eq!(failure::<()>(Err(error)).0, "40001");
        }
        kept += 1;
    }
    cluster
        .hold("SELECT count(*) FROM public.t", &[&kept.to_string()])
        .await;
    cluster.audit().await;
    cluster.end().await;
}

/// A function can take a role for good, which RESET ALL leaves: whoever has the session next is not that role.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_a_function_took_is_not_the_next_clients() {
    let cluster = Cluster::start().await;
    cluster
        .provision(&[
            r#"{"do":"role","name":"other","login":false}"#,
            r#"{"do":"member","role":"other","member":"postgres"}"#,
        ])
        .await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a text)")
        .await
        .unwrap();
    for _ in 0..3 {
        client
            .batch_execute("DO $$ BEGIN EXECUTE 'SET ROLE other'; END $$")
            .await
            .unwrap();
        client
            .batch_execute("INSERT INTO t VALUES (current_user)")
            .await
            .unwrap();
    }
    cluster
        .hold("SELECT DISTINCT a FROM t", &["postgres"])
        .await;
    cluster.audit().await;
    cluster.end().await;
}

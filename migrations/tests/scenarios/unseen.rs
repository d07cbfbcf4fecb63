//! Rows of children that a statement changes by their parent's name, and objects that no other replica has or no restart keeps.

use crate::server;
use crate::server::{OWN, Session, connect, database, database_on, session, session_on};
use serde_json::{Value, json};

fn row(table: &str, kind: &str, o: &[&str], n: &[&str]) -> Value {
    json!({"e": "rows", "t": table, "k": kind, "o": o, "n": n, "row": true, "last": true})
}

fn rows(table: &str, kind: &str, o: &[&str], n: &[&str]) -> Value {
    json!({"e": "rows", "t": table, "k": kind, "o": o, "n": n, "last": true})
}

#[tokio::test]
async fn rows_of_children_are_reported_whole_and_by_their_own_tables_name() {
    database("trees").await;
    let s = session("trees").await;
    s.run(
        "CREATE TABLE p (id int PRIMARY KEY, a int); CREATE TABLE c (t text) INHERITS (p); CREATE TABLE d (LIKE c);
         INSERT INTO p VALUES (1, 1); INSERT INTO c VALUES (1, 2, 'c')",
    )
    .await;
    let end = |kind: &str| rows("public.p", kind, &[], &[]);
    assert_eq!(
        s.captured("UPDATE p SET a = a + 1").await,
        [
            row("public.p", "U", &["(1,1)"], &["(1,2)"]),
            row("public.c", "U", &["(1,2,c)"], &["(1,3,c)"]),
            end("U"),
        ]
    );
    assert_eq!(
        s.captured("UPDATE c SET t = 'x y'").await,
        [
            row("public.c", "U", &["(1,3,c)"], &["(1,3,\"x y\")"]),
            rows("public.c", "U", &[], &[]),
        ]
    );
    assert_eq!(
        s.captured("DELETE FROM p WHERE a = 3").await,
        [row("public.c", "D", &["(1,3,\"x y\")"], &[]), end("D")]
    );
    // What is no child yet, becomes one, and is none any more.
    s.run("ALTER TABLE d INHERIT p; INSERT INTO d VALUES (5, 5, 'd')")
        .await;
    assert_eq!(
        s.captured("DELETE FROM p WHERE id = 5").await,
        [row("public.d", "D", &["(5,5,d)"], &[]), end("D")]
    );
    s.run("ALTER TABLE d NO INHERIT p; DROP TABLE c; INSERT INTO d VALUES (6, 6, 'd')")
        .await;
    for (sql, reported) in [
        (
            "UPDATE p SET a = 9",
            rows("public.p", "U", &["(1,2)"], &["(1,9)"]),
        ),
        ("DELETE FROM d", rows("public.d", "D", &["(6,6,d)"], &[])),
    ] {
        assert_eq!(s.captured(sql).await, [reported], "{sql}");
    }
    // Partitions go by the name that the statement gives.
    s.run("CREATE TABLE q (k int) PARTITION BY LIST (k); CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1, 2); INSERT INTO q VALUES (1)")
        .await;
    assert_eq!(
        s.captured("UPDATE q SET k = 2").await,
        [rows("public.q", "U", &["(1)"], &["(2)"])]
    );
}

#[tokio::test]
async fn the_triggers_of_trees_are_nobodys_to_take_away() {
    database("trees_kept").await;
    let s = session("trees_kept").await;
    s.run("CREATE TABLE p (a int); CREATE TABLE c () INHERITS (p)")
        .await;
    for sql in [
        "DROP TRIGGER steel_capture_row ON c",
        "DROP TRIGGER steel_capture_row ON p",
        "ALTER TABLE c DISABLE TRIGGER steel_capture_row",
        "ALTER TRIGGER steel_capture_row ON p RENAME TO mine",
        "CREATE TRIGGER mine AFTER UPDATE ON p FOR EACH ROW EXECUTE FUNCTION steel.capture_row()",
    ] {
        assert_eq!(s.refused(sql).await, "42501", "{sql}");
    }
    let mut steel = connect("trees_kept", "steel").await;
    assert_eq!(migrations::doctor(&mut steel.client).await.unwrap(), []);
    steel
        .run("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'steel_capture_row' AND tgrelid = 'c'::regclass")
        .await;
    let found = migrations::doctor(&mut steel.client).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].remedy.contains("protect_trees"), "{found:?}");
}

/// What a client may not make, whoever runs its SQL.
const FLEETING: [&str; 15] = [
    "CREATE TEMP TABLE x (a int)",
    "CREATE TABLE pg_temp.x (a int)",
    "SET search_path = pg_temp; CREATE TABLE x (a int)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "SELECT 1 AS a INTO TEMP x",
    "CREATE TEMP SEQUENCE x",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE FUNCTION pg_temp.x() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE TYPE pg_temp.x AS (a int)",
    "DO $$ BEGIN EXECUTE 'CREATE TE' || 'MP TABLE t (a int)'; END $$",
    "CREATE UNLOGGED TABLE x (a int)",
    "CREATE UNLOGGED TABLE x AS SELECT 1",
    "SELECT 1 AS a INTO UNLOGGED x",
    "CREATE UNLOGGED SEQUENCE x",
    "ALTER TABLE t SET UNLOGGED",
];

/// `s` is a client's session with a table `t`.
async fn nothing_fleeting_is_made(s: &Session, steel: &Session) {
    for sql in FLEETING {
        assert_eq!(s.refused(sql).await, "0A000", "{sql}");
        s.run("ROLLBACK; RESET search_path").await;
    }
    let fleeting = "SELECT relname FROM pg_class WHERE relpersistence <> 'p' AND relnamespace <> 'steel'::regnamespace";
    assert_eq!(steel.rows(fleeting).await, [""; 0]);
    // PostgreSQL's own temporary tables are none of the client's, nor are those of the replica's sessions.
    s.run("CREATE MATERIALIZED VIEW m AS SELECT a FROM t; CREATE UNIQUE INDEX ON m (a); INSERT INTO t VALUES (7)")
        .await;
    s.run("REFRESH MATERIALIZED VIEW CONCURRENTLY m; REFRESH MATERIALIZED VIEW m")
        .await;
    assert_eq!(s.rows("SELECT a FROM m").await, ["(7)"]);
    steel
        .run("CREATE TEMP TABLE own (a int); CREATE UNLOGGED TABLE public.own (a int)")
        .await;
    // A way back from what was there before.
    steel.run("ALTER TABLE public.own OWNER TO postgres").await;
    s.run("ALTER TABLE public.own SET LOGGED").await;
}

#[tokio::test]
async fn no_client_makes_what_lives_in_one_session_or_what_one_crash_empties() {
    database("fleeting").await;
    let s = session("fleeting").await;
    s.run("CREATE TABLE t (a int)").await;
    nothing_fleeting_is_made(&s, &connect("fleeting", "steel").await).await;
}

#[tokio::test]
async fn no_major_lets_them_by() {
    for major in *migrations::MAJORS.start()..=*migrations::MAJORS.end() {
        if major == OWN {
            continue;
        }
        database_on(major, "fleeting").await;
        let s = session_on(major, "fleeting").await;
        s.run("CREATE TABLE t (a int)").await;
        let steel = server::connect_to(major, "fleeting", "steel").await;
        nothing_fleeting_is_made(&s, &steel).await;
    }
}

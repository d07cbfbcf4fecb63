//! What an EXCEPTION block takes back is told from what lasts.

use crate::server::{Session, database, session};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

const BEGIN: &str = "BEGIN; SELECT steel.open_journal()";

/// The rows of `public.t` as the reports that last tell them.
fn rows_after(before: &[String], reports: &[Value]) -> Vec<String> {
    let mut rows = before.to_vec();
    for report in reports {
        if report["e"] == "truncate" {
            rows.clear();
            continue;
        }
        let side = |side: &str| {
            let side = report[side].as_array().cloned().unwrap_or_default();
            side.into_iter().map(|row| row.as_str().unwrap().to_owned())
        };
        for row in side("o") {
            let place = rows.iter().position(|known| *known == row);
            rows.remove(place.unwrap_or_else(|| panic!("{row} was never there")));
        }
        rows.extend(side("n"));
    }
    rows.sort();
    rows
}

/// Asserts that the reports that last are what became of the table; returns how many there are.
async fn agrees(s: &Session, sql: &str) -> usize {
    let before = s.rows("SELECT * FROM t").await;
    let reports = s.lasting(sql).await;
    let after = s.rows("SELECT * FROM t").await;
    assert_eq!(rows_after(&before, &reports), after, "{sql}");
    reports.len()
}

/// A block of PL/pgSQL from a recipe: what it does in turn, some of it in blocks of its own, and whether it then fails.
#[derive(Clone, Debug)]
enum Act {
    Insert,
    Update,
    Delete,
    Truncate,
    /// A function, whose trigger holds a block.
    Call,
    Block(Vec<Act>, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let leaf = prop_oneof![
        6 => Just(Act::Insert),
        2 => Just(Act::Update),
        2 => Just(Act::Delete),
        1 => Just(Act::Truncate),
        1 => Just(Act::Call),
    ];
    let act = leaf.prop_recursive(5, 40, 5, |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>())
            .prop_map(|(acts, fails)| Act::Block(acts, fails))
    });
    prop::collection::vec(act, 1..6)
}

fn code(acts: &[Act]) -> String {
    let act = |act: &Act| match act {
        Act::Insert => "INSERT INTO t VALUES (nextval('s'));".to_owned(),
        Act::Update => "UPDATE t SET a = -a WHERE a % 3 = 0;".to_owned(),
        Act::Delete => "DELETE FROM t WHERE a % 5 = 0;".to_owned(),
        Act::Truncate => "TRUNCATE t;".to_owned(),
        Act::Call => "PERFORM called();".to_owned(),
        Act::Block(inner, fails) => format!(
            "BEGIN {} {} EXCEPTION WHEN raise_exception THEN NULL; END;",
            code(inner),
            if *fails { "RAISE 'x';" } else { "" }
        ),
    };
    acts.iter().map(act).collect()
}

#[tokio::test]
async fn however_blocks_are_nested_the_reports_that_last_are_the_tables_rows() {
    database("nesting").await;
    let s = session("nesting").await;
    s.run(
        "CREATE TABLE t (a int); CREATE TABLE u (a int); CREATE SEQUENCE s;
         CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 BEGIN
                     INSERT INTO t VALUES (NEW.a); RAISE 'x';
                 EXCEPTION WHEN raise_exception THEN INSERT INTO t VALUES (1000 + NEW.a); END;
                 RETURN NEW;
             END $$;
         CREATE TRIGGER tried BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION tried();
         CREATE FUNCTION inner_one() RETURNS void LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO u VALUES (nextval('s')), (nextval('s')); END $$;
         CREATE FUNCTION called() RETURNS void LANGUAGE sql AS 'SELECT inner_one()'",
    )
    .await;
    s.run(BEGIN).await;
    let (mut runner, acts) = (TestRunner::deterministic(), acts());
    for _ in 0..300 {
        let program = acts.new_tree(&mut runner).unwrap().current();
        let sql = format!("DO $$ BEGIN {} END $$", code(&program));
        // Rows of other tables are counted as well, and no rows of `t`.
        let before = s.rows("SELECT * FROM t").await;
        let mut reports = s.lasting(&sql).await;
        reports.retain(|report| report["t"] == "public.t");
        let after = s.rows("SELECT * FROM t").await;
        assert_eq!(rows_after(&before, &reports), after, "{sql}");
    }
    s.run("ROLLBACK").await;
}

#[tokio::test]
async fn loops_of_thousands_of_blocks_and_large_statements_in_them_are_told_apart() {
    database("loops").await;
    let s = session("loops").await;
    s.run("CREATE TABLE t (a int); CREATE SEQUENCE s").await;
    s.run(BEGIN).await;
    let many = "DO $$ BEGIN FOR i IN 1 .. 5000 LOOP
            BEGIN
                INSERT INTO t VALUES (i);
                IF i % 3 = 0 THEN RAISE 'x'; END IF;
            EXCEPTION WHEN raise_exception THEN INSERT INTO t VALUES (-i); END;
        END LOOP; END $$";
    assert_eq!(agrees(&s, many).await, 5000);
    // An event in pieces, which goes as a whole.
    let large = "DO $$ BEGIN
            BEGIN
                INSERT INTO t SELECT generate_series(1, 1200); RAISE 'x';
            EXCEPTION WHEN raise_exception THEN INSERT INTO t SELECT generate_series(1, 1100); END;
        END $$";
    assert_eq!(agrees(&s, large).await, 3);
    // A block around all of it; then nothing at all.
    let all = "DO $$ BEGIN BEGIN INSERT INTO t VALUES (1); RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END; END $$";
    assert_eq!(agrees(&s, all).await, 0);
    // What a block did to the schema, and to sequences, is counted as well.
    let schema = s
        .lasting(
            "DO $$ BEGIN
                 BEGIN
                     CREATE TABLE v (a int); PERFORM setval('s', 5); RAISE 'x';
                 EXCEPTION WHEN raise_exception THEN PERFORM setval('s', 7); END;
             END $$",
        )
        .await;
    assert_eq!(schema.len(), 1, "{schema:?}");
    assert_eq!(schema[0]["v"], 7);
    // Savepoints, and a failed statement.
    s.run("SAVEPOINT a; INSERT INTO t VALUES (1)").await;
    let there = s.journal().await;
    s.run("SAVEPOINT b; INSERT INTO t VALUES (2)").await;
    assert_eq!(s.journal().await, there.map(|number| number + 1));
    s.run("ROLLBACK TO b").await;
    assert_eq!(s.journal().await, there);
    s.run("ROLLBACK").await;
    assert_eq!(s.journal().await, None);
}

#[tokio::test]
async fn no_client_can_set_the_count_back() {
    database("count").await;
    let s = session("count").await;
    s.run("CREATE TABLE t (a int)").await;
    let setting = "session_preload_libraries";
    for sql in [
        format!("SET {setting} = '7'"),
        format!("SET LOCAL {setting} TO DEFAULT"),
        format!("RESET {setting}"),
        format!("SELECT set_config('{setting}', '7', true)"),
        format!("SELECT current_setting('{setting}')"),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET {setting} = '7' RETURN 1"),
        format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET {setting} FROM CURRENT RETURN 1"),
        format!("ALTER ROLE postgres SET {setting} = '7'"),
        format!("ALTER DATABASE count SET {setting} = '7'"),
        "SELECT steel.number()".to_owned(),
    ] {
        s.run(BEGIN).await;
        s.run("INSERT INTO t VALUES (1)").await;
        assert_eq!(s.refused(&sql).await, "42501", "{sql}");
        s.run("ROLLBACK").await;
    }
    // They run as the superuser without a search_path of their own: no name of the client's may become part of them.
    s.run(
        "CREATE SCHEMA evil;
         CREATE FUNCTION evil.lie() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
         CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.lie());
         CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (evil.lie());
         CREATE DOMAIN evil.bigint AS pg_catalog.int8 CHECK (evil.lie());
         CREATE FUNCTION evil.lie(bigint, int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
         CREATE OPERATOR evil.>> (FUNCTION = evil.lie, LEFTARG = pg_catalog.int8, RIGHTARG = int);
         CREATE FUNCTION evil.lie(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
         CREATE OPERATOR evil.> (FUNCTION = evil.lie, LEFTARG = int, RIGHTARG = int);
         CREATE FUNCTION evil.octet_length(pg_catalog.text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran as %', current_user; END $$;
         SET search_path = evil, public, pg_catalog",
    )
    .await;
    s.run("BEGIN; SELECT steel.open_journal(), steel.journal(); INSERT INTO t VALUES (1)")
        .await;
    assert!(s.journal().await.is_some());
    s.run("ROLLBACK; RESET search_path").await;
    // What anybody may say, nobody mistakes for a block that failed.
    s.run(BEGIN).await;
    let before = s.journal().await;
    s.run("INSERT INTO t VALUES (1); RESET ALL").await;
    assert_eq!(s.journal().await, None);
    let uncounted = s.captured("INSERT INTO t VALUES (1)").await;
    assert_eq!(uncounted[0].get("at"), None);
    s.run("SELECT steel.open_journal()").await;
    let anew = s.journal().await;
    assert!(anew.is_some() && anew != before);
    s.run("ROLLBACK").await;
}

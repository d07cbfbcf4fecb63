//! A database that was made from another one's dump reports what is done to it as the first one does.

use crate::server;
use crate::server::{Session, database, session};
use serde_json::Value;

/// What two databases report of a statement.
async fn reports(first: &Session, copied: &Session, sql: &str) -> [Vec<Value>; 2] {
    [first.captured(sql).await, copied.captured(sql).await]
}

#[tokio::test]
async fn a_copied_table_reports_its_changes_as_the_first_one_does() {
    database("first").await;
    database("copied").await;
    let (first, copied) = (session("first").await, session("copied").await);
    first
        .run("CREATE TABLE t (id int PRIMARY KEY, gone int, s varchar(9) CHECK (s IN ('a', 'it''s', E'\\\\')), n int DEFAULT 1)")
        .await;
    first.run("ALTER TABLE t DROP COLUMN gone").await;
    first.run("INSERT INTO t VALUES (1, 'a')").await;
    first.run("ALTER TABLE t ADD COLUMN d int DEFAULT 5").await;
    // The check as PostgreSQL's own text has it, which it reads as another expression.
    let text = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 't_s_check'";
    let check: String = first.client.query_one(text, &[]).await.unwrap().get(0);
    copied
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, s varchar(9), n int DEFAULT 1, d int DEFAULT 5, CONSTRAINT t_s_check {check})"
        ))
        .await;
    copied.run("INSERT INTO t VALUES (1, 'a')").await;
    let again: String = copied.client.query_one(text, &[]).await.unwrap().get(0);
    assert_ne!(check, again, "else this tries nothing");
    for sql in [
        "ALTER TABLE t ALTER d SET DEFAULT 6",
        "ALTER TABLE t ALTER d SET NOT NULL",
        "COMMENT ON TABLE t IS 'a table'",
        "ALTER TABLE t ADD COLUMN e text DEFAULT 'e'",
        "ALTER TABLE t ALTER s TYPE varchar(10)",
        "ALTER TABLE t ADD CONSTRAINT more CHECK (s <> ALL ('{x,y}'::varchar[]))",
        "CREATE INDEX i ON t (id) WHERE s IN ('a', 'b')",
        "ALTER TABLE t RENAME TO u",
    ] {
        let [one, other] = reports(&first, &copied, sql).await;
        assert!(!one.is_empty(), "{sql}");
        assert_eq!(one, other, "{sql}");
    }
}

#[tokio::test]
async fn a_missing_value_is_told_by_the_command_that_makes_it() {
    database("one").await;
    database("other").await;
    let (one, other) = (session("one").await, session("other").await);
    for (session, value) in [(&one, "1"), (&other, "2")] {
        session.run(&format!("SET test.value = '{value}'")).await;
        session
            .run("CREATE FUNCTION f() RETURNS int STABLE LANGUAGE sql AS $$ SELECT current_setting('test.value')::int $$")
            .await;
        session.run("CREATE TABLE t (id int)").await;
        session
            .run("CREATE TABLE parts (id int) PARTITION BY LIST (id)")
            .await;
        session
            .run("CREATE TABLE part PARTITION OF parts DEFAULT")
            .await;
    }
    // One text, two values: nothing else tells of it, since no row is written.
    for table in ["t", "parts"] {
        let sql = format!("ALTER TABLE {table} ADD COLUMN v int DEFAULT f()");
        let [first, second] = reports(&one, &other, &sql).await;
        assert_ne!(first, second, "{sql}");
    }
    let [first, second] = reports(&one, &other, "ALTER TABLE t ALTER v SET NOT NULL").await;
    assert_eq!(first, second, "it was told once");
    let left = "SELECT count(*) FROM steel.missing_before";
    let superuser = server::connect("one", "steel").await;
    let left: i64 = superuser.client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "nothing is left behind");
}

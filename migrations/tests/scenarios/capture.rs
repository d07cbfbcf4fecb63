//! Every way in which rows change is reported, whole and under fixed settings.

use crate::server;
use crate::server::{database, session};
use serde_json::{Value, json};

fn rows(table: &str, kind: &str, o: &[&str], n: &[&str]) -> Value {
    json!({"e": "rows", "t": table, "k": kind, "o": o, "n": n, "last": true})
}

#[tokio::test]
async fn single_statements_are_one_notice_each() {
    database("single").await;
    let s = session("single").await;
    s.run("CREATE TABLE a (id int PRIMARY KEY, v text)").await;
    assert_eq!(
        s.captured("INSERT INTO a VALUES (1, 'x \"y\" \\ z'), (2, 'ü')")
            .await,
        [rows(
            "public.a",
            "I",
            &[],
            &["(1,\"x \"\"y\"\" \\\\ z\")", "(2,ü)"]
        )]
    );
    assert_eq!(
        s.captured("UPDATE a SET id = 3, v = NULL WHERE id = 2")
            .await,
        [rows("public.a", "U", &["(2,ü)"], &["(3,)"])]
    );
    assert_eq!(
        s.captured("DELETE FROM a WHERE id = 3").await,
        [rows("public.a", "D", &["(3,)"], &[])]
    );
    assert!(s.captured("DELETE FROM a WHERE id = 3").await.is_empty());
    assert_eq!(
        s.captured(
            "INSERT INTO a VALUES (1, 'b'), (9, 'n') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v"
        )
        .await,
        [
            rows("public.a", "U", &["(1,\"x \"\"y\"\" \\\\ z\")"], &["(1,b)"]),
            rows("public.a", "I", &[], &["(9,n)"]),
        ]
    );
    assert_eq!(
        s.captured(
            "MERGE INTO a USING (VALUES (1), (5), (9)) AS w (id) ON a.id = w.id
             WHEN MATCHED AND a.id = 9 THEN DELETE
             WHEN MATCHED THEN UPDATE SET v = 'm'
             WHEN NOT MATCHED THEN INSERT VALUES (w.id, 'i')"
        )
        .await,
        [
            rows("public.a", "D", &["(9,n)"], &[]),
            rows("public.a", "U", &["(1,b)"], &["(1,m)"]),
            rows("public.a", "I", &[], &["(5,i)"]),
        ]
    );
    assert_eq!(
        s.captured("TRUNCATE a").await,
        [json!({"e": "truncate", "t": "public.a"})]
    );
}

#[tokio::test]
async fn rows_are_written_alike_whatever_the_session_says() {
    database("settings").await;
    let s = session("settings").await;
    s.run(
        "CREATE DOMAIN d AS float8; CREATE TYPE e AS ENUM ('q r');
         CREATE SCHEMA \"S \"; CREATE TABLE \"S \".\"T\" (steel_new d, n timestamptz, o interval, \"text\" bytea, r date, m money, e e);
         ALTER TABLE \"S \".\"T\" DROP COLUMN r",
    )
    .await;
    let insert = "INSERT INTO \"S \".\"T\" VALUES (1.0 / 3, '2026-01-02 03:04:05.6+00', '1 day -2 hours', decode('00ff', 'hex'), 1.5, 'q r')";
    let plain = s.captured(insert).await;
    assert_eq!(
        plain,
        [rows(
            "\"S \".\"T\"",
            "I",
            &[],
            &[
                "(0.3333333333333333,\"2026-01-02 03:04:05.6+00\",\"1 day -02:00:00\",\"\\\\x00ff\",$1.50,\"q r\")"
            ]
        )]
    );
    s.run(
        "SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -5;
         SET bytea_output = 'escape'; SET quote_all_identifiers = on; SET client_min_messages = error; SET client_encoding = 'LATIN1';
         SET search_path = \"S \", pg_catalog; SET standard_conforming_strings = off; SET transform_null_equals = on",
    )
    .await;
    assert_eq!(s.captured(insert).await, plain);
}

#[tokio::test]
async fn a_client_cast_or_operator_does_not_run_as_steel() {
    database("casts").await;
    let s = session("casts").await;
    s.run(
        "CREATE TABLE a (id int);
         CREATE FUNCTION lie(a) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
         CREATE CAST (a AS text) WITH FUNCTION lie(a);
         CREATE SCHEMA evil; CREATE FUNCTION evil.lie(text, text) RETURNS text LANGUAGE sql RETURN 'lie';
         CREATE OPERATOR evil.|| (FUNCTION = evil.lie, LEFTARG = text, RIGHTARG = text);
         SET search_path = evil, public, pg_catalog",
    )
    .await;
    assert_eq!(
        s.captured("INSERT INTO a VALUES (1)").await,
        [rows("public.a", "I", &[], &["(1)"])]
    );
}

#[tokio::test]
async fn large_statements_come_in_chunks() {
    database("chunks").await;
    let s = session("chunks").await;
    s.run("CREATE TABLE a (id int, v text)").await;
    let events = s
        .captured("INSERT INTO a SELECT i, 'v' FROM generate_series(1, 1234) i")
        .await;
    let sizes: Vec<usize> = events
        .iter()
        .map(|e| e["n"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [500, 500, 234]);
    let last: Vec<bool> = events
        .iter()
        .map(|e| e["last"].as_bool().unwrap())
        .collect();
    assert_eq!(last, [false, false, true]);

    // Old and new rows pair by their place in the whole event.
    let events = s.captured("UPDATE a SET id = id + 10000").await;
    let all = |side: &str| -> Vec<i32> {
        events
            .iter()
            .flat_map(|e| e[side].as_array().unwrap())
            .map(|row| {
                row.as_str()
                    .unwrap()
                    .trim_matches(['(', ')'])
                    .split(',')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect()
    };
    assert_eq!(all("o").len(), 1234);
    assert!(all("o").iter().zip(all("n")).all(|(o, n)| o + 10000 == n));

    let events = s
        .captured(
            "TRUNCATE a; INSERT INTO a SELECT i, repeat('x', 100000) FROM generate_series(1, 7) i",
        )
        .await;
    let sizes: Vec<usize> = events[1..]
        .iter()
        .map(|e| e["n"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [3, 3, 1]);
}

#[tokio::test]
async fn what_a_statement_sets_off_is_reported_too() {
    database("cascades").await;
    let s = session("cascades").await;
    s.run(
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE c (id int, p int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE audit (line text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.audit VALUES (TG_OP); RETURN NULL; END $$;
         INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1), (11, 1), (12, 2);
         CREATE TRIGGER note AFTER DELETE ON c FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .await;
    let mut events = s.captured("UPDATE p SET id = 3 WHERE id = 1").await;
    events.sort_by_key(|e| e["t"].to_string());
    assert_eq!(
        events,
        [
            rows(
                "public.c",
                "U",
                &["(10,1)", "(11,1)"],
                &["(10,3)", "(11,3)"]
            ),
            rows("public.p", "U", &["(1)"], &["(3)"]),
        ]
    );
    let events = s.captured("DELETE FROM p WHERE id = 2").await;
    for event in [
        rows("public.p", "D", &["(2)"], &[]),
        rows("public.c", "D", &["(12,2)"], &[]),
        rows("public.audit", "I", &[], &["(DELETE)"]),
    ] {
        assert!(events.contains(&event), "{event} in {events:?}");
    }
    assert_eq!(events.len(), 3);
    assert_eq!(
        s.captured("TRUNCATE p CASCADE").await,
        [
            json!({"e": "truncate", "t": "public.p"}),
            json!({"e": "truncate", "t": "public.c"})
        ]
    );
}

#[tokio::test]
async fn copy_is_reported() {
    database("copying").await;
    let s = session("copying").await;
    s.run("CREATE TABLE a (id int, v text DEFAULT 'd')").await;
    s.take_captured();
    let sink = s
        .client
        .copy_in::<_, bytes::Bytes>("COPY a (id) FROM STDIN")
        .await
        .unwrap();
    futures::pin_mut!(sink);
    futures::SinkExt::send(&mut sink, bytes::Bytes::from_static(b"1\n2\n"))
        .await
        .unwrap();
    sink.finish().await.unwrap();
    assert_eq!(
        s.take_captured(),
        [rows("public.a", "I", &[], &["(1,d)", "(2,d)"])]
    );
}

#[tokio::test]
async fn contents_that_come_whole_are_reported_whole() {
    database("whole").await;
    let s = session("whole").await;
    let ddl = |tag: &str, object: &str| json!({"e": "ddl", "tag": tag, "o": object});
    let truncate = |table: &str| json!({"e": "truncate", "t": table});
    assert_eq!(
        events(&s, "CREATE TABLE a AS SELECT 1 AS id UNION ALL SELECT 2").await,
        [
            ddl("CREATE TABLE AS", "public.a"),
            truncate("public.a"),
            rows("public.a", "I", &[], &["(1)", "(2)"])
        ]
    );
    assert_eq!(
        events(&s, "SELECT 7 AS id INTO b").await,
        [
            ddl("SELECT INTO", "public.b"),
            truncate("public.b"),
            rows("public.b", "I", &[], &["(7)"])
        ]
    );
    assert_eq!(
        events(&s, "ALTER TABLE a ALTER id TYPE text USING (id + 1) || 'x'").await,
        [
            ddl("ALTER TABLE", "public.a"),
            truncate("public.a"),
            rows("public.a", "I", &[], &["(2x)", "(3x)"])
        ]
    );
    assert_eq!(
        events(&s, "ALTER TABLE a ADD v float8 DEFAULT 2 * floor(random())").await,
        [
            ddl("ALTER TABLE", "public.a"),
            truncate("public.a"),
            rows("public.a", "I", &[], &["(2x,0)", "(3x,0)"])
        ]
    );
    assert_eq!(
        events(&s, "CREATE MATERIALIZED VIEW m AS SELECT id FROM a").await,
        [
            ddl("CREATE MATERIALIZED VIEW", "public.m"),
            truncate("public.m"),
            rows("public.m", "I", &[], &["(2x)", "(3x)"])
        ]
    );
    s.run("DELETE FROM a WHERE id = '2x'").await;
    assert_eq!(
        events(&s, "REFRESH MATERIALIZED VIEW m").await,
        [
            ddl("REFRESH MATERIALIZED VIEW", "public.m"),
            truncate("public.m"),
            rows("public.m", "I", &[], &["(3x)"])
        ]
    );
    // A rewrite that calls the client's function cannot make the report go away.
    s.run(
        "DROP MATERIALIZED VIEW m; CREATE FUNCTION hide(text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN PERFORM set_config('steel.rewritten', '', true); RETURN pg_backend_pid(); END $$",
    )
    .await;
    assert_eq!(
        events(
            &s,
            "ALTER TABLE a ALTER id TYPE text USING hide(id), ALTER v TYPE int"
        )
        .await
        .len(),
        3
    );
    assert_eq!(
        events(&s, "INSERT INTO b VALUES (8)").await,
        [rows("public.b", "I", &[], &["(8)"])]
    );
    assert_eq!(
        events(&s, "DROP TABLE b").await,
        [ddl("DROP TABLE", "public.b")]
    );
}

async fn events(s: &server::Session, sql: &str) -> Vec<Value> {
    without_digest(s.captured(sql).await)
}

/// DDL reports without their digests of the definition.
fn without_digest(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        if let Some(event) = event.as_object_mut() {
            event.remove("d");
        }
    }
    events
}

#[tokio::test]
async fn a_ddl_report_tells_what_the_object_is() {
    database("definitions").await;
    let s = session("definitions").await;
    s.run("CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
        .await;
    // Each pair has the same tag and name, and another content.
    for (first, second) in [
        (
            "CREATE VIEW x AS SELECT 1 AS one",
            "CREATE VIEW x AS SELECT 2 AS one",
        ),
        (
            "CREATE FUNCTION x() RETURNS int LANGUAGE sql RETURN 1",
            "CREATE FUNCTION x() RETURNS int LANGUAGE sql RETURN 2",
        ),
        // A stable default is evaluated once and kept in the catalog: no row is rewritten.
        (
            "ALTER TABLE a ADD x timestamptz DEFAULT current_setting('a.b')::timestamptz",
            "SET a.b = '2026-01-01'; ALTER TABLE a ADD x timestamptz DEFAULT current_setting('a.b')::timestamptz",
        ),
        ("CREATE INDEX x ON a (id)", "CREATE INDEX x ON a (id DESC)"),
        ("CREATE TYPE x AS ENUM ('a')", "CREATE TYPE x AS ENUM ('b')"),
        (
            "CREATE DOMAIN x AS int CHECK (VALUE > 1)",
            "CREATE DOMAIN x AS int CHECK (VALUE > 2)",
        ),
        ("CREATE SEQUENCE x START 5", "CREATE SEQUENCE x START 6"),
        ("CREATE TYPE x AS (a int)", "CREATE TYPE x AS (a bigint)"),
        ("COMMENT ON TABLE a IS 'one'", "COMMENT ON TABLE a IS 'two'"),
        (
            "COMMENT ON COLUMN a.id IS 'one'",
            "COMMENT ON COLUMN a.id IS 'two'",
        ),
        (
            "ALTER TABLE a ADD CHECK (id > 0)",
            "ALTER TABLE a ADD CHECK (id > -1)",
        ),
        (
            "ALTER TABLE a ALTER id SET DEFAULT 1",
            "ALTER TABLE a ALTER id SET DEFAULT 2",
        ),
        (
            "CREATE AGGREGATE x (int) (SFUNC = int4pl, STYPE = int)",
            "CREATE AGGREGATE x (int) (SFUNC = int4mi, STYPE = int)",
        ),
        (
            "CREATE RULE x AS ON DELETE TO a DO INSTEAD NOTHING",
            "CREATE RULE x AS ON DELETE TO a DO ALSO NOTHING",
        ),
        (
            "CREATE TRIGGER x BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE TRIGGER x BEFORE INSERT ON a FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ),
    ] {
        let mut seen = Vec::new();
        for sql in [first, first, second] {
            s.run("SET a.b = '2025-01-01'; BEGIN").await;
            seen.push(s.captured(sql).await);
            s.run("ROLLBACK").await;
        }
        assert_eq!(seen[0], seen[1], "{first}");
        assert_ne!(seen[0], seen[2], "{second}");
        assert_eq!(
            without_digest(seen.remove(2)),
            without_digest(seen.remove(0)),
            "{second}"
        );
    }
}

#[tokio::test]
async fn partitions_and_children_are_captured_from_birth() {
    database("partitions").await;
    let s = session("partitions").await;
    s.run(
        "CREATE TABLE p (k int, v text) PARTITION BY RANGE (k);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 (v text, k int); ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
         CREATE TABLE i (k int); CREATE TABLE i1 (w int) INHERITS (i)",
    )
    .await;
    assert_eq!(
        s.captured("INSERT INTO p VALUES (1, 'a'), (11, 'b')").await,
        [rows("public.p", "I", &[], &["(1,a)", "(11,b)"])]
    );
    assert_eq!(
        s.captured("UPDATE p SET k = 12 WHERE k = 1").await,
        [rows("public.p", "U", &["(1,a)"], &["(12,a)"])]
    );
    assert_eq!(
        s.captured("INSERT INTO p2 VALUES ('c', 13)").await,
        [rows("public.p2", "I", &[], &["(c,13)"])]
    );
    assert_eq!(
        s.captured("TRUNCATE p").await.len(),
        3,
        "the root and both partitions"
    );
    assert_eq!(
        s.captured("INSERT INTO i1 VALUES (1, 2)").await,
        [rows("public.i1", "I", &[], &["(1,2)"])]
    );
}

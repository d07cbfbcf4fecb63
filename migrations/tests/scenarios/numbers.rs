//! Types have the same numbers everywhere, and nothing in the catalog still knows the old ones.

use crate::server::{Session, connect, database, session};

const BEGIN: &str =
    "BEGIN; SELECT steel.begin_tx('2026-01-02 03:04:05+00', 'nonce', 'record', NULL, NULL)";

const MADE: &str = "
    CREATE TYPE mood AS ENUM ('low', 'high');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (a int, m mood, more mood[]);
    CREATE TABLE t (id serial PRIMARY KEY, m mood DEFAULT 'low', p pair, d positive, ms mood[]);
    CREATE VIEW v AS SELECT * FROM t;
    CREATE MATERIALIZED VIEW whole AS SELECT t FROM t;
    CREATE TABLE copied AS SELECT t AS r, m FROM t;
    CREATE TYPE span AS RANGE (subtype = int, multirange_type_name = spans);
    CREATE SCHEMA other CREATE TABLE a (a int) CREATE VIEW b AS SELECT a FROM a;
    CREATE TABLE parts (m mood) PARTITION BY LIST (m);
    CREATE TABLE low PARTITION OF parts FOR VALUES IN ('low');
    DO $$ BEGIN CREATE TYPE inside AS ENUM ('x'); CREATE TABLE with_it (x inside); INSERT INTO with_it VALUES ('x'); END $$;
    CREATE FUNCTION mood_of(t) RETURNS mood LANGUAGE sql AS 'SELECT $1.m'";

const NUMBERS: &str =
    "SELECT t.oid, format('%s.%s', typnamespace::regnamespace, typname) FROM pg_type t
    WHERE t.oid >= 16384 AND typnamespace::regnamespace::text IN ('public', 'other')";

/// References to types that are not there.
const DANGLING: &str = "
    SELECT 'depend', objid FROM pg_depend d WHERE classid = 'pg_type'::regclass AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = objid)
    UNION ALL SELECT 'depended on', refobjid FROM pg_depend WHERE refclassid = 'pg_type'::regclass AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = refobjid)
    UNION ALL SELECT 'owner', objid FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()
               WHERE classid = 'pg_type'::regclass AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = objid)
    UNION ALL SELECT what, n FROM (
        SELECT 'typelem', typelem FROM pg_type UNION ALL SELECT 'typarray', typarray FROM pg_type UNION ALL SELECT 'typbasetype', typbasetype FROM pg_type
        UNION ALL SELECT 'reltype', reltype FROM pg_class UNION ALL SELECT 'atttypid', atttypid FROM pg_attribute
        UNION ALL SELECT 'enumtypid', enumtypid FROM pg_enum UNION ALL SELECT 'contypid', contypid FROM pg_constraint
        UNION ALL SELECT 'rngtypid', rngtypid FROM pg_range UNION ALL SELECT 'rngmultitypid', rngmultitypid FROM pg_range
        UNION ALL SELECT 'castsource', castsource FROM pg_cast UNION ALL SELECT 'casttarget', casttarget FROM pg_cast
        UNION ALL SELECT 'opcintype', opcintype FROM pg_opclass UNION ALL SELECT 'opckeytype', opckeytype FROM pg_opclass
        UNION ALL SELECT 'oprresult', oprresult FROM pg_operator UNION ALL SELECT 'oprleft', oprleft FROM pg_operator
        UNION ALL SELECT 'argument', unnest(ARRAY[prorettype, provariadic] || proargtypes::oid[] || coalesce(proallargtypes, '{}')) FROM pg_proc
    ) r(what, n) WHERE n <> 0 AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = n)";

async fn made(s: &Session) -> Vec<String> {
    s.run(BEGIN).await;
    s.run(MADE).await;
    s.run("COMMIT").await;
    s.rows(NUMBERS).await
}

#[tokio::test]
async fn types_have_the_same_numbers_on_two_servers_and_work() {
    database("numbers_a").await;
    database("numbers_b").await;
    let (a, b) = (session("numbers_a").await, session("numbers_b").await);
    // One server hands out OIDs to both databases, so without the rule they would all differ.
    let numbers = made(&a).await;
    assert_eq!(numbers, made(&b).await);
    assert_eq!(numbers.len(), 30, "{numbers:#?}");
    assert_eq!(a.rows(DANGLING).await, Vec::<String>::new());

    a.run(
        "INSERT INTO t (m, p, d, ms) VALUES ('high', ROW(1, 'low', '{low,high}'), 3, '{high}');
         REFRESH MATERIALIZED VIEW whole; INSERT INTO copied SELECT t, m FROM t; INSERT INTO parts VALUES ('low');
         ALTER TYPE mood ADD VALUE 'middle' BEFORE 'high'; ALTER TYPE pair ADD ATTRIBUTE z int",
    )
    .await;
    let used = [
        (
            "SELECT m, p, d, ms, mood_of(t), (p).more[2] FROM t",
            "(high,\"(1,low,\"\"{low,high}\"\",)\",3,{high},high,high)",
        ),
        ("SELECT (t).m FROM whole", "(high)"),
        ("SELECT (r).id FROM copied", "(1)"),
        (
            "SELECT span(1, 5) * span(2, 9), spans(span(1, 2), span(3, 4)), multirange(span(1, 2)), span(1, 2)::spans, ARRAY[span(1, 2)]",
            "(\"[2,5)\",\"{[1,2),[3,4)}\",\"{[1,2)}\",\"{[1,2)}\",\"{\"\"[1,2)\"\"}\")",
        ),
        ("SELECT x FROM with_it", "(x)"),
        (
            "SELECT 'middle' > 'low'::mood AND 'middle' < 'high'::mood",
            "(t)",
        ),
    ];
    for (query, row) in used {
        assert_eq!(a.rows(query).await, [row], "{query}");
    }
    assert_eq!(a.refused("INSERT INTO t (d) VALUES (-1)").await, "23514");
    a.run(
        "DROP SCHEMA other CASCADE; DROP TYPE mood CASCADE; DROP TYPE pair CASCADE; DROP TYPE span; DROP DOMAIN positive CASCADE;
         DROP TABLE t CASCADE; DROP TABLE copied, with_it; DROP TYPE inside; DROP TABLE IF EXISTS parts",
    )
    .await;
    assert_eq!(a.rows(NUMBERS).await, Vec::<String>::new());
    assert_eq!(a.rows(DANGLING).await, Vec::<String>::new());

    // Extensions make types in their own ways: shells first, or by the functions that take them.
    let steel = connect("numbers_b", "steel").await;
    for extension in migrations::EXTENSIONS {
        steel
            .run(&format!(
                "CREATE EXTENSION \"{extension}\" SCHEMA public CASCADE"
            ))
            .await;
    }
    let own = "SELECT typname FROM pg_type WHERE oid BETWEEN 16384 AND 1073741823 AND typnamespace = 'public'::regnamespace";
    assert_eq!(steel.rows(own).await, Vec::<String>::new());
    assert_eq!(steel.rows(DANGLING).await, Vec::<String>::new());
    let query = "SELECT 'A'::citext = 'a', ('a=>1'::hstore) -> 'a', 'a.b'::ltree <@ 'a', ARRAY['A'::citext]";
    assert_eq!(b.rows(query).await, ["(t,1,t,{A})"]);
}

#[tokio::test]
async fn a_table_whose_check_names_its_row_keeps_its_own_number() {
    database("own_number").await;
    let s = session("own_number").await;
    s.run("CREATE TABLE t (a int, CHECK (t IS NOT NULL)); INSERT INTO t VALUES (1)")
        .await;
    assert_eq!(s.refused("INSERT INTO t VALUES (NULL)").await, "23514");
    assert_eq!(s.rows(DANGLING).await, Vec::<String>::new());
}

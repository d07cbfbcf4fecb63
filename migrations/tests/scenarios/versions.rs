//! Servers of different majors report the same of the same statements.

use crate::server::{Session, connect_to, database_on, session_on};
use migrations::MAJORS;
use serde_json::Value;

/// Whatever is reported with a digest, in the forms that majors print or catalogue differently.
const DDL: &[&str] = &[
    "CREATE TABLE a (x int PRIMARY KEY, y text NOT NULL DEFAULT 'n', z numeric CHECK (z > 0), at timestamptz DEFAULT now())",
    "CREATE TABLE b (x int REFERENCES a, y text NOT NULL, UNIQUE (x, y))",
    "ALTER TABLE a ALTER z SET NOT NULL",
    "ALTER TABLE a ADD COLUMN w int NOT NULL DEFAULT 7",
    "ALTER TABLE b ALTER y DROP NOT NULL",
    "CREATE TABLE parted (k int NOT NULL, v text) PARTITION BY RANGE (k)",
    "CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10)",
    "CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0)",
    "CREATE DOMAIN email AS text CONSTRAINT at CHECK (VALUE ~ '@')",
    "ALTER DOMAIN email SET NOT NULL",
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE TYPE pair AS (l int, r text)",
    // One table: without qualifiers since 16.
    "CREATE VIEW one AS SELECT x, y AS w FROM a WHERE z > 1.5 ORDER BY y DESC",
    "CREATE VIEW distinct_on AS SELECT DISTINCT ON (y) y, x FROM a ORDER BY y, x",
    "CREATE VIEW windowed AS SELECT row_number() OVER (PARTITION BY y ORDER BY x) AS n, CASE WHEN x > 1 THEN 'a.b' ELSE y END AS c FROM a",
    "CREATE VIEW grouped AS SELECT y, count(*) FROM a GROUP BY y HAVING count(*) > 1",
    "CREATE VIEW two AS SELECT a.x, b.y FROM a JOIN b USING (x) WHERE EXISTS (SELECT FROM b c WHERE c.x = a.x)",
    "CREATE VIEW nested AS WITH q AS (SELECT x FROM a) SELECT q.x, (SELECT max(z) FROM a) AS m FROM q UNION SELECT x, 1 FROM b",
    "CREATE VIEW whole AS SELECT a AS r FROM a",
    "CREATE VIEW field AS SELECT (t.r).x FROM (SELECT a AS r FROM a) t",
    "CREATE VIEW quoted AS SELECT x AS \"a.b\"\"c\" FROM a",
    "CREATE VIEW on_quoted AS SELECT \"a.b\"\"c\" FROM quoted",
    "CREATE OR REPLACE VIEW one AS SELECT x, y AS w, z FROM a",
    "CREATE MATERIALIZED VIEW kept AS SELECT x, y FROM a",
    "REFRESH MATERIALIZED VIEW kept",
    "CREATE RULE instead AS ON INSERT TO one DO INSTEAD INSERT INTO a (x, y, z) VALUES (new.x, new.w, new.z)",
    "CREATE FUNCTION atomic() RETURNS SETOF int BEGIN ATOMIC SELECT x FROM a WHERE y = 'q.r'; SELECT 1; END",
    "CREATE FUNCTION plain(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1'",
    "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER fires BEFORE UPDATE ON a FOR EACH ROW WHEN (old.y IS DISTINCT FROM new.y) EXECUTE FUNCTION fires()",
    "CREATE INDEX by_y ON a (lower(y)) WHERE z > 1",
    "CREATE SEQUENCE s INCREMENT 5",
    "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON a USING (y = current_user AND EXISTS (SELECT FROM b WHERE b.x = a.x))",
    "COMMENT ON TABLE a IS 'a table'",
    "GRANT SELECT ON a TO PUBLIC",
    // 17 sets off event triggers.
    "REINDEX TABLE a",
    "REINDEX INDEX by_y",
    "INSERT INTO a (x, y, z) SELECT g, 'row ' || g, g / 4.0 FROM generate_series(1, 3) g",
    "MERGE INTO a USING (VALUES (1, 'one'), (9, 'nine')) v(x, y) ON a.x = v.x \
     WHEN MATCHED THEN UPDATE SET y = v.y WHEN NOT MATCHED THEN INSERT (x, y, z) VALUES (v.x, v.y, 9)",
    "ALTER TABLE a ALTER w TYPE bigint",
    "ALTER TABLE a DROP CONSTRAINT a_z_check",
    "ALTER TABLE a DROP COLUMN w",
    "ALTER DOMAIN email DROP NOT NULL",
    "ALTER DOMAIN email DROP CONSTRAINT at",
    "ALTER TABLE b RENAME CONSTRAINT b_x_fkey TO to_a",
    "ALTER TABLE b DROP CONSTRAINT to_a, ALTER x SET NOT NULL",
    "ALTER TABLE parted ADD PRIMARY KEY (k)",
    "ALTER TABLE parted DETACH PARTITION parted_low",
    "DROP VIEW nested",
    "DROP TABLE parted",
];

const BEGIN: &str = "SELECT steel.begin_tx('2026-11-29 12:00+00', 'abc', 'master', '{}', '{}')";

/// Each statement with what was reported of it.
async fn reported(session: &Session, statements: &[&str]) -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    for sql in statements {
        session.run("BEGIN").await;
        session.run(BEGIN).await;
        all.push(((*sql).to_owned(), session.captured(sql).await));
        session.run("COMMIT").await;
    }
    all
}

/// A statement, and what was reported of it.
type Told = (String, Vec<Value>);

#[tokio::test]
async fn what_is_reported_is_alike_at_servers_of_all_majors() {
    let mut first: Option<(u32, Vec<Told>)> = None;
    for major in MAJORS {
        database_on(major, "alike").await;
        let mut steel = connect_to(major, "alike", "steel").await;
        let unhealthy = migrations::doctor(&mut steel.client).await.unwrap();
        assert!(unhealthy.is_empty(), "PostgreSQL {major}: {unhealthy:?}");
        let session = session_on(major, "alike").await;
        let mut reports = reported(&session, DDL).await;
        // An extension's script differs with its version.
        let steel = session_on(major, "alike").await;
        for extension in migrations::EXTENSIONS {
            let name = format!("extension {extension}");
            reports.push((name, provisioned(&steel, extension).await));
        }
        let Some((other, expected)) = &first else {
            let told = reports.iter().filter(|(_, reports)| !reports.is_empty());
            assert!(
                told.count() >= DDL.len() - 2,
                "all but REINDEX are reported"
            );
            first = Some((major, reports));
            continue;
        };
        for (found, expected) in reports.iter().zip(expected) {
            assert_eq!(found, expected, "PostgreSQL {major}, and {other}");
        }
    }
}

async fn provisioned(session: &Session, extension: &str) -> Vec<Value> {
    let token = session.token();
    let request = format!("{{\"do\": \"extension\", \"name\": \"{extension}\"}}");
    session
        .captured(&format!("SELECT steel.provision('{token}', '{request}')"))
        .await
}

/// Calls of what newer majors have, and since which.
const NEWER: [(u32, &str); 7] = [
    (16, "SELECT array_shuffle(ARRAY[1, 2, 3, 4, 5, 6, 7, 8, 9])"),
    (
        16,
        "SELECT array_sample('{{1, 2}, {3, 4}, {5, 6}}'::int[], 2)",
    ),
    (16, "SELECT array_shuffle('[0:4]={a,b,c,d,e}'::text[])"),
    (16, "SELECT round(random_normal()::numeric, 9)"),
    (17, "SELECT random(1, 1000000), random(0.5, 7.25)"),
    (18, "SELECT uuidv4(), uuidv7(), uuidv7('1 day')"),
    (
        18,
        "SELECT uuid_extract_timestamp(uuidv7()), uuid_extract_version(uuidv7()), uuidv7() < uuidv7()",
    ),
];

#[tokio::test]
async fn what_newer_majors_draw_is_reproduced() {
    let mut values: [Option<Vec<String>>; NEWER.len()] = Default::default();
    for major in MAJORS {
        database_on(major, "drawn").await;
        let session = session_on(major, "drawn").await;
        for ((since, sql), first) in NEWER.into_iter().zip(&mut values) {
            if major < since {
                assert_eq!(session.refused(sql).await, "42883", "{sql} at {major}");
                continue;
            }
            for _ in 0..2 {
                session.run("BEGIN").await;
                session.run(BEGIN).await;
                let found = session.rows(sql).await;
                session.run("ROLLBACK").await;
                let expected = first.get_or_insert(found.clone());
                assert_eq!(&found, expected, "{sql} at PostgreSQL {major}");
            }
            // Outside of a SteelDB transaction they are as random as ever.
            if !sql.contains("extract") {
                assert_ne!(session.rows(sql).await, session.rows(sql).await, "{sql}");
            }
        }
    }
    let times = values[6].as_ref().unwrap();
    assert!(
        times[0].starts_with("(\"2026-11-29 12:00:00+00\",7,t)"),
        "{times:?}"
    );
}

//! From an error of a key to the row that it speaks of.

use crate::server::{Session, database, session};

/// The query that the error of `sql` leads to, and whether it finds a row; `None` where the error does not tell the key.
async fn found(s: &Session, sql: &str) -> Option<(String, bool)> {
    let error = s.client.batch_execute(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    let (state, schema, table) = (error.code().code(), error.schema(), error.table());
    let query: Option<String> = s
        .client
        .query_one(
            "SELECT steel.key_query($1, $2, $3, $4, $5, false)",
            &[
                &state,
                &schema,
                &table,
                &error.constraint(),
                &error.detail(),
            ],
        )
        .await
        .unwrap()
        .get(0);
    let query = query?;
    let there = s.client.query_one(&query, &[]).await.unwrap().get(0);
    Some((query, there))
}

#[tokio::test]
async fn the_query_for_a_key_finds_what_the_error_speaks_of() {
    database("keys").await;
    let s = session("keys").await;
    s.run(
        r#"CREATE SCHEMA "S ";
           CREATE TABLE "S "."U" (a int PRIMARY KEY, "B b" text, c varchar(5), d int[], e timestamptz UNIQUE, UNIQUE ("B b", c), UNIQUE (d));
           CREATE UNIQUE INDEX folded ON "S "."U" (lower("B b"), (a % 10)) WHERE a > 3;
           CREATE TABLE p (x int, y text, PRIMARY KEY (x, y));
           CREATE TABLE c (x bigint, y varchar(9), FOREIGN KEY (x, y) REFERENCES p);
           CREATE TABLE parts (k int PRIMARY KEY) PARTITION BY RANGE (k);
           CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100);
           INSERT INTO "S "."U" VALUES (5, E'it''s \\ ?', 'x', '{1,2}', '2026-01-02 03:04:05.678+00');
           INSERT INTO p VALUES (1, 'it''s'); INSERT INTO c VALUES (1, 'it''s'); INSERT INTO parts VALUES (1)"#,
    )
    .await;
    for sql in [
        r#"INSERT INTO "S "."U" VALUES (5)"#,
        r#"INSERT INTO "S "."U" VALUES (6, E'it''s \\ ?', 'x')"#,
        r#"INSERT INTO "S "."U" VALUES (15, E'IT''S \\ ?')"#,
        r#"INSERT INTO "S "."U" (a, d) VALUES (6, '{1,2}')"#,
        r#"SET TimeZone = 'Asia/Tokyo'; INSERT INTO "S "."U" (a, e) VALUES (6, '2026-01-02 03:04:05.678+00')"#,
        "INSERT INTO parts VALUES (1)",
        "DELETE FROM p",
        "UPDATE p SET y = 'other'",
    ] {
        let (query, there) = found(&s, sql).await.unwrap_or_else(|| panic!("{sql}"));
        assert!(there, "{sql}: {query}");
    }
    // By the index, as PostgreSQL found it.
    let (query, _) = found(&s, r#"INSERT INTO "S "."U" VALUES (15, E'IT''S \\ ?')"#)
        .await
        .unwrap();
    s.run("SET enable_seqscan = off").await;
    let plan = s
        .client
        .query(&format!("EXPLAIN {query}"), &[])
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("folded")), "{plan:#?}");

    let (query, there) = found(&s, "INSERT INTO c VALUES (2, 'x''y')").await.unwrap();
    assert!(!there, "{query}");
    // Two values or three: nothing is claimed.
    s.run(r#"INSERT INTO "S "."U" VALUES (7, 'a, b', 'c')"#)
        .await;
    assert_eq!(
        found(&s, r#"INSERT INTO "S "."U" VALUES (8, 'a, b', 'c')"#).await,
        None
    );
    // Invented errors lead nowhere, or to a query of that table and nothing else.
    for (constraint, detail) in [
        ("U_pkey", "Key (b)=(5) already exists."),
        ("U_pkey", "Key (a)=(5) is somewhere."),
        ("nothing", "Key (a)=(5) already exists."),
    ] {
        let raised = format!(
            r#"DO $$ BEGIN RAISE unique_violation USING SCHEMA = 'S ', TABLE = 'U', CONSTRAINT = '{constraint}', DETAIL = '{detail}'; END $$"#
        );
        assert_eq!(found(&s, &raised).await, None, "{detail}");
    }
    let query: String = s
        .client
        .query_one(
            "SELECT steel.key_query('23505', 'S ', 'U', 'U_pkey', 'Key (a)=(5'');DROP TABLE p;--) already exists.', true)",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        query,
        r#"SELECT EXISTS (SELECT FROM "S "."U" WHERE (a) OPERATOR(pg_catalog.=) '5'');DROP TABLE p;--'::integer AND xmax = 0)"#
    );
}

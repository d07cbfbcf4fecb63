//! The parts of a statement with SKIP LOCKED, as they are executed.

use sql::{Kind, skipping, statement};

fn rows(keys: &[&str]) -> Vec<Vec<String>> {
    keys.iter().map(|key| vec![(*key).to_owned()]).collect()
}

/// (statement, table, its locking query for any rows, and for two known rows; the whole statement for these rows)
const FORMS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "SELECT * FROM jobs WHERE NOT done OR $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        "jobs",
        r#"SELECT *, jobs."id" AS steel_key_0 FROM jobs WHERE NOT done OR $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"#,
        r#"SELECT *, jobs."id" AS steel_key_0 FROM jobs WHERE (NOT done OR $1) AND (jobs."id" IN ('7', 'it''s')) ORDER BY id  FOR UPDATE "#,
        r#"SELECT * FROM jobs WHERE (NOT done OR $2) AND (jobs."id" IN ('7', 'it''s')) ORDER BY id LIMIT $1 FOR UPDATE "#,
    ),
    (
        "UPDATE jobs SET worker = $1 WHERE id = (SELECT j.id FROM ONLY app.jobs AS j JOIN queues q ON q.id = j.queue \
         WHERE q.name = $3 ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED LIMIT 1) RETURNING id",
        "app.jobs",
        r#"SELECT j.id, j."id" AS steel_key_0 FROM ONLY app.jobs AS j JOIN queues q ON q.id = j.queue WHERE q.name = $1 ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED LIMIT 1"#,
        r#"SELECT j.id, j."id" AS steel_key_0 FROM ONLY app.jobs AS j JOIN queues q ON q.id = j.queue WHERE (q.name = $1) AND (j."id" IN ('7', 'it''s')) ORDER BY j.id FOR NO KEY UPDATE OF j  "#,
        r#"UPDATE jobs SET worker = $1 WHERE id = (SELECT j.id FROM ONLY app.jobs AS j JOIN queues q ON q.id = j.queue WHERE (q.name = $3) AND (j."id" IN ('7', 'it''s')) ORDER BY j.id FOR NO KEY UPDATE OF j  LIMIT 1) RETURNING id"#,
    ),
    (
        r#"WITH q AS MATERIALIZED (SELECT "Id" FROM "Jobs" FOR SHARE SKIP LOCKED) DELETE FROM "Jobs" USING q WHERE q."Id" = "Jobs"."Id""#,
        r#""Jobs""#,
        r#"SELECT "Id", "Jobs"."id" AS steel_key_0 FROM "Jobs" FOR SHARE SKIP LOCKED"#,
        r#"SELECT "Id", "Jobs"."id" AS steel_key_0 FROM "Jobs" WHERE ("Jobs"."id" IN ('7', 'it''s')) FOR SHARE "#,
        r#"WITH q AS MATERIALIZED (SELECT "Id" FROM "Jobs" WHERE ("Jobs"."id" IN ('7', 'it''s')) FOR SHARE ) DELETE FROM "Jobs" USING q WHERE q."Id" = "Jobs"."Id""#,
    ),
];

#[test]
fn the_query_that_skips_is_run_alone_and_then_as_a_lock_of_its_rows() {
    let key = ["id".to_owned()];
    let known = rows(&["7", "it's"]);
    for (text, table, claim, check, replay) in FORMS {
        assert_eq!(statement(text).unwrap().kind, Kind::Write, "{text}");
        let found = skipping(text).unwrap();
        assert_eq!(found.table(), *table);
        assert_eq!(found.claim(&key, None).text, *claim);
        assert_eq!(found.check(&key, &known).text, *check);
        assert_eq!(found.replay(Some((&key, &known))), *replay);
        assert_eq!(
            found.replay(None),
            text.replace("SKIP LOCKED", ""),
            "as a plain lock, where no rows are known"
        );
    }
    let own = "WITH jobs (n) AS NOT MATERIALIZED (SELECT id FROM jobs FOR UPDATE SKIP LOCKED) SELECT n FROM jobs";
    assert_eq!(
        skipping(own).unwrap().table(),
        "jobs",
        "the table, not itself"
    );
    let second = skipping(FORMS[1].0).unwrap().claim(&key, None);
    assert_eq!(second.parameters, [2], "$1 is not part of the query");
    let first = skipping(FORMS[0].0).unwrap().claim(&key, None);
    assert_eq!(first.parameters, [0, 1]);
    // Which of the rows that a join names several times were free is timing: who checks has no LIMIT, and not its parameter.
    let checks = skipping(FORMS[0].0).unwrap().check(&key, &known);
    assert_eq!(checks.parameters, [1]);
    let renamed = "SELECT 1 FROM jobs AS j(prio, id) FOR UPDATE SKIP LOCKED";
    assert_eq!(statement(renamed).unwrap_err().sqlstate, "0A000");
}

#[test]
fn keys_of_several_columns_and_odd_characters_stay_constants() {
    let found = skipping("SELECT 1 FROM t WHERE a -- b\n FOR UPDATE SKIP LOCKED").unwrap();
    let key = ["a\"b".to_owned(), "c".to_owned()];
    let one = vec![vec!["x'); DROP".to_owned(), "back\\slash'".to_owned()]];
    assert_eq!(
        found.replay(Some((&key, &one))),
        "SELECT 1 FROM t WHERE (a) AND ((t.\"a\"\"b\", t.\"c\") IN (('x''); DROP', E'back\\\\slash'''))) -- b\n FOR UPDATE "
    );
    assert_eq!(
        found.replay(Some((&key, &[]))),
        "SELECT 1 FROM t WHERE (a) AND (false) -- b\n FOR UPDATE ",
        "nothing was there to take"
    );
}

#[test]
fn words_that_lock_nothing_skip_nothing() {
    for text in [
        "SELECT 'for update skip locked' FROM t",
        "SELECT id FROM t FOR UPDATE",
        "SELECT skip locked FROM t",
        "EXPLAIN SELECT id FROM t FOR UPDATE SKIP LOCKED",
        "INSERT INTO locked VALUES (1)",
    ] {
        assert_eq!(skipping(text), None, "{text}");
    }
}

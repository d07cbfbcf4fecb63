//! What depends on the order in which a server finds rows: settled by a primary key, or named.

use sql::{Doubt, statement};

/// With the key `id` for every table but `keyless`.
fn keyed(sql: &str) -> (String, Option<Doubt>) {
    let id = ["id".to_owned()];
    let key = |table: &str| (table != "keyless").then_some(&id[..]);
    let statement = statement(sql).expect(sql).keyed(key);
    (statement.text, statement.doubt)
}

#[test]
fn a_limit_over_one_table_is_settled_by_its_key() {
    for (sql, expected) in [
        (
            "SELECT * FROM t LIMIT 1",
            "SELECT * FROM t ORDER BY t.\"id\" LIMIT 1",
        ),
        (
            "select a from only s.\"T\" as x where a > 1 order by a desc nulls last offset 2 limit 3",
            "select a from only s.\"T\" as x where a > 1 order by a desc nulls last , x.\"id\" offset 2 limit 3",
        ),
        (
            "select a from t u order by 1 fetch first 2 rows only",
            "select a from t u order by 1 , u.\"id\" fetch first 2 rows only",
        ),
        (
            "UPDATE t SET a = a + 1 WHERE id IN (SELECT id FROM t WHERE done IS DISTINCT FROM true LIMIT 10)",
            "UPDATE t SET a = a + 1 WHERE id IN (SELECT id FROM t WHERE done IS DISTINCT FROM true ORDER BY t.\"id\" LIMIT 10)",
        ),
        (
            "insert into u select lower(b), a from t for update limit 2",
            "insert into u select lower(b), a from t ORDER BY t.\"id\" for update limit 2",
        ),
        (
            "with c as (select id from q order by at limit 1) delete from q using c where c.id = q.id",
            "with c as (select id from q order by at , q.\"id\" limit 1) delete from q using c where c.id = q.id",
        ),
        (
            "select a, (select b from u where u.x = t.x limit 1) from t limit 5",
            "select a, (select b from u where u.x = t.x ORDER BY u.\"id\" limit 1) from t ORDER BY t.\"id\" limit 5",
        ),
        // The places are those of the text that is executed.
        (
            "select current_date, 'é' from t limit 1",
            "select (pg_catalog.now()::pg_catalog.date) AS \"current_date\", 'é' from t ORDER BY t.\"id\" limit 1",
        ),
    ] {
        assert_eq!(keyed(sql), (expected.to_owned(), None), "{sql}");
        // What was made of it is executed as it is.
        assert_eq!(statement(expected).unwrap().text, expected);
    }
}

#[test]
fn what_a_key_would_not_settle_or_would_break_is_left_and_named() {
    for sql in [
        "select * from keyless limit 1",
        "select * from t, u limit 1",
        "select * from t join u using (id) limit 1",
        "select * from (select 1 from t) x limit 1",
        "select * from f(1) limit 1",
        "with c as (select 1) select * from c limit 1",
        "select distinct a from t limit 1",
        "select a from t group by a limit 1",
        "select count(*) from t limit 1",
        "select my_aggregate(a) from t limit 1",
        "select a from t order by max(a) limit 1",
        "select a from t union select a from u limit 1",
        "select a from t order by a fetch first 1 row with ties",
        "select a from t as x (a, b) limit 1",
        "select a from t tablesample system (1) repeatable (1) limit 1",
        "table t limit 1",
        "values (1), (2) limit 1",
    ] {
        let (text, doubt) = keyed(sql);
        assert_eq!(text, sql);
        let catalog = sql.contains("tablesample");
        assert_eq!(doubt, (!catalog).then_some(Doubt::Limit), "{sql}");
    }
}

#[test]
fn what_has_no_order_of_its_own_is_named_and_what_has_is_not() {
    for (sql, expected) in [
        ("select a from t limit all", None),
        ("select \"limit\", t.limit, 1 as limit from t", None),
        ("select sum(a) from t", Some(Doubt::Floating)),
        (
            "update t set a = (select avg(b) from u)",
            Some(Doubt::Floating),
        ),
        ("select sum(a order by id) from t", None),
        ("select count(*), max(a) from t", None),
        ("select array_agg(a) from t", Some(Doubt::Listing)),
        (
            "insert into u select string_agg(a, ',' order by id) from t",
            None,
        ),
        ("select sum(a) over (order by id) from t", None),
        (
            "select percentile_cont(0.5) within group (order by a) from t",
            None,
        ),
        (
            "select distinct on (a) a, b from t order by a",
            Some(Doubt::DistinctOn),
        ),
        ("select a is distinct from b from t", None),
    ] {
        assert_eq!(statement(sql).unwrap().doubt, expected, "{sql}");
    }
}

#[test]
fn error_positions_come_back_over_the_key() {
    let sql = "select a from t limit x";
    let id = ["id".to_owned()];
    let keyed = statement(sql).unwrap().keyed(|_| Some(&id[..]));
    for word in ["a from", "t", "limit", "x"] {
        let ours = keyed.text.rfind(word).unwrap() + 1;
        assert_eq!(
            keyed.client_position(ours),
            sql.rfind(word).unwrap() + 1,
            "{word}"
        );
    }
    let inserted = keyed.text.find("ORDER").unwrap() + 1;
    assert_eq!(
        keyed.client_position(inserted),
        sql.find(" limit").unwrap() + 1
    );
}

#[test]
fn a_quoted_name_cannot_leave_its_quotes() {
    let key = ["a\" , drop".to_owned()];
    let keyed = statement("select 1 from t limit 1")
        .unwrap()
        .keyed(|_| Some(&key[..]));
    assert_eq!(
        keyed.text,
        "select 1 from t ORDER BY t.\"a\"\" , drop\" limit 1"
    );
}

#[test]
fn in_bodies_of_functions_it_is_told_what_takes_rows_in_any_order() {
    let all = |body: &str| sql::doubts(body).into_iter().collect::<Vec<_>>();
    for (body, wanted) in [
        (
            "BEGIN RETURN (SELECT id FROM t LIMIT 1); END",
            vec![Doubt::Limit],
        ),
        (
            "BEGIN RETURN (SELECT id FROM t ORDER BY a LIMIT 1); END",
            vec![Doubt::Limit],
        ),
        (
            "BEGIN SELECT id INTO x FROM t WHERE a; INSERT INTO t SELECT id FROM u; END",
            vec![Doubt::Rows],
        ),
        ("BEGIN SELECT id INTO x FROM t ORDER BY id; END", vec![]),
        (
            "BEGIN FOR r IN SELECT id FROM t LOOP PERFORM 1; END LOOP; END",
            vec![Doubt::Rows],
        ),
        (
            "BEGIN FOR r IN SELECT id FROM t ORDER BY id LOOP PERFORM 1; END LOOP; END",
            vec![],
        ),
        (
            "BEGIN FOR i IN 1 .. 3 LOOP PERFORM a FROM t; END LOOP; END",
            vec![],
        ),
        (
            "SELECT array_agg(id) FROM t; SELECT sum(x) FROM t",
            vec![Doubt::Listing, Doubt::Floating],
        ),
        ("SELECT DISTINCT ON (a) b FROM t", vec![Doubt::DistinctOn]),
        ("UPDATE t SET a = 'limit 1'", vec![]),
        ("SELECT 'not ended", vec![]),
    ] {
        assert_eq!(all(body), wanted, "{body}");
    }
}

#[test]
fn what_a_statement_reaches_is_named() {
    let reached =
        sql::reached("INSERT INTO s.a SELECT \"F\"(x), pg_catalog.lower(y) FROM b JOIN c ON g (1)");
    let names = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(reached.functions, names(&["F", "g", "lower"]));
    assert_eq!(reached.relations, names(&["a", "b", "c"]));
    let reached = sql::reached("BEGIN DELETE FROM a; PERFORM f(); UPDATE b SET x = 1; END");
    assert_eq!(reached.functions, names(&["f"]));
    assert_eq!(reached.relations, names(&["a", "b"]));
    assert_eq!(sql::reached("'"), sql::Reached::default());
}

#[test]
fn a_body_whose_limit_has_no_order_is_told_of() {
    for (text, wanted) in [
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT a FROM t LIMIT 1'",
            true,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT now(), a FROM t LIMIT 1'",
            true,
        ),
        (
            "DO $$ BEGIN DELETE FROM t WHERE a IN (SELECT a FROM t LIMIT 1); END $$",
            true,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT a FROM t ORDER BY a LIMIT 1'",
            false,
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT a FROM t'",
            false,
        ),
        ("CREATE TABLE t (a int)", false),
    ] {
        assert_eq!(statement(text).unwrap().body_limits, wanted, "{text}");
    }
}

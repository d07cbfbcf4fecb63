//! What PostgreSQL executes for what the client wrote.

use sql::{split, statement};

/// The text executed; `=` for the client's own.
fn check(cases: &[(&str, &str)]) {
    for (sql, wanted) in cases {
        let found = statement(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
        let wanted = if *wanted == "=" { sql } else { wanted };
        assert_eq!(found.text, *wanted, "{sql}");
        let again =
            statement(&found.text).unwrap_or_else(|refusal| panic!("{}: {refusal}", found.text));
        assert_eq!(again.text, found.text, "rewriting is idempotent");
        assert_eq!(again.kind, found.kind, "{sql}");
    }
}

#[test]
fn the_clocks_keywords_become_now() {
    check(&[
        (
            "insert into t values (CURRENT_TIMESTAMP)",
            "insert into t values (pg_catalog.now())",
        ),
        (
            "insert into t values (current_timestamp(3), localtime (0))",
            "insert into t values ((pg_catalog.now()::pg_catalog.timestamptz(3)), (pg_catalog.now()::pg_catalog.time(0)))",
        ),
        (
            "update t set d = current_date where e < localtimestamp and f is distinct from current_time",
            "update t set d = (pg_catalog.now()::pg_catalog.date) where e < (pg_catalog.now()::pg_catalog.timestamp) \
             and f is distinct from (pg_catalog.now()::pg_catalog.timetz)",
        ),
        (
            "select * from t where d > current_date - 7",
            "select * from t where d > (pg_catalog.now()::pg_catalog.date) - 7",
        ),
        (
            "select extract(year from current_date)",
            "select extract(year from (pg_catalog.now()::pg_catalog.date))",
        ),
        (
            "create table t (a timestamptz default current_timestamp, b date not null default CURRENT_DATE)",
            "create table t (a timestamptz default pg_catalog.now(), b date not null default \
             (pg_catalog.now()::pg_catalog.date))",
        ),
        (
            "alter table t alter a set default current_timestamp",
            "alter table t alter a set default pg_catalog.now()",
        ),
        (
            "select a operator(pg_catalog.=) current_date, distinct_on.x from t",
            "select a operator(pg_catalog.=) (pg_catalog.now()::pg_catalog.date), distinct_on.x from t",
        ),
        (
            "copy (select current_date) to stdout",
            "copy (select (pg_catalog.now()::pg_catalog.date) AS \"current_date\") to stdout",
        ),
        (
            "declare c cursor for select 1 where now() < current_timestamp",
            "declare c cursor for select 1 where now() < pg_catalog.now()",
        ),
        (
            "select 'ß', current_timestamp, 'ü'",
            "select 'ß', pg_catalog.now() AS \"current_timestamp\", 'ü'",
        ),
    ]);
}

#[test]
fn labels_names_and_strings_stay() {
    check(&[
        ("select a as current_date from t", "="),
        (
            "select a current_date, 1 current_time, 'x' localtime, (b) current_timestamp from t",
            "=",
        ),
        ("select x.current_date, \"current_date\" from x", "="),
        (
            "select 'current_date', /* current_date */ $$current_date$$",
            "=",
        ),
        ("select a::date current_date", "="),
        (
            "insert into t (\"current_date\") values ('now'), ('today')",
            "=",
        ),
        ("select 'now'", "="),
        ("select current_user, current_schema", "="),
        ("set x.y = 'now'", "="),
        ("select now::text as timestamp from t", "="),
        (
            "select '{now}'::timestamp[], 'now'::text, date '2020-01-01', 'epoch'::timestamp, time 'allballs'",
            "=",
        ),
        ("select timestamp 'nowhere'", "="),
        ("select myschema.date('now'), 'now'::myschema.date", "="),
    ]);
}

#[test]
fn output_columns_keep_their_names() {
    let date = "(pg_catalog.now()::pg_catalog.date)";
    let cases: Vec<(&str, String)> = vec![
        (
            "select current_date",
            format!("select {date} AS \"current_date\""),
        ),
        (
            "select distinct current_date, 1",
            format!("select distinct {date} AS \"current_date\", 1"),
        ),
        (
            "select distinct on (a) current_date from t",
            format!("select distinct on (a) {date} AS \"current_date\" from t"),
        ),
        (
            "select all ((current_date))",
            format!("select all (({date})) AS \"current_date\""),
        ),
        (
            "select current_date::text",
            format!("select {date}::text AS \"current_date\""),
        ),
        (
            "select current_date::timestamp with time zone::varchar(3) collate \"C\" from t",
            format!(
                "select {date}::timestamp with time zone::varchar(3) collate \"C\" AS \"current_date\" from t"
            ),
        ),
        (
            "select cast(current_date as text)",
            format!("select cast({date} as text) AS \"current_date\""),
        ),
        (
            "select current_date d, current_date as e",
            format!("select {date} d, {date} as e"),
        ),
        ("select current_date + 1", format!("select {date} + 1")),
        (
            "select current_timestamp at time zone 'UTC'",
            "select pg_catalog.now() at time zone 'UTC'".into(),
        ),
        (
            "select case when a then b else current_date end from t",
            format!("select case when a then b else {date} end AS \"current_date\" from t"),
        ),
        (
            "select case when a then current_date end from t",
            format!("select case when a then {date} end from t"),
        ),
        (
            "select case when a then 1 else case when b then 2 else 'now'::date end end",
            format!(
                "select case when a then 1 else case when b then 2 else {date} end end AS \"case\""
            ),
        ),
        (
            "select (select current_date), array(select current_date)",
            format!(
                "select (select {date} AS \"current_date\"), array(select {date} AS \"current_date\")"
            ),
        ),
        (
            "insert into t default values returning current_date, a",
            format!("insert into t default values returning {date} AS \"current_date\", a"),
        ),
        (
            "select coalesce(a, current_date) from t",
            format!("select coalesce(a, {date}) from t"),
        ),
        (
            "select 1 where current_date is not null",
            format!("select 1 where {date} is not null"),
        ),
        (
            "select a is distinct from current_date, b",
            format!("select a is distinct from {date}, b"),
        ),
        (
            "create view v as select current_date, a as select, current_date as values from t",
            format!(
                "create view v as select {date} AS \"current_date\", a as select, {date} as values from t"
            ),
        ),
        (
            "select current_date into x from t",
            format!("select {date} AS \"current_date\" into x from t"),
        ),
    ];
    let cases: Vec<(&str, &str)> = cases
        .iter()
        .map(|(sql, wanted)| (*sql, wanted.as_str()))
        .collect();
    check(&cases);
}

#[test]
fn special_literals_become_now() {
    check(&[
        (
            "insert into t values ('now'::timestamptz)",
            "insert into t values ((pg_catalog.now()::pg_catalog.timestamptz))",
        ),
        (
            "select 'now'::timestamp(0)",
            "select (pg_catalog.now()::pg_catalog.timestamp(0)) AS \"timestamp\"",
        ),
        (
            "select date 'Today', timestamp with time zone 'now', time(2) 'now' t",
            "select (pg_catalog.now()::pg_catalog.date) AS \"date\", (pg_catalog.now()::pg_catalog.timestamptz) \
             AS \"timestamptz\", (pg_catalog.now()::pg_catalog.time(2)) t",
        ),
        (
            "select cast(' now ' as pg_catalog.date), date('yesterday'), pg_catalog.timestamptz 'now'",
            "select (pg_catalog.now()::pg_catalog.date) AS \"date\", (pg_catalog.now()::pg_catalog.date \
             OPERATOR(pg_catalog.-) 1) AS \"date\", (pg_catalog.now()::pg_catalog.timestamptz) AS \"timestamptz\"",
        ),
        (
            "select * from t where a > 'tomorrow'::timestamp without time zone",
            "select * from t where a > ((pg_catalog.now()::pg_catalog.date OPERATOR(pg_catalog.+) \
             1)::pg_catalog.timestamp)",
        ),
        (
            r"select E'n\x6fw'::timestamptz::date, U&'!006eow' uescape '!' :: time with time zone",
            "select (pg_catalog.now()::pg_catalog.timestamptz)::date AS \"date\", \
             (pg_catalog.now()::pg_catalog.timetz) AS \"timetz\"",
        ),
        (
            "create table t as select timestamp 'now' as a",
            "create table t as select (pg_catalog.now()::pg_catalog.timestamp) as a",
        ),
    ]);
    for sql in [
        "select 'today 12:00'::timestamp",
        "insert into t values (timestamptz 'tomorrow allballs')",
        "create table t (a date default 'today'::date)",
        "create view v as select timestamp 'now'",
        "select * from current_date",
        "select * from t join lateral current_timestamp on true",
    ] {
        let refusal = statement(sql).expect_err(sql);
        assert_eq!(refusal.sqlstate, "0A000", "{sql}");
        assert!(refusal.hint.contains("now()"), "{sql}: {}", refusal.hint);
    }
}

#[test]
fn bodies_are_rewritten_inside_their_quotes() {
    check(&[
        (
            "create function f() returns trigger language plpgsql as $$ begin new.at := current_timestamp; return new; end $$",
            "create function f() returns trigger language plpgsql as $$ begin new.at := pg_catalog.now(); return new; end $$",
        ),
        (
            "create or replace function f() returns date as 'select ''x'' || current_date' language sql",
            "create or replace function f() returns date as 'select ''x'' || (pg_catalog.now()::pg_catalog.date)' language sql",
        ),
        (
            "do $x$ begin insert into t values ('now'::date, $$current_date$$); end $x$",
            "do $x$ begin insert into t values ((pg_catalog.now()::pg_catalog.date), $$current_date$$); end $x$",
        ),
        (
            r"do E'begin\n perform current_time; end'",
            "do 'begin\n perform (pg_catalog.now()::pg_catalog.timetz); end'",
        ),
        (
            "create function f(d date default current_date) returns date language sql begin atomic select current_date; end",
            "create function f(d date default (pg_catalog.now()::pg_catalog.date)) returns date language sql begin atomic \
             select (pg_catalog.now()::pg_catalog.date) AS \"current_date\"; end",
        ),
        (
            "do $$ declare r record; begin for r in select current_date loop raise notice '%', r.current_date; end loop; end $$",
            "do $$ declare r record; begin for r in select (pg_catalog.now()::pg_catalog.date) AS \"current_date\" loop raise \
             notice '%', r.current_date; end loop; end $$",
        ),
        (
            "do $$ declare d date = current_date; begin if current_date > d then return; end if; end $$",
            "do $$ declare d date = (pg_catalog.now()::pg_catalog.date); begin if (pg_catalog.now()::pg_catalog.date) > d then \
             return; end if; end $$",
        ),
        (
            "create function f() returns text language sql as 'select ''current_date'''",
            "=",
        ),
        ("do $$ this is 'not lexed $$", "="),
    ]);
}

#[test]
fn copy_does_not_freeze() {
    check(&[
        (
            "copy t from stdin with (freeze on)",
            "copy t from stdin with (freeze off)",
        ),
        (
            "copy t from stdin (format csv, freeze)",
            "copy t from stdin (format csv, freeze off)",
        ),
        ("copy t from stdin with freeze", "copy t from stdin with"),
        ("copy freeze (freeze) from stdin", "="),
        (
            "copy t from stdin (force_null (freeze)) where freeze > 1",
            "=",
        ),
    ]);
}

#[test]
fn the_text_is_the_statement_alone_and_errors_point_into_the_clients_string() {
    let sql = "/* é */ select current_date, x ; -- c\n select 2 ;;";
    let found: Vec<_> = split(sql)
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        found[0].text,
        "select (pg_catalog.now()::pg_catalog.date) AS \"current_date\", x"
    );
    assert_eq!(found[1].text, "select 2");
    let position = found[0].text.rfind('x').unwrap() + 1;
    assert_eq!(
        found[0].client_position(position),
        sql.chars().position(|c| c == 'x').unwrap() + 1
    );
    assert_eq!(found[1].client_position(1), sql.chars().count() - 10);
    assert_eq!(found.len(), 2);
}

//! What PostgreSQL executes for what the client wrote, and the settings that a SET stands for.

use proptest::prelude::*;
use sql::{Kind, setting, split, statement};

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

#[test]
fn settings_become_names_and_values() {
    for (sql, pairs) in [
        ("set work_mem = '4MB'", vec![("work_mem", "4MB")]),
        ("SET Work_Mem TO 4096", vec![("work_mem", "4096")]),
        ("set geqo_seed = -0.5", vec![("geqo_seed", "-0.5")]),
        ("set local x.y to on", vec![("x.y", "on")]),
        (
            "set session enable_seqscan to FALSE",
            vec![("enable_seqscan", "false")],
        ),
        (
            "set search_path = a, \"B c\", 'D', \"$user\"",
            vec![("search_path", "a, \"B c\", \"D\", \"$user\"")],
        ),
        ("set search_path to ''", vec![("search_path", "\"\"")]),
        ("set schema 'A'", vec![("search_path", "\"A\"")]),
        ("set datestyle = ISO, MDY", vec![("datestyle", "iso, mdy")]),
        (
            "set time zone 'Europe/Lisbon'",
            vec![("timezone", "Europe/Lisbon")],
        ),
        ("set time zone -8", vec![("timezone", "-8")]),
        (
            "set time zone interval '-08:00' hour to minute",
            vec![("timezone", "INTERVAL '-08:00'")],
        ),
        ("set timezone to UTC", vec![("timezone", "utc")]),
        ("set names 'utf8'", vec![("client_encoding", "utf8")]),
        ("set xml option document", vec![("xmloption", "document")]),
        (
            "set application_name = E'it\\'s'",
            vec![("application_name", "it's")],
        ),
        (
            "set session characteristics as transaction isolation level serializable",
            vec![("default_transaction_isolation", "serializable")],
        ),
        (
            "set session characteristics as transaction isolation level repeatable read, read only, not deferrable",
            vec![
                ("default_transaction_isolation", "repeatable read"),
                ("default_transaction_read_only", "on"),
                ("default_transaction_deferrable", "off"),
            ],
        ),
        (
            "select pg_catalog.set_config('search_path', '', false)",
            vec![("search_path", "")],
        ),
    ] {
        let found = statement(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
        let wanted: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        assert_eq!(setting(&found), Some(wanted), "{sql}");
    }
    for (sql, name, local) in [
        ("set x to default", "x", false),
        ("set local timezone = default", "timezone", true),
        ("set time zone local", "timezone", false),
        ("reset time zone", "timezone", false),
        ("reset Search_Path", "search_path", false),
    ] {
        let kind = statement(sql).unwrap().kind;
        assert_eq!(
            kind,
            Kind::Reset {
                name: Some(name.to_string()),
                local
            },
            "{sql}"
        );
    }
    assert_eq!(
        statement("show transaction isolation level").unwrap().kind,
        Kind::Show {
            name: "transaction_isolation".into()
        }
    );
    assert_eq!(
        setting(&statement("select set_config('a.b', 'x', true)").unwrap()),
        None
    );
}

#[test]
fn order_by_names_output_columns_or_none() {
    for (sql, columns) in [
        ("select a, b from t order by a", Some(vec![0])),
        (
            "select a, b from t order by b desc nulls last, 1",
            Some(vec![1, 0]),
        ),
        (
            "select t.a, b as x from t order by x, a limit 5 offset 1",
            Some(vec![1, 0]),
        ),
        ("select a as b, b as c from t order by b", Some(vec![0])),
        ("select a as x from t order by a", Some(vec![0])),
        (
            "select lower(a), b x from t order by LOWER(a) asc",
            Some(vec![0]),
        ),
        (
            "select count(*) as n, a from t group by a having count(*) > 1 order by n",
            Some(vec![0]),
        ),
        (
            "select a from t union select b from u order by a",
            Some(vec![0]),
        ),
        (
            "with x as (select 1 as y order by y) select y, 2 from x order by 1, 2",
            Some(vec![0, 1]),
        ),
        ("select * from t order by a", None),
        ("select t.* from t order by 1", None),
        ("select a from t order by b", None),
        ("select a from t order by 2", None),
        ("select a + 1 from t union select 2 order by a + 1", None),
        ("select a from (select a from t order by a) x", None),
        ("select a from t", None),
        ("select upper(a), b from t order by upper", None),
        ("insert into t select a from u order by a", None),
        ("values (1) order by 1", None),
        ("(select b) union select a order by a", None),
        (
            "with x as (select 1) (select b from x) union select a order by a",
            None,
        ),
    ] {
        assert_eq!(statement(sql).unwrap().order_columns, columns, "{sql}");
    }
}

#[test]
fn relations_are_known_where_no_function_can_hide_one() {
    let known =
        |names: &[&str]| sql::Tables::Known(names.iter().map(|name| name.to_string()).collect());
    for (sql, wanted) in [
        (
            "select * from a, b.c join \"D\" d on d.x = a.x, lateral (select 1 from e) f",
            known(&["a", "b.c", "D", "e"]),
        ),
        ("select set, loop, \"x\" loop from a", known(&["a"])),
        (
            "select 1 from (a join b using (x)) where exists (table c)",
            known(&["a", "b", "c"]),
        ),
        (
            "insert into a (x, y) select extract(year from d), 1 from b",
            known(&["a", "b"]),
        ),
        (
            "update only a set x = 1 from b where a.id = b.id",
            known(&["a", "b"]),
        ),
        (
            "delete from a using b, c where true",
            known(&["a", "b", "c"]),
        ),
        (
            "merge into a using b on a.x = b.x when matched then delete",
            known(&["a", "b"]),
        ),
        ("select * from a for update", known(&["a"])),
        ("select * from generate_series(1, 3) g, a", known(&["a"])),
        ("select my_function(1) from a", sql::Tables::Unknown),
        ("do $$ begin end $$", sql::Tables::Unknown),
        ("create table a (x int)", sql::Tables::Unknown),
    ] {
        assert_eq!(sql::tables(&statement(sql).unwrap()), wanted, "{sql}");
    }
}

/// Pieces from which strings are made that look like SQL and go wrong in every place.
fn token() -> impl Strategy<Value = String> {
    let fixed = [
        "select",
        "SELECT",
        "from",
        "where",
        "order by",
        "group by",
        "union",
        "insert into",
        "update",
        "delete from",
        "merge into",
        "using",
        "with",
        "as",
        "case",
        "when",
        "else",
        "end",
        "begin",
        "begin atomic",
        "create function",
        "create rule",
        "create table",
        "do",
        "language",
        "set",
        "to",
        "default",
        "local",
        "cast",
        "current_date",
        "current_timestamp",
        "localtime",
        "'now'",
        "::",
        "date",
        "timestamp",
        "with time zone",
        "interval",
        "array",
        "[",
        "]",
        "(",
        ")",
        ",",
        ";",
        ".",
        "..",
        "*",
        "=",
        "-",
        "+",
        "returning",
        "into",
        "for update",
        "skip locked",
        "distinct",
        "on",
        "collate",
        "explain",
        "analyze",
        "copy",
        "stdin",
        "program",
        "freeze",
        "$1",
        "$$",
        "$a$",
        "'",
        "''",
        "E'\\",
        "\"",
        "\"a\"",
        "U&\"\\0061\"",
        "uescape",
        "/*",
        "*/",
        "--",
        "\n",
        "é",
        "\u{1f600}",
        "1",
        "1.5e",
        "x'1f'",
        "steel",
        "nextval",
        "set_config",
        "operator",
        "join",
        "lateral",
        "loop",
        "then",
        "\\",
        "\0",
    ];
    prop_oneof![8 => prop::sample::select(fixed.to_vec()).prop_map(str::to_string), 1 => "\\PC{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_string_is_split_refused_or_rewritten_without_panic(sql in "\\PC{0,60}") {
        let _ = split(&sql);
    }

    #[test]
    fn token_soups_neither_panic_nor_change_when_rewritten_again(tokens in prop::collection::vec(token(), 0..40), space in prop::sample::select(vec![" ", "\n", ""])) {
        let sql = tokens.join(space);
        let Ok(found) = split(&sql) else { return Ok(()) };
        for statement in found.into_iter().flatten() {
            for position in 0..statement.text.chars().count() + 2 {
                let client = statement.client_position(position);
                prop_assert!(client <= sql.chars().count() + 1);
            }
            // PostgreSQL may refuse what was spliced into nonsense, but a second pass finds nothing to do.
            if let Ok(again) = split(&statement.text) {
                let again: Vec<_> = again.into_iter().flatten().collect();
                if let [again] = &again[..] {
                    prop_assert_eq!(&again.text, &statement.text);
                }
            }
        }
    }

    #[test]
    fn the_statements_of_a_string_cover_it(parts in prop::collection::vec(prop::sample::select(vec![
        "select 'a;b'", "/* ; */ select 1", "insert into t values ($$;$$)", "", " ", "begin", "-- ;\n", "create rule r as on insert to t do (select 1; select 2)",
    ]), 0..8)) {
        let sql = parts.join(";");
        let found: Vec<_> = split(&sql).unwrap().into_iter().map(Result::unwrap).collect();
        let mut rest = sql.as_str();
        for statement in found.iter().filter(|statement| statement.kind != Kind::Empty) {
            let at = rest.find(&statement.text);
            prop_assert!(at.is_some(), "{:?} is not in {:?}", statement.text, rest);
            let skipped = &rest[..at.unwrap()];
            prop_assert!(split(skipped).unwrap().iter().flatten().all(|s| s.kind == Kind::Empty), "{skipped:?} was lost");
            rest = &rest[at.unwrap() + statement.text.len()..];
        }
        prop_assert!(split(rest).unwrap().iter().flatten().all(|s| s.kind == Kind::Empty), "{rest:?} was lost");
    }
}

/// Inputs made to be slow: each is a hundred times longer than its base and must not take ten thousand times as long.
#[test]
fn time_grows_with_the_length() {
    let nested = |open: &str, middle: &str, close: &str, n: usize| {
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    let n = 100_000;
    let inputs = [
        format!("select {}", "current_date, ".repeat(n)),
        format!("select {}", nested("(", "current_date", ")", n)),
        nested("(select ", "current_date", ")", n),
        format!(
            "select {}",
            nested("case when a then b else ", "current_date", " end", n)
        ),
        format!("select {}", "case ".repeat(n)),
        format!("select {}", nested("cast(", "current_date", " as text)", n)),
        format!("select current_date{}", "::text".repeat(n)),
        format!("select a order by {}", "a,".repeat(n)),
        "select 1;".repeat(n),
        "/*".repeat(n),
        "$a$ $b".repeat(n),
        format!(
            "select 1 from {}",
            "extract(year from current_date), ".repeat(n)
        ),
        "'a'\n".repeat(n),
        format!("select {}", "date(".repeat(n)),
        format!("select {}", "'now'::timestamp(".repeat(n)),
        format!("with {} select 1", "x as (select 1), ".repeat(n)),
        format!(
            "create table t ({})",
            "a date default current_date,".repeat(n)
        ),
        format!("select {}", "a.".repeat(n)),
        format!("select {}", "pg_catalog.".repeat(n)),
        format!("select {}", "date.x ".repeat(n)),
        format!(
            "create function f() returns int as {} language sql",
            "$$current_date$$ ".repeat(n)
        ),
        format!("alter table t {}", "detach partition a.b ".repeat(n)),
    ];
    for sql in inputs {
        let start = std::time::Instant::now();
        let _ = split(&sql);
        let took = start.elapsed();
        assert!(
            took.as_secs() < 5,
            "{took:?} for {} bytes of {:?}",
            sql.len(),
            &sql[..40]
        );
    }
}

#[test]
fn too_long_a_string_is_refused() {
    let error = split(&" ".repeat(sql::MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error.sqlstate, "54000");
}

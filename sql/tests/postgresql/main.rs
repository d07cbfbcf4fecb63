//! What this crate assumes of PostgreSQL, asked of a real one.
#![allow(clippy::unwrap_used)]

mod server;

use server::Server;
use sql::{setting, statement};

/// Queries whose rewritten form must give the same names, types and values.
const SAME: &[&str] = &[
    "select current_date, current_time, current_timestamp, localtime, localtimestamp",
    "select current_time(2), current_timestamp(0), localtime(1), localtimestamp(3)",
    "select current_date::text, (current_timestamp), cast(current_time as text), localtime::varchar(5) collate \"C\"",
    "select case when false then null else current_date end, case when true then current_date end",
    "select (select current_date), array(select current_date), coalesce(current_date, null), current_date + 1",
    "select current_timestamp at time zone 'UTC', extract(year from current_date), current_date is distinct from current_date",
    "select current_date label, 1 current_time, 'x' as localtime",
    "select distinct on (1) current_date, current_timestamp from generate_series(1, 2) order by 1",
    "with x as (select current_date) select x.current_date from x",
    "select x.current_date from (select current_date union all select current_date) x",
    "select 'now'::timestamptz, date 'today', timestamp(2) 'now', timestamp with time zone 'now', 'now'::time with time zone",
    "select cast('now' as timestamp without time zone), date('now'), 'now'::timestamptz::date, \"timestamptz\" 'now'",
    "select 'today'::date, 'tomorrow'::date, 'yesterday'::date, 'today'::timestamptz, 'tomorrow'::timestamp, 'yesterday'::timestamptz(0)",
    "select pg_catalog.timestamptz 'now', E'today'::date, U&'\\0074oday'::date, $$tomorrow$$::date, 'to'\n'day'::date",
    "select case when true then 'now'::date else 'now'::date end, ' NOW '::timetz(1), (date 'today')::text",
    "select * from (values (current_date, localtime)) v",
    "select 1 where current_date between current_date and current_date",
];

#[test]
fn postgresql_agrees() {
    let server = Server::with(&[]);
    for sql in SAME {
        let rewritten = statement(sql).unwrap().text;
        assert!(!rewritten.contains("'now'"), "{rewritten}");
        let script = |query: &str| format!("{query} \\gdesc\n{query};\n");
        let zone = "set timezone = 'Asia/Kolkata'; begin;\n\\pset format unaligned\n";
        let output = server.psql(&format!(
            "{zone}\\echo one\n{}\\echo two\n{}",
            script(sql),
            script(&rewritten)
        ));
        let (_, answers) = output.split_once("one\n").unwrap();
        let (original, ours) = answers.split_once("two\n").unwrap();
        assert_eq!(original, ours, "{sql}\n{rewritten}");
        assert!(!original.contains("ERROR"), "{sql}: {original}");
    }
    settings_mean_the_same_through_set_config(&server);
    the_keywords_are_reserved(&server);
    volatile_functions_have_rules(&server);
    aggregates_take_no_key(&server);
    rewritten_schemas_work(&server);
}

fn settings_mean_the_same_through_set_config(server: &Server) {
    for sql in [
        "set work_mem = '4MB'",
        "set work_mem to 4096",
        "set geqo_seed = 0.5",
        "set enable_seqscan to FALSE",
        "set search_path = a, \"B c\", 'D', \"$user\"",
        "set search_path to ''",
        "set schema 'A'",
        "set datestyle = ISO, DMY",
        "set time zone 'Europe/Lisbon'",
        "set time zone -8",
        "set time zone interval '-08:30' hour to minute",
        "set time zone interval '3 hours'",
        "set timezone to UTC",
        "set names 'utf8'",
        "set xml option document",
        "set application_name = E'it\\'s'",
        "set my.own to on",
        "set my.own to 12.50",
    ] {
        let pairs = setting(&statement(sql).unwrap()).expect(sql);
        let [(name, value)] = &pairs[..] else {
            panic!("{sql}: {pairs:?}")
        };
        let value = value.replace('\'', "''");
        let output = server.psql(&format!(
            "{sql};\nselect current_setting('{name}') as a \\gset\nreset all;\nselect set_config('{name}', '{value}', false) as b \
             \\gset\n\\echo [:a] [:b]\n"
        ));
        let (a, b) = output.trim().rsplit_once("] [").expect(&output);
        assert_eq!(
            a.rsplit_once('[').unwrap().1,
            b.trim_end_matches(']'),
            "{sql}"
        );
    }
}

/// The outline of a query is read from these words; only a reserved one cannot be a name.
fn the_keywords_are_reserved(server: &Server) {
    let words = [
        "select",
        "from",
        "where",
        "group",
        "having",
        "window",
        "union",
        "intersect",
        "except",
        "order",
        "limit",
        "offset",
        "fetch",
        "for",
        "into",
        "returning",
        "on",
        "using",
        "lateral",
        "distinct",
        "all",
        "case",
        "when",
        "then",
        "else",
        "end",
        "as",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "table",
        "with",
        "default",
        "only",
    ];
    let list = words.map(|word| format!("('{word}')")).join(", ");
    let output = server.psql(&format!(
        "select w from (values {list}) v(w) where w not in (select word from pg_get_keywords() where catcode = 'R');\n"
    ));
    assert!(output.contains("(0 rows)"), "{output}");
}

/// Volatile built-in functions that a query may call, with what makes that right.
const VOLATILE: &[(&str, &[&str])] = &[
    (
        "replaced by the schema steel",
        &["clock_timestamp", "gen_random_uuid", "random", "timeofday"],
    ),
    (
        "the session's own state, which operations of a transaction give everywhere",
        &["currval", "lastval", "set_config", "setseed"],
    ),
    ("the statement's own text", &["current_query"]),
    (
        "of arguments only",
        &["amvalidate", "pg_sleep", "pg_sleep_for", "pg_sleep_until"],
    ),
    (
        "reads a cursor, which is a snapshot's",
        &["cursor_to_xml", "cursor_to_xmlschema"],
    ),
    (
        "called by PostgreSQL itself: an argument has a type that no value has",
        &[
            "bernoulli",
            "brinhandler",
            "bthandler",
            "dsnowball_init",
            "dsnowball_lexize",
            "ginhandler",
            "gisthandler",
            "hashhandler",
            "heap_tableam_handler",
            "plpgsql_call_handler",
            "plpgsql_inline_handler",
            "plpgsql_validator",
            "spghandler",
            "system",
        ],
    ),
];

/// A volatile function of PostgreSQL is refused, makes a query a write or the master's, or is one of those above.
fn volatile_functions_have_rules(server: &Server) {
    let output = server.psql(
        "select distinct proname from pg_proc where provolatile = 'v' and pronamespace = 'pg_catalog'::regnamespace
            and prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) and proname !~ '^binary_upgrade_';\n",
    );
    let names: Vec<&str> = output
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('('))
        .collect();
    assert!(names.len() > 100, "{output}");
    let expected: Vec<&str> = VOLATILE
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    for name in names {
        let settled = match statement(&format!("select {name}(1)")) {
            Ok(read) => read.kind != sql::Kind::Read || read.calls_user,
            Err(refusal) => refusal.sqlstate == "0A000",
        };
        assert_ne!(settled, expected.contains(&name), "{name}");
    }
}

/// A sort key beside an aggregate would be an error.
fn aggregates_take_no_key(server: &Server) {
    let output = server.psql("select distinct proname from pg_proc where prokind = 'a' and pronamespace = 'pg_catalog'::regnamespace;\n");
    let names: Vec<&str> = output
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('('))
        .collect();
    assert!(names.contains(&"regr_slope"), "{output}");
    for name in names {
        let read = statement(&format!("select {name}(a) from t limit 1")).unwrap();
        assert!(read.limits.is_empty(), "{name}");
    }
}

fn rewritten_schemas_work(server: &Server) {
    for sql in [
        "create table t (a timestamptz default current_timestamp(2), b date not null default current_date, c time default localtime)",
        "create view v as select current_date, current_timestamp(1), localtimestamp::date from t",
        "create function f() returns trigger language plpgsql as $$ declare d date = current_date; begin for new.c in select localtime \
         loop end loop; if current_date = d then new.a := 'now'::timestamptz; end if; return new; end $$",
        "create trigger x before insert on t for each row when (current_date is not null) execute function f()",
        "create function g(d date default current_date) returns date language sql begin atomic select current_date; select $1; end",
        "create rule r as on delete to t do also (select current_date; select 'x')",
        "insert into t default values",
        "do $$ begin perform current_time; insert into t (b) values ('today'::date); end $$",
        "alter table t add column d timestamp default localtimestamp",
    ] {
        let output = server.psql(&format!("{};\n", statement(sql).unwrap().text));
        assert!(!output.contains("ERROR"), "{sql}: {output}");
    }
    let output = server.psql("select count(*), count(a), count(b), count(c) from t where b = current_date and g() = b;\n");
    assert!(output.contains("2|2|2|2"), "{output}");
    let output = server.psql("\\d v\n");
    assert!(output.contains("current_date|date"), "{output}");
    assert!(output.contains("localtimestamp|date"), "{output}");
}

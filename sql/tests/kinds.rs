//! Which kind each statement is, and which are refused.

use sql::{Cursor, Discard, Isolation, Kind, Modes, Refusal, Statement, split, statement};

fn kind(sql: &str) -> Kind {
    statement(sql)
        .unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
        .kind
}

fn all_are(kind_wanted: &Kind, statements: &[&str]) {
    for sql in statements {
        assert_eq!(&kind(sql), kind_wanted, "{sql}");
    }
}

#[test]
fn queries_that_change_nothing_are_reads() {
    all_are(
        &Kind::Read,
        &[
            "select 1",
            "SELECT * FROM accounts WHERE id = $1",
            "(select 1) union (select 2) order by 1",
            "values (1), (2)",
            "table accounts",
            "with x as (select 1) select * from x",
            "select \"for update\" from t",
            "select a as update, b as into from t",
            "select 'for update'",
            "select extract(year from d), substring(a from 2 for 3) from t",
            "select my_function(1)",
            "select pg_typeof(1), pg_sleep(0)",
            "copy t to stdout",
            "copy (select * from t) to stdout with (format csv)",
            "copy public.t (a, b) to stdout",
            "select count(*) from pgbench_accounts",
            "select to_tsvector('english'::regconfig, body) from docs",
        ],
    );
}

#[test]
fn catalogs_sizes_and_plans_are_the_masters_to_tell() {
    all_are(
        &Kind::CatalogRead,
        &[
            "select relname from pg_class",
            "select set, loop from pg_class",
            "select * from pg_catalog.pg_tables t, users u",
            "select table_name from information_schema.tables",
            "select pg_relation_size('t')",
            "select 't'::regclass",
            "select cast('t' as pg_catalog.regclass)",
            "select pg_backend_pid()",
            "select ctid, * from t",
            "select oid::regclass from x",
            "select has_table_privilege('t', 'select')",
            "explain select 1",
            "explain (costs off) insert into t values (1)",
            "explain verbose delete from t",
            "explain analyze select 1",
            "explain (analyze false) update t set a = 1",
            "copy pg_class to stdout",
            "with x as (select * from pg_class) select * from x",
        ],
    );
    assert!(
        statement("select relname from pg_class")
            .unwrap()
            .catalog_only
    );
    assert!(
        statement("with x as (select * from pg_class) select * from x")
            .unwrap()
            .catalog_only
    );
    assert!(!statement("select * from pg_class, t").unwrap().catalog_only);
    assert!(!statement("select 1").unwrap().catalog_only);
}

#[test]
fn what_changes_rows_or_locks_them_is_a_write() {
    all_are(
        &Kind::Write,
        &[
            "insert into t values (1) returning id",
            "insert into t select * from u on conflict do nothing",
            "insert into t (a) values (1) on conflict (a) do update set b = excluded.b returning (xmax = 0)",
            "update t set a = 1",
            "delete from t using u where t.id = u.id",
            "merge into t using u on t.id = u.id when matched then delete",
            "with d as (delete from t returning *) select * from d",
            "with d as (select 1) insert into t select * from d",
            "with d as (select 1) update t set a = 1",
            "select * from t for update",
            "select * from t for no key update of t nowait",
            "select * from t for key share",
            "SELECT * FROM t FOR SHARE",
            "select nextval('s')",
            "select setval(pg_get_serial_sequence('t', 'id'), max(id)) from t",
            "call p(1)",
            "do $$ begin perform 1; end $$",
            "lock table t in exclusive mode",
            "set constraints all deferred",
            "explain analyze insert into t values (1)",
            "explain (analyze, buffers) update t set a = 1",
            "copy (insert into t values (1) returning id) to stdout",
        ],
    );
    assert!(
        statement("explain analyze insert into t values (1)")
            .unwrap()
            .unvalidated
    );
    assert!(!statement("insert into t values (1)").unwrap().unvalidated);
}

#[test]
fn schema_changes_are_ddl() {
    all_are(
        &Kind::Ddl,
        &[
            "create table t (id serial primary key)",
            "create table if not exists t as select 1",
            "select 1 as a into t",
            "create unique index on t (a)",
            "create or replace view v as select 1",
            "create materialized view m as select 1",
            "create or replace function f() returns int language sql as 'select 1'",
            "create function f() returns int language sql begin atomic select 1; end",
            "create constraint trigger t after insert on t for each row execute function f()",
            "create type e as enum ('a')",
            "create schema s",
            "create extension if not exists plpgsql",
            "alter table t add column b int",
            "alter table pgbench_branches add primary key (bid)",
            "alter table t detach partition p",
            "alter table t disable trigger audit",
            "drop table if exists pgbench_accounts, pgbench_branches",
            "truncate table a, b",
            "comment on table t is 'x'",
            "grant select on t to public",
            "revoke all on schema s from public",
            "reindex table t",
            "refresh materialized view concurrently m",
            "alter default privileges grant select on tables to public",
        ],
    );
}

#[test]
fn maintenance_says_whether_a_transaction_may_hold_it() {
    for (sql, transactional) in [
        ("vacuum analyze pgbench_branches", false),
        ("vacuum (full) t", false),
        ("create index concurrently i on t (a)", false),
        ("reindex (verbose, concurrently) table t", false),
        ("analyze", true),
        ("analyze t", true),
        ("cluster t using i", true),
        ("cluster", false),
        ("reindex schema public", false),
    ] {
        assert_eq!(kind(sql), Kind::Maintenance { transactional }, "{sql}");
    }
}

#[test]
fn transaction_control_is_read_to_its_last_word() {
    let modes = |isolation, read_only, deferrable| Modes {
        isolation,
        read_only,
        deferrable,
    };
    let name = |name: &str| name.to_string();
    for (sql, wanted, tag) in [
        ("begin", Kind::Begin(Modes::default()), "BEGIN"),
        ("BEGIN WORK;", Kind::Begin(Modes::default()), "BEGIN"),
        (
            "begin transaction isolation level repeatable read, read only",
            Kind::Begin(modes(Some(Isolation::RepeatableRead), Some(true), None)),
            "BEGIN",
        ),
        (
            "start transaction isolation level serializable, read only, deferrable",
            Kind::Begin(modes(Some(Isolation::Serializable), Some(true), Some(true))),
            "START TRANSACTION",
        ),
        (
            "set transaction_isolation to Serializable",
            Kind::SetTransaction(modes(Some(Isolation::Serializable), None, None)),
            "SET",
        ),
        (
            "start transaction isolation level read committed read write not deferrable",
            Kind::Begin(modes(
                Some(Isolation::ReadCommitted),
                Some(false),
                Some(false),
            )),
            "START TRANSACTION",
        ),
        ("commit", Kind::Commit { chain: false }, "COMMIT"),
        ("end work and chain", Kind::Commit { chain: true }, "COMMIT"),
        (
            "commit transaction and no chain",
            Kind::Commit { chain: false },
            "COMMIT",
        ),
        ("rollback", Kind::Rollback { chain: false }, "ROLLBACK"),
        (
            "abort and chain",
            Kind::Rollback { chain: true },
            "ROLLBACK",
        ),
        ("savepoint A", Kind::Savepoint(name("a")), "SAVEPOINT"),
        (
            "savepoint \"A b\"",
            Kind::Savepoint(name("A b")),
            "SAVEPOINT",
        ),
        ("release a", Kind::Release(name("a")), "RELEASE"),
        (
            "release savepoint savepoint",
            Kind::Release(name("savepoint")),
            "RELEASE",
        ),
        ("rollback to a", Kind::RollbackTo(name("a")), "ROLLBACK"),
        (
            "rollback transaction to savepoint a",
            Kind::RollbackTo(name("a")),
            "ROLLBACK",
        ),
        (
            "set transaction read only",
            Kind::SetTransaction(modes(None, Some(true), None)),
            "SET",
        ),
        (
            "set local transaction isolation level read uncommitted",
            Kind::SetTransaction(modes(Some(Isolation::ReadUncommitted), None, None)),
            "SET",
        ),
        (
            "set transaction_read_only = on",
            Kind::SetTransaction(modes(None, Some(true), None)),
            "SET",
        ),
        ("discard all", Kind::Discard(Discard::All), "DISCARD ALL"),
        (
            "discard temporary",
            Kind::Discard(Discard::Temp),
            "DISCARD TEMP",
        ),
        (
            "deallocate s1",
            Kind::Deallocate(Some(name("s1"))),
            "DEALLOCATE",
        ),
        (
            "deallocate prepare all",
            Kind::Deallocate(None),
            "DEALLOCATE ALL",
        ),
    ] {
        let found = statement(sql).unwrap();
        assert_eq!(
            (&found.kind, found.local_tag()),
            (&wanted, Some(tag)),
            "{sql}"
        );
    }
}

#[test]
fn cursors_and_copies_have_their_kinds() {
    assert_eq!(
        kind("declare c scroll cursor for select 1"),
        Kind::Cursor(Cursor::Declare)
    );
    assert!(
        statement("declare c cursor for select ctid from t")
            .unwrap()
            .unvalidated
    );
    assert_eq!(kind("fetch 5 from c"), Kind::Cursor(Cursor::Fetch));
    assert_eq!(kind("move c"), Kind::Cursor(Cursor::Move));
    assert_eq!(kind("close all"), Kind::Cursor(Cursor::Close));
    assert_eq!(kind("copy t from stdin"), Kind::CopyIn);
    assert_eq!(kind("copy binary t (a, b) from stdin"), Kind::CopyIn);
    assert_eq!(
        kind("copy t from stdin with (format csv) where a > 1"),
        Kind::CopyIn
    );
    assert_eq!(kind(" -- nothing\n"), Kind::Empty);
}

/// Statement, SQLSTATE, a word of the message, a word of the hint.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "prepare transaction 'x'",
        "0A000",
        "PREPARE TRANSACTION",
        "COMMIT",
    ),
    ("commit prepared 'x'", "0A000", "COMMIT PREPARED", "COMMIT"),
    (
        "rollback prepared 'x'",
        "0A000",
        "ROLLBACK PREPARED",
        "COMMIT",
    ),
    ("copy t from program 'ls'", "0A000", "PROGRAM", "STDIN"),
    ("copy t to '/tmp/x'", "0A000", "file", "STDOUT"),
    ("copy (select 1) to '/tmp/x'", "0A000", "file", "STDOUT"),
    ("select lo_create(0)", "0A000", "lo_create", "bytea"),
    (
        "select pg_catalog.lo_import('/etc/passwd')",
        "0A000",
        "lo_import",
        "bytea",
    ),
    ("listen a", "0A000", "LISTEN", "table"),
    ("notify a", "0A000", "NOTIFY", "table"),
    ("unlisten *", "0A000", "UNLISTEN", "table"),
    ("select pg_notify('a', 'b')", "0A000", "pg_notify", "table"),
    ("create temp table t (a int)", "0A000", "temporary", "WITH"),
    (
        "create or replace temporary view v as select 1",
        "0A000",
        "temporary",
        "WITH",
    ),
    (
        "create local temp table t (a int)",
        "0A000",
        "temporary",
        "WITH",
    ),
    (
        "create table pg_temp.t (a int)",
        "0A000",
        "temporary",
        "WITH",
    ),
    ("select 1 into temp t", "0A000", "temporary", "WITH"),
    (
        "create unlogged table t (a int)",
        "0A000",
        "unlogged",
        "UNLOGGED",
    ),
    ("select 1 into unlogged t", "0A000", "unlogged", "UNLOGGED"),
    (
        "alter table t set unlogged",
        "0A000",
        "unlogged",
        "UNLOGGED",
    ),
    ("create database d", "0A000", "databases", "schemas"),
    ("drop database d", "0A000", "databases", "schemas"),
    (
        "alter database postgres set work_mem = '1MB'",
        "0A000",
        "databases",
        "schemas",
    ),
    (
        "create tablespace s location '/x'",
        "0A000",
        "tablespace",
        "default",
    ),
    ("create extension hstore", "0A000", "extension", "operator"),
    ("load 'x'", "0A000", "LOAD", "operator"),
    (
        "alter system set work_mem = '1MB'",
        "0A000",
        "ALTER SYSTEM",
        "SET",
    ),
    ("create role r", "0A000", "roles", "postgres"),
    ("create user r password 'x'", "0A000", "roles", "postgres"),
    (
        "alter role postgres superuser",
        "0A000",
        "roles",
        "postgres",
    ),
    ("drop owned by postgres", "0A000", "roles", "postgres"),
    ("reassign owned by a to b", "0A000", "roles", "postgres"),
    ("grant a to b", "0A000", "membership", "postgres"),
    ("set role steel", "0A000", "role", "Connect"),
    (
        "set session authorization 'steel'",
        "0A000",
        "session_authorization",
        "Connect",
    ),
    ("set steel.mode = 'record'", "42501", "steel.mode", ""),
    (
        "set local \"steel\".\"mode\" to x",
        "42501",
        "steel.mode",
        "",
    ),
    ("reset steel.mode", "42501", "steel.mode", ""),
    (
        "select set_config('Steel.mode', 'x', true)",
        "42501",
        "steel.mode",
        "",
    ),
    ("show steel.nonce", "42501", "steel.nonce", ""),
    (
        "set session_replication_role = replica",
        "42501",
        "session_replication_role",
        "Triggers",
    ),
    ("set client_encoding = latin1", "0A000", "latin1", "UTF8"),
    ("set names 'SQL_ASCII'", "0A000", "SQL_ASCII", "UTF8"),
    (
        "set standard_conforming_strings = off",
        "0A000",
        "standard_conforming_strings",
        "E'",
    ),
    (
        "set search_path = public, steel",
        "42501",
        "steel",
        "search_path",
    ),
    ("set schema 'steel'", "42501", "steel", "search_path"),
    ("select * from steel.secret", "42501", "steel", "belongs"),
    ("select * from STEEL . applied", "42501", "steel", "belongs"),
    (
        "select * from \"steel\".secret",
        "42501",
        "steel",
        "belongs",
    ),
    (
        r#"select * from U&"\0073teel".secret"#,
        "42501",
        "steel",
        "belongs",
    ),
    (
        r#"select * from U&"!0073teel" uescape '!' .secret"#,
        "42501",
        "steel",
        "belongs",
    ),
    ("select steel.mark('a', 1, 1)", "42501", "steel", "belongs"),
    ("drop schema steel cascade", "42501", "steel", "belongs"),
    ("drop schema if exists steel", "42501", "steel", "belongs"),
    (
        "grant usage on schema steel to postgres",
        "42501",
        "steel",
        "belongs",
    ),
    (
        "alter table t set schema steel",
        "42501",
        "steel",
        "belongs",
    ),
    (
        "do $$ begin perform steel.mark('a', 1, 1); end $$",
        "42501",
        "steel",
        "belongs",
    ),
    (
        "create function f() returns void language sql as 'delete from steel.applied'",
        "42501",
        "steel",
        "belongs",
    ),
    (
        "do 'begin perform pg_advisory_lock(1); end'",
        "0A000",
        "pg_advisory_lock",
        "FOR UPDATE",
    ),
    ("do $$ begin notify x; end $$", "0A000", "NOTIFY", "table"),
    (
        "do $$ begin create temp table x (a int); end $$",
        "0A000",
        "temporary",
        "WITH",
    ),
    (
        "do language plpython3u 'x'",
        "0A000",
        "plpython3u",
        "plpgsql",
    ),
    (
        "create function f() returns int as 'x', 'y' language C",
        "0A000",
        "language c",
        "plpgsql",
    ),
    (
        "select pg_advisory_xact_lock(1)",
        "0A000",
        "pg_advisory_xact_lock",
        "FOR UPDATE",
    ),
    (
        "select pg_try_advisory_lock(1)",
        "0A000",
        "pg_try_advisory_lock",
        "FOR UPDATE",
    ),
    (
        "with q as (select 1) select id from jobs for update skip locked",
        "0A000",
        "SKIP LOCKED in this place",
        "parentheses",
    ),
    (
        "select 1 from jobs a, jobs b for update skip locked",
        "0A000",
        "several tables",
        "FOR UPDATE OF",
    ),
    (
        "select id from jobs order by random() limit 1 for update skip locked",
        "0A000",
        "the function random",
        "order by a column",
    ),
    (
        "select id from jobs where mine(id) for update skip locked",
        "0A000",
        "the function mine",
        "statement around",
    ),
    (
        "select id from jobs limit 1 offset 2 for update skip locked",
        "0A000",
        "OFFSET",
        "Leave it out",
    ),
    (
        "with w as (select 1 as n), q as (select id from jobs, w for update of jobs skip locked) select * from q",
        "0A000",
        "another part",
        "stand for itself",
    ),
    (
        "select * from (select id from a for update skip locked) x, (select id from b for update skip locked) y",
        "0A000",
        "twice",
        "one statement",
    ),
    (
        "explain analyze select id from jobs for update skip locked",
        "0A000",
        "SKIP LOCKED in this statement",
        "of its own",
    ),
    (
        "declare c cursor for select id from jobs for update skip locked",
        "0A000",
        "SKIP LOCKED in this statement",
        "of its own",
    ),
    (
        "do $$ begin perform id from jobs for update skip locked; end $$",
        "0A000",
        "inside a function",
        "of its own",
    ),
    (
        "create event trigger e on ddl_command_end execute function f()",
        "0A000",
        "event trigger",
        "ordinary",
    ),
    ("create publication p", "0A000", "replication", "replica"),
    (
        "create subscription s connection 'x' publication p",
        "0A000",
        "replication",
        "replica",
    ),
    (
        "create foreign data wrapper w",
        "0A000",
        "foreign",
        "client",
    ),
    (
        "create foreign table t (a int) server s",
        "0A000",
        "foreign",
        "client",
    ),
    (
        "create server s foreign data wrapper w",
        "0A000",
        "foreign",
        "client",
    ),
    (
        "import foreign schema s from server x into y",
        "0A000",
        "FOREIGN",
        "copy",
    ),
    ("create trusted language l", "0A000", "language", "plpgsql"),
    (
        "create access method m type table handler h",
        "0A000",
        "access method",
        "built-in",
    ),
    (
        "alter table t disable trigger steel_capture",
        "42501",
        "steel_capture",
        "equal",
    ),
    (
        "alter table t enable always trigger x",
        "0A000",
        "trigger",
        "ENABLE TRIGGER",
    ),
    (
        "declare c cursor with hold for select 1",
        "0A000",
        "HOLD",
        "Fetch",
    ),
    ("set transaction snapshot 'x'", "0A000", "SNAPSHOT", "order"),
    (
        "select pg_terminate_backend(1)",
        "0A000",
        "pg_terminate_backend",
        "Cancel",
    ),
    (
        "select pg_read_file('x')",
        "0A000",
        "pg_read_file",
        "client",
    ),
    ("checkpoint", "0A000", "CHECKPOINT", "itself"),
    (
        "insert into t values (pg_backend_pid())",
        "0A000",
        "pg_backend_pid",
        "SELECT",
    ),
    ("delete from t returning ctid", "0A000", "ctid", "key"),
    ("explain analyze execute p", "0A000", "EXECUTE", "itself"),
    ("select 1; select 2", "42601", "multiple commands", ""),
];

#[test]
fn what_is_not_supported_is_refused_with_a_way_out() {
    for (sql, sqlstate, message, hint) in REFUSED {
        match statement(sql) {
            Ok(Statement { kind, text, .. }) => panic!("{sql}: accepted as {kind:?}: {text}"),
            Err(Refusal {
                sqlstate: found,
                message: said,
                hint: advice,
            }) => {
                assert_eq!(found, *sqlstate, "{sql}: {said}");
                assert!(said.contains(message), "{sql}: {said}");
                assert!(advice.contains(hint), "{sql}: {advice}");
                assert!(found != "0A000" || !advice.is_empty(), "{sql}: no hint");
            }
        }
    }
}

#[test]
fn statements_before_a_refused_one_may_run_but_none_before_a_syntax_error() {
    let found = split("insert into t values (1); listen x; select 2").unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[0].is_ok() && found[1].is_err() && found[2].is_ok());

    for (sql, message, position) in [
        ("select 1; selec 2", "syntax error at or near \"selec\"", 11),
        ("select 1; begin now", "syntax error at or near \"now\"", 17),
        ("savepoint; x", "syntax error at or near \";\"", 10),
        (
            "select 'a",
            "unterminated quoted string at or near \"'a\"",
            8,
        ),
        ("set x", "syntax error at end of input", 6),
    ] {
        let error = split(sql).unwrap_err();
        assert_eq!(
            (error.sqlstate, error.message.as_str(), error.position),
            ("42601", message, position),
            "{sql}"
        );
    }
}

#[test]
fn what_looks_like_a_refusal_but_is_not_passes() {
    for sql in [
        "select steel from alloys",
        "select a.steel from alloys a",
        "insert into notes values ('steel.secret')",
        "select myschema.lo_get(1)",
        "select skip from t",
        "create table listen (notify int)",
        "select 'pg_advisory_lock(1)'",
        "set role none",
        "reset role",
        "set session authorization default",
        "reset all",
        "set client_encoding to 'utf-8'",
        "set names default",
        "set standard_conforming_strings = on",
        "set session_replication_role = origin",
        "create table t (concurrently int)",
        "select set_config($1, $2, true)",
        "show steel.receipt",
        "do $$ declare notify int; begin notify := 1; end $$",
        "create table temp (a int)",
        "delete from t where ctid = any (select ctid from t limit 5)",
    ] {
        if let Err(refusal) = statement(sql) {
            panic!("{sql}: {refusal}");
        }
    }
}

#[test]
fn pgbench_initialises_as_it_is() {
    let steps: &[(&str, Kind)] = &[
        (
            "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
            Kind::Ddl,
        ),
        (
            "create table pgbench_accounts(aid int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
            Kind::Ddl,
        ),
        ("begin", Kind::Begin(Modes::default())),
        (
            "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
            Kind::Ddl,
        ),
        (
            "insert into pgbench_branches(bid,bbalance) values(1,0)",
            Kind::Write,
        ),
        (
            "copy pgbench_accounts from stdin with (freeze on)",
            Kind::CopyIn,
        ),
        ("commit", Kind::Commit { chain: false }),
        (
            "vacuum analyze pgbench_branches",
            Kind::Maintenance {
                transactional: false,
            },
        ),
        (
            "alter table pgbench_branches add primary key (bid)",
            Kind::Ddl,
        ),
        ("select count(*) from pgbench_branches", Kind::Read),
        (
            "select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join \
             pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select \
             pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) left join \
             pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join pg_catalog.pg_inherits as i on \
             (c.oid = i.inhparent) where c.relname = 'pgbench_accounts' and o.n is not null group by 1, 2 order by 1 \
             asc limit 1",
            Kind::CatalogRead,
        ),
        (
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
            Kind::Write,
        ),
        (
            "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
            Kind::Read,
        ),
        (
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
            Kind::Write,
        ),
    ];
    for (sql, wanted) in steps {
        assert_eq!(&kind(sql), wanted, "{sql}");
    }
}

/// The queries behind psql's `\d…` commands, as psql 15 sends them.
#[test]
fn psql_describes_from_the_masters_catalogs() {
    let mut count = 0;
    for sql in include_str!("data/psql-describe.sql").split("\n----\n") {
        let found = split(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        for statement in found {
            let statement = statement.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
            assert!(
                matches!(statement.kind, Kind::CatalogRead) || !statement.text.contains("pg_"),
                "{:?}: {sql}",
                statement.kind
            );
            assert!(
                matches!(statement.kind, Kind::CatalogRead | Kind::Read),
                "{:?}: {sql}",
                statement.kind
            );
            count += 1;
        }
    }
    assert!(count > 100, "the test data are there");
}

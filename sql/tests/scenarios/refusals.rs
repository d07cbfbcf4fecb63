//! What is refused, with a way out, and what only looks like it.

use sql::{Refusal, Statement, split, statement};

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
    (
        "insert into t select a from u tablesample bernoulli (10)",
        "0A000",
        "TABLESAMPLE",
        "SELECT",
    ),
    (
        "select brin_summarize_new_values('i')",
        "0A000",
        "brin_summarize_new_values",
        "VACUUM",
    ),
    (
        "select pg_catalog.gin_clean_pending_list('i')",
        "0A000",
        "gin_clean_pending_list",
        "VACUUM",
    ),
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

//! Which kind each statement is.

use sql::{Cursor, Discard, Isolation, Kind, Modes, split, statement};

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
            "select * from t tablesample system (10) repeatable (1)",
            "select oid::regclass from x",
            "select has_table_privilege('t', 'select')",
            "explain select 1",
            "explain (costs off) insert into t values (1)",
            "explain verbose delete from t",
            "explain analyze select 1",
            "explain (analyze false) update t set a = 1",
            "copy pg_class to stdout",
            "with x as (select * from pg_class) select * from x",
            // Replicas may run different versions.
            "select version()",
            "select pg_catalog.version() || 'x'",
            "select current_setting('server_version_num')::int / 10000",
            "select pg_catalog.current_setting('Server_Version', true)",
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

#[test]
fn what_may_run_a_function_of_the_users_own_says_so() {
    let calls = |sql: &str| statement(sql).expect(sql).calls_user;
    for sql in [
        "select set('t')",
        "with a as (select 1) select update(a) from a",
        "copy (select over(1)) to stdout",
        "select filter (1), cube(1) from t",
        "select varying(1)",
        "select second(1), copy(2)",
        "select \"abs\"(1), s.abs(1)",
        "select query_to_xml('select f()', true, true, '')",
        "select ts_stat('select f()')",
        "select pg_catalog.ts_rewrite('a', 'select f(), f()')",
    ] {
        assert!(calls(sql), "{sql}");
    }
    for sql in [
        "select count(*) filter (where a > 1) over (partition by (b) order by (c)) from t group by (a), cube (b, c), rollup (d)",
        "select a from t group by grouping sets ((a), (b))",
        "with x as materialized (select 1), y (a) as not materialized (select 2) select * from x, y",
        "select percentile_cont(0.5) within group (order by (a)) from t where a in (1) and exists (select 1)",
        "copy (select xmlelement(name a, xmlattributes(b)) from t) to stdout",
        "select a::character varying (10), b::bit varying(3), interval '1' second (2), interval '1' day to second(3)",
        "select pg_catalog.abs(1), cast(a as numeric(3)), (select 1), array(select 1), interval(3) '1' from t",
    ] {
        assert!(!calls(sql), "{sql}");
    }
}

//! What is refused inside of functions and DO blocks as it is outside, as far as its first words tell.

use sql::statement;

/// Statement, a word of the message, a word of the hint.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "do $$ begin if true then alter role postgres set work_mem = '1MB'; end if; end $$",
        "roles",
        "postgres",
    ),
    (
        "create function f() returns void language sql as 'alter user postgres password ''x'''",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin create role a; exception when others then null; end $$",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin perform 1; grant a, b to c; end $$",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin revoke admin option for a from b; end $$",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin reassign owned by a to b; end $$",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin alter database postgres set timezone = 'UTC'; end $$",
        "databases",
        "schemas",
    ),
    (
        "do $$ begin execute format('ALTER DATABASE %I SET timezone = ''UTC''', current_database()); end $$",
        "databases",
        "schemas",
    ),
    (
        "do $$ begin execute 'alter role ' || current_user || ' set work_mem = 1'; end $$",
        "roles",
        "postgres",
    ),
    (
        "do $$ begin execute ($x$create temp table x (a int)$x$); end $$",
        "temporary",
        "WITH",
    ),
    (
        "do $$ begin alter system set work_mem = 1; end $$",
        "ALTER SYSTEM",
        "configuration",
    ),
];

#[test]
fn what_concerns_the_whole_server_is_refused_inside_of_functions_too() {
    for (sql, message, hint) in REFUSED {
        match statement(sql) {
            Ok(found) => panic!("{sql}: accepted as {:?}", found.kind),
            Err(refusal) => {
                assert_eq!(refusal.sqlstate, "0A000", "{sql}");
                assert!(
                    refusal.message.contains(message),
                    "{sql}: {}",
                    refusal.message
                );
                assert!(refusal.hint.contains(hint), "{sql}: {}", refusal.hint);
            }
        }
    }
}

#[test]
fn names_and_privileges_inside_of_functions_are_not_taken_for_it() {
    for sql in [
        "do $$ begin grant select, insert on t to public; revoke all on t from public; end $$",
        "do $$ begin perform case when a then grant else revoke end from t; end $$",
        "do $$ begin execute 'grant select on t to public'; execute format('alter table %I add b int', 'role'); end $$",
        "do $$ declare role text; begin role := 'x'; create extension if not exists plpgsql; end $$",
        "do $$ begin create or replace view role as select 1; drop table \"user\"; alter table system add a int; end $$",
    ] {
        if let Err(refusal) = statement(sql) {
            panic!("{sql}: {refusal}");
        }
    }
}

//! What else is read off a statement: settings, the columns of its order, its relations.

use sql::{Kind, setting, statement};

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

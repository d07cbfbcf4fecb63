//! Strings that are no SQL, and very long ones: no panic, nothing lost, no quadratic time.

use proptest::prelude::*;
use sql::{Kind, split};

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
        format!("select a from t {}", "limit 1 ".repeat(n)),
        format!("select {}", "(select a from t limit 1), ".repeat(n)),
        nested("(select a from t where a in ", "(1)", " limit 1)", n),
        format!("select {}", "cube(1), set(1), sum(1), ".repeat(n)),
        format!("select a from t group by {}", "cube(a), ".repeat(n)),
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

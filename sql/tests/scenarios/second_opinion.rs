//! `sqlparser` as the second opinion: what it can parse and says to write must never be classified as a read.
//!
//! A statement taken for a read goes outside of the order. PostgreSQL would still refuse to write there (25006), so a
//! mistake costs a detour; the test keeps it from going unseen.

use proptest::prelude::*;
use sql::{Kind, statement};
use sqlparser::ast::{Query, SetExpr, Statement, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Looks for anything that changes rows or takes locks.
struct Writes;

impl Visitor for Writes {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(_)
            | Statement::Update { .. }
            | Statement::Delete(_)
            | Statement::Merge { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let changes = matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        if changes || !query.locks.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

fn writes_by_second_opinion(sql: &str) -> Option<bool> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let [one] = statements.as_slice() else {
        return None;
    };
    Some(one.visit(&mut Writes).is_break())
}

fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("SELECT a FROM t WHERE b = 'for update'".to_owned()),
        Just("SELECT a FROM t FOR UPDATE".to_owned()),
        Just("SELECT a FROM t FOR NO KEY UPDATE OF t NOWAIT".to_owned()),
        Just("SELECT a FROM t FOR SHARE".to_owned()),
        Just("SELECT $$insert into t$$, \"delete\" FROM u".to_owned()),
        Just("INSERT INTO t (a) VALUES (1) RETURNING a".to_owned()),
        Just("UPDATE t SET a = a + 1 RETURNING a".to_owned()),
        Just("DELETE FROM t WHERE a IN (SELECT b FROM u) RETURNING a".to_owned()),
        Just("VALUES (1, 'update t set a = 1')".to_owned()),
        Just("SELECT a AS update, b \"insert\" FROM t".to_owned()),
    ]
}

/// Statements around a fragment, as deep as people write them.
fn wrapped() -> impl Strategy<Value = String> {
    fragment().prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|q| format!("WITH x AS ({q}) SELECT * FROM x")),
            inner.clone().prop_map(|q| format!(
                "WITH x AS MATERIALIZED ({q}), y AS (SELECT 1) SELECT * FROM y"
            )),
            inner.clone().prop_map(|q| format!("({q})")),
            inner
                .clone()
                .prop_map(|q| format!("SELECT * FROM ({q}) AS s")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("WITH x AS ({a}) {b}")),
            inner.prop_map(|q| format!("SELECT EXISTS ({q})")),
        ]
    })
}

/// Comments, line ends and capitals where they mean nothing.
fn disguised() -> impl Strategy<Value = String> {
    (wrapped(), prop::collection::vec(0u8..6, 1..24)).prop_map(|(sql, dice)| {
        let mut out = String::new();
        let mut quoted: Option<char> = None;
        for (at, c) in sql.chars().enumerate() {
            match quoted {
                Some(q) if q == c => quoted = None,
                None if matches!(c, '\'' | '"' | '$') => quoted = Some(c),
                _ => {}
            }
            match (quoted, c, dice[at % dice.len()]) {
                (None, ' ', 0) => out.push_str(" /* select /* nested */ ; */ "),
                (None, ' ', 1) => out.push_str("\n-- it's a comment\n"),
                (None, ' ', 2) => out.push_str("\t\n "),
                (None, c, 3) => out.extend(c.to_lowercase()),
                _ => out.push(c),
            }
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_writes_is_never_taken_for_a_read(sql in disguised()) {
        if writes_by_second_opinion(&sql) == Some(true)
            && let Ok(statement) = statement(&sql)
        {
            prop_assert!(
                !matches!(statement.kind, Kind::Read | Kind::CatalogRead | Kind::Show { .. }),
                "{sql} was taken for {:?}", statement.kind
            );
        }
    }
}

#[test]
fn the_second_opinion_understands_most_of_what_it_is_asked() {
    let asked = [
        "WITH x AS (INSERT INTO t (a) VALUES (1) RETURNING a) SELECT * FROM x",
        "SELECT a FROM t FOR UPDATE",
        "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
        "UPDATE t SET a = a + 1 RETURNING a",
    ];
    for sql in asked {
        assert_eq!(writes_by_second_opinion(sql), Some(true), "{sql}");
    }
    assert_eq!(
        writes_by_second_opinion("SELECT $$insert into t$$, \"delete\" FROM u"),
        Some(false)
    );
}

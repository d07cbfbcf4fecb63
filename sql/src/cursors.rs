//! Cursors over catalogs: the master alone has them open, so what is fetched from them is its word too.

use crate::lexer::lex;
use crate::statement::{Cursor, Kind, Statement};
use crate::tokens::Tokens;
use std::collections::BTreeSet;

/// Names of the cursors of one transaction that only its master has.
#[derive(Debug, Clone, Default)]
pub struct CatalogCursors(BTreeSet<String>);

impl CatalogCursors {
    /// Whether the statement declares such a cursor, or is about one.
    pub fn has(&self, statement: &Statement) -> bool {
        match statement.kind {
            Kind::Cursor(Cursor::Declare) => statement.unvalidated,
            Kind::Cursor(cursor) => match named(cursor, &statement.text) {
                Some(Named::One(name)) => self.0.contains(&name),
                Some(Named::All) | None => false,
            },
            _ => false,
        }
    }

    /// The statement is executed, by the master alone or by all.
    pub fn executed(&mut self, statement: &Statement, alone: bool) {
        let Kind::Cursor(cursor) = statement.kind else {
            return;
        };
        match (cursor, named(cursor, &statement.text)) {
            (Cursor::Declare, Some(Named::One(name))) if alone => {
                self.0.insert(name);
            }
            (Cursor::Declare | Cursor::Close, Some(Named::One(name))) => {
                self.0.remove(&name);
            }
            (Cursor::Close, Some(Named::All)) => self.0.clear(),
            _ => {}
        }
    }
}

/// Bytes of a name that PostgreSQL keeps.
const NAME: usize = 63;

#[derive(Debug, PartialEq, Eq)]
enum Named {
    All,
    One(String),
}

/// The cursor's name as PostgreSQL has it; `None` where it is written in a way that this does not read.
fn named(cursor: Cursor, text: &str) -> Option<Named> {
    let list = lex(text).ok()?;
    let tokens = Tokens {
        source: text,
        list: &list,
    };
    let at = match cursor {
        Cursor::Declare => 1,
        _ => tokens.len().checked_sub(1)?,
    };
    if cursor == Cursor::Close && tokens.word(at, "all") {
        return Some(Named::All);
    }
    let mut name = tokens.name(at)?;
    name.truncate(name.floor_char_boundary(NAME));
    Some(Named::One(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_from_a_catalog_is_told_from_what_is_fetched_from_a_table() {
        let mut cursors = CatalogCursors::default();
        let parsed = |sql: &str| crate::statement(sql).unwrap();
        let catalog = parsed("DECLARE C CURSOR FOR SELECT * FROM pg_class");
        let table = parsed("DECLARE \"C\" CURSOR FOR SELECT * FROM t");
        for declared in [&catalog, &table] {
            let alone = cursors.has(declared);
            cursors.executed(declared, alone);
        }
        for (sql, alone) in [
            ("FETCH 10 FROM c", true),
            ("FETCH FORWARD 10 IN C", true),
            ("MOVE \"c\"", true),
            ("CLOSE c", true),
            ("FETCH 10 FROM \"C\"", false),
            ("FETCH 10 FROM d", false),
            ("SELECT 1", false),
        ] {
            assert_eq!(cursors.has(&parsed(sql)), alone, "{sql}");
        }
        cursors.executed(&parsed("DECLARE c CURSOR FOR SELECT * FROM t"), false);
        assert!(!cursors.has(&parsed("FETCH 10 FROM c")));
    }

    #[test]
    fn names_are_read_as_postgresql_reads_them_and_end_with_their_cursor() {
        let mut cursors = CatalogCursors::default();
        let parsed = |sql: &str| crate::statement(sql).unwrap();
        let long = "x".repeat(70);
        for declared in [
            "DECLARE \"a b\" CURSOR FOR SELECT * FROM pg_class",
            "DECLARE\"all\"CURSOR FOR SELECT * FROM pg_class",
            "DECLARE c/**/CURSOR FOR SELECT * FROM pg_class",
            &format!("DECLARE {long} CURSOR FOR SELECT * FROM pg_class"),
        ] {
            cursors.executed(&parsed(declared), true);
        }
        let short = format!("MOVE {}", &long[..63]);
        for sql in [
            "FETCH 1 FROM \"a b\"",
            "FETCH FROM\"all\"",
            "CLOSE/**/c",
            &short,
        ] {
            assert!(cursors.has(&parsed(sql)), "{sql}");
        }
        assert!(!cursors.has(&parsed("CLOSE ALL")), "all of them");
        cursors.executed(&parsed("CLOSE c"), true);
        assert!(!cursors.has(&parsed("FETCH 1 FROM c")));
        cursors.executed(&parsed("CLOSE ALL"), false);
        assert!(!cursors.has(&parsed("FETCH 1 FROM \"a b\"")));
    }
}

//! Cursors over catalogs: the master alone has them open, so what is fetched from them is its word too.

use crate::statement::{Cursor, Kind, Statement};
use std::collections::BTreeSet;

/// Names of the cursors of one transaction that only its master has.
#[derive(Debug, Clone, Default)]
pub struct CatalogCursors(BTreeSet<String>);

impl CatalogCursors {
    /// Whether the statement declares such a cursor, or is about one.
    pub fn has(&self, statement: &Statement) -> bool {
        match statement.kind {
            Kind::Cursor(Cursor::Declare) => statement.unvalidated,
            Kind::Cursor(cursor) => self.0.contains(&name(cursor, &statement.text)),
            _ => false,
        }
    }

    /// A cursor is declared. `alone`: by the master alone.
    pub fn declared(&mut self, statement: &Statement, alone: bool) {
        if statement.kind == Kind::Cursor(Cursor::Declare) {
            let name = name(Cursor::Declare, &statement.text);
            match alone {
                true => self.0.insert(name),
                false => self.0.remove(&name),
            };
        }
    }
}

/// The cursor's name as PostgreSQL has it.
fn name(cursor: Cursor, text: &str) -> String {
    let mut words = text.split_whitespace();
    let name = match cursor {
        Cursor::Declare => words.nth(1),
        _ => words.last(),
    };
    let name = name.unwrap_or_default();
    match name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    {
        Some(quoted) => quoted.to_owned(),
        None => name.to_ascii_lowercase(),
    }
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
            cursors.declared(declared, alone);
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
        cursors.declared(&parsed("DECLARE c CURSOR FOR SELECT * FROM t"), false);
        assert!(!cursors.has(&parsed("FETCH 10 FROM c")));
    }
}

//! Which steps of a transaction a follower executes, cursors considered.

use super::judge::{admissible, reason};
use sql::{CatalogCursors, Cursor, Kind};
use txn::Step;
use txn::client::Reason;

/// Words that a statement about a cursor begins with.
const WORDS: [&str; 4] = ["declare", "fetch", "move", "close"];

/// Looks at the steps of one transaction in their order.
#[derive(Default)]
pub struct Followed(CatalogCursors);

impl Followed {
    /// Whether followers execute the step; a cursor that they did not declare they cannot read.
    ///
    /// # Errors
    /// Why no replica may: what its client may not send, or an answer that is to be compared and cannot be.
    pub fn executes(&mut self, step: &Step) -> Result<bool, Reason> {
        let uncompared = step.evidence.is_uncompared();
        let executes = admissible(&step.operation, uncompared)?;
        let text = step.operation.sql.as_str();
        let about_cursor = |word: &&str| {
            text.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if !WORDS.iter().any(about_cursor) {
            return Ok(executes);
        }
        let Ok(statement) = sql::statement(text) else {
            return Ok(executes);
        };
        if statement.kind == Kind::Cursor(Cursor::Declare) {
            if !step.operation.describe_only {
                self.0.declared(&statement, !executes);
            }
            return Ok(executes);
        }
        match (self.0.has(&statement), uncompared) {
            (false, _) => Ok(executes),
            (true, true) => Ok(false),
            (true, false) => Err(reason(
                "40001",
                "an answer is to be compared that the master alone could give",
                "The cursor was declared over catalogs.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Digest;
    use txn::{Evidence, Operation};

    fn step(sql: &str, unvalidated: bool) -> Step {
        Step {
            operation: Operation::text(sql),
            evidence: Evidence {
                result: Digest([0; 32]),
                write: Digest([0; 32]),
                sequences: Vec::new(),
                schema_change: false,
                unvalidated,
                claims: None,
            },
        }
    }

    #[test]
    fn followers_pass_over_a_cursor_that_they_did_not_declare_and_over_no_other() {
        let mut followed = Followed::default();
        let mut executes = |sql: &str, unvalidated| followed.executes(&step(sql, unvalidated));
        let catalog = "DECLARE c CURSOR FOR SELECT * FROM pg_class";
        assert_eq!(executes(catalog, true), Ok(false));
        assert_eq!(executes("FETCH 1 FROM c", true), Ok(false));
        let refused = executes("FETCH 1 FROM c", false).unwrap_err();
        assert_eq!(refused.sqlstate, "40001");
        let table = "DECLARE d CURSOR FOR SELECT * FROM t";
        assert_eq!(executes(table, true), Ok(true), "whatever its client says");
        assert_eq!(executes("FETCH 1 FROM d", true), Ok(true));
        assert_eq!(executes("FETCH 1 FROM d", false), Ok(true));
    }
}

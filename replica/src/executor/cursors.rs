//! Which steps of a transaction a follower executes, cursors considered.

use super::judge::admissible;
use sql::{CatalogCursors, Cursor, Kind};
use txn::Step;
use txn::client::Reason;

/// Words that a statement about a cursor begins with.
const WORDS: [&str; 4] = ["declare", "fetch", "move", "close"];

/// Looks at the steps of one transaction in their order.
#[derive(Default)]
pub struct Followed {
    cursors: CatalogCursors,
    /// A cursor was declared that this replica does not have.
    lacks_some: bool,
}

/// What a follower makes of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Follow {
    Execute,
    /// Its answer may differ here because of a cursor that only the master has: that blames nobody.
    ExecuteUnblamed,
    PassOver,
}

impl Followed {
    /// Whether followers execute the step; a cursor that they did not declare they cannot read.
    ///
    /// # Errors
    /// Why no replica may.
    pub fn follow(&mut self, step: &Step) -> Result<Follow, Reason> {
        let uncompared = step.evidence.is_uncompared();
        let executes = match admissible(&step.operation, uncompared)? {
            true => Follow::Execute,
            false => Follow::PassOver,
        };
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
        let follow = match statement.kind {
            Kind::Cursor(Cursor::Declare) => executes,
            _ if uncompared && self.cursors.has(&statement) => Follow::PassOver,
            Kind::Cursor(_) if self.lacks_some => Follow::ExecuteUnblamed,
            _ => executes,
        };
        if !step.operation.describe_only {
            let alone = follow == Follow::PassOver;
            self.lacks_some |= alone;
            self.cursors.executed(&statement, alone);
        }
        Ok(match (self.lacks_some, follow) {
            (true, Follow::Execute) => Follow::ExecuteUnblamed,
            (_, follow) => follow,
        })
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
                adds_only: false,
                failed: false,
                unvalidated,
                claims: None,
            },
        }
    }

    #[test]
    fn followers_pass_over_a_cursor_that_they_did_not_declare_and_over_no_other() {
        let mut followed = Followed::default();
        let mut follow = |sql: &str, unvalidated| followed.follow(&step(sql, unvalidated)).unwrap();
        let table = "DECLARE d CURSOR FOR SELECT * FROM t";
        assert_eq!(
            follow(table, true),
            Follow::Execute,
            "whatever its client says"
        );
        assert_eq!(follow("FETCH 1 FROM d", true), Follow::Execute);
        assert_eq!(follow("FETCH 1 FROM d", false), Follow::Execute);
        let catalog = "DECLARE c CURSOR FOR SELECT * FROM pg_class";
        assert_eq!(follow(catalog, true), Follow::PassOver);
        assert_eq!(follow("FETCH 1 FROM c", true), Follow::PassOver);
        assert_eq!(follow("FETCH 1 FROM c", false), Follow::ExecuteUnblamed);
        assert_eq!(follow(catalog, false), Follow::ExecuteUnblamed, "it failed");
        assert_eq!(follow("SELECT 1", false), Follow::Execute);
    }
}

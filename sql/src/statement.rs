//! What is known of one statement: the text to execute, its kind, and how its answer may be compared.

use crate::prepare::{Call, Template};
use crate::roworder::{Doubt, Limit};
use crate::splice::Mapping;
use std::collections::BTreeSet;

/// One statement, classified, with the text that PostgreSQL is to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The client's own text with what is volatile spliced out, from its first to its last token:
    /// without surrounding space, comments and the semicolon. Empty for [`Kind::Empty`].
    pub text: String,
    pub kind: Kind,
    /// Output columns (from 0) of the top-level ORDER BY, most significant first, when every sort key
    /// is an output column of a select list without `*`; else `None`. Rows that compare equal in these
    /// columns have no agreed order.
    pub order_columns: Option<Vec<usize>>,
    /// Every relation that the statement names belongs to `pg_catalog` or `information_schema`, and it names one.
    pub catalog_only: bool,
    /// The rows of the answer hold OIDs, physical addresses, sizes, timings or plans: they are never
    /// part of a digest. Always true for [`Kind::CatalogRead`] and [`Kind::Show`]; of a DECLARE CURSOR it says so
    /// for the cursor's later FETCHes.
    pub unvalidated: bool,
    /// It calls a function that is not PostgreSQL's own. Of a [`Kind::Read`] it says that it may write after all, and that the
    /// function may catch the 25006 that would tell.
    pub calls_user: bool,
    /// LIMITs over one table, whose primary key would settle which rows they take; see [`Statement::keyed`]. Of a
    /// [`Kind::Read`] or [`Kind::Write`].
    pub limits: Vec<Limit>,
    /// What else in it may come out differently where rows lie in another order.
    pub doubt: Option<Doubt>,
    /// It holds the body of a function, or is one (DO), and a LIMIT in there has no ORDER BY.
    pub body_limits: bool,
    pub(crate) settings: Option<Vec<(String, String)>>,
    pub(crate) tables: Tables,
    pub(crate) tag: Option<&'static str>,
    pub(crate) mapping: Mapping,
}

impl Statement {
    /// The command tag of a statement that the proxy can answer without PostgreSQL: transaction
    /// control, SET, RESET, DISCARD, PREPARE, DEALLOCATE. `None` for all others.
    pub fn local_tag(&self) -> Option<&'static str> {
        self.tag
    }

    /// What the statement's author can do about answers that differ between replicas, where the text tells of a cause.
    pub fn advice(&self) -> Option<&'static str> {
        let limit = (!self.limits.is_empty()).then_some(Doubt::Limit);
        self.doubt.or(limit).map(Doubt::advice)
    }

    /// The statement with the primary keys of its [`Statement::limits`] at the end of their ORDER BYs. `key`: the columns of a table's
    /// primary key, none where there is no such table or key; then its LIMIT is in [`Statement::doubt`].
    pub fn keyed<'k>(&self, key: impl Fn(&str) -> Option<&'k [String]>) -> Statement {
        let mut keyed = self.clone();
        // From the last to the first, so that the places before it stay.
        keyed
            .limits
            .sort_by_key(|limit| std::cmp::Reverse(limit.at));
        for limit in std::mem::take(&mut keyed.limits) {
            match key(&limit.table).filter(|columns| !columns.is_empty()) {
                Some(columns) => {
                    let sort = limit.sort(columns);
                    let before = keyed.text[..limit.at].chars().count();
                    keyed.mapping.insert(before, sort.chars().count());
                    keyed.text.insert_str(limit.at, &sort);
                }
                None => keyed.doubt = Some(Doubt::Limit),
            }
        }
        keyed
    }

    /// Translates an error position that PostgreSQL reports for [`Statement::text`] (characters, from 1)
    /// into the position in the string that the client sent.
    pub fn client_position(&self, position: usize) -> usize {
        self.mapping.to_client(position)
    }
}

/// What a statement does, as far as its execution has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but space and comments.
    Empty,
    /// BEGIN, START TRANSACTION.
    Begin(Modes),
    /// COMMIT, END.
    Commit {
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// SET TRANSACTION: modes of the open transaction.
    SetTransaction(Modes),
    /// SET of a session setting; the value is [`setting`]'s. `name` is in lower case.
    Set {
        name: String,
        local: bool,
    },
    /// RESET name, SET name TO DEFAULT; `None`: RESET ALL. `local` for SET LOCAL … TO DEFAULT.
    Reset {
        name: Option<String>,
        local: bool,
    },
    /// SHOW; the name is in lower case (`all` for SHOW ALL). Answered by PostgreSQL at the master or by the proxy.
    Show {
        name: String,
    },
    Discard(Discard),
    /// PREPARE in SQL: kept by the proxy until EXECUTE names it.
    Prepare(Template),
    /// EXECUTE in SQL of a statement that was prepared so.
    Execute(Call),
    /// DEALLOCATE of one prepared statement, or of all (`None`).
    Deallocate(Option<String>),
    /// A query that changes nothing, unless a function it calls does (then PostgreSQL says 25006 in a
    /// read-only transaction and it must run as a write). COPY … TO STDOUT is one too.
    Read,
    /// A query of catalogs, OIDs, sizes or plans: answered by the master, unvalidated.
    CatalogRead,
    /// Changes rows or takes locks: INSERT, UPDATE, DELETE, MERGE, queries with locking clauses or
    /// data-modifying CTEs or sequence calls, CALL, DO, LOCK TABLE, SET CONSTRAINTS, EXPLAIN ANALYZE of these.
    Write,
    /// COPY … FROM STDIN: the rows follow in CopyData messages.
    CopyIn,
    Cursor(Cursor),
    /// Changes the schema, privileges or comments, or empties a table (TRUNCATE).
    Ddl,
    /// VACUUM, ANALYZE, CLUSTER, REINDEX of a schema or database: changes no row and goes as an
    /// `Exec`. Inside a transaction block the ones with `transactional` false get PostgreSQL's 25001.
    Maintenance {
        transactional: bool,
    },
}

/// Transaction modes; `None` where the statement says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modes {
    pub isolation: Option<Isolation>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

/// The isolation levels. All but SERIALIZABLE run as REPEATABLE READ inside a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// SQL-level cursors; they live inside a transaction (WITH HOLD is refused).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    Declare,
    Fetch,
    Move,
    Close,
}

/// Relations that a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tables {
    /// Names as written, unquoted ones in lower case, parts joined by dots. Views, triggers and foreign
    /// keys may reach others.
    Known(BTreeSet<String>),
    /// Not to be told from the text: functions of the user's own, DO, CALL, DDL.
    Unknown,
}

/// Why a statement is not executed. It is the client's mistake or a limit of SteelDB; other
/// statements of the same string that come before it may have run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub sqlstate: &'static str,
    pub message: String,
    /// What to do instead; empty when there is nothing to say.
    pub hint: String,
}

/// A string that PostgreSQL would not even parse: no statement of it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitError {
    pub sqlstate: &'static str,
    pub message: String,
    /// Characters from 1 in the client's string; 0 when there is no place to point at.
    pub position: usize,
}

impl From<SplitError> for Refusal {
    fn from(error: SplitError) -> Self {
        Refusal {
            sqlstate: error.sqlstate,
            message: error.message,
            hint: String::new(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)
    }
}

impl std::error::Error for Refusal {}

impl std::fmt::Display for SplitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} (at character {})",
            self.sqlstate, self.message, self.position
        )
    }
}

impl std::error::Error for SplitError {}

/// The session settings that a SET (or a lone `SELECT set_config('…', '…', …)`) makes, as (name in lower
/// case, value as `set_config` takes it), in order. `None` for every other statement; RESET and SET … TO DEFAULT
/// are [`Kind::Reset`].
pub fn setting(statement: &Statement) -> Option<Vec<(String, String)>> {
    statement.settings.clone()
}

/// The relations that a statement names.
pub fn tables(statement: &Statement) -> Tables {
    statement.tables.clone()
}

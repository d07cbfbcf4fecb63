//! What the replay found to be otherwise than agreed.

use consensus::Height;
use std::fmt;
use txn::TxId;

/// Characters of a statement that a message shows.
const SHOWN: usize = 80;

/// Something that the log says was committed, and that one PostgreSQL does not confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// What an operation came to, or PostgreSQL's answer to the commit (`statement` is `None`).
    Transaction {
        height: Height,
        index: u32,
        tx: TxId,
        /// Counted from 1, with the beginning of its text.
        statement: Option<(usize, String)>,
        what: String,
    },
    /// The order itself does not allow what was committed.
    Order {
        height: Height,
        index: u32,
        what: String,
    },
    /// The logs of two replicas contradict each other.
    Logs { height: Height, what: String },
    /// A table at the end.
    Table { name: String, what: String },
}

impl Difference {
    /// The beginning of a statement's text.
    pub(crate) fn shown(number: usize, sql: &str) -> (usize, String) {
        (number + 1, sql.chars().take(SHOWN).collect())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Transaction {
                height,
                index,
                tx,
                statement,
                what,
            } => {
                write!(f, "height {height}, item {index}, transaction {tx}")?;
                if let Some((number, text)) = statement {
                    write!(f, ", statement {number} ({text})")?;
                }
                write!(f, ": {what}")
            }
            Difference::Order {
                height,
                index,
                what,
            } => write!(f, "height {height}, item {index}: {what}"),
            Difference::Logs { height, what } => write!(f, "height {height}: {what}"),
            Difference::Table { name, what } => write!(f, "table {name}: {what}"),
        }
    }
}

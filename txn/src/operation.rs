//! Operations: SQL statements of an open transaction, and the evidence of what became of them.

use bytes::Bytes;
use consensus::Digest;
use serde::{Deserialize, Serialize};

/// One SQL statement with its parameters, as the client sent it and after the rewriter removed what is volatile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The text that PostgreSQL executes: one statement.
    pub sql: String,
    /// Type OIDs of the parameters; 0 leaves a type to PostgreSQL.
    pub parameter_types: Vec<u32>,
    /// Values in the wire form of `Bind`; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// Format codes as in `Bind`: none, one for all, or one each.
    pub parameter_formats: Vec<i16>,
    /// Format codes as in `Bind`, of the result columns.
    pub result_formats: Vec<i16>,
    /// Payloads of the CopyData messages of a `COPY … FROM STDIN`.
    pub copy_in: Option<Vec<Bytes>>,
    /// Only Parse and Describe: nothing is executed.
    pub describe_only: bool,
    /// Output columns whose sequence of values enters the result digest, from a top-level ORDER BY.
    pub order: Option<Vec<u16>>,
}

impl Operation {
    /// A statement without parameters whose results come as text.
    pub fn text(sql: impl Into<String>) -> Operation {
        Operation {
            sql: sql.into(),
            parameter_types: Vec::new(),
            parameters: Vec::new(),
            parameter_formats: Vec::new(),
            result_formats: Vec::new(),
            copy_in: None,
            describe_only: false,
            order: None,
        }
    }

    /// Bytes that this operation holds in memory, roughly.
    pub fn size(&self) -> usize {
        let parameters: usize = self
            .parameters
            .iter()
            .map(|p| p.as_ref().map_or(4, |b| b.len() + 4))
            .sum();
        let copied: usize = self
            .copy_in
            .iter()
            .flatten()
            .map(|chunk| chunk.len() + 4)
            .sum();
        self.sql.len() + parameters + copied + 64
    }
}

/// What one operation did to one sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValues {
    /// Quoted qualified name.
    pub sequence: String,
    /// In this order.
    pub uses: Vec<SequenceUse>,
}

/// A way of using a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SequenceUse {
    /// It gave so many values from `first` on, in steps of 1.
    Given { first: i64, count: u64 },
    /// It was set by hand; `called`: as if it had just given the value.
    Set { value: i64, called: bool },
    /// It goes round (CYCLE), by the master's word: what it gives from here on it may have given before.
    Cycled,
    /// What was changed of the schema in a block that was taken back, maybe where it stood: nobody can tell what it had given.
    Anew,
}

impl SequenceValues {
    /// The values that it gave, as ranges (first value, count) of step 1.
    pub fn given(&self) -> impl Iterator<Item = (i64, u64)> {
        self.uses.iter().filter_map(|what| match what {
            SequenceUse::Given { first, count } => Some((*first, *count)),
            SequenceUse::Set { .. } | SequenceUse::Cycled | SequenceUse::Anew => None,
        })
    }

    /// Whether it is said to go round.
    pub fn cycled(&self) -> bool {
        self.uses.contains(&SequenceUse::Cycled)
    }

    /// How it was set by hand.
    pub fn sets(&self) -> impl Iterator<Item = (i64, bool)> {
        self.uses.iter().filter_map(|what| match what {
            SequenceUse::Set { value, called } => Some((*value, *called)),
            SequenceUse::Given { .. } | SequenceUse::Cycled | SequenceUse::Anew => None,
        })
    }

    /// What `currval` says afterwards, if this operation has anything to do with it.
    pub fn last(&self) -> Option<i64> {
        self.uses.iter().rev().find_map(|what| match *what {
            SequenceUse::Given { first, count } => {
                Some(first.saturating_add_unsigned(count.saturating_sub(1)))
            }
            SequenceUse::Set { value, called } => called.then_some(value),
            SequenceUse::Cycled | SequenceUse::Anew => None,
        })
    }
}

/// The rows that a query with SKIP LOCKED got at the master, in its order. Which it skipped is a matter of timing, so this is the
/// master's choice, and all take exactly these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Columns of the table's primary key, by their plain names.
    pub key: Vec<String>,
    /// Values of these columns as text; at most [`crate::limits::CLAIMED_ROWS`].
    pub rows: Vec<Vec<String>>,
}

/// What the client saw of an operation and what the master says that it wrote (DESIGN.md, 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Digest of the outcome, computed by the client from what it received.
    pub result: Digest,
    /// Digest of the rows that the operation changed, as claimed by the master.
    pub write: Digest,
    /// What the master's sequences gave, and how they were set by hand; those that gave values in the order in which they did
    /// so last.
    pub sequences: Vec<SequenceValues>,
    /// The operation changed the schema, or emptied a table: what snapshots do not cover.
    pub schema_change: bool,
    /// What it changed of the schema is there for the first time: nothing that was there before is another thing now.
    pub adds_only: bool,
    /// It came to an error.
    pub failed: bool,
    /// Answered by the master alone (catalogs, EXPLAIN): not executed elsewhere, never compared.
    pub unvalidated: bool,
    /// What it took of the rows that others might have taken; `None` unless its query skips and could be run.
    pub claims: Option<Claims>,
}

impl Evidence {
    /// Whether it is the master's answer alone: what changed something is executed and compared by all, whatever its client
    /// asked for, or only the master would keep it.
    pub fn is_uncompared(&self) -> bool {
        self.unvalidated && !self.leaves_something()
    }

    /// Whether a commit of it changes anything that a later transaction could see.
    pub fn leaves_something(&self) -> bool {
        self.write != Digest([0; 32]) || self.schema_change || !self.sequences.is_empty()
    }
}

/// An operation at its place in the transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub operation: Operation,
    pub evidence: Evidence,
}

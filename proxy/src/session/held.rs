//! What a message of the extended protocol waits with until the next one tells how it is best done.
//!
//! A Parse or a Describe that is followed by the execution of the same statement needs no operation of its own. An
//! Execute outside of a transaction that is followed by Sync is an autocommit statement; followed by anything else, it is
//! the first of an implicit transaction.

use super::copy::CopyIn;
use super::portal::Bound;
use bytes::BytesMut;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// The ParseComplete of this statement: PostgreSQL has not seen it yet.
    Parse(String),
    /// The description of this portal.
    Describe(String),
    Execute(Box<Execution>),
}

/// An Execute, with everything that it needs.
#[derive(Debug)]
pub(super) struct Execution {
    pub portal: String,
    pub bound: Arc<Bound>,
    /// Rows to be handed out at once; all of them if absent.
    pub max_rows: Option<usize>,
    /// A Describe came before it.
    pub described: bool,
    /// The data of a COPY FROM STDIN.
    pub copy_in: Option<CopyIn>,
    /// Answers to what came after it.
    pub after: BytesMut,
}

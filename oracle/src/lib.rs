//! The serial-replay oracle: was what the group committed possible at all, and is it what the replicas hold?
//!
//! It reads the decided log of a replica (the ordered requests with their evidence, and the verdicts) and runs the committed
//! transactions one after another, in the order of the log, on one fresh PostgreSQL: each reads the snapshot of its Begin's height,
//! which is the state that all transactions up to there have left, or the state at its own place (autocommit, SERIALIZABLE). Every
//! operation must come to the result and the writes that its evidence names, PostgreSQL must accept each commit, and the tables
//! at the end must be those of the replicas.
//!
//! Nothing runs beside anything here, nothing is voted on, nothing is adopted: of the replica's code it shares how a session
//! enters a transaction and how a capture notice is read, but not how a replica judges, orders its locks, or applies a verdict.

mod difference;
mod log;
mod order;
mod replay;
mod server;
mod transaction;

pub use difference::Difference;
pub use log::{Block, Outline, blocks};
pub use replay::{Replayed, Until, replay};
pub use server::{Database, Server};

/// Why the log could not be replayed; a difference is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log cannot be read: {0}")]
    Log(#[from] ::order::log::LogError),
    #[error("record {key} of the log is unreadable: {cause}")]
    Record { key: u64, cause: String },
    #[error("the log ends at height {have}, and height {want} is to be replayed")]
    Short { have: u64, want: u64 },
    #[error("height {height} has no audit to stop at")]
    NoAudit { height: u64 },
    #[error("PostgreSQL for the replay: {0}")]
    Server(#[from] replica::postgres::Error),
    #[error("a session of the replay was lost: {0}")]
    Session(#[from] pgsession::Error),
    #[error("the replay's tables cannot be read: {0}")]
    Tables(String),
    #[error("no directory for the replay's PostgreSQL: {0}")]
    Directory(#[from] std::io::Error),
}

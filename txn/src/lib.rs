//! The rules of Byzantium, sans-I/O: from order to verdict.
//!
//! [`engine::Engine`] is a plain value. It is fed decided batches, the local executor's judgements and the votes of
//! peers; it pushes [`engine::Action`]s. It owns no socket, clock, thread or file. The message types that replicas and
//! clients speak about transactions live here too, beside the rules that give them their meaning.

pub mod ballot;
pub mod blame;
pub mod client;
pub mod copy;
pub mod engine;
pub mod errand;
pub mod given;
pub mod limits;
pub mod operation;
pub mod ordered;
pub mod peer;
pub mod provision;
pub mod receipt;
pub mod result;
pub mod tally;
pub mod word;
pub mod write_set;

pub use ballot::{Ballot, VotePart};
pub use operation::{Claims, Evidence, Operation, SequenceUse, SequenceValues, Step};
pub use ordered::{Auto, Begin, Commit, Exec, Isolation, Ordered, TxId};
pub use write_set::{Event, WriteSet};

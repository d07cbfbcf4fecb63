//! Checkpoints on disk: the state after a height, so that the log need not be kept from its beginning on.
//!
//! A checkpoint is one file, named by its height, that appears whole or not at all: it is written under another name, made
//! durable, renamed, and the directory made durable. At most the two newest are kept. One that comes from a peer is
//! written to the file `incoming`, whose chunks survive a restart of the receiver.

mod error;
mod file;
mod incoming;
mod store;
#[cfg(test)]
mod tests;

pub use error::CheckpointError;
pub use incoming::Incoming;
pub use store::{Checkpoints, Loaded};

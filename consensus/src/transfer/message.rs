//! What the two ends of a transfer say. Links are authenticated; nothing is signed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::Digest;
use crate::ids::Height;
use crate::stopdata::LastDecided;

use super::ChunkList;

/// A message of state transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateMessage {
    /// "Which checkpoints do you know above this height?" To all.
    Query {
        /// Where the sender stands.
        above: Height,
    },
    /// The answer.
    Offer {
        /// Roots of its own state at agreed heights: it vouches for them.
        roots: Vec<(Height, Digest)>,
        /// Heights of the checkpoints that it has on disk and can send.
        kept: Vec<Height>,
    },
    /// Asks for the list of a checkpoint's chunks.
    FetchList {
        /// Which checkpoint.
        height: Height,
    },
    /// The answer. Believed if it hashes to a root that f + 1 members vouch for.
    List {
        /// The list.
        list: Box<ChunkList>,
        /// Proof of the checkpoint's last decision.
        last: LastDecided,
    },
    /// Asks for a chunk.
    FetchChunk {
        /// Which checkpoint.
        height: Height,
        /// Which chunk, from 0.
        index: u32,
    },
    /// The answer. Believed if its digest is on the list.
    Chunk {
        /// Which checkpoint.
        height: Height,
        /// Which chunk.
        index: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// The checkpoint asked for is not here (any more).
    Dropped {
        /// Which.
        height: Height,
    },
}

impl StateMessage {
    /// A short name for logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Query { .. } => "STATE-QUERY",
            Self::Offer { .. } => "STATE-OFFER",
            Self::FetchList { .. } => "FETCH-LIST",
            Self::List { .. } => "LIST",
            Self::FetchChunk { .. } => "FETCH-CHUNK",
            Self::Chunk { .. } => "CHUNK",
            Self::Dropped { .. } => "DROPPED",
        }
    }
}

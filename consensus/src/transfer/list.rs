//! The list of a checkpoint's chunks, and its root: a digest tree of two levels.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::{DOMAIN_CHUNK, DOMAIN_STATE, Digest};
use crate::ids::Height;

/// The largest chunk that a list may ask for, in bytes.
const MAX_CHUNK_BYTES: u32 = 1 << 20;

/// What a checkpoint consists of: digests of its chunks, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkList {
    /// The state after this height.
    pub height: Height,
    /// Bytes of all chunks together.
    pub length: u64,
    /// Bytes of a chunk; only the last may be shorter.
    pub chunk_bytes: u32,
    /// Their digests.
    pub chunks: Vec<Digest>,
}

/// Why a list is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// More chunks than a receiver takes.
    #[error("a list of {have} chunks, at most {most} are taken")]
    TooLong {
        /// Chunks listed.
        have: usize,
        /// The bound.
        most: usize,
    },
    /// Length, chunk size and number of chunks do not fit each other.
    #[error("{length} bytes in chunks of {chunk_bytes} are not {chunks} chunks")]
    Shape {
        /// Bytes claimed.
        length: u64,
        /// Chunk size claimed.
        chunk_bytes: u32,
        /// Chunks listed.
        chunks: usize,
    },
}

impl ChunkList {
    /// Bytes of a chunk in a list of this build's own making.
    pub const CHUNK_BYTES: u32 = 256 << 10;

    /// The digest of one chunk.
    pub fn digest_of(chunk: &[u8]) -> Digest {
        Digest::of(DOMAIN_CHUNK, &[chunk])
    }

    /// What members vouch for: it covers the height, the sizes and every byte of the state.
    pub fn root(&self) -> Digest {
        let digests: Vec<u8> = self.chunks.iter().flat_map(|digest| digest.0).collect();
        let (height, length) = (self.height.to_le_bytes(), self.length.to_le_bytes());
        Digest::of(
            DOMAIN_STATE,
            &[&height, &length, &self.chunk_bytes.to_le_bytes(), &digests],
        )
    }

    /// Whether the numbers make sense; a list from elsewhere is not to be used before.
    ///
    /// # Errors
    /// When it is longer than `max_chunks`, or its sizes contradict each other.
    pub fn check(&self, max_chunks: usize) -> Result<(), ListError> {
        let (have, most) = (self.chunks.len(), max_chunks);
        if have > most {
            return Err(ListError::TooLong { have, most });
        }
        let sized = (1..=MAX_CHUNK_BYTES).contains(&self.chunk_bytes)
            && self.length.div_ceil(u64::from(self.chunk_bytes)) == have as u64;
        if sized {
            Ok(())
        } else {
            Err(ListError::Shape {
                length: self.length,
                chunk_bytes: self.chunk_bytes,
                chunks: have,
            })
        }
    }

    /// Where a chunk begins and how long it is; `None`: there is no such chunk.
    pub fn span(&self, index: u32) -> Option<(u64, usize)> {
        let begin = u64::from(index).checked_mul(self.chunk_bytes.into())?;
        let left = self.length.checked_sub(begin).filter(|left| *left > 0)?;
        Some((begin, left.min(self.chunk_bytes.into()) as usize))
    }

    /// Whether these bytes are that chunk.
    pub fn holds(&self, index: u32, bytes: &[u8]) -> bool {
        self.span(index)
            .is_some_and(|(_, length)| length == bytes.len())
            && self.chunks.get(index as usize) == Some(&Self::digest_of(bytes))
    }
}

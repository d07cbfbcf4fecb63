//! What a checkpoint holds: the order's own part, then the service's state. Both are the same bytes at every
//! correct replica; the proof of the last decision is not (any quorum's ACCEPTs do), so it travels beside them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::Digest;
use crate::ids::Height;
use crate::reconfigure::Views;
use crate::record::Summary;
use crate::stopdata::LastDecided;
use crate::view::View;
use crate::window::Windows;

use super::ChunkList;

/// The order's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ordered {
    height: Height,
    /// Of the batch decided there.
    digest: Digest,
    time_ms: u64,
    windows: Windows,
    /// The view that holds after it.
    views: Option<Views>,
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Content {
    height: Height,
    /// The order's part with its length before it.
    head: Vec<u8>,
    state: Bytes,
}

/// Why bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ContentError {
    /// The order's part is cut or no encoding.
    #[error("the order's part of the checkpoint is unreadable")]
    Unreadable,
    /// It speaks of another height or batch than the proof beside it.
    #[error("the checkpoint is not of the decision whose proof lies beside it")]
    OtherDecision,
    /// The proof does not hold.
    #[error("the proof of the checkpoint's last decision does not hold")]
    Unproven,
}

impl Content {
    /// Of the order's summary and the service's state after the same height; `None` at genesis, of which nobody
    /// needs a checkpoint.
    pub fn new(summary: &Summary, state: Bytes) -> Option<Self> {
        let last = summary.last.as_ref()?;
        let ordered = Ordered {
            height: last.height,
            digest: last.digest,
            time_ms: summary.time_ms,
            windows: summary.windows.clone(),
            views: summary.views.clone(),
        };
        let encoded =
            postcard::to_stdvec(&ordered).expect("writing plain data to memory cannot fail");
        let mut head = (encoded.len() as u64).to_le_bytes().to_vec();
        head.extend_from_slice(&encoded);
        Some(Self {
            height: last.height,
            head,
            state,
        })
    }

    /// Bytes of both parts.
    pub fn length(&self) -> u64 {
        (self.head.len() + self.state.len()) as u64
    }

    /// The list of its chunks.
    pub fn list(&self, chunk_bytes: u32) -> ChunkList {
        let size = chunk_bytes as usize;
        let count = self.length().div_ceil(u64::from(chunk_bytes)) as usize;
        let chunks = (0..count)
            .map(|at| ChunkList::digest_of(&self.piece(at * size, size)))
            .collect();
        ChunkList {
            height: self.height,
            length: self.length(),
            chunk_bytes,
            chunks,
        }
    }

    /// Bytes from `begin` on, at most `most` of them: few, since they are copied.
    pub fn piece(&self, begin: usize, most: usize) -> Vec<u8> {
        let end = begin.saturating_add(most);
        let part = |bytes: &[u8], at: usize| {
            let (from, to) = (begin.saturating_sub(at), end.saturating_sub(at));
            bytes[from.min(bytes.len())..to.min(bytes.len())].to_vec()
        };
        [part(&self.head, 0), part(&self.state, self.head.len())].concat()
    }

    /// Takes a checkpoint apart again.
    ///
    /// # Errors
    /// When it is unreadable or does not belong to `last`, or `last` is not proven in `view`.
    pub fn open(
        bytes: &Bytes,
        last: LastDecided,
        view: &View,
    ) -> Result<(Summary, Bytes), ContentError> {
        let length = bytes.first_chunk::<8>().ok_or(ContentError::Unreadable)?;
        let end = usize::try_from(u64::from_le_bytes(*length))
            .ok()
            .and_then(|length| length.checked_add(8));
        let end = end
            .filter(|end| *end <= bytes.len())
            .ok_or(ContentError::Unreadable)?;
        let ordered: Ordered =
            crate::decode(&bytes[8..end]).map_err(|_| ContentError::Unreadable)?;
        if (ordered.height, ordered.digest) != (last.height, last.digest) {
            return Err(ContentError::OtherDecision);
        }
        // What the members vouch for says in which view it was decided; where no view ever changed it is this one.
        let then = ordered
            .views
            .as_ref()
            .and_then(|views| views.of(last.height));
        if !last.is_proven(then.unwrap_or(view)) {
            return Err(ContentError::Unproven);
        }
        let summary = Summary {
            last: Some(last),
            time_ms: ordered.time_ms,
            windows: ordered.windows,
            views: ordered.views,
        };
        Ok((summary, bytes.slice(end..)))
    }
}

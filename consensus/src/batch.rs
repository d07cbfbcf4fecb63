//! The value that an instance agrees on: an ordered list of request digests and a time.

use serde::{Deserialize, Serialize};

use crate::crypto::{DOMAIN_BATCH, Digest};
use crate::ids::ClientId;
use crate::request::{Request, Verified};

/// Names one request of a batch; the body travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Who asked.
    pub client: ClientId,
    /// In which incarnation.
    pub incarnation: u64,
    /// Under which number.
    pub seq: u64,
    /// [`Request::digest`].
    pub digest: Digest,
}

/// What one instance decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// [`Batch::digest`] of the value of the height before, all zero at the first height: a value is good in one
    /// history only, and the decided ones are a hash chain.
    pub after: Digest,
    /// Consensus time in Unix milliseconds: never less than the batch before.
    pub time_ms: u64,
    /// The requests, in their order. Never empty in a valid batch.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// The entry of a verified request.
    pub fn of(request: &Verified<Request>) -> Self {
        Self {
            client: request.client,
            incarnation: request.incarnation,
            seq: request.seq,
            digest: request.digest(),
        }
    }

    /// Whether `request`, whose digest is computed here, is the one named.
    pub fn names(&self, request: &Request) -> bool {
        self.client == request.client
            && self.incarnation == request.incarnation
            && self.seq == request.seq
            && self.digest == request.digest()
    }
}

impl Batch {
    /// The digest that WRITE and ACCEPT carry.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN_BATCH);
        hasher.update(&self.after.0);
        hasher.update(&self.time_ms.to_le_bytes());
        hasher.update(&(self.entries.len() as u64).to_le_bytes());
        // All fields have a fixed width, so the encoding is unambiguous.
        let mut buffer = [0u8; 52];
        for entry in &self.entries {
            buffer[..4].copy_from_slice(&entry.client.0.to_le_bytes());
            buffer[4..12].copy_from_slice(&entry.incarnation.to_le_bytes());
            buffer[12..20].copy_from_slice(&entry.seq.to_le_bytes());
            buffer[20..].copy_from_slice(&entry.digest.0);
            hasher.update(&buffer);
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

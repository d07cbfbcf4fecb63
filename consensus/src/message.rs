//! What replicas say to each other. Links are authenticated: the sender is the
//! link's peer and appears in no message; what must convince third parties is signed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::{Batch, Entry};
use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency};
use crate::proof::Decided;
use crate::request::Request;
use crate::stopdata::{StopData, Sync};
use crate::transfer::StateMessage;

/// The longest encoding that [`decode`](crate::decode) looks at, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// A protocol message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The leader's value for an instance. Alg. 5, l. 22.
    Propose {
        /// Instance.
        height: Height,
        /// Regency of the leader.
        regency: Regency,
        /// Digests only; bodies come from the clients.
        batch: Batch,
    },
    /// "I hold this value and its bodies, and it satisfies γ." Alg. 6, l. 28.
    Write {
        /// Instance.
        height: Height,
        /// Regency.
        regency: Regency,
        /// [`Batch::digest`].
        digest: Digest,
    },
    /// "A quorum wrote this value." Signed, since it becomes a proof. Alg. 6, l. 33.
    Accept {
        /// Instance.
        height: Height,
        /// Regency.
        regency: Regency,
        /// [`Batch::digest`].
        digest: Digest,
        /// Over domain, view, height, regency and digest.
        signature: Signature,
    },
    /// Requests that the sender still waits for. Alg. 3, l. 3. Unverified.
    Forward {
        /// With what their clients authenticated them by.
        requests: Vec<Request>,
    },
    /// The sender wants every regency below this one to end. Alg. 3, l. 9.
    Stop {
        /// [`View::id`](crate::View) of the sender: each view counts its regencies anew.
        view: u64,
        /// The regency that it wants.
        regency: Regency,
    },
    /// A replica's signed state for the leader of a new regency. Alg. 3, l. 25.
    StopData(Box<StopData>),
    /// The new leader's collection. Alg. 4, l. 31.
    Sync(Box<Sync>),
    /// Asks for the value behind a digest of an open instance.
    FetchBatch {
        /// Instance.
        height: Height,
        /// The value.
        digest: Digest,
    },
    /// Answers [`Message::FetchBatch`].
    BatchOf {
        /// Instance.
        height: Height,
        /// The value.
        batch: Batch,
    },
    /// Asks for missing bodies of a proposal.
    FetchBodies {
        /// Instance.
        height: Height,
        /// What is missing.
        entries: Vec<Entry>,
    },
    /// Answers [`Message::FetchBodies`]; unverified.
    Bodies {
        /// Instance.
        height: Height,
        /// Any part of what was asked.
        requests: Vec<Request>,
    },
    /// A lagging replica asks for decisions.
    FetchDecisions {
        /// First height wanted.
        from: Height,
        /// At most so many.
        max: u32,
    },
    /// Answers [`Message::FetchDecisions`]; believed only by their proofs.
    Decisions {
        /// Consecutive heights.
        decisions: Vec<Decided>,
    },
    /// Where the sender stands; sent on link-up, now and then, and when stuck.
    Status {
        /// [`View::id`](crate::View) of the sender.
        view: u64,
        /// Its regency.
        regency: Regency,
        /// The first height that the leader of this regency may propose freely,
        /// once the sender has seen the regency's SYNC.
        free_from: Option<Height>,
        /// Its last decided height.
        decided: Height,
    },
    /// Answers [`Message::FetchDecisions`] when the log here begins only later.
    Gone {
        /// The height that was asked for.
        from: Height,
        /// The first height that the sender can serve.
        oldest: Height,
    },
    /// Asks which of these requests, with MAC vectors, the receiver has verified. See `core/vouching.rs`.
    AskVouch {
        /// What is asked about.
        entries: Vec<Entry>,
        /// The sender saw a wrong MAC, not merely none or too few vouchers.
        doubted: bool,
    },
    /// "These I verified, or f + 1 others told me that they did."
    Vouch {
        /// [`Request::digest`]s.
        digests: Vec<Digest>,
    },
    /// "These of the proposal I cannot verify, and too few vouch for them." f + 1 of them end the regency.
    Refuse {
        /// [`View::id`](crate::View) of the sender.
        view: u64,
        /// Its regency.
        regency: Regency,
        /// Instance.
        height: Height,
        /// What it refuses.
        entries: Vec<Entry>,
    },
    /// State transfer: not for the core, but for the [`transfer`](crate::transfer) beside it.
    State(StateMessage),
    /// Asks for [`Message::Pong`], to measure the round trip.
    Ping {
        /// Secret until it is sent.
        nonce: u64,
    },
    /// Answers [`Message::Ping`] at once.
    Pong {
        /// The question's.
        nonce: u64,
    },
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes exceeds the limit of {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// Not an encoding of a message.
    #[error("not a protocol message: {0}")]
    Malformed(#[from] postcard::Error),
    /// Lists whose elements take far more memory than their encoding.
    #[error("a message of {0} bytes stands for too much memory")]
    TooMuchMemory(usize),
    /// A message, then something else.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

impl Message {
    /// The encoding that goes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        // Long ones have room from the start, instead of growing by doubling.
        let entries = match self {
            Self::Propose { batch, .. } => batch.entries.len(),
            _ => 2,
        };
        postcard::to_extend(self, Vec::with_capacity(64 * (entries + 1)))
            .expect("writing plain data to memory cannot fail")
    }

    /// Reads one message, within the bounds of [`decode`](crate::decode).
    ///
    /// # Errors
    /// When the bytes are no message, or would take too much memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        crate::decode(bytes)
    }

    /// A short name for logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "PROPOSE",
            Self::Write { .. } => "WRITE",
            Self::Accept { .. } => "ACCEPT",
            Self::Forward { .. } => "FORWARD",
            Self::Stop { .. } => "STOP",
            Self::StopData(_) => "STOPDATA",
            Self::Sync(_) => "SYNC",
            Self::FetchBatch { .. } => "FETCH-BATCH",
            Self::BatchOf { .. } => "BATCH",
            Self::FetchBodies { .. } => "FETCH-BODIES",
            Self::Bodies { .. } => "BODIES",
            Self::FetchDecisions { .. } => "FETCH-DECISIONS",
            Self::Decisions { .. } => "DECISIONS",
            Self::Status { .. } => "STATUS",
            Self::Gone { .. } => "GONE",
            Self::AskVouch { .. } => "ASK-VOUCH",
            Self::Vouch { .. } => "VOUCH",
            Self::Refuse { .. } => "REFUSE",
            Self::State(message) => message.name(),
            Self::Ping { .. } => "PING",
            Self::Pong { .. } => "PONG",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_truncation_and_trailing_bytes_are_refused_without_growth() {
        let good = Message::Stop {
            view: 0,
            regency: 3,
        }
        .encode();
        assert_eq!(
            Message::decode(&good),
            Ok(Message::Stop {
                view: 0,
                regency: 3
            })
        );
        let mut long = good.clone();
        long.push(0);
        assert_eq!(Message::decode(&long), Err(DecodeError::Trailing(1)));
        assert!(Message::decode(&good[..1]).is_err());
        // A PROPOSE that claims 2^60 entries and holds none.
        let mut bomb = vec![0, 1, 0, 0];
        bomb.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(Message::decode(&bomb).is_err());
        for seed in 0..2_000u32 {
            let junk = blake3::hash(&seed.to_le_bytes());
            let _ = Message::decode(junk.as_bytes());
        }
    }
}

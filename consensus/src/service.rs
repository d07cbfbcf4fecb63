//! What clients of a replicated service and its replicas say to each other, whatever the service is.
//!
//! Links are authenticated: a reply's sender is the link's peer and appears in no message. A request carries its
//! client's signature besides, since replicas show it to each other.

#![deny(missing_docs)]

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::core::Reason;
use crate::crypto::Digest;
use crate::ids::{ClientId, Height, Regency, ReplicaId};
use crate::reconfigure::ChangeError;
use crate::request::Request;
use crate::view::View;

/// The longest result that every replica sends whole (bytes): about what its digest would take too.
pub const SHORT_RESULT: usize = 64;
/// The longest query that a replica takes outside of the order (bytes): what waits for a height is held in memory.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// How far a client's newest request may be ahead of its oldest unanswered one. A replica keeps the answers to the last
/// 2 × this many of its requests: at most that many are executed while it still waits for one.
pub const CLIENT_WINDOW: u64 = 512;

/// From a client to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToReplica {
    /// To be ordered; its operation is a [`Call`]. Sent to all replicas. Sent again, it is answered again and not
    /// executed again.
    Request(Request),
    /// To be answered without being ordered.
    Query {
        /// The client's number for it; numbers of queries and of requests are apart.
        id: u64,
        /// Not before the replica has executed this height.
        min_height: Height,
        /// What is asked; opaque, at most [`MAX_QUERY_BYTES`].
        op: Bytes,
        /// Send the result itself, not only its digest.
        whole: bool,
    },
    /// Asks for the membership, if the replica knows a later one than this.
    View {
        /// [`View::id`](crate::View) of the one that the client knows.
        known: u64,
    },
}

/// From a replica to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// The answer to an ordered request, once its decision is durable and it is executed.
    Reply {
        /// The request's incarnation.
        incarnation: u64,
        /// Its number.
        seq: u64,
        /// The result.
        outcome: Outcome,
    },
    /// The answer to a query.
    Answer {
        /// The query's number.
        id: u64,
        /// The result.
        outcome: Outcome,
    },
    /// Why there is no answer to a request.
    Refused {
        /// Its incarnation.
        incarnation: u64,
        /// Its number.
        seq: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The membership that holds now, as [`announcement`] makes it. A client believes it when f + 1 members of the one that it
    /// knows say the same.
    View(Box<View>),
    /// The answer to an ordered request if this value is decided in this regency: the replica is durably locked on it. Believed when Q
    /// replicas say so of the same regency and value, or have it decided.
    Tentative {
        /// The request's incarnation.
        incarnation: u64,
        /// Its number.
        seq: u64,
        /// The regency of the lock.
        regency: Regency,
        /// The value's digest.
        value: Digest,
        /// The result.
        outcome: Outcome,
    },
}

/// A view as clients need it: without the other clients.
pub fn announcement(view: &View) -> View {
    View {
        clients: BTreeMap::new(),
        ..view.clone()
    }
}

/// What became of a [`Change`](crate::Change): the result of an administrator's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reconfigured {
    /// This view holds from the next height on.
    View(u64),
    /// Nothing was changed, and why.
    Unchanged(String),
}

impl Reconfigured {
    /// By what [`View::after`] says of the decision.
    pub fn of(change: &Result<View, ChangeError>) -> Self {
        match change {
            Ok(view) => Self::View(view.id),
            Err(why) => Self::Unchanged(why.to_string()),
        }
    }

    /// As a result.
    pub fn encode(&self) -> Bytes {
        postcard::to_stdvec(self)
            .expect("writing plain data to memory cannot fail")
            .into()
    }

    /// Out of a result; none when it is none of these.
    pub fn decode(result: &[u8]) -> Option<Self> {
        postcard::from_bytes(result).ok()
    }
}

/// Why a replica does not answer a request with a result. A client acts on what f + 1 replicas say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It was ordered and executed once; no answer to it is kept any more.
    #[error("the request was executed, but its answer is not kept any more")]
    AnswerGone,
    /// A newer incarnation of the client had a request ordered: this one will not be ordered any more.
    #[error("a newer incarnation of the client took over")]
    Stale,
    /// The operation is too long: it will not be ordered.
    #[error("the operation is too long")]
    TooLarge,
    /// Too far ahead of the client's oldest unordered request, for now.
    #[error("the sequence number lies beyond the window")]
    OutsideWindow,
    /// This replica has no room for it, for now.
    #[error("too much is pending at the replica")]
    TooMuchPending,
    /// Another request waits under this number.
    #[error("another request is pending under this number")]
    Conflict,
    /// Its MAC vector does not do at this replica: the same request is to be signed.
    #[error("the request must be signed")]
    MustSign,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Ordered => Self::AnswerGone,
            Reason::Stale => Self::Stale,
            Reason::TooLarge => Self::TooLarge,
            Reason::OutsideWindow => Self::OutsideWindow,
            Reason::TooMuchPending => Self::TooMuchPending,
            Reason::Conflict => Self::Conflict,
            Reason::MustSign => Self::MustSign,
        }
    }
}

/// What an ordered request asks of the service: the operation that its client signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To be executed at its place in the order.
    Execute(Bytes),
    /// A query that found no quorum outside of the order, to be answered at its place.
    Query(Bytes),
}

impl Call {
    /// As the operation of a [`Request`]: one byte, then what is asked.
    pub fn encode(&self) -> Bytes {
        let (kind, op) = match self {
            Self::Execute(op) => (0, op),
            Self::Query(op) => (1, op),
        };
        let mut encoded = BytesMut::with_capacity(op.len() + 1);
        encoded.put_u8(kind);
        encoded.put_slice(op);
        encoded.freeze()
    }

    /// Out of a request's operation; none when it is no call.
    pub fn decode(op: &Bytes) -> Option<Self> {
        match op.first()? {
            0 => Some(Self::Execute(op.slice(1..))),
            1 => Some(Self::Query(op.slice(1..))),
            _ => None,
        }
    }
}

/// The replica that sends the result of a client's request or query whole: each in turn, by number.
pub fn designated(view: &View, client: ClientId, number: u64) -> Option<ReplicaId> {
    let turn = u64::from(client.0)
        .wrapping_add(number)
        .checked_rem(view.replicas.len() as u64)?;
    view.replicas.keys().nth(turn as usize).copied()
}

/// A result as one replica has it. Two outcomes match when view, height and digest are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`View::id`](crate::View) in which it was executed.
    pub view: u64,
    /// The request's height; for a query, the last one executed before it.
    pub height: Height,
    /// [`Digest::of_result`] of the result.
    pub digest: Digest,
    /// The result; the [`designated`] replica sends it, the others its digest only, unless it is short.
    pub result: Option<Bytes>,
}

impl Outcome {
    /// Of a result that this replica computed.
    pub fn new(view: u64, height: Height, result: Bytes, whole: bool) -> Self {
        let digest = Digest::of_result(&result);
        let result = (whole || result.len() <= SHORT_RESULT).then_some(result);
        Self {
            view,
            height,
            digest,
            result,
        }
    }

    /// Whether the result, if there is one, is what the digest says. A client looks before it counts.
    pub fn is_consistent(&self) -> bool {
        self.result
            .as_ref()
            .is_none_or(|result| Digest::of_result(result) == self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_comes_out_of_its_request_as_it_went_in() {
        for call in [
            Call::Execute(Bytes::from_static(b"add")),
            Call::Query(Bytes::new()),
        ] {
            assert_eq!(Call::decode(&call.encode()), Some(call));
        }
        assert_eq!(Call::decode(&Bytes::new()), None);
        assert_eq!(Call::decode(&Bytes::from_static(&[2, 3])), None);
    }

    #[test]
    fn a_long_result_is_sent_by_its_digest_only() {
        let long = Bytes::from(vec![7; SHORT_RESULT + 1]);
        let digest = Outcome::new(0, 1, long.clone(), false);
        let whole = Outcome::new(0, 1, long.clone(), true);
        assert_eq!((digest.result, digest.digest), (None, whole.digest));
        assert_eq!(whole.result, Some(long));
        let short = Bytes::from(vec![7; SHORT_RESULT]);
        assert_eq!(Outcome::new(0, 1, short.clone(), false).result, Some(short));
    }

    #[test]
    fn a_result_that_is_not_its_digest_is_seen() {
        let mut outcome = Outcome::new(0, 1, Bytes::from_static(b"three"), true);
        assert!(outcome.is_consistent());
        outcome.result = Some(Bytes::from_static(b"four"));
        assert!(!outcome.is_consistent());
    }
}

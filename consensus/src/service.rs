//! What clients of a replicated service and its replicas say to each other, whatever the service is.
//!
//! Links are authenticated: a reply's sender is the link's peer and appears in no message. A request carries its
//! client's signature besides, since replicas show it to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::Digest;
use crate::ids::Height;
use crate::request::Request;

/// From a client to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToReplica {
    /// To be ordered; sent to all replicas. Sent again, it is answered again and not executed again.
    Request(Request),
    /// To be answered without being ordered.
    Query {
        /// The client's number for it; numbers of queries and of requests are apart.
        id: u64,
        /// Not before the replica has executed this height.
        min_height: Height,
        /// What is asked; opaque.
        op: Bytes,
        /// Send the result itself, not only its digest.
        whole: bool,
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
    /// The request was not taken; nothing was done.
    Rejected {
        /// Its incarnation.
        incarnation: u64,
        /// Its number.
        seq: u64,
        /// For people.
        reason: String,
    },
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
    /// The result; one replica sends it, the others its digest only, unless it is short.
    pub result: Option<Bytes>,
}

/// The longest result that every replica sends whole (bytes): about what its digest would take too.
pub const SHORT_RESULT: usize = 64;

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

//! How the total order's own words look among the messages of transactions.

use bytes::Bytes;
use consensus::{Reason, Request};
use order::Wire;
use serde::Serialize;
use txn::client::{ClientMessage, ReplicaMessage};

/// The messages of `txn`.
pub struct TransactionWire;

impl Wire for TransactionWire {
    fn request(&self, request: &Request) -> Bytes {
        encode(&ClientMessage::Request(request.clone()))
    }

    fn rejected(&self, incarnation: u64, seq: u64, reason: &Reason) -> Bytes {
        encode(&match reason {
            Reason::MustSign => ReplicaMessage::MustSign { incarnation, seq },
            reason => ReplicaMessage::Rejected {
                incarnation,
                seq,
                reason: reason.to_string(),
            },
        })
    }
}

fn encode(message: &impl Serialize) -> Bytes {
    postcard::to_stdvec(message)
        .expect("these types have no unserialisable parts")
        .into()
}

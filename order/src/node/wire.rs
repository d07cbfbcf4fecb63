//! The messages of `consensus::service` as bytes.

use bytes::Bytes;
use consensus::service::{ToClient, ToReplica};
use consensus::{Reason, Request};

use crate::run::Wire;

/// How a node's order speaks on the clients' channel.
pub struct ServiceWire;

impl Wire for ServiceWire {
    fn request(&self, request: &Request) -> Bytes {
        postcard::to_stdvec(&ToReplica::Request(request.clone()))
            .expect("these types have no unserialisable parts")
            .into()
    }

    fn rejected(&self, incarnation: u64, seq: u64, reason: &Reason) -> Bytes {
        encode(&ToClient::Refused {
            incarnation,
            seq,
            refusal: (*reason).into(),
        })
    }
}

/// A message to a client.
pub fn encode(message: &ToClient) -> Bytes {
    postcard::to_stdvec(message)
        .expect("these types have no unserialisable parts")
        .into()
}

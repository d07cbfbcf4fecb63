//! The client's end of [`Auth`]: it authenticates requests as the view wants them.

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::auth::{ClientAuthentication, PairKeys};
use crate::ids::ClientId;
use crate::request::Request;
use crate::view::View;

/// One client's key, and what it shares with the replicas.
#[derive(Debug)]
pub struct Author {
    key: SigningKey,
    client: ClientId,
    pairs: PairKeys,
    signs: bool,
}

impl Author {
    /// Of this client.
    pub fn new(client: ClientId, key: SigningKey) -> Self {
        Self {
            pairs: PairKeys::of(&key),
            key,
            client,
            signs: false,
        }
    }

    /// The client's own key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Signs all requests from now on: so many replicas asked for it that a correct one is among them.
    pub fn sign_from_now_on(&mut self) {
        self.signs = true;
    }

    /// A request as the view wants it: with a MAC vector if that is taken and this client need not sign.
    pub fn request(
        &mut self,
        view: &View,
        incarnation: u64,
        seq: u64,
        op: impl Into<Bytes>,
    ) -> Request {
        let op = op.into();
        let macs = view.client_authentication == ClientAuthentication::Macs
            && !self.signs
            && !view.must_sign(self.client);
        if macs
            && let Some(request) =
                Request::with_macs(&mut self.pairs, view, self.client, incarnation, seq, &op)
        {
            return request;
        }
        self.signed(incarnation, seq, op)
    }

    /// A signed request, whatever the view says: every replica of every view takes it.
    pub fn signed(&self, incarnation: u64, seq: u64, op: impl Into<Bytes>) -> Request {
        Request::sign(&self.key, self.client, incarnation, seq, op)
    }
}

impl View {
    /// Whether this client always signs: what it asks must convince others later, or is rare.
    pub fn must_sign(&self, client: ClientId) -> bool {
        client.as_replica().is_some() || self.administers(client)
    }
}

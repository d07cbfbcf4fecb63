//! Clients: they sign, send to all, and send again until the order has their request.

use std::collections::BTreeMap;

use consensus::{ClientId, PublicKey, Request, SigningKey, Verified, View};

/// A simulated client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    key: SigningKey,
    incarnation: u64,
    next_seq: u64,
    /// Whether it follows the protocol; nobody waits for the requests of one that does not.
    pub honest: bool,
    /// Not known to be ordered yet.
    pub waiting: BTreeMap<(u64, u64), Verified<Request>>,
}

impl Client {
    /// Client number `index`, with a key of its own.
    pub fn new(index: usize, honest: bool) -> Self {
        let mut secret = [0xc1; 32];
        secret[0] = index as u8;
        Self {
            id: ClientId(ClientId::FIRST_ORDINARY + index as u32),
            key: SigningKey::from_bytes(&secret),
            incarnation: 1,
            next_seq: 1,
            honest,
            waiting: BTreeMap::new(),
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of(&self.key)
    }

    /// Signs its next request.
    pub fn submit(&mut self, view: &View) -> Option<Verified<Request>> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let op = format!("{} {} {seq}", self.id, self.incarnation).into_bytes();
        let request = Request::sign(&self.key, self.id, self.incarnation, seq, op);
        let request = request.verify(view).ok()?;
        self.waiting
            .insert((self.incarnation, seq), request.clone());
        Some(request)
    }

    /// Another request under the number of `request`.
    pub fn twin(&self, request: &Request, view: &View) -> Option<Verified<Request>> {
        let op = b"the other one".to_vec();
        let twin = Request::sign(&self.key, self.id, request.incarnation, request.seq, op);
        twin.verify(view).ok()
    }

    /// Starts anew: a greater incarnation, the old requests given up.
    pub fn restart(&mut self) {
        self.incarnation += 1;
        self.next_seq = 1;
        self.waiting.clear();
    }
}

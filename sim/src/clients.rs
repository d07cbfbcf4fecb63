//! Clients: they sign, send to all, and send again until the order has their request.

use std::collections::BTreeMap;

use consensus::{ClientId, PublicKey, ReplicaId, Request, SigningKey, Verified, View};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It follows the protocol.
    Honest,
    /// It follows the protocol but reaches this one replica only; the others hear by FORWARD.
    Quiet(ReplicaId),
    /// Different requests under one number, to different replicas.
    Twins,
    /// It sends what was ordered long ago, for ever.
    Replays,
    /// It sends more than the bounds allow.
    Floods,
    /// Numbers with gaps and far beyond the window.
    Jumps,
    /// It goes back to older incarnations.
    Returns,
}

impl Manner {
    /// All that are no client's duty.
    pub const LIES: [Self; 5] = [
        Self::Twins,
        Self::Replays,
        Self::Floods,
        Self::Jumps,
        Self::Returns,
    ];

    /// Whether the order owes it anything.
    pub fn is_honest(self) -> bool {
        matches!(self, Self::Honest | Self::Quiet(_))
    }
}

/// A simulated client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    key: SigningKey,
    incarnation: u64,
    next_seq: u64,
    /// How it behaves.
    pub manner: Manner,
    /// Not known to be ordered yet.
    pub waiting: BTreeMap<(u64, u64), Verified<Request>>,
}

impl Client {
    /// Client number `index`, with a key of its own.
    pub fn new(index: usize, manner: Manner) -> Self {
        let mut secret = [0xc1; 32];
        secret[0] = index as u8;
        Self {
            id: ClientId(ClientId::FIRST_ORDINARY + index as u32),
            key: SigningKey::from_bytes(&secret),
            incarnation: 1,
            next_seq: 1,
            manner,
            waiting: BTreeMap::new(),
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of(&self.key)
    }

    fn sign(&self, seq: u64, op: Vec<u8>, view: &View) -> Option<Verified<Request>> {
        let request = Request::sign(&self.key, self.id, self.incarnation, seq, op);
        request.verify(view).ok()
    }

    /// Signs its next request.
    pub fn submit(&mut self, view: &View) -> Option<Verified<Request>> {
        let seq = self.next_seq;
        self.next_seq += if self.manner == Manner::Jumps {
            1_500
        } else {
            1
        };
        let mut op = format!("{} {} {seq}", self.id, self.incarnation).into_bytes();
        if self.manner == Manner::Floods {
            op.resize(1_500, 0);
        }
        let request = self.sign(seq, op, view)?;
        self.waiting
            .insert((self.incarnation, seq), request.clone());
        Some(request)
    }

    /// Another request under the number of `request`.
    pub fn twin(&self, request: &Request, view: &View) -> Option<Verified<Request>> {
        self.sign(request.seq, b"the other one".to_vec(), view)
    }

    /// Starts anew: a greater incarnation, the old requests given up.
    pub fn restart(&mut self) {
        self.incarnation += 1;
        self.next_seq = 1;
        if self.manner.is_honest() {
            self.waiting.clear();
        }
    }
}

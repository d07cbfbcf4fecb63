//! Clients: they sign, send to all, and send again until the order has their request.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    Auth, Author, ClientAuthentication, ClientId, MAC_BYTES, PublicKey, ReplicaId, Request,
    SigningKey, Verified, View,
};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It follows the protocol.
    Honest,
    /// It follows the protocol, and its requests change the view.
    Administers,
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
    /// MAC vectors that some replicas find right and others do not.
    HalfMacs,
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
        matches!(self, Self::Honest | Self::Administers | Self::Quiet(_))
    }
}

/// A simulated client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    /// The newest last; it signs with the one that the view names.
    keys: Vec<(PublicKey, SigningKey)>,
    incarnation: u64,
    next_seq: u64,
    /// How it behaves.
    pub manner: Manner,
    /// It has MAC vectors made, where the view takes them.
    author: RefCell<Author>,
    /// Who wants which request signed.
    told: BTreeMap<(u64, u64), BTreeSet<ReplicaId>>,
    /// Not known to be ordered yet.
    pub waiting: BTreeMap<(u64, u64), Signed>,
}

/// A request, and the key that verifies it: a replica whose view names another one for its client refuses it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The request.
    pub request: Request,
    /// The same, verified once for all; one with MACs each replica verifies for itself.
    pub verified: Option<Verified<Request>>,
    /// Its client's key.
    pub key: PublicKey,
}

impl Client {
    /// Client number `index`, with a key of its own.
    pub fn new(index: usize, manner: Manner) -> Self {
        let id = ClientId(ClientId::FIRST_ORDINARY + index as u32);
        let first = key(index as u8, 0);
        Self {
            id,
            author: RefCell::new(Author::new(id, first.1.clone())),
            told: BTreeMap::new(),
            keys: vec![first],
            incarnation: 1,
            next_seq: 1,
            manner,
            waiting: BTreeMap::new(),
        }
    }

    /// Its newest public key.
    pub fn public_key(&self) -> PublicKey {
        self.keys.last().expect("it has one from the beginning").0
    }

    /// Another key, to be signed with once a view names it.
    pub fn new_key(&mut self) -> PublicKey {
        let index = (self.id.0 - ClientId::FIRST_ORDINARY) as u8;
        self.keys.push(key(index, self.keys.len() as u8));
        self.public_key()
    }

    fn sign(&self, seq: u64, op: Vec<u8>, view: &View) -> Option<Signed> {
        self.sign_in(self.incarnation, seq, op, view)
    }

    fn sign_in(&self, incarnation: u64, seq: u64, op: Vec<u8>, view: &View) -> Option<Signed> {
        let named = *view.client_key(self.id)?;
        let (_, key) = self.keys.iter().find(|(public, _)| *public == named)?;
        if view.client_authentication == ClientAuthentication::Macs {
            let mut author = self.author.borrow_mut();
            let mut request = author.request(view, incarnation, seq, op);
            self.spoil(&mut request, view);
            return signed(request, named, view);
        }
        signed(
            Request::sign(key, self.id, incarnation, seq, op),
            named,
            view,
        )
    }

    /// Makes a vector wrong for some replicas.
    fn spoil(&self, request: &mut Request, view: &View) {
        let Auth::Macs(macs) = &mut request.auth else {
            return;
        };
        if self.manner != Manner::HalfMacs {
            return;
        }
        let right = match request.seq % 4 {
            0 => 1,
            1 => view.one_correct(),
            2 => view.n() - 1,
            _ => view.n(),
        };
        let mut vector = macs.vector.to_vec();
        // Which ones: others each time.
        for place in right..view.n() {
            let place = (place + request.seq as usize / 4) % view.n();
            vector[place * MAC_BYTES] ^= 1;
        }
        macs.vector = vector.into();
    }

    /// What waits under this name with a MAC vector, signed.
    pub fn resign(&mut self, name: (u64, u64), view: &View) -> Option<Signed> {
        let waits = self.waiting.get(&name)?;
        if waits.request.auth.is_signature() {
            return None;
        }
        let op = waits.request.op.clone();
        let request = self.author.borrow().signed(name.0, name.1, op);
        let signed = signed(request, waits.key, view)?;
        self.waiting.insert(name, signed.clone());
        Some(signed)
    }

    /// A replica wants a request signed. When a correct one must be among those who do, it and all that follow are.
    pub fn must_sign(&mut self, name: (u64, u64), from: ReplicaId, view: &View) -> Option<Signed> {
        let told = self.told.entry(name).or_default();
        told.insert(from);
        if !self.manner.is_honest() || told.len() < view.one_correct() {
            return None;
        }
        self.author.borrow_mut().sign_from_now_on();
        self.resign(name, view)
    }

    /// Signs its next request.
    pub fn submit(&mut self, view: &View) -> Option<Signed> {
        let seq = self.next_seq;
        let mut op = format!("{} {} {seq}", self.id, self.incarnation).into_bytes();
        if self.manner == Manner::Floods {
            op.resize(1_500, 0);
        }
        self.ask(op, view)
    }

    /// Signs its next request with this operation.
    pub fn ask(&mut self, op: Vec<u8>, view: &View) -> Option<Signed> {
        let seq = self.next_seq;
        self.next_seq += if self.manner == Manner::Jumps {
            1_500
        } else {
            1
        };
        let signed = self.sign(seq, op, view)?;
        self.waiting.insert((self.incarnation, seq), signed.clone());
        Some(signed)
    }

    /// Another request under the number of `request`.
    pub fn twin(&self, request: &Request, view: &View) -> Option<Signed> {
        self.sign(request.seq, b"the other one".to_vec(), view)
    }

    /// What a thief signs with the client's key, under a number that the client does not come to.
    pub fn stolen(&self, at: u64, view: &View) -> Option<Signed> {
        self.sign(2_000 + at, b"stolen".to_vec(), view)
    }

    /// A view begins: if it names another key than before, what waits is signed again.
    pub fn follow(&mut self, view: &View) {
        let named = view.client_key(self.id).copied();
        let old = self.waiting.iter();
        let old = old.filter(|(_, signed)| named.is_some_and(|key| key != signed.key));
        let again: Vec<_> = old
            .filter_map(|(name, signed)| {
                let op = signed.request.op.to_vec();
                Some((*name, self.sign_in(name.0, name.1, op, view)?))
            })
            .collect();
        self.waiting.extend(again);
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

fn signed(request: Request, key: PublicKey, view: &View) -> Option<Signed> {
    let verified = match request.auth.is_signature() {
        true => Some(request.clone().verify(view).ok()?),
        false => None,
    };
    Some(Signed {
        request,
        verified,
        key,
    })
}

fn key(index: u8, generation: u8) -> (PublicKey, SigningKey) {
    let mut secret = [0xc1; 32];
    (secret[0], secret[1]) = (index, 0xc1 ^ generation);
    let key = SigningKey::from_bytes(&secret);
    (PublicKey::of(&key), key)
}

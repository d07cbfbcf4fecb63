//! A client's request, and the type that says it was verified.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auth::{self, Auth, ClientAuthentication, End, Macs, PairKeys};
use crate::crypto::{
    DOMAIN_REQUEST, DOMAIN_REQUEST_DIGEST, DOMAIN_REQUEST_DIGEST_MACS, Digest, PublicKey, Signature,
};
use crate::ids::{ClientId, ReplicaId};
use crate::signatures::{self, Claim, Points};
use crate::view::View;

/// What a client asks to be ordered, exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub client: ClientId,
    /// Start time of the client's process; only grows.
    pub incarnation: u64,
    /// Number within the incarnation, from 1.
    pub seq: u64,
    /// The operation, opaque to the total order. Cloning it is cheap.
    pub op: Bytes,
    /// The client's word for all of the above.
    pub auth: Auth,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The view knows no such client.
    #[error("{0} is not in the view: add its key to the cluster file")]
    UnknownClient(ClientId),
    /// The signature is not the client's.
    #[error("the signature of {0}'s request is wrong: it was altered or signed with another key")]
    BadSignature(ClientId),
    /// The MAC for this replica is not the one that the client's key gives.
    #[error(
        "{0}'s request has a wrong MAC for this replica: it was altered, or its client is faulty"
    )]
    BadMac(ClientId),
    /// The vector does not fit the view, or this view or client has none.
    #[error("{0}'s request has a MAC vector that this view does not take: sign it")]
    NoMac(ClientId),
    /// `seq` 0 does not exist.
    #[error("{0} sent sequence number 0: they start at 1")]
    SeqZero(ClientId),
}

/// A value whose signature was verified, with its digest, computed once.
///
/// It can only be made by a verification, so that an unchecked request cannot
/// stand where a checked one is needed. Cloning it is cheap: all clones share the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(Arc<Checked<T>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Checked<T> {
    value: T,
    digest: Digest,
}

impl<T> Verified<T> {
    fn new(value: T, digest: Digest) -> Self {
        Self(Arc::new(Checked { value, digest }))
    }

    /// The digest of the value.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }
}

impl<T: Clone> Verified<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0).value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl Verified<Request> {
    /// Takes back a request from this replica's own log, where only verified ones are written.
    pub(crate) fn from_own_log(value: Request) -> Self {
        let digest = value.digest();
        Self::new(value, digest)
    }

    /// A request that f + 1 members vouch for, or that a correct one wrote: one of them verified it itself.
    pub(crate) fn vouched(value: Request) -> Self {
        Self::from_own_log(value)
    }

    /// A request whose authenticator is not looked at.
    #[cfg(feature = "mutation")]
    pub(crate) fn unchecked(value: Request) -> Self {
        Self::from_own_log(value)
    }
}

impl Request {
    /// Rough size of its encoding and of the entry that names it in a batch.
    pub(crate) fn weight(&self) -> usize {
        let auth = match &self.auth {
            Auth::Signature(_) => 64,
            Auth::Macs(macs) => macs.vector.len(),
        };
        self.op.len() + auth + 96
    }

    /// Signs a request.
    pub fn sign(
        key: &SigningKey,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        op: impl Into<Bytes>,
    ) -> Self {
        let op = op.into();
        let content = content(client, incarnation, seq, &op);
        let signature = Signature::sign(key, &signed_bytes(content));
        Self {
            client,
            incarnation,
            seq,
            op,
            auth: Auth::Signature(signature),
        }
    }

    /// A request with a MAC for each member of `view`.
    pub(crate) fn with_macs(
        pairs: &mut PairKeys,
        view: &View,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        op: &Bytes,
    ) -> Option<Self> {
        let content = content(client, incarnation, seq, op);
        let macs = auth::vector(pairs, view, &content)?;
        Some(Self {
            client,
            incarnation,
            seq,
            op: op.clone(),
            auth: Auth::Macs(macs),
        })
    }

    /// Identifies the request *with its authenticator*: a batch that names this digest pins bytes that anyone can
    /// verify later (a signature), or that f + 1 replicas had verified (MACs).
    pub fn digest(&self) -> Digest {
        self.digest_with(content(self.client, self.incarnation, self.seq, &self.op))
    }

    fn digest_with(&self, content: Digest) -> Digest {
        match &self.auth {
            Auth::Signature(signature) => {
                Digest::of(DOMAIN_REQUEST_DIGEST, &[&content.0, &signature.0])
            }
            Auth::Macs(Macs { view, vector }) => Digest::of(
                DOMAIN_REQUEST_DIGEST_MACS,
                &[&content.0, &view.to_le_bytes(), vector],
            ),
        }
    }

    /// Checks the client and its signature.
    pub fn verify(self, view: &View) -> Result<Verified<Self>, RequestError> {
        verify_batch(vec![self], view)
            .pop()
            .expect("one request in, one verdict out")
    }
}

/// [`Verifier::verify_batch`] by a verifier that knows no key yet.
pub fn verify_batch(
    requests: Vec<Request>,
    view: &View,
) -> Vec<Result<Verified<Request>, RequestError>> {
    Verifier::default().verify_batch(requests, view)
}

/// Verifies clients' requests; keeps the decoded keys of the view's clients (about 200 bytes each), and what this replica
/// shares with them (about 100).
#[derive(Debug, Default)]
pub struct Verifier {
    keys: Points,
    /// Of this replica, and of each key that a view may name for it.
    mine: Vec<PairKeys>,
    me: Option<ReplicaId>,
}

impl Verifier {
    /// A replica's. Without one no MAC is believed.
    pub fn of<'a>(me: ReplicaId, keys: impl IntoIterator<Item = &'a SigningKey>) -> Self {
        Self {
            keys: Points::new(),
            mine: keys.into_iter().map(PairKeys::of).collect(),
            me: Some(me),
        }
    }

    /// Another key that a view may name for this replica.
    pub fn offer(&mut self, key: &SigningKey) {
        self.mine.push(PairKeys::of(key));
    }

    /// Verifies many requests at once: signatures faster than one by one; a bad one among them is found
    /// by halving. The outcome for a signed request never depends on its company (see
    /// `signatures.rs`), so all replicas judge alike; that for a MAC vector is this replica's alone.
    pub fn verify_batch(
        &mut self,
        requests: Vec<Request>,
        view: &View,
    ) -> Vec<Result<Verified<Request>, RequestError>> {
        let most = view.replicas.len() + view.clients.len();
        if self.keys.len() > most {
            // Keys of an earlier view.
            self.keys.clear();
        }
        let contents: Vec<Digest> = requests
            .iter()
            .map(|r| content(r.client, r.incarnation, r.seq, &r.op))
            .collect();
        let signed = self.signatures(&requests, &contents, view);
        let mut own = self.own(view);
        if let Some((_, pairs)) = &mut own {
            pairs.trim(most);
        }
        let judged = requests.into_iter().zip(contents).zip(signed);
        judged
            .map(|((request, content), signed)| {
                match (&request.auth, view.client_key(request.client)) {
                    (_, None) => Err(RequestError::UnknownClient(request.client)),
                    (Auth::Signature(_), Some(_)) if !signed => {
                        Err(RequestError::BadSignature(request.client))
                    }
                    (Auth::Signature(_), Some(_)) => Ok(()),
                    (Auth::Macs(macs), Some(key)) => {
                        verify_mac(&mut own, view, request.client, macs, key, &content)
                    }
                }?;
                if request.seq == 0 {
                    return Err(RequestError::SeqZero(request.client));
                }
                let digest = request.digest_with(content);
                Ok(Verified::new(request, digest))
            })
            .collect()
    }

    /// Which of the requests are rightly signed.
    fn signatures(&mut self, requests: &[Request], contents: &[Digest], view: &View) -> Vec<bool> {
        if requests.iter().all(|request| !request.auth.is_signature()) {
            return vec![false; requests.len()];
        }
        let claims: Vec<Option<Claim>> = requests
            .iter()
            .zip(contents)
            .map(|(request, content)| match request.auth {
                Auth::Signature(signature) => Some(Claim {
                    key: *view.client_key(request.client)?,
                    message: signed_bytes(*content),
                    signature,
                }),
                Auth::Macs(_) => None,
            })
            .collect();
        signatures::verify(&claims, &mut self.keys)
    }

    /// This replica's place in the vectors of `view`, and the keys that it shares under its name there.
    fn own(&mut self, view: &View) -> Option<(usize, &mut PairKeys)> {
        let me = self.me?;
        let key = view.replica_key(me)?;
        let place = auth::place(view, me)?;
        let pairs = self.mine.iter_mut().find(|pairs| pairs.owner() == key)?;
        Some((place, pairs))
    }
}

fn verify_mac(
    own: &mut Option<(usize, &mut PairKeys)>,
    view: &View,
    client: ClientId,
    macs: &Macs,
    key: &PublicKey,
    content: &Digest,
) -> Result<(), RequestError> {
    let taken = view.client_authentication == ClientAuthentication::Macs
        && !view.must_sign(client)
        && macs.view == view.id;
    let Some((place, pairs)) = own.as_mut().filter(|_| taken) else {
        return Err(RequestError::NoMac(client));
    };
    let claimed = macs.at(*place, view.n());
    let right = pairs.mac(End::Replica, key, content);
    match (claimed, right) {
        // A comparison in constant time: nobody learns a MAC by trying.
        (Some(claimed), Some(right)) if equal_in_constant_time(claimed, &right) => Ok(()),
        _ => Err(RequestError::BadMac(client)),
    }
}

/// Equality that takes the same time wherever they differ.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn content(client: ClientId, incarnation: u64, seq: u64, op: &[u8]) -> Digest {
    Digest::of(
        DOMAIN_REQUEST,
        &[
            &client.0.to_le_bytes(),
            &incarnation.to_le_bytes(),
            &seq.to_le_bytes(),
            op,
        ],
    )
}

/// What is signed: the domain and the content's digest, so that a large
/// operation is hashed once, by BLAKE3.
fn signed_bytes(content: Digest) -> Vec<u8> {
    [DOMAIN_REQUEST, &content.0].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::crypto::PublicKey;
    use crate::ids::ReplicaId;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn view() -> View {
        View {
            id: 0,
            f: 0,
            replicas: BTreeMap::from([(ReplicaId(0), PublicKey::of(&key(1)))]),
            clients: BTreeMap::from([(ClientId(70_000), PublicKey::of(&key(2)))]),
            ..View::default()
        }
    }

    fn signed(seq: u64) -> Request {
        Request::sign(&key(2), ClientId(70_000), 5, seq, vec![seq as u8; 20])
    }

    #[test]
    fn one_altered_request_among_many_is_found_and_the_others_stand() {
        let mut requests: Vec<Request> = (1..=100).map(signed).collect();
        requests[37].op = Bytes::from_static(b"altered");
        let verdicts = verify_batch(requests, &view());
        for (at, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict.is_ok(), at != 37, "request {at}");
        }
    }

    #[test]
    fn a_request_is_bound_to_its_client_incarnation_and_number() {
        let good = signed(1);
        assert!(good.clone().verify(&view()).is_ok());
        let replica = Request {
            client: ClientId(0),
            ..good.clone()
        };
        let stranger = Request {
            client: ClientId(70_001),
            ..good.clone()
        };
        let later = Request {
            incarnation: 6,
            ..good.clone()
        };
        let other = Request { seq: 2, ..good };
        for bad in [replica, stranger, later, other] {
            assert!(bad.verify(&view()).is_err());
        }
    }

    #[test]
    fn a_replica_may_be_a_client_under_its_own_number() {
        let request = Request::sign(&key(1), ClientId::of(ReplicaId(0)), 1, 1, vec![]);
        assert!(request.verify(&view()).is_ok());
    }

    #[test]
    fn the_digest_covers_the_signature() {
        let a = signed(1);
        let mut b = a.clone();
        let Auth::Signature(signature) = &mut b.auth else {
            panic!("it is signed")
        };
        signature.0[0] ^= 1;
        assert_ne!(a.digest(), b.digest());
    }
}

//! How a client shows that a request is its own: a signature, or a vector of one MAC per replica.
//!
//! A MAC convinces one replica only. What that costs in the order, and how replicas vouch for each other's checks, is in
//! `core/vouching.rs`.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize};

use crate::crypto::{Digest, PublicKey, Signature};
use crate::ids::ReplicaId;
use crate::reconfigure::MAX_REPLICAS;
use crate::view::View;

/// Bytes of one MAC: 128 bits, of which a guess hits one in 2^128.
pub const MAC_BYTES: usize = 16;
/// What a pair key is derived for.
const CONTEXT: &str = "SteelDB 2026-11 client-to-replica request MAC";

/// What replicas of a view take from its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// Requests signed by their clients; nothing else.
    #[default]
    Signatures,
    /// MAC vectors, and signatures where a client must or likes to sign.
    Macs,
}

/// A request's authenticator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// Anyone can verify it.
    Signature(Signature),
    /// Each replica can verify its own.
    Macs(Macs),
}

/// One MAC for each member of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macs {
    /// [`View::id`] of that view: in another one the vector says nothing.
    pub view: u64,
    /// [`MAC_BYTES`] for each member, by ascending number.
    #[serde(deserialize_with = "bounded")]
    pub vector: Bytes,
}

/// No replica is asked to keep a longer vector than the largest view can have.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let vector = Bytes::deserialize(deserializer)?;
    if vector.len() > MAC_BYTES * MAX_REPLICAS {
        let why = format!("a MAC vector of {} bytes", vector.len());
        return Err(serde::de::Error::custom(why));
    }
    Ok(vector)
}

impl Auth {
    /// Whether third parties can verify it.
    pub fn is_signature(&self) -> bool {
        matches!(self, Self::Signature(_))
    }
}

impl Macs {
    /// The MAC at a place of the vector; none when the vector is not one for `members`.
    pub(crate) fn at(&self, place: usize, members: usize) -> Option<&[u8]> {
        if self.vector.len() != members * MAC_BYTES {
            return None;
        }
        self.vector.chunks_exact(MAC_BYTES).nth(place)
    }
}

/// The keys that one party shares with others, each derived once, without messages: static Diffie-Hellman on the
/// Montgomery form of the Ed25519 identities.
///
/// 32 bytes for each key pair met; a view's members or clients bound them (see [`PairKeys::trim`]).
pub(crate) struct PairKeys {
    /// The clamped scalar of this party's key.
    secret: [u8; 32],
    me: PublicKey,
    keys: BTreeMap<PublicKey, Option<[u8; 32]>>,
}

/// Which end of a pair this party is.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Client,
    Replica,
}

impl PairKeys {
    pub fn of(key: &SigningKey) -> Self {
        Self {
            secret: key.to_scalar_bytes(),
            me: PublicKey::of(key),
            keys: BTreeMap::new(),
        }
    }

    /// Whose keys these are.
    pub fn owner(&self) -> &PublicKey {
        &self.me
    }

    /// Forgets all when there are more than a view can need: some belong to earlier ones.
    pub fn trim(&mut self, most: usize) {
        if self.keys.len() > most {
            self.keys.clear();
        }
    }

    /// The MAC of a request's content under the key shared with `peer`; none when the peer's key is no point.
    pub fn mac(&mut self, end: End, peer: &PublicKey, content: &Digest) -> Option<[u8; MAC_BYTES]> {
        let (secret, me) = (&self.secret, &self.me);
        let key = self
            .keys
            .entry(*peer)
            .or_insert_with(|| derive(secret, me, peer, end));
        let full = blake3::keyed_hash(key.as_ref()?, &content.0);
        full.as_bytes()[..MAC_BYTES].try_into().ok()
    }
}

/// Both identities enter, in one order for both ends, so that a key serves one pair in one direction.
fn derive(secret: &[u8; 32], me: &PublicKey, peer: &PublicKey, end: End) -> Option<[u8; 32]> {
    let point = VerifyingKey::from_bytes(&peer.0).ok()?;
    let shared = point.to_montgomery().mul_clamped(*secret);
    let (client, replica) = match end {
        End::Client => (me, peer),
        End::Replica => (peer, me),
    };
    let material = [shared.to_bytes(), client.0, replica.0].concat();
    Some(blake3::derive_key(CONTEXT, &material))
}

/// The vector for all members of `view`.
pub(crate) fn vector(pairs: &mut PairKeys, view: &View, content: &Digest) -> Option<Macs> {
    pairs.trim(2 * MAX_REPLICAS);
    let mut vector = Vec::with_capacity(MAC_BYTES * view.n());
    for key in view.replicas.values() {
        vector.extend_from_slice(&pairs.mac(End::Client, key, content)?);
    }
    Some(Macs {
        view: view.id,
        vector: vector.into(),
    })
}

/// Where `me` stands in the vectors of `view`.
pub(crate) fn place(view: &View, me: ReplicaId) -> Option<usize> {
    view.replicas.keys().position(|id| *id == me)
}

impl std::fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PairKeys({} known)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_derive_the_same_key_and_others_another() {
        let [client, replica, other] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let content = Digest([7; 32]);
        let mac = |key, end, peer| {
            PairKeys::of(key)
                .mac(end, &PublicKey::of(peer), &content)
                .unwrap()
        };
        let made = mac(&client, End::Client, &replica);
        assert_eq!(made, mac(&replica, End::Replica, &client));
        assert_ne!(made, mac(&other, End::Replica, &client));
        assert_ne!(
            made,
            mac(&replica, End::Client, &client),
            "the other direction"
        );
    }

    #[test]
    fn a_vector_longer_than_any_view_is_not_decoded() {
        let macs = |bytes| {
            let vector = vec![0; bytes].into();
            postcard::to_stdvec(&Macs { view: 0, vector }).unwrap()
        };
        let decode = |bytes: &[u8]| postcard::from_bytes::<Macs>(bytes);
        assert!(decode(&macs(MAC_BYTES * MAX_REPLICAS)).is_ok());
        assert!(decode(&macs(MAC_BYTES * MAX_REPLICAS + 1)).is_err());
        // A length that the bytes cannot back.
        assert!(decode(&[0, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }
}

//! Who may speak: peers and their keys, one to one.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

/// A process of the cluster, as its keys name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PeerId {
    /// A replica, by its number.
    Replica(u16),
    /// A proxy, a bench or another client, by its number.
    Client(u32),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerId::Replica(id) => write!(f, "replica-{id}"),
            PeerId::Client(id) => write!(f, "client-{id}"),
        }
    }
}

/// The peers that may speak and their Ed25519 public keys; no two peers share a key.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    keys: BTreeMap<PeerId, [u8; 32]>,
    peers: BTreeMap<[u8; 32], PeerId>,
}

/// A list of peers that cannot tell everybody apart.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DirectoryError {
    /// A peer with two keys.
    #[error("{0} is listed twice")]
    TwoKeys(PeerId),
    /// A key with two peers.
    #[error("{0} and {1} have the same key: give each its own")]
    SharedKey(PeerId, PeerId),
    /// Not a point of the curve, or one for which signatures can be made up.
    #[error("the key of {0} is not a usable Ed25519 public key")]
    BadKey(PeerId),
}

impl Directory {
    /// Collects the peers; refuses a peer or a key that occurs twice, and keys that prove nothing.
    pub fn new(
        entries: impl IntoIterator<Item = (PeerId, [u8; 32])>,
    ) -> Result<Directory, DirectoryError> {
        let mut directory = Directory::default();
        for (peer, key) in entries {
            // Under a key of small order anybody can sign, so it would admit everybody.
            if !VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak()) {
                return Err(DirectoryError::BadKey(peer));
            }
            if let Some(other) = directory.peers.insert(key, peer) {
                return Err(if other == peer {
                    DirectoryError::TwoKeys(peer)
                } else {
                    DirectoryError::SharedKey(other, peer)
                });
            }
            if directory.keys.insert(peer, key).is_some() {
                return Err(DirectoryError::TwoKeys(peer));
            }
        }
        Ok(directory)
    }

    /// The key of a peer.
    pub fn key(&self, peer: PeerId) -> Option<&[u8; 32]> {
        self.keys.get(&peer)
    }

    /// The peer that owns a key.
    pub fn peer(&self, key: &[u8; 32]) -> Option<PeerId> {
        self.peers.get(key).copied()
    }

    /// All peers, in order.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.keys.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    #[test]
    fn a_key_belongs_to_one_peer_and_a_peer_has_one_key() {
        let (a, b) = (
            Identity::generate().public_key(),
            Identity::generate().public_key(),
        );
        let (zero, one) = (PeerId::Replica(0), PeerId::Client(1));
        let good = Directory::new([(zero, a), (one, b)]).unwrap();
        assert_eq!(
            (good.peer(&a), good.key(one), good.peers().count()),
            (Some(zero), Some(&b), 2)
        );
        let refused = |entries| Directory::new(entries).unwrap_err();
        assert_eq!(
            refused([(zero, a), (one, a)]),
            DirectoryError::SharedKey(zero, one)
        );
        assert_eq!(
            refused([(zero, a), (zero, b)]),
            DirectoryError::TwoKeys(zero)
        );
    }

    #[test]
    fn a_key_under_which_anybody_can_sign_is_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let one = PeerId::Client(1);
        assert_eq!(
            Directory::new([(one, neutral)]).unwrap_err(),
            DirectoryError::BadKey(one)
        );
    }
}

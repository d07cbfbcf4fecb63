//! The view: who takes part, with which keys, and how many may be faulty.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::PublicKey;
use crate::ids::{ClientId, Regency, ReplicaId};
use crate::quorum;

/// Members, keys and fault bound. Equal at every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Grows by one with each reconfiguration; part of everything signed.
    pub id: u64,
    /// How many replicas may be faulty or recovering.
    pub f: u16,
    /// The members and their keys.
    pub replicas: BTreeMap<ReplicaId, PublicKey>,
    /// The clients and their keys (ids from 65,536).
    pub clients: BTreeMap<ClientId, PublicKey>,
}

/// Why a view cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewError {
    /// Fewer members than the fault bound needs.
    #[error("{n} replicas cannot carry f = {f}: add replicas (3f + 1 are needed) or lower f")]
    TooFewReplicas {
        /// Members.
        n: usize,
        /// Fault bound.
        f: u16,
    },
    /// A key is no curve point, or of small order (it would sign anything).
    #[error("the public key of {0} is not a usable Ed25519 key: generate a new one")]
    BadKey(String),
    /// Two members or clients share a key.
    #[error("{0} has the key of another member or client: each needs its own")]
    SharedKey(String),
    /// A client's number lies in the replicas' range.
    #[error("client number {0} is reserved for replicas: use 65536 or more")]
    ReservedClient(u32),
}

impl View {
    /// Checks the fault bound and the keys; do this once when a view is loaded.
    pub fn check(&self) -> Result<(), ViewError> {
        if self.n() < 3 * usize::from(self.f) + 1 {
            return Err(ViewError::TooFewReplicas {
                n: self.n(),
                f: self.f,
            });
        }
        if let Some(low) = self
            .clients
            .keys()
            .find(|client| client.as_replica().is_some())
        {
            return Err(ViewError::ReservedClient(low.0));
        }
        let replicas = self.replicas.iter().map(|(id, key)| (id.to_string(), key));
        let clients = self.clients.iter().map(|(id, key)| (id.to_string(), key));
        let mut seen = BTreeSet::new();
        for (name, key) in replicas.chain(clients) {
            if !VerifyingKey::from_bytes(&key.0).is_ok_and(|point| !point.is_weak()) {
                return Err(ViewError::BadKey(name));
            }
            if !seen.insert(key) {
                return Err(ViewError::SharedKey(name));
            }
        }
        Ok(())
    }

    /// Number of members.
    pub fn n(&self) -> usize {
        self.replicas.len()
    }

    /// Fault bound, as a size.
    pub fn f(&self) -> usize {
        usize::from(self.f)
    }

    /// Q = ⌈(n + f + 1) / 2⌉: WRITE, ACCEPT, matching answers.
    pub fn quorum(&self) -> usize {
        quorum::write_or_accept(self.n(), self.f())
    }

    /// f + 1: at least one of them is correct.
    pub fn one_correct(&self) -> usize {
        quorum::one_correct(self.f())
    }

    /// 2f + 1 STOPs install a regency.
    pub fn install(&self) -> usize {
        quorum::install(self.f())
    }

    /// n − f STOPDATA make a SYNC.
    pub fn sync(&self) -> usize {
        quorum::sync(self.n(), self.f())
    }

    /// The leader of a regency: members take turns in the order of their numbers.
    pub fn leader(&self, regency: Regency) -> ReplicaId {
        let turn = regency.checked_rem(self.n() as u64).unwrap_or(0);
        self.replicas
            .keys()
            .nth(turn as usize)
            .copied()
            .unwrap_or(ReplicaId(0))
    }

    /// The key of a member.
    pub fn replica_key(&self, replica: ReplicaId) -> Option<&PublicKey> {
        self.replicas.get(&replica)
    }

    /// The key of a client; replicas acting as clients included.
    pub fn client_key(&self, client: ClientId) -> Option<&PublicKey> {
        match client.as_replica() {
            Some(replica) => self.replicas.get(&replica),
            None => self.clients.get(&client),
        }
    }
}

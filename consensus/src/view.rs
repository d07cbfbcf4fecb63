//! The view: who takes part, with which keys, and how many may be faulty.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auth::ClientAuthentication;
use crate::crypto::PublicKey;
use crate::ids::{ClientId, Regency, ReplicaId};
use crate::quorum::{Mode, Sizes};

/// Members, keys and fault bound. Equal at every replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Grows by one with each reconfiguration; part of everything signed.
    pub id: u64,
    /// How many replicas may be faulty or recovering.
    pub f: u16,
    /// Which faults are borne.
    #[serde(default)]
    pub mode: Mode,
    /// WHEAT: the members that weigh Vmax; none: all weigh the same.
    #[serde(default)]
    pub fast: BTreeSet<ReplicaId>,
    /// The members and their keys.
    pub replicas: BTreeMap<ReplicaId, PublicKey>,
    /// The clients and their keys (ids from 65,536).
    pub clients: BTreeMap<ClientId, PublicKey>,
    /// How clients show that their requests are theirs.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// The clients whose requests change the view (see `reconfigure`).
    #[serde(default)]
    pub administrators: BTreeSet<ClientId>,
    /// Where members listen; opaque to the order.
    #[serde(default)]
    pub contacts: BTreeMap<ReplicaId, String>,
    /// Who leads regency 0; the member with the least number if nobody is named.
    #[serde(default)]
    pub first_leader: Option<ReplicaId>,
}

/// Why a view cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewError {
    /// Fewer members than the fault bound needs.
    #[error("{n} replicas cannot carry f = {f}: add replicas ({need} are needed) or lower f")]
    TooFewReplicas {
        /// Members.
        n: usize,
        /// Fault bound.
        f: u16,
        /// The least n.
        need: usize,
    },
    /// Not as many heavy replicas as the weights need.
    #[error("{have} replicas are fast, {need} must be with this f: name so many members, or none")]
    WrongFast {
        /// Fast members named.
        have: usize,
        /// 2f, crash-only f.
        need: usize,
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
        let (n, need) = (self.n(), self.mode.least_replicas(self.f()));
        if n < need {
            return Err(ViewError::TooFewReplicas { n, f: self.f, need });
        }
        let members = self.fast.iter().filter(|id| self.replicas.contains_key(id));
        let (have, need) = (members.count(), self.sizes().fast());
        if !self.fast.is_empty() && (have != need || have != self.fast.len()) {
            return Err(ViewError::WrongFast { have, need });
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

    /// What decides all quorum sizes.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            mode: self.mode,
            n: self.n(),
            f: self.f(),
            weighted: !self.fast.is_empty(),
        }
    }

    /// The votes of these replicas: each once, strangers none.
    pub fn weigh(&self, replicas: impl IntoIterator<Item = ReplicaId>) -> usize {
        let sizes = self.sizes();
        let distinct: BTreeSet<ReplicaId> = replicas.into_iter().collect();
        let members = distinct
            .iter()
            .filter(|replica| self.replicas.contains_key(replica));
        members
            .map(|replica| sizes.weight(self.fast.contains(replica)))
            .sum()
    }

    /// Whether these replicas are enough for WRITE, ACCEPT, matching answers: Q votes.
    pub fn is_quorum(&self, replicas: impl IntoIterator<Item = ReplicaId>) -> bool {
        self.weigh(replicas) >= self.sizes().quorum()
    }

    /// So many replicas are a quorum whoever they are.
    pub fn quorum(&self) -> usize {
        self.sizes().any_quorum()
    }

    /// f + 1: at least one of them is correct. One where nobody lies.
    pub fn one_correct(&self) -> usize {
        self.sizes().one_correct()
    }

    /// 2f + 1 STOPs install a regency; crash-only f + 1.
    pub fn install(&self) -> usize {
        self.sizes().install()
    }

    /// n − f STOPDATA make a SYNC.
    pub fn sync(&self) -> usize {
        self.sizes().sync()
    }

    /// The leader of a regency: members take turns in the order of their numbers.
    pub fn leader(&self, regency: Regency) -> ReplicaId {
        let first = self.first_leader.unwrap_or(ReplicaId(0));
        let first = self.replicas.range(..first).count() as u64;
        let n = self.n() as u64;
        let turn = regency.checked_rem(n).unwrap_or(0);
        let turn = (first + turn).checked_rem(n).unwrap_or(0);
        self.replicas
            .keys()
            .nth(turn as usize)
            .copied()
            .unwrap_or(ReplicaId(0))
    }

    /// Whether this client's requests change the view.
    pub fn administers(&self, client: ClientId) -> bool {
        self.administrators.contains(&client)
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

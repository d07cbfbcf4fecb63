//! Who is who: replicas, clients, heights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of a decided batch; the first is 1, 0 stands for the genesis state.
pub type Height = u64;

/// Number of a regency (PBFT's view): each has one leader, and it only grows.
pub type Regency = u64;

/// A replica's number in the cluster file, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u16);

/// A client's number. Numbers below 65,536 are the replicas acting as clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u32);

impl ClientId {
    /// The first number that an ordinary client may have.
    pub const FIRST_ORDINARY: u32 = 1 << 16;

    /// The client number under which `replica` submits requests of its own.
    pub const fn of(replica: ReplicaId) -> Self {
        Self(replica.0 as u32)
    }

    /// The replica behind this client number, if it is one.
    pub const fn as_replica(self) -> Option<ReplicaId> {
        if self.0 < Self::FIRST_ORDINARY {
            Some(ReplicaId(self.0 as u16))
        } else {
            None
        }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_replica() {
            Some(replica) => write!(f, "c-{replica}"),
            None => write!(f, "c{}", self.0),
        }
    }
}

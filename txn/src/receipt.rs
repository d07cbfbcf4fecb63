//! Receipts: what f+1 replicas sign of a committed transaction, for anyone to check offline (DESIGN.md, 10;
//! `docs/receipts.md`).
//!
//! A replica signs a [`Fact`] when it is asked, only after the verdict is final and everything that it rests on is durable there.
//! f+1 signatures are enough because one of them is a correct replica's.

mod fact;
mod text;
mod verify;

#[cfg(test)]
mod tests;

use consensus::{Height, ReplicaId, Signature, View, ViewCertificate};
use serde::{Deserialize, Serialize};

pub use fact::{Fact, Header, Sort, cluster_digest};
pub use text::BEGINS;
pub use verify::ReceiptError;

use crate::ordered::TxId;

/// The longest text of a receipt (bytes).
pub const MAX_TEXT: usize = 16 << 20;
/// Changes of the view that a receipt can lead through.
pub const MAX_VIEWS: usize = 4_096;

/// A fact, its signatures, and how its view came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What is proven.
    pub fact: Fact,
    /// By whom: ascending, each once.
    pub signatures: Vec<(ReplicaId, Signature)>,
    /// From the genesis view to the one in which it is signed, each certified by the one before.
    pub views: Vec<ViewCertificate>,
}

/// Which transaction a receipt is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// The item at this place in the order: as far back as the replicas' logs reach.
    Place {
        /// Of the batch.
        height: Height,
        /// In the batch.
        index: u32,
    },
    /// By name: among the last [`crate::limits::RECEIPTS_BY_NAME`] committed ones.
    Transaction(TxId),
}

/// A replica's part of a receipt, or why it gives none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// It vouches.
    Signed(Box<Signed>),
    /// It does not.
    Refused(Refusal),
}

/// One replica's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What it vouches for.
    pub fact: Fact,
    /// Its signature.
    pub signature: Signature,
    /// Not signed: the view in which the cluster began; the fact names its digest.
    pub genesis: View,
    /// Not signed, and certified by itself: how the signer's view came about.
    pub views: Vec<ViewCertificate>,
}

/// Why a replica does not vouch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Too many are asked for at once: later, perhaps.
    Busy,
    /// It knows of no transaction there, or not any more.
    Unknown,
    /// What stands there is no transaction, or its verdict is ABORT.
    NotCommitted,
    /// The view does not name it, so its signature would count for nothing.
    NoMember,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many receipts are asked for at once",
            Self::Unknown => "it is not known, or not any more",
            Self::NotCommitted => "it was not committed",
            Self::NoMember => "the replica is no member of the view",
        })
    }
}

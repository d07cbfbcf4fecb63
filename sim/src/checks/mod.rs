//! What must hold whatever breaks and whoever lies; one property per file.

pub mod agreement;
pub mod contradiction;
pub mod durability;
pub mod liveness;
pub mod memory;
pub mod order;
pub mod promise;
pub mod proof;
pub mod validity;

use std::collections::BTreeMap;

use consensus::{Decided, Height, Message, Record, ReplicaId, View};

use crate::disk::Disk;

/// What was violated, by whom.
pub type Verdict = Result<(), String>;

/// All checkers that watch a run. Only correct replicas are watched.
#[derive(Debug, Default)]
pub struct Checks {
    /// One decision per height.
    pub agreement: agreement::Agreement,
    /// No gaps, no way back.
    pub order: order::Order,
    /// Signed, once.
    pub validity: validity::Validity,
    /// One vote per (height, regency).
    pub contradiction: contradiction::Contradiction,
    /// STOPDATA tells all votes.
    pub promise: promise::Promise,
}

impl Checks {
    /// A correct replica decides.
    pub fn decided(&mut self, view: &View, replica: ReplicaId, decided: &Decided) -> Verdict {
        self.order.decided(replica, decided)?;
        self.agreement.decided(replica, decided)?;
        proof::decided(view, replica, decided)?;
        self.validity.decided(view, decided)
    }

    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message, disk: &Disk) -> Verdict {
        durability::says(replica, message, disk)?;
        self.contradiction.says(replica, message)?;
        self.promise.says(replica, message)
    }

    /// A correct replica returns with what its disk kept.
    pub fn restarted(&mut self, replica: ReplicaId, height: Height) {
        self.order.restarted(replica, height);
    }

    /// Heights at the end against all that was ever decided.
    pub fn ended(&self, heights: &BTreeMap<ReplicaId, Height>) -> Verdict {
        durability::ended(self.agreement.highest(), heights)
    }
}

/// Whether a record is the WRITE of this vote.
pub(crate) fn is_write(record: &Record, vote: (Height, u64, consensus::Digest)) -> bool {
    matches!(record, Record::Write { height, regency, digest, .. }
        if (*height, *regency, *digest) == vote)
}

/// Whether a record is the ACCEPT of this vote.
pub(crate) fn is_accept(record: &Record, vote: (Height, u64, consensus::Digest)) -> bool {
    matches!(record, Record::Accept { height, regency, digest }
        if (*height, *regency, *digest) == vote)
}

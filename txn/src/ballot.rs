//! Votes: a replica's signed judgement of the items of one height.

use consensus::{Height, ReplicaId, Signature, View};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};

/// One replica's judgement of one item (DESIGN.md, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ballot {
    /// The ordered operations are the ones executed, PostgreSQL accepted them, and every digest is the claimed one.
    Commit,
    /// Something differs, or PostgreSQL refused.
    Abort,
    /// This replica cannot judge: it lost the snapshot, or had local trouble. Never a reason to abort.
    Abstain,
}

/// A part of a replica's vote vector for one height: the ballots of the items `first..first + ballots.len()`, where
/// items are counted among those of the height that are voted on. A part is never revised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotePart {
    pub voter: ReplicaId,
    pub height: Height,
    /// Index in the batch of the first item.
    pub first: u32,
    /// (index in the batch − first, ballot), ascending.
    pub ballots: Vec<(u32, Ballot)>,
    pub signature: Signature,
}

impl VotePart {
    /// Signs a part. `view` keeps a vote from counting in another membership.
    pub fn sign(
        key: &SigningKey,
        view: u64,
        voter: ReplicaId,
        height: Height,
        first: u32,
        ballots: Vec<(u32, Ballot)>,
    ) -> VotePart {
        let digest = Self::digest(view, voter, height, first, &ballots);
        let signature = Signature(key.sign(digest.as_bytes()).to_bytes());
        VotePart {
            voter,
            height,
            first,
            ballots,
            signature,
        }
    }

    /// Whether `voter` signed this part in this view.
    pub fn verify(&self, view: &View) -> bool {
        let Some(key) = view.replicas.get(&self.voter) else {
            return false;
        };
        let digest = Self::digest(view.id, self.voter, self.height, self.first, &self.ballots);
        key.verify_strict(digest.as_bytes(), &self.signature)
    }

    /// The items voted on, with their index in the batch.
    pub fn items(&self) -> impl Iterator<Item = (u32, Ballot)> + '_ {
        self.ballots
            .iter()
            .map(|(offset, ballot)| (self.first.saturating_add(*offset), *ballot))
    }

    fn digest(
        view: u64,
        voter: ReplicaId,
        height: Height,
        first: u32,
        ballots: &[(u32, Ballot)],
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 vote part");
        hasher.update(&view.to_be_bytes());
        hasher.update(&voter.0.to_be_bytes());
        hasher.update(&height.to_be_bytes());
        hasher.update(&first.to_be_bytes());
        for (offset, ballot) in ballots {
            hasher.update(&offset.to_be_bytes());
            hasher.update(&[*ballot as u8]);
        }
        hasher.finalize()
    }
}

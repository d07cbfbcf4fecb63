//! What a replica tells the leader of a new regency, and what that leader shows to all.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::crypto::{DOMAIN_STOPDATA, Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::proof::Proof;
use crate::view::View;

/// A replica's state when it entered `regency`; signed, so that SYNC can show it to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopState {
    /// View of the signer.
    pub view: u64,
    /// The regency entered; the signer votes in no lower one from now on.
    pub regency: Regency,
    /// The signer.
    pub replica: ReplicaId,
    /// Its last decided height.
    pub decided: Height,
    /// Its votes in the instances after it, by ascending height; none where it did not vote.
    pub votes: Vec<OpenVotes>,
}

/// What a replica said in one instance that is not decided at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenVotes {
    /// The instance.
    pub height: Height,
    /// `(valts, val)`: the newest value that it saw a quorum write (it sent ACCEPT).
    pub lock: Option<(Regency, Digest)>,
    /// The values that it wrote.
    pub writeset: Vec<Written>,
}

/// A value that a replica wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Written {
    /// The newest regency in which it did.
    pub regency: Regency,
    /// The value.
    pub digest: Digest,
    /// [`Batch::after`](crate::Batch) of the value.
    pub after: Digest,
}

/// Proof of a last decided height without the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDecided {
    /// The height.
    pub height: Height,
    /// The decided value's digest.
    pub digest: Digest,
    /// Its proof.
    pub proof: Proof,
}

/// STOPDATA. Alg. 3, l. 25.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopData {
    /// The state.
    pub state: StopState,
    /// The replica's signature over it.
    pub signature: Signature,
    /// Proves `state.decided`, unless that is 0.
    pub last: Option<LastDecided>,
}

/// SYNC. Alg. 4, l. 31.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// The new regency.
    pub regency: Regency,
    /// At least n − f signed states, of distinct members in ascending order.
    pub states: Vec<(StopState, Signature)>,
    /// Proves the highest `decided` among the states, unless that is 0.
    pub last: Option<LastDecided>,
}

impl StopState {
    /// Its votes at a height.
    pub fn votes_at(&self, height: Height) -> Option<&OpenVotes> {
        self.votes.iter().find(|votes| votes.height == height)
    }

    /// Bytes covered by the signature.
    fn signed_bytes(&self) -> Vec<u8> {
        let state = postcard::to_stdvec(self).expect("writing plain data to memory cannot fail");
        [DOMAIN_STOPDATA, &state].concat()
    }

    /// Signs the state.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        Signature::sign(key, &self.signed_bytes())
    }

    /// Whether a member of `view` signed this state for this view and `regency`.
    pub fn is_signed(&self, view: &View, regency: Regency, signature: &Signature) -> bool {
        self.view == view.id
            && self.regency == regency
            && view
                .replica_key(self.replica)
                .is_some_and(|key| key.verify_strict(&self.signed_bytes(), signature))
    }
}

impl LastDecided {
    /// Whether the proof holds.
    pub fn is_proven(&self, view: &View) -> bool {
        self.proof.check(view, self.height, self.digest).is_ok()
    }
}

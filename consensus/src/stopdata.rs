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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;
    use crate::proof::sign_accept;

    fn key(replica: u16) -> SigningKey {
        SigningKey::from_bytes(&[replica as u8 + 1; 32])
    }

    fn view() -> View {
        View {
            id: 7,
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            ..View::default()
        }
    }

    fn state() -> StopState {
        StopState {
            view: 7,
            regency: 2,
            replica: ReplicaId(1),
            decided: 5,
            votes: vec![OpenVotes {
                height: 5,
                lock: Some((1, Digest([9; 32]))),
                writeset: vec![Written {
                    regency: 1,
                    digest: Digest([9; 32]),
                    after: Digest([8; 32]),
                }],
            }],
        }
    }

    #[test]
    fn a_signed_state_covers_each_of_its_fields() {
        let signature = state().sign(&key(1));
        assert!(state().is_signed(&view(), 2, &signature));
        type Alter = fn(&mut StopState);
        let altered: [(&str, Alter); 8] = [
            ("view", |state| state.view = 8),
            ("regency", |state| state.regency = 3),
            ("signer", |state| state.replica = ReplicaId(2)),
            ("decided height", |state| state.decided = 6),
            ("lock", |state| state.votes[0].lock = None),
            ("height", |state| state.votes[0].height += 1),
            ("after", |state| {
                state.votes[0].writeset[0].after = Digest([1; 32])
            }),
            ("writeset", |state| state.votes[0].writeset.clear()),
        ];
        for (field, alter) in altered {
            let mut state = state();
            alter(&mut state);
            let view = View {
                id: state.view,
                ..view()
            };
            let regency = state.regency;
            assert!(!state.is_signed(&view, regency, &signature), "{field}");
        }
    }

    #[test]
    fn a_state_of_another_view_or_regency_or_of_a_stranger_does_not_count() {
        let signature = state().sign(&key(1));
        assert!(!state().is_signed(&view(), 3, &signature), "regency");
        let elsewhere = View { id: 8, ..view() };
        assert!(!state().is_signed(&elsewhere, 2, &signature), "view");
        let mut strangers = state();
        strangers.replica = ReplicaId(4);
        let signature = strangers.sign(&key(4));
        assert!(!strangers.is_signed(&view(), 2, &signature), "no member");
    }

    /// Whatever is signed for one purpose is worth nothing for another, though the bytes were the same otherwise.
    #[test]
    fn a_signature_of_another_domain_is_none() {
        let bytes = postcard::to_stdvec(&state()).unwrap();
        let bare = Signature::sign(&key(1), &bytes);
        assert!(!state().is_signed(&view(), 2, &bare));
        let as_accept = [crate::crypto::DOMAIN_ACCEPT, &bytes].concat();
        let as_accept = Signature::sign(&key(1), &as_accept);
        assert!(!state().is_signed(&view(), 2, &as_accept));
        let digest = Digest([9; 32]);
        let accept = sign_accept(&key(1), &view(), 5, 2, &digest);
        let fields = [
            &7u64.to_le_bytes()[..],
            &5u64.to_le_bytes(),
            &2u64.to_le_bytes(),
            &digest.0,
        ];
        let domain: &[u8] = b"steeldb/1/accept";
        let documented = [&[domain][..], &fields].concat().concat();
        assert_eq!(accept, Signature::sign(&key(1), &documented));
        assert_ne!(accept, Signature::sign(&key(1), &fields.concat()));
    }
}

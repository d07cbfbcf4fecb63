//! The proof Γ that a value was decided: a quorum of signed ACCEPTs
//! (Alg. 6, l. 29-37), and the decision that carries it.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::Batch;
use crate::crypto::{DOMAIN_ACCEPT, Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::request::Request;
use crate::view::View;

/// Signed ACCEPTs of distinct members who are a quorum, of one regency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The regency in which the ACCEPTs were signed.
    pub regency: Regency,
    /// Signers in ascending order, each once.
    pub accepts: Vec<(ReplicaId, Signature)>,
}

/// A decided batch, with the bodies of its requests and its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The instance.
    pub height: Height,
    /// The regency in which it was decided here (another replica may hold a proof of another).
    pub regency: Regency,
    /// The value.
    pub batch: Batch,
    /// The bodies, in the order of `batch.entries`.
    pub requests: Vec<Request>,
    /// Why anyone should believe it.
    pub proof: Proof,
}

/// Why a proof or a decision is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// Signers who are no quorum.
    #[error("signed ACCEPTs of {have} votes, {need} are needed")]
    TooFew {
        /// Votes of the signers.
        have: usize,
        /// The quorum.
        need: usize,
    },
    /// Signers out of order, or one of them twice.
    #[error("the signer {0} is repeated or out of order")]
    NotDistinct(ReplicaId),
    /// A signer that the view does not know.
    #[error("the signer {0} is not a member of the view")]
    NotMember(ReplicaId),
    /// A signature that does not cover this view, height, regency and digest.
    #[error("the ACCEPT of {0} is not signed for this view, height, regency and digest")]
    BadSignature(ReplicaId),
    /// The bodies are not those that the batch names.
    #[error("body {0} is not the request that the batch names")]
    BodyMismatch(usize),
    /// The regency of the decision and of its proof differ.
    #[error("the decision's regency is not its proof's")]
    RegencyMismatch,
}

/// The bytes that an ACCEPT's signature covers: domain, view, height, regency, digest.
/// The signer is bound by its key, which belongs to one member only ([`View::check`]).
fn accept_bytes(view: &View, height: Height, regency: Regency, digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN_ACCEPT.len() + 24 + 32);
    bytes.extend_from_slice(DOMAIN_ACCEPT);
    bytes.extend_from_slice(&view.id.to_le_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(&regency.to_le_bytes());
    bytes.extend_from_slice(&digest.0);
    bytes
}

/// Signs an ACCEPT. Alg. 6, l. 32. Public for tests that play a faulty replica.
pub fn sign_accept(
    key: &SigningKey,
    view: &View,
    height: Height,
    regency: Regency,
    digest: &Digest,
) -> Signature {
    Signature::sign(key, &accept_bytes(view, height, regency, digest))
}

/// Whether `signer` accepted `digest`.
pub(crate) fn accept_is_signed(
    view: &View,
    signer: ReplicaId,
    height: Height,
    regency: Regency,
    digest: &Digest,
    signature: &Signature,
) -> bool {
    view.replica_key(signer).is_some_and(|key| {
        key.verify_strict(&accept_bytes(view, height, regency, digest), signature)
    })
}

impl Proof {
    /// Checks that a quorum of distinct members signed this digest at this height.
    pub fn check(&self, view: &View, height: Height, digest: Digest) -> Result<(), ProofError> {
        // Before any signature is looked at.
        let have = view.weigh(self.accepts.iter().map(|(signer, _)| *signer));
        let need = view.sizes().quorum();
        let mut previous = None;
        for (signer, _) in &self.accepts {
            if previous.is_some_and(|previous| previous >= *signer) {
                return Err(ProofError::NotDistinct(*signer));
            }
            previous = Some(*signer);
            if view.replica_key(*signer).is_none() {
                return Err(ProofError::NotMember(*signer));
            }
        }
        if have < need {
            return Err(ProofError::TooFew { have, need });
        }
        for (signer, signature) in &self.accepts {
            if !accept_is_signed(view, *signer, height, self.regency, &digest, signature) {
                return Err(ProofError::BadSignature(*signer));
            }
        }
        Ok(())
    }
}

impl Decided {
    /// Checks the proof and that the bodies are the ones named. The requests' own
    /// signatures need no second look: a quorum's ACCEPT means that f + 1 correct
    /// replicas verified them, and the digests pin their bytes.
    pub fn check(&self, view: &View) -> Result<(), ProofError> {
        if self.regency != self.proof.regency {
            return Err(ProofError::RegencyMismatch);
        }
        let (entries, bodies) = (&self.batch.entries, &self.requests);
        if entries.len() != bodies.len() {
            return Err(ProofError::BodyMismatch(entries.len().min(bodies.len())));
        }
        self.proof.check(view, self.height, self.batch.digest())?;
        match entries
            .iter()
            .zip(bodies)
            .position(|(entry, body)| !entry.names(body))
        {
            Some(at) => Err(ProofError::BodyMismatch(at)),
            None => Ok(()),
        }
    }

    /// Bytes that the bodies and entries take, roughly; for bounds.
    pub fn weight(&self) -> usize {
        let requests = self.requests.iter().map(Request::weight);
        requests.sum::<usize>() + 80 * self.proof.accepts.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::crypto::PublicKey;

    fn key(i: u16) -> SigningKey {
        SigningKey::from_bytes(&[i as u8 + 1; 32])
    }

    fn view() -> View {
        View {
            id: 7,
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            clients: BTreeMap::new(),
            ..View::default()
        }
    }

    fn proof(
        signers: &[u16],
        view: &View,
        height: Height,
        regency: Regency,
        digest: Digest,
    ) -> Proof {
        let accepts = signers
            .iter()
            .map(|i| {
                (
                    ReplicaId(*i),
                    sign_accept(&key(*i), view, height, regency, &digest),
                )
            })
            .collect();
        Proof { regency, accepts }
    }

    #[test]
    fn a_proof_covers_view_regency_height_and_digest() {
        let (view, digest) = (view(), Digest([9; 32]));
        let good = proof(&[0, 1, 3], &view, 5, 2, digest);
        assert_eq!(good.check(&view, 5, digest), Ok(()));
        let elsewhere = View {
            id: 8,
            ..view.clone()
        };
        let bad = Err(ProofError::BadSignature(ReplicaId(0)));
        assert_eq!(good.check(&elsewhere, 5, digest), bad);
        assert_eq!(good.check(&view, 6, digest), bad);
        assert_eq!(good.check(&view, 5, Digest([8; 32])), bad);
        let other_regency = Proof { regency: 3, ..good };
        assert_eq!(other_regency.check(&view, 5, digest), bad);
    }

    #[test]
    fn the_same_member_twice_a_stranger_or_too_few_prove_nothing() {
        let (view, digest) = (view(), Digest([9; 32]));
        let check = |signers: &[u16]| proof(signers, &view, 1, 0, digest).check(&view, 1, digest);
        assert_eq!(
            check(&[0, 1, 1]),
            Err(ProofError::NotDistinct(ReplicaId(1)))
        );
        assert_eq!(check(&[0, 1, 9]), Err(ProofError::NotMember(ReplicaId(9))));
        assert_eq!(check(&[0, 1]), Err(ProofError::TooFew { have: 2, need: 3 }));
        let mut forged = proof(&[0, 1, 2], &view, 1, 0, digest);
        forged.accepts[2].1 = forged.accepts[1].1;
        assert_eq!(
            forged.check(&view, 1, digest),
            Err(ProofError::BadSignature(ReplicaId(2)))
        );
    }
}

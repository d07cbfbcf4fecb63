//! Proof checkability: whoever has the view's keys can check each decision by its proof. Done
//! here as an outsider would, from the documented bytes, with nothing of the core's code.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Decided, Digest, Height, PublicKey, Regency, ReplicaId, View};
use ed25519_dalek::{Signature, VerifyingKey};

use super::Verdict;
use super::views::Era;

type Accept = (Height, Regency, Digest, ReplicaId, [u8; 64]);

/// ACCEPTs that were verified, and decoded keys.
#[derive(Debug, Default)]
pub struct Proofs {
    verified: BTreeSet<Accept>,
    keys: BTreeMap<PublicKey, VerifyingKey>,
}

impl Proofs {
    /// A correct replica decides.
    pub fn decided(&mut self, era: &Era, replica: ReplicaId, decided: &Decided) -> Verdict {
        let Era { view, group, .. } = era;
        let (height, regency) = (decided.height, decided.proof.regency);
        let digest = decided.batch.digest();
        let signers: BTreeSet<ReplicaId> =
            decided.proof.accepts.iter().map(|(id, _)| *id).collect();
        let fault = if group.votes(&signers) < group.quorum {
            Some("fewer signers than a quorum".to_owned())
        } else {
            let mut accepts = decided.proof.accepts.iter();
            accepts
                .find(|(id, signature)| {
                    !self.is_signed(view, (height, regency, digest, *id, signature.0))
                })
                .map(|(id, _)| format!("the ACCEPT of {id} is not signed"))
        };
        match fault {
            Some(fault) => Err(format!(
                "proof: {replica}'s decision at height {height}: {fault}"
            )),
            None => Ok(()),
        }
    }

    fn is_signed(&mut self, view: &View, accept: Accept) -> bool {
        if self.verified.contains(&accept) {
            return true;
        }
        let (height, regency, digest, signer, signature) = accept;
        let Some(named) = view.replicas.get(&signer) else {
            return false;
        };
        let known = self.keys.get(named).copied();
        let known = known.or_else(|| VerifyingKey::from_bytes(&named.0).ok());
        let Some(key) = known else { return false };
        self.keys.insert(*named, key);
        let bytes = [
            b"steeldb/1/accept".as_slice(),
            &view.id.to_le_bytes(),
            &height.to_le_bytes(),
            &regency.to_le_bytes(),
            &digest.0,
        ]
        .concat();
        let valid = key
            .verify_strict(&bytes, &Signature::from_bytes(&signature))
            .is_ok();
        if valid {
            self.verified.insert(accept);
        }
        valid
    }
}

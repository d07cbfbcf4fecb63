//! A view certified by its predecessor, for whoever does not follow the order: the decision that made it, without the bodies that
//! have nothing to do with it (`reconfigure.rs` says why this is enough).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::Batch;
use crate::ids::{ClientId, Height};
use crate::proof::{Decided, Proof, ProofError};
use crate::reconfigure::{Change, ChangeError};
use crate::request::Request;
use crate::view::View;

/// Why a view follows the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewCertificate {
    /// Where the change was decided; the new view holds from the next height on.
    pub height: Height,
    /// The decided value.
    pub batch: Batch,
    /// The change: the last request of the batch.
    pub request: Request,
    /// A quorum of the view before decided it.
    pub proof: Proof,
}

/// Why a certificate does not certify a view.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The view before did not decide it.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The request is not the last one of the batch.
    #[error("its request is not the last one of the decided batch")]
    NotNamed,
    /// What others ask for changes no view.
    #[error("its request is one of {0}, who is no administrator of the view before")]
    NotAdministrator(ClientId),
    /// Nothing was changed by it.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl ViewCertificate {
    /// Of a decision that changed the view; none of an empty batch.
    pub fn of(decided: &Decided) -> Option<Self> {
        Some(Self {
            height: decided.height,
            batch: decided.batch.clone(),
            request: decided.requests.last()?.clone(),
            proof: decided.proof.clone(),
        })
    }

    /// The view that follows `view`, which must be known to be the one before.
    ///
    /// # Errors
    /// When a quorum of `view` did not decide this change, or it changes nothing.
    pub fn next(&self, view: &View) -> Result<View, CertificateError> {
        self.proof.check(view, self.height, self.batch.digest())?;
        let last = self.batch.entries.last();
        if !last.is_some_and(|entry| entry.names(&self.request)) {
            return Err(CertificateError::NotNamed);
        }
        if !view.administers(self.request.client) {
            return Err(CertificateError::NotAdministrator(self.request.client));
        }
        Ok(view.changed(&Change::decode(&self.request.op)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Entry;
    use crate::crypto::{Digest, PublicKey};
    use crate::ids::ReplicaId;
    use crate::proof::sign_accept;
    use crate::reconfigure::Step;
    use ed25519_dalek::SigningKey;

    const ADMIN: ClientId = ClientId(70_000);
    const OTHER: ClientId = ClientId(70_001);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn view() -> View {
        View {
            id: 3,
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i as u8 + 1))))
                .collect(),
            clients: [(ADMIN, 100), (OTHER, 101)]
                .map(|(id, seed)| (id, PublicKey::of(&key(seed))))
                .into(),
            administrators: [ADMIN].into(),
            ..View::default()
        }
    }

    /// A decision of `signers` over requests of these clients, each the same rotation of replica 1's key.
    fn decided(clients: &[(ClientId, u8)], signers: &[u16]) -> Decided {
        let change = Change {
            base: 3,
            steps: vec![Step::RotateReplicaKey {
                id: ReplicaId(1),
                key: PublicKey::of(&key(50)),
            }],
        };
        let requests: Vec<Request> = clients
            .iter()
            .map(|(client, seed)| Request::sign(&key(*seed), *client, 1, 1, change.encode()))
            .collect();
        let entries = requests.iter().map(|request| Entry {
            client: request.client,
            incarnation: request.incarnation,
            seq: request.seq,
            digest: request.digest(),
        });
        let batch = Batch {
            after: Digest([7; 32]),
            time_ms: 5,
            entries: entries.collect(),
        };
        let sign = |i: &u16| {
            let signature = sign_accept(&key(*i as u8 + 1), &view(), 9, 2, &batch.digest());
            (ReplicaId(*i), signature)
        };
        let proof = Proof {
            regency: 2,
            accepts: signers.iter().map(sign).collect(),
        };
        Decided {
            height: 9,
            regency: 2,
            batch,
            requests,
            proof,
        }
    }

    #[test]
    fn a_decided_change_certifies_the_view_that_it_makes() {
        let decided = decided(&[(OTHER, 101), (ADMIN, 100)], &[0, 1, 3]);
        let next = ViewCertificate::of(&decided).unwrap().next(&view());
        assert_eq!(Ok(next.unwrap()), view().after(&decided).unwrap());
    }

    #[test]
    fn what_no_quorum_decided_certifies_nothing() {
        let few = ViewCertificate::of(&decided(&[(ADMIN, 100)], &[0, 1])).unwrap();
        assert!(matches!(few.next(&view()), Err(CertificateError::Proof(_))));
        let mut moved = ViewCertificate::of(&decided(&[(ADMIN, 100)], &[0, 1, 2])).unwrap();
        moved.height += 1;
        assert!(matches!(
            moved.next(&view()),
            Err(CertificateError::Proof(_))
        ));
    }

    #[test]
    fn only_the_last_request_counts_and_only_an_administrators() {
        let mut other = ViewCertificate::of(&decided(&[(ADMIN, 100)], &[0, 1, 2])).unwrap();
        other.request = Request::sign(&key(100), ADMIN, 1, 2, other.request.op.clone());
        assert_eq!(other.next(&view()), Err(CertificateError::NotNamed));
        let stranger = decided(&[(ADMIN, 100), (OTHER, 101)], &[0, 1, 2]);
        assert_eq!(
            ViewCertificate::of(&stranger).unwrap().next(&view()),
            Err(CertificateError::NotAdministrator(OTHER))
        );
    }

    #[test]
    fn a_change_of_another_view_certifies_nothing() {
        let certificate = ViewCertificate::of(&decided(&[(ADMIN, 100)], &[0, 1, 2])).unwrap();
        let later = View { id: 4, ..view() };
        // The ACCEPTs name the view, so not even the proof holds.
        assert!(matches!(
            certificate.next(&later),
            Err(CertificateError::Proof(_))
        ));
    }
}

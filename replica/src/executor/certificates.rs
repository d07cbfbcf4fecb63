//! The chain of certificates from the view in which the cluster began to the present one, in a file: the log is cut, receipts are not.

use consensus::{View, ViewCertificate};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Certificates of consecutive views, each checked against the view before it.
pub struct Certificates {
    file: PathBuf,
    all: Vec<ViewCertificate>,
    /// The view that they lead to.
    last: View,
}

impl Certificates {
    /// Those in the file, as far as they hold; none where there is no file.
    pub fn read(file: PathBuf, first: &View) -> Certificates {
        let mut read = Certificates {
            all: Vec::new(),
            last: first.clone(),
            file,
        };
        let found = match std::fs::read(&read.file) {
            Ok(bytes) => postcard::from_bytes::<Vec<ViewCertificate>>(&bytes).ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Vec::new()),
            Err(_) => None,
        };
        match found {
            Some(found) if read.take(&found) == found.len() => {}
            _ => tracing::warn!(
                file = %read.file.display(),
                "the certificates of views are damaged: what is missing is asked of the others"
            ),
        }
        read
    }

    /// From the first view on.
    pub fn all(&self) -> &[ViewCertificate] {
        &self.all
    }

    /// They lead to this view.
    pub fn lead_to(&self, view: &View) -> bool {
        self.last.id == view.id
    }

    /// Takes those that follow, one after another, and keeps them; what is known already is passed over, and nothing is taken that
    /// does not prove itself.
    pub fn extend(&mut self, certificates: &[ViewCertificate]) {
        if self.take(certificates) > 0
            && let Err(error) = self.write()
        {
            tracing::error!(%error, file = %self.file.display(), "certificates of views were not written: receipts need them after a restart");
        }
    }

    fn take(&mut self, certificates: &[ViewCertificate]) -> usize {
        let before = self.all.len();
        for certificate in certificates {
            if self
                .all
                .last()
                .is_some_and(|last| certificate.height <= last.height)
            {
                continue;
            }
            match certificate.next(&self.last) {
                Ok(next) => {
                    self.last = next;
                    self.all.push(certificate.clone());
                }
                Err(error) => {
                    tracing::warn!(%error, height = certificate.height, "a certificate of a view does not hold");
                    break;
                }
            }
        }
        self.all.len() - before
    }

    /// In place at once, and durable.
    fn write(&self) -> std::io::Result<()> {
        let bytes =
            postcard::to_stdvec(&self.all).expect("these types have no unserialisable parts");
        let new = self.file.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.file)?;
        let dir = self.file.parent().unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{
        Batch, Change, ClientId, Decided, Digest, Entry, Proof, PublicKey, ReplicaId, Request,
        SigningKey, Step, sign_accept,
    };

    const ADMIN: ClientId = ClientId(1 << 16);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn genesis() -> View {
        View {
            f: 1,
            replicas: (0..4u16)
                .map(|id| (ReplicaId(id), PublicKey::of(&key(id as u8 + 1))))
                .collect(),
            clients: [(ADMIN, PublicKey::of(&key(100)))].into(),
            administrators: [ADMIN].into(),
            ..View::default()
        }
    }

    /// The change to view `base + 1`: replica 3 has another key. Replicas 0 to 2 decided it.
    fn certificate(base: u64) -> ViewCertificate {
        let height = 10 * (base + 1);
        let step = Step::RotateReplicaKey {
            id: ReplicaId(3),
            key: PublicKey::of(&key(200 + base as u8)),
        };
        let change = Change {
            base,
            steps: vec![step],
        };
        let request = Request::sign(&key(100), ADMIN, 1, base + 1, change.encode());
        let batch = Batch {
            after: Digest::default(),
            time_ms: height,
            entries: vec![Entry {
                client: ADMIN,
                incarnation: 1,
                seq: base + 1,
                digest: request.digest(),
            }],
        };
        let mut view = genesis();
        view.id = base;
        let signed = |id: u16| {
            let key = key(id as u8 + 1);
            (
                ReplicaId(id),
                sign_accept(&key, &view, height, 0, &batch.digest()),
            )
        };
        let proof = Proof {
            regency: 0,
            accepts: [0, 1, 2].map(signed).into(),
        };
        ViewCertificate::of(&Decided {
            height,
            regency: 0,
            batch,
            requests: vec![request],
            proof,
        })
        .expect("a change")
    }

    #[test]
    fn the_chain_is_kept_and_nothing_is_taken_that_does_not_prove_itself() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("views");
        let at = |id| View { id, ..genesis() };
        let mut chain = Certificates::read(file.clone(), &genesis());
        assert!(chain.lead_to(&at(0)));
        chain.extend(&[certificate(1)]);
        assert!(chain.all().is_empty(), "the one before is missing");
        let mut forged = certificate(0);
        forged.proof.accepts.pop();
        chain.extend(&[forged]);
        assert!(chain.all().is_empty(), "no quorum decided it");
        chain.extend(&[certificate(0), certificate(1)]);
        chain.extend(&[certificate(0)]);
        assert!(chain.lead_to(&at(2)) && chain.all().len() == 2);

        let read = Certificates::read(file.clone(), &genesis());
        assert_eq!(read.all(), chain.all());
        let other = View {
            f: 0,
            ..View::default()
        };
        assert!(Certificates::read(file.clone(), &other).all().is_empty());
        std::fs::write(&file, b"torn").unwrap();
        let mut torn = Certificates::read(file, &genesis());
        assert!(torn.all().is_empty(), "it is asked of the others");
        torn.extend(&[certificate(0), certificate(1)]);
        assert!(torn.lead_to(&at(2)));
    }
}

//! Agreement: no two correct replicas decide differently at one height, nor one
//! replica in two of its lives.

use std::collections::BTreeMap;

use consensus::{Decided, Digest, Height, ReplicaId};

use super::Verdict;

/// First decision seen at each height.
#[derive(Debug, Default)]
pub struct Agreement(BTreeMap<Height, (ReplicaId, Digest)>);

impl Agreement {
    /// A correct replica decides.
    pub fn decided(&mut self, replica: ReplicaId, decided: &Decided) -> Verdict {
        let digest = decided.batch.digest();
        let (first, agreed) = *self.0.entry(decided.height).or_insert((replica, digest));
        if agreed == digest {
            Ok(())
        } else {
            let height = decided.height;
            Err(format!(
                "agreement: at height {height} {first} decided {agreed}, {replica} decided {digest}"
            ))
        }
    }

    /// The highest height that any correct replica ever decided.
    pub fn highest(&self) -> Height {
        self.0.keys().next_back().copied().unwrap_or(0)
    }
}

//! Chain: what is decided at a height stands on what is decided below; and a correct replica accepts a value only where it has
//! decided, or accepted in the same regency, the value that it stands on.

use std::collections::BTreeMap;

use consensus::{Decided, Digest, Height, Record, Regency, ReplicaId};

use super::Verdict;

/// Values by what they stand on, and who accepted which.
#[derive(Debug, Default)]
pub struct Chain {
    decided: BTreeMap<Height, Digest>,
    after: BTreeMap<Digest, Digest>,
    accepted: BTreeMap<(ReplicaId, Height, Regency), Digest>,
}

impl Chain {
    /// A correct replica decides.
    pub fn decided(&mut self, decided: &Decided) -> Verdict {
        let height = decided.height;
        let below = self.below(height);
        if below.is_some_and(|below| below != decided.batch.after) {
            return Err(format!(
                "chain: the value decided at height {height} stands on another than that decided below"
            ));
        }
        self.decided.insert(height, decided.batch.digest());
        Ok(())
    }

    /// The value decided below a height, if any was.
    fn below(&self, height: Height) -> Option<Digest> {
        match height {
            1 => Some(Digest::default()),
            _ => self.decided.get(&(height - 1)).copied(),
        }
    }

    /// A correct replica has a record written.
    pub fn records(&mut self, replica: ReplicaId, record: &Record) -> Verdict {
        match record {
            Record::Write { digest, after, .. } => {
                self.after.insert(*digest, *after);
                Ok(())
            }
            Record::Accept {
                height,
                regency,
                digest,
                ..
            } => {
                let key = (replica, *height, *regency);
                self.accepted.insert(key, *digest);
                let after = self.after.get(digest).copied();
                let accepted = self.accepted.get(&(replica, height - 1, *regency));
                if after.is_some() && (after == accepted.copied() || after == self.below(*height)) {
                    return Ok(());
                }
                Err(format!(
                    "chain: {replica} accepts {digest} at height {height}, regency {regency}, and not what it stands on"
                ))
            }
            Record::Regency { .. } => Ok(()),
        }
    }
}

//! Faults that tests plant and that need more than one `if`; in test builds only.

use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::proof::sign_accept;
use crate::record::Record;
use crate::settings::mutated;

use super::persist::Held;
use super::{Action, Core};

impl Core {
    /// ACCEPT in a regency that this replica has left: what STOPDATA promises not to do.
    pub(crate) fn planted_old_write(
        &mut self,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
        out: &mut Vec<Action>,
    ) {
        let planted = mutated!(self.settings, AcceptOldRegency);
        if !planted || height != self.instance.height || regency >= self.regency {
            return;
        }
        let writers = self
            .instance
            .old_writes
            .entry((regency, digest))
            .or_default();
        writers.insert(from);
        let mine = self.instance.votes.writeset.get(&digest) == Some(&regency);
        if writers.len() + usize::from(mine) == self.view.sizes().quorum() {
            let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
            let held = Held::Accept {
                height,
                regency,
                digest,
                signature,
            };
            self.persist(
                Record::Accept {
                    height,
                    regency,
                    digest,
                },
                held,
                out,
            );
        }
    }
}

//! Certificates: a correct replica accepts only what it wrote itself and what Q replicas
//! wrote in that very regency (Alg. 6, l. 29-33).

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;
use super::views::Views;

/// WRITEs that correct replicas sent.
#[derive(Debug, Default)]
pub struct Certificate(BTreeMap<(Height, Regency, Digest), BTreeSet<ReplicaId>>);

impl Certificate {
    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        match message {
            Message::Write {
                height,
                regency,
                digest,
            } => {
                let writers = self.0.entry((*height, *regency, *digest)).or_default();
                writers.insert(replica);
                Ok(())
            }
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } => {
                let group = &views.of(*height).group;
                let writers = self.0.get(&(*height, *regency, *digest));
                let count = writers.map_or(0, |writers| group.votes(writers));
                if writers.is_some_and(|writers| writers.contains(&replica))
                    && count + group.liars >= group.quorum
                {
                    return Ok(());
                }
                Err(format!(
                    "certificate: {replica} accepted {digest} at height {height}, regency {regency}: \
                     correct replicas of {count} votes and others of {} at most wrote it",
                    group.liars
                ))
            }
            _ => Ok(()),
        }
    }
}

//! Certificates: a correct replica accepts only what it wrote itself and what Q replicas
//! wrote in that very regency (Alg. 6, l. 29-33).

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Message, Record, Regency, ReplicaId};

use super::Verdict;
use super::views::Views;

/// WRITEs that correct replicas sent, or have on record: one that lost power before it sent its own counts it afterwards.
#[derive(Debug, Default)]
pub struct Certificate {
    sent: BTreeMap<(Height, Regency, Digest), BTreeSet<ReplicaId>>,
    recorded: BTreeSet<(ReplicaId, Height, Regency, Digest)>,
}

impl Certificate {
    /// A correct replica has a record written.
    pub fn records(&mut self, replica: ReplicaId, record: &Record) {
        if let Record::Write {
            height,
            regency,
            digest,
            ..
        } = record
        {
            self.recorded.insert((replica, *height, *regency, *digest));
        }
    }

    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        match message {
            Message::Write {
                height,
                regency,
                digest,
            } => {
                let writers = self.sent.entry((*height, *regency, *digest)).or_default();
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
                let mine = self
                    .recorded
                    .contains(&(replica, *height, *regency, *digest));
                let writers = self.sent.get(&(*height, *regency, *digest));
                let mut writers = writers.cloned().unwrap_or_default();
                writers.extend(mine.then_some(replica));
                let count = group.votes(&writers);
                if mine && count + group.liars >= group.quorum {
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

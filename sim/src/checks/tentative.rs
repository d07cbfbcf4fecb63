//! Tentative answers stand (thesis, 5.3.3): what replicas of a quorum's votes told of one value in one regency, before it was decided, is
//! decided there; and nobody tells what it is not durably locked on, or what changes the view.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Regency, ReplicaId, Tentative};

use super::views::Views;
use super::{Verdict, is_accept};
use crate::disk::Disk;

/// What correct replicas told, and what a client may have believed.
#[derive(Debug, Default)]
pub struct Answers {
    told: BTreeMap<(Height, Regency, Digest), BTreeSet<ReplicaId>>,
    believed: BTreeMap<Height, (Regency, Digest)>,
    decided: BTreeMap<Height, Digest>,
}

impl Answers {
    /// A correct replica tells of a value. A client counts the liars with it: they tell whatever they like.
    pub fn tells(
        &mut self,
        views: &Views,
        (replica, last): (ReplicaId, Height),
        told: &Tentative,
        disk: &Disk,
    ) -> Verdict {
        let (height, regency, digest) = (told.height, told.regency, told.batch.digest());
        let wrong = |why: &str| {
            Err(format!(
                "tentative: {replica} told {digest} of height {height}, regency {regency}: {why}"
            ))
        };
        if height != last + 1 {
            return wrong(&format!("it has decided {last}"));
        }
        if !disk.holds(|record| is_accept(record, (height, regency, digest))) {
            return wrong("it is not durably locked on it");
        }
        let era = views.of(height);
        let changes = |client| era.view.administers(client);
        if told
            .requests
            .last()
            .is_some_and(|last| changes(last.client))
        {
            return wrong("it changes the view");
        }
        let tellers = self.told.entry((height, regency, digest)).or_default();
        tellers.insert(replica);
        if era.group.votes(&*tellers) + era.group.liars < era.group.quorum {
            return Ok(());
        }
        let (first, believed) = *self.believed.entry(height).or_insert((regency, digest));
        if believed != digest {
            return wrong(&format!("a quorum told {believed} in regency {first}"));
        }
        self.agrees(height)
    }

    /// A correct replica decides.
    pub fn decided(&mut self, height: Height, digest: Digest) -> Verdict {
        self.decided.entry(height).or_insert(digest);
        self.agrees(height)
    }

    fn agrees(&self, height: Height) -> Verdict {
        match (self.believed.get(&height), self.decided.get(&height)) {
            (Some((regency, believed)), Some(decided)) if believed != decided => Err(format!(
                "tentative: a quorum told {believed} of height {height} in regency {regency}, and {decided} was decided"
            )),
            _ => Ok(()),
        }
    }
}

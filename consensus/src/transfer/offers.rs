//! What the members offer, and which checkpoint of whom to take.

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::Digest;
use crate::ids::{Height, ReplicaId};

use super::limits::{MAX_KEPT, MAX_ROOTS};

/// A checkpoint to fetch: the root names its height too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub height: Height,
    pub root: Digest,
}

/// One member's newest offer.
#[derive(Clone, Debug, Default)]
struct Offer {
    roots: BTreeMap<Height, Digest>,
    kept: BTreeSet<Height>,
}

/// All offers, and who is not to be asked.
#[derive(Debug, Default)]
pub(super) struct Offers {
    of: BTreeMap<ReplicaId, Offer>,
    /// Sent what is not on the list, or a list that is not the root's.
    liars: BTreeSet<ReplicaId>,
    /// Did not answer in time, or had dropped what it offered.
    slow: BTreeSet<ReplicaId>,
}

impl Offers {
    /// Takes an offer; the member's newest counts.
    pub fn add(&mut self, from: ReplicaId, roots: Vec<(Height, Digest)>, kept: Vec<Height>) {
        let offer = Offer {
            roots: roots.into_iter().take(MAX_ROOTS).collect(),
            kept: kept.into_iter().take(MAX_KEPT).collect(),
        };
        self.of.insert(from, offer);
    }

    pub fn len(&self) -> usize {
        self.of.len()
    }

    pub fn forget(&mut self) {
        self.of.clear();
    }

    pub fn lied(&mut self, who: ReplicaId) {
        self.liars.insert(who);
    }

    pub fn was_slow(&mut self, who: ReplicaId) {
        self.slow.insert(who);
    }

    /// Gives those that were only slow another chance; false if there are none.
    pub fn pardon(&mut self) -> bool {
        !std::mem::take(&mut self.slow).is_empty()
    }

    /// The highest checkpoint above a height that `vouchers` members vouch for, one of which keeps it and is to be
    /// asked; and that one. Members after `last` come first, so that sources take turns.
    pub fn choose(
        &self,
        above: Height,
        vouchers: usize,
        last: Option<ReplicaId>,
    ) -> Option<(Target, ReplicaId)> {
        let vouched = self.vouched(vouchers).into_iter().rev();
        let mut above = vouched.filter(|target| target.height > above);
        above.find_map(|target| Some((target, self.holder(&target, last)?)))
    }

    /// What so many members vouch for, by height.
    pub fn vouched(&self, vouchers: usize) -> Vec<Target> {
        let mut votes: BTreeMap<Target, usize> = BTreeMap::new();
        for offer in self.of.values() {
            for (&height, &root) in &offer.roots {
                *votes.entry(Target { height, root }).or_default() += 1;
            }
        }
        votes.retain(|_, count| *count >= vouchers);
        votes.into_keys().collect()
    }

    fn holder(&self, target: &Target, last: Option<ReplicaId>) -> Option<ReplicaId> {
        let keeps = |(id, offer): (&ReplicaId, &Offer)| {
            let has = offer.kept.contains(&target.height)
                && offer.roots.get(&target.height) == Some(&target.root);
            (has && !self.liars.contains(id) && !self.slow.contains(id)).then_some(*id)
        };
        let holders: Vec<_> = self.of.iter().filter_map(keeps).collect();
        holders
            .iter()
            .find(|id| Some(**id) > last)
            .or(holders.first())
            .copied()
    }
}

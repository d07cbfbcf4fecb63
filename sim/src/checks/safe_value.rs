//! Safe values: no regency begins in a way that forgets what an earlier one may have decided.
//! The invariant behind agreement, checked when it breaks and not when luck shows it.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Message, Record, Regency, ReplicaId};

use super::Verdict;
use super::views::Views;

/// ACCEPTs that correct replicas sent, and the values that liars could complete to decisions.
#[derive(Debug, Default)]
pub struct SafeValue {
    accepts: BTreeMap<(Height, Regency, Digest), BTreeSet<ReplicaId>>,
    chosen: BTreeMap<Height, (Regency, Digest)>,
}

impl SafeValue {
    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) {
        if let Message::Accept {
            height,
            regency,
            digest,
            ..
        } = message
        {
            let signers = self
                .accepts
                .entry((*height, *regency, *digest))
                .or_default();
            signers.insert(replica);
            let group = &views.of(*height).group;
            if group.votes(&*signers) + group.liars >= group.quorum {
                self.chosen.entry(*height).or_insert((*regency, *digest));
            }
        }
    }

    /// A correct replica begins a regency, by its SYNC or by others' word.
    pub fn begins(&self, views: &Views, replica: ReplicaId, record: &Record) -> Verdict {
        let Record::Regency {
            view,
            regency,
            start: Some(start),
            ..
        } = record
        else {
            return Ok(());
        };
        // Regencies of one view: each counts them anew.
        let later = self.chosen.range(start.open..);
        let earlier = later.filter(|(height, _)| views.of(**height).view.id == *view);
        for (height, (at, value)) in earlier.filter(|(_, (at, _))| at < regency) {
            if start.bound_at(*height) != Some(*value) {
                return Err(format!(
                    "safe-value: {value} may be decided at height {height} since regency {at}; \
                     {replica} begins regency {regency} with {start:?}"
                ));
            }
        }
        Ok(())
    }
}

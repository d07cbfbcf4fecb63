//! Total order: each replica decides heights one after another, and consensus time
//! never goes back.

use std::collections::BTreeMap;

use consensus::{Decided, Height, ReplicaId};

use super::Verdict;

/// Where each replica is.
#[derive(Debug, Default)]
pub struct Order {
    last: BTreeMap<ReplicaId, Height>,
    times: BTreeMap<Height, u64>,
}

impl Order {
    /// A correct replica decides.
    pub fn decided(&mut self, replica: ReplicaId, decided: &Decided) -> Verdict {
        let last = self.last.entry(replica).or_default();
        if decided.height != *last + 1 {
            return Err(format!(
                "order: {replica} decided {} after {last}",
                decided.height
            ));
        }
        *last = decided.height;
        self.times.insert(decided.height, decided.batch.time_ms);
        match self.times.get(&(decided.height - 1)) {
            Some(before) if *before > decided.batch.time_ms => Err(format!(
                "order: time went back at height {}",
                decided.height
            )),
            _ => Ok(()),
        }
    }

    /// The last height that a correct replica decided.
    pub fn last(&self, replica: ReplicaId) -> Height {
        self.last.get(&replica).copied().unwrap_or(0)
    }

    /// It restarts at the height that its log holds.
    pub fn restarted(&mut self, replica: ReplicaId, height: Height) {
        self.last.insert(replica, height);
    }
}

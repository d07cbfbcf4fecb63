//! Exactly once: no (client, incarnation, number) is ordered twice, nor at two heights.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{ClientId, Decided, Digest, Height};

use super::Verdict;

/// What was ordered where.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    places: BTreeMap<(ClientId, u64, u64), (Height, Digest)>,
    heights: BTreeSet<Height>,
}

impl ExactlyOnce {
    /// A correct replica decides.
    pub fn decided(&mut self, decided: &Decided) -> Verdict {
        if !self.heights.insert(decided.height) {
            // Another replica's copy: agreement says that it is the same.
            return Ok(());
        }
        for entry in &decided.batch.entries {
            let name = (entry.client, entry.incarnation, entry.seq);
            let place = (decided.height, entry.digest);
            if let Some((before, _)) = self.places.insert(name, place) {
                let now = decided.height;
                return Err(format!(
                    "exactly-once: {name:?} ordered at {before} and {now}"
                ));
            }
        }
        Ok(())
    }

    /// Whether a request was ordered.
    pub fn is_ordered(&self, client: ClientId, incarnation: u64, seq: u64) -> bool {
        self.places.contains_key(&(client, incarnation, seq))
    }
}
